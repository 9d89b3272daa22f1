//! Matched language models of a few million parameters on books: bits per byte by the place in the
//! document, and loss by what it cost.
//!
//! Books come from a folder with `classic-books.train.jsonl.zst` and `classic-books.valid.jsonl.zst`,
//! named by `SILLAGE_LAB_BOOKS`. Without it the quick form learns from what booklet writes, and its
//! points say so; those of the full form are missing.

use super::{Best, Budget, Kind, Shape, best, train, written};
use crate::error::LabError;
use crate::plan::{Context, Job, Measure, Scale};
use crate::record::{Better, Point};
use sillage_train::recipe::{DataRecipe, Price, Recipe};
use sillage_train::{Batch, Corpus, Source, Trainer, Validation, Workspace, documents};
use std::path::PathBuf;
use std::sync::Arc;

/// The measure.
pub struct Language;

/// Where the books are.
pub const BOOKS: &str = "SILLAGE_LAB_BOOKS";
const KINDS: [Kind; 3] = [Kind::Mamba2, Kind::Hybrid, Kind::Attention];
/// Where buckets of positions end.
const ENDS: [usize; 8] = [64, 256, 512, 1024, 4096, 8192, 16_384, 32_768];

impl Measure for Language {
    fn name(&self) -> &'static str {
        "language"
    }

    fn question(&self) -> &'static str {
        "Which of matched models predicts books better, at which place in them, and at what cost?"
    }

    fn jobs(&self, scale: Scale) -> Result<Vec<Job>, LabError> {
        let seeds = if scale == Scale::Quick { 1 } else { 2 };
        let cells = (0..seeds).flat_map(|seed| KINDS.map(|kind| (kind, seed)));
        cells.map(|(kind, seed)| job(kind, seed, scale)).collect()
    }
}

/// Its name in points: with positions and an MLP, as here, attention is the whole transformer.
fn series(kind: Kind) -> &'static str {
    match kind {
        Kind::Attention => "transformer",
        other => other.series(),
    }
}

/// Sizes, tokens of a sequence, tokens of the vocabulary.
fn sizes(scale: Scale) -> (Shape, Budget, usize, usize) {
    let quick = scale == Scale::Quick;
    let shape = Shape {
        width: if quick { 96 } else { 192 },
        layers: if quick { 4 } else { 8 },
        d_state: if quick { 32 } else { 64 },
        head: if quick { 32 } else { 64 },
        conv: false,
    };
    let budget = Budget {
        steps: if quick { 60 } else { 400 },
        batch: if quick { 8 } else { 16 },
        // One rate does not suit all sides: attention wants a lower one.
        rates: if quick {
            vec![6e-3]
        } else {
            vec![4e-3, 1.5e-3]
        },
        enough: 0.0,
    };
    let (length, vocab) = if quick { (256, 512) } else { (512, 3072) };
    (shape, budget, length, vocab)
}

/// A part of the books, `train` or `valid`, if their folder was named.
pub(crate) fn books(part: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(BOOKS).filter(|folder| !folder.is_empty())?;
    Some(PathBuf::from(folder).join(format!("classic-books.{part}.jsonl.zst")))
}

/// The longest documents of some files, so that late places have as many as early ones.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn longest(files: &[PathBuf], count: usize) -> Result<Vec<String>, LabError> {
    let mut read = Vec::new();
    for path in files {
        read.extend(documents(path)?);
    }
    read.sort_by_key(|text| std::cmp::Reverse(text.len()));
    read.truncate(count);
    Ok(read)
}

/// The texts to train and to test on, and what they are called where they are not books.
fn texts(ctx: &Context) -> Result<([Vec<PathBuf>; 2], Option<&'static str>), LabError> {
    match (books("train").zip(books("valid")), ctx.scale) {
        (Some((train, valid)), _) => Ok(([vec![train], vec![valid]], None)),
        (None, Scale::Quick) => Ok((written::texts(ctx)?, Some("written by booklet"))),
        (None, Scale::Full) => Err(LabError::Failed(format!(
            "needs books: name a folder with classic-books.train.jsonl.zst and \
             classic-books.valid.jsonl.zst in {BOOKS}"
        ))),
    }
}

fn job(kind: Kind, seed: u64, scale: Scale) -> Result<Job, LabError> {
    let (shape, budget, length, vocab) = sizes(scale);
    shape.model(kind, vocab)?;
    let tokens = budget.steps as f64 * (budget.batch * length) as f64;
    Ok(Job {
        id: format!("{} seed {seed}", series(kind)),
        estimate: match scale {
            Scale::Quick => tokens / 20e3 + 20.0,
            Scale::Full => budget.rates.len() as f64 * tokens / 8.5e3 + 20.0,
        },
        run: Box::new(move |ctx| run(ctx, kind, seed)),
    })
}

fn run(ctx: &Context, kind: Kind, seed: u64) -> Result<Vec<Point>, LabError> {
    let (shape, budget, length, vocab) = sizes(ctx.scale);
    let ([text, valid], named) = texts(ctx)?;
    let from = ctx.seed.wrapping_add(seed);
    let mut train = train(&budget, budget.rates[0]);
    train.micro_batch = 4;
    train.save_every = 50;
    let recipe = Recipe {
        name: format!("language {}", series(kind)),
        seed: from,
        model: shape.model(kind, vocab)?,
        data: DataRecipe {
            text,
            valid: valid.clone(),
            tokenizer: format!("bpe:{vocab}"),
            length,
            megabytes: if ctx.scale == Scale::Quick { 4 } else { 40 },
            reset: true,
            task: None,
            valid_task: None,
            samples: 0,
        },
        train,
        price: Price::default(),
    };
    let twin = match kind {
        Kind::Mamba2 => "language-ssm",
        Kind::Hybrid => "language-hybrid",
        _ => "language-transformer",
    };
    let folder = format!("{twin}-{}-{from}-run", ctx.scale.name());
    // Each rate in a folder of its own, from which it goes on.
    let open = |lr| {
        let mut recipe = recipe.clone();
        recipe.train.lr = lr;
        let folder = ctx.work.join(format!("{folder}-{lr}"));
        Trainer::new(Arc::clone(&ctx.cx), recipe, Some(&folder))
    };
    let lowest = |said: &[Validation]| -said.iter().map(|v| v.loss).fold(f64::INFINITY, f64::min);
    let Best { trainer, tried } = best(ctx, &budget.rates, f64::INFINITY, &open, &lowest)?;
    let tried: Vec<_> = tried.iter().map(|(lr, worth)| (lr, -worth)).collect();
    if seed == 0 {
        // Other measures take it from here.
        trainer.export(&ctx.work.join(twin))?;
    }
    let config = serde_json::json!({
        "record": trainer.record(), "seed": from, "parameters": trainer.net().params().len(),
        "rates": tried,
    });
    let mut points = costs(kind, from, &trainer);
    points.extend(places(ctx, kind, from, &trainer, &valid)?);
    let finished = points.into_iter().map(|point| match named {
        Some(text) => point.at("text", text).config(config.clone()),
        None => point.config(config.clone()),
    });
    Ok(finished.collect())
}

/// Validation loss after so much computing.
fn costs(kind: Kind, seed: u64, trainer: &Trainer) -> Vec<Point> {
    let progress = trainer.progress();
    let steps = progress.step.max(1) as f64;
    let mut points = Vec::new();
    for validation in &progress.validations {
        let part = validation.step as f64 / steps;
        let axes = [
            ("loss by FLOPs", "flops", progress.used.flops * part),
            (
                "loss by CPU-seconds",
                "cpu-seconds",
                progress.used.cpu_seconds * part,
            ),
        ];
        for (metric, axis, used) in axes {
            let point = Point::new(
                "language",
                metric,
                series(kind),
                "bits per byte",
                Better::Lower,
            );
            let bits = validation.bits_per_byte.unwrap_or(f64::NAN);
            let point = point.at(axis, used).at("seed", seed);
            points.push(match bits.is_finite() {
                true => point.samples(vec![bits]),
                false => point.missing("the validation text stands for no bytes"),
            });
        }
    }
    points
}

/// Bits per byte by the place in the document, each document read from its start.
fn places(
    ctx: &Context,
    kind: Kind,
    seed: u64,
    trainer: &Trainer,
    valid: &[PathBuf],
) -> Result<Vec<Point>, LabError> {
    let Source::Text(source) = trainer.source() else {
        return Ok(vec![]);
    };
    let lengths = source.vocabulary.byte_lengths();
    let wanted = if ctx.scale == Scale::Quick { 2 } else { 12 };
    let read = longest(valid, wanted)?;
    let last = ENDS[ENDS.len() - 1];
    let mut buckets = vec![vec![]; ENDS.len()];
    let mut space = Workspace::default();
    for text in &read {
        let corpus = Corpus::of(std::slice::from_ref(text), &source.vocabulary)?;
        let tokens = &corpus.tokens[..corpus.tokens.len().min(last + 1)];
        let Some((targets, inputs)) = tokens.get(1..).zip(tokens.len().checked_sub(1)) else {
            continue;
        };
        let mut batch = Batch::default();
        batch.push(&tokens[..inputs], targets);
        let scores = trainer
            .net()
            .score(&ctx.cx, trainer.best(), &batch, &mut space);
        let mut start = 0;
        for (bucket, &end) in buckets.iter_mut().zip(&ENDS) {
            if end > inputs {
                break;
            }
            let nats: f64 = scores.losses[start..end]
                .iter()
                .map(|&l| f64::from(l))
                .sum();
            let bytes: u32 = targets[start..end]
                .iter()
                .map(|&t| lengths[t as usize])
                .sum();
            if bytes > 0 {
                bucket.push(nats / std::f64::consts::LN_2 / f64::from(bytes));
            }
            start = end;
        }
    }
    let point = |(samples, &end): (Vec<f64>, &usize)| {
        let point = Point::new(
            "language",
            "bits per byte",
            series(kind),
            "bits per byte",
            Better::Lower,
        )
        .at("position", end)
        .at("seed", seed);
        match samples.is_empty() {
            true => point.missing(format!("no document of the test text has {end} tokens")),
            false => point.samples(samples),
        }
    };
    Ok(buckets.into_iter().zip(&ENDS).map(point).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_matched() {
        assert_eq!(Language.jobs(Scale::Quick).unwrap().len(), 3);
        let full = Language.jobs(Scale::Full).unwrap();
        assert_eq!(full.len(), 6);
        // What the claims and the picture look for.
        for side in ["Mamba-2", "hybrid", "transformer"] {
            assert!(full.iter().any(|job| job.id == format!("{side} seed 0")));
        }
    }
}
