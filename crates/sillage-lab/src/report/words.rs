//! One or two sentences of plain words for each measure, made from its data.

use super::numbers::{estimate, quantity, thousands};
use crate::claims::{
    Cell, Estimate, Evidence, How, Verdict, between, first_shown, is_drawn, most_measured, pairs,
    setting, without,
};
use crate::record::Place;
use serde_json::Value;

/// What the data of a measure say; empty where they say nothing yet.
pub(super) fn sentences(evidence: &Evidence, verdicts: &[Verdict], measure: &str) -> Vec<String> {
    match measure {
        "scaling" => scaling(evidence, verdicts),
        "cost" => cost(evidence),
        "voice" => voice(evidence),
        "recall" => recall(evidence),
        "copy" => copy(evidence),
        "track" => track(evidence),
        "language" => language(evidence),
        "quant" => quant(evidence),
        "eval" => eval(evidence),
        "train" => train(evidence),
        _ => Vec::new(),
    }
}

/// Ours over the rival's at a position.
struct Compared {
    x: f64,
    at: Place,
    ratio: Estimate,
}

/// The two sides along an axis, in the setting in which claims are judged.
fn compared(
    evidence: &Evidence,
    (measure, metric): (&str, &str),
    ours: &str,
    rival: &str,
    axis: &str,
    keep: impl Fn(&Cell) -> bool,
) -> Vec<Compared> {
    let mut all: Vec<Compared> = pairs(evidence, measure, metric, &[ours], &[rival])
        .into_iter()
        .filter(|(cell, _)| keep(cell))
        .filter_map(|(cell, rival)| {
            Some(Compared {
                x: cell.number(axis)?,
                at: without(&cell.at, &[axis]),
                ratio: between(cell, rival, How::Ratio)?,
            })
        })
        .collect();
    all.sort_by(|a, b| a.x.total_cmp(&b.x));
    let settings: Vec<&Place> = all.iter().map(|one| &one.at).collect();
    if let Some(first) = most_measured(&settings).cloned() {
        all.retain(|one| one.at == first);
    }
    all
}

/// The larger side, and how many times the smaller it is.
fn larger<'a>(
    ratio: &Estimate,
    ours: &'a str,
    rival: &'a str,
) -> Option<(&'a str, &'a str, Estimate)> {
    if ratio.low > 1.0 {
        return Some((ours, rival, *ratio));
    }
    let turned = Estimate {
        value: 1.0 / ratio.value,
        low: 1.0 / ratio.high,
        high: 1.0 / ratio.low,
        n: ratio.n,
    };
    (ratio.high < 1.0).then_some((rival, ours, turned))
}

/// `A does 3.1 times (2.9 to 3.3) as fast as B`, whichever side it is.
fn faster(ratio: &Estimate, ours: &str, rival: &str, verb: &str, how: &str) -> String {
    match larger(ratio, ours, rival) {
        Some((first, second, times)) => {
            format!(
                "{first} {verb} {} as {how} as {second}",
                estimate(&times, "times")
            )
        }
        None => format!("{ours} and {rival} cannot be told apart"),
    }
}

fn tokens(x: f64) -> String {
    format!("{} tokens", thousands(x))
}

fn note(at: &Place) -> String {
    match setting(at) {
        words if words.is_empty() => String::new(),
        words => format!(" ({words})"),
    }
}

fn end(text: String) -> String {
    format!("{text}.")
}

fn scaling(evidence: &Evidence, verdicts: &[Verdict]) -> Vec<String> {
    let mut said = Vec::new();
    let rates = compared(
        evidence,
        ("scaling", "decode rate"),
        "Mamba-2",
        "transformer",
        "length",
        |_| true,
    );
    if let Some(last) = rates.last() {
        said.push(end(format!(
            "After {} {}{}",
            tokens(last.x),
            faster(&last.ratio, "Mamba-2", "the transformer", "writes", "fast"),
            note(&last.at)
        )));
    }
    if let Some(verdict) = verdicts.iter().find(|verdict| verdict.id == "crossover-2k") {
        said.extend(crossover(verdict));
    }
    said.extend(operations(evidence));
    said
}

fn crossover(verdict: &Verdict) -> Option<String> {
    if let Some(figure) = &verdict.figure {
        return Some(format!(
            "It reads faster from {figure} on; below that the transformer does."
        ));
    }
    if verdict.verdict == crate::claims::Ruling::Open {
        return None;
    }
    Some(format!("In reading it is {}.", verdict.where_it_holds))
}

/// Operations that the kernels counted against those reckoned from the model.
fn operations(evidence: &Evidence) -> Option<String> {
    let counted: Vec<_> = evidence
        .of("scaling", "flops per token")
        .filter(|cell| !cell.samples.is_empty())
        .collect();
    let most = evidence
        .of("scaling", "flops per token, model")
        .filter_map(|model| {
            let counted = counted
                .iter()
                .find(|cell| cell.series == model.series && cell.at == model.at)?;
            let (counted, model) = (counted.estimate?.value, model.estimate?.value);
            (model > 0.0).then(|| (counted / model - 1.0).abs())
        })
        .max_by(f64::total_cmp)?;
    Some(format!(
        "Operations counted in the kernels and those reckoned from the model differ by {} at most.",
        quantity(most, "")
    ))
}

fn cost(evidence: &Evidence) -> Vec<String> {
    let modelled = evidence
        .of("cost", "energy per token")
        .any(|cell| cell.at.get("modelled") == Some(&true.into()));
    let mut said: Vec<String> = ["short", "long"]
        .into_iter()
        .filter_map(|answer| {
            let all = compared(
                evidence,
                ("cost", "energy per token"),
                "hybrid",
                "transformer",
                "length",
                |cell| cell.word("answer") == Some(answer),
            );
            let last = all.last()?;
            Some(format!(
                "On {answer} answers after {} {}.",
                tokens(last.x),
                match larger(&last.ratio, "the hybrid", "the transformer") {
                    Some((more, less, times)) => format!(
                        "{more} needs {} the energy per token of {less}",
                        estimate(&times, "times")
                    ),
                    None =>
                        "hybrid and transformer need the same energy, as far as can be told".into(),
                }
            ))
        })
        .collect();
    if modelled && !said.is_empty() {
        said.push("Energy is reckoned from stated watts per core, not metered.".into());
    }
    said
}

/// Each way to end a sentence by itself: a history that is carried on is what the sides differ in.
fn voice(evidence: &Evidence) -> Vec<String> {
    let cells = || evidence.of("voice", "real-time factor");
    let mut ways: Vec<Option<&Value>> = Vec::new();
    for way in cells().map(|cell| cell.at.get("carry")) {
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways.into_iter()
        .filter_map(|way| spoken(evidence, way))
        .collect()
}

/// The longest speech with one way to end a sentence.
fn spoken(evidence: &Evidence, way: Option<&Value>) -> Option<String> {
    let last = |metric: &'static str| {
        let (ours, rival) = ("state space", "attention");
        let keep = |cell: &Cell| cell.at.get("carry") == way;
        compared(evidence, ("voice", metric), ours, rival, "seconds", keep).pop()
    };
    let more = |ratio: &Estimate| match larger(ratio, "the state space model", "its attention twin")
    {
        Some((slow, fast, times)) => {
            format!(
                "{slow} takes {} as long as {fast}",
                estimate(&times, "times")
            )
        }
        None => "both take as long, as far as can be told".into(),
    };
    let factor = last("real-time factor")?;
    let sound = last("first audio").map_or_else(String::new, |first| {
        format!("; to the first sound {}", more(&first.ratio))
    });
    let how = match way.and_then(Value::as_bool) {
        Some(true) => " with the history carried on",
        Some(false) => " begun anew at each sentence",
        None => "",
    };
    Some(format!(
        "For {} of speech{how} {}{sound}.",
        quantity(factor.x, "s").replace(".0", ""),
        more(&factor.ratio)
    ))
}

/// The cell of a series that is furthest along an axis.
fn furthest<'a>(cells: &[&'a Cell], series: &[&str], axis: &str) -> Option<(f64, &'a Cell)> {
    cells
        .iter()
        .filter(|cell| series.contains(&cell.series.as_str()) && !cell.samples.is_empty())
        .filter_map(|cell| Some((cell.number(axis)?, *cell)))
        .max_by(|a, b| a.0.total_cmp(&b.0))
}

fn accuracy(cell: &Cell) -> Option<String> {
    Some(estimate(&cell.estimate?, ""))
}

fn listed(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

fn recall(evidence: &Evidence) -> Vec<String> {
    let cells = evidence.of("recall", "accuracy");
    let cells: Vec<&Cell> = cells
        .filter(|cell| !cell.samples.is_empty() && is_drawn(cell))
        .collect();
    let Some(length) = cells
        .iter()
        .filter_map(|cell| cell.number("length"))
        .max_by(f64::total_cmp)
    else {
        return Vec::new();
    };
    let hardest: Vec<&Cell> = cells
        .into_iter()
        .filter(|cell| cell.number("length") == Some(length))
        .collect();
    let parts: Vec<String> = ["attention", "Mamba-2", "hybrid", "Mamba"]
        .into_iter()
        .filter_map(|series| {
            let (state, cell) = furthest(&hardest, &[series], "state size")?;
            Some(format!(
                "{series} {} with {} numbers of state",
                accuracy(cell)?,
                thousands(state)
            ))
        })
        .collect();
    if parts.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "In {} the largest models find again: {}.",
        tokens(length),
        listed(&parts)
    )]
}

fn copy(evidence: &Evidence) -> Vec<String> {
    by_task(
        evidence,
        "copy",
        &[
            ("copy", "copy"),
            ("phonebook", "look up in the phonebook"),
            ("induction", "complete patterns"),
        ],
    )
}

fn track(evidence: &Evidence) -> Vec<String> {
    by_task(
        evidence,
        "track",
        &[
            ("parity", "follow parity"),
            ("s5", "follow permutations of five"),
        ],
    )
}

/// For each task the sides at the greatest length.
fn by_task(evidence: &Evidence, measure: &str, tasks: &[(&str, &str)]) -> Vec<String> {
    let series: [&[&str]; 5] = [
        &["attention", "transformer"],
        &["attention, no positions"],
        &["Mamba-2"],
        &["hybrid"],
        &["Mamba"],
    ];
    tasks
        .iter()
        .filter_map(|(task, does)| {
            let cells: Vec<&Cell> = evidence
                .of(measure, "accuracy")
                .filter(|cell| cell.word("task") == Some(task) && !cell.samples.is_empty())
                .collect();
            let length = cells
                .iter()
                .filter_map(|cell| cell.number("length"))
                .max_by(f64::total_cmp)?;
            let parts: Vec<String> = series
                .iter()
                .filter_map(|names| {
                    let (at, cell) = furthest(&cells, names, "length")?;
                    (at == length).then_some(())?;
                    // In a list a comma would end the name.
                    let name = cell.series.replace(", no ", " without ");
                    Some(format!("{name} {}", accuracy(cell)?))
                })
                .collect();
            (!parts.is_empty()).then(|| {
                format!(
                    "Asked to {does} at length {}: {}.",
                    thousands(length),
                    listed(&parts)
                )
            })
        })
        .collect()
}

fn language(evidence: &Evidence) -> Vec<String> {
    let cells: Vec<&Cell> = evidence.of("language", "bits per byte").collect();
    let Some((position, _)) = furthest(&cells, &["Mamba-2"], "position") else {
        return Vec::new();
    };
    let parts: Vec<String> = ["Mamba-2", "hybrid", "transformer"]
        .into_iter()
        .filter_map(|series| {
            let (at, cell) = furthest(&cells, &[series], "position")?;
            (at == position).then_some(())?;
            Some(format!(
                "{series} {}",
                estimate(&cell.estimate?, "bits per byte")
            ))
        })
        .collect();
    vec![format!(
        "{} into a text: {}.",
        tokens(position),
        listed(&parts)
    )]
}

fn quant(evidence: &Evidence) -> Vec<String> {
    let mut series: Vec<&str> = Vec::new();
    for cell in evidence.of("quant", "loss") {
        if !series.contains(&cell.series.as_str()) {
            series.push(&cell.series);
        }
    }
    let find = |metric: &'static str, name: &str, weights: &str| {
        let mut cells: Vec<&Cell> = evidence
            .of("quant", metric)
            .filter(|cell| cell.series == name && cell.word("weights") == Some(weights))
            .filter(|cell| !cell.samples.is_empty())
            .collect();
        cells.sort_by(|a, b| first_shown(&a.at, &b.at));
        cells.first().copied()
    };
    series
        .into_iter()
        .filter_map(|name| {
            let beside =
                |metric, how| between(find(metric, name, "q4")?, find(metric, name, "f32")?, how);
            let more = beside("loss", How::Difference)?;
            let speed = beside("decode rate", How::Ratio).map_or_else(String::new, |ratio| {
                format!(" and make it {} as fast", estimate(&ratio, "times"))
            });
            let name = if name == "transformer" {
                "the transformer"
            } else {
                name
            };
            Some(format!(
                "4-bit weights cost {name} {}{speed}.",
                estimate(&more, "bits per byte")
            ))
        })
        .collect()
}

fn eval(evidence: &Evidence) -> Vec<String> {
    let mut means: Vec<(&str, f64, usize)> = Vec::new();
    for cell in evidence.of("eval", "accuracy") {
        let Some(Estimate { value, .. }) = cell.estimate else {
            continue;
        };
        match means.iter_mut().find(|(name, ..)| *name == cell.series) {
            Some((_, sum, count)) => (*sum, *count) = (*sum + value, *count + 1),
            None => means.push((&cell.series, value, 1)),
        }
    }
    let parts: Vec<String> = means
        .into_iter()
        .map(|(name, sum, count)| {
            let tasks = if count == 1 { "task" } else { "tasks" };
            format!(
                "{name} {} over {count} {tasks}",
                quantity(sum / count as f64, "")
            )
        })
        .collect();
    match parts.is_empty() {
        true => Vec::new(),
        false => vec![format!("Mean accuracy: {}.", listed(&parts))],
    }
}

fn train(evidence: &Evidence) -> Vec<String> {
    ["mamba2", "mamba", "attention"]
        .into_iter()
        .filter_map(|block| {
            let all = compared(
                evidence,
                ("train", "tokens per second"),
                "Sillage",
                "PyTorch",
                "length",
                |cell| cell.word("block") == Some(block),
            );
            let last = all.last()?;
            Some(format!(
                "On {block} blocks at {} {}.",
                tokens(last.x),
                faster(&last.ratio, "Sillage", "PyTorch", "trains", "fast")
            ))
        })
        .collect()
}
