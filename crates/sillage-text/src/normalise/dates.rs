//! Dates and times of day.

use super::{
    Kind, Reading,
    abbreviations::{month, month_name},
    numbers::{cardinal, ordinal, year},
};
use crate::Accent;

pub(crate) fn read(reading: &mut Reading<'_>) -> usize {
    numeric(reading)
        .or_else(|| month_day(reading))
        .or_else(|| day_month(reading))
        .or_else(|| time(reading))
        .unwrap_or(0)
}

fn small(text: &str) -> Option<u32> {
    let plain = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// *2024-01-15*, *1/15/2024*, *15.01.2024*.
fn numeric(reading: &mut Reading<'_>) -> Option<usize> {
    let core = reading.ahead(0);
    let separator = core
        .chars()
        .find(|c| !c.is_ascii_digit())
        .filter(|c| "-/.".contains(*c))?;
    let parts: Vec<&str> = core.split(separator).collect();
    let [first, second, third] = parts[..] else {
        return None;
    };
    let (y, month, day) = if first.len() == 4 {
        (first, small(second)?, small(third)?)
    } else {
        let (a, b) = (small(first)?, small(second)?);
        let short = third.len() == 2 && separator != '.' && first.len() + second.len() > 2
            || third.len() == 2 && separator == '/';
        if third.len() != 4 && !short {
            return None;
        }
        let month_first = (reading.accent == Accent::Us && separator != '.' && a <= 12) || b > 12;
        let (month, day) = if month_first { (a, b) } else { (b, a) };
        (third, month, day)
    };
    let name = month_name(month).filter(|_| (1..=31).contains(&day))?;
    let value: u32 = y.parse().ok()?;
    let value = if y.len() == 4 {
        value
    } else {
        value + if value > 40 { 1900 } else { 2000 }
    };
    say_day(reading, day, name, (0, 0));
    reading.count(&year(value, reading.accent), 0);
    Some(1)
}

/// *January fifth* in America, *the fifth of January* in Britain. `ahead`: of the day and the month.
fn say_day(reading: &mut Reading<'_>, day: u32, name: &str, (day_at, month_at): (usize, usize)) {
    let accent = reading.accent;
    let number = ordinal(&day.to_string(), accent);
    if accent == Accent::Us && day_at >= month_at {
        reading.say(name, month_at);
        reading.count(&number, day_at);
        return;
    }
    reading.say("the", day_at);
    reading.count(&number, day_at);
    reading.say("of", day_at);
    reading.say(name, month_at);
}

/// *12/31* as a date in the accent's order, if it can be one.
pub(crate) fn say_month_and_day(reading: &mut Reading<'_>, first: u32, second: u32) -> bool {
    let (month, day) = if reading.accent == Accent::Us {
        (first, second)
    } else {
        (second, first)
    };
    let Some(name) = month_name(month).filter(|_| (1..=31).contains(&day)) else {
        return false;
    };
    say_day(reading, day, name, (0, 0));
    true
}

/// A day of the month, perhaps with its ending, and what follows it.
fn day(text: &str) -> Option<(u32, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let value = small(&text[..digits]).filter(|day| (1..=31).contains(day))?;
    let rest = &text[digits..];
    let rest = ["st", "nd", "rd", "th"]
        .iter()
        .find_map(|ending| rest.strip_prefix(ending))
        .unwrap_or(rest);
    Some((value, rest))
}

fn is_month(word: &str) -> Option<&'static str> {
    let capital = word.starts_with(char::is_uppercase);
    let at = month(word).filter(|_| capital)?;
    month_name(u32::try_from(at + 1).ok()?)
}

/// *January 5*, *Jan. 5th*, *March 5-7*, *Jan 2024*.
fn month_day(reading: &mut Reading<'_>) -> Option<usize> {
    let name = is_month(reading.ahead(0))?;
    let next = reading.after_stop();
    let accent = reading.accent;
    let Some((number, rest)) = day(next) else {
        let is_year = next.len() == 4 && next.bytes().all(|b| b.is_ascii_digit());
        let short =
            reading.ahead(0).len() < 5 && (is_year || reading.chunk().trail.starts_with('.'));
        if short
            || reading.ahead(0).len() < name.len()
                && !matches!(reading.ahead(0), "Mar" | "Jun" | "Dec" | "Jan")
        {
            reading.say(name, 0);
            return Some(1);
        }
        return None;
    };
    let second = rest.strip_prefix(['-', '–']).and_then(day);
    if !rest.is_empty() && second.is_none_or(|(_, rest)| !rest.is_empty()) {
        return None;
    }
    reading.say(name, 0);
    if accent == Accent::Gb {
        reading.say("the", 1);
    }
    reading.count(&ordinal(&number.to_string(), accent), 1);
    if let Some((until, _)) = second {
        reading.say("to", 1);
        reading.count(&ordinal(&until.to_string(), accent), 1);
    }
    Some(2)
}

/// *5 January*, *5th Jan 2024*.
fn day_month(reading: &mut Reading<'_>) -> Option<usize> {
    let (number, rest) = day(reading.ahead(0)).filter(|(_, rest)| rest.is_empty())?;
    let _ = rest;
    let name = is_month(reading.ahead(1))?;
    let after = reading.ahead(2);
    let ambiguous = matches!(name, "May" | "March")
        && after.starts_with(char::is_lowercase)
        && reading.ahead(0).len() < 3
        && !matches!(
            reading.behind(),
            "on" | "by" | "until" | "since" | "from" | "the"
        );
    if ambiguous {
        return None;
    }
    let article = matches!(reading.behind(), "the" | "The");
    if !article {
        reading.say("the", 0);
    }
    reading.count(&ordinal(&number.to_string(), reading.accent), 0);
    reading.say("of", 0);
    reading.say(name, 1);
    Some(2)
}

/// A clock time at the start of some text: hours, minutes, seconds, what follows.
fn clock(text: &str) -> Option<(u32, u32, Option<u32>, &str)> {
    let (hours, rest) = text.split_once(':')?;
    let hours = small(hours).filter(|&h| h <= 24)?;
    let minutes = rest
        .get(..2)
        .filter(|m| m.bytes().all(|b| b.is_ascii_digit()))?;
    let minutes: u32 = minutes.parse().ok().filter(|&m| m < 60)?;
    let rest = &rest[2..];
    if let Some(seconds) = rest
        .strip_prefix(':')
        .and_then(|rest| rest.get(..2))
        .filter(|s| s.bytes().all(|b| b.is_ascii_digit()))
    {
        return Some((hours, minutes, seconds.parse().ok(), &rest[3..]));
    }
    (!rest.starts_with(|c: char| c.is_ascii_digit())).then_some((hours, minutes, None, rest))
}

/// `AM` or `PM`, if that is what this is.
fn half(text: &str) -> Option<&'static str> {
    match text.trim_end_matches('.').to_ascii_lowercase().as_str() {
        "am" | "a.m" => Some("AM"),
        "pm" | "p.m" => Some("PM"),
        _ => None,
    }
}

/// *3:45*, *3:45pm*, *10 a.m.*, *15:30-16:00*, *1:02:03*.
fn time(reading: &mut Reading<'_>) -> Option<usize> {
    let core = reading.ahead(0);
    if let Some((from, to)) = core.split_once(['-', '–']) {
        let both = |text: &str| {
            clock(text).is_some_and(|(.., rest)| rest.is_empty() || half(rest).is_some())
                || whole_hour(text).is_some()
        };
        if both(from)
            && (both(to) || small(to).is_some())
            && (from.contains(':') || to.contains(':') || whole_hour(to).is_some())
        {
            say_text(reading, from, None);
            reading.say("to", 0);
            let used = if half_of(to).is_none() {
                half(reading.ahead(1))
            } else {
                None
            };
            say_text(reading, to, used);
            return Some(if used.is_some() { 2 } else { 1 });
        }
    }
    if let Some((.., rest)) = clock(core) {
        if !rest.is_empty() && half(rest).is_none() {
            return None;
        }
        let next = if rest.is_empty() {
            half(reading.ahead(1))
        } else {
            None
        };
        say_text(reading, core, next);
        return Some(if next.is_some() { 2 } else { 1 });
    }
    if whole_hour(core).is_some() {
        say_text(reading, core, None);
        return Some(1);
    }
    small(core).filter(|&h| (1..=12).contains(&h))?;
    let next = half(reading.ahead(1)).filter(|_| {
        reading.ahead(1) != "am"
            || reading.ahead(2).is_empty()
            || !reading.ahead(2).ends_with("ing")
    })?;
    say_text(reading, core, Some(next));
    Some(2)
}

fn half_of(text: &str) -> Option<&'static str> {
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    half(&text[at..])
}

/// *10am*.
fn whole_hour(text: &str) -> Option<u32> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    half(&text[digits..])?;
    small(&text[..digits]).filter(|&h| (1..=12).contains(&h))
}

fn say_text(reading: &mut Reading<'_>, text: &str, next: Option<&str>) {
    let accent = reading.accent;
    let own = half_of(text);
    let (hours, minutes, seconds) = match clock(text) {
        Some((hours, minutes, seconds, _)) => (hours, minutes, seconds),
        None => (
            text.bytes()
                .take_while(u8::is_ascii_digit)
                .fold(0, |n, b| n * 10 + u32::from(b - b'0')),
            0,
            None,
        ),
    };
    let words = |value: u32| cardinal(&value.to_string(), accent);
    if let Some(seconds) = seconds {
        let many = |value: u32, unit: &str| {
            format!(
                "{} {unit}{}",
                words(value),
                if value == 1 { "" } else { "s" }
            )
        };
        reading.count(&many(hours, "hour"), 0);
        reading.count(&many(minutes, "minute"), 0);
        reading.say("and", 0);
        reading.count(&many(seconds, "second"), 0);
    } else {
        reading.count(&words(hours), 0);
        let twelve = own.is_some() || next.is_some();
        match minutes {
            0 if twelve || !text.contains(':') => {}
            0 if (1..=12).contains(&hours) => reading.say("o'clock", 0),
            0 => reading.count("hundred", 0),
            1..=9 => {
                reading.say("oh", 0);
                reading.count(&words(minutes), 0);
            }
            _ => reading.count(&words(minutes), 0),
        }
    }
    if let Some(half) = own {
        reading.push(Kind::Letters, half, 0);
    } else if let Some(half) = next {
        reading.push(Kind::Letters, half, 1);
    }
}
