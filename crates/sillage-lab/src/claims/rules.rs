//! From estimates at places to one judgement with its words.

use super::evidence::{Cell, Evidence, agree, first_shown, without};
use super::spread::{Estimate, widened};
use super::{Figure, Ruling};
use crate::record::Place;
use crate::report::numbers::{figure, quantity, thousands};
use crate::stats;
use serde_json::Value;

/// A stated factor counts as met from this part of it.
pub(super) const NEARLY: f64 = 0.9;

/// What is said of a claim without points.
pub(super) const NOT_MEASURED: &str = "not measured";

/// What a claim's function gives back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) ruling: Ruling,
    pub(crate) figure: Option<Figure>,
    pub(crate) place: String,
    pub(crate) remarks: Vec<String>,
}

impl Judgement {
    pub(super) fn open(why: impl Into<String>) -> Self {
        Self {
            ruling: Ruling::Open,
            figure: None,
            place: why.into(),
            remarks: Vec::new(),
        }
    }

    pub(super) fn remark(mut self, text: impl Into<String>) -> Self {
        let text = text.into();
        if !self.remarks.contains(&text) {
            self.remarks.push(text);
        }
        self
    }
}

/// Above a threshold with its whole interval, below it, or neither.
pub(super) fn at_least(value: &Estimate, least: f64) -> Ruling {
    if value.low >= least {
        Ruling::Holds
    } else if value.high < least {
        Ruling::Fails
    } else {
        Ruling::Mixed
    }
}

/// Below a threshold with its whole interval, above it, or neither.
pub(super) fn at_most(value: &Estimate, most: f64) -> Ruling {
    if value.high <= most {
        Ruling::Holds
    } else if value.low > most {
        Ruling::Fails
    } else {
        Ruling::Mixed
    }
}

/// One place at which a claim is judged.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    /// Position on the claim's axis.
    pub(super) x: f64,
    /// All other axes.
    pub(super) at: Place,
    pub(super) estimate: Estimate,
    pub(super) ruling: Ruling,
    /// A/A difference there.
    pub(super) noise: Option<f64>,
}

/// How the places of a claim are called, and its figure.
pub(super) struct Words<'a> {
    /// Of positions: `tokens`.
    pub(super) axis: &'a str,
    /// Of the figure: `times`.
    pub(super) unit: &'a str,
    /// What the figure is.
    pub(super) of: &'a str,
}

/// Follows from a side's architecture: no setting in which sides are compared.
pub(super) const STATE: &str = "state size";

/// The cells of two sides that stand at the same place.
pub(crate) fn pairs<'a>(
    evidence: &'a Evidence,
    measure: &str,
    metric: &str,
    ours: &[&str],
    rivals: &[&str],
) -> Vec<(&'a Cell, &'a Cell)> {
    let place = |cell: &Cell| without(&cell.at, &[STATE]);
    let rivals: Vec<(Place, &Cell)> = evidence
        .measured(measure, metric, rivals)
        .into_iter()
        .map(|rival| (place(rival), rival))
        .collect();
    evidence
        .measured(measure, metric, ours)
        .into_iter()
        .filter_map(|cell| {
            let here = place(cell);
            let same = rivals.iter().find(|(there, _)| *there == here);
            let alike = || rivals.iter().find(|(there, _)| agree(&here, there, &[]));
            let (_, rival) = same.or_else(alike)?;
            Some((cell, *rival))
        })
        .collect()
}

/// A spot whose ruling is given on the interval widened by the noise.
pub(super) fn spot(
    evidence: &Evidence,
    cell: &Cell,
    axis: &str,
    estimate: Estimate,
    rule: impl Fn(&Estimate) -> Ruling,
) -> Option<Spot> {
    let noise = evidence.noise(&cell.measure, &cell.metric, &cell.at);
    Some(Spot {
        x: cell.number(axis)?,
        at: without(&cell.at, &[axis]),
        estimate,
        ruling: rule(&widened(&estimate, noise.unwrap_or(0.0))),
        noise,
    })
}

/// Of settings, each named once for every position at which it was measured, the
/// one with the most; of several such, the one that is shown first.
pub(crate) fn most_measured<'a>(settings: &[&'a Place]) -> Option<&'a Place> {
    let positions = |at: &Place| settings.iter().filter(|other| **other == at).count();
    let order = |a: &&&'a Place, b: &&&'a Place| {
        let more = positions(b).cmp(&positions(a));
        more.then_with(|| first_shown(a, b))
    };
    settings.iter().min_by(order).copied()
}

/// One judgement of all spots: what all say; else mixed. The figure is that of
/// the furthest position of the setting that was measured at the most places;
/// of several such, of the one that is shown first.
pub(super) fn judge(mut spots: Vec<Spot>, words: &Words<'_>) -> Judgement {
    spots.sort_by(|a, b| first_shown(&a.at, &b.at).then(a.x.total_cmp(&b.x)));
    let settings: Vec<&Place> = spots.iter().map(|spot| &spot.at).collect();
    let Some(first) = most_measured(&settings).cloned() else {
        return Judgement::open(NOT_MEASURED);
    };
    let ruling = together(spots.iter().map(|spot| spot.ruling));
    let (shown, others): (Vec<_>, Vec<_>) = spots.into_iter().partition(|spot| spot.at == first);
    let Some(last) = shown.last() else {
        return Judgement::open(NOT_MEASURED);
    };
    let figure = Figure {
        value: last.estimate.value,
        low: last.estimate.low,
        high: last.estimate.high,
        samples: last.estimate.n,
        unit: words.unit.into(),
        of: of(
            &format!("{} at {}", words.of, position(last.x, words.axis)),
            &first,
        ),
    };
    let positions: Vec<_> = shown
        .iter()
        .map(|spot| (spot.x, spot.ruling == Ruling::Holds))
        .collect();
    let mut judged = Judgement {
        ruling,
        figure: Some(figure),
        place: span_words(&positions, words.axis),
        remarks: Vec::new(),
    };
    if shown.iter().any(|spot| spot.ruling == Ruling::Mixed) {
        judged = judged.remark("at some places the interval lies on both sides of the threshold");
    }
    if !others.is_empty() {
        let holds = others.iter().filter(|s| s.ruling == Ruling::Holds).count();
        judged = judged.remark(format!(
            "in other settings it holds at {holds} of {} places",
            others.len()
        ));
    }
    spread_remarks(judged, &shown)
}

/// What must be said of noise and of single samples.
fn spread_remarks(mut judged: Judgement, spots: &[Spot]) -> Judgement {
    if let Some(noise) = loud(spots.iter().map(|spot| spot.noise)) {
        judged = judged.remark(too_noisy(noise));
    }
    if spots.iter().any(|spot| spot.estimate.n == 1) {
        judged = judged.remark("one sample at some places, so no interval there");
    }
    judged
}

/// The largest noise that is beyond the limit.
pub(super) fn loud(noises: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    noises
        .flatten()
        .max_by(f64::total_cmp)
        .filter(|noise| stats::too_noisy(*noise))
}

pub(super) fn too_noisy(noise: f64) -> String {
    format!(
        "this machine is too noisy for this figure: the same thing measured twice differs by {}",
        quantity(noise, "")
    )
}

/// What all say; mixed where they differ; open of none.
pub(super) fn together(mut rulings: impl Iterator<Item = Ruling>) -> Ruling {
    let Some(first) = rulings.next() else {
        return Ruling::Open;
    };
    if rulings.all(|ruling| ruling == first) {
        first
    } else {
        Ruling::Mixed
    }
}

fn position(x: f64, axis: &str) -> String {
    let number = if x.fract() == 0.0 {
        thousands(x)
    } else {
        figure(x)
    };
    format!("{number} {axis}")
}

/// The positions at which something holds, in words; positions are rising.
pub(crate) fn span_words(positions: &[(f64, bool)], axis: &str) -> String {
    let (Some((first, _)), Some((last, _))) = (positions.first(), positions.last()) else {
        return NOT_MEASURED.into();
    };
    let holding = positions.iter().filter(|(_, holds)| *holds).count();
    if holding == positions.len() {
        return match first == last {
            true => format!("at {}, the only place measured", position(*first, axis)),
            false => format!(
                "everywhere measured, {} to {}",
                thousands(*first),
                position(*last, axis)
            ),
        };
    }
    if holding == 0 {
        return match first == last {
            true => format!("not at {}, the only place measured", position(*first, axis)),
            false => format!(
                "nowhere between {} and {}",
                thousands(*first),
                position(*last, axis)
            ),
        };
    }
    let mut spans: Vec<(f64, f64, bool)> = Vec::new();
    let mut before = false;
    for (place, &(x, holds)) in positions.iter().enumerate() {
        let end = place + 1 == positions.len();
        match spans.last_mut() {
            Some(span) if before && holds => (span.1, span.2) = (x, end),
            _ if holds => spans.push((x, x, end)),
            _ => {}
        }
        before = holds;
    }
    let words: Vec<_> = spans
        .iter()
        .map(|&(from, to, end)| match () {
            () if from == to && !end => format!("at {}", thousands(from)),
            () if end && from < to => format!("from {} on", thousands(from)),
            () if from == to => format!("at {}", thousands(from)),
            () => format!("from {} to {}", thousands(from), thousands(to)),
        })
        .collect();
    format!(
        "{} (measured from {} to {})",
        words.join(", "),
        thousands(*first),
        position(*last, axis)
    )
}

/// What a figure is, and its setting if it has one.
pub(super) fn of(what: &str, at: &Place) -> String {
    match setting(at) {
        words if words.is_empty() => what.into(),
        words => format!("{what}, {words}"),
    }
}

/// The fixed axes in words: `370m, f32, 1 session`.
pub(crate) fn setting(at: &Place) -> String {
    let mut words = Vec::new();
    let bare = |axis: &str| at.get(axis).and_then(Value::as_str).map(String::from);
    words.extend(bare("size"));
    words.extend(bare("weights"));
    for (axis, value) in at {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) => value.as_f64().map_or_else(String::new, |number| {
                if number.fract() == 0.0 {
                    thousands(number)
                } else {
                    figure(number)
                }
            }),
            Value::Bool(yes) => {
                words.extend(told(axis, *yes));
                continue;
            }
            Value::Null => continue,
            other => other.to_string(),
        };
        match axis.as_str() {
            "size" | "weights" => {}
            "sessions" if text == "1" => words.push("1 session".into()),
            "sessions" | "pairs" => words.push(format!("{text} {axis}")),
            "length" => words.push(format!("{text} tokens")),
            "seconds" => words.push(format!("{text} s")),
            "task" => words.push(text),
            "answer" => words.push(format!("{text} answers")),
            _ => words.push(format!("{axis} {text}")),
        }
    }
    words.join(", ")
}

/// What a yes or no says.
fn told(axis: &str, yes: bool) -> Option<String> {
    match (axis, yes) {
        ("modelled", true) => Some("modelled".into()),
        ("modelled", false) => None,
        ("carry", true) => Some("history carried on".into()),
        ("carry", false) => Some("begun anew at each sentence".into()),
        (axis, true) => Some(axis.into()),
        (axis, false) => Some(format!("not {axis}")),
    }
}
