//! Selective copying and induction heads, the two tasks of the Mamba paper.

use super::random::Random;
use super::{MAX_VOCAB, Sample, Task, TaskError, UNSCORED, check_length, out_of_range};
use serde::{Deserialize, Serialize};

/// Settings of selective copying (see the [module](super) page).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectiveCopyConfig {
    /// Tokens among which the data tokens are scattered; as many markers as
    /// data tokens follow them.
    #[serde(default = "default_copy_length")]
    pub length: usize,
    /// Data tokens to remember.
    #[serde(default = "default_sixteen")]
    pub data: usize,
    /// Size of the vocabulary with its noise token (0) and its marker (the last).
    #[serde(default = "default_sixteen")]
    pub vocab: usize,
}

fn default_copy_length() -> usize {
    4096
}

fn default_sixteen() -> usize {
    16
}

impl SelectiveCopyConfig {
    pub(super) fn build(&self) -> Result<Box<dyn Task>, TaskError> {
        const TASK: &str = "selective-copy";
        check_length(TASK, "length", self.length, 1)?;
        check_vocab(TASK, self.vocab)?;
        if self.data == 0 {
            return Err(out_of_range(TASK, "data", self.data, "1 or more"));
        }
        if self.data > self.length {
            return Err(TaskError::DoesNotFit {
                task: TASK,
                what: format!("{} data tokens", self.data),
                needs: self.data,
                length: self.length,
                cure: "raise `length` or lower `data`",
            });
        }
        Ok(Box::new(SelectiveCopy(self.clone())))
    }
}

struct SelectiveCopy(SelectiveCopyConfig);

impl Task for SelectiveCopy {
    fn vocab(&self) -> usize {
        self.0.vocab
    }

    fn chance(&self) -> f64 {
        1.0 / (self.0.vocab - 2) as f64
    }

    fn sample(&self, seed: u64, index: u64) -> Sample {
        let SelectiveCopyConfig {
            length,
            data,
            vocab,
        } = self.0;
        let mut random = Random::new(seed, index);
        let mut tokens = vec![0u32; length];
        let mut targets = vec![UNSCORED; length];
        for place in random.ascending(length as u64, data) {
            let token = 1 + random.token(vocab - 2);
            tokens[place as usize] = token;
            targets.push(token);
        }
        tokens.resize(targets.len(), vocab as u32 - 1);
        Sample { tokens, targets }
    }
}

/// Settings of the induction heads task (see the [module](super) page).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InductionConfig {
    /// Tokens in a sequence.
    #[serde(default = "default_induction_length")]
    pub length: usize,
    /// Size of the vocabulary with the special token (its last).
    #[serde(default = "default_sixteen")]
    pub vocab: usize,
}

fn default_induction_length() -> usize {
    256
}

impl InductionConfig {
    pub(super) fn build(&self) -> Result<Box<dyn Task>, TaskError> {
        const TASK: &str = "induction";
        check_length(TASK, "length", self.length, 4)?;
        check_vocab(TASK, self.vocab)?;
        Ok(Box::new(Induction(self.clone())))
    }
}

struct Induction(InductionConfig);

impl Task for Induction {
    fn vocab(&self) -> usize {
        self.0.vocab
    }

    fn chance(&self) -> f64 {
        1.0 / (self.0.vocab - 1) as f64
    }

    fn sample(&self, seed: u64, index: u64) -> Sample {
        let InductionConfig { length, vocab } = self.0;
        let mut random = Random::new(seed, index);
        let special = vocab as u32 - 1;
        let mut tokens: Vec<u32> = (0..length).map(|_| random.token(vocab - 1)).collect();
        let mut targets = vec![UNSCORED; length];
        let place = random.below(length - 3);
        tokens[place] = special;
        tokens[length - 1] = special;
        targets[length - 1] = tokens[place + 1];
        Sample { tokens, targets }
    }
}

fn check_vocab(task: &'static str, vocab: usize) -> Result<(), TaskError> {
    if !(3..=MAX_VOCAB).contains(&vocab) {
        let must = format!("from 3 to {MAX_VOCAB}");
        return Err(out_of_range(task, "vocab", vocab, must));
    }
    Ok(())
}
