//! A needle in prose.

use super::corpus::{self, Corpus};
use super::random::Random;
use super::{MAX_VOCAB, Sample, Task, TaskError, UNSCORED, check_length, out_of_range};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

const TASK: &str = "needle";

/// Settings of needle in prose (see the [module](super) page). All token ids
/// are the caller's; nothing is known of the tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeedleConfig {
    /// The prose: a file of little-endian 16-bit token ids.
    pub corpus: PathBuf,
    /// Size of the vocabulary.
    pub vocab: usize,
    /// Tokens the model reads: prose, needle, question and all of the answer
    /// but its last token.
    pub length: usize,
    /// The needle up to its number, such as "The secret number is".
    pub before: Vec<u32>,
    /// The needle after its number, such as a full stop; may be empty.
    #[serde(default)]
    pub after: Vec<u32>,
    /// The question after the prose, such as "What is the secret number? It is".
    pub question: Vec<u32>,
    /// Tokens that the number is made of.
    pub symbols: Vec<u32>,
    /// Tokens in the number.
    #[serde(default = "default_digits")]
    pub digits: usize,
    /// Shallowest place of the needle as a fraction of the prose before it; 0 is the start.
    #[serde(default)]
    pub min_depth: f64,
    /// Deepest place of the needle; 1 is the end of the prose.
    #[serde(default = "default_max_depth")]
    pub max_depth: f64,
}

fn default_digits() -> usize {
    5
}

fn default_max_depth() -> f64 {
    1.0
}

impl NeedleConfig {
    pub(super) fn build(&self) -> Result<Box<dyn Task>, TaskError> {
        self.with_prose(corpus::read(&self.corpus)?)
    }

    /// The task over prose in memory instead of the file `corpus`.
    ///
    /// # Errors
    /// As [`TaskConfig::build`](super::TaskConfig::build).
    pub fn with_prose(&self, prose: Corpus) -> Result<Box<dyn Task>, TaskError> {
        let taken = self.check()?;
        let window = self.length - taken;
        corpus::check(TASK, &prose, self.vocab, window)?;
        let place = |depth: f64| (depth * window as f64).round() as usize;
        Ok(Box::new(Needle {
            places: (place(self.min_depth), place(self.max_depth)),
            config: self.clone(),
            prose,
            window,
        }))
    }

    /// Checks all but the corpus and counts the tokens that are not prose.
    fn check(&self) -> Result<usize, TaskError> {
        check_length(TASK, "length", self.length, 1)?;
        if !(1..=MAX_VOCAB).contains(&self.vocab) {
            let must = format!("from 1 to {MAX_VOCAB}");
            return Err(out_of_range(TASK, "vocab", self.vocab, must));
        }
        for (field, tokens, may_be_empty) in [
            ("before", &self.before, true),
            ("after", &self.after, true),
            ("question", &self.question, false),
            ("symbols", &self.symbols, false),
        ] {
            corpus::check_tokens(TASK, field, tokens, self.vocab)?;
            if tokens.is_empty() && !may_be_empty {
                return Err(TaskError::Missing {
                    task: TASK,
                    field,
                    cure: "give at least one token id",
                });
            }
        }
        let depths = self.min_depth..=self.max_depth;
        if !(0.0..=1.0).contains(&self.min_depth) || !(0.0..=1.0).contains(&self.max_depth) {
            let found = format!("{depths:?}");
            let must = "within 0 and 1";
            return Err(out_of_range(TASK, "min_depth..=max_depth", found, must));
        }
        if depths.is_empty() {
            return Err(TaskError::Reversed {
                task: TASK,
                min: "min_depth",
                max: "max_depth",
            });
        }
        if !(1..=1000).contains(&self.digits) {
            return Err(out_of_range(TASK, "digits", self.digits, "from 1 to 1000"));
        }
        let taken =
            self.before.len() + self.after.len() + self.question.len() + 2 * self.digits - 1;
        if taken > self.length {
            return Err(TaskError::DoesNotFit {
                task: TASK,
                what: "the needle, the question and the answer".to_owned(),
                needs: taken,
                length: self.length,
                cure: "raise `length` or shorten the needle",
            });
        }
        Ok(taken)
    }
}

struct Needle {
    config: NeedleConfig,
    prose: Corpus,
    /// Tokens of prose in a sample.
    window: usize,
    /// Fewest and most of them before the needle.
    places: (usize, usize),
}

impl Task for Needle {
    fn vocab(&self) -> usize {
        self.config.vocab
    }

    fn chance(&self) -> f64 {
        1.0 / self.config.symbols.len() as f64
    }

    fn sample(&self, seed: u64, index: u64) -> Sample {
        let config = &self.config;
        let mut random = Random::new(seed, index);
        let start = random.below(self.prose.len() - self.window + 1);
        let prose = &self.prose[start..start + self.window];
        let (before, after) = prose.split_at(random.between(self.places.0, self.places.1));
        let number: Vec<u32> = (0..config.digits)
            .map(|_| config.symbols[random.below(config.symbols.len())])
            .collect();
        let mut tokens = [
            before,
            &config.before,
            &number,
            &config.after,
            after,
            &config.question,
        ]
        .concat();
        let mut targets = vec![UNSCORED; tokens.len() - 1];
        targets.extend(&number);
        tokens.extend(&number[..number.len() - 1]);
        Sample { tokens, targets }
    }
}
