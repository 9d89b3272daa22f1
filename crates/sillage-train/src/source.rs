//! Where batches come from. A batch is a function of the recipe and of a sequence number, so that a
//! run that goes on sees what it would have seen.

use crate::error::TrainError;
use crate::net::Batch;
use crate::recipe::Recipe;
use crate::tasks::Task;
use crate::text::{self, Corpus};
use crate::tokens::Vocabulary;
use std::path::Path;

/// Seeds of validation streams differ from those of training by this.
const VALID: u64 = 0x7661_6c69_6461_7465;

/// Training and validation data.
pub enum Source {
    /// Texts.
    Text(Box<TextSource>),
    /// A generated task.
    Task(TaskSource),
}

/// Texts.
#[derive(Debug)]
pub struct TextSource {
    /// Their vocabulary.
    pub vocabulary: Vocabulary,
    /// What is trained on.
    pub train: Corpus,
    /// What is validated on; without it, the last twentieth of the training text.
    pub valid: Option<Corpus>,
    length: usize,
    reset: bool,
    seed: u64,
    byte_lengths: Vec<u32>,
}

/// A generated task.
pub struct TaskSource {
    train: Box<dyn Task>,
    valid: Box<dyn Task>,
    samples: u64,
    seed: u64,
}

/// Which part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// To train on.
    Train,
    /// To validate on.
    Valid,
}

impl Source {
    /// Of a recipe. `saved` is where an earlier part of the run left its tokenizer.
    ///
    /// # Errors
    /// Data that cannot be read, and tasks whose values do not go together.
    pub fn open(recipe: &Recipe, saved: Option<&Path>) -> Result<Self, TrainError> {
        let (data, seed) = (&recipe.data, recipe.seed);
        let Some(task) = &data.task else {
            let (vocabulary, train, valid) = text::read(data, saved)?;
            return Ok(Source::Text(Box::new(TextSource {
                byte_lengths: vocabulary.byte_lengths(),
                vocabulary,
                train,
                valid,
                length: data.length,
                reset: data.reset,
                seed,
            })));
        };
        let (train, valid) = (
            task.build()?,
            data.valid_task.as_ref().unwrap_or(task).build()?,
        );
        if valid.vocab() > train.vocab() {
            let message = format!(
                "{} tokens, but the training task has {}: give both the same vocabulary",
                valid.vocab(),
                train.vocab()
            );
            return Err(TrainError::value("data.valid_task", message));
        }
        Ok(Source::Task(TaskSource {
            train,
            valid,
            samples: data.samples,
            seed,
        }))
    }

    /// Number of tokens.
    #[must_use]
    pub fn vocab(&self) -> usize {
        match self {
            Source::Text(text) => text.vocabulary.size(),
            Source::Task(task) => task.train.vocab(),
        }
    }

    /// Sequences `from..from + count`.
    #[must_use]
    pub fn batch(&self, split: Split, from: u64, count: usize) -> Batch {
        let mut batch = Batch::default();
        for index in from..from + count as u64 {
            match self {
                Source::Text(text) => text.push(split, index, &mut batch),
                Source::Task(task) => task.push(split, index, &mut batch),
            }
        }
        batch
    }

    /// Sequences there are to validate on, if they are counted.
    #[must_use]
    pub fn valid_sequences(&self) -> Option<u64> {
        match self {
            Source::Text(text) => Some(text.sequences(Split::Valid)),
            Source::Task(_) => None,
        }
    }

    /// Bytes of text that the scored tokens of a batch stand for; `None` of tasks.
    #[must_use]
    pub fn bytes(&self, batch: &Batch) -> Option<u64> {
        let Source::Text(text) = self else {
            return None;
        };
        let bytes = |t: &u32| text.byte_lengths.get(*t as usize).copied().unwrap_or(0);
        Some(batch.targets.iter().map(|t| u64::from(bytes(t))).sum())
    }
}

impl TextSource {
    /// Sequences at the end of the training text that serve validation.
    fn held_out(&self) -> u64 {
        match self.valid {
            Some(_) => 0,
            None => (self.train.sequences(self.length) / 20).max(1),
        }
    }

    fn sequences(&self, split: Split) -> u64 {
        match (split, &self.valid) {
            (Split::Valid, Some(valid)) => valid.sequences(self.length),
            (Split::Valid, None) => self.held_out(),
            (Split::Train, _) => {
                let all = self.train.sequences(self.length);
                all.saturating_sub(self.held_out()).max(1)
            }
        }
    }

    fn push(&self, split: Split, index: u64, batch: &mut Batch) {
        let count = self.sequences(split).max(1);
        let (epoch, at) = (index / count, index % count);
        let (length, reset) = (self.length, self.reset);
        match (split, &self.valid) {
            (Split::Train, _) => {
                let at = shuffled(at, count, self.seed.wrapping_add(epoch));
                self.train.push(at, length, reset, batch);
            }
            (Split::Valid, Some(valid)) => valid.push(at, length, reset, batch),
            (Split::Valid, None) => {
                let first = self.train.sequences(length).saturating_sub(count);
                self.train.push(first + at, length, reset, batch);
            }
        }
    }
}

impl TaskSource {
    fn push(&self, split: Split, index: u64, batch: &mut Batch) {
        let sample = match split {
            Split::Train if self.samples > 0 => {
                let (epoch, at) = (index / self.samples, index % self.samples);
                let at = shuffled(at, self.samples, self.seed.wrapping_add(epoch));
                self.train.sample(self.seed, at)
            }
            Split::Train => self.train.sample(self.seed, index),
            Split::Valid => self.valid.sample(self.seed ^ VALID, index),
        };
        batch.push(&sample.tokens, &sample.targets);
    }
}

/// Place of `index` in an order of `count` that depends on the seed: a Feistel network over the next
/// power of four, walked until it lands inside.
fn shuffled(index: u64, count: u64, seed: u64) -> u64 {
    let half = (64 - count.saturating_sub(1).leading_zeros())
        .div_ceil(2)
        .max(1);
    let mask = (1u64 << half) - 1;
    let mut at = index;
    loop {
        let (mut left, mut right) = (at >> half, at & mask);
        for round in 0..4u64 {
            let mixed = (right ^ seed.wrapping_add(round << 32))
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .rotate_left(29)
                .wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (left, right) = (right, left ^ (mixed >> 32 & mask));
        }
        at = left << half | right;
        if at < count {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::shuffled;

    #[test]
    fn an_order_has_every_place_once() {
        for count in [1, 2, 3, 17, 64, 1000] {
            for seed in 0..3 {
                let mut places: Vec<u64> = (0..count).map(|i| shuffled(i, count, seed)).collect();
                if count > 60 {
                    let in_place = places.iter().zip(0..).filter(|(p, i)| **p == *i).count();
                    assert!(in_place < count as usize / 8, "{in_place}");
                }
                places.sort_unstable();
                assert_eq!(places, (0..count).collect::<Vec<_>>());
            }
        }
    }
}
