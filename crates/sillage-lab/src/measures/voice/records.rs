//! Losses at the end of training, from the committed log of both models.
//!
//! They are losses of training batches (of twelve passes over the data), not of
//! held-out speech, and are called so; those come from `benches/lab/voice_loss.py`.

use super::point;
use super::sides::{SERIES, Wanted};
use crate::plan::Job;
use crate::record::{Better, Point};
use crate::shapes::in_repository;
use serde_json::{Value, json};
use std::sync::Arc;

/// The log that holds both runs.
const LOG: &str = "models/voice/training-log.jsonl";
/// The last stage of each side, by its name in the log.
const RUNS: [&str; 2] = ["joint", "joint, attention twin"];
/// The losses, by their names in the log.
const LOSSES: [(&str, &str); 4] = [
    ("mel", "log-mel"),
    ("pitch", "pitch"),
    ("voicing", "voicing"),
    ("duration", "durations"),
];
/// Rows of 100 steps each that count.
const ROWS: usize = 5;

pub(super) fn job(wanted: &Arc<Wanted>, print: &str) -> Job {
    let wanted = wanted.clone();
    let text = in_repository(LOG).and_then(|path| std::fs::read_to_string(path).ok());
    Job {
        id: format!("records-{}-{print}", super::scores::short(text.as_deref())),
        estimate: 0.1,
        run: Box::new(move |_| Ok(points(&wanted, text.as_deref()))),
    }
}

pub(super) fn points(wanted: &Wanted, text: Option<&str>) -> Vec<Point> {
    let mut points = Vec::new();
    for (side, name) in SERIES.into_iter().enumerate() {
        for (key, loss) in LOSSES {
            let mut config = wanted.about(side);
            config["file"] = json!(LOG);
            config["run"] = json!(RUNS[side]);
            config["rows"] = json!(format!(
                "the last {ROWS}, means over 100 steps each; the same batches for both"
            ));
            let point = point("training loss", name, "mean absolute error", Better::Lower)
                .at("loss", loss)
                .config(config);
            points.push(match text.map(|text| last(text, RUNS[side], key)) {
                Some(found) if found.len() == ROWS => point.samples(found),
                Some(found) => point.missing(format!(
                    "{LOG} has {} rows of '{key}' of the run '{}'; {ROWS} are needed",
                    found.len(),
                    RUNS[side]
                )),
                None => point.missing(format!(
                    "{LOG} was not found; run this within the repository"
                )),
            });
        }
    }
    points
}

/// The last values of a loss in a run.
fn last(text: &str, run: &str, key: &str) -> Vec<f64> {
    let rows = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let values: Vec<f64> = rows
        .filter(|row| row["run"] == run)
        .filter_map(|row| row[key].as_f64())
        .collect();
    values[values.len().saturating_sub(ROWS)..].to_vec()
}
