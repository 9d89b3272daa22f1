//! The tables of the report: claims, raw figures, what is missing.

use super::markup::Markup;
use super::numbers;
use crate::claims::{Cell, Evidence, NOISE, Ruling, Verdict, setting};
use crate::record::FAILED;

/// Places of a reason that are listed before the rest is counted.
const LISTED: usize = 4;

/// The verdict as a sign: a drawing, since fonts lack some of the characters.
fn sign(ruling: Ruling) -> &'static str {
    match ruling {
        Ruling::Holds => {
            r#"<svg class="sign" viewBox="0 0 16 16" aria-hidden="true"><path d="M3 8.5l3.2 3.3L13 4.6"/></svg>"#
        }
        Ruling::Fails => {
            r#"<svg class="sign" viewBox="0 0 16 16" aria-hidden="true"><path d="M4 4l8 8M12 4l-8 8"/></svg>"#
        }
        Ruling::Mixed => {
            r#"<svg class="sign" viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="5"/><path class="solid" d="M8 3a5 5 0 0 1 0 10z"/></svg>"#
        }
        Ruling::Open => {
            r#"<svg class="sign" viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="5" stroke-dasharray="2.4 2.2"/></svg>"#
        }
    }
}

/// The claims, in groups.
pub(super) fn claims(page: &mut Markup, verdicts: &[Verdict]) {
    page.element("table", &[("class", "claims"), ("role", "table")], |page| {
        page.says(
            "caption",
            &[],
            "What is claimed of state space models, and what this run says to it. Figures are medians with 95 % intervals.",
        );
        page.literal(
            "<thead role=\"rowgroup\"><tr role=\"row\"><th role=\"columnheader\" scope=\"col\">Claim</th><th role=\"columnheader\" scope=\"col\">Verdict</th><th role=\"columnheader\" scope=\"col\">Figure</th><th role=\"columnheader\" scope=\"col\">Where it holds</th></tr></thead>",
        );
        let mut rest = verdicts;
        while let Some(first) = rest.first() {
            let end = rest.iter().position(|verdict| verdict.group != first.group);
            let (group, others) = rest.split_at(end.unwrap_or(rest.len()));
            rest = others;
            page.element("tbody", &[("role", "rowgroup")], |page| {
                page.element("tr", &[("role", "row"), ("class", "group")], |page| {
                    page.says(
                        "th",
                        &[("role", "rowheader"), ("scope", "rowgroup"), ("colspan", "4")],
                        first.group,
                    );
                });
                for verdict in group {
                    claim(page, verdict);
                }
            });
        }
    });
}

fn claim(page: &mut Markup, verdict: &Verdict) {
    let word = verdict.verdict.word();
    let id = format!("claim-{}", verdict.id);
    page.element(
        "tr",
        &[("role", "row"), ("id", &id), ("data-verdict", word)],
        |page| {
            page.element("th", &[("role", "rowheader"), ("scope", "row")], |page| {
                page.says("span", &[("class", "claim")], verdict.claim);
                page.says("span", &[("class", "source")], verdict.source);
            });
            page.element("td", &[("role", "cell"), ("class", "ruling")], |page| {
                page.element("span", &[("class", &format!("verdict {word}"))], |page| {
                    page.literal(sign(verdict.verdict));
                    page.text(word);
                });
            });
            page.element(
                "td",
                &[("role", "cell"), ("class", "figure")],
                |page| match &verdict.figure {
                    Some(figure) => {
                        page.says("span", &[("class", "value")], &figure.to_string());
                        page.says("span", &[("class", "of")], &figure.of);
                    }
                    None => page.says("span", &[("class", "none")], "\u{2013}"),
                },
            );
            page.element("td", &[("role", "cell"), ("class", "where")], |page| {
                page.says("span", &[], &numbers::capital(&verdict.where_it_holds));
                for remark in &verdict.remarks {
                    page.says("span", &[("class", "remark")], &numbers::capital(remark));
                }
            });
        },
    );
}

/// Every figure of a measure, one table a metric.
pub(super) fn raw(page: &mut Markup, evidence: &Evidence, measure: &str) {
    let cells: Vec<&Cell> = evidence
        .cells()
        .iter()
        .filter(|cell| cell.measure == measure && cell.metric != FAILED)
        .collect();
    let mut metrics: Vec<&str> = Vec::new();
    for cell in &cells {
        if !metrics.contains(&cell.metric.as_str()) {
            metrics.push(&cell.metric);
        }
    }
    page.element("details", &[], |page| {
        page.element("summary", &[], |page| {
            page.text(&format!(
                "All {} figures as a table",
                numbers::thousands(cells.len() as f64)
            ));
        });
        for metric in metrics {
            let rows = cells.iter().filter(|cell| cell.metric == metric);
            metric_table(page, metric, &rows.copied().collect::<Vec<_>>());
        }
    });
}

fn metric_table(page: &mut Markup, metric: &str, rows: &[&Cell]) {
    let label = if metric == NOISE {
        "noise: difference of the same thing measured twice (A/A)".into()
    } else {
        metric.to_string()
    };
    page.element(
        "div",
        &[("class", "scroll"), ("tabindex", "0"), ("role", "region"), ("aria-label", &label)],
        |page| {
            page.element("table", &[("class", "raw")], |page| {
                page.says("caption", &[], &numbers::capital(&label));
                page.literal("<thead><tr><th scope=\"col\">Series</th><th scope=\"col\">Where</th><th scope=\"col\" class=\"n\">Figure</th><th scope=\"col\" class=\"n\">95 % interval</th><th scope=\"col\" class=\"n\">Samples</th></tr></thead><tbody>");
                for cell in rows {
                    page.element("tr", &[], |page| figures(page, cell));
                }
                page.literal("</tbody>");
            });
        },
    );
}

fn figures(page: &mut Markup, cell: &Cell) {
    page.says("th", &[("scope", "row")], &cell.series);
    page.says("td", &[], &setting(&cell.at));
    let Some(estimate) = cell.estimate else {
        let reason = cell.reason.as_deref().unwrap_or("no samples");
        page.says(
            "td",
            &[("colspan", "3"), ("class", "missing")],
            &format!("missing: {reason}"),
        );
        return;
    };
    let n = [("class", "n")];
    let (value, ends) = numbers::exactly(&estimate, &cell.unit);
    page.says("td", &n, &value);
    let interval = ends.map_or_else(
        || "\u{2013}".into(),
        |(low, high)| format!("{low} to {high}"),
    );
    page.says("td", &n, &interval);
    page.says("td", &n, &estimate.n.to_string());
}

/// What could not be measured, by series and reason.
pub(super) fn missing(page: &mut Markup, evidence: &Evidence, measure: &str) {
    let mut reasons: Vec<(&str, &str, Vec<String>)> = Vec::new();
    for cell in evidence
        .cells()
        .iter()
        .filter(|cell| cell.measure == measure)
    {
        let Some(reason) = cell.reason.as_deref().filter(|_| cell.samples.is_empty()) else {
            continue;
        };
        let place = if cell.metric == FAILED {
            "a whole job failed".into()
        } else {
            format!("{} at {}", cell.metric, setting(&cell.at))
        };
        match reasons
            .iter_mut()
            .find(|(series, known, _)| *series == cell.series && *known == reason)
        {
            Some((.., places)) => places.push(place),
            None => reasons.push((&cell.series, reason, vec![place])),
        }
    }
    if reasons.is_empty() {
        return;
    }
    page.element("div", &[("class", "gaps")], |page| {
        page.says("h3", &[], "Missing");
        page.element("ul", &[], |page| {
            for (series, reason, places) in reasons {
                page.element("li", &[], |page| {
                    page.says("b", &[], series);
                    page.text(": ");
                    page.text(reason);
                    let listed = places
                        .iter()
                        .take(LISTED)
                        .cloned()
                        .collect::<Vec<_>>()
                        .join("; ");
                    let more = places.len().saturating_sub(LISTED);
                    let rest = match more {
                        0 => String::new(),
                        more => format!("; and {more} more, in the table"),
                    };
                    page.says("span", &[("class", "places")], &format!("{listed}{rest}"));
                });
            }
        });
    });
}
