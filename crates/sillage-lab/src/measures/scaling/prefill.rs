//! Reading a text of some length from nothing, up to the logits that follow it.

use super::subject::{Subject, read};
use super::{FIRST_TOKEN, NAME, PREFILL, Spot, Turns};
use crate::LabError;
use crate::plan::Context;
use crate::record::{Outcome, Point};
use crate::timing::{Side, compare_sides_twice};
use std::time::Instant;

/// Tokens that are read to warm up, at most.
const WARM: u64 = 4096;

/// Measures one length.
pub(super) fn run(context: &Context, spot: Spot, rounds: usize) -> Result<Vec<Point>, LabError> {
    let mut subjects = Subject::all(context, spot.size, spot.weights)?;
    let mut points = Vec::new();
    subjects.retain(
        |subject| match context.fits(subject.session_bytes(spot.length)) {
            Ok(()) => true,
            Err(reason) => {
                points.extend(both(
                    context,
                    &spot,
                    subject,
                    rounds,
                    &Outcome::Missing { reason },
                ));
                false
            }
        },
    );
    if subjects.is_empty() {
        return Ok(points);
    }
    let turns = &Turns::new(context, (rounds + 1) * subjects.len() + rounds);
    let mut sides: Vec<Side<'_>> = subjects
        .iter()
        .map(|subject| {
            // The first call warms up, for which some thousand tokens are enough.
            let mut length = spot.length.min(WARM);
            let read = move || {
                let length = std::mem::replace(&mut length, spot.length);
                one(context, turns, subject, length)
            };
            Side::new(subject.kind.series(), read)
        })
        .collect();
    let found = compare_sides_twice(rounds, context.seed_for("scaling prefill"), &mut sides)?;
    drop(sides);
    for (subject, (_, outcome)) in subjects.iter().zip(&found.sides) {
        points.extend(both(context, &spot, subject, rounds, outcome));
    }
    points.extend(super::noise(NAME, &spot, PREFILL.0, &found));
    Ok(points)
}

/// Seconds of one reading.
fn one(
    context: &Context,
    turns: &Turns<'_>,
    subject: &Subject,
    length: u64,
) -> Result<f64, LabError> {
    let words = format!("{} reads {length} tokens", subject.kind.series());
    turns.say(0.0, &words);
    let mut state = subject.model.new_state();
    let start = Instant::now();
    let said = |done: u64| turns.say(done as f64 / length as f64, &words);
    read(&context.cx, &subject.model, &mut state, length, &said)?;
    let seconds = start.elapsed().as_secs_f64();
    turns.next();
    Ok(seconds)
}

/// The time and the rate, from the same samples.
fn both(
    context: &Context,
    spot: &Spot,
    subject: &Subject,
    rounds: usize,
    outcome: &Outcome,
) -> [Point; 2] {
    let mut config = subject.config(context, spot.weights);
    config["rounds"] = rounds.into();
    [FIRST_TOKEN, PREFILL].map(|metric| {
        let point = spot
            .point(NAME, metric, subject.kind.series())
            .config(config.clone());
        match outcome {
            Outcome::Missing { reason } => point.missing(reason),
            Outcome::Measured { samples } if metric == FIRST_TOKEN => {
                point.samples(samples.clone())
            }
            Outcome::Measured { samples } => {
                point.samples(samples.iter().map(|s| spot.length as f64 / s).collect())
            }
        }
    })
}
