//! `cost`: what a token costs in joules and in money, and an hour of speech.
//!
//! Joules are counted where the machine has counters that may be read (RAPL);
//! elsewhere they are modelled from stated watts per busy core, and every point
//! says so (`modelled`). Money is the time a rented machine takes, at a stated
//! price ([`Prices`]).

mod answers;
mod gauge;
mod speech;
#[cfg(test)]
mod tests;

use super::scaling::decode::{Ready, Sampling, outcome, sample};
use super::scaling::subject::Subject;
use super::scaling::{Metric, Spot, Turns, noise, seconds_of};
use crate::LabError;
use crate::plan::{Context, Job, Measure, Scale};
use crate::record::{Better, Outcome, Point};
use crate::shapes::{KINDS, Size, Weights};
use gauge::Gauge;
pub use gauge::Prices;

const NAME: &str = "cost";
const ENERGY: Metric = ("energy per token", "J", Better::Lower);
const MONEY: Metric = ("money per million tokens", "USD", Better::Lower);

/// The measure.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost;

impl Measure for Cost {
    fn name(&self) -> &'static str {
        NAME
    }

    fn question(&self) -> &'static str {
        "What does a token cost, and when is a hybrid cheaper than a transformer?"
    }

    fn jobs(&self, scale: Scale) -> Result<Vec<Job>, LabError> {
        let prices = Prices::find()?;
        let tiny = (Size::Tiny, Weights::Q8);
        let usual = (Size::M130, Weights::Q8);
        let mut jobs = Vec::new();
        let models: &[(Size, Weights)] = match scale {
            Scale::Quick => &[tiny],
            Scale::Full => &[
                tiny,
                usual,
                (Size::M130, Weights::Bf16),
                (Size::M370, Weights::Q8),
            ],
        };
        for &model in models {
            let counts: &[usize] = match scale {
                Scale::Quick => &[1, 16],
                Scale::Full => &[1, 4, 16],
            };
            for length in [256, 1024, 4096, 16_384] {
                jobs.push(writes(model, length, counts, prices, scale)?);
            }
            for answer in answers::ANSWERS {
                jobs.push(answers::job(model, answer, prices, scale)?);
            }
        }
        if scale == Scale::Quick {
            jobs.push(writes(usual, 4096, &[1], prices, scale)?);
        }
        jobs.push(speech::job(prices, scale));
        Ok(jobs)
    }
}

/// Writing after a text, by sessions.
fn writes(
    model: (Size, Weights),
    length: u64,
    counts: &'static [usize],
    prices: Prices,
    scale: Scale,
) -> Result<Job, LabError> {
    let sampling = Sampling::of(scale, length);
    let mut estimate = 2.0;
    for kind in KINDS {
        for &count in counts {
            let step = count as f64 * seconds_of(model, kind, length, 1)?;
            estimate += (sampling.rounds + 3) as f64 * sampling.seconds.max(3.0 * step);
        }
    }
    let spot = Spot {
        size: model.0,
        weights: model.1,
        length,
        sessions: 1,
    };
    let most = counts.last().copied().unwrap_or(0);
    Ok(Job {
        id: format!(
            "decode-{}-{}-{length}-{most}-{}",
            model.0.name(),
            model.1.name(),
            prices.print()
        ),
        estimate,
        run: Box::new(move |context| run(context, spot, counts, sampling, prices)),
    })
}

fn run(
    context: &Context,
    spot: Spot,
    counts: &[usize],
    sampling: Sampling,
    prices: Prices,
) -> Result<Vec<Point>, LabError> {
    let gauge = Gauge::open(context, prices);
    let subjects = Subject::all(context, spot.size, spot.weights)?;
    let mut sides = Vec::new();
    for subject in &subjects {
        sides.push(Ready::new(context, subject, spot.length, counts)?);
    }
    let mut points = Vec::new();
    let turns = Turns::new(context, counts.len());
    for &count in counts {
        let spot = Spot {
            sessions: count,
            ..spot
        };
        turns.say(0.0, &format!("{count} sessions write"));
        let joules = |context: &Context, model: &_, states: &[_], steps| {
            let (joules, _) = gauge.write(context, model, states, steps)?;
            Ok(joules / (steps * states.len()) as f64)
        };
        let (found, steps) = sample(context, &sides, count, sampling, &joules)?;
        let money = match gauge.seconds_of_joule() {
            // The same samples: energy is modelled from their time.
            Some(seconds) => found
                .sides
                .iter()
                .map(|(_, outcome)| each(outcome, |joules| joules * seconds))
                .collect(),
            None => {
                let seconds = |context: &Context, model: &_, states: &[_], steps| {
                    let (_, seconds) = gauge.write(context, model, states, steps)?;
                    Ok(seconds / (steps * states.len()) as f64)
                };
                let (found, _) = sample(context, &sides, count, sampling, &seconds)?;
                found.sides.into_iter().map(|(_, o)| o).collect::<Vec<_>>()
            }
        };
        for (side, ready) in sides.iter().enumerate() {
            let mut config = ready.subject.config(context, spot.weights);
            gauge.note(&mut config);
            config["steps"] = steps[side].into();
            let series = ready.subject.kind.series();
            let point = |metric| {
                spot.point(NAME, metric, series)
                    .at("modelled", gauge.modelled())
                    .config(config.clone())
            };
            points.push(outcome(point(ENERGY), &found.sides[side].1));
            let dollars = each(&money[side], |seconds| gauge.money(seconds) * 1e6);
            points.push(outcome(point(MONEY), &dollars));
        }
        points.extend(noise(NAME, &spot, ENERGY.0, &found));
        turns.next();
    }
    Ok(points)
}

/// An outcome with every sample changed.
fn each(outcome: &Outcome, change: impl Fn(f64) -> f64) -> Outcome {
    match outcome {
        Outcome::Measured { samples } => Outcome::Measured {
            samples: samples.iter().map(|x| change(*x)).collect(),
        },
        missing => missing.clone(),
    }
}
