//! Abbreviations: what they stand for, and whether a sentence can end with them.

/// Whether a sentence ends at the full stop of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    /// An ordinary word.
    Ends,
    /// Always followed by what it belongs to: *Dr.*, *e.g.*
    GoesOn,
    /// A capital after it starts a sentence: *etc.*, *p.m.*
    Depends,
}

use Follow::{Depends, GoesOn};

/// Abbreviation without its full stop, words, what follows. Matched as written or capitalised.
const TABLE: &[(&str, &str, Follow)] = &[
    ("mr", "mister", GoesOn),
    ("mrs", "missus", GoesOn),
    ("ms", "miz", GoesOn),
    ("messrs", "messers", GoesOn),
    ("mme", "madame", GoesOn),
    ("mlle", "mademoiselle", GoesOn),
    ("dr", "doctor", Depends),
    ("prof", "professor", GoesOn),
    ("st", "street", Depends),
    ("ste", "suite", GoesOn),
    ("mt", "mount", GoesOn),
    ("ft", "fort", Depends),
    ("gen", "general", GoesOn),
    ("gov", "governor", GoesOn),
    ("sen", "senator", GoesOn),
    ("rep", "representative", GoesOn),
    ("capt", "captain", GoesOn),
    ("cpt", "captain", GoesOn),
    ("lt", "lieutenant", GoesOn),
    ("col", "colonel", GoesOn),
    ("sgt", "sergeant", GoesOn),
    ("cpl", "corporal", GoesOn),
    ("pvt", "private", GoesOn),
    ("maj", "major", GoesOn),
    ("cmdr", "commander", GoesOn),
    ("adm", "admiral", GoesOn),
    ("rev", "reverend", GoesOn),
    ("hon", "honorable", GoesOn),
    ("pres", "president", GoesOn),
    ("supt", "superintendent", GoesOn),
    ("fr", "father", GoesOn),
    ("msgr", "monsignor", GoesOn),
    ("atty", "attorney", GoesOn),
    ("jr", "junior", Depends),
    ("sr", "senior", Depends),
    ("esq", "esquire", Depends),
    ("ave", "avenue", Depends),
    ("blvd", "boulevard", Depends),
    ("rd", "road", Depends),
    ("ln", "lane", Depends),
    ("hwy", "highway", Depends),
    ("pkwy", "parkway", Depends),
    ("sq", "square", Depends),
    ("apt", "apartment", GoesOn),
    ("bldg", "building", Depends),
    ("ltd", "limited", Depends),
    ("inc", "incorporated", Depends),
    ("corp", "corporation", Depends),
    ("co", "company", Depends),
    ("bros", "brothers", Depends),
    ("dept", "department", Depends),
    ("univ", "university", Depends),
    ("assn", "association", Depends),
    ("assoc", "associates", Depends),
    ("govt", "government", Depends),
    ("approx", "approximately", GoesOn),
    ("incl", "including", GoesOn),
    ("excl", "excluding", GoesOn),
    ("op", "opus", Depends),
    ("est", "established", Depends),
    ("vs", "versus", GoesOn),
    ("v", "versus", GoesOn),
    ("vol", "volume", GoesOn),
    ("vols", "volumes", GoesOn),
    ("fig", "figure", GoesOn),
    ("figs", "figures", GoesOn),
    ("ch", "chapter", GoesOn),
    ("sec", "section", Depends),
    ("ed", "edition", Depends),
    ("eds", "editors", Depends),
    ("pp", "pages", GoesOn),
    ("p", "page", GoesOn),
    ("no", "number", Depends),
    ("nos", "numbers", GoesOn),
    ("art", "article", Depends),
    ("para", "paragraph", GoesOn),
    ("eq", "equation", GoesOn),
    ("ex", "example", Depends),
    ("ref", "reference", Depends),
    ("tel", "telephone", GoesOn),
    ("ext", "extension", GoesOn),
    ("cf", "compare", GoesOn),
    ("viz", "namely", GoesOn),
    ("ca", "circa", GoesOn),
    ("etc", "et cetera", Depends),
    ("al", "al", Depends),
    ("misc", "miscellaneous", Depends),
    ("temp", "temperature", Depends),
    ("avg", "average", Depends),
    ("max", "maximum", Depends),
    ("min", "minutes", Depends),
    ("hr", "hour", Depends),
    ("hrs", "hours", Depends),
    ("mins", "minutes", Depends),
    ("secs", "seconds", Depends),
    ("oz", "ounces", Depends),
    ("lb", "pounds", Depends),
    ("lbs", "pounds", Depends),
    ("tbsp", "tablespoons", Depends),
    ("tsp", "teaspoons", Depends),
    ("jan", "january", GoesOn),
    ("feb", "february", GoesOn),
    ("mar", "march", Depends),
    ("apr", "april", GoesOn),
    ("jun", "june", Depends),
    ("jul", "july", Depends),
    ("aug", "august", GoesOn),
    ("sep", "september", GoesOn),
    ("sept", "september", GoesOn),
    ("oct", "october", GoesOn),
    ("nov", "november", GoesOn),
    ("dec", "december", GoesOn),
    ("mo", "month", Depends),
    ("yr", "year", Depends),
    ("mon", "monday", Depends),
    ("tue", "tuesday", Depends),
    ("tues", "tuesday", Depends),
    ("wed", "wednesday", Depends),
    ("thu", "thursday", Depends),
    ("thur", "thursday", Depends),
    ("thurs", "thursday", Depends),
    ("fri", "friday", Depends),
    ("sat", "saturday", Depends),
    ("sun", "sunday", Depends),
    ("mass", "massachusetts", Depends),
    ("calif", "california", Depends),
    ("conn", "connecticut", Depends),
    ("penn", "pennsylvania", Depends),
    ("tenn", "tennessee", Depends),
];

/// Those that are words as well and mean the abbreviation only before a number or a name.
const WORDS_TOO: &[&str] = &[
    "no", "al", "art", "mar", "jun", "sat", "sun", "fig", "ex", "max", "min", "mass", "conn",
    "penn", "ed", "col", "gen", "rev", "mon", "wed", "co", "p", "v", "ch", "sec", "ref", "temp",
    "para", "ms", "inc", "fr", "pres", "st", "ft", "lb", "ca", "sen", "rep", "gov", "hon", "mt",
    "ln", "sq", "eq",
];

/// Dotted abbreviations with words of their own.
const DOTTED: &[(&str, &str, Follow)] = &[
    ("e.g", "for example", GoesOn),
    ("i.e", "that is", GoesOn),
    ("a.k.a", "also known as", GoesOn),
    ("p.s", "P S", GoesOn),
    ("p.a", "per annum", Depends),
    ("w.r.t", "with respect to", GoesOn),
];

/// Short forms without any full stop.
const BARE: &[(&str, &str)] = &[
    ("w/", "with"),
    ("w/o", "without"),
    ("c/o", "care of"),
    ("b/c", "because"),
    ("n/a", "not applicable"),
    ("aka", "also known as"),
    ("vs", "versus"),
    ("etc", "et cetera"),
    ("mr", "mister"),
    ("mrs", "missus"),
    ("dr", "doctor"),
    ("approx", "approximately"),
    ("dept", "department"),
    ("blvd", "boulevard"),
    ("prof", "professor"),
    ("btw", "by the way"),
    ("imo", "in my opinion"),
    ("fyi", "F Y I"),
    ("asap", "A S A P"),
    ("tbd", "to be determined"),
    ("w/e", "weekend"),
    ("ie", "that is"),
    ("eg", "for example"),
];

fn entry(word: &str) -> Option<&'static (&'static str, &'static str, Follow)> {
    let lower = word.to_ascii_lowercase();
    TABLE
        .iter()
        .chain(DOTTED)
        .find(|(short, ..)| *short == lower)
}

/// What a full stop at the end of `word` (which still has it) means.
pub(crate) fn follow(word: &str) -> Follow {
    let stem = word.strip_suffix('.').unwrap_or(word);
    if let Some((short, _, follow)) = entry(stem) {
        let capital_word = matches!(
            *short,
            "no" | "art"
                | "ed"
                | "col"
                | "ex"
                | "ref"
                | "temp"
                | "sun"
                | "sat"
                | "max"
                | "min"
                | "mo"
                | "mass"
                | "al"
                | "sec"
                | "mar"
                | "jun"
                | "est"
                | "wed"
                | "mon"
                | "ca"
                | "p"
                | "v"
                | "co"
                | "inc"
        );
        return if capital_word { Depends } else { *follow };
    }
    let initial = stem.chars().count() == 1 && stem.chars().all(char::is_uppercase);
    if initial && stem != "I" {
        return Depends;
    }
    if is_dotted(stem) {
        Depends
    } else {
        Follow::Ends
    }
}

/// *U.S*, *p.m*, *Ph.D*: letters with full stops between them.
pub(crate) fn is_dotted(stem: &str) -> bool {
    stem.contains('.')
        && stem.split('.').all(|part| {
            (1..3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphabetic())
        })
}

/// An initial before a surname or a dotted country before a noun: the capital after it is a name.
pub(crate) fn heads_a_name(word: &str, next: &str) -> bool {
    let stem = word.strip_suffix('.').unwrap_or(word);
    if stem.chars().count() == 1 {
        return true;
    }
    let next = next
        .split(|c: char| !c.is_alphanumeric() && c != '.')
        .next()
        .unwrap_or("");
    match stem {
        "Dr" | "St" | "Ft" | "Mt" => !next.is_empty(),
        "U.S" | "U.K" | "U.N" | "E.U" => {
            const STARTERS: &[&str] = &[
                "The", "A", "An", "It", "He", "She", "They", "We", "I", "In", "But", "And", "This",
            ];
            !STARTERS.contains(&next)
        }
        "No" | "no" | "Sec" | "Art" | "Co" | "p" | "v" | "Col" | "Ed" | "Ex" => {
            next.starts_with(|c: char| c.is_ascii_digit())
        }
        _ => matches!(stem, "Ph.D" | "M.D" | "B.A" | "M.A") && next.len() < 2,
    }
}

pub(crate) fn is_saint(word: &str) -> bool {
    matches!(word, "St." | "St")
}

/// Whether *St.* after `before` is a street rather than a saint.
pub(crate) fn is_street(before: &str) -> bool {
    const OTHERS: &[&str] = &["The", "In", "At", "Near", "By", "From", "And", "On"];
    let previous = before.split_whitespace().next_back().unwrap_or("");
    previous.starts_with(char::is_uppercase)
        && !previous.ends_with(',')
        && !OTHERS.contains(&previous)
}

/// The words for an abbreviation written with its full stop.
pub(crate) fn with_stop(stem: &str) -> Option<&'static str> {
    entry(stem).map(|(_, words, _)| *words)
}

/// Whether the abbreviation is also a word, so that its full stop may end a sentence instead.
pub(crate) fn is_word_too(stem: &str) -> bool {
    WORDS_TOO.contains(&stem.to_ascii_lowercase().as_str())
}

/// The words for a short form written without a full stop.
pub(crate) fn bare(word: &str) -> Option<&'static str> {
    let lower = word.to_ascii_lowercase();
    BARE.iter()
        .find(|(short, _)| *short == lower)
        .map(|(_, words)| *words)
}

/// A month by its name or abbreviation, 0 to 11.
pub(crate) fn month(word: &str) -> Option<usize> {
    const NAMES: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let lower = word.trim_end_matches('.').to_ascii_lowercase();
    if lower.len() < 3 {
        return None;
    }
    NAMES.iter().position(|name| {
        *name == lower
            || (lower.len() == 3 && name.starts_with(&lower))
            || (lower == "sept" && *name == "september")
    })
}

/// The name of a month, 1 to 12.
pub(crate) fn month_name(number: u32) -> Option<&'static str> {
    const NAMES: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    NAMES
        .get(usize::try_from(number).ok()?.checked_sub(1)?)
        .copied()
}
