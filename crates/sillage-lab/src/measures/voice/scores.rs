//! Word error rate, quality and validation loss: points of the Python side, taken in.

use super::sides::{SERIES, Wanted};
use super::{LENGTHS, NAME, point};
use crate::LabError;
use crate::plan::{Context, Job};
use crate::record::{Better, Line, Point};
use crate::shapes::in_repository;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// Names the file.
const NAMED: &str = "SILLAGE_LAB_VOICE_SCORES";
/// Where the file lies otherwise.
const FILE: &str = "benches/results/lab/voice-scores.jsonl";
/// What makes the file.
const CURE: &str = "run benches/lab/voice.py --out FILE and set SILLAGE_LAB_VOICE_SCORES to FILE";
const CURE_LOSS: &str =
    "run benches/lab/voice_loss.py --out FILE and set SILLAGE_LAB_VOICE_SCORES to FILE";
/// Recognisers whose figures are expected.
const RECOGNISERS: [&str; 2] = ["moonshine-tiny", "whisper-base"];
/// Words that a sample of the word error rate is of, at least. A sentence alone is mostly without any error, so that
/// the middle one of many sentences would say nothing.
const WORDS: f64 = 100.0;

/// A short print of a text, for the names of jobs.
pub(super) fn short(text: Option<&str>) -> String {
    match text {
        Some(text) => blake3::hash(text.as_bytes()).to_hex()[..8].to_owned(),
        None => "none".to_owned(),
    }
}

pub(super) fn job(wanted: &Arc<Wanted>, print: &str) -> Job {
    let wanted = wanted.clone();
    let named = std::env::var_os(NAMED).filter(|path| !path.is_empty());
    let path = named.map(PathBuf::from).or_else(|| in_repository(FILE));
    let read = path.as_ref().map(std::fs::read_to_string);
    let text = match read {
        Some(Ok(text)) => Ok(text),
        Some(Err(error)) => {
            let path = path
                .as_ref()
                .map(|p| p.display().to_string())
                .unwrap_or_default();
            Err(format!("{path}: {error}"))
        }
        None => Err("nobody has listened yet".to_owned()),
    };
    Job {
        id: format!("scores-{}-{print}", short(text.as_deref().ok())),
        estimate: 0.1,
        run: Box::new(move |ctx: &Context| {
            let lines = text.as_deref().map_err(String::as_str);
            let mut points = points(&wanted, lines)?;
            for point in &mut points {
                point.machine.clone_from(&ctx.machine.id);
            }
            Ok(points)
        }),
    }
}

/// Every expected point, measured or missing, and all others that are of these weights.
pub(super) fn points(wanted: &Wanted, text: Result<&str, &str>) -> Result<Vec<Point>, LabError> {
    let (mut found, mut others) = (Vec::new(), 0);
    for (number, line) in text.unwrap_or_default().lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let read = serde_json::from_str(line).map_err(|error| {
            LabError::Failed(format!(
                "line {} of the voice's scores: {error}; {CURE}, or remove the line",
                number + 1
            ))
        })?;
        if let Line::Point(point) = read {
            let point = *point;
            let side = SERIES.iter().position(|name| *name == point.series);
            let of_these = side.is_some_and(|side| {
                let print = wanted.fingerprint(side);
                !print.is_empty() && point.config["fingerprint"] == print
            });
            if point.measure != NAME || !of_these {
                others += 1;
                continue;
            }
            found.retain(|old| !same(old, &point));
            found.push(point);
        }
    }
    let why = match (text, others) {
        (Err(reason), _) => reason.to_owned(),
        (Ok(_), 0) => "it is not among the scores".to_owned(),
        (Ok(_), _) => {
            format!("it is not among the scores of these weights ({others} are of others)")
        }
    };
    for (side, name) in SERIES.into_iter().enumerate() {
        for point in expected(name) {
            if !found.iter().any(|old| same(old, &point)) {
                let cure = if point.metric == "validation loss" {
                    CURE_LOSS
                } else {
                    CURE
                };
                let reason = match &wanted.found[side] {
                    Err(reason) => reason.clone(),
                    Ok(_) => format!("{why}; {cure}"),
                };
                found.push(point.config(wanted.about(side)).missing(reason));
            }
        }
    }
    Ok(found.into_iter().map(taken_in).collect())
}

fn same(a: &Point, b: &Point) -> bool {
    a.metric == b.metric && a.series == b.series && a.at == b.at
}

/// What there should be of a series.
fn expected(series: &str) -> Vec<Point> {
    let mut all = Vec::new();
    for seconds in LENGTHS {
        for carry in [false, true] {
            let place = |point: Point| point.at("seconds", seconds).at("carry", carry);
            for recogniser in RECOGNISERS {
                let rate = point("word error rate", series, "errors/word", Better::Lower);
                all.push(place(rate).at("recogniser", recogniser));
            }
            all.push(place(point("quality", series, "DNSMOS", Better::Higher)));
            let loss = point(
                "validation loss",
                series,
                "mean absolute error",
                Better::Lower,
            );
            all.push(place(loss).at("loss", "log-mel"));
        }
    }
    all
}

/// A point as the lab keeps it: what was counted a piece at a time becomes rates of enough words.
fn taken_in(mut point: Point) -> Point {
    if point.config.is_object() {
        point.config["heard_on"] = json!(std::mem::take(&mut point.machine));
        point.config["heard_at"] = json!(std::mem::take(&mut point.time));
    }
    if point.metric != "word error rate" || point.measured().is_none() {
        return point;
    }
    let numbers = |value: &Value| -> Vec<f64> {
        let list = value.as_array();
        list.map(|l| l.iter().filter_map(Value::as_f64).collect())
            .unwrap_or_default()
    };
    let (wrong, words) = (
        numbers(&point.config["errors"]),
        numbers(&point.config["words"]),
    );
    let total: f64 = words.iter().sum();
    if wrong.len() != words.len() || total <= 0.0 {
        return point.missing(format!(
            "its counts of errors and words do not belong together; {CURE}"
        ));
    }
    point.config["of_all"] = json!(wrong.iter().sum::<f64>() / total);
    point.config["statistic"] = json!(format!(
        "each sample: errors over words of consecutive pieces of at least {WORDS} words; of_all: of everything"
    ));
    point.samples(blocks(&wrong, &words))
}

/// Rates over runs of at least [`WORDS`] words; what is left over joins the last.
pub(super) fn blocks(wrong: &[f64], words: &[f64]) -> Vec<f64> {
    let mut sums: Vec<(f64, f64)> = Vec::new();
    let mut open = false;
    for (wrong, words) in wrong.iter().zip(words) {
        match sums.last_mut() {
            Some(sum) if open => *sum = (sum.0 + wrong, sum.1 + words),
            _ => sums.push((*wrong, *words)),
        }
        open = sums.last().is_some_and(|sum| sum.1 < WORDS);
    }
    if open
        && sums.len() > 1
        && let (Some(rest), Some(last)) = (sums.pop(), sums.last_mut())
    {
        *last = (last.0 + rest.0, last.1 + rest.1);
    }
    sums.into_iter()
        .filter(|sum| sum.1 > 0.0)
        .map(|sum| sum.0 / sum.1)
        .collect()
}
