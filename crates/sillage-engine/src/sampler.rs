//! From logits to a token.
//!
//! The filters run in the order of Hugging Face's `generate`: repetition
//! penalty, temperature, top-k, top-p, min-p. The random numbers come from a
//! small generator whose output is fixed by its definition (PCG64-MCG,
//! <https://www.pcg-random.org>), so a seed gives the same text everywhere the
//! logits are the same.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use std::cmp::Ordering;

/// How tokens are chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 always takes the likeliest token.
    pub temperature: f32,
    /// Keeps the `k` likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the likeliest tokens that together reach this probability; 1 keeps all.
    pub top_p: f32,
    /// Drops tokens less likely than this share of the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of recent tokens; 1 does nothing.
    pub repetition_penalty: f32,
    /// How many of the latest tokens count as recent.
    pub repetition_window: usize,
    /// Start of the random sequence.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 0,
            top_p: 0.95,
            min_p: 0.0,
            repetition_penalty: 1.0,
            repetition_window: 256,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Always the likeliest token.
    #[must_use]
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            ..Self::default()
        }
    }

    /// Checks every setting's range.
    ///
    /// # Errors
    /// Names the first setting that is out of range and the range it must keep.
    pub fn check(&self) -> Result<(), SamplingError> {
        let wrong = |name, value, range| Err(SamplingError::OutOfRange { name, value, range });
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return wrong("temperature", self.temperature, "0 or more");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return wrong("top-p", self.top_p, "above 0, at most 1");
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return wrong("min-p", self.min_p, "from 0 to 1");
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            return wrong("repetition penalty", self.repetition_penalty, "above 0");
        }
        Ok(())
    }
}

/// What can be wrong with sampling.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplingError {
    /// A setting is out of its range.
    #[error("{name} is {value}; it must be {range}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: f32,
        /// What is allowed, in words.
        range: &'static str,
    },
    /// The model gave a logit that is not a number, or none above minus infinity.
    #[error(
        "the model gave no usable logits (NaN, or all minus infinity); its weights are damaged or overflow in this weight type: try `--to bf16` or check the file"
    )]
    BadLogits,
}

/// Chooses tokens; a value like the state it goes with: clone it to fork.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: Pcg64Mcg,
    scratch: Vec<(f32, u32)>,
}

impl Sampler {
    /// A sampler at the start of its random sequence.
    ///
    /// # Errors
    /// As [`Sampling::check`].
    pub fn new(sampling: Sampling) -> Result<Self, SamplingError> {
        sampling.check()?;
        let random = Pcg64Mcg::seed_from_u64(sampling.seed);
        Ok(Self {
            sampling,
            random,
            scratch: Vec::new(),
        })
    }

    /// Chooses a token by `logits` (`[vocab]`); `history` are the tokens so
    /// far, for the repetition penalty.
    ///
    /// # Errors
    /// [`SamplingError::BadLogits`].
    pub fn sample(&mut self, logits: &[f32], history: &[u32]) -> Result<u32, SamplingError> {
        // No logit is above infinity, and nothing compares with NaN.
        if !logits.iter().all(|l| *l < f32::INFINITY) {
            return Err(SamplingError::BadLogits);
        }
        let Sampling {
            temperature,
            repetition_penalty,
            ..
        } = self.sampling;
        if temperature == 0.0 && repetition_penalty == 1.0 {
            return likeliest(logits.iter().copied().zip(0..)).ok_or(SamplingError::BadLogits);
        }
        let mut candidates = std::mem::take(&mut self.scratch);
        candidates.clear();
        candidates.extend(logits.iter().zip(0u32..).map(|(&l, id)| (l, id)));
        self.penalise(&mut candidates, history);
        let chosen = if self.sampling.temperature == 0.0 {
            likeliest(candidates.iter().copied())
        } else {
            self.draw(&mut candidates)
        };
        self.scratch = candidates;
        chosen.ok_or(SamplingError::BadLogits)
    }

    fn penalise(&self, candidates: &mut [(f32, u32)], history: &[u32]) {
        let penalty = self.sampling.repetition_penalty;
        if penalty == 1.0 {
            return;
        }
        let recent = history
            .len()
            .saturating_sub(self.sampling.repetition_window);
        let mut seen: Vec<u32> = history[recent..].to_vec();
        seen.sort_unstable();
        seen.dedup();
        for id in seen {
            if let Some((logit, _)) = candidates.get_mut(id as usize) {
                *logit = if *logit > 0.0 {
                    *logit / penalty
                } else {
                    *logit * penalty
                };
            }
        }
    }

    /// Filters and draws; `None` when no candidate has a finite logit.
    fn draw(&mut self, candidates: &mut Vec<(f32, u32)>) -> Option<u32> {
        let Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            ..
        } = self.sampling;
        let top = candidates
            .iter()
            .map(|c| c.0)
            .fold(f32::NEG_INFINITY, f32::max);
        if top == f32::NEG_INFINITY {
            return None;
        }
        if top_k > 0 && top_k < candidates.len() {
            candidates.select_nth_unstable_by(top_k - 1, order);
            candidates.truncate(top_k);
        }
        for candidate in candidates.iter_mut() {
            candidate.0 = ((candidate.0 - top) / temperature).exp();
        }
        if min_p > 0.0 {
            candidates.retain(|c| c.0 >= min_p);
        }
        if top_p < 1.0 {
            nucleus(candidates, top_p);
        } else if top_k > 0 {
            // The selection above leaves an order that is not specified.
            candidates.sort_unstable_by_key(|c| c.1);
        }
        let total: f64 = candidates.iter().map(|c| f64::from(c.0)).sum();
        let mut left = uniform(&mut self.random) * total;
        for &(weight, id) in candidates.iter() {
            left -= f64::from(weight);
            if left < 0.0 {
                return Some(id);
            }
        }
        // Rounding can leave a crumb beyond the last candidate.
        candidates.iter().rev().find(|c| c.0 > 0.0).map(|c| c.1)
    }
}

/// A number in `0..1` with 53 random bits.
fn uniform(random: &mut Pcg64Mcg) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// The id of the largest logit, the lowest id among equals.
fn likeliest(candidates: impl Iterator<Item = (f32, u32)>) -> Option<u32> {
    let (mut best, mut found) = (f32::NEG_INFINITY, None);
    for (logit, id) in candidates {
        if logit > best {
            (best, found) = (logit, Some(id));
        }
    }
    found
}

/// Likelier first, and lower ids first among equals: a total order, so the same
/// logits give the same draw whatever the sort does.
fn order(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Keeps the likeliest that together have a share `top_p` of all weight.
fn nucleus(candidates: &mut Vec<(f32, u32)>, top_p: f32) {
    let total: f64 = candidates.iter().map(|c| f64::from(c.0)).sum();
    let wanted = f64::from(top_p) * total;
    // The wanted share is mostly among a few; only those are sorted then.
    let mut sorted = 0;
    for few in [64, 1024, usize::MAX] {
        let few = few.min(candidates.len());
        if few < candidates.len() {
            candidates[sorted..].select_nth_unstable_by(few - sorted, order);
        }
        candidates[sorted..few].sort_unstable_by(order);
        sorted = few;
        let mut sum = 0.0;
        let last = candidates[..few].iter().position(|c| {
            sum += f64::from(c.0);
            sum >= wanted
        });
        if let Some(last) = last {
            return candidates.truncate(last + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(sampling: Sampling) -> Sampler {
        Sampler::new(sampling).unwrap()
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        let mut s = sampler(Sampling::greedy());
        assert_eq!(s.sample(&[0.0, 2.0, 2.0, -1.0], &[]), Ok(1));
    }

    #[test]
    fn a_seed_fixes_the_sequence_and_a_clone_continues_it() {
        let logits: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin()).collect();
        let sampling = Sampling {
            temperature: 1.0,
            top_p: 0.9,
            seed: 7,
            ..Sampling::default()
        };
        let mut a = sampler(sampling.clone());
        let mut b = sampler(sampling);
        let first: Vec<_> = (0..20).map(|_| a.sample(&logits, &[])).collect();
        assert_eq!(
            first,
            (0..20).map(|_| b.sample(&logits, &[])).collect::<Vec<_>>()
        );
        let mut fork = a.clone();
        assert_eq!(a.sample(&logits, &[]), fork.sample(&logits, &[]));
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits = [0.0f32, 1.0, 2.0];
        let mut s = sampler(Sampling {
            temperature: 1.0,
            top_p: 1.0,
            ..Sampling::default()
        });
        let mut counts = [0usize; 3];
        for _ in 0..30_000 {
            counts[s.sample(&logits, &[]).unwrap() as usize] += 1;
        }
        let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        for (count, &logit) in counts.iter().zip(&logits) {
            let expected = f64::from(logit).exp() / total;
            assert!((*count as f64 / 30_000.0 - expected).abs() < 0.01);
        }
    }

    #[test]
    fn filters_cut_what_they_say() {
        let logits = [0.0f32, 1.0, 2.0, 3.0, 4.0];
        let all = |sampling: Sampling| {
            let mut s = sampler(sampling);
            let mut ids: Vec<u32> = (0..2000).map(|_| s.sample(&logits, &[]).unwrap()).collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let base = Sampling {
            temperature: 1.0,
            top_p: 1.0,
            ..Sampling::default()
        };
        assert_eq!(
            all(Sampling {
                top_k: 2,
                ..base.clone()
            }),
            [3, 4]
        );
        assert_eq!(
            all(Sampling {
                top_p: 0.5,
                ..base.clone()
            }),
            [4]
        );
        // e^-1 = 0.37 of the likeliest passes, e^-2 = 0.14 does not.
        assert_eq!(
            all(Sampling {
                min_p: 0.3,
                ..base.clone()
            }),
            [3, 4]
        );
        assert_eq!(all(base), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_nucleus_is_what_sorting_all_would_give() {
        for (count, top_p) in [
            (5, 0.5),
            (100, 0.9),
            (3000, 0.95),
            (3000, 0.9999),
            (70, 1.0),
        ] {
            let mut all: Vec<(f32, u32)> = (0..count)
                .map(|i| ((i as f32 * 0.7).sin().exp() * 0.5, i))
                .collect();
            let mut sorted = all.clone();
            sorted.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let total: f64 = all.iter().map(|c| f64::from(c.0)).sum();
            let mut sum = 0.0;
            let last = sorted.iter().position(|c| {
                sum += f64::from(c.0);
                sum >= f64::from(top_p) * total
            });
            sorted.truncate(last.map_or(sorted.len(), |at| at + 1));
            nucleus(&mut all, top_p);
            assert_eq!(all, sorted, "{count} {top_p}");
        }
    }

    #[test]
    fn repetition_is_penalised_within_the_window() {
        let mut s = sampler(Sampling {
            repetition_penalty: 2.0,
            repetition_window: 1,
            ..Sampling::greedy()
        });
        assert_eq!(s.sample(&[3.0, 2.0], &[1, 0]), Ok(1));
        assert_eq!(s.sample(&[3.0, 2.0], &[0, 1]), Ok(0));
    }

    #[test]
    fn bad_logits_and_settings_are_refused() {
        let mut s = sampler(Sampling::default());
        assert_eq!(
            s.sample(&[f32::NAN, 1.0], &[]),
            Err(SamplingError::BadLogits)
        );
        assert_eq!(
            s.sample(&[f32::NEG_INFINITY; 3], &[]),
            Err(SamplingError::BadLogits)
        );
        assert_eq!(s.sample(&[], &[]), Err(SamplingError::BadLogits));
        for sampling in [
            Sampling {
                temperature: -1.0,
                ..Sampling::default()
            },
            Sampling {
                temperature: f32::NAN,
                ..Sampling::default()
            },
            Sampling {
                top_p: 0.0,
                ..Sampling::default()
            },
            Sampling {
                min_p: 1.5,
                ..Sampling::default()
            },
            Sampling {
                repetition_penalty: 0.0,
                ..Sampling::default()
            },
        ] {
            assert!(Sampler::new(sampling).is_err());
        }
    }
}
