//! Figures from samples: medians, intervals, ratios, crossovers, noise.
//!
//! Intervals are for 95 %. Those of medians and ratios are percentiles of a
//! bootstrap of [`RESAMPLES`] resamples with a fixed generator, so the same
//! samples and seed give the same interval for ever.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Resamples of a bootstrap.
pub const RESAMPLES: usize = 2_000;

/// An A/A difference beyond this makes a figure worthless.
pub const TOO_NOISY: f64 = 0.03;

/// A figure and where it may lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The figure.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Samples (or trials) behind it. One sample has no spread: the ends are
    /// then the figure itself, and nobody should read them as certainty.
    pub n: usize,
}

impl Interval {
    /// Whether `x` lies within.
    #[must_use]
    pub fn contains(&self, x: f64) -> bool {
        self.low <= x && x <= self.high
    }

    /// Whether the two share no value. Never so for single samples, whose
    /// spread is not known.
    #[must_use]
    pub fn apart_from(&self, other: &Self) -> bool {
        self.n > 1 && other.n > 1 && (self.high < other.low || other.high < self.low)
    }
}

/// Indices below a bound, evenly and the same for ever.
pub(crate) struct Dice(Pcg64Mcg);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed))
    }

    /// An index below `n`, which is not zero.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    /// Shuffles as Fisher and Yates do.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// The median; none of no samples or where one is not a number.
#[must_use]
pub fn median(samples: &[f64]) -> Option<f64> {
    if samples.iter().any(|x| x.is_nan()) {
        return None;
    }
    median_of(&mut samples.to_vec())
}

fn median_of(samples: &mut [f64]) -> Option<f64> {
    samples.sort_unstable_by(f64::total_cmp);
    match samples.len() {
        0 => None,
        n if n % 2 == 1 => Some(samples[n / 2]),
        n => Some(f64::midpoint(samples[n / 2 - 1], samples[n / 2])),
    }
}

/// The value below which the share `q` of sorted values lies, between
/// neighbours linearly.
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = q.clamp(0.0, 1.0) * last as f64;
    let (below, share) = (at.floor() as usize, at.fract());
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * share)
}

/// The interval that `resampled` spans around `value`.
fn percentiles(value: f64, mut resampled: Vec<f64>, n: usize) -> Option<Interval> {
    resampled.retain(|x| x.is_finite());
    resampled.sort_unstable_by(f64::total_cmp);
    Some(Interval {
        value,
        low: quantile(&resampled, 0.025)?.min(value),
        high: quantile(&resampled, 0.975)?.max(value),
        n,
    })
}

fn resample(samples: &[f64], dice: &mut Dice, into: &mut Vec<f64>) {
    into.clear();
    into.extend((0..samples.len()).map(|_| samples[dice.below(samples.len())]));
}

/// The median with the percentile interval of its bootstrap.
#[must_use]
pub fn bootstrap_median(samples: &[f64], seed: u64) -> Option<Interval> {
    let value = median(samples)?;
    let mut dice = Dice::new(seed);
    let mut drawn = Vec::new();
    let medians = (0..RESAMPLES).filter_map(|_| {
        resample(samples, &mut dice, &mut drawn);
        median_of(&mut drawn)
    });
    percentiles(value, medians.collect(), samples.len())
}

/// How the samples of two sides belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// The sides took turns: sample `i` of one was taken beside sample `i` of
    /// the other, and a resample draws rounds.
    Paired,
    /// They were measured apart.
    Unpaired,
}

/// `median(a) / median(b)` with the interval of its bootstrap. None where the
/// denominator is zero, or where paired sides differ in number.
#[must_use]
pub fn ratio(a: &[f64], b: &[f64], pairing: Pairing, seed: u64) -> Option<Interval> {
    let value = median(a)? / median(b)?;
    if !value.is_finite() || (pairing == Pairing::Paired && a.len() != b.len()) {
        return None;
    }
    let mut dice = Dice::new(seed);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let ratios = (0..RESAMPLES).filter_map(|_| {
        if pairing == Pairing::Paired {
            left.clear();
            right.clear();
            for _ in 0..a.len() {
                let round = dice.below(a.len());
                left.push(a[round]);
                right.push(b[round]);
            }
        } else {
            resample(a, &mut dice, &mut left);
            resample(b, &mut dice, &mut right);
        }
        Some(median_of(&mut left)? / median_of(&mut right)?)
    });
    percentiles(value, ratios.collect(), a.len().min(b.len()))
}

/// The mean with Student's interval: right for the few seeds of a training,
/// where a bootstrap would be too narrow.
#[must_use]
pub fn mean(samples: &[f64]) -> Option<Interval> {
    let n = samples.len();
    if n == 0 || samples.iter().any(|x| !x.is_finite()) {
        return None;
    }
    let value = samples.iter().sum::<f64>() / n as f64;
    let half = if n == 1 {
        0.0
    } else {
        let squares: f64 = samples.iter().map(|x| (x - value).powi(2)).sum();
        student(n - 1) * (squares / (n - 1) as f64 / n as f64).sqrt()
    };
    Some(Interval {
        value,
        low: value - half,
        high: value + half,
        n,
    })
}

/// The .975 quantile of Student's distribution.
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042,
    ];
    match freedom {
        0 => f64::INFINITY,
        1..=30 => TABLE[freedom - 1],
        // Cornish and Fisher's expansion around the normal quantile.
        _ => {
            let (z, f) = (1.959_964_f64, freedom as f64);
            z + (z.powi(3) + z) / (4.0 * f)
                + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * f * f)
        }
    }
}

/// A proportion, such as an accuracy, with Wilson's interval: it stays within
/// 0 and 1 and is not of width zero at the ends. None of no trials or where
/// more succeeded than were tried.
#[must_use]
pub fn wilson(successes: u64, trials: u64) -> Option<Interval> {
    if trials == 0 || successes > trials {
        return None;
    }
    let (n, z2) = (trials as f64, 1.959_964_f64.powi(2));
    let value = successes as f64 / n;
    let centre = (value + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = (z2 * (value * (1.0 - value) / n + z2 / (4.0 * n * n))).sqrt() / (1.0 + z2 / n);
    Some(Interval {
        value,
        low: (centre - half).max(0.0).min(value),
        high: (centre + half).min(1.0).max(value),
        n: usize::try_from(trials).unwrap_or(usize::MAX),
    })
}

/// How far two interleaved series of the very same work differ: the median of
/// the relative differences, round by round. None of no common round.
#[must_use]
pub fn aa_noise(first: &[f64], again: &[f64]) -> Option<f64> {
    let differences: Vec<f64> = first
        .iter()
        .zip(again)
        .map(|(a, b)| {
            let scale = f64::midpoint(a.abs(), b.abs());
            if scale > 0.0 {
                (a - b).abs() / scale
            } else {
                0.0
            }
        })
        .collect();
    median(&differences)
}

/// Whether such noise makes a figure worthless ([`TOO_NOISY`]).
#[must_use]
pub fn too_noisy(noise: f64) -> bool {
    // A noise that is not a number is no proof of quiet.
    noise.is_nan() || noise > TOO_NOISY
}

/// One place of a curve: where, and its samples; none of them if it is a gap.
pub type Sampled = (f64, Vec<f64>);

/// The power with which a curve grows: the slope of the straight line through
/// the medians in log-log scale, by least squares, with the interval of its
/// bootstrap. Gaps and values that have no logarithm are left out; none of
/// fewer than two places.
#[must_use]
pub fn slope(curve: &[Sampled], seed: u64) -> Option<Interval> {
    let usable: Vec<&Sampled> = curve
        .iter()
        .filter(|(x, samples)| *x > 0.0 && median(samples).is_some_and(|y| y > 0.0))
        .collect();
    let line = |medians: &[f64]| -> Option<f64> {
        let points: Vec<(f64, f64)> = usable
            .iter()
            .zip(medians)
            .map(|((x, _), y)| (x.ln(), y.ln()))
            .collect();
        let n = points.len() as f64;
        let mean_x = points.iter().map(|p| p.0).sum::<f64>() / n;
        let mean_y = points.iter().map(|p| p.1).sum::<f64>() / n;
        let below: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
        let above: f64 = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum();
        (below > 0.0).then(|| above / below)
    };
    let medians: Vec<f64> = usable.iter().filter_map(|(_, s)| median(s)).collect();
    let value = line(&medians)?;
    let mut dice = Dice::new(seed);
    let slopes = (0..RESAMPLES).filter_map(|_| line(&drawn_medians(&usable, &mut dice)));
    let n = usable.iter().map(|(_, s)| s.len()).min()?;
    percentiles(value, slopes.collect(), n)
}

fn drawn_medians(curve: &[&Sampled], dice: &mut Dice) -> Vec<f64> {
    let mut drawn = Vec::new();
    curve
        .iter()
        .map(|(_, samples)| {
            resample(samples, dice, &mut drawn);
            median_of(&mut drawn).unwrap_or(f64::NAN)
        })
        .collect()
}

/// Where two curves change places for the last time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Crossover {
    /// Where, with the spread of its bootstrap; within the measured range.
    pub x: Interval,
    /// Whether the first curve is the lower one from there on.
    pub first_is_lower_after: bool,
    /// How often they cross in all; more than once is a sign of noise.
    pub crossings: usize,
    /// Share of the resamples in which they cross the same way at all.
    pub share: f64,
}

/// Where curve `a` crosses curve `b`, by straight lines in log-log scale
/// between neighbouring places at which both were measured.
///
/// A place that one curve does not name is no place; a place with no samples
/// is a gap, and no line is drawn across it. None if they do not cross within
/// what was measured: nothing is ever extrapolated. Where they cross several
/// times, it is the last one that counts, since from there on one side leads.
#[must_use]
pub fn crossover(a: &[Sampled], b: &[Sampled], seed: u64) -> Option<Crossover> {
    let places = common(a, b);
    let measured: Vec<(f64, Option<f64>)> = places
        .iter()
        .map(|(x, left, right)| {
            let medians = median(left).zip(median(right));
            (*x, medians.and_then(|(a, b)| difference(a, b)))
        })
        .collect();
    let (x, first_is_lower_after, crossings) = last_crossing(&measured)?;
    let mut dice = Dice::new(seed);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut found = Vec::new();
    for _ in 0..RESAMPLES {
        let drawn: Vec<(f64, Option<f64>)> = places
            .iter()
            .map(|(x, a, b)| {
                resample(a, &mut dice, &mut left);
                resample(b, &mut dice, &mut right);
                let medians = median_of(&mut left).zip(median_of(&mut right));
                (*x, medians.and_then(|(a, b)| difference(a, b)))
            })
            .collect();
        if let Some((x, lower, _)) = last_crossing(&drawn)
            && lower == first_is_lower_after
        {
            found.push(x);
        }
    }
    let n = places
        .iter()
        .flat_map(|(_, a, b)| [a.len(), b.len()])
        .filter(|&n| n > 0)
        .min()?;
    Some(Crossover {
        share: found.len() as f64 / RESAMPLES as f64,
        x: if found.is_empty() {
            Interval {
                value: x,
                low: x,
                high: x,
                n: 1,
            }
        } else {
            percentiles(x, found, n)?
        },
        first_is_lower_after,
        crossings,
    })
}

/// The places that both curves name, ascending.
fn common<'a>(a: &'a [Sampled], b: &'a [Sampled]) -> Vec<(f64, &'a [f64], &'a [f64])> {
    let mut places: Vec<(f64, &[f64], &[f64])> = a
        .iter()
        .filter(|(x, _)| *x > 0.0)
        .filter_map(|(x, left)| {
            let (_, right) = b.iter().find(|(other, _)| other == x)?;
            Some((*x, left.as_slice(), right.as_slice()))
        })
        .collect();
    places.sort_by(|p, q| p.0.total_cmp(&q.0));
    places
}

/// How far one value lies above the other, in log scale; none where there is
/// no logarithm.
fn difference(a: f64, b: f64) -> Option<f64> {
    (a > 0.0 && b > 0.0).then(|| a.ln() - b.ln())
}

/// The last change of sign among neighbours: where, whether it falls below
/// zero there, and how many changes there are.
fn last_crossing(differences: &[(f64, Option<f64>)]) -> Option<(f64, bool, usize)> {
    let mut last = None;
    let mut count = 0;
    // The last value on one side, and where the curves lay on each other since.
    let mut before: Option<(f64, f64)> = None;
    let mut touching: Option<f64> = None;
    for &(x, difference) in differences {
        match difference {
            None => (before, touching) = (None, None),
            Some(0.0) => touching = touching.or(Some(x)),
            Some(d) => {
                if let Some((x0, d0)) = before
                    && (d0 < 0.0) != (d < 0.0)
                {
                    let between = || (x0.ln() + (x.ln() - x0.ln()) * d0 / (d0 - d)).exp();
                    let at = touching.unwrap_or_else(between).clamp(x0, x);
                    count += 1;
                    last = Some((at, d < 0.0));
                }
                (before, touching) = (Some((x, d)), None);
            }
        }
    }
    last.map(|(x, lower)| (x, lower, count))
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
