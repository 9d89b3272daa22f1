//! `voice`: a state space model's voice beside its attention twin.
//!
//! Sonic was launched with six ratios and no absolutes: validation loss, word
//! error rate, quality, first audio, real-time factor, streams. Here both
//! models speak the same texts through the same code, and every figure is an
//! absolute one, at 5 s, 60 s and 10 min of speech.
//!
//! What happens at the end of a sentence decides what length costs, so every
//! figure is taken twice: `carry` false goes back to the voice's state there
//! (as the product does and as both models were trained), `carry` true never
//! does. *First audio* at `carry` true is that of one more sentence after so
//! many seconds; at `carry` false that of a text of so many seconds.
//!
//! Word error rate, quality and validation loss need recognisers and PyTorch:
//! `benches/lab/voice.py` and `benches/lab/voice_loss.py` write them as points,
//! which are taken in here if they are of these very weights.

mod records;
mod scores;
mod sides;
mod speech;
mod streams;
#[cfg(test)]
mod tests;
mod texts;

use crate::LabError;
use crate::plan::{Context, Job, Measure, Scale};
use crate::record::{Better, Point};
use sides::{Sides, Wanted};
use std::sync::Arc;

/// Its name, and the measure of its points.
const NAME: &str = "voice";
/// Lengths of speech in seconds.
const LENGTHS: [u32; 3] = [5, 60, 600];
/// Longest rows that both models were trained on, in seconds.
const TRAINED: f64 = 12.8;

/// The measure.
#[derive(Debug, Clone, Copy, Default)]
pub struct Voice;

impl Measure for Voice {
    fn name(&self) -> &'static str {
        NAME
    }

    fn question(&self) -> &'static str {
        "What does a state space model gain a voice over attention, and from which length on?"
    }

    fn jobs(&self, scale: Scale) -> Result<Vec<Job>, LabError> {
        let wanted = Arc::new(Wanted::find()?);
        let print = wanted.print();
        let mut jobs = vec![records::job(&wanted, &print), scores::job(&wanted, &print)];
        for &seconds in lengths(scale) {
            jobs.push(speech::job(&wanted, &print, seconds, scale));
        }
        for &seconds in lengths(scale) {
            for carry in [false, true] {
                // Going back at every sentence's end, a stream of long texts does what one of short texts does.
                if carry || seconds == LENGTHS[0] {
                    // What is carried over five seconds is shorter than a sentence.
                    if scale == Scale::Full || carry == (seconds != LENGTHS[0]) {
                        jobs.push(streams::job(&wanted, &print, seconds, carry, scale));
                    }
                }
            }
        }
        Ok(jobs)
    }
}

fn lengths(scale: Scale) -> &'static [u32] {
    match scale {
        Scale::Quick => &LENGTHS[..2],
        Scale::Full => &LENGTHS,
    }
}

/// A point of this measure.
fn point(metric: &str, series: &str, unit: &str, better: Better) -> Point {
    Point::new(NAME, metric, series, unit, better)
}

/// What is known of everything that a job needs, or why a side is absent.
fn loaded(ctx: &Context, wanted: &Wanted) -> Result<Sides, LabError> {
    (ctx.progress)(0.0, "loading both voices");
    Sides::load(wanted)
}

/// Any failure of the voice as one of the lab's.
fn failed(error: impl std::fmt::Display) -> LabError {
    LabError::Failed(format!("voice: {error}"))
}

/// A shuffled order of `count` sides, the same for the same seed, label and round.
fn order(seed: u64, label: &str, round: usize, count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..count).collect();
    all.sort_by_key(|side| {
        let key = format!("{seed} {label} {round} {side}");
        *blake3::hash(key.as_bytes()).as_bytes()
    });
    all
}
