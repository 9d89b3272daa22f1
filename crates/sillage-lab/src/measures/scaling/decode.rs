//! Writing after a text of some length, alone and many at once; and the state
//! that it takes.

use super::subject::{Subject, at_depth, step, steps_for, write};
use super::{DECODE, FLOPS, FLOPS_MODEL, NAME, STATE, Spot, Turns, flops};
use crate::LabError;
use crate::plan::{Context, Scale};
use crate::record::{Outcome, Point};
use crate::timing::{Side, Sides, compare_sides_twice};
use serde_json::json;
use sillage_models::Model;
use sillage_state::State;

/// How writing is sampled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampling {
    /// Rounds.
    pub(crate) rounds: usize,
    /// Seconds of one sample, about.
    pub(crate) seconds: f64,
    /// Steps of one sample, at most.
    pub(crate) most: usize,
}

impl Sampling {
    /// That of a scale, at a depth: a sample must not change the depth by much.
    pub(crate) fn of(scale: Scale, length: u64) -> Self {
        let most = (length / 8).clamp(8, 64) as usize;
        match scale {
            Scale::Quick => Self {
                rounds: 5,
                seconds: 0.12,
                most,
            },
            Scale::Full => Self {
                rounds: 7,
                seconds: 0.4,
                most,
            },
        }
    }
}

/// A side with its sessions at a depth, as many as fit.
pub(crate) struct Ready<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) states: Vec<State>,
    /// Why there are no more.
    pub(crate) full: Option<String>,
}

impl<'a> Ready<'a> {
    /// Makes sessions up to the largest of `counts`, which ascend.
    pub(crate) fn new(
        context: &Context,
        subject: &'a Subject,
        length: u64,
        counts: &[usize],
    ) -> Result<Self, LabError> {
        let mut ready = Self {
            subject,
            states: Vec::new(),
            full: None,
        };
        for &count in counts {
            if !ready.grow(context, length, count)? {
                break;
            }
        }
        Ok(ready)
    }

    /// Makes sessions until there are `count`; false if they do not fit.
    pub(super) fn grow(
        &mut self,
        context: &Context,
        length: u64,
        count: usize,
    ) -> Result<bool, LabError> {
        let more = count.saturating_sub(self.states.len());
        let needed = more as u64 * self.subject.session_bytes(length);
        if let Err(reason) = context.fits(needed) {
            self.full = Some(reason);
            return Ok(false);
        }
        let (cx, model) = (&context.cx, &self.subject.model);
        for _ in 0..more {
            self.states.push(at_depth(cx, model, length)?);
        }
        // A step, for the memory in which it works.
        step(cx, model, &mut self.states, 0)?;
        Ok(true)
    }
}

/// Measures one length.
pub(super) fn run(
    context: &Context,
    spot: Spot,
    counts: &[usize],
    sampling: Sampling,
) -> Result<Vec<Point>, LabError> {
    let subjects = Subject::all(context, spot.size, spot.weights)?;
    let mut sides = Vec::new();
    for subject in &subjects {
        let words = format!("{} at {} tokens", subject.kind.series(), spot.length);
        (context.progress)(0.0, &words);
        sides.push(Ready::new(context, subject, spot.length, counts)?);
    }
    let mut points = Vec::new();
    for ready in &sides {
        points.push(state_bytes(context, &spot, ready));
        points.extend(operations(context, &spot, ready)?);
    }
    let turns = Turns::new(context, counts.len());
    for &count in counts {
        let spot = Spot {
            sessions: count,
            ..spot
        };
        turns.say(0.0, &format!("{count} sessions write"));
        let (found, steps) = sample(context, &sides, count, sampling, &rate)?;
        for (side, ready) in sides.iter().enumerate() {
            let mut config = ready.subject.config(context, spot.weights);
            config["rounds"] = sampling.rounds.into();
            config["steps"] = steps[side].into();
            config["depth"] = json!("64 tokens read, the cache beyond them filled with noise");
            let point = spot
                .point(NAME, DECODE, ready.subject.kind.series())
                .config(config);
            points.push(outcome(point, &found.sides[side].1));
        }
        points.extend(super::noise(NAME, &spot, DECODE.0, &found));
        turns.next();
    }
    Ok(points)
}

pub(crate) fn outcome(point: Point, outcome: &Outcome) -> Point {
    match outcome {
        Outcome::Measured { samples } => point.samples(samples.clone()),
        Outcome::Missing { reason } => point.missing(reason),
    }
}

/// Makes a sample: of a model, its sessions, and the steps that they write.
pub(crate) type Take<'a> = &'a dyn Fn(&Context, &Model, &[State], usize) -> Result<f64, LabError>;

/// Tokens per second of all sessions together.
pub(crate) fn rate(
    context: &Context,
    model: &Model,
    states: &[State],
    steps: usize,
) -> Result<f64, LabError> {
    let tokens = (steps * states.len()) as f64;
    Ok(tokens / write(&context.cx, model, states, steps)?)
}

/// Lets `count` sessions of every side write in turns, each sample taken by
/// `take`. Also the steps of each side's samples.
pub(crate) fn sample(
    context: &Context,
    sides: &[Ready<'_>],
    count: usize,
    sampling: Sampling,
    take: Take<'_>,
) -> Result<(Sides, Vec<usize>), LabError> {
    let cx = &context.cx;
    let mut steps = Vec::new();
    for ready in sides {
        steps.push(match ready.states.get(..count) {
            Some(states) => {
                let Sampling { seconds, most, .. } = sampling;
                steps_for(cx, &ready.subject.model, states, seconds, most)?
            }
            None => 0,
        });
    }
    let steps_of = &steps;
    let mut turns: Vec<Side<'_>> = sides
        .iter()
        .enumerate()
        .map(|(side, ready)| {
            Side::new(ready.subject.kind.series(), move || {
                let Some(states) = ready.states.get(..count) else {
                    let full = ready.full.clone().unwrap_or_default();
                    return Err(LabError::Failed(full));
                };
                take(context, &ready.subject.model, states, steps_of[side])
            })
        })
        .collect();
    let seed = context.seed_for("scaling decode");
    let found = compare_sides_twice(sampling.rounds, seed, &mut turns)?;
    drop(turns);
    Ok((found, steps))
}

/// The size of one session's state.
fn state_bytes(context: &Context, spot: &Spot, ready: &Ready<'_>) -> Point {
    let one = Spot {
        sessions: 1,
        ..*spot
    };
    let config = ready.subject.config(context, spot.weights);
    let point = one.point(NAME, STATE, ready.subject.kind.series());
    let point = point.config(config);
    match ready.states.first() {
        Some(state) => point.samples(vec![state.bytes() as f64]),
        None => point.missing(ready.full.clone().unwrap_or_default()),
    }
}

/// Operations of the next token, counted and by the formula.
fn operations(context: &Context, spot: &Spot, ready: &Ready<'_>) -> Result<Vec<Point>, LabError> {
    let spot = Spot {
        sessions: 1,
        ..*spot
    };
    let (model, series) = (&ready.subject.model, ready.subject.kind.series());
    let config = ready.subject.config(context, spot.weights);
    let counted = spot.point(NAME, FLOPS, series).config(config.clone());
    let reckoned = spot.point(NAME, FLOPS_MODEL, series).config(config);
    let Some(state) = ready.states.first() else {
        let full = ready.full.clone().unwrap_or_default();
        return Ok(vec![counted.missing(&full), reckoned.missing(&full)]);
    };
    let from = state.position();
    let formula = flops::forward(model.description(), from, 1, 1).flops();
    let _ = context.cx.counters.take();
    step(&context.cx, model, &mut [state.fork()], 0)?;
    let found = context.cx.counters.take().flops();
    Ok(vec![
        counted.samples(vec![found as f64]),
        reckoned.samples(vec![formula as f64]),
    ])
}
