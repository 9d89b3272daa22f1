//! Letters and digits in one: *MP3*, *COVID-19*, *A320*, *v2.3*, *H2O*, *mid-1990s*.

use super::{
    Kind, Reading,
    number::number,
    numbers::{cardinal, each, year},
    words,
};

pub(crate) fn read(reading: &mut Reading<'_>) -> usize {
    let core = reading.ahead(0);
    let digits = core.chars().any(|c| c.is_ascii_digit());
    let letters = core.chars().any(char::is_alphabetic);
    let plain = core
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '\'' | '–' | '%'));
    if !digits || !letters || !plain {
        return 0;
    }
    if let Some((from, to)) = core
        .split_once(".-")
        .filter(|(from, to)| matches!(*from, "a.m" | "p.m") && number(to).is_some())
    {
        reading.push(Kind::Letters, &from.replace('.', "").to_uppercase(), 0);
        reading.say("to", 0);
        say_digits(reading, to, false);
        return 1;
    }
    if let Some(version) = core
        .strip_prefix(['v', 'V'])
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    {
        let parts: Vec<&str> = version.split('.').collect();
        if parts.iter().all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && part.len() < 10
        }) {
            reading.say("version", 0);
            super::quantity::say_dotted(reading, &parts, "point");
            return 1;
        }
    }
    for part in core.split(['-', '–']).filter(|part| !part.is_empty()) {
        mixed(reading, part);
    }
    1
}

/// One part between hyphens: runs of letters and runs of digits in turn.
pub(crate) fn mixed(reading: &mut Reading<'_>, part: &str) {
    let mut rest = part;
    let mut after_letters = false;
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_digit() {
            let end = rest
                .find(|c: char| !(c.is_ascii_digit() || c == '.'))
                .unwrap_or(rest.len());
            let run = rest[..end].trim_end_matches('.');
            let tail = &rest[end..];
            rest = tail;
            if let Some(stem) = decade(run, tail) {
                let words = super::numbers::plural(&stem_words(reading, stem));
                reading.count(&words, 0);
                rest = tail.trim_start_matches('\'').trim_start_matches('s');
            } else if let Some(ending) = ["st", "nd", "rd", "th"]
                .iter()
                .find(|ending| tail == **ending)
            {
                let words = super::numbers::ordinal(run, reading.accent);
                reading.count(&words, 0);
                rest = &tail[ending.len()..];
            } else {
                say_digits(reading, run, after_letters);
            }
            after_letters = false;
            continue;
        }
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let run = rest[..end].trim_matches(['.', '\'', '%']);
        if !run.is_empty() {
            say_letters(reading, run);
        }
        after_letters = true;
        rest = &rest[end..];
    }
}

fn decade<'a>(run: &'a str, tail: &str) -> Option<&'a str> {
    let plural = tail == "s" || tail == "'s";
    (plural && run.ends_with('0') && (run.len() == 2 || run.len() == 4)).then_some(run)
}

fn stem_words(reading: &Reading<'_>, run: &str) -> String {
    match run.parse() {
        Ok(value) if run.len() == 4 => year(value, reading.accent),
        _ => cardinal(run, reading.accent),
    }
}

/// Digits inside a code: *A three twenty*, *twenty nineteen*, *nine one one*.
fn say_digits(reading: &mut Reading<'_>, run: &str, after_letters: bool) {
    let accent = reading.accent;
    let words = match run.len() {
        _ if run.contains('.') => number(run).map_or_else(|| each(run), |(n, _)| n.words(accent)),
        _ if run.starts_with('0') => each(run),
        1 | 2 => cardinal(run, accent),
        3 if run.ends_with("00") => cardinal(run, accent),
        3 if after_letters && &run[1..2] == "0" => {
            format!("{} oh {}", each(&run[..1]), each(&run[2..]))
        }
        3 if after_letters => format!("{} {}", each(&run[..1]), cardinal(&run[1..], accent)),
        3 => cardinal(run, accent),
        4 => run
            .parse()
            .map_or_else(|_| each(run), |value| year(value, accent)),
        _ => each(run),
    };
    reading.count(&words, 0);
}

/// Letters inside a code: a word if they look like one, else one by one.
fn say_letters(reading: &mut Reading<'_>, run: &str) {
    let upper = !run.chars().any(char::is_lowercase);
    let size = run.chars().count();
    if upper && size > 1 && !reading.shouting {
        words::capitals(reading, run);
    } else if size == 1 || (size < 4 && reading.lexicon.find(run).is_none()) {
        reading.push(Kind::Letters, &run.to_uppercase(), 0);
    } else {
        reading.say(&run.to_lowercase(), 0);
    }
}
