//! Recipes: what is trained, on what, and how; as TOML.

use crate::error::TrainError;
use crate::tasks::TaskConfig;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A whole recipe.
///
/// ```toml
/// name = "books"
///
/// [model]
/// d_model = 256
/// blocks = "MMMMMM*M"       # M Mamba-2, m Mamba-1, * attention, w attention with a window, - MLP, c convolution
///
/// [data]
/// text = ["books.jsonl.zst"]
/// tokenizer = "bpe:3072"    # or "bytes", or the path of a tokenizer.json
///
/// [train]
/// steps = 1000
/// lr = 3e-3
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What the run is called.
    pub name: String,
    /// From which weights and the order of the data follow.
    #[serde(default)]
    pub seed: u64,
    /// What is trained.
    pub model: ModelRecipe,
    /// On what.
    pub data: DataRecipe,
    /// How.
    pub train: TrainRecipe,
    /// What a result is said to have cost.
    #[serde(default)]
    pub price: Price,
}

/// What is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRecipe {
    /// Width of the residual stream.
    pub d_model: usize,
    /// One letter a block: `M` Mamba-2, `m` Mamba-1, `*` attention, `w` attention with a window,
    /// `-` MLP, `c` a short convolution of each channel by itself. Spaces do not count.
    pub blocks: String,
    /// How often the row of blocks is repeated.
    #[serde(default = "one")]
    pub repeat: usize,
    /// The output projection is the embedding.
    #[serde(default = "yes")]
    pub tied: bool,
    /// Sizes of Mamba-2 blocks.
    #[serde(default)]
    pub mamba2: Mamba2Recipe,
    /// Sizes of Mamba-1 blocks.
    #[serde(default)]
    pub mamba: MambaRecipe,
    /// Sizes of attention blocks.
    #[serde(default)]
    pub attention: AttentionRecipe,
    /// Sizes of MLP blocks.
    #[serde(default)]
    pub mlp: MlpRecipe,
}

/// Sizes of Mamba-2 blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mamba2Recipe {
    /// Channels inside, in multiples of `d_model`.
    pub expand: usize,
    /// Channels per head.
    pub headdim: usize,
    /// State elements per channel.
    pub d_state: usize,
    /// Groups of heads that share B and C.
    pub n_groups: usize,
    /// Taps of the convolution.
    pub d_conv: usize,
}

/// Sizes of Mamba-1 blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MambaRecipe {
    /// Channels inside, in multiples of `d_model`.
    pub expand: usize,
    /// State elements per channel.
    pub d_state: usize,
    /// Taps of the convolution.
    pub d_conv: usize,
    /// Rank of the projection to step sizes; 0: a sixteenth of `d_model`.
    pub dt_rank: usize,
}

/// Sizes of attention blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionRecipe {
    /// Query heads; 0: `d_model / 64`, at least one.
    pub heads: usize,
    /// Key and value heads; 0: as many as query heads.
    pub kv_heads: usize,
    /// Base of the rotary embedding; 0: no positions.
    pub rope_theta: f64,
    /// Positions that a block `w` sees.
    pub window: usize,
}

/// Sizes of MLP blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlpRecipe {
    /// Width inside; 0: 8/3 of `d_model` if gated, else 4 times.
    pub d_ff: usize,
    /// `down(silu(gate(x)) * up(x))` rather than `down(act(up(x)))`.
    pub gated: bool,
}

impl Default for Mamba2Recipe {
    fn default() -> Self {
        Mamba2Recipe {
            expand: 2,
            headdim: 64,
            d_state: 64,
            n_groups: 1,
            d_conv: 4,
        }
    }
}

impl Default for MambaRecipe {
    fn default() -> Self {
        MambaRecipe {
            expand: 2,
            d_state: 16,
            d_conv: 4,
            dt_rank: 0,
        }
    }
}

impl Default for AttentionRecipe {
    fn default() -> Self {
        AttentionRecipe {
            heads: 0,
            kv_heads: 0,
            rope_theta: 10_000.0,
            window: 128,
        }
    }
}

impl Default for MlpRecipe {
    fn default() -> Self {
        MlpRecipe {
            d_ff: 0,
            gated: true,
        }
    }
}

/// On what a model is trained: texts, or a generated task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecipe {
    /// Files of text: `.txt` (one document), `.jsonl` (`{"text": ...}` a line), either also `.zst`.
    /// Relative paths count from the recipe.
    #[serde(default)]
    pub text: Vec<PathBuf>,
    /// Files of text to validate on.
    #[serde(default)]
    pub valid: Vec<PathBuf>,
    /// `bytes`, `bpe:N` (trained on the texts), or the path of a `tokenizer.json`.
    #[serde(default = "bytes")]
    pub tokenizer: String,
    /// Tokens of a sequence of text.
    #[serde(default = "usual_length")]
    pub length: usize,
    /// Megabytes of text that are taken from the first files on, of each part; 0: all.
    #[serde(default)]
    pub megabytes: u64,
    /// Documents begin with an empty state, instead of following each other in one sequence.
    #[serde(default)]
    pub reset: bool,
    /// A generated task instead of texts.
    #[serde(default)]
    pub task: Option<TaskConfig>,
    /// The task to validate on, if it is another.
    #[serde(default)]
    pub valid_task: Option<TaskConfig>,
    /// Number of different training samples of a task; 0: never the same twice.
    #[serde(default)]
    pub samples: u64,
}

/// How a model is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainRecipe {
    /// Optimiser steps.
    pub steps: u64,
    /// Sequences of a step.
    #[serde(default = "usual_batch")]
    pub batch: usize,
    /// Sequences that are worked on at once; 0: all of the step's. More need more memory; the sum
    /// of gradients is taken in the order of the sequences' groups.
    #[serde(default)]
    pub micro_batch: usize,
    /// Highest learning rate.
    pub lr: f32,
    /// How the rate runs.
    #[serde(default)]
    pub schedule: Schedule,
    /// Steps in which the rate rises from nothing.
    #[serde(default)]
    pub warmup: u64,
    /// Steps in which it falls at the end (`wsd` only); 0: a fifth of all.
    #[serde(default)]
    pub decay: u64,
    /// The lowest rate, as a part of the highest.
    #[serde(default)]
    pub floor: f32,
    /// AdamW's two.
    #[serde(default = "usual_betas")]
    pub betas: (f32, f32),
    /// AdamW's.
    #[serde(default = "usual_eps")]
    pub eps: f32,
    /// Decay of projections and embeddings; never of rates, D, step-size biases, convolutions,
    /// norms and biases.
    #[serde(default = "usual_decay")]
    pub weight_decay: f32,
    /// Longest gradient; 0: any.
    #[serde(default = "usual_clip")]
    pub clip: f32,
    /// Steps between validations; 0: only at the end.
    #[serde(default)]
    pub valid_every: u64,
    /// Batches of a validation.
    #[serde(default = "usual_valid")]
    pub valid_batches: u64,
    /// Validations without progress after which it ends; 0: never.
    #[serde(default)]
    pub patience: u32,
    /// Ends when this share of scored tokens of a validation is right (tasks); 0: never.
    #[serde(default)]
    pub enough: f64,
    /// Steps between checkpoints; 0: only at the end and when it is stopped.
    #[serde(default = "usual_save")]
    pub save_every: u64,
}

/// How the learning rate runs after its rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine down to the floor.
    #[default]
    Cosine,
    /// Level, then straight down to the floor (warm-up, stable, decay).
    Wsd,
    /// Level.
    Constant,
}

/// What computing is said to cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Price {
    /// Of one core for one hour.
    pub per_core_hour: f64,
    /// In which money.
    pub currency: String,
}

impl Default for Price {
    /// About what a virtual core of the large clouds is let for.
    fn default() -> Self {
        Price {
            per_core_hour: 0.04,
            currency: "USD".to_owned(),
        }
    }
}

fn one() -> usize {
    1
}
fn yes() -> bool {
    true
}
fn bytes() -> String {
    "bytes".to_owned()
}
fn usual_length() -> usize {
    512
}
fn usual_batch() -> usize {
    16
}
fn usual_betas() -> (f32, f32) {
    (0.9, 0.95)
}
fn usual_eps() -> f32 {
    1e-8
}
fn usual_decay() -> f32 {
    0.1
}
fn usual_clip() -> f32 {
    1.0
}
fn usual_valid() -> u64 {
    8
}
fn usual_save() -> u64 {
    200
}

impl Recipe {
    /// Reads and checks a recipe; relative paths in it count from its folder.
    ///
    /// # Errors
    /// If it cannot be read, or its values do not go together.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(TrainError::io(path))?;
        let mut recipe = Self::parse(&text).map_err(|error| match error {
            TrainError::Recipe { message, .. } => TrainError::Recipe {
                path: path.to_owned(),
                message,
            },
            error => error,
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let data = &mut recipe.data;
        for file in data.text.iter_mut().chain(&mut data.valid) {
            *file = folder.join(&*file);
        }
        if data.tokenizer.ends_with(".json") {
            data.tokenizer = folder.join(&data.tokenizer).display().to_string();
        }
        Ok(recipe)
    }

    /// As [`Recipe::read`], of a text.
    ///
    /// # Errors
    /// As there.
    pub fn parse(text: &str) -> Result<Self, TrainError> {
        let recipe: Recipe = toml::from_str(text).map_err(|error| TrainError::Recipe {
            path: PathBuf::new(),
            message: error.to_string(),
        })?;
        recipe.check()?;
        Ok(recipe)
    }

    /// Fails unless the values go together.
    ///
    /// # Errors
    /// The first that do not.
    pub fn check(&self) -> Result<(), TrainError> {
        let bad = |key, message: &str| Err(TrainError::value(key, message));
        let (data, train) = (&self.data, &self.train);
        if data.text.is_empty() == data.task.is_none() {
            return bad("data", "give either text files or a task");
        }
        if data.task.is_none() && data.length < 2 {
            return bad("data.length", "at least 2 tokens");
        }
        if train.batch == 0 || train.batch > 1 << 20 {
            return bad("train.batch", "at least 1 and at most 1,048,576 sequences");
        }
        if train.steps == 0 {
            return bad("train.steps", "at least 1");
        }
        if !(train.lr.is_finite() && train.lr > 0.0) {
            return bad("train.lr", "a number above zero");
        }
        let (first, second) = train.betas;
        if !(0.0..1.0).contains(&first) || !(0.0..1.0).contains(&second) {
            return bad("train.betas", "two numbers from 0 up to, not with, 1");
        }
        let rest = [train.weight_decay, train.clip, train.floor];
        if rest.iter().any(|v| !v.is_finite() || *v < 0.0) || train.floor > 1.0 {
            return bad(
                "train",
                "weight_decay, clip and floor are at least 0, floor at most 1",
            );
        }
        if !(train.eps.is_finite() && train.eps > 0.0) {
            return bad("train.eps", "a number above zero");
        }
        if train.warmup + train.decay > train.steps {
            return bad("train.warmup", "warmup and decay within the steps");
        }
        Ok(())
    }
}

/// The `[data.task]` section of a recipe by itself.
///
/// # Errors
/// If it is no task, or its values do not go together.
pub fn task(text: &str) -> Result<TaskConfig, TrainError> {
    let task: TaskConfig = toml::from_str(text).map_err(|error| TrainError::Recipe {
        path: PathBuf::new(),
        message: error.to_string(),
    })?;
    task.build()?;
    Ok(task)
}

impl TrainRecipe {
    /// The learning rate of step `step`, counted from 0.
    #[must_use]
    pub fn rate(&self, step: u64) -> f32 {
        let floor = self.lr * self.floor;
        if step < self.warmup {
            return self.lr * (step + 1) as f32 / self.warmup as f32;
        }
        let left = self.steps.saturating_sub(step) as f64;
        match self.schedule {
            Schedule::Constant => self.lr,
            Schedule::Cosine => {
                let span = self.steps.saturating_sub(self.warmup).max(1) as f64;
                let part = 0.5 - 0.5 * (std::f64::consts::PI * left / span).cos();
                floor + (self.lr - floor) * part as f32
            }
            Schedule::Wsd => {
                let decay = match self.decay {
                    0 => self.steps.div_ceil(5),
                    decay => decay,
                };
                floor + (self.lr - floor) * (left / decay as f64).min(1.0) as f32
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
name = "small"
[model]
d_model = 32
blocks = "M*"
[data]
text = ["a.txt"]
[train]
steps = 100
lr = 1e-3
warmup = 10
"#;

    #[test]
    fn a_recipe_is_read_and_mistakes_are_named() {
        let recipe = Recipe::parse(SMALL).unwrap();
        assert_eq!(recipe.model.mamba2.d_state, 64);
        assert_eq!(recipe.train.batch, 16);
        for (from, to, word) in [
            ("steps = 100", "steps = 0", "train.steps"),
            ("lr = 1e-3", "lr = nan", "train.lr"),
            ("warmup = 10", "warmup = 101", "train.warmup"),
            ("warmup = 10", "warmpu = 10", "warmpu"),
            ("text = [\"a.txt\"]", "", "data"),
            ("lr = 1e-3", "lr = 1e-3\nbatch = 0", "train.batch"),
        ] {
            let error = Recipe::parse(&SMALL.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(word), "{to}: {error}");
        }
    }

    #[test]
    fn rates_rise_and_fall() {
        let mut train = Recipe::parse(SMALL).unwrap().train;
        assert!((train.rate(0) - 1e-4).abs() < 1e-9);
        assert!((train.rate(9) - 1e-3).abs() < 1e-9);
        assert!((train.rate(10) - 1e-3).abs() < 1e-9);
        assert!((train.rate(55) - 5e-4).abs() < 1e-6);
        assert!(train.rate(99) < 1e-6);
        train.schedule = Schedule::Wsd;
        train.floor = 0.1;
        assert!((train.rate(79) - 1e-3).abs() < 1e-9);
        assert!((train.rate(90) - 5.5e-4).abs() < 1e-6);
        assert!((train.rate(100) - 1e-4).abs() < 1e-9);
        train.schedule = Schedule::Constant;
        assert!((train.rate(99) - 1e-3).abs() < 1e-9);
    }
}
