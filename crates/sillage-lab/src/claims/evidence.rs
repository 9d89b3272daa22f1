//! A run as claims and pictures look at it: one machine, repeated points taken
//! once, seeds put together, of sides taught for different times the longest.

use super::spread::{Estimate, SEED, of_seeds};
use crate::record::{Better, Machine, Place, Point, Run};
use crate::stats::{self, bootstrap_median};
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

/// The metric under which measures file their A/A differences.
pub(crate) const NOISE: &str = "noise";

/// Coordinates that are no axis: what differs only in them is one figure.
const SEEDS: [&str; 2] = ["seed", "seeds"];

/// Where configurations may say to which length a model was trained.
const TRAINED: [&str; 4] = ["trained", "trained_to", "train_length", "trained_length"];

/// Measures whose models are trained here, from several seeds.
const LEARNED: [&str; 4] = ["recall", "copy", "track", "language"];

/// Stands after the name of a side that was taught for more steps than the others of its name,
const LONGER: &str = ", taught longer";
/// and, where every side of a task was, after the names of those that were not.
const LESS: &str = ", taught less";

/// Metrics that no clock has a part in: a busy machine does not change them.
const UNTIMED: [&str; 12] = [
    "accuracy",
    "bits per byte",
    "flops per token",
    "flops per token, model",
    "loss",
    "loss by FLOPs",
    "quality",
    "resident memory",
    "state bytes",
    "training loss",
    "validation loss",
    "word error rate",
];

/// Metrics taken from the very same samples: the noise of one is that of the
/// other.
const TWINS: [[&str; 2]; 1] = [["time to first token", "prefill rate"]];

/// One metric of one series at one place, over all seeds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cell {
    pub(crate) measure: String,
    pub(crate) metric: String,
    pub(crate) series: String,
    pub(crate) at: Place,
    pub(crate) unit: String,
    pub(crate) better: Better,
    /// Empty where it is missing.
    pub(crate) samples: Vec<f64>,
    /// The mean of each seed's samples.
    pub(crate) seeds: Vec<f64>,
    /// Why samples are missing, all or some.
    pub(crate) reason: Option<String>,
    /// Length to which the model was trained, if its configuration says so.
    pub(crate) trained: Option<f64>,
    /// The job it came from: sides of one job took turns.
    pub(crate) job: String,
    /// Of the samples.
    pub(crate) estimate: Option<Estimate>,
}

impl Cell {
    pub(crate) fn number(&self, axis: &str) -> Option<f64> {
        self.at.get(axis)?.as_f64().filter(|x| x.is_finite())
    }

    pub(crate) fn word(&self, axis: &str) -> Option<&str> {
        self.at.get(axis)?.as_str()
    }

    /// Whether its side was taught longer as well, and this is what it had learned before.
    pub(crate) fn taught_less(&self) -> bool {
        self.series.ends_with(LESS)
    }

    /// Whether its samples are of models trained from different seeds.
    pub(crate) fn learned(&self) -> bool {
        LEARNED.contains(&self.measure.as_str())
    }
}

/// All that a run says.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    cells: Vec<Cell>,
    /// For each [`slot`] the machine whose points these are ([`crate::Machine::id`]).
    machines: HashMap<(String, String), String>,
    /// Points of other machines, which are left out.
    pub(crate) elsewhere: usize,
}

impl Evidence {
    /// Of each measure's machine with the most points: sides measured on
    /// different machines are never laid against each other. Where all sides of a
    /// task were taught longer as well, those are the sides, and the others are
    /// called [`LESS`].
    pub(crate) fn new(run: &Run) -> Self {
        let mut evidence = Self::as_named(run);
        evidence.prefer_longer();
        evidence
    }

    /// The same with the names that the run has.
    pub(crate) fn as_named(run: &Run) -> Self {
        let mut merged = Self {
            machines: busiest(run),
            ..Self::default()
        };
        // Later points replace earlier ones at the very same place.
        let mut exact: HashMap<String, usize> = HashMap::new();
        let mut kept = Vec::new();
        for point in &run.points {
            if !merged.takes(point) {
                merged.elsewhere += 1;
                continue;
            }
            let key = key(&point.measure, &point.metric, &point.series, &point.at);
            match exact.get(&key) {
                Some(&at) => kept[at] = point,
                None => {
                    exact.insert(key, kept.len());
                    kept.push(point);
                }
            }
        }
        let mut cells: HashMap<String, usize> = HashMap::new();
        for point in kept {
            let mut at = point.at.clone();
            at.retain(|axis, _| !SEEDS.contains(&axis.as_str()));
            let key = key(&point.measure, &point.metric, &point.series, &at);
            let place = *cells.entry(key).or_insert_with(|| {
                merged.cells.push(Cell {
                    measure: point.measure.clone(),
                    metric: point.metric.clone(),
                    series: point.series.clone(),
                    at,
                    unit: point.unit.clone(),
                    better: point.better,
                    samples: Vec::new(),
                    seeds: Vec::new(),
                    reason: None,
                    trained: trained(&point.config),
                    job: point.job.clone(),
                    estimate: None,
                });
                merged.cells.len() - 1
            });
            let cell = &mut merged.cells[place];
            match point.measured() {
                Some(samples) => {
                    let from = cell.samples.len();
                    let finite = samples.iter().filter(|sample| sample.is_finite());
                    cell.samples.extend(finite);
                    cell.seeds
                        .extend(stats::mean(&cell.samples[from..]).map(|mean| mean.value));
                }
                None => cell.reason = reason(&point.outcome),
            }
            if cell.samples.is_empty() && cell.reason.is_none() {
                cell.reason = Some("no usable sample".into());
            }
        }
        for cell in &mut merged.cells {
            if !cell.samples.is_empty() && cell.reason.as_deref() == Some("no usable sample") {
                cell.reason = None;
            }
            cell.estimate = match cell.learned() {
                true => of_seeds(&cell.seeds, &cell.samples),
                false => bootstrap_median(&cell.samples, SEED),
            };
        }
        merged
    }

    /// Task by task: names as [`Self::new`] says.
    fn prefer_longer(&mut self) {
        let task = |cell: &Cell| (cell.measure.clone(), cell.word("task").map(str::to_owned));
        let mut taught: HashMap<_, HashSet<String>> = HashMap::new();
        for cell in self.cells.iter().filter(|cell| cell.learned()) {
            taught
                .entry(task(cell))
                .or_default()
                .insert(cell.series.clone());
        }
        taught.retain(|_, names| {
            let longer = |name: &String| names.contains(&format!("{name}{LONGER}"));
            names.iter().any(longer)
                && names
                    .iter()
                    .all(|name| name.ends_with(LONGER) || longer(name))
        });
        for cell in &mut self.cells {
            if !taught.contains_key(&task(cell)) {
                continue;
            }
            cell.series = match cell.series.strip_suffix(LONGER) {
                Some(name) => name.into(),
                None => format!("{}{LESS}", cell.series),
            };
        }
    }

    /// Whether it comes from the machine that is looked at.
    pub(crate) fn takes(&self, point: &Point) -> bool {
        let (measure, series) = slot(point);
        self.machines.get(&(measure.into(), series.into())) == Some(&point.machine)
    }

    /// Whether anything of a measure comes from this machine.
    pub(crate) fn is_from(&self, measure: &str, machine: &str) -> bool {
        let mut all = self.machines.iter();
        all.any(|((of, _), id)| of == measure && id == machine)
    }

    /// The machines whose points count.
    pub(crate) fn machines<'a>(&self, run: &'a Run) -> Vec<&'a Machine> {
        let in_use = |machine: &&Machine| self.machines.values().any(|id| *id == machine.id);
        run.machines.iter().filter(in_use).collect()
    }

    pub(crate) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    pub(crate) fn of<'a>(
        &'a self,
        measure: &'a str,
        metric: &'a str,
    ) -> impl Iterator<Item = &'a Cell> {
        self.cells
            .iter()
            .filter(move |cell| cell.measure == measure && cell.metric == metric)
    }

    /// Of these series, measured only.
    pub(crate) fn measured(&self, measure: &str, metric: &str, series: &[&str]) -> Vec<&Cell> {
        self.cells
            .iter()
            .filter(|cell| cell.measure == measure && cell.metric == metric)
            .filter(|cell| series.contains(&cell.series.as_str()) && !cell.samples.is_empty())
            .collect()
    }

    /// The relative difference between two runs of the very same thing: of
    /// this metric at this place or, where none was taken there, the largest of
    /// the metric, or of the measure.
    pub(crate) fn noise(&self, measure: &str, metric: &str, at: &Place) -> Option<f64> {
        if UNTIMED.contains(&metric) {
            return None;
        }
        let all: Vec<&Cell> = self
            .of(measure, NOISE)
            .filter(|cell| !cell.samples.is_empty())
            .collect();
        let same = |of: &str| {
            of == metric
                || TWINS
                    .iter()
                    .any(|twins| twins.contains(&of) && twins.contains(&metric))
        };
        let mine: Vec<&Cell> = all
            .iter()
            .copied()
            .filter(|cell| cell.word("of").is_none_or(same))
            .collect();
        let near = mine
            .iter()
            .copied()
            .filter(|cell| agree(&cell.at, at, &["of"]));
        loudest(near)
            .or_else(|| loudest(mine.iter().copied()))
            .or_else(|| loudest(all.iter().copied()))
    }

    /// The largest A/A difference of a measure.
    pub(crate) fn loudest(&self, measure: &str) -> Option<f64> {
        loudest(self.of(measure, NOISE))
    }
}

fn loudest<'a>(cells: impl Iterator<Item = &'a Cell>) -> Option<f64> {
    cells
        .flat_map(|cell| cell.samples.iter().map(|sample| sample.abs()))
        .max_by(f64::total_cmp)
}

fn reason(outcome: &crate::record::Outcome) -> Option<String> {
    match outcome {
        crate::record::Outcome::Missing { reason } => Some(reason.clone()),
        crate::record::Outcome::Measured { .. } => None,
    }
}

/// What must come from one machine: the points of a measure; of what is counted after a training those
/// of one side, since no clock has a part in it.
fn slot(point: &Point) -> (&str, &str) {
    let (measure, metric) = (point.measure.as_str(), point.metric.as_str());
    let counted = LEARNED.contains(&measure) && UNTIMED.contains(&metric);
    (measure, if counted { &point.series } else { "" })
}

/// The machine with the most points of each [`slot`]; of equals the first.
fn busiest(run: &Run) -> HashMap<(String, String), String> {
    let mut counts: HashMap<(&str, &str), Vec<(&str, usize)>> = HashMap::new();
    for point in &run.points {
        let counts = counts.entry(slot(point)).or_default();
        match counts.iter_mut().find(|(id, _)| *id == point.machine) {
            Some((_, count)) => *count += 1,
            None => counts.push((&point.machine, 1)),
        }
    }
    let most = |counts: Vec<(&str, usize)>| {
        let first_of_the_largest = counts.iter().rev().max_by_key(|(_, count)| *count);
        first_of_the_largest.map(|(id, _)| (*id).to_owned())
    };
    let each = counts.into_iter();
    each.filter_map(|((measure, series), counts)| {
        Some(((measure.to_owned(), series.to_owned()), most(counts)?))
    })
    .collect()
}

fn key(measure: &str, metric: &str, series: &str, at: &Place) -> String {
    let place: Vec<_> = at
        .iter()
        .map(|(k, v)| format!("{k:?}={}", plain(v)))
        .collect();
    format!("{measure:?} {metric:?} {series:?} {}", place.join(" "))
}

fn plain(value: &Value) -> String {
    match value.as_f64() {
        Some(number) => number.to_string(),
        None => value.to_string(),
    }
}

fn trained(config: &Value) -> Option<f64> {
    TRAINED
        .iter()
        .find_map(|name| config.get(name)?.as_f64())
        .filter(|length| *length > 0.0)
}

/// Whether two places are the same on every axis that both have, but for
/// `except`.
pub(crate) fn agree(a: &Place, b: &Place, except: &[&str]) -> bool {
    a.iter().all(|(axis, x)| {
        except.contains(&axis.as_str())
            || b.get(axis)
                .is_none_or(|y| x == y || (x.is_number() && x.as_f64() == y.as_f64()))
    })
}

/// A place without some of its axes.
pub(crate) fn without(at: &Place, except: &[&str]) -> Place {
    let mut at = at.clone();
    at.retain(|axis, _| !except.contains(&axis.as_str()));
    at
}

/// Which of several settings is shown first: one session, the larger model, the
/// more exact weights. Fixed beforehand, so that no figure picks its setting.
pub(crate) fn first_shown(a: &Place, b: &Place) -> Ordering {
    rank(a)
        .iter()
        .zip(&rank(b))
        .map(|(x, y)| x.total_cmp(y))
        .find(|order| order.is_ne())
        .unwrap_or_else(|| format!("{a:?}").cmp(&format!("{b:?}")))
}

fn rank(at: &Place) -> [f64; 5] {
    let number = |axis: &str| at.get(axis).and_then(Value::as_f64);
    let word = |axis: &str| at.get(axis).and_then(Value::as_str).unwrap_or("");
    let size = word("size")
        .trim_end_matches(['m', 'M'])
        .parse()
        .unwrap_or(0.0);
    let weights = ["f32", "bf16", "q8", "q4"];
    let exact = |axis: &str| {
        weights
            .iter()
            .position(|name| *name == word(axis))
            .unwrap_or(weights.len()) as f64
    };
    [
        number("sessions").unwrap_or(1.0),
        -size,
        -number("width").unwrap_or(0.0),
        exact("weights"),
        exact("state"),
    ]
}
