//! Numbers as people read them: three digits, thousands apart, units that fit.

use crate::claims::Estimate;

/// Digits that are shown.
const DIGITS: i32 = 3;

/// Three significant digits, thousands set apart, powers of ten where a number
/// would be long: `3.12`, `65,500`, `1.2e-5`.
pub(crate) fn figure(value: f64) -> String {
    if !value.is_finite() {
        return "not a number".into();
    }
    if value == 0.0 {
        return "0".into();
    }
    let size = value.abs();
    if !(1e-4..1e15).contains(&size) {
        return format!("{value:.1e}");
    }
    fixed(value, places(value))
}

/// Digits after the point that leave three in all.
fn places(value: f64) -> usize {
    if value == 0.0 || !value.is_finite() {
        return 0;
    }
    // What rounds up to a power of ten counts as that: 0.9999 is 1.00.
    let whole = (value.abs() * 1.0005).log10().floor() as i32 + 1;
    (DIGITS - whole).clamp(0, 6) as usize
}

fn fixed(value: f64, places: usize) -> String {
    match places {
        0 => thousands(value.round()),
        places => format!("{value:.places$}").replace('-', "\u{2212}"),
    }
}

/// A whole number with its thousands set apart.
pub(crate) fn thousands(value: f64) -> String {
    let plain = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (place, digit) in plain.chars().enumerate() {
        if place > 0 && (plain.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 && text != "0" {
        text.insert(0, '\u{2212}');
    }
    text
}

/// As a tick: powers of two as 256, 1K, 64K, 1M; others in three digits.
pub(crate) fn tick(value: f64) -> String {
    for (unit, name) in [(1_048_576.0, "M"), (1024.0, "K")] {
        if value >= unit && (value / unit).fract() == 0.0 {
            return format!("{}{name}", thousands(value / unit));
        }
    }
    short(value)
}

/// As short as can be: 10, 0.5, 20k, 3M.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e15).contains(&size) {
        return format!("{value:e}");
    }
    for (unit, name) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "")] {
        if size >= unit {
            let (value, name) = if unit == 1e4 {
                (value / 1e3, "k")
            } else {
                (value / unit, name)
            };
            return format!("{}{name}", trimmed(value));
        }
    }
    trimmed(value)
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

/// A unit in which a value of another reads well, and what to multiply with.
fn fitting(value: f64, unit: &str) -> (f64, String) {
    let size = value.abs();
    let steps: &[(f64, &str)] = match unit {
        "bytes" | "B" => &[
            (1_073_741_824.0, "GiB"),
            (1_048_576.0, "MiB"),
            (1024.0, "KiB"),
            (0.0, "bytes"),
        ],
        "s" | "seconds" => &[(600.0, "min"), (1.0, "s"), (1e-3, "ms"), (0.0, "\u{b5}s")],
        "J" => &[(1000.0, "kJ"), (1.0, "J"), (1e-3, "mJ"), (0.0, "\u{b5}J")],
        "FLOP" | "FLOPs" => &[
            (1e12, "TFLOP"),
            (1e9, "GFLOP"),
            (1e6, "MFLOP"),
            (0.0, "FLOP"),
        ],
        _ => return (1.0, unit.into()),
    };
    let step = steps.iter().find(|(least, _)| size >= *least);
    let (least, name) = *step.unwrap_or(&(0.0, unit));
    let times = match name {
        "min" => 1.0 / 60.0,
        "\u{b5}s" | "\u{b5}J" => 1e6,
        "bytes" | "FLOP" => 1.0,
        _ => 1.0 / least,
    };
    (times, name.into())
}

/// Whether a unit says that a value is a part of one.
fn is_share(unit: &str) -> bool {
    matches!(
        unit,
        "" | "1" | "share" | "fraction" | "accuracy" | "relative difference" | "of the figure"
    )
}

/// A value with its unit.
pub(crate) fn quantity(value: f64, unit: &str) -> String {
    if is_share(unit) {
        return share(value);
    }
    let (times, name) = fitting(value, unit);
    join(figure(value * times), &name)
}

fn share(value: f64) -> String {
    format!("{}\u{202f}%", percent(value))
}

fn percent(value: f64) -> String {
    let text = format!("{:.1}", value * 100.0);
    let text = text.strip_suffix(".0").unwrap_or(&text);
    match text.strip_prefix('-') {
        Some("0") => "0".into(),
        Some(rest) => format!("\u{2212}{rest}"),
        None => text.into(),
    }
}

fn join(figure: String, unit: &str) -> String {
    match unit {
        "%" => format!("{figure}\u{202f}%"),
        _ => format!("{figure} {unit}"),
    }
}

/// A value with its interval and unit: `3.12 s (2.9 to 3.3)`; without one where
/// there is one sample only or all are the same.
pub(crate) fn estimate(value: &Estimate, unit: &str) -> String {
    let shown = quantity(value.value, unit);
    if value.n < 2 || value.low == value.high {
        return shown;
    }
    if is_share(unit) {
        let tenth = |part: f64| fixed((part * 1000.0).round() / 10.0, 1);
        let all = [value.value, value.low, value.high].map(tenth);
        let bare = all.iter().all(|one| one.ends_with(".0"));
        let [value, low, high] = all.map(|one| match one.strip_suffix(".0") {
            Some(whole) if bare => whole.to_string(),
            _ => one,
        });
        return format!("{value}\u{202f}% ({low} to {high})");
    }
    // The ends have the digits of the value.
    let (times, _) = fitting(value.value, unit);
    let of = value.value * times;
    if of != 0.0 && !(1e-4..1e15).contains(&of.abs()) {
        return format!(
            "{shown} ({} to {})",
            figure(value.low * times),
            figure(value.high * times)
        );
    }
    let end = |end: f64| fixed(end * times, places(of));
    format!("{shown} ({} to {})", end(value.low), end(value.high))
}

/// A value and the ends of its interval with two digits more than elsewhere,
/// all in the unit that fits the value: for tables of raw figures.
pub(crate) fn exactly(value: &Estimate, unit: &str) -> (String, Option<(String, String)>) {
    let (times, name) = if is_share(unit) {
        (100.0, "%".into())
    } else {
        fitting(value.value, unit)
    };
    let of = value.value * times;
    let long = of != 0.0 && !(1e-3..1e12).contains(&of.abs());
    let shown = |one: f64| {
        if long {
            format!("{one:.4e}")
        } else {
            fixed(one, places(of) + 2)
        }
    };
    let ends = (value.n > 1 && value.low != value.high)
        .then(|| (shown(value.low * times), shown(value.high * times)));
    (join(shown(of), &name), ends)
}

/// A value as a tick of an axis of values.
pub(crate) fn on_axis(value: f64, unit: &str) -> String {
    if is_share(unit) {
        return share(value);
    }
    match unit {
        _ if value == 0.0 => "0".into(),
        "s" | "seconds" if value >= 1.0 => format!("{} s", short(value)),
        _ if has_steps(unit) => {
            let (times, name) = fitting(value, unit);
            format!("{} {name}", trimmed(value * times))
        }
        _ => short(value),
    }
}

/// Whether the values of a unit are shown in larger and smaller ones too, so
/// that each tick names its own.
pub(crate) fn has_steps(unit: &str) -> bool {
    matches!(
        unit,
        "s" | "seconds" | "J" | "FLOP" | "FLOPs" | "bytes" | "B"
    )
}

/// The first letter as a capital.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        for (value, text) in [
            (3.123, "3.12"),
            (31.23, "31.2"),
            (312.3, "312"),
            (65_536.0, "65,536"),
            (0.0123, "0.0123"),
            (0.9999, "1.00"),
            (0.0, "0"),
            (1e-6, "1.0e-6"),
            (-1234.0, "\u{2212}1,234"),
            (f64::NAN, "not a number"),
        ] {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn ticks() {
        for (value, text) in [
            (256.0, "256"),
            (1024.0, "1K"),
            (65_536.0, "64K"),
            (1_048_576.0, "1M"),
            (1000.0, "1000"),
            (20_000.0, "20k"),
            (0.5, "0.5"),
        ] {
            assert_eq!(tick(value), text);
        }
    }

    #[test]
    fn quantities() {
        assert_eq!(quantity(0.0123, "s"), "12.3 ms");
        assert_eq!(quantity(3.0 * 1_048_576.0, "bytes"), "3.00 MiB");
        assert_eq!(quantity(0.875, ""), "87.5\u{202f}%");
        assert_eq!(quantity(12.0, "tokens/s"), "12.0 tokens/s");
        assert_eq!(quantity(900.0, "s"), "15.0 min");
        let value = Estimate {
            value: 3.1,
            low: 2.9,
            high: 3.3,
            n: 5,
        };
        assert_eq!(estimate(&value, "times"), "3.10 times (2.90 to 3.30)");
        let share = Estimate {
            value: 0.177,
            low: 0.17,
            high: 0.184,
            n: 3,
        };
        assert_eq!(estimate(&share, ""), "17.7\u{202f}% (17.0 to 18.4)");
        let ends = Some(("17.000".into(), "18.400".into()));
        assert_eq!(exactly(&share, ""), ("17.700\u{202f}%".into(), ends));
        assert_eq!(on_axis(1000.0, "s"), "1000 s");
        assert_eq!(on_axis(0.0, "s"), "0");
    }
}
