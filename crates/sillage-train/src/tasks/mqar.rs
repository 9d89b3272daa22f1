//! Multi-query associative recall.

use super::random::{Random, Urn};
use super::{MAX_VOCAB, Sample, Task, TaskError, UNSCORED, check_length, out_of_range};
use serde::{Deserialize, Serialize};

const TASK: &str = "mqar";

/// Settings of multi-query associative recall (see the [module](super) page).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqarConfig {
    /// Tokens in a sequence; even.
    pub length: usize,
    /// Key-value pairs, each asked for once.
    pub pairs: usize,
    /// Size of the vocabulary: keys come from its lower half, values from its upper.
    #[serde(default = "default_vocab")]
    pub vocab: usize,
    /// Power of the law that places the queries; 1 spreads them evenly, small
    /// values crowd them behind the pairs.
    #[serde(default = "default_power")]
    pub power_a: f64,
    /// Whether tokens that are neither pair nor query are random; otherwise 0.
    #[serde(default = "default_fill")]
    pub random_non_queries: bool,
    /// Other sizes that samples may have: length, pairs, and how many samples for each one of `length`.
    /// Easy ones teach a model to look up at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mixture: Vec<[usize; 3]>,
}

fn default_vocab() -> usize {
    8192
}

fn default_power() -> f64 {
    0.01
}

fn default_fill() -> bool {
    true
}

impl MqarConfig {
    pub(super) fn build(&self) -> Result<Box<dyn Task>, TaskError> {
        let mut sizes = vec![self.size(self.length, self.pairs, 1)?];
        for &[length, pairs, weight] in &self.mixture {
            sizes.push(self.size(length, pairs, weight)?);
        }
        let weights = sizes
            .iter()
            .try_fold(0, |sum: usize, s| sum.checked_add(s.weight));
        let weights = weights.filter(|&sum| sum <= MAX_VOCAB).ok_or_else(|| {
            let must = format!("of weights that add up to at most {MAX_VOCAB}");
            out_of_range(TASK, "mixture", "the list", must)
        })?;
        Ok(Box::new(Mqar {
            vocab: self.vocab,
            random_non_queries: self.random_non_queries,
            sizes,
            weights,
        }))
    }

    fn size(&self, length: usize, pairs: usize, weight: usize) -> Result<Size, TaskError> {
        self.check(length, pairs)?;
        let slots = (length - 2 * pairs) / 2;
        Ok(Size {
            length,
            pairs,
            weight,
            slots: Urn::power_law(slots, self.power_a - 1.0),
        })
    }

    fn check(&self, length: usize, pairs: usize) -> Result<(), TaskError> {
        check_length(TASK, "length", length, 4)?;
        if !length.is_multiple_of(2) {
            return Err(out_of_range(TASK, "length", length, "even"));
        }
        if pairs == 0 {
            return Err(out_of_range(TASK, "pairs", pairs, "1 or more"));
        }
        if pairs > length / 4 {
            return Err(TaskError::DoesNotFit {
                task: TASK,
                what: format!("{pairs} pairs and as many queries"),
                needs: pairs.saturating_mul(4),
                length,
                cure: "raise `length` or lower `pairs`",
            });
        }
        if self.vocab <= length || self.vocab > MAX_VOCAB {
            let must = format!("above `length` ({length}) and at most {MAX_VOCAB}");
            return Err(out_of_range(TASK, "vocab", self.vocab, must));
        }
        if !(self.power_a > 0.0 && self.power_a <= 4.0) {
            let must = "above 0 and at most 4";
            return Err(out_of_range(TASK, "power_a", self.power_a, must));
        }
        Ok(())
    }
}

struct Mqar {
    vocab: usize,
    random_non_queries: bool,
    sizes: Vec<Size>,
    /// The sum of the sizes' weights.
    weights: usize,
}

struct Size {
    length: usize,
    pairs: usize,
    weight: usize,
    slots: Urn,
}

impl Mqar {
    /// A size, drawn by weight where there are several.
    fn size(&self, random: &mut Random) -> &Size {
        let mut left = match self.sizes.len() {
            1 => 0,
            _ => random.below(self.weights),
        };
        let drawn = self.sizes.iter().find(|size| {
            let found = left < size.weight;
            left = left.saturating_sub(size.weight);
            found
        });
        drawn.unwrap_or(&self.sizes[0])
    }
}

impl Task for Mqar {
    fn vocab(&self) -> usize {
        self.vocab
    }

    fn chance(&self) -> f64 {
        1.0 / (self.vocab - self.vocab / 2) as f64
    }

    fn sample(&self, seed: u64, index: u64) -> Sample {
        let mut random = Random::new(seed, index);
        let vocab = self.vocab;
        let &Size {
            length,
            pairs,
            ref slots,
            ..
        } = self.size(&mut random);
        let half = vocab / 2;
        let keys = random.distinct(half as u64 - 1, pairs);
        let values = random.distinct((vocab - half) as u64, pairs);
        let mut tokens = vec![0u32; length];
        let mut targets = vec![UNSCORED; length];
        let mut slots = slots.clone();
        for (pair, (key, value)) in keys.iter().zip(&values).enumerate() {
            let (key, value) = (*key as u32 + 1, *value as u32 + half as u32);
            tokens[2 * pair] = key;
            tokens[2 * pair + 1] = value;
            if let Some(slot) = slots.draw(&mut random) {
                tokens[2 * pairs + 2 * slot] = key;
                targets[2 * pairs + 2 * slot] = value;
            }
        }
        if self.random_non_queries {
            for token in tokens.iter_mut().filter(|token| **token == 0) {
                *token = random.token(vocab);
            }
        }
        Sample { tokens, targets }
    }
}
