//! What a picture shows, and how values become places on it.

use super::numbers;
use crate::claims::Estimate;

/// How an axis is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Doubling by doubling: lengths, sizes of states, bytes.
    Log2,
    /// By tens.
    Log10,
    /// Evenly.
    Linear,
}

impl Scale {
    fn is_log(self) -> bool {
        self != Self::Linear
    }
}

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    /// What stands at it: `tokens read`.
    pub(crate) label: String,
    /// Of its values.
    pub(crate) unit: String,
    pub(crate) scale: Scale,
    /// Values that are in view whatever the data.
    pub(crate) show: Vec<f64>,
}

/// A measured value, or why there is none.
pub(crate) type Measured = Result<Estimate, String>;

/// A value on a line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dot {
    pub(crate) x: f64,
    pub(crate) y: Measured,
}

/// A series, rising in `x`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) dots: Vec<Dot>,
}

/// What a picture's values stand over.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    /// Values by a number.
    Lines {
        x: Axis,
        lines: Vec<Line>,
        /// Upright rules with their words: the trained length, a crossover.
        rules: Vec<(f64, String)>,
    },
    /// Values by a name; each line's dots stand at the number of their group.
    Bars {
        groups: Vec<String>,
        lines: Vec<Line>,
    },
}

/// A picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chart {
    /// Unique in the page.
    pub(crate) id: String,
    pub(crate) title: String,
    /// Settings that are fixed.
    pub(crate) note: String,
    pub(crate) y: Axis,
    pub(crate) body: Body,
}

impl Chart {
    pub(crate) fn lines(&self) -> &[Line] {
        match &self.body {
            Body::Lines { lines, .. } | Body::Bars { lines, .. } => lines,
        }
    }

    /// Every missing value: series, place and reason.
    pub(crate) fn missing(&self) -> Vec<(String, String, String)> {
        let mut all = Vec::new();
        for line in self.lines() {
            for dot in &line.dots {
                if let Err(reason) = &dot.y {
                    all.push((line.name.clone(), self.place(dot.x), reason.clone()));
                }
            }
        }
        all
    }

    /// A position in words.
    pub(crate) fn place(&self, x: f64) -> String {
        match &self.body {
            Body::Lines { x: axis, .. } if axis.unit.is_empty() => {
                format!("{} {}", axis.label, numbers::figure(x))
            }
            Body::Lines { x: axis, .. } if x.fract() == 0.0 => {
                format!("{} {}", numbers::thousands(x), axis.unit)
            }
            Body::Lines { x: axis, .. } => format!("{} {}", numbers::figure(x), axis.unit),
            Body::Bars { groups, .. } => groups.get(x as usize).cloned().unwrap_or_default(),
        }
    }

    /// The picture in words, for those who do not see it.
    pub(crate) fn described(&self) -> String {
        let mut words = vec![format!("{}.", self.title)];
        for line in self.lines() {
            let measured: Vec<_> = line
                .dots
                .iter()
                .filter_map(|dot| Some((dot.x, dot.y.as_ref().ok()?)))
                .collect();
            let missing = line.dots.len() - measured.len();
            let mut text = match (measured.first(), measured.last()) {
                (Some((from, first)), Some((to, last))) if from != to => format!(
                    "{}: {} at {}, {} at {}",
                    line.name,
                    numbers::quantity(first.value, &self.y.unit),
                    self.place(*from),
                    numbers::quantity(last.value, &self.y.unit),
                    self.place(*to)
                ),
                (Some((at, only)), _) => format!(
                    "{}: {} at {}",
                    line.name,
                    numbers::quantity(only.value, &self.y.unit),
                    self.place(*at)
                ),
                _ => format!("{}: nothing measured", line.name),
            };
            if missing > 0 {
                text.push_str(&format!(", {missing} missing"));
            }
            words.push(format!("{text}."));
        }
        words.join(" ")
    }
}

/// A range of values on an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Range {
    low: f64,
    high: f64,
    scale: Scale,
}

impl Range {
    /// That holds all values with some room; on a logarithmic axis those above
    /// 0. Something to draw on even where there is nothing.
    pub(crate) fn holding(values: impl Iterator<Item = f64>, scale: Scale, room: f64) -> Self {
        // Beyond these even the room about a value would have no number.
        let (least, most) = if scale.is_log() {
            (1e-290, 1e290)
        } else {
            (-1e290, 1e290)
        };
        let fits = |value: &f64| (least..=most).contains(value);
        let mut ends: Option<(f64, f64)> = None;
        for value in values.filter(fits) {
            let (low, high) = ends.unwrap_or((value, value));
            ends = Some((low.min(value), high.max(value)));
        }
        let (low, high) = ends.unwrap_or(if scale.is_log() {
            (1.0, 10.0)
        } else {
            (0.0, 1.0)
        });
        if scale.is_log() {
            let least = if scale == Scale::Log2 { 1.0 } else { 0.7 };
            let (mut from, mut to) = (low.log2(), high.log2());
            if to - from < least {
                let add = (least - (to - from)) / 2.0;
                (from, to) = (from - add, to + add);
            }
            let pad = room * (to - from);
            return Self {
                low: (from - pad).exp2(),
                high: (to + pad).exp2(),
                scale,
            };
        }
        let span = if high > low {
            high - low
        } else {
            high.abs().max(1.0) * 0.2
        };
        let pad = if high > low { room } else { 0.5 } * span;
        // Room never takes an axis of positive values below 0.
        let from = if low >= 0.0 {
            (low - pad).max(0.0)
        } else {
            low - pad
        };
        Self {
            low: from,
            high: high + pad,
            scale,
        }
    }

    /// Of exactly these ends.
    pub(crate) fn exactly(low: f64, high: f64) -> Self {
        Self {
            low,
            high: if high > low { high } else { low + 1.0 },
            scale: Scale::Linear,
        }
    }

    /// The high end.
    pub(crate) fn high(&self) -> f64 {
        self.high
    }

    /// The part of the way from the low to the high end.
    pub(crate) fn part(&self, value: f64) -> Option<f64> {
        let part = if self.scale.is_log() {
            if value <= 0.0 {
                return None;
            }
            (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value - self.low) / (self.high - self.low)
        };
        part.is_finite().then(|| part.clamp(0.0, 1.0))
    }

    /// Round values to mark, rising, about `count` of them.
    pub(crate) fn ticks(&self, count: usize) -> Vec<f64> {
        match self.scale {
            Scale::Linear => even(self.low, self.high, count),
            Scale::Log2 => {
                let (from, to) = (
                    self.low.log2().ceil() as i64,
                    self.high.log2().floor() as i64,
                );
                if to - from < 2 {
                    return self.halves(from, to);
                }
                let steps = (0..12).map(|power| 1_i64 << power);
                let step = steps
                    .into_iter()
                    .find(|step| (to - from) / step < count as i64)
                    .unwrap_or(4096);
                // Steps that begin at a multiple, so that 1K is one of them.
                let first = from + (-from).rem_euclid(step);
                (first..=to)
                    .step_by(step as usize)
                    .map(|power| (power as f64).exp2())
                    .collect()
            }
            Scale::Log10 => self.tens(count),
        }
    }

    /// Between doublings, where a range holds few of them.
    fn halves(&self, from: i64, to: i64) -> Vec<f64> {
        let within = |value: &f64| (self.low * 0.999..=self.high * 1.001).contains(value);
        let of = |parts: &'static [f64]| -> Vec<f64> {
            (from - 1..=to)
                .flat_map(|power| parts.iter().map(move |part| part * (power as f64).exp2()))
                .filter(within)
                .collect()
        };
        let coarse = of(&[1.0, 1.5]);
        if coarse.len() > 2 {
            return coarse;
        }
        of(&[1.0, 1.25, 1.5, 1.75])
    }

    fn tens(&self, count: usize) -> Vec<f64> {
        let (from, to) = (
            self.low.log10().floor() as i32,
            self.high.log10().ceil() as i32,
        );
        let within = |value: &f64| *value >= self.low * 0.999 && *value <= self.high * 1.001;
        for parts in [&[1.0, 2.0, 5.0][..], &[1.0][..]] {
            let ticks: Vec<f64> = (from..=to)
                .flat_map(|power| parts.iter().map(move |part| part * 10f64.powi(power)))
                .filter(within)
                .collect();
            if ticks.len() < 3 {
                return even(self.low, self.high, count);
            }
            if ticks.len() <= count + 1 {
                return ticks;
            }
        }
        let step = ((to - from) as usize).div_ceil(count).max(1);
        (from..=to)
            .step_by(step)
            .map(|power| 10f64.powi(power))
            .filter(within)
            .collect()
    }
}

/// Round, evenly spaced values.
fn even(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = (high - low) / count.max(1) as f64;
    if !(rough.is_finite() && rough > 0.0) {
        return vec![low];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|part| part * power)
        .find(|step| *step >= rough * 0.9)
        .unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last.min(first + 50))
        .map(|place| place as f64 * step)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_marked_by_powers_of_two() {
        let range = Range::holding([256.0, 1_048_576.0].into_iter(), Scale::Log2, 0.02);
        let ticks: Vec<_> = range.ticks(7).into_iter().map(numbers::tick).collect();
        assert_eq!(ticks, ["256", "1K", "4K", "16K", "64K", "256K", "1M"]);
    }

    #[test]
    fn tens_get_finer_in_a_narrow_range() {
        let ticks = |low: f64, high: f64| {
            Range::holding([low, high].into_iter(), Scale::Log10, 0.0).ticks(5)
        };
        assert_eq!(ticks(1.0, 10.0), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(ticks(1e-3, 100.0).len(), 6);
        assert!(ticks(300.0, 310.0).len() >= 2);
    }

    #[test]
    fn ranges_bear_anything() {
        for scale in [Scale::Log2, Scale::Log10, Scale::Linear] {
            for values in [
                vec![],
                vec![0.0],
                vec![5.0],
                vec![-1.0, 3.0],
                vec![f64::NAN, 1e300],
            ] {
                let range = Range::holding(values.iter().copied(), scale, 0.05);
                for tick in range.ticks(5) {
                    assert!(
                        range
                            .part(tick)
                            .is_some_and(|part| (0.0..=1.0).contains(&part))
                    );
                }
            }
        }
    }

    #[test]
    fn even_ticks() {
        assert_eq!(
            Range::exactly(0.0, 10.0).ticks(5),
            [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
        );
    }
}
