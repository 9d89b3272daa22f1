//! The few tags that a text may hold.
//!
//! `<break time="1s"/>`, `<speed ratio="1.2"/>` and `<volume ratio="0.8"/>` stand between phrases;
//! `<spell>ABC</spell>` and `<<h|ə|l|oʊ>>` are words. Any other `<` is text.

use std::{ops::Range, time::Duration};

use crate::TextError;

/// Spelt or phonetic words are at most this long.
const LONGEST_INLINE: usize = 512;
const LONGEST_TAG: usize = 128;
const LONGEST_BREAK: f64 = 60.0;

/// What stands at a `<`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Markup {
    /// Nothing of ours.
    Text,
    /// Not enough text to tell.
    More,
    /// A word of this many bytes.
    Inline(usize, Inline),
    /// A tag of this many bytes.
    Block(usize, Block),
}

/// A word written as markup; the range is its inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inline {
    Spell(Range<usize>),
    Phones(Range<usize>),
    /// A tag of another language, which is not read.
    Skip,
}

/// A tag between phrases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Block {
    Break(Duration),
    Speed(f32),
    Volume(f32),
}

const OURS: [&str; 5] = ["break", "speed", "volume", "spell", "/spell"];

/// Tags that text copied from elsewhere may hold, of HTML most of all; they are passed over.
const PASSED_OVER: &[&str] = &[
    "b",
    "i",
    "u",
    "s",
    "em",
    "strong",
    "p",
    "br",
    "hr",
    "a",
    "span",
    "div",
    "h1",
    "h2",
    "h3",
    "h4",
    "ul",
    "ol",
    "li",
    "sub",
    "sup",
    "small",
    "mark",
    "code",
    "pre",
    "blockquote",
    "q",
    "img",
    "table",
    "tr",
    "td",
    "th",
    "html",
    "body",
    // Not HTML: clients of other services write it, and a voice here has one mood.
    "emotion",
];

/// Looks at text that starts with `<`; `before` is the character in front of it.
pub(crate) fn at(
    text: &str,
    before: Option<char>,
    last: bool,
    offset: usize,
) -> Result<Markup, TextError> {
    let inside = &text[1..];
    if let Some(rest) = inside.strip_prefix('<') {
        return phones(rest, before, last, offset);
    }
    let name_end = inside
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '/')
        .unwrap_or(inside.len());
    let name = &inside[..name_end];
    let Some(next) = inside[name_end..].chars().next() else {
        let may_grow = inside.is_empty() || is_tag_name(name, true);
        return match (may_grow, last) {
            (true, false) => Ok(Markup::More),
            (true, true) if OURS.contains(&name) => Err(unclosed(offset, "a tag", "/>")),
            _ => Ok(Markup::Text),
        };
    };
    let name = name
        .strip_suffix('/')
        .filter(|name| !name.is_empty())
        .unwrap_or(name);
    if name.is_empty() || !(next == '>' || next.is_whitespace()) {
        return Ok(Markup::Text);
    }
    let lower = name.to_ascii_lowercase();
    let close = inside
        .char_indices()
        .take_while(|(at, _)| *at < LONGEST_TAG)
        .find(|(_, c)| matches!(c, '>' | '<'));
    let Some((end, '>')) = close else {
        let cut_short = close.is_none() && inside.len() < LONGEST_TAG && !last;
        return match (OURS.contains(&lower.as_str()), cut_short) {
            (_, true) if is_tag_name(&lower, false) || inside[name_end..].contains('=') => {
                Ok(Markup::More)
            }
            (true, _) => Err(unclosed(offset, "a tag", "/>")),
            _ => Ok(Markup::Text),
        };
    };
    let tag = Tag {
        name,
        attributes: &inside[name_end..end],
        length: end + 2,
        offset,
    };
    if lower == "spell" {
        return spell(text, tag.length, last, offset);
    }
    closed(&tag, &lower, inside[..end].ends_with('/'))
}

/// A tag with its closing sign.
struct Tag<'a> {
    name: &'a str,
    attributes: &'a str,
    length: usize,
    offset: usize,
}

fn closed(tag: &Tag<'_>, lower: &str, empty: bool) -> Result<Markup, TextError> {
    let Tag {
        name,
        attributes,
        length,
        offset,
    } = *tag;
    let block = |block: Block| Markup::Block(length, block);
    match lower {
        "break" => pause(attributes, offset).map(|time| block(Block::Break(time))),
        "speed" => ratio("speed", attributes, offset, (0.6, "0.6"), (1.5, "1.5"))
            .map(|ratio| block(Block::Speed(ratio))),
        "volume" => ratio("volume", attributes, offset, (0.5, "0.5"), (2.0, "2"))
            .map(|ratio| block(Block::Volume(ratio))),
        "/spell" | "/break" | "/speed" | "/volume" => Err(TextError::Unopened {
            offset,
            name: lower[1..].to_owned(),
        }),
        _ if PASSED_OVER.contains(&lower.trim_start_matches('/')) => {
            Ok(Markup::Inline(length, Inline::Skip))
        }
        _ if empty || attributes.contains("=\"") => Err(TextError::UnknownTag {
            offset,
            name: name.to_owned(),
        }),
        _ => Ok(Markup::Text),
    }
}

/// Whether this is the name of a tag that we know, or may become one.
fn is_tag_name(name: &str, growing: bool) -> bool {
    let name = name.to_ascii_lowercase();
    let matches = |known: &str| known == name || (growing && known.starts_with(&name));
    OURS.iter().any(|known| matches(known))
        || PASSED_OVER
            .iter()
            .any(|known| matches(known) || name == "/")
        || (growing && name.len() < 12)
}

fn unclosed(offset: usize, what: &'static str, cure: &'static str) -> TextError {
    TextError::Unclosed { offset, what, cure }
}

/// `<<` opens phonemes at the start of a word only, so that `a<<b` in code is text.
fn phones(
    rest: &str,
    before: Option<char>,
    last: bool,
    offset: usize,
) -> Result<Markup, TextError> {
    if before.is_some_and(|c| c.is_alphanumeric() || c == '<') {
        return Ok(Markup::Text);
    }
    let Some(first) = rest.chars().next() else {
        return Ok(if last { Markup::Text } else { Markup::More });
    };
    if first.is_whitespace() || first == '<' || first == '=' {
        return Ok(Markup::Text);
    }
    let window = &rest[..rest.floor_char_boundary(LONGEST_INLINE)];
    match window.find(">>") {
        Some(0) => Err(TextError::Empty {
            offset,
            what: "<<>>",
        }),
        Some(end) => Ok(Markup::Inline(end + 4, Inline::Phones(2..end + 2))),
        None if !last && window.len() == rest.len() => Ok(Markup::More),
        None => Err(unclosed(offset, "<< (phonemes)", ">>")),
    }
}

fn spell(text: &str, open: usize, last: bool, offset: usize) -> Result<Markup, TextError> {
    let rest = &text[open..];
    let window = &rest[..rest.floor_char_boundary(LONGEST_INLINE)];
    match window.find("</spell>") {
        Some(end) if window[..end].trim().is_empty() => Err(TextError::Empty {
            offset,
            what: "<spell>",
        }),
        Some(end) => Ok(Markup::Inline(
            open + end + 8,
            Inline::Spell(open..open + end),
        )),
        None if !last && window.len() == rest.len() => Ok(Markup::More),
        None => Err(unclosed(offset, "<spell>", "</spell> within 512 bytes")),
    }
}

/// The quoted value of the one attribute that a tag may have.
fn attribute<'a>(attributes: &'a str, wanted: &str) -> Option<&'a str> {
    let inside = attributes.trim().trim_end_matches('/').trim();
    let value = inside
        .strip_prefix(wanted)?
        .trim_start()
        .strip_prefix('=')?
        .trim();
    let quote = value
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\'' | '“' | '”'));
    match quote {
        Some(_) => {
            let value = value.strip_prefix(['"', '\'', '“', '”'])?;
            value.strip_suffix(['"', '\'', '“', '”'])
        }
        None => (!value.is_empty()).then_some(value),
    }
}

fn pause(attributes: &str, offset: usize) -> Result<Duration, TextError> {
    let wrong = || TextError::Attribute {
        offset,
        name: "break",
        found: attributes.trim().trim_end_matches('/').trim().to_owned(),
        cure: "time=\"1s\" or time=\"500ms\"",
    };
    let value = attribute(attributes, "time").ok_or_else(wrong)?.trim();
    let (number, scale) = match value.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (value.strip_suffix('s').ok_or_else(wrong)?, 1.0),
    };
    let seconds = decimal(number).ok_or_else(wrong)? * scale;
    if seconds > LONGEST_BREAK {
        let found = value.to_owned();
        return Err(TextError::Range {
            offset,
            name: "break time",
            found,
            from: "0s",
            to: "60s",
        });
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn ratio(
    name: &'static str,
    attributes: &str,
    offset: usize,
    (least, from): (f64, &'static str),
    (most, to): (f64, &'static str),
) -> Result<f32, TextError> {
    let found = || attributes.trim().trim_end_matches('/').trim().to_owned();
    let wrong = || TextError::Attribute {
        offset,
        name,
        found: found(),
        cure: "ratio=\"1.0\"",
    };
    let value = attribute(attributes, "ratio").ok_or_else(wrong)?;
    let number = decimal(value).ok_or_else(wrong)?;
    if !(least..=most).contains(&number) {
        return Err(TextError::Range {
            offset,
            name,
            found: value.to_owned(),
            from,
            to,
        });
    }
    #[allow(clippy::cast_possible_truncation)]
    Ok(number as f32)
}

/// A plain decimal number; no sign, no exponent, no `inf`.
fn decimal(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = text.len() <= 12 && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain { text.parse().ok() } else { None }
}
