//! What a run leaves behind: JSON lines, each a machine or a point.

use crate::error::LabError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::Path;

/// Version of the lines; readers refuse others.
pub const VERSION: u32 = 1;

/// The metric of a point that stands for a job which failed as a whole.
pub const FAILED: &str = "job";

/// The job of a point that stands for a measure whose jobs could not even be
/// planned.
pub const PLAN: &str = "plan";

/// Which way a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Less is better: seconds, bytes, loss.
    Lower,
    /// More is better: tokens per second, accuracy.
    Higher,
}

/// What became of a point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "outcome")]
pub enum Outcome {
    /// It was measured; the raw samples in the order in which they were taken.
    Measured {
        /// In the point's unit.
        samples: Vec<f64>,
    },
    /// It could not be, for this reason; nothing is put in its place.
    Missing {
        /// In plain words: "needs 9.4 GiB, 7.1 GiB are free".
        reason: String,
    },
}

/// Where in its measure a point lies: the axes and what is held fixed, such as
/// `length: 4096`, `weights: "q8"`, `sessions: 1`.
pub type Place = BTreeMap<String, Value>;

/// One metric of one series at one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The measure, such as `scaling`.
    pub measure: String,
    /// What is counted, such as `decode rate`.
    pub metric: String,
    /// Whose it is: the line in the picture, such as `Mamba-2 130m` or
    /// `transformer 130m, llama.cpp`.
    pub series: String,
    /// Where.
    pub at: Place,
    /// Unit of the samples, such as `tokens/s`.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
    /// The samples, or why there are none.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// All that is needed to do it again: model, seeds, threads, versions.
    pub config: Value,
    /// The job it came from ([`crate::Job::id`]); set by the runner, as are all
    /// fields below.
    #[serde(default)]
    pub job: String,
    /// Machine on which it was measured ([`Machine::id`]).
    #[serde(default)]
    pub machine: String,
    /// When it was finished, in UTC, as `2026-11-26T17:30:00Z`.
    #[serde(default)]
    pub time: String,
    /// Wall-clock seconds that its job took.
    #[serde(default)]
    pub seconds: f64,
    /// Cores that other programs kept busy meanwhile, on average; none where
    /// the system does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy: Option<f64>,
}

/// Cuts absolute paths to the names of their files.
fn name_files(value: &mut Value) {
    match value {
        Value::String(text) => {
            let path = std::path::Path::new(text);
            let name = path.file_name().filter(|_| path.is_absolute());
            if let Some(name) = name.and_then(|name| name.to_str()) {
                *text = name.to_owned();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(name_files),
        Value::Object(fields) => fields.values_mut().for_each(name_files),
        _ => {}
    }
}

impl Point {
    /// A point still to be filled in: not measured, at no place.
    #[must_use]
    pub fn new(measure: &str, metric: &str, series: &str, unit: &str, better: Better) -> Self {
        Self {
            measure: measure.into(),
            metric: metric.into(),
            series: series.into(),
            at: Place::new(),
            unit: unit.into(),
            better,
            outcome: Outcome::Missing {
                reason: "not measured".into(),
            },
            config: Value::Null,
            job: String::new(),
            machine: String::new(),
            time: String::new(),
            seconds: 0.0,
            busy: None,
        }
    }

    /// With one more coordinate.
    #[must_use]
    pub fn at(mut self, axis: &str, value: impl Into<Value>) -> Self {
        self.at.insert(axis.into(), value.into());
        self
    }

    /// With all that is needed to do it again. Of files in it only the names are
    /// kept: where they lie is no part of what was measured.
    #[must_use]
    pub fn config(mut self, mut config: Value) -> Self {
        name_files(&mut config);
        self.config = config;
        self
    }

    /// As measured.
    #[must_use]
    pub fn samples(mut self, samples: Vec<f64>) -> Self {
        self.outcome = Outcome::Measured { samples };
        self
    }

    /// As a marked gap.
    #[must_use]
    pub fn missing(mut self, reason: impl Into<String>) -> Self {
        self.outcome = Outcome::Missing {
            reason: reason.into(),
        };
        self
    }

    /// The raw samples, if it was measured.
    #[must_use]
    pub fn measured(&self) -> Option<&[f64]> {
        match &self.outcome {
            Outcome::Measured { samples } => Some(samples),
            Outcome::Missing { .. } => None,
        }
    }

    /// A number among its coordinates, such as its length.
    #[must_use]
    pub fn number(&self, axis: &str) -> Option<f64> {
        self.at.get(axis)?.as_f64()
    }

    /// Whether it stands for a whole job that failed ([`FAILED`]).
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.metric == FAILED && self.measured().is_none()
    }
}

/// A machine, as far as it matters for a figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Short print of all below.
    pub id: String,
    /// Model of the processor.
    pub cpu: String,
    /// Cores that may be used.
    pub cores: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// Code path of the kernels, such as `avx512`.
    pub isa: String,
    /// Operating system and kernel version.
    pub system: String,
    /// Version of Sillage.
    pub sillage: String,
}

/// How a run was started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Base seed.
    pub seed: u64,
    /// Threads.
    pub threads: usize,
    /// `quick` or `full`.
    pub scale: String,
    /// What is measured, in order.
    pub measures: Vec<String>,
    /// When, in UTC.
    pub time: String,
    /// Load average of the last minute, where the system tells.
    #[serde(default)]
    pub load: Option<f64>,
}

/// One line of a run's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Line {
    /// First line, and wherever a run goes on.
    Machine {
        /// [`VERSION`].
        version: u32,
        /// The machine.
        #[serde(flatten)]
        machine: Machine,
    },
    /// After the machine: how the run was started.
    Start(Start),
    /// A job begins.
    Begin {
        /// The measure.
        measure: String,
        /// The job.
        job: String,
    },
    /// A point.
    Point(Box<Point>),
    /// All points of a job have been written; those of a job without this line
    /// were torn by a kill.
    Done {
        /// The measure.
        measure: String,
        /// The job.
        job: String,
        /// How many points it gave.
        points: usize,
    },
    /// Every job of the run is done.
    End,
}

/// A run that was read: what reports, verdicts and comparisons are made from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    /// The machines, each once.
    pub machines: Vec<Machine>,
    /// The points of finished jobs, in the order of the file.
    pub points: Vec<Point>,
}

impl Run {
    /// Reads a run's file, as it is or packed by gzip.
    ///
    /// A torn last line and the points of a job that was killed in the middle
    /// of being written are left out; where a job that failed was done again,
    /// the failure is.
    ///
    /// # Errors
    /// A file that cannot be read, is of another version, or is damaged in any
    /// other way than by a kill.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, LabError> {
        let path = path.as_ref();
        let (lines, _) = read_lines(path)?;
        let strict = lines.iter().any(|line| matches!(line, Line::Start(_)));
        let mut run = Self::default();
        // Points that no `Done` has confirmed yet begin here.
        let mut open = 0;
        for line in lines {
            match line {
                Line::Machine { machine, .. } => run.add_machine(machine),
                Line::Begin { .. } | Line::Start(_) if strict => run.points.truncate(open),
                Line::Begin { .. } | Line::Start(_) | Line::End => {}
                Line::Point(point) => run.points.push(*point),
                Line::Done { .. } => open = run.points.len(),
            }
        }
        if strict {
            run.points.truncate(open);
        }
        run.drop_repeated_failures();
        Ok(run)
    }

    /// Adds another run's machines and points, as for a report of several.
    pub fn add(&mut self, other: Self) {
        for machine in other.machines {
            self.add_machine(machine);
        }
        self.points.extend(other.points);
        self.drop_repeated_failures();
    }

    fn add_machine(&mut self, machine: Machine) {
        if !self.machines.iter().any(|known| known.id == machine.id) {
            self.machines.push(machine);
        }
    }

    /// A failure counts only while nothing later came from its job.
    fn drop_repeated_failures(&mut self) {
        let mut later = HashSet::new();
        let mut keep: Vec<bool> = Vec::with_capacity(self.points.len());
        for point in self.points.iter().rev() {
            let (measure, job, machine) = (&point.measure, point.job.as_str(), &point.machine);
            keep.push(
                !point.is_failure() || job.is_empty() || !later.contains(&(measure, job, machine)),
            );
            later.insert((measure, job, machine));
            // A measure of which anything came has been planned.
            later.insert((measure, PLAN, machine));
        }
        let mut keep = keep.into_iter().rev();
        self.points.retain(|_| keep.next().unwrap_or(true));
    }
}

/// Bytes of a packed run at most, unpacked.
const LIMIT: u64 = 1 << 30;

/// The bytes of a run's file, and whether they were packed by gzip.
fn contents(path: &Path) -> Result<(Vec<u8>, bool), LabError> {
    let fail = |source| LabError::io(path, source);
    let raw = std::fs::read(path).map_err(fail)?;
    if !raw.starts_with(&[0x1f, 0x8b]) {
        return Ok((raw, false));
    }
    let mut text = Vec::new();
    let mut unpacked = flate2::read::MultiGzDecoder::new(raw.as_slice()).take(LIMIT + 1);
    unpacked.read_to_end(&mut text).map_err(fail)?;
    if unpacked.limit() == 0 {
        return Err(LabError::Failed(format!(
            "{}: more than 1 GiB unpacked, which no run is; unpack it and look what it is",
            path.display()
        )));
    }
    Ok((text, true))
}

/// The lines of a file, also of one packed by gzip, and how many of its bytes are whole lines; of a
/// packed one nobody can say.
pub(crate) fn read_lines(path: &Path) -> Result<(Vec<Line>, Option<u64>), LabError> {
    let (text, packed) = contents(path)?;
    let whole = text.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
    let mut lines = Vec::new();
    let damaged = |number: usize, what: String| LabError::Damaged {
        path: path.into(),
        line: number + 1,
        what,
    };
    for (number, bytes) in text[..whole].split(|&b| b == b'\n').enumerate() {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let value: Value =
            serde_json::from_slice(bytes).map_err(|e| damaged(number, e.to_string()))?;
        if value["kind"] == "machine" && value["version"] != VERSION {
            return Err(LabError::Version {
                path: path.into(),
                found: value["version"].to_string(),
            });
        }
        let line = serde_json::from_value(value).map_err(|e| damaged(number, e.to_string()))?;
        if lines.is_empty() && !matches!(line, Line::Machine { .. }) {
            return Err(damaged(number, "the first line names no machine".into()));
        }
        lines.push(line);
    }
    Ok((lines, (!packed).then_some(whole as u64)))
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
