//! From evidence to charts: which pictures a measure has, and which of its
//! settings they show.

use super::chart::{Axis, Body, Chart, Dot, Line, Scale};
use super::numbers;
use crate::claims::{Cell, agree, first_shown, setting, trained_to, without};
use crate::record::Place;
use crate::shapes::WEIGHTS;
use crate::stats;
use serde_json::Value;

/// Pictures of one metric, at most; the rest is in the table.
const MOST: usize = 12;

/// A kind of picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spec {
    pub(super) metric: &'static str,
    pub(super) title: &'static str,
    /// What the values stand over.
    pub(super) axis: &'static str,
    /// How that is called, and its unit.
    pub(super) over: (&'static str, &'static str),
    /// How it is divided; none for bars.
    pub(super) scale: Option<Scale>,
    /// How the values are divided.
    pub(super) y: Scale,
    /// Values that are in view in any case.
    pub(super) show: &'static [f64],
    /// One picture for each value of this axis.
    pub(super) facet: Option<&'static str>,
    /// Axes that go along with the picture's and are not held fixed.
    pub(super) free: &'static [&'static str],
}

/// A line chart by length, both axes logarithmic.
pub(super) const BY_LENGTH: Spec = Spec {
    metric: "",
    title: "",
    axis: "length",
    over: ("tokens", "tokens"),
    scale: Some(Scale::Log2),
    y: Scale::Log10,
    show: &[],
    facet: None,
    free: &[],
};

/// Accuracy by length, one picture a task.
pub(super) const BY_TASK: Spec = Spec {
    metric: "accuracy",
    title: "",
    y: Scale::Linear,
    show: &[0.0, 1.0],
    facet: Some("task"),
    ..BY_LENGTH
};

/// Bars by a named axis.
pub(super) const BARS: Spec = Spec {
    scale: None,
    y: Scale::Linear,
    show: &[0.0],
    ..BY_LENGTH
};

/// The charts of a kind, one for each facet. `number` counts through the page.
pub(super) fn charts(
    measure: &str,
    cells: &[&Cell],
    spec: &Spec,
    number: &mut usize,
) -> Vec<Chart> {
    let cells: Vec<&Cell> = cells
        .iter()
        .copied()
        .filter(|cell| spec.scale.is_none() || cell.number(spec.axis).is_some())
        .collect();
    let facets: Vec<Option<Value>> = match spec.facet {
        Some(facet) => values(&cells, facet),
        None => vec![None],
    };
    facets
        .into_iter()
        .take(MOST)
        .filter_map(|facet| {
            let of_facet: Vec<&Cell> = cells
                .iter()
                .copied()
                .filter(|cell| {
                    spec.facet
                        .is_none_or(|axis| cell.at.get(axis) == facet.as_ref())
                })
                .collect();
            let chart = chart(measure, &of_facet, spec, facet.as_ref(), *number)?;
            *number += 1;
            Some(chart)
        })
        .collect()
}

fn chart(
    measure: &str,
    cells: &[&Cell],
    spec: &Spec,
    facet: Option<&Value>,
    number: usize,
) -> Option<Chart> {
    let mut fixed: Vec<&str> = vec![spec.axis];
    fixed.extend(spec.facet);
    fixed.extend(spec.free);
    let shown = shown_setting(cells, &fixed)?;
    let cells: Vec<&Cell> = cells
        .iter()
        .copied()
        .filter(|cell| agree(&cell.at, &shown, &fixed))
        .collect();
    let first = cells.first()?;
    let y = Axis {
        label: y_label(&first.unit, spec.metric),
        unit: first.unit.clone(),
        scale: if first.unit == "bytes" && spec.y == Scale::Log10 {
            Scale::Log2
        } else {
            spec.y
        },
        show: spec.show.to_vec(),
    };
    let body = match spec.scale {
        Some(scale) => {
            let lines = lines(
                &cells,
                |cell| cell.number(spec.axis),
                scale != Scale::Linear,
            );
            Body::Lines {
                rules: rules(&cells, &lines, spec),
                x: Axis {
                    label: spec.over.0.into(),
                    unit: spec.over.1.into(),
                    scale,
                    show: Vec::new(),
                },
                lines: guarded(lines, spec.y),
            }
        }
        None => {
            let groups = values(&cells, spec.axis);
            let place = |cell: &Cell| {
                let value = cell.at.get(spec.axis).cloned();
                Some(groups.iter().position(|group| *group == value)? as f64)
            };
            let lines = lines(&cells, place, false);
            let words = |group: &Option<Value>| group_words(group.as_ref(), spec.over.1);
            Body::Bars {
                groups: groups.iter().map(words).collect(),
                lines,
            }
        }
    };
    Some(Chart {
        id: format!("picture-{number}"),
        title: title(measure, spec, facet, &shown),
        note: setting(&without(
            &shown,
            if measure == "recall" { &["pairs"] } else { &[] },
        )),
        y,
        body,
    })
}

/// The setting that is shown: of those in which most series were measured, and of
/// these the one with points at the most places, gaps included; of several such, the
/// one that stands first in the fixed order.
fn shown_setting(cells: &[&Cell], except: &[&str]) -> Option<Place> {
    let mut settings: Vec<(Place, Vec<&str>, usize)> = Vec::new();
    for cell in cells {
        let at = without(&cell.at, except);
        let place = settings.iter().position(|(known, ..)| *known == at);
        let place = place.unwrap_or_else(|| {
            settings.push((at, Vec::new(), 0));
            settings.len() - 1
        });
        let (_, series, points) = &mut settings[place];
        *points += 1;
        if !cell.samples.is_empty() && !series.contains(&cell.series.as_str()) {
            series.push(&cell.series);
        }
    }
    settings.sort_by(|(a, of_a, at_a), (b, of_b, at_b)| {
        let more = of_b.len().cmp(&of_a.len()).then(at_b.cmp(at_a));
        more.then_with(|| first_shown(a, b))
    });
    settings.into_iter().next().map(|(at, ..)| at)
}

/// The values of an axis: numbers rising, types of weights from many bits to few, other names as they come.
fn values(cells: &[&Cell], axis: &str) -> Vec<Option<Value>> {
    let mut all: Vec<Option<Value>> = Vec::new();
    for cell in cells {
        let value = cell.at.get(axis).cloned();
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all.sort_by(|a, b| {
        let number = |value: &Option<Value>| value.as_ref().and_then(Value::as_f64);
        let bits = |value: &Option<Value>| {
            let name = value.as_ref()?.as_str()?;
            WEIGHTS.iter().position(|weights| weights.name() == name)
        };
        match (number(a), number(b)) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => match (bits(a), bits(b)) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => std::cmp::Ordering::Equal,
            },
        }
    });
    all
}

/// One line a series, rising; where several settings of a series are left, the
/// one that is shown first.
fn lines(cells: &[&Cell], place: impl Fn(&Cell) -> Option<f64>, positive: bool) -> Vec<Line> {
    let mut lines: Vec<(Line, Vec<Place>)> = Vec::new();
    for cell in cells {
        let Some(x) = place(cell).filter(|x| !positive || *x > 0.0) else {
            continue;
        };
        let at = lines.iter().position(|(line, _)| line.name == cell.series);
        let at = at.unwrap_or_else(|| {
            lines.push((
                Line {
                    name: cell.series.clone(),
                    dots: Vec::new(),
                },
                Vec::new(),
            ));
            lines.len() - 1
        });
        let (line, places) = &mut lines[at];
        let y = cell
            .estimate
            .ok_or_else(|| cell.reason.clone().unwrap_or_else(|| "no samples".into()));
        let dot = Dot { x, y };
        match line.dots.iter().position(|known| known.x == x) {
            Some(known) if first_shown(&cell.at, &places[known]).is_lt() => {
                (line.dots[known], places[known]) = (dot, cell.at.clone());
            }
            Some(_) => {}
            None => {
                line.dots.push(dot);
                places.push(cell.at.clone());
            }
        }
    }
    lines
        .into_iter()
        .map(|(mut line, _)| {
            line.dots.sort_by(|a, b| a.x.total_cmp(&b.x));
            line
        })
        .collect()
}

/// What cannot stand on a logarithmic axis is said to be missing.
fn guarded(mut lines: Vec<Line>, scale: Scale) -> Vec<Line> {
    if scale == Scale::Linear {
        return lines;
    }
    for dot in lines.iter_mut().flat_map(|line| &mut line.dots) {
        if let Ok(estimate) = &dot.y
            && estimate.value <= 0.0
        {
            dot.y = Err(format!(
                "{} cannot stand on a logarithmic axis",
                numbers::figure(estimate.value)
            ));
        }
    }
    lines
}

/// Upright rules: the trained length, and where the two sides are level.
fn rules(cells: &[&Cell], lines: &[Line], spec: &Spec) -> Vec<(f64, String)> {
    let mut rules = Vec::new();
    if spec.axis == "length"
        && spec.metric == "accuracy"
        && let Some(length) = cells.iter().find_map(|cell| trained_to(cell))
    {
        rules.push((length, format!("trained to {}", numbers::thousands(length))));
    }
    if spec.metric == "time to first token" {
        rules.extend(level(lines).map(|at| {
            let near = 10f64.powf(at.log10().floor() - 1.0);
            (
                at,
                format!(
                    "level at {}",
                    numbers::thousands((at / near).round() * near)
                ),
            )
        }));
    }
    rules
}

/// Where Mamba-2 and the transformer are level, if they cross.
fn level(lines: &[Line]) -> Option<f64> {
    let curve = |name: &str| -> Option<Vec<stats::Sampled>> {
        let line = lines.iter().find(|line| line.name == name)?;
        // A gap has no samples, and nothing is drawn across it.
        let middle = |dot: &Dot| {
            dot.y
                .as_ref()
                .map_or_else(|_| Vec::new(), |e| vec![e.value])
        };
        Some(line.dots.iter().map(|dot| (dot.x, middle(dot))).collect())
    };
    let found = stats::crossover(&curve("Mamba-2")?, &curve("transformer")?, 0)?;
    Some(found.x.value)
}

fn title(measure: &str, spec: &Spec, facet: Option<&Value>, shown: &Place) -> String {
    let Some(facet) = facet else {
        return numbers::capital(spec.title);
    };
    let word = group_words(
        Some(facet),
        match spec.facet {
            Some("length") => "tokens",
            Some("seconds") => "s",
            _ => "",
        },
    );
    let word = match (measure, shown.get("pairs").and_then(Value::as_u64)) {
        ("recall", Some(pairs)) => format!("{pairs} pairs in {word}"),
        _ => word,
    };
    let word = match word.as_str() {
        _ if spec.facet == Some("state") => format!("state {word}"),
        "short" | "long" if spec.facet == Some("answer") => format!("{word} answers"),
        "copy" => "copying".into(),
        "shuffled-copy" => "copying, shuffled".into(),
        "selective-copy" => "selective copying".into(),
        "induction" => "induction heads".into(),
        "needle" => "needle in prose".into(),
        "modular" => "modular arithmetic".into(),
        "modular-brackets" => "modular arithmetic with brackets".into(),
        "s3" | "s5" => format!("{} word problem", word.to_uppercase()),
        _ => word,
    };
    match spec.title {
        "" => numbers::capital(&word),
        title => numbers::capital(&format!("{title}, {word}")),
    }
}

fn group_words(value: Option<&Value>, unit: &str) -> String {
    match value {
        None => "all".into(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(true)) => "history carried on".into(),
        Some(Value::Bool(false)) => "begun anew at each sentence".into(),
        Some(value) => match value.as_f64() {
            Some(number) if unit == "s" => numbers::quantity(number, unit)
                .replace(".00", "")
                .replace(".0", ""),
            Some(number) => format!("{} {unit}", numbers::thousands(number))
                .trim()
                .into(),
            None => value.to_string(),
        },
    }
}

fn y_label(unit: &str, metric: &str) -> String {
    match unit {
        "" | "1" | "share" | "fraction" => metric.into(),
        unit if numbers::has_steps(unit) => String::new(),
        unit => unit.into(),
    }
}

/// Pictures of a metric that no list knows: over the first axis that varies.
pub(super) fn unknown(
    measure: &str,
    cells: &[&Cell],
    metric: &str,
    number: &mut usize,
) -> Vec<Chart> {
    let mut axes: Vec<&String> = cells.iter().flat_map(|cell| cell.at.keys()).collect();
    axes.sort();
    axes.dedup();
    let varying = |axis: &&&String| values(cells, axis).len() > 1;
    let numeric = |axis: &&&String| cells.iter().all(|cell| cell.number(axis).is_some());
    let axis = axes
        .iter()
        .filter(numeric)
        .find(varying)
        .or_else(|| axes.iter().find(varying))
        .or_else(|| axes.first());
    let Some(axis) = axis else {
        return Vec::new();
    };
    let lines = cells
        .iter()
        .all(|cell| cell.number(axis).is_some_and(|x| x > 0.0))
        && values(cells, axis).len() > 1;
    let spec = if lines { BY_LENGTH } else { BARS };
    let mut charts = one_of(measure, cells, &spec, axis, number);
    for chart in &mut charts {
        chart.title = numbers::capital(metric);
        if let Body::Lines { x, .. } = &mut chart.body {
            x.label.clone_from(axis);
            x.unit = String::new();
        }
    }
    charts
}

/// A picture over an axis whose name comes from the run: the axis is renamed
/// to the kind's own.
fn one_of(
    measure: &str,
    cells: &[&Cell],
    spec: &Spec,
    axis: &str,
    number: &mut usize,
) -> Vec<Chart> {
    let renamed: Vec<Cell> = cells
        .iter()
        .map(|cell| {
            let mut cell = (*cell).clone();
            if axis != spec.axis
                && let Some(value) = cell.at.remove(axis)
            {
                cell.at.remove(spec.axis);
                cell.at.insert(spec.axis.into(), value);
            }
            cell
        })
        .collect();
    let positive = renamed
        .iter()
        .all(|cell| cell.samples.iter().all(|sample| *sample > 0.0));
    let spec = Spec {
        y: if positive { spec.y } else { Scale::Linear },
        ..*spec
    };
    charts(measure, &renamed.iter().collect::<Vec<_>>(), &spec, number)
}
