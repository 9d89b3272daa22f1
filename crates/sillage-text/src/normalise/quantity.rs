//! Plain numbers, ordinals, years, decades, fractions, ranges, and numbers with units.

use super::{
    Reading, money,
    number::{Number, number},
    numbers::{cardinal, each, ordinal, part, plural, year},
    units::unit,
};
use crate::Accent;

pub(crate) fn read(reading: &mut Reading<'_>) -> usize {
    let core = reading.ahead(0);
    if !core.starts_with(|c: char| c.is_ascii_digit() || "-−+±~≈.–½¼¾⅓⅔⅛⅜⅝⅞⅕⅖⅗⅘'".contains(c))
    {
        return vulgar(reading, core).unwrap_or(0);
    }
    const FORMS: &[fn(&mut Reading<'_>, &str) -> Option<usize>] = &[
        decade, vulgar, fraction, feet, range, ratio, dotted, dimensions, scientific, plain,
    ];
    FORMS
        .iter()
        .find_map(|form| form(reading, core))
        .unwrap_or(0)
}

/// Whether a number of four digits stands for a year.
fn is_year(reading: &Reading<'_>, amount: &Number<'_>) -> bool {
    if amount.grouped || amount.pointed || amount.sign.is_some() || amount.whole.len() != 4 {
        return false;
    }
    let next = reading.ahead(1);
    let counted = next.len() > 3
        && next.ends_with('s')
        && !next.ends_with("ss")
        && !next.ends_with("us")
        && next.chars().all(char::is_lowercase)
        && !matches!(next, "this" | "does" | "series");
    let dated = matches!(
        reading.behind().to_lowercase().as_str(),
        "in" | "since"
            | "by"
            | "until"
            | "till"
            | "from"
            | "year"
            | "before"
            | "after"
            | "during"
            | "circa"
            | "early"
            | "late"
    );
    let years = if dated { 1010..2200 } else { 1100..2100 };
    !counted && amount.value().is_some_and(|value| years.contains(&value))
}

/// The words of a number, which may be a year.
fn words_of(reading: &Reading<'_>, amount: &Number<'_>) -> String {
    match amount.value() {
        Some(value) if is_year(reading, amount) => year(value, reading.accent),
        _ => amount.words(reading.accent),
    }
}

/// *1990s*, *'90s*, *20s*, *1800's*.
fn decade(reading: &mut Reading<'_>, core: &str) -> Option<usize> {
    let stem = core.trim_start_matches('\'').strip_suffix('s')?;
    let stem = stem.strip_suffix('\'').unwrap_or(stem);
    if !(stem.len() == 2 || stem.len() == 4) || !stem.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u32 = stem.parse().ok()?;
    let words = if stem.len() == 4 {
        year(value, reading.accent)
    } else {
        cardinal(stem, reading.accent)
    };
    reading.count(&plural(&words), 0);
    Some(1)
}

const VULGAR: &[(char, u32, u32)] = &[
    ('½', 1, 2),
    ('¼', 1, 4),
    ('¾', 3, 4),
    ('⅓', 1, 3),
    ('⅔', 2, 3),
    ('⅛', 1, 8),
    ('⅜', 3, 8),
    ('⅝', 5, 8),
    ('⅞', 7, 8),
    ('⅕', 1, 5),
    ('⅖', 2, 5),
    ('⅗', 3, 5),
    ('⅘', 4, 5),
    ('⅙', 1, 6),
    ('⅚', 5, 6),
];

/// *½*, *2½*, *2¾ km*.
fn vulgar(reading: &mut Reading<'_>, core: &str) -> Option<usize> {
    let at = core.find(|c| VULGAR.iter().any(|(sign, ..)| *sign == c))?;
    let sign = core[at..].chars().next()?;
    let (_, top, bottom) = VULGAR.iter().find(|(known, ..)| *known == sign)?;
    let head = &core[..at];
    let rest = &core[at + sign.len_utf8()..];
    if !head.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    say_fraction(reading, head, *top, *bottom, 0)?;
    measured(reading, rest, false, 1, !head.is_empty())
}

/// *Two and a half*, *three quarters*.
fn say_fraction(
    reading: &mut Reading<'_>,
    whole: &str,
    top: u32,
    bottom: u32,
    ahead: usize,
) -> Option<()> {
    let accent = reading.accent;
    let name = part(bottom, top != 1, accent)?;
    if whole.is_empty() {
        reading.count(&cardinal(&top.to_string(), accent), ahead);
    } else {
        reading.count(&cardinal(whole, accent), 0);
        reading.say("and", ahead);
        if top == 1 {
            reading.say("a", ahead);
        } else {
            reading.count(&cardinal(&top.to_string(), accent), ahead);
        }
    }
    reading.count(&name, ahead);
    Some(())
}

fn over(text: &str) -> Option<(u32, u32)> {
    let (top, bottom) = text.split_once('/')?;
    let plain =
        |text: &str| (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !plain(top) || !plain(bottom) {
        None
    } else {
        Some((top.parse().ok()?, bottom.parse().ok()?))
    }
}

/// *1/2*, *3/4*, *2 1/2*, *24/7*.
fn fraction(reading: &mut Reading<'_>, core: &str) -> Option<usize> {
    if let Some((top, bottom)) = over(core) {
        let accent = reading.accent;
        let special = matches!(
            (top, bottom),
            (24, 7) | (9, 11) | (7, 7) | (50, 50) | (20, 20)
        );
        let dated = matches!(
            reading.behind(),
            "on" | "by" | "until" | "since" | "from" | "before" | "after" | "On" | "By"
        );
        let named = part(bottom, false, accent).is_some();
        if !special && (dated || !named) && super::dates::say_month_and_day(reading, top, bottom) {
            return Some(1);
        }
        if !special && top < bottom && say_fraction(reading, "", top, bottom, 0).is_some() {
            return Some(1);
        }
        let words = |value: u32| cardinal(&value.to_string(), accent);
        reading.count(&words(top), 0);
        if !special {
            reading.say("over", 0);
        }
        reading.count(&words(bottom), 0);
        return Some(1);
    }
    let whole = core.bytes().all(|b| b.is_ascii_digit()) && core.len() < 5;
    let (top, bottom) =
        over(reading.ahead(1)).filter(|(top, bottom)| whole && top < bottom && *bottom < 65)?;
    say_fraction(reading, core, top, bottom, 1)?;
    let rest = reading.ahead(2);
    if rest.is_empty() {
        return Some(2);
    }
    Some(2)
}

/// *5'10"*, *6'*.
fn feet(reading: &mut Reading<'_>, core: &str) -> Option<usize> {
    let (feet, inches) = core.split_once('\'')?;
    let digits =
        |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let inches = inches.trim_end_matches(['"', '\'']);
    if !digits(feet) || !digits(inches) {
        return None;
    }
    reading.count(&cardinal(feet, reading.accent), 0);
    reading.say(if feet == "1" { "foot" } else { "feet" }, 0);
    reading.count(&cardinal(inches, reading.accent), 0);
    Some(1)
}

/// *10-20*, *1990–1995*, *5-7 km*, *10–20%*.
fn range(reading: &mut Reading<'_>, core: &str) -> Option<usize> {
    let (first, rest) = number(core).filter(|(first, _)| first.sign != Some('–'))?;
    let (first_unit, rest) = rest.split_at(rest.find(['-', '–', '−'])?);
    let after = rest.strip_prefix(['-', '–', '−'])?;
    let (second, tail) = number(after).filter(|(second, _)| second.sign.is_none())?;
    let same_unit = first_unit.is_empty() || first_unit == tail;
    if !same_unit || tail.starts_with(['-', '–', '.', '/']) {
        return None;
    }
    let ordinal_tail = ["st", "nd", "rd", "th"].contains(&tail);
    let accent = reading.accent;
    let (from, to) = if ordinal_tail {
        (
            ordinal(&first.whole, accent),
            ordinal(&second.whole, accent),
        )
    } else if is_year(reading, &first) && second.is_whole() && second.whole.len() == 2 {
        (words_of(reading, &first), cardinal(&second.whole, accent))
    } else {
        (words_of(reading, &first), words_of(reading, &second))
    };
    reading.count(&from, 0);
    reading.say("to", 0);
    reading.count(&to, 0);
    measured(
        reading,
        if ordinal_tail { "" } else { tail },
        false,
        1,
        true,
    )
}

/// *16:9*, *10:1*.
fn ratio(reading: &mut Reading<'_>, core: &str) -> Option<usize> {
    let (first, second) = core.split_once(':')?;
    let digits =
        |text: &str| (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) || !digits(second) {
        return None;
    }
    let accent = reading.accent;
    reading.count(&cardinal(first, accent), 0);
    reading.say("to", 0);
    reading.count(&cardinal(second, accent), 0);
    Some(1)
}

/// *1.2.3*, *192.168.0.1*.
fn dotted(reading: &mut Reading<'_>, core: &str) -> Option<usize> {
    let parts: Vec<&str> = core.split('.').collect();
    if parts.len() < 3
        || !parts
            .iter()
            .all(|part| (1..=9).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()))
    {
        return None;
    }
    let joint = if parts.len() == 4 { "dot" } else { "point" };
    say_dotted(reading, &parts, joint);
    Some(1)
}

/// The numbers of a version or an address.
pub(crate) fn say_dotted(reading: &mut Reading<'_>, parts: &[&str], joint: &str) {
    let accent = reading.accent;
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            reading.say(joint, 0);
        }
        let words = match part.len() {
            3 if joint == "dot" => address_part(part, accent),
            _ if part.len() > 1 && part.starts_with('0') => each(part),
            _ => cardinal(part, accent),
        };
        reading.count(&words, 0);
    }
}

/// *One ninety two*, *two fifty five*, *one oh four*.
fn address_part(part: &str, accent: Accent) -> String {
    let (first, rest) = part.split_at(1);
    match rest.as_bytes() {
        [b'0', b'0'] => cardinal(part, accent),
        [b'0', _] => format!("{} oh {}", each(first), each(&rest[1..])),
        _ => format!("{} {}", each(first), cardinal(rest, accent)),
    }
}

/// *1920x1080*, *3×4*, *3x*.
fn dimensions(reading: &mut Reading<'_>, core: &str) -> Option<usize> {
    let (first, rest) = number(core).filter(|(first, _)| first.sign.is_none())?;
    let rest = rest.strip_prefix(['x', '×'])?;
    let accent = reading.accent;
    if rest.is_empty() {
        reading.count(&first.words(accent), 0);
        reading.say("times", 0);
        return Some(1);
    }
    let pixels = |n: &Number<'_>| match n.value() {
        Some(value) if n.whole.len() == 4 && value % 100 != 0 => {
            format!(
                "{} {}",
                cardinal(&n.whole[..2], accent),
                if &n.whole[2..3] == "0" {
                    format!("oh {}", each(&n.whole[3..]))
                } else {
                    cardinal(&n.whole[2..], accent)
                }
            )
        }
        _ => n.words(accent),
    };
    let mut parts = vec![pixels(&first)];
    let mut rest = rest;
    loop {
        let (next, tail) = number(rest).filter(|(next, _)| next.sign.is_none())?;
        parts.push(pixels(&next));
        match tail.strip_prefix(['x', '×']) {
            Some(more) => rest = more,
            None => {
                reading.count(&parts.join(" by "), 0);
                return measured(reading, tail, false, 1, true);
            }
        }
    }
}

/// *6.02e23*, *1e-3*, *10²³* is left to the symbols.
fn scientific(reading: &mut Reading<'_>, core: &str) -> Option<usize> {
    let (base, rest) = number(core)?;
    let power = rest.strip_prefix(['e', 'E'])?;
    let (power, tail) =
        number(power).filter(|(power, tail)| power.is_whole() && tail.is_empty())?;
    let _ = tail;
    let accent = reading.accent;
    reading.count(&base.words(accent), 0);
    reading.say("times", 0);
    reading.count("ten", 0);
    reading.say("to the", 0);
    reading.count(&power.words(accent), 0);
    Some(1)
}

/// A number alone, with an ending, a unit or the words that it is joined to.
fn plain(reading: &mut Reading<'_>, core: &str) -> Option<usize> {
    let (amount, rest) = number(core)?;
    let accent = reading.accent;
    let lower = rest.to_ascii_lowercase();
    if ["st", "nd", "rd", "th"].contains(&lower.as_str()) && amount.is_whole() {
        reading.count(amount.sign_words(), 0);
        reading.count(&ordinal(&amount.whole, accent), 0);
        return Some(1);
    }
    if let Some(power) = superscript(rest) {
        reading.count(&amount.words(accent), 0);
        say_power(reading, &power);
        return Some(1);
    }
    if let Some(joined) = rest
        .strip_prefix('-')
        .filter(|joined| joined.starts_with(|c: char| c.is_ascii_alphabetic()))
    {
        reading.count(&amount.words(accent), 0);
        return say_joined(reading, joined);
    }
    let digits_only = rest.is_empty();
    let telephone = amount.whole == "911" || amount.whole == "999";
    if digits_only
        && telephone
        && matches!(
            reading.behind(),
            "call" | "called" | "dial" | "dialled" | "dialed" | "Call" | "Dial"
        )
    {
        reading.count(&each(&amount.whole), 0);
        return Some(1);
    }
    let words = match amount.whole.len() {
        3 if digits_only && amount.is_whole() && is_numbered(reading.behind()) => {
            address_part(&amount.whole, accent)
        }
        _ if digits_only => words_of(reading, &amount),
        _ => amount.words(accent),
    };
    if let Some(scale) = money::magnitude(rest)
        .filter(|_| !reading.ahead(1).starts_with(char::is_uppercase))
        .filter(|_| rest.len() == 1 && matches!(rest, "M" | "B") || rest == "bn" || rest == "mn")
    {
        reading.count(&format!("{words} {scale}"), 0);
        return Some(1);
    }
    reading.count(&words, 0);
    let single = amount.is_one() || is_adjective(reading, usize::from(rest.is_empty()) + 1);
    measured(reading, rest, single, 1, true)
}

/// Things whose numbers are said in groups: *Room one oh one*, *Flight three seventy*.
fn is_numbered(before: &str) -> bool {
    const NUMBERED: &[&str] = &[
        "Boeing",
        "Flight",
        "Route",
        "Highway",
        "Interstate",
        "Room",
        "Airbus",
        "Channel",
        "Extension",
        "Bus",
    ];
    NUMBERED.contains(&before)
}

/// *A 12 V battery*: a measure before the thing that has it, `ahead` of this chunk.
fn is_adjective(reading: &Reading<'_>, ahead: usize) -> bool {
    const OTHERS: &[&str] = &[
        "a", "an", "the", "per", "for", "to", "in", "and", "or", "on", "at", "is", "of", "was",
        "from", "long", "wide", "high", "tall", "deep", "away", "old", "ago", "by", "with", "will",
        "are", "were", "has", "had", "each", "more", "less", "than", "as", "into",
    ];
    let next = reading.ahead(ahead);
    matches!(reading.behind(), "a" | "an" | "A" | "An")
        && next.starts_with(char::is_lowercase)
        && !OTHERS.contains(&next)
}

/// The words of a compound that starts with a number: *5-year-old*, *3-D*.
fn say_joined(reading: &mut Reading<'_>, joined: &str) -> Option<usize> {
    for part in joined.split('-').filter(|part| !part.is_empty()) {
        if let Some(words) = unit(part, true, true, reading.accent)
            .filter(|_| part.len() > 1 && !matches!(part, "in" | "mo"))
        {
            reading.say(&words, 0);
        } else {
            super::words::say_part(reading, part);
        }
    }
    Some(1)
}

/// What follows a number: nothing, a unit here or in the next chunk, a percent sign.
fn measured(
    reading: &mut Reading<'_>,
    rest: &str,
    one: bool,
    used: usize,
    plain: bool,
) -> Option<usize> {
    let accent = reading.accent;
    if rest.is_empty() {
        let next = reading.ahead(used);
        let after = reading.ahead(used + 1);
        let degrees = matches!(next, "°" | "º")
            .then_some(after)
            .filter(|a| matches!(*a, "C" | "F"));
        if let Some(scale) = degrees {
            let words = unit(&format!("°{scale}"), true, one, accent)?;
            reading.say(&words, used);
            return Some(used + 2);
        }
        if !plain {
            return Some(used);
        }
        let stopped = reading
            .chunks
            .get(reading.at() + used)
            .is_some_and(|chunk| chunk.trail == ".");
        let inside = stopped && reading.at() + used + 1 < reading.chunks.len();
        if let Some(words) =
            unit(next, inside, one, accent).filter(|_| !is_name_of_quantity(next, after))
        {
            reading.say(&words, used);
            return Some(used + 1);
        }
        if next == "sq"
            && let Some(words) = unit(after, true, one, accent)
        {
            reading.say("square", used);
            reading.say(&words, used + 1);
            return Some(used + 2);
        }
        return Some(used);
    }
    if let Some(words) = unit(rest, true, one, accent) {
        reading.say(&words, used - 1);
        return Some(used);
    }
    if rest == "+" {
        reading.say("plus", used - 1);
        return Some(used);
    }
    if let Some(stem) = rest.strip_prefix('%') {
        reading.say("percent", used - 1);
        return (stem.is_empty() || stem == "+").then_some(used);
    }
    None
}

/// Letters that are more likely a name than a unit: *Type 2 A*, *5 m* before a capital.
fn is_name_of_quantity(sign: &str, after: &str) -> bool {
    matches!(sign, "s" | "g" | "m" | "l" | "min") && after.starts_with('.') || matches!(sign, "a")
}

/// The number that superscript digits stand for.
pub(crate) fn superscript(text: &str) -> Option<String> {
    let digit = |c: char| match c {
        '⁰' => Some('0'),
        '¹' => Some('1'),
        '²' => Some('2'),
        '³' => Some('3'),
        '⁴'..='⁹' => char::from_u32(u32::from(c) - 0x2074 + 0x34),
        _ => None,
    };
    let body = text
        .strip_prefix('^')
        .filter(|body| body.bytes().all(|b| b.is_ascii_digit()) && body.len() < 5);
    match body {
        Some(body) if !body.is_empty() => Some(body.to_owned()),
        _ if text.is_empty() => None,
        _ => text.chars().map(digit).collect(),
    }
}

/// *Squared*, *cubed*, *to the power of five*.
pub(crate) fn say_power(reading: &mut Reading<'_>, power: &str) {
    match power {
        "2" => reading.say("squared", 0),
        "3" => reading.say("cubed", 0),
        _ => {
            let words = cardinal(power, reading.accent);
            reading.say("to the power of", 0);
            reading.count(&words, 0);
        }
    }
}
