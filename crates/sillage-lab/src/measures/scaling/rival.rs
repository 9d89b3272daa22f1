//! llama.cpp on the same shapes, measured with its own `llama-bench`.
//!
//! It is measured where `SILLAGE_LLAMA_BENCH` names that program and the models
//! were converted (`benches/lab/llama.py` does both); otherwise its points are
//! missing and say so. Its cache is in f16, as it comes.

use super::{DECODE, FIRST_TOKEN, Metric, NAME, PREFILL, Spot};
use crate::LabError;
use crate::plan::Context;
use crate::record::Point;
use crate::shapes::{Kind, Size, Weights};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names the program.
const PROGRAM: &str = "SILLAGE_LLAMA_BENCH";
/// Names a folder of converted models; else `gguf` in the work folder.
const MODELS: &str = "SILLAGE_LLAMA_GGUF";
/// Tokens of one decode sample.
const STEPS: u64 = 32;
/// Both sides that it knows.
pub(super) const KINDS: [Kind; 2] = [Kind::Mamba2, Kind::Transformer];

/// What is asked of it.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) size: Size,
    pub(super) weights: Weights,
    pub(super) lengths: Vec<u64>,
    pub(super) repeats: usize,
}

/// The program, if it was named.
pub(super) fn program() -> Option<PathBuf> {
    std::env::var_os(PROGRAM)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

fn series(kind: Kind) -> String {
    format!("{}, llama.cpp", kind.series())
}

/// Its nearest type: the same bits, or a few more.
fn type_name(weights: Weights) -> &'static str {
    match weights {
        Weights::F32 => "F32",
        Weights::Bf16 => "F16",
        Weights::Q8 => "Q8_0",
        Weights::Q4 => "Q4_K_M",
    }
}

/// Measures both sides, or says why not.
pub(super) fn run(
    context: &Context,
    wanted: &Wanted,
    program: Option<&Path>,
) -> Result<Vec<Point>, LabError> {
    let models = std::env::var_os(MODELS).map_or_else(|| context.work.join("gguf"), PathBuf::from);
    let mut points = Vec::new();
    for (side, kind) in KINDS.into_iter().enumerate() {
        let name = format!(
            "{}-{}.{}.gguf",
            kind.name(),
            wanted.size.name(),
            type_name(wanted.weights)
        );
        let model = models.join(&name);
        let words = format!("{} {}", series(kind), wanted.size.name());
        (context.progress)(side as f64 / KINDS.len() as f64, &words);
        let found = match program {
            None => Err(format!(
                "{PROGRAM} names no llama-bench; `python benches/lab/llama.py` makes one"
            )),
            Some(_) if !model.is_file() => Err(format!(
                "{name} is not in {MODELS}; `python benches/lab/llama.py` converts it"
            )),
            Some(program) => bench(program, &model, wanted, context.cx.pool.threads()),
        };
        points.extend(filed(wanted, kind, &model, found)?);
    }
    Ok(points)
}

/// What it printed, or why it could not.
fn bench(
    program: &Path,
    model: &Path,
    wanted: &Wanted,
    threads: usize,
) -> Result<Vec<Value>, String> {
    let mut rows = Vec::new();
    let list = |lengths: &[u64]| {
        let words: Vec<String> = lengths.iter().map(u64::to_string).collect();
        words.join(",")
    };
    let lengths = list(&wanted.lengths);
    let steps = STEPS.to_string();
    for what in [
        ["-p", &lengths, "-n", "0", "-d", "0"],
        ["-p", "0", "-n", &steps, "-d", &lengths],
    ] {
        let output = Command::new(program)
            .arg("-m")
            .arg(model)
            .args([
                "-t",
                &threads.to_string(),
                "-r",
                &wanted.repeats.to_string(),
            ])
            .args(["-o", "json"])
            .args(what)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default();
            return Err(format!(
                "{} ended with {}: {last}",
                program.display(),
                output.status
            ));
        }
        let parsed: Result<Vec<Value>, _> = serde_json::from_slice(&output.stdout);
        rows.extend(parsed.map_err(|e| format!("{} printed no JSON: {e}", program.display()))?);
    }
    Ok(rows)
}

/// A point for every length and metric.
fn filed(
    wanted: &Wanted,
    kind: Kind,
    model: &Path,
    found: Result<Vec<Value>, String>,
) -> Result<Vec<Point>, LabError> {
    let mut points = Vec::new();
    for &length in &wanted.lengths {
        for metric in [FIRST_TOKEN, PREFILL, DECODE] {
            let spot = Spot {
                size: wanted.size,
                weights: wanted.weights,
                length,
                sessions: 1,
            };
            let point = spot.point(NAME, metric, &series(kind));
            points.push(match &found {
                Err(reason) => point.missing(reason),
                Ok(rows) => measured(point, metric, length, model, rows),
            });
        }
    }
    Ok(points)
}

/// The samples of a length among what it printed.
fn measured(point: Point, metric: Metric, length: u64, model: &Path, rows: &[Value]) -> Point {
    let number = |row: &Value, key: &str| row.get(key).and_then(Value::as_u64).unwrap_or(0);
    let row = rows.iter().find(|row| match metric {
        DECODE => number(row, "n_gen") > 0 && number(row, "n_depth") == length,
        _ => number(row, "n_gen") == 0 && number(row, "n_prompt") == length,
    });
    let Some(row) = row else {
        return point.missing("llama-bench printed nothing for this length");
    };
    let rates: Vec<f64> = row
        .get("samples_ts")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_f64).collect())
        .unwrap_or_default();
    if rates.is_empty() || rates.iter().any(|rate| *rate <= 0.0) {
        return point.missing("llama-bench printed no samples for this length");
    }
    let file = model.file_name().unwrap_or_default().to_string_lossy();
    let point = point.config(json!({
        "model": file, "build": row.get("build_commit"), "threads": row.get("n_threads"),
        "type": row.get("model_type"), "cache": row.get("type_k"), "batch": row.get("n_batch"),
    }));
    match metric {
        FIRST_TOKEN => point.samples(rates.iter().map(|rate| length as f64 / rate).collect()),
        _ => point.samples(rates),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measures::scaling::tests::context;

    fn wanted() -> Wanted {
        Wanted {
            size: Size::Tiny,
            weights: Weights::Q8,
            lengths: vec![256, 1024],
            repeats: 1,
        }
    }

    #[test]
    fn without_the_program_every_point_is_missing_and_says_why() {
        let (context, _work) = context();
        let points = run(&context, &wanted(), None).unwrap();
        assert_eq!(points.len(), 2 * 2 * 3);
        assert!(points.iter().all(|p| p.measured().is_none()));
        let program = Path::new("/bin/false");
        let points = run(&context, &wanted(), Some(program)).unwrap();
        assert!(points.iter().all(|p| p.measured().is_none()));
    }

    #[test]
    fn what_llama_bench_prints_is_read() {
        let rows = vec![
            json!({"n_prompt": 256, "n_gen": 0, "n_depth": 0, "samples_ts": [128.0, 64.0]}),
            json!({"n_prompt": 0, "n_gen": 32, "n_depth": 1024, "samples_ts": [9.0]}),
        ];
        let model = Path::new("a.gguf");
        let points = filed(&wanted(), Kind::Mamba2, model, Ok(rows)).unwrap();
        let samples: Vec<_> = points.iter().map(|p| p.measured()).collect();
        let expected: [Option<&[f64]>; 6] = [
            Some(&[2.0, 4.0]),
            Some(&[128.0, 64.0]),
            None,
            None,
            None,
            Some(&[9.0]),
        ];
        assert_eq!(samples, expected);
        assert_eq!(points[0].series, "Mamba-2, llama.cpp");
    }
}
