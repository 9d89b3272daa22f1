//! The loop.

use crate::architecture;
use crate::checkpoint;
use crate::cost::{self, Used};
use crate::error::TrainError;
use crate::export;
use crate::files;
use crate::net::{Batch, Net, Scores, Workspace};
use crate::optimiser::{self, Rows};
use crate::recipe::Recipe;
use crate::source::{Source, Split};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use sillage_models::describe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// A run: a model, its data, and how far it is.
pub struct Trainer {
    cx: Arc<Compute>,
    recipe: Recipe,
    config: Value,
    net: Net,
    source: Source,
    rows: Rows,
    grads: Vec<f32>,
    space: Workspace,
    progress: Progress,
    best: Option<Vec<f32>>,
    folder: Option<PathBuf>,
}

/// How far a run is, and all it has said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// What each step said.
    pub steps: Vec<Step>,
    /// What each validation said.
    pub validations: Vec<Validation>,
    /// What it cost.
    pub used: Used,
    /// Why it ended before its last step, if it did.
    pub ended: Option<String>,
}

/// What a step says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Which, from 1.
    pub step: u64,
    /// Mean loss of its scored tokens before it, in nats.
    pub loss: f64,
    /// Learning rate.
    pub lr: f32,
    /// Length of the gradient before clipping.
    pub norm: f64,
    /// Its tokens.
    pub tokens: u64,
    /// Wall-clock seconds it took.
    pub seconds: f64,
}

/// What a validation says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// After which step.
    pub step: u64,
    /// Mean loss of scored tokens, in nats.
    pub loss: f64,
    /// Share of scored tokens whose likeliest guess is right.
    pub accuracy: f64,
    /// Bits per byte of text; of tasks none.
    pub bits_per_byte: Option<f64>,
}

/// What a run tells while it runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step is done.
    Step(&'a Step, &'a Progress),
    /// A validation is done.
    Validation(&'a Validation, &'a Progress),
    /// A checkpoint was written.
    Saved(&'a Path),
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// To the next step.
    GoOn,
    /// Save and come back.
    Stop,
}

impl Trainer {
    /// A run from random weights, or where `folder` holds its checkpoint, from there.
    ///
    /// # Errors
    /// Recipes and data that do not serve, and a folder with another run.
    pub fn new(
        cx: Arc<Compute>,
        recipe: Recipe,
        folder: Option<&Path>,
    ) -> Result<Self, TrainError> {
        recipe.check()?;
        let source = open(&recipe, folder)?;
        let config = architecture::config(&recipe.model, source.vocab(), recipe.data.length)?;
        Self::assemble(cx, recipe, config, source, folder, None)
    }

    /// A run from the weights of a Hugging Face folder, whose architecture, vocabulary and tokenizer
    /// stand in place of the recipe's.
    ///
    /// # Errors
    /// As [`Trainer::new`]; models that cannot be trained.
    pub fn finetune(
        cx: Arc<Compute>,
        mut recipe: Recipe,
        model: &Path,
        folder: Option<&Path>,
    ) -> Result<Self, TrainError> {
        let checkpoint = Checkpoint::open(model)?;
        if recipe.data.task.is_none() {
            recipe.data.tokenizer = model.join("tokenizer.json").display().to_string();
        }
        recipe.check()?;
        let source = open(&recipe, folder)?;
        let config = checkpoint.config().clone();
        Self::assemble(cx, recipe, config, source, folder, Some(&checkpoint))
    }

    fn assemble(
        cx: Arc<Compute>,
        recipe: Recipe,
        config: Value,
        source: Source,
        folder: Option<&Path>,
        from: Option<&Checkpoint>,
    ) -> Result<Self, TrainError> {
        let shape = |name: &str| from.and_then(|c| c.shape(name)).map(<[usize]>::to_vec);
        let description = describe(&config, &shape)?;
        if source.vocab() > description.vocab {
            let message = format!(
                "the data has {} tokens, the model {}: train on data of the model's own tokenizer",
                source.vocab(),
                description.vocab
            );
            return Err(TrainError::value("data", message));
        }
        let net = Net::new(description)?;
        let params = match from {
            Some(checkpoint) => net.params().load(checkpoint)?,
            None => net.params().initial(net.description(), recipe.seed),
        };
        let len = params.len();
        let mut trainer = Trainer {
            cx,
            recipe,
            config,
            net,
            source,
            rows: Rows::new(params),
            grads: vec![0.0; len],
            space: Workspace::default(),
            progress: Progress::default(),
            best: None,
            folder: folder.map(Path::to_owned),
        };
        trainer.resume()?;
        Ok(trainer)
    }

    /// Goes on from the folder's checkpoint if there is one.
    fn resume(&mut self) -> Result<(), TrainError> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        std::fs::create_dir_all(folder).map_err(TrainError::io(folder))?;
        let path = checkpoint_at(folder);
        if path.exists() {
            let print = self.print();
            let params = self.net.params();
            (self.rows, self.progress) = checkpoint::load(&path, params, &print)?;
            let best = best_at(folder);
            if best.exists() {
                self.best = Some(checkpoint::load(&best, params, &print)?.0.params);
            }
        }
        if let Source::Text(text) = &self.source {
            let json = text.vocabulary.to_json()?;
            files::write(&tokenizer_at(folder), json.as_bytes())?;
        }
        Ok(())
    }

    /// What a checkpoint must share with the run that goes on from it: all but where files lie and
    /// when things are saved.
    fn print(&self) -> String {
        let mut recipe = self.recipe.clone();
        recipe.train.save_every = 0;
        let name =
            |path: &mut PathBuf| *path = path.file_name().map(PathBuf::from).unwrap_or_default();
        recipe.data.text.iter_mut().for_each(name);
        recipe.data.valid.iter_mut().for_each(name);
        if recipe.data.tokenizer.ends_with(".json") {
            recipe.data.tokenizer = "file".to_owned();
        }
        let mut print = serde_json::to_string(&recipe).unwrap_or_default();
        print.push_str(&self.config.to_string());
        print
    }

    /// The recipe.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The model.
    #[must_use]
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Its weights as they are; those of the best validation come from [`Trainer::best`].
    #[must_use]
    pub fn params(&self) -> &[f32] {
        &self.rows.params
    }

    /// The weights of the best validation, or the last ones.
    #[must_use]
    pub fn best(&self) -> &[f32] {
        self.best.as_deref().unwrap_or(&self.rows.params)
    }

    /// Where its data comes from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Trains to the end, or until `on` says stop. Comes back at once if it has ended before.
    ///
    /// # Errors
    /// If the loss is no number any more, or the folder cannot be written.
    pub fn run(&mut self, on: &mut dyn FnMut(&Event<'_>) -> Then) -> Result<(), TrainError> {
        while self.progress.step < self.recipe.train.steps && self.progress.ended.is_none() {
            let step = self.step()?;
            let then = on(&Event::Step(&step, &self.progress));
            let (done, train) = (self.progress.step, &self.recipe.train);
            let last = done == train.steps;
            let save = train.save_every > 0 && done.is_multiple_of(train.save_every);
            if last || (train.valid_every > 0 && done.is_multiple_of(train.valid_every)) {
                let validation = self.validated();
                on(&Event::Validation(&validation, &self.progress));
            }
            let ended = self.progress.ended.is_some();
            if let Some(folder) = self.folder.clone()
                && (last || ended || save || then == Then::Stop)
            {
                self.save(&folder)?;
                on(&Event::Saved(&folder));
            }
            if then == Then::Stop {
                break;
            }
        }
        Ok(())
    }

    /// One step.
    ///
    /// # Errors
    /// If the loss is no number any more; the weights are then still those before the step.
    pub fn step(&mut self) -> Result<Step, TrainError> {
        let (start, cpu) = (Instant::now(), cost::cpu_seconds());
        let train = &self.recipe.train;
        let (at, batch) = (self.progress.step, train.batch);
        let lr = train.rate(at);
        let micro = match train.micro_batch {
            0 => batch,
            micro => micro.min(batch),
        };
        let first = at * batch as u64;
        let groups: Vec<Batch> = (0..batch)
            .step_by(micro)
            .map(|i| {
                let count = micro.min(batch - i);
                self.source.batch(Split::Train, first + i as u64, count)
            })
            .collect();
        let scored: usize = groups.iter().map(Batch::scored).sum();
        self.grads.fill(0.0);
        let mut sum = 0.0;
        for group in &groups {
            let scale = 1.0 / scored.max(1) as f32;
            let scores = self.net.learn(
                &self.cx,
                &self.rows.params,
                group,
                scale,
                &mut self.grads,
                &mut self.space,
            );
            sum += scores.losses.iter().map(|&l| f64::from(l)).sum::<f64>();
        }
        let loss = sum / scored.max(1) as f64;
        let norm = optimiser::norm(&self.cx, &self.grads);
        if !loss.is_finite() || !norm.is_finite() {
            return Err(TrainError::Diverged { step: at + 1, loss });
        }
        let (layout, train) = (self.net.params(), &self.recipe.train);
        let at = (at + 1, lr);
        self.rows
            .step(&self.cx, layout, train, at, &self.grads, norm);
        let tokens: usize = groups.iter().map(|g| g.tokens.len()).sum();
        let lens = groups.iter().flat_map(|g| &g.lens);
        let flops: f64 = lens.map(|&l| cost::flops(self.net.description(), l)).sum();
        let seconds = start.elapsed().as_secs_f64();
        let used = &mut self.progress.used;
        used.tokens += tokens as u64;
        used.flops += 3.0 * flops;
        used.seconds += seconds;
        used.cpu_seconds += match (cpu, cost::cpu_seconds()) {
            (Some(before), Some(after)) => after - before,
            _ => seconds * self.cx.pool.threads() as f64,
        };
        self.progress.step += 1;
        let step = Step {
            step: self.progress.step,
            loss,
            lr,
            norm,
            tokens: tokens as u64,
            seconds,
        };
        self.progress.steps.push(step);
        Ok(step)
    }

    /// Validates, keeps the best weights, and decides whether it has been trained enough.
    fn validated(&mut self) -> Validation {
        let validation = self.validate(None);
        let train = &self.recipe.train;
        let earlier = &self.progress.validations;
        let lowest = earlier.iter().map(|v| v.loss).fold(f64::INFINITY, f64::min);
        if validation.loss < lowest {
            self.best = Some(self.rows.params.clone());
        }
        let since = earlier.iter().rev().take_while(|v| v.loss > lowest).count() + 1;
        if train.enough > 0.0 && validation.accuracy >= train.enough {
            self.progress.ended = Some(format!("accuracy {:.4}", validation.accuracy));
        } else if train.patience > 0
            && validation.loss >= lowest
            && since >= train.patience as usize
        {
            let message = format!("no progress in {} validations", train.patience);
            self.progress.ended = Some(message);
        }
        self.progress.validations.push(validation);
        validation
    }

    /// Scores the validation data with the weights as they are, or with others.
    pub fn validate(&mut self, params: Option<&[f32]>) -> Validation {
        let train = &self.recipe.train;
        let mut batches = train.valid_batches.max(1);
        if let Some(count) = self.source.valid_sequences() {
            batches = batches.min(count.div_ceil(train.batch as u64)).max(1);
        }
        let micro = match train.micro_batch {
            0 => train.batch,
            micro => micro.min(train.batch),
        };
        let all = batches * train.batch as u64;
        let all = self
            .source
            .valid_sequences()
            .map_or(all, |count| all.min(count));
        let (mut nats, mut right, mut scored, mut bytes) = (0.0, 0usize, 0usize, Some(0));
        let mut at = 0;
        while at < all {
            let count = (all - at).min(micro as u64) as usize;
            let batch = self.source.batch(Split::Valid, at, count);
            let params = params.unwrap_or(&self.rows.params);
            let scores = self.net.score(&self.cx, params, &batch, &mut self.space);
            nats += total(&scores);
            right += scores.correct.iter().filter(|&&c| c).count();
            scored += scores.losses.len();
            bytes = bytes.zip(self.source.bytes(&batch)).map(|(a, b)| a + b);
            at += count as u64;
        }
        Validation {
            step: self.progress.step,
            loss: nats / scored.max(1) as f64,
            accuracy: right as f64 / scored.max(1) as f64,
            bits_per_byte: bytes
                .filter(|&b| b > 0)
                .map(|b| nats / std::f64::consts::LN_2 / b as f64),
        }
    }

    /// Writes checkpoint, log and curve into a folder.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), TrainError> {
        let print = self.print();
        if let Some(best) = &self.best {
            let rows = Rows::new(best.clone());
            checkpoint::save(&best_at(folder), &rows, &Progress::default(), &print)?;
        }
        checkpoint::save(&checkpoint_at(folder), &self.rows, &self.progress, &print)?;
        let mut log: String = self.progress.steps.iter().map(line).collect();
        log.extend(self.progress.validations.iter().map(line));
        files::write(&folder.join("log.jsonl"), log.as_bytes())?;
        let curve = crate::curve::svg(&self.recipe.name, &self.progress);
        files::write(&folder.join("loss.svg"), curve.as_bytes())?;
        let record = format!("{:#}\n", self.record());
        files::write(&folder.join("run.json"), record.as_bytes())
    }

    /// What was trained, how, with what result, at what cost.
    #[must_use]
    pub fn record(&self) -> Value {
        let used = &self.progress.used;
        let price = &self.recipe.price;
        serde_json::json!({
            "name": self.recipe.name,
            "recipe": self.recipe,
            "parameters": self.net.params().len(),
            "steps": self.progress.step,
            "ended": self.progress.ended,
            "loss": self.progress.steps.last().map(|s| s.loss),
            "validation": self.progress.validations.last(),
            "best": self.progress.validations.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)),
            "used": used,
            "money": {"amount": used.money(price), "currency": price.currency,
                      "per_core_hour": price.per_core_hour},
            "threads": self.cx.pool.threads(),
            "isa": self.cx.isa.name(),
            "version": env!("CARGO_PKG_VERSION"),
        })
    }

    /// Writes the best weights as a Hugging Face folder.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn export(&self, folder: &Path) -> Result<(), TrainError> {
        let tokenizer = match &self.source {
            Source::Text(text) => Some(text.vocabulary.to_json()?),
            Source::Task(_) => None,
        };
        let layout = self.net.params();
        export::export(
            folder,
            &self.config,
            layout,
            self.best(),
            tokenizer.as_deref(),
        )
    }
}

/// Anything as a line of JSON.
fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

fn total(scores: &Scores) -> f64 {
    scores.losses.iter().map(|&l| f64::from(l)).sum()
}

fn open(recipe: &Recipe, folder: Option<&Path>) -> Result<Source, TrainError> {
    Source::open(recipe, folder.map(tokenizer_at).as_deref())
}

fn checkpoint_at(folder: &Path) -> PathBuf {
    folder.join("checkpoint.safetensors")
}

fn best_at(folder: &Path) -> PathBuf {
    folder.join("best.safetensors")
}

fn tokenizer_at(folder: &Path) -> PathBuf {
    folder.join("tokenizer.json")
}
