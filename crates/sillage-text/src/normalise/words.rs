//! Words: abbreviations, capitals, roman numerals, initials, compounds and plain ones.

use super::{
    Kind, Reading, abbreviations, codes,
    lists::{COUNTED, EMPHATIC, REIGNED, SAID, SPELT},
    numbers::{cardinal, ordinal, roman},
};

pub(crate) fn read(reading: &mut Reading<'_>) -> usize {
    let core = reading.ahead(0);
    if core.is_empty() {
        return 1;
    }
    roman_numeral(reading, core)
        .or_else(|| abbreviation(reading, core))
        .unwrap_or_else(|| {
            plain(reading, core);
            1
        })
}

/// *Henry VIII*, *Chapter IV*, *World War II*.
fn roman_numeral(reading: &mut Reading<'_>, core: &str) -> Option<usize> {
    let (numeral, possessive) = match core.strip_suffix("'s") {
        Some(stem) => (stem, true),
        None => (core, false),
    };
    let value = roman(numeral).filter(|&value| value < 100)?;
    let before = reading.behind();
    let behind = before.to_lowercase();
    let capital = before.starts_with(char::is_uppercase);
    let accent = reading.accent;
    let single = numeral.len() == 1;
    let words = if capital
        && REIGNED.contains(&behind.as_str())
        && (!single || numeral != "I" || !is_verb_next(reading))
    {
        format!("the {}", ordinal(&value.to_string(), accent))
    } else if COUNTED.contains(&behind.as_str())
        || (numeral.len() > 1 && capital && numeral.bytes().all(|b| b"IVX".contains(&b)))
    {
        cardinal(&value.to_string(), accent)
    } else {
        return None;
    };
    if possessive {
        let (head, last) = words.rsplit_once(' ').unwrap_or(("", &words));
        reading.count(head, 0);
        reading.push(Kind::Word, &format!("{last}'s"), 0);
    } else {
        reading.count(&words, 0);
    }
    Some(1)
}

/// *John I think*: a verb of the first person after the letter.
fn is_verb_next(reading: &Reading<'_>) -> bool {
    matches!(
        reading.ahead(1),
        "am" | "think"
            | "have"
            | "was"
            | "will"
            | "would"
            | "can"
            | "could"
            | "know"
            | "want"
            | "love"
            | "need"
            | "hope"
            | "do"
            | "did"
            | "saw"
            | "met"
            | "said"
            | "had"
            | "must"
            | "shall"
            | "should"
            | "may"
            | "might"
            | "believe"
            | "like"
    )
}

fn abbreviation(reading: &mut Reading<'_>, core: &str) -> Option<usize> {
    let stopped =
        reading.chunk().trail.starts_with('.') && !reading.chunk().trail.starts_with("..");
    if abbreviations::is_dotted(core) {
        return dotted(reading, core);
    }
    let titled = matches!(
        core,
        "Mr" | "Mrs"
            | "Ms"
            | "Dr"
            | "Prof"
            | "St"
            | "Mt"
            | "Sgt"
            | "Capt"
            | "Lt"
            | "Messrs"
            | "Jr"
            | "Sr"
    );
    if !stopped && !titled {
        let words = abbreviations::bare(core)?;
        if core.len() < 3 && core.chars().all(char::is_uppercase) {
            return None;
        }
        reading.say(words, 0);
        return Some(1);
    }
    let words = expansion(reading, core)?;
    reading.say(words, 0);
    Some(1)
}

/// The words of an abbreviation by what stands around it; `None` if it is a word after all.
fn expansion(reading: &Reading<'_>, core: &str) -> Option<&'static str> {
    let next = reading.after_stop();
    let named = next.starts_with(char::is_uppercase);
    let counted = next.starts_with(|c: char| c.is_ascii_digit());
    Some(match core {
        "St" => street(reading, next),
        "Dr" if is_place(reading) && !named => "drive",
        "Dr" => "doctor",
        "Ft" if named => "fort",
        "Ft" => "feet",
        "Mt" | "mt" if !named => return None,
        "ft" if reading.behind().ends_with(|c: char| c.is_ascii_digit()) => "feet",
        "no" | "No" if counted => "number",
        "nos" | "Nos" if counted => "numbers",
        "no" | "No" | "nos" | "Nos" => return None,
        "p" | "pp" | "v" | "ch" | "fig" | "art" | "ex" | "eq"
            if !next.starts_with(char::is_alphanumeric) =>
        {
            return None;
        }
        _ if core.chars().count() == 1 && core != "p" && core != "v" => return None,
        _ => {
            const NEVER_WORDS: &[&str] = &[
                "Inc", "Co", "Sen", "Rep", "Gov", "Gen", "Col", "Rev", "Fig", "lb", "sq",
            ];
            let words = abbreviations::with_stop(core)?;
            let ends = reading.at() + 1 == reading.chunks.len();
            let alone = abbreviations::is_word_too(core)
                && (ends || !(named || counted))
                && !NEVER_WORDS.contains(&core);
            if alone && reading.lexicon.find(core).is_some() {
                return None;
            }
            one_of(words, reading.behind())
        }
    })
}

/// A unit in the singular after one or a part of one.
fn one_of(words: &'static str, before: &str) -> &'static str {
    let one =
        before == "1" || before.contains('/') || before.starts_with(['½', '¼', '¾', '⅓', '⅔', '⅛']);
    let unit = matches!(
        words,
        "teaspoons" | "tablespoons" | "ounces" | "pounds" | "minutes" | "hours" | "seconds"
    );
    if one && unit {
        &words[..words.len() - 1]
    } else {
        words
    }
}

/// Whether the word before is part of a place's name.
fn is_place(reading: &Reading<'_>) -> bool {
    let before = reading.behind();
    before.starts_with(char::is_uppercase)
        && !matches!(
            before,
            "The" | "And" | "But" | "When" | "If" | "To" | "A" | "Dear" | "As"
        )
}

fn street(reading: &Reading<'_>, next: &str) -> &'static str {
    let named = next.starts_with(char::is_uppercase);
    let before = reading.behind();
    let ordinal = before.ends_with("th")
        || before.ends_with("nd")
        || before.ends_with("rd")
        || before.ends_with("st");
    let numbered = before.starts_with(|c: char| c.is_ascii_digit()) && ordinal;
    if (is_place(reading)
        && !matches!(
            before,
            "In" | "At" | "Near" | "From" | "Mount" | "Visit" | "See" | "Cathedral" | "Saint"
        ))
        || numbered
        || !named
    {
        "street"
    } else {
        "saint"
    }
}

/// *U.S.*, *e.g.*, *J.R.R.*, *Ph.D.*
fn dotted(reading: &mut Reading<'_>, core: &str) -> Option<usize> {
    if let Some(words) = abbreviations::with_stop(core) {
        for word in words.split(' ') {
            let letter = word.len() == 1 && word.chars().all(char::is_uppercase);
            reading.push(if letter { Kind::Letters } else { Kind::Word }, word, 0);
        }
        return Some(1);
    }
    let letters: String = core.chars().filter(|c| *c != '.').collect();
    if core.split('.').any(|part| {
        part.len() > 1
            && reading.lexicon.find(part).is_some()
            && part.chars().any(char::is_lowercase)
    }) && core != "Ph.D"
    {
        return None;
    }
    reading.push(Kind::Letters, &letters.to_uppercase(), 0);
    Some(1)
}

/// Any other word.
fn plain(reading: &mut Reading<'_>, core: &str) {
    let chunk = reading.chunk();
    let initial = chunk.trail.starts_with('.')
        && core.chars().count() == 1
        && core.chars().all(char::is_uppercase);
    if initial && core != "I" && core != "A" {
        reading.push(Kind::Letters, core, 0);
        return;
    }
    if let Some((letter, ending)) = core
        .split_once(".'")
        .filter(|(letter, ending)| letter.len() == 1 && *ending == "s")
    {
        reading.push(Kind::Letters, &format!("{letter}'{ending}"), 0);
        return;
    }
    // A capital A inside a sentence is the letter, as in "vitamin A".
    if core == "A"
        && !reading.is_first()
        && chunk.lead.is_empty()
        && !reading.behind().is_empty()
        && !reading.shouting
    {
        reading.push(Kind::Letters, core, 0);
        return;
    }
    // Apostrophes are quotes unless the word is one that drops letters: 'tis, runnin'.
    let both = format!("'{core}'");
    if chunk.lead.ends_with('\'') && chunk.trail.starts_with('\'') && core == "n" {
        reading.push(Kind::Word, &both, 0);
        return;
    }
    let with_lead = format!("'{core}");
    if chunk.lead.ends_with('\'') && reading.lexicon.find(&with_lead).is_some() {
        reading.push(Kind::Word, &with_lead, 0);
        return;
    }
    let with_trail = format!("{core}'");
    if chunk.trail.starts_with('\'')
        && reading.lexicon.find(&with_trail).is_some()
        && core.ends_with("in")
    {
        reading.push(Kind::Word, &with_trail, 0);
        return;
    }
    say_part(reading, core);
}

/// A word, compound or row of capitals.
pub(crate) fn say_part(reading: &mut Reading<'_>, text: &str) {
    if text.chars().any(|c| c.is_ascii_digit()) {
        for part in text.split('-').filter(|part| !part.is_empty()) {
            codes::mixed(reading, part);
        }
        return;
    }
    if text.contains('.') {
        // Words run together: "end.Next".
        for (at, part) in text.split('.').filter(|part| !part.is_empty()).enumerate() {
            if at > 0 {
                reading.rest();
            }
            say_part(reading, part);
        }
        return;
    }
    if text.contains('/') {
        return alternatives(reading, text);
    }
    let hyphens = text.contains(['-', '–']);
    if hyphens && !text.chars().any(|c| c.is_uppercase()) {
        reading.push(Kind::Word, text.trim_matches(['-', '–', '\'']), 0);
        return;
    }
    if hyphens && reading.lexicon.find(text).is_none() {
        let parts: Vec<&str> = text
            .split(['-', '–'])
            .filter(|part| !part.is_empty())
            .collect();
        if parts
            .iter()
            .any(|part| part.chars().count() > 1 && !part.chars().any(char::is_lowercase))
        {
            parts.iter().for_each(|part| say_part(reading, part));
            return;
        }
    }
    let capitals = text.chars().filter(|c| c.is_uppercase()).count();
    if capitals > 1 && !hyphens {
        return self::capitals(reading, text);
    }
    reading.push(Kind::Word, text.trim_matches(['-', '–']), 0);
}

/// Words with slashes between them.
fn alternatives(reading: &mut Reading<'_>, text: &str) {
    const PAIRS: &[&str] = &[
        "he/she",
        "she/he",
        "his/her",
        "him/her",
        "her/his",
        "himself/herself",
        "s/he",
        "he/they",
    ];
    let pair = PAIRS.contains(&text.to_ascii_lowercase().as_str());
    let text = if text == "s/he" { "she/he" } else { text };
    for (at, part) in text.split('/').filter(|part| !part.is_empty()).enumerate() {
        if at > 0 && pair {
            reading.say("or", 0);
        }
        say_part(reading, part);
    }
}

/// The letters of a row such as `CEOs`, and its ending.
pub(crate) fn row_and_ending(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| c.is_lowercase() || c == '\'')
        .unwrap_or(text.len());
    if end > 0 && matches!(&text[end..], "s" | "'s" | "'S" | "'") {
        text.split_at(end)
    } else {
        (text, "")
    }
}

/// A word in capitals, or with more than one: spelt or said?
pub(crate) fn capitals(reading: &mut Reading<'_>, text: &str) {
    if matches!(text, "PhD" | "PhDs" | "PhD's") {
        return reading.push(Kind::Letters, &text.replace("Ph", "PH"), 0);
    }
    if text == "JSON" {
        return reading.push(Kind::Word, "jason", 0);
    }
    let (row, _) = row_and_ending(text);
    let lower = text.to_lowercase();
    if row.chars().any(char::is_lowercase) {
        // iPhone, McDonald, YouTube
        reading.push(Kind::Word, text, 0);
        return;
    }
    let lexicon = reading.lexicon;
    let row_lower = row.to_lowercase();
    let known = lexicon.gold(&row_lower).and_then(|entry| entry.plain());
    if reading.shouting {
        const LETTERS: &[&str] = &["USA", "UK", "TV", "FBI", "CIA", "UFO", "DNA", "CEO"];
        let long = row.chars().count() > 4 && has_vowels(&row_lower);
        let word =
            (known.is_some() || lexicon.find(&lower).is_some() || long) && !LETTERS.contains(&row);
        let (kind, text) = if word {
            (Kind::Word, lower.as_str())
        } else {
            (Kind::Letters, text)
        };
        return reading.push(kind, text, 0);
    }
    if SAID.contains(&row) {
        let text = if lexicon.exact(text).is_some() {
            text
        } else {
            &lower
        };
        return reading.push(Kind::Word, text, 0);
    }
    if SPELT.contains(&row) {
        return reading.push(Kind::Letters, text, 0);
    }
    let size = row.chars().count();
    if EMPHATIC.contains(&lower.as_str())
        || (size > 3 && known.is_some_and(|reading| reading.contains('ˈ')))
    {
        return reading.push(Kind::Word, &lower, 0);
    }
    let own = lexicon.exact(row).and_then(|entry| entry.plain());
    let spelt = own.is_none_or(|said| is_spelling(&said));
    if !spelt
        || (size > 4 && pronounceable(&row_lower))
        || (size > 3 && pronounceable(&row_lower) && lexicon.find(&lower).is_some())
    {
        return reading.push(Kind::Word, if spelt { &lower } else { text }, 0);
    }
    reading.push(Kind::Letters, text, 0);
}

/// Whether a reading of capitals has a stress for each letter, which is how spelling sounds.
fn is_spelling(reading: &str) -> bool {
    reading.matches(['ˈ', 'ˌ']).count() > 1
}

fn has_vowels(text: &str) -> bool {
    text.contains(['a', 'e', 'i', 'o', 'u', 'y'])
}

/// Whether a row of letters could be an English word: vowels, and no long run of either kind.
fn pronounceable(text: &str) -> bool {
    let mut run = (0, false);
    let mut longest = 0;
    for c in text.chars() {
        let vowel = "aeiouy".contains(c);
        run = if vowel == run.1 {
            (run.0 + 1, vowel)
        } else {
            (1, vowel)
        };
        longest = longest.max(if vowel { run.0 + 1 } else { run.0 });
    }
    has_vowels(text) && longest < 4
}

/// The parts of *camelCase* and *OpenAI*.
pub(crate) fn humps(text: &str) -> Vec<&str> {
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let mut cuts = vec![0];
    for at in 1..chars.len() {
        let (before, here) = (chars[at - 1].1, chars[at].1);
        let next_lower = chars.get(at + 1).is_some_and(|(_, c)| c.is_lowercase());
        let rises = before.is_lowercase() && here.is_uppercase();
        let word_starts =
            before.is_uppercase() && here.is_uppercase() && next_lower && at + 2 < chars.len();
        if rises || word_starts {
            cuts.push(chars[at].0);
        }
    }
    cuts.push(text.len());
    cuts.windows(2)
        .map(|pair| &text[pair[0]..pair[1]])
        .filter(|part| !part.is_empty())
        .collect()
}

/// One character to be spelt slowly.
pub(crate) fn spelt(reading: &mut Reading<'_>, c: char) {
    if c.is_ascii_digit() {
        let words = cardinal(&c.to_string(), reading.accent);
        reading.count(&words, 0);
        return;
    }
    let name = match c {
        '-' => "dash",
        '.' => "dot",
        '_' => "underscore",
        '/' => "slash",
        '@' => "at",
        '#' => "hash",
        '*' => "star",
        ' ' | '\t' | '\n' => {
            reading.rest();
            return;
        }
        '&' => "and",
        '+' => "plus",
        '=' => "equals",
        '$' => "dollar sign",
        '!' => "exclamation mark",
        '?' => "question mark",
        '^' => "caret",
        ',' => "comma",
        ':' => "colon",
        ';' => "semicolon",
        '(' | ')' => "parenthesis",
        _ => super::symbols::name(c).unwrap_or(""),
    };
    if !name.is_empty() {
        return reading.say(name, 0);
    }
    let letters: String = match super::clean::plain(c) {
        super::clean::Plain::One(c) if c.is_ascii_alphabetic() => {
            c.to_ascii_uppercase().to_string()
        }
        super::clean::Plain::Text(text) => text.to_uppercase(),
        _ => return,
    };
    for letter in letters.chars() {
        reading.push(Kind::Spelt, &letter.to_string(), 0);
    }
}
