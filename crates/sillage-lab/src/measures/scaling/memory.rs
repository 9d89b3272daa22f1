//! Memory of a whole process that holds one side and its sessions.
//!
//! A process that has measured other things holds memory that it does not need
//! and uses it again, so each side gets a process of its own: this very program,
//! called as `sillage lab probe`, which makes the sessions and says how large
//! it has become.

use super::decode::Ready;
use super::subject::Subject;
use super::{NAME, RESIDENT, Spot};
use crate::LabError;
use crate::error::failed;
use crate::machine::resident_memory;
use crate::plan::{Context, Scale};
use crate::record::{Machine, Point};
use crate::shapes::{self, KINDS, Kind, Size, WEIGHTS, Weights};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sillage_kernels::Compute;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// The command that prints what [`probe`] finds, before its words.
const COMMAND: [&str; 2] = ["lab", "probe"];

/// Bytes with so many sessions, or why they are not known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Resident {
    sessions: usize,
    bytes: Result<u64, String>,
}

/// What a process found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Found {
    config: Value,
    resident: Vec<Resident>,
}

/// Memory of sides after `spot.length` tokens, with numbers of sessions that
/// ascend: a point of each.
pub(super) fn run(
    context: &Context,
    spot: Spot,
    kinds: &[Kind],
    counts: &[usize],
) -> Result<Vec<Point>, LabError> {
    let mut points = Vec::new();
    for (done, &kind) in kinds.iter().enumerate() {
        let words = format!("memory of {} at {} tokens", kind.series(), spot.length);
        (context.progress)(done as f64 / kinds.len() as f64, &words);
        let mut found = found(context, &spot, kind, counts)?;
        found.config["seed"] = context.seed.into();
        for Resident { sessions, bytes } in found.resident {
            let spot = Spot { sessions, ..spot };
            let point = spot.point(NAME, RESIDENT, kind.series());
            let point = point.config(found.config.clone());
            points.push(match bytes {
                Ok(bytes) => point.samples(vec![bytes as f64]),
                Err(reason) => point.missing(reason),
            });
        }
    }
    Ok(points)
}

/// Calls the process, or says why there is none.
fn found(context: &Context, spot: &Spot, kind: Kind, counts: &[usize]) -> Result<Found, LabError> {
    let gap = |reason: String| {
        let gap = |&sessions| Resident {
            sessions,
            bytes: Err(reason.clone()),
        };
        Ok(Found {
            config: json!({}),
            resident: counts.iter().map(gap).collect(),
        })
    };
    let Some(program) = &context.program else {
        return gap("memory is that of a process of its own: measure it with `sillage lab`".into());
    };
    // Here, so that the process does not take memory for the making.
    shapes::file(&context.work, spot.size, kind, spot.weights)?;
    let list: Vec<String> = counts.iter().map(usize::to_string).collect();
    let output = Command::new(program)
        .args(COMMAND)
        .arg(&context.work)
        .args([spot.size.name(), kind.name(), spot.weights.name()])
        .args([spot.length.to_string(), list.join(",")])
        .arg(context.cx.pool.threads().to_string())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| LabError::io(program, error))?;
    match serde_json::from_slice(&output.stdout) {
        Ok(found) if output.status.success() => Ok(found),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or("it said nothing");
            gap(format!("its process ended with {}: {last}", output.status))
        }
    }
}

/// What `sillage lab probe WORK SIZE KIND WEIGHTS LENGTH SESSIONS THREADS`
/// prints: how the side was measured, and the bytes of this process with each
/// number of sessions, as JSON.
///
/// # Errors
/// Words that mean nothing, and whatever keeps the side from being loaded.
pub fn probe(words: &[String]) -> Result<String, LabError> {
    let usage = || failed("give a work folder, size, kind, weights, length, sessions and threads");
    let [work, size, kind, weights, length, counts, threads] = words else {
        return Err(usage());
    };
    let size = [Size::Tiny, Size::M130, Size::M370]
        .into_iter()
        .find(|s| s.name() == size);
    let kind = KINDS.into_iter().find(|k| k.name() == kind);
    let weights = WEIGHTS.into_iter().find(|w| w.name() == weights);
    let (Some(size), Some(kind), Some(weights)) = (size, kind, weights) else {
        return Err(usage());
    };
    let length: u64 = length.parse().map_err(|_| usage())?;
    let counts: Result<Vec<usize>, _> = counts.split(',').map(str::parse).collect();
    let counts = counts.map_err(|_| usage())?;
    let threads = threads
        .parse::<usize>()
        .map_err(|_| usage())?
        .clamp(1, 1024);
    let cx = Arc::new(Compute::new(threads));
    let context = Context {
        machine: Machine::here(&cx),
        cx,
        program: None,
        scale: Scale::Quick,
        seed: 0,
        work: work.into(),
        progress: Box::new(|_, _| {}),
    };
    let found = fill(&context, size, kind, weights, length, &counts)?;
    serde_json::to_string(&found).map_err(failed)
}

fn fill(
    context: &Context,
    size: Size,
    kind: Kind,
    weights: Weights,
    length: u64,
    counts: &[usize],
) -> Result<Found, LabError> {
    let subject = Subject::load(context, size, kind, weights)?;
    let mut ready = Ready::new(context, &subject, length, &[])?;
    let mut found = Found {
        config: subject.config(context, weights),
        resident: Vec::new(),
    };
    for &sessions in counts {
        let fits = ready.full.is_none() && ready.grow(context, length, sessions)?;
        let bytes = match (fits, &ready.full) {
            (true, _) => resident_memory().ok_or_else(|| "this system does not tell".to_owned()),
            (false, full) => Err(full.clone().unwrap_or_default()),
        };
        found.resident.push(Resident { sessions, bytes });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measures::scaling::tests::{context, spot};

    #[test]
    fn a_process_holds_its_weights_and_its_sessions() {
        let (context, work) = context();
        let words = |length: &str| -> Vec<String> {
            let work = work.path().to_str().unwrap();
            [work, "tiny", "transformer", "q8", length, "1,4", "2"]
                .map(String::from)
                .to_vec()
        };
        let found = probe(&words("1000")).unwrap();
        let found: Found = serde_json::from_str(&found).unwrap();
        assert_eq!(found.config["weights"], "q8");
        let model =
            shapes::load(&context.work, Size::Tiny, Kind::Transformer, Weights::Q8).unwrap();
        for (found, sessions) in found.resident.iter().zip([1, 4]) {
            assert_eq!(found.sessions, sessions);
            if let Ok(bytes) = found.bytes {
                let least = model.weight_bytes() + sessions as u64 * model.layout().bytes(1000);
                assert!(bytes > least, "{bytes} {least}");
            }
        }
        // What cannot be held is said.
        let found: Found = serde_json::from_str(&probe(&words("4000000000")).unwrap()).unwrap();
        assert!(found.resident.iter().all(|found| found.bytes.is_err()));
        assert!(probe(&[]).is_err());
        assert!(probe(&words("many")).is_err());
    }

    #[test]
    fn without_a_program_to_call_it_is_missing() {
        let (mut context, _work) = context();
        let missing = |context: &Context| {
            let points = run(context, spot(256), &[Kind::Mamba2], &[1, 4]).unwrap();
            assert_eq!(points.len(), 2);
            points.iter().all(|point| point.measured().is_none())
        };
        assert!(missing(&context));
        // One that prints no such thing.
        context.program = Some("true".into());
        assert!(missing(&context));
        context.program = Some("/nowhere/sillage".into());
        assert!(run(&context, spot(256), &[Kind::Mamba2], &[1]).is_err());
    }
}
