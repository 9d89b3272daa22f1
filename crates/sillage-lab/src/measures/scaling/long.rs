//! Lengths that only a state space model reaches here: read once, for real.
//!
//! That takes minutes, so the state is saved on the way with the seconds spent
//! so far; a run that was killed goes on from there.

use super::subject::{Subject, read, step, steps_for, write};
use super::{DECODE, FIRST_TOKEN, FLOPS, FLOPS_MODEL, Metric, NAME, PREFILL, STATE};
use super::{Spot, flops};
use crate::LabError;
use crate::error::failed;
use crate::plan::Context;
use crate::record::Point;
use crate::shapes::Kind;
use sillage_state::{Meta, Precision, Snapshot, State};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Tokens between two saves.
const SAVED: u64 = 131_072;
/// In a saved state: seconds that reading it took.
const SECONDS: &str = "seconds";
/// Samples of the decode rate.
const SAMPLES: usize = 7;
/// Steps of one of them, at most.
const STEPS: usize = 64;

/// Reads `spot.length` tokens and writes after them.
pub(super) fn run(context: &Context, spot: Spot) -> Result<Vec<Point>, LabError> {
    let subject = Subject::load(context, spot.size, Kind::Mamba2, spot.weights)?;
    let (cx, model) = (&context.cx, &subject.model);
    let path = save_path(context, &spot);
    let (mut state, seconds) = read_on(context, &subject, &spot, &path)?;

    let from = state.position();
    let formula = flops::forward(model.description(), from, 1, 1).flops();
    let _ = cx.counters.take();
    step(cx, model, std::slice::from_mut(&mut state), 0)?;
    let counted = cx.counters.take().flops();
    let states = [state];
    let steps = steps_for(cx, model, &states, 1.0, STEPS)?;
    let mut rates = Vec::new();
    for _ in 0..SAMPLES {
        rates.push(steps as f64 / write(cx, model, &states, steps)?);
    }
    let [state] = states;

    let mut config = subject.config(context, spot.weights);
    config["depth"] = "read for real, once; no other side reaches this length".into();
    let point = |metric: Metric, samples: Vec<f64>| {
        spot.point(NAME, metric, Kind::Mamba2.series())
            .config(config.clone())
            .samples(samples)
    };
    let points = vec![
        point(FIRST_TOKEN, vec![seconds]),
        point(PREFILL, vec![spot.length as f64 / seconds]),
        point(DECODE, rates),
        point(STATE, vec![state.bytes() as f64]),
        point(FLOPS, vec![counted as f64]),
        point(FLOPS_MODEL, vec![formula as f64]),
    ];
    if path.exists() {
        std::fs::remove_file(&path).map_err(|e| LabError::io(&path, e))?;
    }
    Ok(points)
}

fn save_path(context: &Context, spot: &Spot) -> PathBuf {
    let name = format!(
        "mamba2-{}-{}-{}.state",
        spot.size.name(),
        spot.weights.name(),
        spot.length
    );
    context.work.join("states").join(name)
}

/// The state after all tokens, and the seconds it took, those of an earlier
/// run included.
fn read_on(
    context: &Context,
    subject: &Subject,
    spot: &Spot,
    path: &Path,
) -> Result<(State, f64), LabError> {
    let model = &subject.model;
    let (mut state, mut seconds) = match resumed(path, subject) {
        Some((state, seconds)) if state.position() < spot.length => (state, seconds),
        _ => (model.new_state(), 0.0),
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| LabError::io(folder, e))?;
    }
    while state.position() < spot.length {
        let from = state.position();
        let now = SAVED.min(spot.length - from);
        let start = Instant::now();
        let words = format!("{} reads {} tokens", subject.kind.series(), spot.length);
        let said = |done: u64| {
            (context.progress)((from + done) as f64 / spot.length as f64, &words);
        };
        read(&context.cx, model, &mut state, now, &said)?;
        seconds += start.elapsed().as_secs_f64();
        if state.position() < spot.length {
            let meta = Meta::default().with(SECONDS, seconds.to_string());
            let saved = state.snapshot().with_meta(meta);
            saved.save(path, Precision::Exact).map_err(failed)?;
        }
    }
    Ok((state, seconds))
}

/// What an earlier run left; anything wrong with it means reading again.
fn resumed(path: &Path, subject: &Subject) -> Option<(State, f64)> {
    let saved = Snapshot::load(path, subject.model.layout()).ok()?;
    let seconds = saved.meta().entries.get(SECONDS)?.parse().ok()?;
    Some((saved.resume(), seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measures::scaling::tests::{context, spot};

    #[test]
    fn a_killed_reading_goes_on_with_its_seconds() {
        let (context, _work) = context();
        let spot = spot(900);
        let subject = Subject::load(&context, spot.size, Kind::Mamba2, spot.weights).unwrap();
        let path = save_path(&context, &spot);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut state = subject.model.new_state();
        read(&context.cx, &subject.model, &mut state, 600, &|_| {}).unwrap();
        let meta = Meta::default().with(SECONDS, "1000");
        let saved = state.snapshot().with_meta(meta);
        saved.save(&path, Precision::Exact).unwrap();
        let (there, seconds) = read_on(&context, &subject, &spot, &path).unwrap();
        assert!(seconds > 1000.0 && seconds < 1100.0);
        std::fs::write(&path, b"torn").unwrap();
        let (again, seconds) = read_on(&context, &subject, &spot, &path).unwrap();
        assert!(seconds < 100.0);
        assert!(there.bits_eq(&again));
    }

    #[test]
    fn all_metrics_of_a_long_text() {
        let (context, _work) = context();
        let spot = spot(2000);
        let points = run(&context, spot).unwrap();
        assert_eq!(points.len(), 6);
        assert!(!save_path(&context, &spot).exists());
    }
}
