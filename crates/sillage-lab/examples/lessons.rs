//! Writes the lessons of `recall`, `copy` and `track` out, so that another program can teach them to the
//! same models: first weights, training batches in their order, questions, and the first losses that
//! this runtime reaches, for the other to hold its own against. `benches/lab/teach.py` reads it.
//!
//! ```sh
//! cargo run --release -p sillage-lab --example lessons -- FOLDER [--only TEXT] [--steps N]
//!     [--samples N] [--check N]
//! ```
//!
//! `--only` takes lessons whose "measure id" contains the text; `--steps` and `--samples` train longer
//! and on so many different samples than the full form does; `--check` is how many losses are kept.
//!
//! `lessons.jsonl` has a line a lesson. Other files are little-endian: `.f32` first weights;
//! `.u16` sequences, each its tokens and then its targets, both padded to the longest, 65,535 where
//! nothing is asked.

use serde_json::{Value, json};
use sillage_kernels::Compute;
use sillage_lab::Scale;
use sillage_lab::measures::learning::{Lesson, lessons, settled};
use sillage_lab::plan::seed_for;

use sillage_train::{Batch, Params, Split, Trainer};
use std::collections::HashMap;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

type Anyhow<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Target of a place where nothing is asked.
const NOTHING: u16 = u16::MAX;
/// Validation sequences are written too: batches a validation has.
const VALID: u64 = 4;

struct Args {
    folder: PathBuf,
    only: String,
    steps: Option<u64>,
    samples: Option<u64>,
    check: usize,
}

fn args() -> Anyhow<Args> {
    let mut words = std::env::args().skip(1);
    let mut args = Args {
        folder: words.next().ok_or("name a folder")?.into(),
        only: String::new(),
        steps: None,
        samples: None,
        check: 4,
    };
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        match word.as_str() {
            "--only" => args.only = value,
            "--steps" => args.steps = Some(value.parse()?),
            "--samples" => args.samples = Some(value.parse()?),
            "--check" => args.check = value.parse()?,
            other => return Err(format!("{other} is no option").into()),
        }
    }
    Ok(args)
}

fn main() -> Anyhow<()> {
    let args = args()?;
    std::fs::create_dir_all(&args.folder)?;
    let mut wanted = lessons(Scale::Full)?;
    wanted.retain(|lesson| format!("{} {}", lesson.measure, lesson.id).contains(&args.only));
    if let Some(steps) = args.steps {
        wanted.iter_mut().for_each(|l| l.budget.steps = steps);
    }
    for lesson in &wanted {
        // What tasks read, before all threads ask for it.
        settled(&lesson.task, &args.folder)?;
    }
    let cx = Arc::new(Compute::new(1));
    let shelf = Shelf {
        folder: args.folder.clone(),
        written: Mutex::default(),
    };
    let next = AtomicUsize::new(0);
    let lines = Mutex::new(vec![Value::Null; wanted.len()]);
    let work = || -> Anyhow<()> {
        while let Some(lesson) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            let line = write(&args, &cx, lesson, &shelf)?;
            let at = wanted.iter().position(|l| std::ptr::eq(l, lesson));
            if let (Some(at), Ok(mut lines)) = (at, lines.lock()) {
                lines[at] = line;
            }
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism()?.get();
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles
            .into_iter()
            .try_for_each(|handle| handle.join().map_err(|_| "a thread panicked")?)
    })?;
    let mut file = std::fs::File::create(args.folder.join("lessons.jsonl"))?;
    for line in lines.into_inner().map_err(|_| "a thread panicked")? {
        writeln!(file, "{line}")?;
    }
    Ok(())
}

/// Files that several lessons share are written once.
struct Shelf {
    folder: PathBuf,
    written: Mutex<HashMap<String, Arc<Mutex<Option<Value>>>>>,
}

impl Shelf {
    /// Sequences called `key`, from `make` if they are not there yet: file, count, length.
    fn sequences(&self, key: &str, make: impl FnOnce() -> Anyhow<Batch>) -> Anyhow<Value> {
        let entry = match self.written.lock() {
            Ok(mut written) => Arc::clone(written.entry(key.to_owned()).or_default()),
            Err(_) => return Err("a thread panicked".into()),
        };
        let mut entry = entry.lock().map_err(|_| "a thread panicked")?;
        if let Some(value) = &*entry {
            return Ok(value.clone());
        }
        let name = format!("{}.u16", name_of(key));
        let value = save(&self.folder.join(&name), &make()?)?;
        let value = json!({"file": name, "count": value.0, "length": value.1});
        *entry = Some(value.clone());
        Ok(value)
    }
}

fn name_of(key: &str) -> String {
    format!("{:016x}", seed_for(0, key))
}

fn save(path: &Path, batch: &Batch) -> Anyhow<(usize, usize)> {
    let length = batch.lens.iter().copied().max().unwrap_or(0);
    let mut out = std::io::BufWriter::new(std::fs::File::create(path)?);
    let mut at = 0;
    let mut row = vec![0u8; 2 * length];
    for &len in &batch.lens {
        for (values, padding) in [(&batch.tokens, 0), (&batch.targets, NOTHING)] {
            let values = values[at..at + len].iter().map(|&v| v as u16);
            let padded = values.chain(std::iter::repeat_n(padding, length - len));
            for (bytes, value) in row.chunks_exact_mut(2).zip(padded) {
                bytes.copy_from_slice(&value.to_le_bytes());
            }
            out.write_all(&row)?;
        }
        at += len;
    }
    out.flush()?;
    Ok((batch.lens.len(), length))
}

fn write(args: &Args, cx: &Arc<Compute>, lesson: &Lesson, shelf: &Shelf) -> Anyhow<Value> {
    let first = lesson.budget.rates.first().ok_or("no learning rate")?;
    let mut recipe = lesson.recipe(0, &args.folder, *first)?;
    recipe.data.samples = args.samples.unwrap_or(0);
    let mut trainer = Trainer::new(Arc::clone(cx), recipe.clone(), None)?;
    let (params, description) = (trainer.net().params(), trainer.net().description());
    let layout: Vec<Value> = params
        .iter()
        .map(|(p, range)| {
            json!({"name": p.name, "shape": p.shape, "start": range.start,
                   "decays": Params::decays(p.role)})
        })
        .collect();
    let init = format!(
        "{}.f32",
        name_of(&format!("{} {}", lesson.measure, lesson.id))
    );
    let bytes: Vec<u8> = trainer
        .params()
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    std::fs::write(args.folder.join(&init), bytes)?;
    let task = serde_json::to_string(&lesson.task)?;
    let all = recipe.train.steps * recipe.train.batch as u64;
    let count = match recipe.data.samples {
        0 => all,
        samples => all.min(samples),
    };
    let key = |split: &str| format!("{split} {task} seed {} of {count}", recipe.seed);
    let source = trainer.source();
    let train = shelf.sequences(&key("train"), || {
        Ok(source.batch(Split::Train, 0, count as usize))
    })?;
    let valid = shelf.sequences(&key("valid"), || {
        Ok(source.batch(Split::Valid, 0, (VALID as usize) * recipe.train.batch))
    })?;
    let mut exams = Vec::new();
    for exam in &lesson.exams {
        let task = settled(&exam.task, &args.folder)?;
        let name = serde_json::to_string(&task)?;
        let sequences = shelf.sequences(&format!("exam {} {name}", exam.name), || {
            let (task, mut batch) = (task.build()?, Batch::default());
            for index in 0..exam.samples as u64 {
                let sample = task.sample(seed_for(0, &exam.name), index);
                batch.push(&sample.tokens, &sample.targets);
            }
            Ok(batch)
        })?;
        let point = exam.point.clone().at("seed", recipe.seed);
        exams.push(json!({"sequences": sequences, "point": point, "chance": exam.chance()?}));
    }
    let config = json!({"blocks": lesson.model.blocks, "width": description.d_model,
                        "vocab": description.vocab, "model": lesson.model});
    let losses: Vec<f64> = (0..args.check)
        .map(|_| Ok(trainer.step()?.loss))
        .collect::<Anyhow<_>>()?;
    Ok(json!({
        "measure": lesson.measure, "id": lesson.id, "trained": lesson.trained, "recipe": recipe,
        "rates": lesson.budget.rates, "enough": lesson.budget.enough, "config": config, "layout": layout,
        "init": init, "train": train, "valid": valid, "exams": exams, "losses": losses,
    }))
}
