//! Speed of whole training steps on random tokens, to be set beside another trainer's.

use crate::error::TrainError;
use crate::net::{Batch, Net, Workspace};
use crate::optimiser::{self, Rows};
use crate::recipe::{Schedule, TrainRecipe};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sillage_kernels::Compute;
use std::path::Path;
use std::time::Instant;

/// A case, as `benches/train/cases.json` spells it out.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    /// What it is called.
    pub name: String,
    /// The model's configuration in Hugging Face's form.
    pub model: Value,
    /// Threads to compute on.
    pub threads: usize,
    /// Of weights and tokens.
    pub seed: u64,
    /// Steps before the first that counts.
    pub warmup: usize,
    /// Steps that count.
    pub steps: usize,
    /// Sequences of a step.
    pub batch: usize,
    /// Tokens of a sequence.
    pub length: usize,
    /// AdamW's values.
    pub optimiser: Optimiser,
}

/// AdamW's values in a [`Case`].
#[derive(Debug, Clone, Deserialize)]
pub struct Optimiser {
    /// Learning rate.
    pub lr: f32,
    /// Of the running means.
    pub betas: (f32, f32),
    /// Keeps from dividing by zero.
    pub eps: f32,
    /// Decay of matrices.
    pub weight_decay: f32,
    /// Longest gradient.
    pub clip: f32,
}

/// What a case gave.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// The case.
    pub name: String,
    /// Tokens per second of each step: forward, loss, backward, clipping, update.
    pub tokens_per_s: Vec<f64>,
    /// Most memory the process has held, in bytes, where the system tells.
    pub peak_bytes: Option<u64>,
    /// Elements of all tensors.
    pub parameters: usize,
    /// Loss of the last step, in nats.
    pub loss: f64,
    /// Code path of the kernels.
    pub isa: &'static str,
}

impl Case {
    /// Reads a case from a JSON file.
    ///
    /// # Errors
    /// If it cannot be read or lacks a key.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let file = std::fs::read(path).map_err(TrainError::io(path))?;
        serde_json::from_slice(&file).map_err(|error| TrainError::Recipe {
            path: path.to_owned(),
            message: format!("{error}; benches/train/cases.json shows the keys of a case"),
        })
    }

    fn recipe(&self) -> TrainRecipe {
        let rule = &self.optimiser;
        TrainRecipe {
            steps: (self.warmup + self.steps) as u64,
            batch: self.batch,
            micro_batch: 0,
            lr: rule.lr,
            schedule: Schedule::Constant,
            warmup: 0,
            decay: 0,
            floor: 0.0,
            betas: rule.betas,
            eps: rule.eps,
            weight_decay: rule.weight_decay,
            clip: rule.clip,
            valid_every: 0,
            valid_batches: 1,
            patience: 0,
            enough: 0.0,
            save_every: 0,
        }
    }

    /// Trains.
    ///
    /// # Errors
    /// Models that cannot be described or trained.
    pub fn run(&self) -> Result<Measured, TrainError> {
        let net = Net::new(sillage_models::describe(&self.model, &|_| None)?)?;
        let cx = Compute::new(self.threads);
        let train = self.recipe();
        let mut rows = Rows::new(net.params().initial(net.description(), self.seed));
        let (mut grads, mut space) = (vec![0.0; rows.params.len()], Workspace::default());
        let tokens = self.batch * self.length;
        let (mut rates, mut loss) = (Vec::new(), 0.0);
        for step in 0..self.warmup + self.steps {
            let batch = self.tokens(net.description().vocab, step);
            let start = Instant::now();
            grads.fill(0.0);
            let scale = 1.0 / tokens as f32;
            let scores = net.learn(&cx, &rows.params, &batch, scale, &mut grads, &mut space);
            let norm = optimiser::norm(&cx, &grads);
            let at = (step as u64 + 1, train.rate(step as u64));
            rows.step(&cx, net.params(), &train, at, &grads, norm);
            if step >= self.warmup {
                rates.push(tokens as f64 / start.elapsed().as_secs_f64());
            }
            loss = scores.losses.iter().map(|&l| f64::from(l)).sum::<f64>() / tokens as f64;
        }
        Ok(Measured {
            name: self.name.clone(),
            tokens_per_s: rates,
            peak_bytes: peak_bytes(),
            parameters: rows.params.len(),
            loss,
            isa: cx.isa.name(),
        })
    }

    /// Random tokens, each followed by the next.
    fn tokens(&self, vocab: usize, step: usize) -> Batch {
        let mut batch = Batch::default();
        let mut state = self.seed.wrapping_add(step as u64 + 1);
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % vocab.max(1) as u64) as u32
        };
        for _ in 0..self.batch {
            let tokens: Vec<u32> = (0..=self.length).map(|_| next()).collect();
            batch.push(&tokens[..self.length], &tokens[1..]);
        }
        batch
    }
}

/// Most memory this process has held.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}
