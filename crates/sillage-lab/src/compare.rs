//! Two runs side by side: of two machines, or of two versions.
//!
//! A difference is marked only when nothing else explains it: the intervals of
//! the two sides do not touch, both sides have more than one sample (or the
//! quantity is counted, not timed), and the difference is larger than what
//! either machine differs from itself (A/A). Everything else is laid side by
//! side and left alone.

use crate::claims::{Cell, Estimate, Evidence, How, NOISE, between, setting};
use crate::record::{Better, Machine, Run};
use crate::report::numbers;
use serde::Serialize;
use std::fmt;

/// Metrics that are counted: one sample says all.
const COUNTED: [&str; 3] = ["state bytes", "flops per token", "flops per token, model"];

/// What became of a figure from the first run to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Better, beyond noise.
    Better,
    /// Worse, beyond noise.
    Worse,
    /// No difference that can be told from noise.
    Same,
}

/// A value of one side with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Value {
    /// Median.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Samples.
    pub samples: usize,
}

impl From<Estimate> for Value {
    fn from(from: Estimate) -> Self {
        Self {
            value: from.value,
            low: from.low,
            high: from.high,
            samples: from.n,
        }
    }
}

impl Value {
    fn shown(&self, unit: &str) -> String {
        let estimate = Estimate {
            value: self.value,
            low: self.low,
            high: self.high,
            n: self.samples,
        };
        numbers::estimate(&estimate, unit)
    }
}

/// One figure on both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The measure.
    pub measure: String,
    /// The metric.
    pub metric: String,
    /// The series.
    pub series: String,
    /// Where, in words.
    pub setting: String,
    /// Unit of both values.
    pub unit: String,
    /// First side.
    pub a: Value,
    /// Second side.
    pub b: Value,
    /// Second over first; none where the first is 0.
    pub ratio: Option<Value>,
    /// Larger A/A difference of the two sides; none where neither took one.
    pub noise: Option<f64>,
    /// The mark.
    pub change: Change,
}

/// Two runs side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// First machine, in words.
    pub a: String,
    /// Second machine, in words.
    pub b: String,
    /// Figures that both have, in the order of the first.
    pub rows: Vec<Row>,
    /// Figures that only the first has.
    pub only_a: usize,
    /// Figures that only the second has.
    pub only_b: usize,
}

/// Lays two runs side by side.
#[must_use]
pub fn compare(a: &Run, b: &Run) -> Comparison {
    let (left, right) = (Evidence::as_named(a), Evidence::as_named(b));
    let mut rows = Vec::new();
    let measured = |evidence: &Evidence| {
        let cells = evidence.cells().iter();
        cells
            .filter(|cell| !cell.samples.is_empty() && cell.metric != NOISE)
            .count()
    };
    for cell in left.cells() {
        let other = right.cells().iter().find(|other| twin(cell, other));
        rows.extend(other.and_then(|other| row(&left, cell, &right, other)));
    }
    Comparison {
        a: side(a, &left),
        b: side(b, &right),
        only_a: measured(&left).saturating_sub(rows.len()),
        only_b: measured(&right).saturating_sub(rows.len()),
        rows,
    }
}

fn twin(a: &Cell, b: &Cell) -> bool {
    a.measure == b.measure
        && a.metric == b.metric
        && a.series == b.series
        && a.unit == b.unit
        && a.at == b.at
        && a.metric != NOISE
}

fn row(left: &Evidence, a: &Cell, right: &Evidence, b: &Cell) -> Option<Row> {
    let (from, to) = (a.estimate?, b.estimate?);
    let noise = [(left, a), (right, b)]
        .into_iter()
        .filter_map(|(run, cell)| run.noise(&cell.measure, &cell.metric, &cell.at))
        .max_by(f64::total_cmp);
    let ratio = between(&apart(b), a, How::Ratio);
    let apart = from.high < to.low || to.high < from.low;
    let counted = COUNTED.contains(&a.metric.as_str());
    let enough = counted || (from.n > 1 && to.n > 1);
    let beyond = (to.value - from.value).abs()
        > if counted {
            0.0
        } else {
            noise.unwrap_or(0.0) * from.value.abs()
        };
    let rises = to.value > from.value;
    let change = match (
        apart && enough && beyond,
        rises == (a.better == Better::Higher),
    ) {
        (false, _) => Change::Same,
        (true, true) => Change::Better,
        (true, false) => Change::Worse,
    };
    Some(Row {
        measure: a.measure.clone(),
        metric: a.metric.clone(),
        series: a.series.clone(),
        setting: setting(&a.at),
        unit: a.unit.clone(),
        a: from.into(),
        b: to.into(),
        ratio: ratio.map(Value::from),
        noise,
        change,
    })
}

/// A cell that took no turns with one of the other run, whatever its job is
/// called.
fn apart(cell: &Cell) -> Cell {
    Cell {
        job: String::new(),
        ..cell.clone()
    }
}

fn side(run: &Run, evidence: &Evidence) -> String {
    let words = |machine: &Machine| {
        format!(
            "{}, {} cores, {}, Sillage {}",
            machine.cpu, machine.cores, machine.isa, machine.sillage
        )
    };
    let machines: Vec<String> = evidence.machines(run).into_iter().map(words).collect();
    match machines.is_empty() {
        true => "nothing measured".into(),
        false => machines.join("; "),
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "A: {}\nB: {}\n", self.a, self.b)?;
        let mut table = vec![["figure", "A", "B", "B over A", ""].map(String::from)];
        for row in &self.rows {
            let ratio = row
                .ratio
                .map_or_else(|| "-".into(), |ratio| ratio.shown("times"));
            let mark = match row.change {
                Change::Better => "better",
                Change::Worse => "worse",
                Change::Same => "",
            };
            table.push([
                plain(&format!(
                    "{}: {}, {}, {}",
                    row.measure, row.metric, row.series, row.setting
                )),
                plain(&row.a.shown(&row.unit)),
                plain(&row.b.shown(&row.unit)),
                ratio,
                mark.into(),
            ]);
        }
        let mut widths = [0; 5];
        for line in &table {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for line in &table {
            let cells: Vec<_> = line
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        let count = |change| self.rows.iter().filter(|row| row.change == change).count();
        writeln!(
            f,
            "\n{} figures on both sides: {} better, {} worse, {} not to be told apart; {} only in A, {} only in B",
            self.rows.len(),
            count(Change::Better),
            count(Change::Worse),
            count(Change::Same),
            self.only_a,
            self.only_b
        )
    }
}

/// Names come from files: no control characters reach a terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_control() {
                '\u{fffd}'
            } else {
                letter
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Machine, Point};

    fn run(id: &str, points: Vec<Point>) -> Run {
        let machine = Machine {
            id: id.into(),
            cpu: "A processor".into(),
            cores: 2,
            memory: 1 << 33,
            isa: "avx2".into(),
            system: "Linux".into(),
            sillage: "0.1.0".into(),
        };
        let points = points
            .into_iter()
            .map(|point| Point {
                machine: id.into(),
                ..point
            })
            .collect();
        Run {
            machines: vec![machine],
            points,
        }
    }

    fn rate(samples: &[f64]) -> Point {
        Point::new(
            "scaling",
            "decode rate",
            "Mamba-2",
            "tokens/s",
            Better::Higher,
        )
        .at("length", 256)
        .samples(samples.to_vec())
    }

    fn noise(value: f64) -> Point {
        Point::new("scaling", NOISE, "Mamba-2", "", Better::Lower).samples(vec![value])
    }

    fn change(a: Vec<Point>, b: Vec<Point>) -> Change {
        compare(&run("a", a), &run("b", b)).rows[0].change
    }

    #[test]
    fn marks_only_what_is_beyond_noise() {
        let slow = [100.0, 101.0, 99.0];
        let fast = [110.0, 111.0, 109.0];
        assert_eq!(change(vec![rate(&slow)], vec![rate(&fast)]), Change::Better);
        assert_eq!(change(vec![rate(&fast)], vec![rate(&slow)]), Change::Worse);
        let loud = vec![rate(&slow), noise(0.2)];
        assert_eq!(change(loud, vec![rate(&fast)]), Change::Same);
        assert_eq!(
            change(vec![rate(&[100.0])], vec![rate(&[110.0])]),
            Change::Same
        );
        let wide = [90.0, 110.0, 100.0];
        assert_eq!(
            change(vec![rate(&wide)], vec![rate(&[105.0, 106.0])]),
            Change::Same
        );
    }

    #[test]
    fn what_is_counted_needs_one_sample() {
        let bytes = |count: f64| {
            vec![
                Point::new("scaling", "state bytes", "Mamba-2", "bytes", Better::Lower)
                    .samples(vec![count]),
            ]
        };
        assert_eq!(change(bytes(100.0), bytes(90.0)), Change::Better);
        assert_eq!(change(bytes(100.0), bytes(100.0)), Change::Same);
    }

    #[test]
    fn one_sided_and_empty_runs() {
        let a = run("a", vec![rate(&[1.0, 2.0])]);
        let empty = Run::default();
        let comparison = compare(&a, &empty);
        assert_eq!((comparison.only_a, comparison.only_b), (1, 0));
        assert!(comparison.to_string().contains("nothing measured"));
        assert!(compare(&empty, &empty).rows.is_empty());
    }

    #[test]
    fn prints_a_table_without_control_characters() {
        let mut point = rate(&[1.0, 2.0, 3.0]);
        point.series = "evil\u{1b}[31m".into();
        let a = run("a", vec![point]);
        let text = compare(&a, &a).to_string();
        assert!(!text.contains('\u{1b}'));
        assert!(text.contains("1 figures on both sides: 0 better, 0 worse, 1 not"));
    }
}
