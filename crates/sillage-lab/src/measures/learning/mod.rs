//! Measures that train: matched models learn a task or a language, and are asked how far it carries.
//!
//! Sides have the same width, the same number of layers, the same data in the same order, the same
//! optimiser and, within 2 %, the same number of parameters: attention is followed by an MLP whose
//! width makes up the difference to a Mamba-2 block. What cannot be matched is refused.

pub mod copy;
pub mod language;
mod lesson;
pub mod recall;
pub mod track;
mod written;

pub use copy::settled;
pub(crate) use language::{books, longest};
pub use lesson::{Exam, Lesson};

use crate::error::{LabError, failed};
use crate::plan::{Context, Scale};
use sillage_kernels::Compute;
use sillage_train::recipe::{DataRecipe, ModelRecipe, Price, Recipe, TrainRecipe};
use sillage_train::tasks::{Task, TaskConfig};
use sillage_train::{Batch, Event, Then, TrainError, Trainer, Validation, Workspace};

/// Largest difference in parameters between matched sides.
const MATCHED: f64 = 0.02;
/// No other learning rate is tried where one reaches this accuracy.
const GOOD: f64 = 0.9;
/// Tokens of a batch in tests, at most, unless one sample alone is longer.
const TEST_TOKENS: usize = 16_384;

impl From<TrainError> for LabError {
    fn from(error: TrainError) -> Self {
        failed(error)
    }
}

/// Whose side it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Mamba-2 blocks only.
    Mamba2,
    /// Mamba-1 blocks only.
    Mamba,
    /// One block in eight (of two: one) is attention without positions.
    Hybrid,
    /// Attention with rotary positions and an MLP, in turns; in tasks behind a short convolution.
    Attention,
    /// The same without positions.
    Bare,
}

impl Kind {
    /// Its name in points.
    #[must_use]
    pub fn series(self) -> &'static str {
        match self {
            Kind::Mamba2 => "Mamba-2",
            Kind::Mamba => "Mamba",
            Kind::Hybrid => "hybrid",
            Kind::Attention => "attention",
            Kind::Bare => "attention, no positions",
        }
    }

    /// One letter a block, for `layers` layers of Mamba-2's size.
    fn blocks(self, layers: usize, conv: bool) -> String {
        let attention = if conv { "c*-" } else { "*-" };
        match self {
            Kind::Mamba2 => "M".repeat(layers),
            Kind::Mamba => "m".repeat(layers),
            Kind::Attention | Kind::Bare => attention.repeat(layers),
            Kind::Hybrid => {
                let every = layers.min(8);
                let layer = |i: usize| match i % every == every / 2 {
                    true => attention,
                    false => "M",
                };
                (0..layers).map(layer).collect()
            }
        }
    }
}

/// Sizes that all sides share.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Width of the residual stream.
    pub width: usize,
    /// Layers of Mamba-2's size.
    pub layers: usize,
    /// State elements per channel of Mamba-2.
    pub d_state: usize,
    /// Channels of a head of either kind.
    pub head: usize,
    /// Whether attention has a convolution of four taps before each layer, as Mamba has within.
    /// Without it a head must learn to look one token back before it can look anything up, for which
    /// these budgets are too short: MQAR of four pairs stays at one right answer in four.
    pub conv: bool,
}

impl Shape {
    /// Numbers of a model's state after any number of tokens; of attention the cache after `length`.
    #[must_use]
    pub fn state(&self, model: &ModelRecipe, length: usize) -> usize {
        let inner = 2 * self.width;
        let of = |letter: char| match letter {
            'M' => inner * model.mamba2.d_state,
            'm' => inner * model.mamba.d_state,
            '*' => 2 * self.width * length,
            _ => 0,
        };
        model.blocks.chars().map(of).sum()
    }

    /// The model of a side.
    ///
    /// # Errors
    /// If it cannot be matched to Mamba-2.
    pub fn model(&self, kind: Kind, vocab: usize) -> Result<ModelRecipe, LabError> {
        let d = self.width;
        let mut model = self.bare(kind);
        let target = self.parameters(&self.bare(Kind::Mamba2), vocab)?;
        let attentions = model.blocks.matches('*').count();
        if attentions > 0 {
            // Each unit of the MLP has a row up and a column down.
            model.mlp.d_ff = 1;
            let least = self.parameters(&model, vocab)?;
            let missing = target.saturating_sub(least) as f64;
            model.mlp.d_ff = 1 + (missing / (2 * d * attentions) as f64).round() as usize;
        }
        let off = |model: &ModelRecipe| -> Result<f64, LabError> {
            Ok(self.parameters(model, vocab)? as f64 / target as f64 - 1.0)
        };
        // A Mamba-1 block of the same width is larger or smaller by what the widths are; its state
        // makes up for it.
        while kind == Kind::Mamba && off(&model)? > MATCHED && model.mamba.d_state > 1 {
            model.mamba.d_state -= 1;
        }
        while kind == Kind::Mamba && off(&model)? < -MATCHED && model.mamba.d_state < 256 {
            model.mamba.d_state += 1;
        }
        if off(&model)?.abs() > MATCHED {
            let found = self.parameters(&model, vocab)?;
            return Err(LabError::Mismatch {
                left: Kind::Mamba2.series().to_owned(),
                right: kind.series().to_owned(),
                what: format!("{target} parameters against {found}"),
            });
        }
        Ok(model)
    }

    fn bare(&self, kind: Kind) -> ModelRecipe {
        let mut model = ModelRecipe {
            d_model: self.width,
            blocks: kind.blocks(self.layers, self.conv),
            repeat: 1,
            tied: true,
            mamba2: Default::default(),
            mamba: Default::default(),
            attention: Default::default(),
            mlp: Default::default(),
        };
        model.mamba2.d_state = self.d_state;
        model.mamba2.headdim = self.head;
        model.attention.heads = (self.width / self.head).max(1);
        if kind != Kind::Attention {
            model.attention.rope_theta = 0.0;
        }
        model.mlp.gated = false;
        model
    }

    fn parameters(&self, model: &ModelRecipe, vocab: usize) -> Result<usize, LabError> {
        let config = sillage_train::architecture::config(model, vocab, 1)?;
        let described = sillage_models::describe(&config, &|_| None);
        let description = described.map_err(failed)?;
        Ok(description.parameters().iter().map(|p| p.len()).sum())
    }
}

/// How a side is trained; the same for all.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Steps at most.
    pub steps: u64,
    /// Sequences a step.
    pub batch: usize,
    /// Learning rates that are tried; the best is kept.
    pub rates: Vec<f32>,
    /// Ends early at this accuracy.
    pub enough: f64,
}

/// The lessons of `recall`, `copy` and `track`, in this order.
///
/// # Errors
/// Sides that cannot be matched.
pub fn lessons(scale: Scale) -> Result<Vec<Lesson>, LabError> {
    let mut lessons = recall::lessons(scale)?;
    lessons.extend(copy::lessons(scale)?);
    lessons.extend(track::lessons(scale)?);
    Ok(lessons)
}

/// A recipe for a generated task.
pub fn recipe(
    name: &str,
    seed: u64,
    model: ModelRecipe,
    task: &TaskConfig,
    budget: &Budget,
    lr: f32,
) -> Recipe {
    Recipe {
        name: name.to_owned(),
        seed,
        model,
        data: DataRecipe {
            text: vec![],
            valid: vec![],
            tokenizer: "bytes".to_owned(),
            length: 512,
            megabytes: 0,
            reset: false,
            task: Some(task.clone()),
            valid_task: None,
            samples: 0,
        },
        train: train(budget, lr),
        price: Price::default(),
    }
}

/// How all of these are trained: AdamW, a short rise, half a cosine down.
fn train(budget: &Budget, lr: f32) -> TrainRecipe {
    TrainRecipe {
        steps: budget.steps,
        batch: budget.batch,
        micro_batch: 0,
        lr,
        schedule: sillage_train::recipe::Schedule::Cosine,
        warmup: budget.steps / 20,
        decay: 0,
        floor: 0.05,
        betas: (0.9, 0.95),
        eps: 1e-8,
        weight_decay: 0.1,
        clip: 1.0,
        valid_every: (budget.steps / 20).max(1),
        valid_batches: 4,
        patience: 0,
        enough: budget.enough,
        save_every: 0,
    }
}

/// The best of a few learning rates.
pub struct Best {
    /// The trained side.
    pub trainer: Trainer,
    /// Every rate with what it was worth; of one that diverged, minus infinity.
    pub tried: Vec<(f32, f64)>,
}

/// Trains once per rate, in order, until one is worth `enough`; gives the one that is worth most.
///
/// # Errors
/// If no rate gives a finite loss.
pub fn best(
    ctx: &Context,
    rates: &[f32],
    enough: f64,
    open: &dyn Fn(f32) -> Result<Trainer, TrainError>,
    worth: &dyn Fn(&[Validation]) -> f64,
) -> Result<Best, LabError> {
    let mut best: Option<(Trainer, f64)> = None;
    let mut tried = Vec::new();
    for (i, &lr) in rates.iter().enumerate() {
        let mut trainer = open(lr)?;
        match learn(ctx, &mut trainer, (i as f64, rates.len() as f64)) {
            // A rate that is too high is a result, not a failure.
            Err(TrainError::Diverged { .. }) => {
                tried.push((lr, f64::NEG_INFINITY));
                continue;
            }
            other => other?,
        }
        let reached = worth(&trainer.progress().validations);
        tried.push((lr, reached));
        if best.as_ref().is_none_or(|(_, most)| reached > *most) {
            best = Some((trainer, reached));
        }
        if reached >= enough {
            break;
        }
    }
    match best {
        Some((trainer, _)) => Ok(Best { trainer, tried }),
        None => Err(LabError::Failed(
            "every learning rate diverged; try lower ones".to_owned(),
        )),
    }
}

/// Trains to the end and tells how far it is.
fn learn(
    ctx: &Context,
    trainer: &mut Trainer,
    (part, parts): (f64, f64),
) -> Result<(), TrainError> {
    let steps = trainer.recipe().train.steps as f64;
    let name = trainer.recipe().name.clone();
    trainer.run(&mut |event| {
        if let Event::Step(step, _) = event {
            let done = (part + step.step as f64 / steps) / parts;
            (ctx.progress)(done, &format!("{name}: loss {:.3}", step.loss));
        }
        Then::GoOn
    })
}

/// Share of right answers in each of `samples` samples of a task that the side has not seen.
///
/// # Errors
/// If the task's values do not go together.
pub fn answers(
    cx: &Compute,
    trainer: &Trainer,
    task: &TaskConfig,
    samples: usize,
    seed: u64,
) -> Result<Vec<f64>, LabError> {
    let task = task.build().map_err(TrainError::from)?;
    let net = trainer.net();
    if task.vocab() > net.description().vocab {
        return Err(LabError::Failed(format!(
            "the test has {} tokens, the model {}; give both the same vocabulary",
            task.vocab(),
            net.description().vocab
        )));
    }
    let mut space = Workspace::default();
    let mut out = Vec::with_capacity(samples);
    let mut index = 0;
    while out.len() < samples {
        let mut batch = Batch::default();
        let mut scored = Vec::new();
        while out.len() + scored.len() < samples && batch.tokens.len() < TEST_TOKENS {
            scored.push(push(&*task, seed, index, &mut batch));
            index += 1;
        }
        let scores = net.score(cx, trainer.best(), &batch, &mut space);
        let mut at = 0;
        for count in scored {
            let right = scores.correct[at..at + count]
                .iter()
                .filter(|&&c| c)
                .count();
            out.push(right as f64 / count.max(1) as f64);
            at += count;
        }
    }
    Ok(out)
}

/// Adds a sample; gives how many of its tokens are scored.
fn push(task: &dyn Task, seed: u64, index: u64, batch: &mut Batch) -> usize {
    let before = batch.scored();
    let sample = task.sample(seed, index);
    batch.push(&sample.tokens, &sample.targets);
    batch.scored() - before
}
