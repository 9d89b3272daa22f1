//! A run as one page: the verdicts first, then a picture for each measure.
//!
//! The page is a single file without network, readable without scripts, in
//! light and dark and on a phone. Everything on it comes from the run and is
//! the same, byte for byte, for the same run.

mod chart;
mod markup;
mod measures;
mod method;
pub(crate) mod numbers;
mod palette;
mod pictures;
mod svg;
#[cfg(test)]
pub(crate) mod synthetic;
mod tables;
#[cfg(test)]
mod tests;
mod words;

use crate::claims::{Cell, Evidence, Ruling, Verdict, of_evidence};
use crate::record::{Point, Run};
use crate::stats::too_noisy;
use chart::Chart;
use markup::Markup;
use measures::{ALL, pictures};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The report of a run as one self-contained HTML page.
#[must_use]
pub fn html(run: &Run) -> String {
    let evidence = Evidence::new(run);
    let verdicts = of_evidence(&evidence);
    let names = series(&evidence);
    let present = present(&evidence);
    let mut page = Markup::new();
    page.literal("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.literal("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    page.literal("<meta name=\"color-scheme\" content=\"light dark\">");
    page.literal("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">");
    page.literal("<title>Sillage lab</title><style>");
    page.literal(STYLE);
    page.literal("</style></head><body><a class=\"skip\" href=\"#claims\">To the claims</a>");
    header(&mut page, run, &evidence, &present);
    page.element("main", &[], |page| {
        page.element(
            "section",
            &[("id", "claims"), ("aria-label", "Claims")],
            |page| {
                tally(page, &verdicts);
                tables::claims(page, &verdicts);
            },
        );
        let mut number = 1;
        for name in &present {
            measure(page, &evidence, &verdicts, name, &names, &mut number);
        }
        method::section(page, run, &evidence, &verdicts);
    });
    page.literal("<script>");
    page.literal(SCRIPT);
    page.literal("</script></body></html>\n");
    page.into_string()
}

/// All series, as they appear.
fn series(evidence: &Evidence) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for cell in evidence.cells() {
        if !names.contains(&cell.series) {
            names.push(cell.series.clone());
        }
    }
    names
}

/// The measures of a run: those that are known in the report's order, then
/// others.
fn present(evidence: &Evidence) -> Vec<String> {
    let has = |name: &str| evidence.cells().iter().any(|cell| cell.measure == name);
    let mut names: Vec<String> = ALL
        .iter()
        .filter(|about| has(about.name))
        .map(|about| about.name.into())
        .collect();
    for cell in evidence.cells() {
        if !names.contains(&cell.measure) {
            names.push(cell.measure.clone());
        }
    }
    names
}

fn title(name: &str) -> String {
    ALL.iter()
        .find(|about| about.name == name)
        .map_or_else(|| numbers::capital(name), |about| about.title.into())
}

/// The anchor of a measure; its name may come from a hostile file.
fn anchor(name: &str) -> String {
    let safe = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter
        } else {
            '-'
        }
    };
    format!("measure-{}", name.chars().map(safe).collect::<String>())
}

fn header(page: &mut Markup, run: &Run, evidence: &Evidence, present: &[String]) {
    let points: Vec<&Point> = run
        .points
        .iter()
        .filter(|point| evidence.takes(point))
        .collect();
    let machines = evidence.machines(run);
    page.element("header", &[], |page| {
        page.literal("<p class=\"over\">Sillage lab</p><button type=\"button\" id=\"theme\" hidden>Light or dark</button>");
        page.literal("<h1>What state space models gain, and what they lose</h1>");
        let mut words: Vec<String> = Vec::new();
        words.extend(machines.iter().map(|machine| {
            let here = |name: &&String| evidence.is_from(name, &machine.id);
            let measures: Vec<&str> = present.iter().filter(here).map(String::as_str).collect();
            let words = method::machine_words(machine);
            match machines.len() {
                1 => words,
                _ => format!("{}: {words}", measures.join(", ")),
            }
        }));
        let version = machines.first().map(|machine| &machine.sillage);
        words.extend(version.map(|version| format!("Sillage {version}")));
        words.extend(method::days(&points));
        if words.is_empty() {
            words.push("An empty run: nothing was measured yet".into());
        }
        page.says("p", &[("class", "machine")], &words.join(" \u{b7} "));
        page.element("nav", &[("aria-label", "Measures")], |page| {
            for name in present {
                let target = format!("#{}", anchor(name));
                page.says("a", &[("href", &target)], &title(name));
            }
            page.literal("<a href=\"#method\">How it was measured</a>");
        });
    });
}

/// How many claims hold, fail, are mixed, are open; with a script they filter.
fn tally(page: &mut Markup, verdicts: &[Verdict]) {
    page.element("h2", &[("class", "tally")], |page| {
        let count = |ruling| verdicts.iter().filter(|v| v.verdict == ruling).count();
        page.text(&format!(
            "{} claims: {} hold, {} fail, {} are mixed, {} open",
            verdicts.len(),
            count(Ruling::Holds),
            count(Ruling::Fails),
            count(Ruling::Mixed),
            count(Ruling::Open)
        ));
    });
    page.literal("<p class=\"filter\" id=\"filter\" role=\"group\" aria-label=\"Show claims\" hidden><button type=\"button\" data-show=\"\" aria-pressed=\"true\">all</button><button type=\"button\" data-show=\"holds\" aria-pressed=\"false\">holds</button><button type=\"button\" data-show=\"fails\" aria-pressed=\"false\">fails</button><button type=\"button\" data-show=\"mixed\" aria-pressed=\"false\">mixed</button><button type=\"button\" data-show=\"open\" aria-pressed=\"false\">open</button></p>");
}

fn measure(
    page: &mut Markup,
    evidence: &Evidence,
    verdicts: &[Verdict],
    name: &str,
    names: &[String],
    number: &mut usize,
) {
    let id = anchor(name);
    let heading = format!("{id}-title");
    page.element(
        "section",
        &[("id", &id), ("aria-labelledby", &heading)],
        |page| {
            page.says("h2", &[("id", &heading)], &title(name));
            if let Some(about) = ALL.iter().find(|about| about.name == name) {
                page.says("p", &[("class", "question")], about.question);
            }
            let said = words::sentences(evidence, verdicts, name);
            if !said.is_empty() {
                page.says("p", &[("class", "said")], &said.join(" "));
            }
            let less = |cell: &Cell| cell.measure == name && cell.taught_less();
            if evidence.cells().iter().any(less) {
                page.says("p", &[("class", "said")], "Sides that were taught for different times stand here with the longest; the others are in the table, as “taught less”.");
            }
            noisy(page, evidence, name);
            let charts = pictures(evidence, name, number);
            if !charts.is_empty() {
                legend(page, &charts, names);
                page.element("div", &[("class", "pictures")], |page| {
                    for chart in &charts {
                        picture(page, chart, names);
                    }
                });
            }
            tables::missing(page, evidence, name);
            page.element("p", &[("class", "again")], |page| {
                page.text("Measure it again: ");
                page.says("code", &[], &format!("sillage lab {name} --full"));
                page.text(" and draw it: ");
                page.says("code", &[], "sillage lab report");
            });
            tables::raw(page, evidence, name);
        },
    );
}

fn noisy(page: &mut Markup, evidence: &Evidence, name: &str) {
    if let Some(noise) = evidence.loudest(name).filter(|noise| too_noisy(*noise)) {
        page.says(
            "p",
            &[("class", "noisy")],
            &format!(
                "This machine is too noisy for some of these figures: the same thing measured twice differs by up to {}.",
                numbers::quantity(noise, "")
            ),
        );
    }
}

/// Every series of the section with its mark.
fn legend(page: &mut Markup, charts: &[Chart], names: &[String]) {
    let mut shown: Vec<&str> = Vec::new();
    for line in charts.iter().flat_map(Chart::lines) {
        if !shown.contains(&line.name.as_str()) {
            shown.push(&line.name);
        }
    }
    page.element("ul", &[("class", "legend"), ("aria-label", "Series")], |page| {
        for name in shown {
            let look = palette::style(name, names);
            page.element("li", &[], |page| {
                let side = if look.variant { "variant" } else { "own" };
                let class = format!("key {} {side}", look.class);
                page.element(
                    "svg",
                    &[("class", &class), ("viewBox", "0 0 24 12"), ("aria-hidden", "true")],
                    |page| {
                        page.literal("<path class=\"line\" d=\"M1 6H23\"/>");
                        palette::mark(page, look, 12.0, 6.0, false, "");
                    },
                );
                page.text(name);
            });
        }
        if charts.iter().any(|chart| !chart.missing().is_empty()) {
            page.literal("<li><svg class=\"key gap\" viewBox=\"0 0 24 12\" aria-hidden=\"true\"><circle class=\"mark hollow\" cx=\"12\" cy=\"6\" r=\"3.4\"/></svg>hollow, on the axis: missing</li>");
        }
    });
}

fn picture(page: &mut Markup, chart: &Chart, names: &[String]) {
    page.element("figure", &[], |page| {
        page.element("figcaption", &[], |page| {
            page.says("b", &[], &chart.title);
            if !chart.note.is_empty() {
                page.says("span", &[], &chart.note);
            }
        });
        page.add(&svg::svg(chart, names));
    });
}
