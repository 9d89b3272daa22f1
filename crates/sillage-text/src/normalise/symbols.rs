//! Signs that are said, signs that are not, and emoji.

use super::{
    Kind, Reading, emoji,
    number::number,
    quantity::{say_power, superscript},
    words,
};

/// Faces made of signs; they are looked at, not read.
const FACES: &[&str] = &[
    ":)", ":-)", ":(", ":-(", ";)", ";-)", ":D", ":-D", ":P", ":-P", ":p", "xD", "XD", ":'(", ":/",
    ":-/", ":|", "^^", "^_^", "-_-", ":O", ":o", "=)", "=D",
];

/// A chunk with nothing in it to read, or a sign that stands alone.
pub(crate) fn alone(reading: &mut Reading<'_>) -> usize {
    let chunk = reading.chunk();
    let whole = format!("{}{}{}", chunk.lead, chunk.core, chunk.trail);
    if FACES.contains(&whole.trim_end_matches([',', '.', '!']))
        || (chunk.core.is_empty()
            && whole.len() < 4
            && whole.contains([')', '('])
            && whole.starts_with([':', ';']))
    {
        return 1;
    }
    let core = chunk.core.as_str();
    if core.is_empty() {
        if whole == "&" {
            reading.say("and", 0);
        }
        return 1;
    }
    if core == "<3" {
        reading.say("heart", 0);
        return 1;
    }
    if core.len() > 1 && core.chars().all(|c| c == '-') {
        if !reading.chunk().starts_line && !reading.is_first() {
            reading.mark('—', reading.at().saturating_sub(1));
        }
        return 1;
    }
    if core.len() > 1 && core.chars().all(|c| "-=_*~#.|:+<>".contains(c)) {
        return 1;
    }
    let mut chars = core.chars();
    let (Some(sign), None) = (chars.next(), chars.next()) else {
        return 0;
    };
    single(reading, sign)
}

fn is_number(text: &str) -> bool {
    number(text).is_some() || matches!(text, "x" | "y" | "n" | "a" | "b" | "c" | "z" | "π")
}

/// One sign alone between spaces.
fn single(reading: &mut Reading<'_>, sign: char) -> usize {
    let numeric = is_number(reading.ahead(1))
        && (is_number(reading.behind()) || reading.behind().ends_with(')'));
    let starts_line = reading.chunk().starts_line;
    let words = match sign {
        '-' | '–' | '−' if numeric => "minus",
        '-' | '–' | '—' | '―' => {
            if !starts_line && !reading.is_first() {
                reading.mark('—', reading.at().saturating_sub(1));
            }
            return 1;
        }
        '*' | '•' | '>' | '#' | '+' | '|' if starts_line && !numeric => return 1,
        '*' | '×' | '·' if numeric => "times",
        'x' if is_number(reading.ahead(1)) && number(reading.behind()).is_some() => "times",
        '/' if numeric => "divided by",
        '/' => return 1,
        '^' => "to the power of",
        '&' => "and",
        '@' => "at",
        '+' => "plus",
        '=' => "equals",
        '<' => "less than",
        '>' => "greater than",
        '%' => "percent",
        '#' => "number",
        '~' => "about",
        '$' => "dollars",
        '*' => "asterisk",
        '|' | '\\' | '_' | '`' => return 1,
        _ => match name(sign) {
            Some(words) => words,
            None => return 0,
        },
    };
    reading.say(words, 0);
    1
}

/// Signs with a name of their own.
const NAMES: &[(&str, &str)] = &[
    ("°º", "degrees"),
    ("§", "section"),
    ("¶", "paragraph"),
    ("±", "plus or minus"),
    ("×", "times"),
    ("÷", "divided by"),
    ("≈", "approximately equals"),
    ("≠", "does not equal"),
    ("≤", "less than or equal to"),
    ("≥", "greater than or equal to"),
    ("∞", "infinity"),
    ("√", "the square root of"),
    ("∑", "sum"),
    ("∫", "integral"),
    ("∂", "partial"),
    ("∈", "in"),
    ("→⇒➜➡", "to"),
    ("↑", "up"),
    ("↓", "down"),
    ("←", "from"),
    ("©", "copyright"),
    ("®", "registered"),
    ("€", "euros"),
    ("£", "pounds"),
    ("¥", "yen"),
    ("¢", "cents"),
    ("₹", "rupees"),
    ("−", "minus"),
    ("№", "number"),
    ("½", "one half"),
    ("¼", "one quarter"),
    ("¾", "three quarters"),
    ("&", "and"),
    ("@", "at"),
    ("%", "percent"),
    ("+", "plus"),
    ("=", "equals"),
    ("αΑ", "alpha"),
    ("βΒ", "beta"),
    ("γΓ", "gamma"),
    ("δΔ", "delta"),
    ("εϵΕ", "epsilon"),
    ("ζ", "zeta"),
    ("η", "eta"),
    ("θΘ", "theta"),
    ("ι", "iota"),
    ("κ", "kappa"),
    ("λΛ", "lambda"),
    ("μµ", "mu"),
    ("ν", "nu"),
    ("ξΞ", "xi"),
    ("πΠ", "pi"),
    ("ρ", "rho"),
    ("σςΣ", "sigma"),
    ("τ", "tau"),
    ("υ", "upsilon"),
    ("φΦϕ", "phi"),
    ("χ", "kai"),
    ("ψΨ", "psi"),
    ("ωΩ", "omega"),
];

/// The name of a sign, if it has one.
pub(crate) fn name(sign: char) -> Option<&'static str> {
    NAMES
        .iter()
        .find(|(signs, _)| signs.contains(sign))
        .map(|(_, words)| *words)
}

/// A core that holds signs: *R&D*, *C++*, *§5*, *a+b*, *x²*, emoji among letters.
pub(crate) fn read(reading: &mut Reading<'_>) -> usize {
    let core = reading.ahead(0);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '\'' | '-' | '.' | '/');
    if core.chars().all(plain) || super::abbreviations::bare(core).is_some() {
        return 0;
    }
    match core {
        "C++" | "c++" => {
            reading.push(Kind::Letters, "C", 0);
            reading.say("plus plus", 0);
            return 1;
        }
        "C#" | "F#" | "c#" => {
            reading.push(Kind::Letters, &core[..1].to_uppercase(), 0);
            reading.say("sharp", 0);
            return 1;
        }
        _ => {}
    }
    if let Some(stem) = core
        .strip_suffix("(s)")
        .filter(|stem| stem.chars().all(char::is_alphabetic) && !stem.is_empty())
    {
        reading.push(Kind::Word, &format!("{stem}s"), 0);
        return 1;
    }
    let mut rest = core;
    while let Some(first) = rest.chars().next() {
        let call =
            first == '(' && rest.len() < 5 && core.find('(') == Some(1) && core.ends_with(')');
        if call {
            reading.say("of", 0);
        }
        rest = piece(reading, rest, first);
    }
    1
}

/// Says the word, the power or the sign that `rest` starts with; returns what follows it.
fn piece<'a>(reading: &mut Reading<'_>, rest: &'a str, first: char) -> &'a str {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '\'' | '.' | '-');
    let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
    if end > 0 {
        word_or_number(reading, rest[..end].trim_matches(['.', '-']));
        return &rest[end..];
    }
    let run = rest
        .find(|c: char| superscript(&c.to_string()).is_none())
        .unwrap_or(rest.len());
    if let Some(power) = superscript(&rest[..run]) {
        say_power(reading, &power);
        return &rest[run..];
    }
    if first == '^'
        && let Some((power, tail)) = number(&rest[1..]).filter(|(power, _)| power.is_whole())
    {
        say_power(reading, &power.whole);
        return tail;
    }
    let used = sign(reading, rest, first);
    &rest[used.max(first.len_utf8())..]
}

/// One sign or emoji inside a core; how many bytes it took.
fn sign(reading: &mut Reading<'_>, rest: &str, first: char) -> usize {
    if let Some((words, used)) = emoji::name(rest) {
        reading.say(words, 0);
        return used;
    }
    let greek_word = ('Α'..='ω').contains(&first)
        && rest
            .chars()
            .nth(1)
            .is_some_and(|c| ('Α'..='ω').contains(&c));
    if greek_word {
        // A word in Greek, not a symbol: another script.
        return rest
            .find(|c: char| !('Α'..='ω').contains(&c))
            .unwrap_or(rest.len());
    }
    let words = match first {
        '<' => "less than",
        '>' => "greater than",
        '$' => "dollar",
        '#' => "hash",
        '*' | '_' | '|' | '~' | '\\' | '"' | '(' | ')' | '[' | ']' | '{' | '}' | '`' | '!'
        | '?' | '®' | '™' | '-' | '–' => "",
        ',' | ';' | ':' => {
            reading.rest();
            ""
        }
        _ => name(first).unwrap_or(""),
    };
    reading.say(words, 0);
    0
}

fn word_or_number(reading: &mut Reading<'_>, part: &str) {
    if part.is_empty() {
        return;
    }
    if let Some((count, "")) = number(part) {
        let words = count.words(reading.accent);
        reading.count(&words, 0);
        return;
    }
    if part.len() < 3 && part.bytes().all(|b| b.is_ascii_uppercase()) {
        return reading.push(Kind::Letters, part, 0);
    }
    words::say_part(reading, part);
}
