//! `quant`: what weights and states of fewer bits cost in loss and gain in
//! speed, for a state space model and its transformer twin.
//!
//! Loss asks for trained weights: the twins are those that the measure
//! `language` leaves in the work folder (`language-ssm`,
//! `language-transformer`); beside them stands `booklet`, the model that ships,
//! whose file is in 8 bits already. The texts are those books that
//! `language` tests on, where it has any. *State* is the scan state of the one and the
//! cache of keys and values of the other.

mod loss;

pub(crate) use loss::log_probability;
#[cfg(test)]
mod tests;

use super::scaling::subject::{at_depth, steps_for, write};
use super::scaling::{DECODE, Metric, NOISE};
use crate::LabError;
use crate::error::failed;
use crate::plan::{Context, Job, Measure, Scale};
use crate::record::{Better, Outcome, Point};
use crate::shapes::{Side, WEIGHTS, Weights, in_repository, matched};
use crate::timing::{self, Sides, compare_sides_twice};
use loss::Text;
use serde_json::json;
use sillage_formats::Checkpoint;
use sillage_formats::quantize::{Policy, quantize};
use sillage_models::{LoadOptions, Model};
use sillage_state::StateType;
use std::path::PathBuf;

const NAME: &str = "quant";
const LOSS: Metric = ("loss", "bits per byte", Better::Lower);
/// Names another file for the model that ships.
const BOOKLET: &str = "SILLAGE_LAB_BOOKLET";
/// Where it lies in the repository.
const BOOKLET_FILE: &str = "models/booklet/booklet.safetensors";
/// Tokens before those whose writing is timed.
const DEPTH: u64 = 512;

/// The measure.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quant;

impl Measure for Quant {
    fn name(&self) -> &'static str {
        NAME
    }

    fn question(&self) -> &'static str {
        "What do weights and states of fewer bits cost, and what do they gain?"
    }

    fn jobs(&self, scale: Scale) -> Result<Vec<Job>, LabError> {
        let budget = Budget::of(scale);
        let mut jobs = Vec::new();
        for state in [StateType::F32, StateType::Bf16] {
            for (name, models) in GROUPS {
                jobs.push(Job {
                    id: format!("{name}-{state}-{}", scale.name()),
                    estimate: budget.estimate * models.len() as f64,
                    run: Box::new(move |context| run(context, models, state, budget)),
                });
            }
        }
        Ok(jobs)
    }
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Budget {
    /// Tokens of all texts.
    tokens: usize,
    /// Rounds of writing.
    rounds: usize,
    /// Seconds of a sample of it.
    seconds: f64,
    /// Seconds of a job for each of its models.
    estimate: f64,
}

impl Budget {
    fn of(scale: Scale) -> Self {
        match scale {
            Scale::Quick => Self {
                tokens: 2_000,
                rounds: 5,
                seconds: 0.1,
                estimate: 6.0,
            },
            Scale::Full => Self {
                tokens: 40_000,
                rounds: 11,
                seconds: 1.0,
                estimate: 15.0,
            },
        }
    }
}

/// A trained model.
#[derive(Debug, Clone, Copy)]
struct Trained {
    series: &'static str,
    /// Its folder in the work folder; none for the model that ships.
    folder: Option<&'static str>,
}

/// What is compared within a job; the sides of one are matched.
const GROUPS: [(&str, &[Trained]); 2] = [
    (
        "booklet",
        &[Trained {
            series: "booklet",
            folder: None,
        }],
    ),
    (
        "twins",
        &[
            Trained {
                series: "Mamba-2",
                folder: Some("language-ssm"),
            },
            Trained {
                series: "transformer",
                folder: Some("language-transformer"),
            },
        ],
    ),
];

/// Where the model that ships is, or why it is not.
pub(crate) fn booklet() -> Result<PathBuf, String> {
    match std::env::var_os(BOOKLET).filter(|path| !path.is_empty()) {
        Some(path) => Ok(path.into()),
        None => in_repository(BOOKLET_FILE).ok_or_else(|| {
            format!("{BOOKLET_FILE} was not found; run this within the repository, or set {BOOKLET} to the file")
        }),
    }
}

impl Trained {
    /// Where it is, or why it is not.
    fn find(&self, context: &Context) -> Result<PathBuf, String> {
        let Some(folder) = self.folder else {
            return booklet();
        };
        [".", "language", "models"]
            .iter()
            .map(|below| context.work.join(below).join(folder))
            .find(|path| path.join("config.json").is_file())
            .ok_or_else(|| {
                format!(
                    "{folder} is not in {}; the measure `language` trains it",
                    context.work.display()
                )
            })
    }
}

/// A model in one weight type, or why there is none.
struct Variant {
    trained: Trained,
    weights: Weights,
    model: Result<Model, String>,
    loss: loss::Loss,
}

fn run(
    context: &Context,
    models: &[Trained],
    state: StateType,
    budget: Budget,
) -> Result<Vec<Point>, LabError> {
    let texts = loss::texts()?;
    let mut variants = Vec::new();
    let mut known: Vec<Side> = Vec::new();
    for (i, &trained) in models.iter().enumerate() {
        (context.progress)(i as f64 / (2.0 * models.len() as f64), trained.series);
        let found = trained
            .find(context)
            .and_then(|path| Checkpoint::open(path).map_err(|error| error.to_string()));
        for weights in WEIGHTS {
            let model = match &found {
                Ok(checkpoint) => load(context, checkpoint, weights, state)?,
                Err(reason) => Err(reason.clone()),
            };
            if let (Ok(model), true) = (&model, weights == Weights::F32) {
                let side = Side::of(trained.series, model.description(), weights.name());
                known.push(side);
            }
            let loss = match (&model, &found, &texts) {
                (Ok(model), Ok(checkpoint), Ok(texts)) => {
                    loss::of(context, model, checkpoint, texts, budget.tokens)?
                }
                (Err(reason), ..) | (_, Err(reason), _) | (.., Err(reason)) => Err(reason.clone()),
            };
            variants.push(Variant {
                trained,
                weights,
                model,
                loss,
            });
        }
    }
    matched(&known)?;
    // The first side is run twice for the noise, so it should be one that runs.
    variants.sort_by_key(|variant| variant.model.is_err());
    let (rates, steps) = rates(context, &variants, budget)?;
    let mut points = Vec::new();
    for (i, variant) in variants.iter().enumerate() {
        let point = |metric: Metric| variant.point(metric, state, context);
        points.push(match &variant.loss {
            Ok((bits, text)) => with_text(point(LOSS), text).samples(bits.clone()),
            Err(reason) => point(LOSS).missing(reason),
        });
        let mut rate = point(DECODE);
        rate.config["steps"] = steps[i].into();
        points.push(match &rates.sides[i].1 {
            Outcome::Measured { samples } => rate.samples(samples.clone()),
            Outcome::Missing { reason } => rate.missing(reason),
        });
    }
    if let (Some(noise), Some(first)) = (rates.noise(), variants.first()) {
        let point = first.point(NOISE, state, context).at("of", DECODE.0);
        points.push(point.samples(vec![noise]));
    }
    Ok(points)
}

impl Variant {
    fn point(&self, (metric, unit, better): Metric, state: StateType, context: &Context) -> Point {
        let config = match &self.model {
            Ok(model) => json!({
                "architecture": model.description().architecture,
                "parameters": model.parameters(), "weight_bytes": model.weight_bytes(),
                "threads": context.cx.pool.threads(), "isa": context.cx.isa.name(),
                "depth": DEPTH,
            }),
            Err(_) => json!({}),
        };
        Point::new(NAME, metric, self.trained.series, unit, better)
            .at("weights", self.weights.name())
            .at("state", state.to_string())
            .config(config)
    }
}

fn with_text(mut point: Point, text: &Text) -> Point {
    point.config["text"] = json!({
        "file": text.name, "tokens": text.tokens, "bytes": text.bytes,
    });
    point
}

/// The checkpoint with its matrices in `weights`; a reason where it holds fewer
/// bits already.
fn load(
    context: &Context,
    checkpoint: &Checkpoint,
    weights: Weights,
    state: StateType,
) -> Result<Result<Model, String>, LabError> {
    let print: String = checkpoint
        .fingerprint()
        .map_err(failed)?
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let folder = context.work.join("quant");
    std::fs::create_dir_all(&folder).map_err(|e| LabError::io(&folder, e))?;
    let path = folder.join(format!("{print}.{}.safetensors", weights.name()));
    if !path.is_file() {
        let policy = Policy::uniform(weights.target());
        quantize(checkpoint, &policy, &path, &mut |_| true).map_err(failed)?;
    }
    let packed = Checkpoint::open(&path).map_err(failed)?;
    let mut options = LoadOptions::default();
    (options.state, options.kv) = (state, state);
    let model = Model::load(&packed, &options).map_err(failed)?;
    let stored = match weights {
        Weights::F32 => "f32",
        Weights::Bf16 => "bf16",
        Weights::Q8 => "q8_0",
        Weights::Q4 => "q4_1",
    };
    let types = model.weight_types();
    let as_asked = types.get(stored).map_or(0, |group| group.parameters);
    let all: u64 = types.values().map(|group| group.parameters).sum();
    if 2 * as_asked > all {
        return Ok(Ok(model));
    }
    let found: Vec<&str> = types.keys().map(String::as_str).collect();
    Ok(Err(format!(
        "its file holds {} already, and {} would bring nothing back",
        found.join(", "),
        weights.name()
    )))
}

/// Tokens per second of all variants in turns.
fn rates(
    context: &Context,
    variants: &[Variant],
    budget: Budget,
) -> Result<(Sides, Vec<usize>), LabError> {
    let cx = &context.cx;
    let (mut states, mut steps) = (Vec::new(), Vec::new());
    for variant in variants {
        let (mut one, mut count) = (Vec::new(), 0);
        if let Ok(model) = &variant.model {
            one.push(at_depth(cx, model, DEPTH)?);
            count = steps_for(cx, model, &one, budget.seconds, 64)?;
        }
        states.push(one);
        steps.push(count);
    }
    let mut sides: Vec<timing::Side<'_>> = variants
        .iter()
        .zip(states.iter().zip(&steps))
        .map(|(variant, (states, &steps))| {
            timing::Side::new(variant.trained.series, move || match &variant.model {
                Ok(model) => Ok(steps as f64 / write(cx, model, states, steps)?),
                Err(reason) => Err(LabError::Failed(reason.clone())),
            })
        })
        .collect();
    (context.progress)(0.5, "all weight types write in turns");
    let found = compare_sides_twice(budget.rounds, context.seed_for("quant"), &mut sides)?;
    drop(sides);
    Ok((found, steps))
}
