//! Sides that are compared: warmed up, then measured in turns.
//!
//! Every round runs each side once, in an order that is shuffled anew, so that
//! a machine that grows warm or busy does so for all of them. With the first
//! side run twice a round, the difference between the two is noise and nothing
//! else.

use crate::error::LabError;
use crate::record::Outcome;
use crate::stats::{self, Dice, Interval, Pairing};
use std::time::Instant;

/// One side: a name, and what gives one sample.
pub struct Side<'a> {
    /// Whose samples these are.
    pub name: String,
    /// Does the work once and says what it measured (seconds, tokens per
    /// second); what is to be timed is up to the side.
    pub run: Box<dyn FnMut() -> Result<f64, LabError> + 'a>,
}

impl<'a> Side<'a> {
    /// A side.
    pub fn new(name: impl Into<String>, run: impl FnMut() -> Result<f64, LabError> + 'a) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

/// Seconds that `work` takes.
///
/// # Errors
/// Those of `work`.
pub fn seconds(work: impl FnOnce() -> Result<(), LabError>) -> Result<f64, LabError> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

/// What sides gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Sides {
    /// Name and samples of each, in the order in which they were given; a side
    /// that failed is missing with its reason, and the others went on.
    pub sides: Vec<(String, Outcome)>,
    /// Samples of the first side's second run in each round, if asked for.
    pub again: Option<Vec<f64>>,
}

impl Sides {
    /// The samples of a side that did not fail.
    #[must_use]
    pub fn samples(&self, side: usize) -> Option<&[f64]> {
        match &self.sides.get(side)?.1 {
            Outcome::Measured { samples } => Some(samples),
            Outcome::Missing { .. } => None,
        }
    }

    /// `median(a) / median(b)`, paired by round.
    #[must_use]
    pub fn ratio(&self, a: usize, b: usize, seed: u64) -> Option<Interval> {
        stats::ratio(self.samples(a)?, self.samples(b)?, Pairing::Paired, seed)
    }

    /// The A/A difference, if it was asked for.
    #[must_use]
    pub fn noise(&self) -> Option<f64> {
        stats::aa_noise(self.samples(0)?, self.again.as_deref()?)
    }
}

/// Runs every side once to warm up, then `rounds` times in turns, in an order
/// that `seed` shuffles anew for each round.
///
/// # Errors
/// No side or no round.
pub fn compare_sides(rounds: usize, seed: u64, sides: &mut [Side<'_>]) -> Result<Sides, LabError> {
    turns(rounds, seed, sides, false)
}

/// As [`compare_sides`], with the first side run twice in each round so that
/// [`Sides::noise`] is known.
///
/// # Errors
/// No side or no round.
pub fn compare_sides_twice(
    rounds: usize,
    seed: u64,
    sides: &mut [Side<'_>],
) -> Result<Sides, LabError> {
    turns(rounds, seed, sides, true)
}

fn turns(rounds: usize, seed: u64, sides: &mut [Side<'_>], twice: bool) -> Result<Sides, LabError> {
    if rounds == 0 || sides.is_empty() {
        return Err(LabError::Failed(format!(
            "nothing to measure: {} sides in {rounds} rounds; both must be at least 1",
            sides.len()
        )));
    }
    let names: Vec<String> = sides.iter().map(|side| side.name.clone()).collect();
    let mut failures: Vec<Option<String>> = vec![None; sides.len()];
    let mut samples = vec![Vec::with_capacity(rounds); sides.len()];
    let mut again = Vec::new();
    let mut run = |side: usize, failures: &mut Vec<Option<String>>| -> Option<f64> {
        if failures[side].is_some() {
            return None;
        }
        match (sides[side].run)() {
            Ok(sample) if sample.is_finite() => return Some(sample),
            Ok(sample) => failures[side] = Some(format!("measured {sample}, which is no figure")),
            Err(error) => failures[side] = Some(error.to_string()),
        }
        None
    };
    for side in 0..names.len() {
        run(side, &mut failures);
    }
    let mut dice = Dice::new(seed);
    // The first side's second run stands behind the last side.
    let mut order: Vec<usize> = (0..names.len() + usize::from(twice)).collect();
    for _ in 0..rounds {
        dice.shuffle(&mut order);
        for &turn in &order {
            // Which of the first side's two runs comes first is a matter of
            // the shuffle, so neither series is always the earlier one.
            let second = turn == names.len();
            let side = if second { 0 } else { turn };
            if let Some(sample) = run(side, &mut failures) {
                let series = if second {
                    &mut again
                } else {
                    &mut samples[side]
                };
                series.push(sample);
            }
        }
    }
    let outcome = |(samples, failure): (Vec<f64>, Option<String>)| match failure {
        Some(reason) => Outcome::Missing { reason },
        None => Outcome::Measured { samples },
    };
    let outcomes = samples.into_iter().zip(failures).map(outcome);
    Ok(Sides {
        sides: names.into_iter().zip(outcomes).collect(),
        again: twice.then_some(again),
    })
}

#[cfg(test)]
#[path = "timing_tests.rs"]
mod tests;
