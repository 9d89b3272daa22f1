//! Phonebook look-up.

use super::random::Random;
use super::{MAX_VOCAB, Sample, Task, TaskError, UNSCORED, check_range, out_of_range};
use serde::{Deserialize, Serialize};

const TASK: &str = "phonebook";
/// Follows a name.
pub(super) const COLON: u32 = 10;
/// Ends a line.
pub(super) const LINE: u32 = 11;
/// The first of the first names; the last names follow them.
pub(super) const NAMES: u32 = 12;

/// Settings of phonebook look-up (see the [module](super) page).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhonebookConfig {
    /// Fewest entries in a book.
    pub min_entries: usize,
    /// Most entries in a book.
    pub max_entries: usize,
    /// First names there are, and also last names.
    #[serde(default = "default_names")]
    pub names: usize,
    /// Digits in a number.
    #[serde(default = "default_digits")]
    pub digits: usize,
    /// Entries repeated between the book and the question, as examples.
    #[serde(default = "default_shots")]
    pub shots: usize,
    /// Whether the name asked for also stands before the book.
    #[serde(default)]
    pub reversed: bool,
}

fn default_names() -> usize {
    500
}

fn default_digits() -> usize {
    10
}

fn default_shots() -> usize {
    2
}

impl PhonebookConfig {
    pub(super) fn build(&self) -> Result<Box<dyn Task>, TaskError> {
        let bounds = (self.min_entries, self.max_entries);
        let least = self.shots.saturating_add(1);
        check_range(TASK, ("min_entries", "max_entries"), bounds, least)?;
        let most_names = (MAX_VOCAB - NAMES as usize) / 2;
        if !(1..=most_names).contains(&self.names) {
            let must = format!("from 1 to {most_names}");
            return Err(out_of_range(TASK, "names", self.names, must));
        }
        if !(1..=1000).contains(&self.digits) {
            return Err(out_of_range(TASK, "digits", self.digits, "from 1 to 1000"));
        }
        if (self.max_entries as u64) > (self.names as u64).pow(2) {
            return Err(TaskError::TooFewTokens {
                task: TASK,
                field: "names",
                found: self.names,
                what: format!("{} people of different names", self.max_entries),
                cure: "raise `names` to the square root of `max_entries` or lower `max_entries`",
            });
        }
        Ok(Box::new(Phonebook(self.clone())))
    }
}

struct Phonebook(PhonebookConfig);

struct Entry {
    name: [u32; 2],
    number: Vec<u32>,
}

impl Entry {
    fn write(&self, tokens: &mut Vec<u32>) {
        tokens.extend(self.name);
        tokens.push(COLON);
        tokens.extend(&self.number);
        tokens.push(LINE);
    }
}

impl Phonebook {
    fn entries(&self, random: &mut Random) -> Vec<Entry> {
        let names = self.0.names as u64;
        let count = random.between(self.0.min_entries, self.0.max_entries);
        let people = random.distinct(names * names, count);
        let entry = |person: u64| Entry {
            name: [
                NAMES + (person / names) as u32,
                NAMES + (names + person % names) as u32,
            ],
            number: (0..self.0.digits)
                .map(|place| match place {
                    0 => 6 + random.token(4),
                    _ => random.token(10),
                })
                .collect(),
        };
        people.into_iter().map(entry).collect()
    }
}

impl Task for Phonebook {
    fn vocab(&self) -> usize {
        NAMES as usize + 2 * self.0.names
    }

    fn chance(&self) -> f64 {
        0.1
    }

    fn sample(&self, seed: u64, index: u64) -> Sample {
        let mut random = Random::new(seed, index);
        let entries = self.entries(&mut random);
        let chosen = random.distinct(entries.len() as u64, self.0.shots + 1);
        let asked = &entries[chosen[0] as usize];
        let mut tokens = Vec::new();
        if self.0.reversed {
            tokens.extend(asked.name);
            tokens.extend([LINE, LINE]);
        }
        entries.iter().for_each(|entry| entry.write(&mut tokens));
        tokens.push(LINE);
        for &shot in &chosen[1..] {
            entries[shot as usize].write(&mut tokens);
        }
        if self.0.shots > 0 {
            tokens.push(LINE);
        }
        tokens.extend(asked.name);
        let mut targets = vec![UNSCORED; tokens.len()];
        tokens.push(COLON);
        targets.extend(&asked.number);
        tokens.extend(&asked.number[..asked.number.len() - 1]);
        Sample { tokens, targets }
    }
}
