//! `sillage train` and `sillage finetune`: from a recipe to a model.

use crate::console;
use anyhow::{Context, Result};
use indicatif::ProgressBar;
use sillage_kernels::Compute;
use sillage_train::bench::Case;
use sillage_train::{Event, Progress, Recipe, Then, Trainer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Train a model by a recipe; a run that was stopped or killed goes on where it was saved last
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What is trained, on what and how, as TOML (`recipes/language` has examples)
    #[arg(required_unless_present = "bench")]
    recipe: Option<PathBuf>,
    /// Instead: time the training steps of a case in a JSON file
    #[arg(long, value_name = "CASE", conflicts_with_all = ["recipe", "out", "seconds"])]
    bench: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Train a model further, on other text, from its Hugging Face folder
#[derive(clap::Args)]
pub(crate) struct FinetuneArgs {
    /// The folder; its architecture and tokenizer stand in place of the recipe's
    model: PathBuf,
    /// On what and how, as TOML
    recipe: PathBuf,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
struct Common {
    /// Folder for checkpoint, log, curve and the finished model [default: runs/NAME]
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Stop after so many seconds; the same command goes on later
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Threads to compute on [default: one per core]; results do not depend on it
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print JSON: a line for each step and validation, and at the end the record
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(case) = &args.bench {
        let measured = Case::read(case)?.run()?;
        say!("{}", serde_json::to_string(&measured)?);
        return Ok(());
    }
    let path = args.recipe.as_deref().context("name a recipe")?;
    let recipe = Recipe::read(path)?;
    let out = args.common.folder(&recipe);
    let trainer = Trainer::new(args.common.compute(), recipe, Some(&out))?;
    args.common.train(trainer, &out)
}

pub(crate) fn finetune(args: &FinetuneArgs) -> Result<()> {
    let recipe = Recipe::read(&args.recipe)?;
    let out = args.common.folder(&recipe);
    let cx = args.common.compute();
    let trainer = Trainer::finetune(cx, recipe, &args.model, Some(&out))?;
    args.common.train(trainer, &out)
}

impl Common {
    fn folder(&self, recipe: &Recipe) -> PathBuf {
        let usual = || Path::new("runs").join(&recipe.name);
        self.out.clone().unwrap_or_else(usual)
    }

    fn compute(&self) -> Arc<Compute> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Compute::new(self.threads.unwrap_or_else(cores)))
    }

    fn train(&self, mut trainer: Trainer, out: &Path) -> Result<()> {
        let steps = trainer.recipe().train.steps;
        let from = trainer.progress().step;
        if !self.json {
            announce(&trainer, out);
        }
        let stopped = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopped);
        // A second wish to stop ends the program at once; the last checkpoint is whole.
        let _ = ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        });
        let watch = Watch {
            bar: console::progress(steps, "training"),
            start: Instant::now(),
            limit: self.seconds.map(Duration::from_secs),
            stopped,
            json: self.json,
        };
        watch.bar.set_position(from);
        trainer.run(&mut |event| watch.on(event))?;
        watch.bar.finish_and_clear();
        let done = trainer.progress();
        if done.step < steps && done.ended.is_none() {
            eprintln!(
                "stopped after step {} of {}; the same command goes on",
                console::count(done.step),
                console::count(steps)
            );
            return Ok(());
        }
        let model = out.join("model");
        trainer.export(&model)?;
        if self.json {
            say!("{}", trainer.record());
            return Ok(());
        }
        summary(&trainer, out)
    }
}

fn announce(trainer: &Trainer, out: &Path) {
    let description = trainer.net().description();
    let step = trainer.progress().step;
    eprintln!(
        "{}: {}, {} parameters, {} tokens in the vocabulary; into {}",
        trainer.recipe().name,
        description.architecture,
        console::count(trainer.net().params().len() as u64),
        console::count(trainer.source().vocab() as u64),
        out.display()
    );
    if step > 0 {
        eprintln!("going on after step {}", console::count(step));
    }
}

fn summary(trainer: &Trainer, out: &Path) -> Result<()> {
    let (progress, price) = (trainer.progress(), &trainer.recipe().price);
    let used = &progress.used;
    if let Some(validation) = progress.validations.last() {
        say!("{}", said(validation));
    }
    say!(
        "{} steps, {} tokens, {:.3e} operations, {:.0} processor seconds, {:.4} {} at {} a core-hour",
        console::count(progress.step),
        console::count(used.tokens),
        used.flops,
        used.cpu_seconds,
        used.money(price),
        price.currency,
        price.per_core_hour
    );
    if let Some(why) = &progress.ended {
        say!("ended early: {why}");
    }
    say!(
        "model in {}, curve in {}",
        out.join("model").display(),
        out.join("loss.svg").display()
    );
    Ok(())
}

fn said(validation: &sillage_train::Validation) -> String {
    let bits = validation
        .bits_per_byte
        .map_or(String::new(), |b| format!(", {b:.4} bits per byte"));
    format!(
        "validation after step {}: loss {:.4}, {:.2} % right{bits}",
        validation.step,
        validation.loss,
        100.0 * validation.accuracy
    )
}

/// Shows what happens, and ends it in time.
struct Watch {
    bar: ProgressBar,
    start: Instant,
    limit: Option<Duration>,
    stopped: Arc<AtomicBool>,
    json: bool,
}

impl Watch {
    fn on(&self, event: &Event<'_>) -> Then {
        if self.json {
            let line = match event {
                Event::Step(step, _) => serde_json::to_string(step).ok(),
                Event::Validation(validation, _) => serde_json::to_string(validation).ok(),
                Event::Saved(_) => None,
            };
            // A reader that has gone is no reason to lose the run.
            let _ = line.map(|line| console::write_line(format_args!("{line}")));
        }
        match event {
            Event::Step(step, progress) => {
                self.bar.set_position(step.step);
                self.bar.set_message(now(step.loss, progress));
            }
            Event::Validation(validation, _) if !self.json => {
                self.bar.suspend(|| eprintln!("{}", said(validation)));
            }
            _ => {}
        }
        let late = self
            .limit
            .is_some_and(|limit| self.start.elapsed() >= limit);
        match late || self.stopped.load(Ordering::SeqCst) {
            true => Then::Stop,
            false => Then::GoOn,
        }
    }
}

/// Loss and speed of the last steps.
fn now(loss: f64, progress: &Progress) -> String {
    let last = progress.steps.iter().rev().take(10);
    let (tokens, seconds) = last.fold((0, 0.0), |(tokens, seconds), step| {
        (tokens + step.tokens, seconds + step.seconds)
    });
    let rate = (tokens as f64 / f64::max(seconds, 1e-9)) as u64;
    format!("loss {loss:.4}, {} tokens/s", console::count(rate))
}
