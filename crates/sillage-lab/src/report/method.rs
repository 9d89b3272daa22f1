//! How a run was measured, and what it did not measure.

use super::markup::Markup;
use super::measures::ALL;
use super::numbers::{capital, figure, quantity, thousands};
use crate::claims::{Evidence, NOISE, Ruling, Verdict};
use crate::record::{Machine, Point, Run};
use crate::stats::{TOO_NOISY, median, too_noisy};
use serde_json::Value;
use std::collections::BTreeSet;

/// What configurations may say that is shown; everything else is in the lines.
const SHOWN: [(&str, &str); 12] = [
    ("seed", "seeds"),
    ("seeds", "seeds"),
    ("threads", "threads"),
    ("llama.cpp", "llama.cpp"),
    ("llama_cpp", "llama.cpp"),
    ("torch", "PyTorch"),
    ("pytorch", "PyTorch"),
    ("sillage", "Sillage"),
    ("commit", "commits"),
    ("watts_per_core", "watts per core"),
    ("price", "prices"),
    ("euro_per_hour", "euros per hour of machine"),
];
/// Values of a kind that are listed.
const VALUES: usize = 12;

/// A machine in a line.
pub(super) fn machine_words(machine: &Machine) -> String {
    format!(
        "{}, {} {}, {} of memory, {}",
        machine.cpu,
        machine.cores,
        if machine.cores == 1 { "core" } else { "cores" },
        quantity(machine.memory as f64, "bytes"),
        machine.isa
    )
}

/// When a run was measured: a day, or the first and the last.
pub(super) fn days(points: &[&Point]) -> Option<String> {
    let day = |point: &&Point| point.time.chars().take(10).collect::<String>();
    let all: BTreeSet<String> = points
        .iter()
        .map(day)
        .filter(|day| !day.is_empty())
        .collect();
    let (first, last) = (all.first()?, all.last()?);
    Some(if first == last {
        first.clone()
    } else {
        format!("{first} to {last}")
    })
}

/// The section.
pub(super) fn section(page: &mut Markup, run: &Run, evidence: &Evidence, verdicts: &[Verdict]) {
    page.element("section", &[("id", "method"), ("aria-labelledby", "method-title")], |page| {
        page.says("h2", &[("id", "method-title")], "How it was measured");
        page.element("dl", &[("class", "method")], |page| {
            let mut item = |name: &str, words: &str| {
                page.says("dt", &[], name);
                page.says("dd", &[], words);
            };
            for machine in &run.machines {
                let words = format!(
                    "{}, {}, Sillage {}",
                    machine_words(machine),
                    machine.system,
                    machine.sillage
                );
                item("Machine", &words);
            }
            if evidence.elsewhere > 0 {
                let words = format!(
                    "{} points of other machines are left out: the sides of a measure are compared on one machine only, and one side's training is not mixed of several",
                    thousands(evidence.elsewhere as f64)
                );
                item("Other machines", &words);
            }
            item("Order", "Every side is warmed up; then the sides take turns in a shuffled order within one job, so that a slow minute hits all of them.");
            item("Spread", "Figures are medians with 95 % bootstrap intervals over the raw samples; sides that took turns are compared round by round. Of models that were trained here they are means over seeds with Student's interval. One sample has no interval. A verdict is given on the interval, not on its middle, and on the interval widened by the noise.");
            item("Noise", &noise(evidence));
            item("Load", &load(run));
            item("Time", &time(run));
            for (name, values) in configured(run) {
                item(&capital(name), &values);
            }
            item("Gaps", "What could not be measured is a hollow mark on the axis with its reason, and no line is drawn across it.");
            item("Settings", "Where several settings were measured, pictures show one that was fixed beforehand (one session, the larger model, f32), and the verdicts count all.");
            item("Raw data", "This page is made from the run's file of JSON lines and from nothing else: each line is a machine or a point with its place, its configuration and every sample. The command “sillage lab report” makes it again.");
        });
        left_out(page, evidence, verdicts);
    });
}

fn noise(evidence: &Evidence) -> String {
    let mut measures: Vec<&str> = Vec::new();
    for cell in evidence.cells() {
        if cell.metric == NOISE && !measures.contains(&cell.measure.as_str()) {
            measures.push(&cell.measure);
        }
    }
    let parts: Vec<String> = measures
        .into_iter()
        .filter_map(|measure| {
            let largest = evidence.loudest(measure)?;
            let loud = if too_noisy(largest) {
                ": this machine is too noisy for such figures"
            } else {
                ""
            };
            Some(format!("{measure} {}{loud}", quantity(largest, "")))
        })
        .collect();
    if parts.is_empty() {
        return "The same thing was not measured twice (no A/A run), so that only the spread of the samples is known.".into();
    }
    format!(
        "The same thing measured twice (A/A) differs at most by: {}. Beyond {} a figure is called too noisy.",
        parts.join("; "),
        quantity(TOO_NOISY, "")
    )
}

fn load(run: &Run) -> String {
    let busy: Vec<f64> = run.points.iter().filter_map(|point| point.busy).collect();
    match busy.iter().copied().max_by(f64::total_cmp) {
        Some(most) => format!(
            "Other programs kept {} cores busy meanwhile (median over the points; at most {}).",
            figure(median(&busy).unwrap_or(most)),
            figure(most)
        ),
        None => "The system did not tell what other programs did meanwhile.".into(),
    }
}

fn time(run: &Run) -> String {
    let mut jobs: Vec<(&str, &str, f64)> = Vec::new();
    for point in &run.points {
        let job = (point.measure.as_str(), point.job.as_str(), point.seconds);
        if !jobs.contains(&job) {
            jobs.push(job);
        }
    }
    let seconds: f64 = jobs.iter().map(|(.., seconds)| seconds).sum();
    format!(
        "{} points of {} jobs, {} in all.",
        thousands(run.points.len() as f64),
        thousands(jobs.len() as f64),
        if seconds >= 7200.0 {
            format!("{} hours", figure(seconds / 3600.0))
        } else {
            quantity(seconds, "s")
        }
    )
}

/// What configurations say, by kind.
fn configured(run: &Run) -> Vec<(&'static str, String)> {
    let mut kinds: Vec<(&'static str, Vec<String>)> = Vec::new();
    for (key, name) in SHOWN {
        for value in run.points.iter().filter_map(|point| point.config.get(key)) {
            let all = match value {
                Value::Array(all) => all.iter().map(plain).collect(),
                value => vec![plain(value)],
            };
            let place = kinds.iter().position(|(known, _)| *known == name);
            let place = place.unwrap_or_else(|| {
                kinds.push((name, Vec::new()));
                kinds.len() - 1
            });
            for one in all {
                if !kinds[place].1.contains(&one) {
                    kinds[place].1.push(one);
                }
            }
        }
    }
    kinds
        .into_iter()
        .map(|(name, values)| {
            let more = values.len().saturating_sub(VALUES);
            let mut text = values
                .into_iter()
                .take(VALUES)
                .collect::<Vec<_>>()
                .join(", ");
            if more > 0 {
                text.push_str(&format!(" and {more} more"));
            }
            (name, text)
        })
        .collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().take(80).collect(),
        other => other.to_string().chars().take(80).collect(),
    }
}

/// What was not measured.
fn left_out(page: &mut Markup, evidence: &Evidence, verdicts: &[Verdict]) {
    page.says("h3", &[], "What was not measured");
    let absent: Vec<_> = ALL
        .iter()
        .filter(|about| {
            !evidence
                .cells()
                .iter()
                .any(|cell| cell.measure == about.name)
        })
        .collect();
    let open = verdicts
        .iter()
        .filter(|v| v.verdict == Ruling::Open)
        .count();
    let gaps = evidence
        .cells()
        .iter()
        .filter(|cell| cell.samples.is_empty())
        .count();
    page.element("ul", &[], |page| {
        for about in &absent {
            page.element("li", &[], |page| {
                page.text(about.title);
                page.text(": ");
                page.says("code", &[], &format!("sillage lab {} --full", about.name));
            });
        }
        page.says(
            "li",
            &[],
            &format!("Claims left open: {open} of {}", verdicts.len()),
        );
        page.says(
            "li",
            &[],
            &format!(
                "Figures that are missing with a reason: {}",
                thousands(gaps as f64)
            ),
        );
    });
}
