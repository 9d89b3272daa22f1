//! Copying strings, and what "Repeat After Me" calls shuffled copying and
//! n-gram look-up.

use super::corpus::{self, Corpus};
use super::random::Random;
use super::{MAX_VOCAB, Sample, Task, TaskError, UNSCORED, check_range, out_of_range};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Settings of copying (see the [module](super) page).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyConfig {
    /// Shortest string.
    #[serde(default = "default_min_length")]
    pub min_length: usize,
    /// Longest string.
    pub max_length: usize,
    /// Letters that strings are made of.
    #[serde(default = "default_letters")]
    pub letters: usize,
    /// Pack strings one after another into this many tokens, the last one cut
    /// off; without it a sample is one string.
    #[serde(default)]
    pub context: Option<usize>,
    /// Whether the end token after the copy is scored too; tests score the letters only.
    #[serde(default = "default_score_end")]
    pub score_end: bool,
}

fn default_min_length() -> usize {
    1
}

fn default_letters() -> usize {
    26
}

fn default_score_end() -> bool {
    true
}

impl CopyConfig {
    pub(super) fn build(&self) -> Result<Box<dyn Task>, TaskError> {
        let strings = Strings {
            task: "copy",
            kind: Kind::Copy,
            letters: self.letters,
            bounds: (self.min_length, self.max_length),
            context: self.context,
            score_end: self.score_end,
        };
        strings.check(1)?;
        Ok(Box::new(strings))
    }
}

/// Which of the published tasks shuffled copying is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShuffledVariant {
    /// Windows of a corpus with their tokens in random order, copied in that order.
    Text,
    /// A random choice of different letters in random order, copied.
    Permutation,
    /// An n-gram, then a string; what follows the n-gram in it is the answer.
    PrefixNgram,
    /// A string, then an n-gram; what follows the n-gram in it is the answer.
    SuffixNgram,
}

/// Settings of shuffled copying (see the [module](super) page).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShuffledCopyConfig {
    /// Which task.
    pub variant: ShuffledVariant,
    /// Shortest string.
    pub min_length: usize,
    /// Longest string.
    pub max_length: usize,
    /// Letters that strings are made of; for `text`, the corpus' vocabulary.
    #[serde(default = "default_letters")]
    pub letters: usize,
    /// As in [`CopyConfig::context`].
    #[serde(default)]
    pub context: Option<usize>,
    /// As in [`CopyConfig::score_end`].
    #[serde(default = "default_score_end")]
    pub score_end: bool,
    /// Letters in the n-gram that is looked up.
    #[serde(default = "default_ngram")]
    pub ngram: usize,
    /// Letters in the answer to an n-gram; 0 for all to the string's end.
    #[serde(default)]
    pub answer: usize,
    /// For `text`: a file of little-endian 16-bit token ids.
    #[serde(default)]
    pub corpus: Option<PathBuf>,
}

fn default_ngram() -> usize {
    3
}

impl ShuffledCopyConfig {
    pub(super) fn build(&self) -> Result<Box<dyn Task>, TaskError> {
        let corpus = match (self.variant, &self.corpus) {
            (ShuffledVariant::Text, Some(path)) => corpus::read(path)?,
            (ShuffledVariant::Text, None) => {
                return Err(TaskError::Missing {
                    task: "shuffled-copy",
                    field: "corpus",
                    cure: "name a file of 16-bit token ids, or choose variant \"permutation\"",
                });
            }
            _ => Corpus::from([]),
        };
        self.with_prose(corpus)
    }

    /// The task over a corpus in memory instead of the file `corpus`.
    ///
    /// # Errors
    /// As [`TaskConfig::build`](super::TaskConfig::build).
    pub fn with_prose(&self, prose: Corpus) -> Result<Box<dyn Task>, TaskError> {
        const TASK: &str = "shuffled-copy";
        let (ngram, answer) = (self.ngram, self.answer);
        let ngrams = matches!(
            self.variant,
            ShuffledVariant::PrefixNgram | ShuffledVariant::SuffixNgram
        );
        if ngrams && ngram == 0 {
            return Err(out_of_range(TASK, "ngram", ngram, "1 or more"));
        }
        let strings = Strings {
            task: TASK,
            kind: match self.variant {
                ShuffledVariant::Text => Kind::Text(prose),
                ShuffledVariant::Permutation => Kind::Permutation,
                ShuffledVariant::PrefixNgram => Kind::Prefix { ngram, answer },
                ShuffledVariant::SuffixNgram => Kind::Suffix { ngram, answer },
            },
            letters: self.letters,
            bounds: (self.min_length, self.max_length),
            context: self.context,
            score_end: self.score_end,
        };
        strings.check(if ngrams {
            ngram.saturating_add(answer.max(1))
        } else {
            1
        })?;
        Ok(Box::new(strings))
    }
}

enum Kind {
    Copy,
    Text(Corpus),
    Permutation,
    Prefix { ngram: usize, answer: usize },
    Suffix { ngram: usize, answer: usize },
}

/// Examples of a string and an answer taken from it.
struct Strings {
    task: &'static str,
    kind: Kind,
    letters: usize,
    bounds: (usize, usize),
    context: Option<usize>,
    score_end: bool,
}

/// The tokens of one example; those from `answer` on are scored.
struct Example {
    tokens: Vec<u32>,
    answer: usize,
}

impl Strings {
    fn check(&self, shortest: usize) -> Result<(), TaskError> {
        let task = self.task;
        check_range(task, ("min_length", "max_length"), self.bounds, shortest)?;
        if !(1..=MAX_VOCAB - 3).contains(&self.letters) {
            let must = format!("from 1 to {}", MAX_VOCAB - 3);
            return Err(out_of_range(task, "letters", self.letters, must));
        }
        let longest = self.bounds.1;
        if let Some(context) = self.context {
            let spare = match self.kind {
                Kind::Prefix { ngram, .. } => 4 + ngram,
                _ => 3,
            };
            if context < 2 * longest + spare {
                return Err(TaskError::DoesNotFit {
                    task,
                    what: format!("a string of {longest} letters and its answer"),
                    needs: 2 * longest + spare,
                    length: context,
                    cure: "raise `context` or lower `max_length`",
                });
            }
            super::check_length(task, "context", context, 2)?;
        }
        match &self.kind {
            Kind::Permutation if longest > self.letters => Err(TaskError::TooFewTokens {
                task,
                field: "letters",
                found: self.letters,
                what: format!("{longest} different letters"),
                cure: "raise `letters` or lower `max_length`",
            }),
            Kind::Text(prose) => corpus::check(task, prose, self.letters, longest),
            _ => Ok(()),
        }
    }

    fn specials(&self) -> (u32, u32, u32) {
        let first = self.letters as u32;
        (first, first + 1, first + 2)
    }

    fn string(&self, random: &mut Random) -> Vec<u32> {
        let length = random.between(self.bounds.0, self.bounds.1);
        match &self.kind {
            Kind::Text(prose) => {
                let start = random.below(prose.len() - length + 1);
                let mut window = prose[start..start + length].to_vec();
                random.shuffle(&mut window);
                window
            }
            Kind::Permutation => {
                let letters = random.distinct(self.letters as u64, length);
                letters.into_iter().map(|letter| letter as u32).collect()
            }
            _ => (0..length).map(|_| random.token(self.letters)).collect(),
        }
    }

    fn example(&self, random: &mut Random) -> Example {
        let string = self.string(random);
        let (begin, separator, end) = self.specials();
        let mut tokens = vec![begin];
        let (prefix, suffix, answer) = match self.kind {
            Kind::Prefix { ngram, answer } => {
                let (key, rest) = look_up(random, &string, ngram, answer);
                (key, &string[..0], rest)
            }
            Kind::Suffix { ngram, answer } => {
                let (key, rest) = look_up(random, &string, ngram, answer);
                (&string[..0], key, rest)
            }
            _ => (&string[..0], &string[..0], &string[..]),
        };
        if !prefix.is_empty() {
            tokens.extend(prefix);
            tokens.push(separator);
        }
        tokens.extend(&string);
        tokens.push(separator);
        tokens.extend(suffix);
        let scored_from = tokens.len();
        tokens.extend(answer);
        tokens.push(end);
        Example {
            tokens,
            answer: scored_from,
        }
    }

    /// Adds an example: its tokens, and for each whether it is scored.
    fn add(&self, example: &Example, tokens: &mut Vec<(u32, bool)>) {
        let last = example.tokens.len() - 1;
        for (i, &token) in example.tokens.iter().enumerate() {
            let scored = i >= example.answer && (i < last || self.score_end);
            tokens.push((token, scored));
        }
    }
}

/// An n-gram of the string and the letters after it. One that occurs once is
/// taken if there is any; otherwise the first occurrence of another.
fn look_up<'a>(
    random: &mut Random,
    string: &'a [u32],
    ngram: usize,
    answer: usize,
) -> (&'a [u32], &'a [u32]) {
    let mut first_and_count: BTreeMap<&[u32], (usize, usize)> = BTreeMap::new();
    for (start, window) in string.windows(ngram).enumerate() {
        first_and_count.entry(window).or_insert((start, 0)).1 += 1;
    }
    let starts = string.len() + 1 - ngram - answer.max(1);
    let occurrence = |start: &usize| first_and_count.get(&string[*start..*start + ngram]);
    let unique: Vec<usize> = (0..starts)
        .filter(|start| occurrence(start).is_some_and(|&(_, count)| count == 1))
        .collect();
    let start = if unique.is_empty() {
        let any = random.below(starts);
        occurrence(&any).map_or(any, |&(first, _)| first)
    } else {
        unique[random.below(unique.len())]
    };
    let rest = &string[start + ngram..];
    let rest = if answer > 0 { &rest[..answer] } else { rest };
    (&string[start..start + ngram], rest)
}

impl Task for Strings {
    fn vocab(&self) -> usize {
        self.letters + 3
    }

    fn chance(&self) -> f64 {
        1.0 / self.letters as f64
    }

    fn sample(&self, seed: u64, index: u64) -> Sample {
        let mut random = Random::new(seed, index);
        let mut all = Vec::new();
        let example = self.example(&mut random);
        self.add(&example, &mut all);
        if let Some(context) = self.context {
            while all.len() < context {
                let mut example = self.example(&mut random);
                let space = context - all.len();
                if example.tokens.len() > space {
                    example.tokens.truncate(space);
                    example.answer = space;
                }
                self.add(&example, &mut all);
            }
        }
        let targets = all[1..]
            .iter()
            .map(|&(token, scored)| if scored { token } else { UNSCORED })
            .collect();
        all.pop();
        let tokens = all.into_iter().map(|(token, _)| token).collect();
        Sample { tokens, targets }
    }
}
