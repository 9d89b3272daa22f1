//! Whole answers: a prompt is read, an answer is written, for 16 at once.
//!
//! ML.ENERGY publishes that a hybrid takes about twice a transformer's energy
//! per token on short answers, and that a transformer takes 1.66 times a
//! hybrid's on long ones. What is counted is the energy of all of a request
//! over the tokens of its answer.
//!
//! Nobody waits for 8,192 steps of every side in every round: steps are sampled
//! at evenly spaced depths from the first token of the answer to the last, and
//! summed as trapezoids. The time of a step grows in a straight line with its
//! depth, which is what trapezoids are exact for.

use super::gauge::{Gauge, Prices};
use super::{ENERGY, MONEY, NAME, each};
use crate::LabError;
use crate::error::failed;
use crate::measures::scaling::decode::{Ready, Sampling, outcome, sample};
use crate::measures::scaling::subject::Subject;
use crate::measures::scaling::{Spot, Turns, noise, seconds_of};
use crate::plan::{Context, Job, Scale};
use crate::record::{Outcome, Point};
use crate::shapes::{KINDS, Size, Weights};
use crate::timing::{Side, Sides, compare_sides_twice};
use sillage_models::{Row, Wanted};
use std::time::Instant;

/// Tokens of a prompt.
const PROMPT: u64 = 512;
/// Sessions at once.
const SESSIONS: usize = 16;

/// A length of answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) name: &'static str,
    /// Tokens.
    pub(super) length: u64,
    /// Depths that are sampled, from the first to the last.
    pub(super) depths: usize,
}

pub(super) const ANSWERS: [Answer; 2] = [
    Answer {
        name: "short",
        length: 128,
        depths: 2,
    },
    Answer {
        name: "long",
        length: 8192,
        depths: 5,
    },
];

impl Answer {
    /// The depths, and how many steps each stands for.
    pub(super) fn trapezoids(&self) -> Vec<(u64, f64)> {
        let gaps = self.depths.max(2) - 1;
        let each = self.length as f64 / gaps as f64;
        (0..=gaps)
            .map(|i| {
                let share = if i == 0 || i == gaps { 0.5 } else { 1.0 };
                (PROMPT + (i as f64 * each).round() as u64, share * each)
            })
            .collect()
    }
}

pub(super) fn job(
    model: (Size, Weights),
    answer: Answer,
    prices: Prices,
    scale: Scale,
) -> Result<Job, LabError> {
    let rounds = if scale == Scale::Quick { 3 } else { 5 };
    let sampling = sampling(scale, rounds);
    let mut estimate = 2.0;
    for kind in KINDS {
        let turns = (rounds + 1) as f64 * 4.0 / 3.0;
        estimate += turns * SESSIONS as f64 * seconds_of(model, kind, 0, PROMPT)?;
        for (depth, _) in answer.trapezoids() {
            let step = SESSIONS as f64 * seconds_of(model, kind, depth, 1)?;
            estimate += 0.5 + (turns + 2.0) * sampling.seconds.max(3.0 * step);
        }
    }
    Ok(Job {
        id: format!(
            "answers-{}-{}-{}-{rounds}-{}",
            model.0.name(),
            model.1.name(),
            answer.name,
            prices.print()
        ),
        estimate,
        run: Box::new(move |context| run(context, model, answer, prices, sampling)),
    })
}

fn sampling(scale: Scale, rounds: usize) -> Sampling {
    Sampling {
        rounds,
        ..Sampling::of(scale, PROMPT)
    }
}

pub(super) fn run(
    context: &Context,
    model: (Size, Weights),
    answer: Answer,
    prices: Prices,
    sampling: Sampling,
) -> Result<Vec<Point>, LabError> {
    let gauge = Gauge::open(context, prices);
    let subjects = Subject::all(context, model.0, model.1)?;
    let depths = answer.trapezoids();
    let turns = Turns::new(context, depths.len() + 1);
    let spot = Spot {
        size: model.0,
        weights: model.1,
        length: answer.length,
        sessions: SESSIONS,
    };
    turns.say(0.0, "prompts are read");
    let prompts = prompts(context, &gauge, &subjects, sampling.rounds)?;
    let mut sums: Vec<Outcome> = prompts.sides.iter().map(|(_, o)| o.clone()).collect();
    turns.next();
    let mut points = Vec::new();
    for (depth, steps) in depths {
        turns.say(0.0, &format!("answers are written at depth {depth}"));
        let mut sides = Vec::new();
        for subject in &subjects {
            sides.push(Ready::new(context, subject, depth, &[SESSIONS])?);
        }
        let joules = |context: &Context, model: &_, states: &[_], steps| {
            let (joules, _) = gauge.write(context, model, states, steps)?;
            Ok(joules / steps as f64)
        };
        let (found, _) = sample(context, &sides, SESSIONS, sampling, &joules)?;
        for (sum, (_, step)) in sums.iter_mut().zip(&found.sides) {
            *sum = added(sum, step, steps);
        }
        let named = |point: Point| point.at("answer", answer.name).at("depth", depth);
        points.extend(noise(NAME, &spot, ENERGY.0, &found).map(named));
        turns.next();
    }
    let tokens = SESSIONS as f64 * answer.length as f64;
    for (subject, sum) in subjects.iter().zip(&sums) {
        let mut config = subject.config(context, model.1);
        gauge.note(&mut config);
        config["prompt"] = PROMPT.into();
        config["answer"] = answer.length.into();
        config["depths"] = answer.trapezoids().iter().map(|(d, _)| *d).collect();
        let point = |metric| {
            spot.point(NAME, metric, subject.kind.series())
                .at("answer", answer.name)
                .at("modelled", gauge.modelled())
                .config(config.clone())
        };
        let joules = each(sum, |joules| joules / tokens);
        points.push(outcome(point(ENERGY), &joules));
        // Counted joules say nothing of time; money by length is measured apart.
        if let Some(seconds) = gauge.seconds_of_joule() {
            let dollars = each(&joules, |joules| gauge.money(joules * seconds) * 1e6);
            points.push(outcome(point(MONEY), &dollars));
        }
    }
    Ok(points)
}

/// Joules of reading all prompts at once.
fn prompts(
    context: &Context,
    gauge: &Gauge,
    subjects: &[Subject],
    rounds: usize,
) -> Result<Sides, LabError> {
    let tokens: Vec<u32> = (0..PROMPT as u32).map(|i| i * 7 % 4093).collect();
    let read = |subject: &Subject| -> Result<f64, LabError> {
        let mut states: Vec<_> = (0..SESSIONS).map(|_| subject.model.new_state()).collect();
        let mut rows: Vec<Row<'_>> = states
            .iter_mut()
            .map(|state| Row {
                state,
                tokens: &tokens,
                logits: Wanted::Last,
            })
            .collect();
        let start = Instant::now();
        subject
            .model
            .forward(&context.cx, &mut rows)
            .map_err(failed)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let read = &read;
    let mut sides: Vec<Side<'_>> = subjects
        .iter()
        .map(|subject| {
            Side::new(subject.kind.series(), move || {
                Ok(gauge.spend(|| read(subject))?.0)
            })
        })
        .collect();
    compare_sides_twice(rounds, context.seed_for("cost prompts"), &mut sides)
}

/// `sum + times * more`, round by round; what is missing stays so.
fn added(sum: &Outcome, more: &Outcome, times: f64) -> Outcome {
    match (sum, more) {
        (Outcome::Measured { samples: a }, Outcome::Measured { samples: b }) => Outcome::Measured {
            samples: a.iter().zip(b).map(|(a, b)| a + times * b).collect(),
        },
        (missing @ Outcome::Missing { .. }, _) | (_, missing) => missing.clone(),
    }
}
