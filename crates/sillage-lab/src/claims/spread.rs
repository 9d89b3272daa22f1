//! What two sides make of each other, with its spread; on top of
//! [`stats`](crate::stats).

use super::evidence::Cell;
use crate::stats::{self, Dice, Interval, Pairing, RESAMPLES, bootstrap_median, median};

/// A value and the interval in which it lies with 95 % confidence.
pub(crate) type Estimate = Interval;

/// The generator's seed: the same run gives the same report to the last digit.
pub(super) const SEED: u64 = 0;

/// How two sides are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// First over second.
    Ratio,
    /// First less second.
    Difference,
    /// `exp(first - second)`: of losses in nats, the ratio of perplexities.
    Perplexity,
}

/// The figure of a model that was trained here: the mean over `seeds` (one mean each) with Student's
/// interval, since what differs between seeds is far more than what differs between the samples of
/// one; of a single seed that of its samples.
pub(super) fn of_seeds(seeds: &[f64], samples: &[f64]) -> Option<Estimate> {
    let mut mean = stats::mean(if seeds.len() > 1 { seeds } else { samples })?;
    // What cannot be above 1, or below 0, is not said to be.
    if samples.iter().all(|sample| (0.0..=1.0).contains(sample)) {
        mean.low = mean.low.max(0.0);
        mean.high = mean.high.min(1.0);
    }
    Some(mean)
}

/// Two sides put together. Sides that took turns in one job, or read the same texts in it, are paired
/// sample by sample.
pub(crate) fn between(a: &Cell, b: &Cell, how: How) -> Option<Estimate> {
    if a.learned() {
        return of_means(&a.estimate?, &b.estimate?, how);
    }
    let together = !a.job.is_empty() && a.job == b.job && a.samples.len() == b.samples.len();
    match how {
        How::Ratio => {
            let pairing = if together {
                Pairing::Paired
            } else {
                Pairing::Unpaired
            };
            stats::ratio(&a.samples, &b.samples, pairing, SEED)
        }
        How::Difference => apart(&a.samples, &b.samples, together),
        How::Perplexity => apart(&a.samples, &b.samples, together).map(|d| Estimate {
            value: d.value.exp(),
            low: d.low.exp(),
            high: d.high.exp(),
            n: d.n,
        }),
    }
}

/// Of means, whose errors add as squares do.
fn of_means(a: &Estimate, b: &Estimate, how: How) -> Option<Estimate> {
    let half = |e: &Estimate| (e.high - e.low) / 2.0;
    let (value, spread) = match how {
        How::Ratio => {
            let value = a.value / b.value;
            let parts = (half(a) / a.value).hypot(half(b) / b.value);
            (
                value,
                if parts.is_finite() {
                    value.abs() * parts
                } else {
                    0.0
                },
            )
        }
        How::Difference => (a.value - b.value, half(a).hypot(half(b))),
        How::Perplexity => {
            let value = (a.value - b.value).exp();
            (value, value * half(a).hypot(half(b)))
        }
    };
    value.is_finite().then_some(Estimate {
        value,
        low: value - spread,
        high: value + spread,
        n: a.n.min(b.n),
    })
}

/// The mean of several figures of the same models, which err together.
pub(super) fn mean_of(all: &[Estimate]) -> Option<Estimate> {
    let n = all.iter().map(|one| one.n).min()?;
    let mean = |of: fn(&Estimate) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
    Some(Estimate {
        value: mean(|one| one.value),
        low: mean(|one| one.low),
        high: mean(|one| one.high),
        n,
    })
}

/// The difference of two medians, or of pairs their median difference, with the interval of its
/// bootstrap.
fn apart(a: &[f64], b: &[f64], paired: bool) -> Option<Estimate> {
    if paired {
        let each: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        return bootstrap_median(&each, SEED);
    }
    let value = median(a)? - median(b)?;
    let mut dice = Dice::new(SEED);
    let mut drawn = |from: &[f64]| -> Vec<f64> {
        (0..from.len())
            .map(|_| from[dice.below(from.len())])
            .collect()
    };
    let mut all: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| Some(median(&drawn(a))? - median(&drawn(b))?))
        .collect();
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all[(share * (all.len() - 1) as f64).round() as usize];
    Some(Estimate {
        value,
        low: at(0.025).min(value),
        high: at(0.975).max(value),
        n: a.len().min(b.len()),
    })
}

/// An interval widened by a relative noise.
pub(crate) fn widened(of: &Estimate, noise: f64) -> Estimate {
    Estimate {
        low: of.low - noise * of.low.abs(),
        high: of.high + noise * of.high.abs(),
        ..*of
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trained_share_stays_within_one() {
        let value = of_seeds(&[0.99], &[0.99, 1.0, 0.98]).unwrap();
        assert!(value.high <= 1.0 && value.low < 0.99);
        assert_eq!(of_seeds(&[], &[]), None);
    }

    #[test]
    fn what_differs_between_seeds_is_the_spread() {
        let samples: Vec<f64> = [0.9, 0.1, 0.1].iter().flat_map(|v| [*v; 256]).collect();
        let value = of_seeds(&[0.9, 0.1, 0.1], &samples).unwrap();
        assert_eq!((value.n, value.low, value.high), (3, 0.0, 1.0));
    }

    #[test]
    fn differences_hold_the_value_and_repeat() {
        let first = apart(&[3.0, 3.1, 2.9], &[1.0, 1.1, 0.9], false).unwrap();
        assert!(first.low <= first.value && first.value <= first.high);
        assert!((first.value - 2.0).abs() < 1e-9);
        assert_eq!(
            Some(first),
            apart(&[3.0, 3.1, 2.9], &[1.0, 1.1, 0.9], false)
        );
        assert_eq!(apart(&[], &[1.0], false), None);
        // Of pairs that always differ by the same, that is certain.
        let pairs = apart(&[3.0, 9.0, 2.0], &[1.0, 7.0, 0.0], true).unwrap();
        assert_eq!((pairs.value, pairs.low, pairs.high), (2.0, 2.0, 2.0));
    }

    #[test]
    fn a_ratio_of_means_by_zero_is_none() {
        let one = of_seeds(&[1.0, 1.0], &[1.0, 1.0]).unwrap();
        let zero = of_seeds(&[0.0, 0.0], &[0.0, 0.0]).unwrap();
        assert_eq!(of_means(&one, &zero, How::Ratio), None);
        let none = of_means(&zero, &one, How::Ratio).unwrap();
        assert_eq!((none.value, none.low, none.high), (0.0, 0.0, 0.0));
    }
}
