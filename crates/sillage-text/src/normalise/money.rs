//! Money: *$5.20*, *£3m*, *€1,000*, *50¢*, *5 USD*.

use super::{
    Reading,
    number::{Number, number},
    numbers::cardinal,
};

/// Sign or code, one, many, hundredth, hundredths.
type Currency = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const CURRENCIES: &[Currency] = &[
    ("US$", "US dollar", "US dollars", "cent", "cents"),
    (
        "A$",
        "Australian dollar",
        "Australian dollars",
        "cent",
        "cents",
    ),
    (
        "AU$",
        "Australian dollar",
        "Australian dollars",
        "cent",
        "cents",
    ),
    ("C$", "Canadian dollar", "Canadian dollars", "cent", "cents"),
    (
        "CA$",
        "Canadian dollar",
        "Canadian dollars",
        "cent",
        "cents",
    ),
    (
        "NZ$",
        "New Zealand dollar",
        "New Zealand dollars",
        "cent",
        "cents",
    ),
    (
        "HK$",
        "Hong Kong dollar",
        "Hong Kong dollars",
        "cent",
        "cents",
    ),
    ("R$", "real", "reals", "centavo", "centavos"),
    ("$", "dollar", "dollars", "cent", "cents"),
    ("£", "pound", "pounds", "penny", "pence"),
    ("€", "euro", "euros", "cent", "cents"),
    ("¥", "yen", "yen", "", ""),
    ("₹", "rupee", "rupees", "paisa", "paise"),
    ("₩", "won", "won", "", ""),
    ("₽", "ruble", "rubles", "kopeck", "kopecks"),
    ("₺", "lira", "lira", "", ""),
    ("₪", "shekel", "shekels", "", ""),
    ("₫", "dong", "dong", "", ""),
    ("₴", "hryvnia", "hryvnias", "", ""),
    ("฿", "baht", "baht", "", ""),
    ("₱", "peso", "pesos", "", ""),
    ("₿", "bitcoin", "bitcoins", "", ""),
];

const CODES: &[Currency] = &[
    ("USD", "US dollar", "US dollars", "cent", "cents"),
    ("EUR", "euro", "euros", "cent", "cents"),
    ("GBP", "pound", "pounds", "penny", "pence"),
    ("JPY", "yen", "yen", "", ""),
    ("CHF", "Swiss franc", "Swiss francs", "", ""),
    (
        "CAD",
        "Canadian dollar",
        "Canadian dollars",
        "cent",
        "cents",
    ),
    (
        "AUD",
        "Australian dollar",
        "Australian dollars",
        "cent",
        "cents",
    ),
    ("INR", "rupee", "rupees", "", ""),
    ("CNY", "yuan", "yuan", "", ""),
    ("SEK", "Swedish krona", "Swedish kronor", "", ""),
    ("NOK", "Norwegian krone", "Norwegian kroner", "", ""),
    ("BTC", "bitcoin", "bitcoins", "", ""),
    ("ETH", "ether", "ether", "", ""),
];

/// What a letter after an amount stands for.
pub(crate) fn magnitude(sign: &str) -> Option<&'static str> {
    Some(match sign {
        "k" | "K" => "thousand",
        "m" | "M" | "mn" | "MM" | "mm" | "mil" => "million",
        "b" | "B" | "bn" | "Bn" | "BN" => "billion",
        "t" | "T" | "tn" | "trn" => "trillion",
        _ => return None,
    })
}

fn spoken_magnitude(word: &str) -> Option<&str> {
    matches!(
        word,
        "hundred" | "thousand" | "million" | "billion" | "trillion"
    )
    .then_some(word)
}

pub(crate) fn read(reading: &mut Reading<'_>) -> usize {
    let core = reading.ahead(0);
    if let Some(used) = prefixed(reading, core) {
        return used;
    }
    if let Some(used) = suffixed(reading, core) {
        return used;
    }
    coded(reading, core).unwrap_or(0)
}

/// *$5*, *-$5*, *$5-10*, *$5 million*, *$5/month*.
fn prefixed(reading: &mut Reading<'_>, core: &str) -> Option<usize> {
    let (minus, body) = match core.strip_prefix(['-', '−', '–']) {
        Some(rest) => ("minus ", rest),
        None => ("", core.strip_prefix('+').unwrap_or(core)),
    };
    let currency = CURRENCIES
        .iter()
        .find(|(sign, ..)| body.starts_with(sign))?;
    let (amount, mut rest) = number(&body[currency.0.len()..])?;
    reading.count(minus, 0);
    let mut amounts = vec![amount];
    if let Some(more) = rest.strip_prefix(['-', '–']) {
        let more = more.strip_prefix(currency.0).unwrap_or(more);
        if let Some((second, tail)) = number(more) {
            amounts.push(second);
            rest = tail;
        }
    }
    let (scale, used, rest) = scale_of(reading, rest);
    let adjective = is_adjective(reading, used) || rest.starts_with('-');
    say_amounts(reading, &amounts, scale, currency, used - 1, adjective);
    tail(reading, rest)?;
    Some(used)
}

/// The magnitude after an amount, in this chunk or the next; the chunks used; what is left.
fn scale_of<'a>(reading: &Reading<'a>, rest: &'a str) -> (Option<&'a str>, usize, &'a str) {
    let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    if let Some(scale) = magnitude(&rest[..letters]) {
        return (Some(scale), 1, &rest[letters..]);
    }
    if let Some(word) = rest.strip_prefix('-').and_then(spoken_magnitude) {
        return (Some(word), 1, "");
    }
    if rest.is_empty() {
        let next = reading.ahead(1);
        let short = matches!(next, "m" | "M" | "bn" | "mn" | "tn")
            .then(|| magnitude(next))
            .flatten();
        if let Some(word) = spoken_magnitude(next).or(short) {
            return (Some(word), 2, "");
        }
    }
    (None, 1, rest)
}

/// *A $5 bill*: the amount stands before the thing that has it, `ahead` of this chunk.
fn is_adjective(reading: &Reading<'_>, ahead: usize) -> bool {
    const ARTICLES: &[&str] = &["a", "an", "A", "An", "another", "per", "the", "The"];
    const OTHERS: &[&str] = &[
        "a", "an", "per", "for", "to", "in", "and", "or", "on", "at", "is", "was", "were", "will",
        "has", "had", "he", "she", "you", "they", "we", "that", "which", "from", "of", "it", "by",
        "as",
    ];
    let next = reading.ahead(ahead);
    ARTICLES.contains(&reading.behind())
        && next.starts_with(char::is_lowercase)
        && !OTHERS.contains(&next)
}

fn tail(reading: &mut Reading<'_>, rest: &str) -> Option<()> {
    if rest.is_empty() {
        return Some(());
    }
    if rest == "+" {
        reading.say("plus", 0);
        return Some(());
    }
    if let Some(unit) = rest.strip_prefix('/').filter(|unit| !unit.is_empty()) {
        let words =
            super::units::unit(unit, true, true, reading.accent).unwrap_or_else(|| unit.to_owned());
        reading.say("per", 0);
        reading.say(&words, 0);
        return Some(());
    }
    let words = rest.strip_prefix('-')?;
    reading.say(&words.replace('-', " "), 0);
    Some(())
}

fn say_amounts(
    reading: &mut Reading<'_>,
    amounts: &[Number<'_>],
    scale: Option<&str>,
    currency: &Currency,
    last: usize,
    adjective: bool,
) {
    let (_, one, many, cent, cents) = *currency;
    let accent = reading.accent;
    let name = if adjective { one } else { many };
    if let [first, second] = amounts {
        reading.count(&first.unsigned(accent), 0);
        reading.say("to", 0);
        reading.count(&second.unsigned(accent), 0);
    } else if let Some(amount) = amounts.first() {
        let split = scale.is_none() && amount.fraction.len() == 2 && !cent.is_empty();
        if split {
            return say_split(reading, amount, (one, many), (cent, cents));
        }
        reading.count(&amount.unsigned(accent), 0);
        if scale.is_none() && amount.is_one() {
            return reading.say(one, 0);
        }
    }
    if let Some(scale) = scale {
        reading.count(scale, last);
    }
    reading.say(name, last);
}

/// *Five dollars and twenty cents*; *ninety nine cents*; *five dollars*.
fn say_split(
    reading: &mut Reading<'_>,
    amount: &Number<'_>,
    units: (&str, &str),
    parts: (&str, &str),
) {
    let accent = reading.accent;
    let whole = amount.whole.trim_start_matches('0');
    let part = amount.fraction.trim_start_matches('0');
    if !whole.is_empty() || part.is_empty() {
        reading.count(&cardinal(whole, accent), 0);
        reading.say(if whole == "1" { units.0 } else { units.1 }, 0);
    }
    if !part.is_empty() {
        if !whole.is_empty() {
            reading.say("and", 0);
        }
        reading.count(&cardinal(part, accent), 0);
        reading.say(if part == "1" { parts.0 } else { parts.1 }, 0);
    }
}

/// *5€*, *50¢*, *20p*.
fn suffixed(reading: &mut Reading<'_>, core: &str) -> Option<usize> {
    let (amount, rest) = number(core)?;
    if rest == "¢" {
        let name = if amount.is_one() { "cent" } else { "cents" };
        reading.count(&amount.words(reading.accent), 0);
        reading.say(name, 0);
        return Some(1);
    }
    if rest == "p" && amount.is_whole() && reading.accent == crate::Accent::Gb {
        reading.count(&amount.words(reading.accent), 0);
        reading.say(if amount.is_one() { "penny" } else { "pence" }, 0);
        return Some(1);
    }
    let currency = CURRENCIES.iter().find(|(sign, ..)| *sign == rest)?;
    say_amounts(reading, &[amount], None, currency, 0, false);
    Some(1)
}

/// *5 USD*, *EUR 20*, *USD 5 million*.
fn coded(reading: &mut Reading<'_>, core: &str) -> Option<usize> {
    let code = |text: &str| CODES.iter().find(|(code, ..)| *code == text);
    let (first, second) = (core, reading.ahead(1));
    if let Some(currency) = code(first) {
        let (amount, rest) =
            number(second).filter(|(_, rest)| rest.is_empty() || magnitude(rest).is_some())?;
        let scale = magnitude(rest).or_else(|| spoken_magnitude(reading.ahead(2)).map(|_| ""));
        if scale == Some("") {
            let word = reading.ahead(2);
            say_amounts(reading, &[amount], Some(word), currency, 2, false);
            return Some(3);
        }
        say_amounts(reading, &[amount], scale, currency, 1, false);
        return Some(2);
    }
    let (amount, rest) = number(first)?;
    let currency = code(second).filter(|_| rest.is_empty() || magnitude(rest).is_some())?;
    say_amounts(reading, &[amount], magnitude(rest), currency, 1, false);
    Some(2)
}
