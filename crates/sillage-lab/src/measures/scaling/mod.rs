//! `scaling`: how time and memory grow with length, for a state space model, a
//! hybrid and a transformer of matched sizes.
//!
//! Reading is measured by reading: every sample begins with an empty state.
//! Writing at a depth is measured from a state of that depth (`subject` says
//! how it is made), with every session's cache its own. All sides take turns in
//! a shuffled order; the state space model runs twice a round, and what its two
//! runs differ by is noise.

pub(crate) mod decode;
pub mod flops;
mod long;
mod memory;
mod plan;
mod prefill;
mod rival;
pub(crate) mod subject;
#[cfg(test)]
pub(crate) mod tests;

pub use memory::probe;

use crate::LabError;
use crate::plan::{Context, Job, Measure, Scale};
use crate::record::{Better, Point};
use crate::shapes::{Kind, Size, Weights};
use crate::timing::Sides;

pub(crate) const NAME: &str = "scaling";

/// The measure.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scaling;

impl Measure for Scaling {
    fn name(&self) -> &'static str {
        NAME
    }

    fn question(&self) -> &'static str {
        "How do time and memory grow with the length of the text?"
    }

    fn jobs(&self, scale: Scale) -> Result<Vec<Job>, LabError> {
        plan::jobs(scale)
    }
}

/// A place of this measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spot {
    pub(crate) size: Size,
    pub(crate) weights: Weights,
    pub(crate) length: u64,
    pub(crate) sessions: usize,
}

impl Spot {
    /// A point of `measure` here, to be filled in.
    pub(crate) fn point(
        &self,
        measure: &str,
        (metric, unit, better): Metric,
        series: &str,
    ) -> Point {
        Point::new(measure, metric, series, unit, better)
            .at("size", self.size.name())
            .at("weights", self.weights.name())
            .at("length", self.length)
            .at("sessions", self.sessions)
    }
}

/// Name, unit, and which way is better.
pub(crate) type Metric = (&'static str, &'static str, Better);

pub(crate) use plan::seconds as seconds_of;

const FIRST_TOKEN: Metric = ("time to first token", "s", Better::Lower);
const PREFILL: Metric = ("prefill rate", "tokens/s", Better::Higher);
pub(crate) const DECODE: Metric = ("decode rate", "tokens/s", Better::Higher);
const RESIDENT: Metric = ("resident memory", "bytes", Better::Lower);
const STATE: Metric = ("state bytes", "bytes", Better::Lower);
const FLOPS: Metric = ("flops per token", "FLOP", Better::Lower);
const FLOPS_MODEL: Metric = ("flops per token, model", "FLOP", Better::Lower);
pub(crate) const NOISE: Metric = ("noise", "relative difference", Better::Lower);

/// The noise of some sides, if the first was run twice and did not fail.
pub(crate) fn noise(measure: &str, spot: &Spot, of: &str, sides: &Sides) -> Option<Point> {
    let noise = sides.noise()?;
    let point = spot
        .point(measure, NOISE, Kind::Mamba2.series())
        .at("of", of)
        .samples(vec![noise]);
    Some(point)
}

/// Progress of a job whose sides take their turns.
pub(crate) struct Turns<'a> {
    context: &'a Context,
    done: std::cell::Cell<usize>,
    of: usize,
}

impl<'a> Turns<'a> {
    /// `of` turns in all.
    pub(crate) fn new(context: &'a Context, of: usize) -> Self {
        Self {
            context,
            done: std::cell::Cell::new(0),
            of: of.max(1),
        }
    }

    /// Says that a turn begins or is so far.
    pub(crate) fn say(&self, share: f64, words: &str) {
        let done = (self.done.get() as f64 + share) / self.of as f64;
        (self.context.progress)(done.min(1.0), words);
    }

    /// A turn is over.
    pub(crate) fn next(&self) {
        self.done.set(self.done.get() + 1);
    }
}
