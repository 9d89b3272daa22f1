//! What people see of a run: progress, figures, verdicts.

use crate::console;
use indicatif::{ProgressBar, ProgressStyle};
use sillage_lab::claims::{Ruling, Verdict};
use sillage_lab::record::{Outcome, Point, Run};
use sillage_lab::runner::{Event, Plan, Watch};
use sillage_lab::stats;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

/// Parts of a job on the bar.
const PARTS: u64 = 1_000;

/// Tells on standard error how a run goes on: a bar on a terminal, else a line
/// a job.
pub(super) struct Watcher {
    bar: ProgressBar,
}

impl Watcher {
    pub(super) fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new(1)
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {percent:>3} % {msg}")
        {
            bar.set_style(style);
        }
        Self { bar }
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    pub(super) fn events(&self) -> Watch {
        let bar = self.bar.clone();
        // Where the job begins on the bar, and how much time is left.
        let now = Mutex::new((0, String::new()));
        Arc::new(move |event| {
            let mut now = now.lock().unwrap_or_else(PoisonError::into_inner);
            tell(&bar, &mut now, event);
        })
    }
}

/// A line above the bar, or without one.
fn line(bar: &ProgressBar, text: &str) {
    if bar.is_hidden() {
        eprintln!("{text}");
    } else {
        bar.println(text);
    }
}

fn tell(bar: &ProgressBar, now: &mut (u64, String), event: &Event<'_>) {
    match event {
        Event::Planned {
            file,
            resumed,
            jobs,
            finished,
            left,
        } => {
            let verb = if *resumed { "goes on in" } else { "begins" };
            line(bar, &format!("the run {verb} {}", file.display()));
            let done = if *finished > 0 {
                format!(", {finished} of them done")
            } else {
                String::new()
            };
            let left = duration(*left);
            line(bar, &format!("{jobs} jobs{done}; {left} on this machine"));
            line(
                bar,
                "Ctrl-C stops after a job; the same command goes on later",
            );
            bar.set_length((*jobs as u64 * PARTS).max(1));
        }
        Event::Refused { measure, reason } => {
            line(bar, &format!("{measure} cannot be measured: {reason}"));
        }
        Event::Begin {
            measure,
            job,
            number,
            jobs,
            left,
        } => {
            *now = ((*number as u64 - 1) * PARTS, duration(*left));
            bar.set_position(now.0);
            bar.set_prefix(format!("{measure}: {job}"));
            bar.set_message(format!("{} left", now.1));
            if bar.is_hidden() {
                eprintln!("[{number}/{jobs}] {measure}: {job} ({} left)", now.1);
            }
        }
        Event::Progress { fraction, words } => {
            bar.set_position(now.0 + (fraction * PARTS as f64) as u64);
            bar.set_message(format!("{words}, {} left", now.1));
        }
        Event::End {
            measure, job, gaps, ..
        } => {
            bar.set_position(now.0 + PARTS);
            if *gaps > 0 {
                line(bar, &format!("{measure}, {job}: {gaps} points are gaps"));
            }
        }
        Event::Failed {
            measure,
            job,
            reason,
        } => {
            bar.set_position(now.0 + PARTS);
            line(bar, &format!("{measure}, {job} failed: {reason}"));
        }
    }
}

/// A length of time as people say it.
pub(super) fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        0 => "less than a minute".into(),
        1 => "about a minute".into(),
        2..=99 => format!("about {minutes} minutes"),
        100..=2_880 => format!("about {} hours", (seconds / 3_600.0).round()),
        _ => format!("about {} days", (seconds / 86_400.0).round()),
    }
}

/// Three significant digits, or all of a large whole number.
fn short(x: f64) -> String {
    if x == 0.0 {
        return "0".into();
    }
    let digits = 2 - x.abs().log10().floor() as i32;
    match digits {
        ..=0 if x.abs() < 1e15 => {
            let whole = console::count(x.abs().round() as u64);
            if x < 0.0 { format!("-{whole}") } else { whole }
        }
        1..=7 => format!("{x:.*}", digits as usize),
        _ => format!("{x:.2e}"),
    }
}

/// Where a point lies, in words.
fn place(point: &Point) -> String {
    let words = point.at.iter().map(|(axis, value)| match value.as_str() {
        Some(text) => format!("{axis} {text}"),
        None => format!("{axis} {value}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Texts of a column padded to their longest, so that they stand at the left.
fn left(rows: &mut [Vec<String>], column: usize) {
    let width = |row: &Vec<String>| row.get(column).map_or(0, |cell| cell.chars().count());
    let widest = rows.iter().map(width).max().unwrap_or(0);
    for cell in rows.iter_mut().filter_map(|row| row.get_mut(column)) {
        *cell = format!("{cell:<widest$}");
    }
}

/// Every point of a run: median and interval, or why there is none.
pub(super) fn figures(run: &Run) -> String {
    let head = ["metric", "series", "where", "median", "95 %", "unit"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for point in &run.points {
        let mut row = vec![point.metric.clone(), point.series.clone(), place(point)];
        match &point.outcome {
            Outcome::Measured { samples } => match stats::bootstrap_median(samples, 0) {
                Some(interval) => row.extend([
                    short(interval.value),
                    match samples.len() {
                        1 => "one sample".into(),
                        _ => format!("{} to {}", short(interval.low), short(interval.high)),
                    },
                    point.unit.clone(),
                ]),
                None => row.push("no figure".into()),
            },
            Outcome::Missing { reason } => {
                row.extend([String::new(), String::new(), format!("missing: {reason}")]);
            }
        }
        rows.push(row);
    }
    for column in [0, 1, 2, 5] {
        left(&mut rows, column);
    }
    console::table(&rows)
}

/// The verdicts on what was measured, and how many claims are open.
pub(super) fn verdicts(verdicts: &[Verdict]) -> String {
    let (open, judged): (Vec<_>, Vec<_>) = verdicts
        .iter()
        .partition(|verdict| verdict.verdict == Ruling::Open);
    let mut lines: Vec<String> = judged.iter().map(ToString::to_string).collect();
    if !open.is_empty() {
        lines.push(format!(
            "{} of {} claims are open: this run has no points for them",
            open.len(),
            verdicts.len()
        ));
    }
    lines.join("\n")
}

/// The jobs and their estimates.
pub(super) fn plan(plan: &Plan) -> String {
    let mut rows = vec![["measure", "job", "seconds"].map(String::from).to_vec()];
    for planned in &plan.jobs {
        rows.push(vec![
            planned.measure.to_owned(),
            planned.job.id.clone(),
            short(planned.job.estimate),
        ]);
    }
    left(&mut rows, 0);
    left(&mut rows, 1);
    console::table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sillage_lab::Better;

    #[test]
    fn figures_read_well() {
        assert_eq!(short(0.0), "0");
        assert_eq!(short(1234.56), "1,235");
        assert_eq!(short(12.345), "12.3");
        assert_eq!(short(0.012_345), "0.0123");
        assert_eq!(short(-0.5), "-0.500");
        assert_eq!(short(1.2e-9), "1.20e-9");
        assert_eq!(duration(20.0), "less than a minute");
        assert_eq!(duration(600.0), "about 10 minutes");
        assert_eq!(duration(7_300.0), "about 2 hours");
        assert_eq!(duration(400_000.0), "about 5 days");
    }

    #[test]
    fn a_gap_is_shown_as_one() {
        let point = |length: u64| {
            Point::new("scaling", "decode rate", "a", "tokens/s", Better::Higher)
                .at("length", length)
        };
        let run = Run {
            points: vec![
                point(256).samples(vec![10.0, 11.0, 12.0]),
                point(512).samples(vec![9.0]),
                point(1024).missing("needs 9.4 GiB, 7.1 GiB are free"),
            ],
            ..Run::default()
        };
        let table = figures(&run);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].contains("11.0") && lines[1].contains("10.0 to 12.0"));
        assert!(lines[2].contains("one sample"));
        assert!(lines[3].contains("missing: needs 9.4 GiB"));
    }
}
