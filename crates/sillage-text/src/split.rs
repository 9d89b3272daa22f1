//! Where a stretch of text can be cut: at the marks that end a phrase, at paragraphs, at tags, and
//! by length when nothing else comes.
//!
//! A cut is found from the text before it and at most the first characters of the next word, so
//! the same text is cut in the same places however it arrives.

use crate::{
    TextError,
    markup::{self, Markup},
    normalise::abbreviations::{self, Follow},
};

/// Text without any mark is cut after at most this many bytes.
pub(crate) const LIMIT: usize = 256;
/// Spaces beyond this many are not waited out when a cut depends on what follows them.
const PATIENCE: usize = 64;

/// Why a stretch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A comma, a colon, a dash: the sentence goes on.
    Clause,
    /// A full stop, a question or exclamation mark.
    Sentence,
    /// A blank line or a new item of a list, or the end of the text.
    Paragraph,
    /// Neither: the stretch was long, or a tag follows.
    Open,
}

/// The byte length of the first stretch of `text` (which starts with no space) and why it ends;
/// `None` while more text is needed, never when `last`.
pub(crate) fn find(
    text: &str,
    last: bool,
    offset: usize,
) -> Result<Option<(usize, End)>, TextError> {
    let mut chunk = 0;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if at >= LIMIT {
            return Ok(Some((by_length(text, at), End::Open)));
        }
        if c == '<' {
            match markup::at(
                &text[at..],
                text[..at].chars().next_back(),
                last,
                offset + at,
            )? {
                Markup::Text => {}
                Markup::More => return Ok(None),
                Markup::Inline(length, _) => {
                    at += length;
                    continue;
                }
                Markup::Block(..) if at == 0 => {}
                Markup::Block(..) => return Ok(Some((at, End::Open))),
            }
        }
        if c.is_whitespace() {
            match after_chunk(text, chunk, at, last) {
                Decision::Cut(end) => return Ok(Some((at + c.len_utf8(), end))),
                Decision::Wait => return Ok(None),
                Decision::GoOn(spaces) => {
                    at += spaces;
                    chunk = at;
                    continue;
                }
            }
        }
        if let Some((length, whole)) = dash(&text[at..], at > chunk, last) {
            let Some(length) = whole.then_some(length) else {
                return Ok(None);
            };
            if at > chunk && length > 0 {
                return Ok(Some((at + length, End::Clause)));
            }
            at += length.max(c.len_utf8());
            continue;
        }
        at += c.len_utf8();
    }
    if !last {
        return Ok(None);
    }
    Ok(Some((at, End::Paragraph)))
}

enum Decision {
    Cut(End),
    Wait,
    /// No cut: this many bytes of space follow.
    GoOn(usize),
}

/// Whether a stretch ends with the chunk that the space at `at` closes.
fn after_chunk(text: &str, chunk: usize, at: usize, last: bool) -> Decision {
    let rest = &text[at..];
    let next = rest.trim_start();
    let spaces = rest.len() - next.len();
    let seen = last || !next.is_empty() || spaces > PATIENCE;
    let word = &text[chunk..at];
    if let Some(end) = end_of(word, text[..chunk].trim_end(), next, seen) {
        return end.map_or(Decision::Wait, Decision::Cut);
    }
    let breaks = rest[..spaces].matches('\n').count() + rest[..spaces].matches('\u{2029}').count();
    if breaks > 1 {
        return Decision::Cut(End::Paragraph);
    }
    let settled = last || next.len() > 4 || spaces > PATIENCE;
    if (breaks == 1 || rest[..spaces].ends_with(['\n', '\r'])) && !settled {
        return Decision::Wait;
    }
    if breaks == 1 && starts_item(next) {
        return Decision::Cut(End::Paragraph);
    }
    if next.is_empty() && !last && spaces <= PATIENCE {
        return Decision::Wait;
    }
    Decision::GoOn(spaces)
}

/// `None`: this chunk ends nothing. `Some(None)`: the next word decides, and is not seen yet.
fn end_of(chunk: &str, before: &str, next: &str, seen: bool) -> Option<Option<End>> {
    let body = without_tags(chunk).trim_end_matches(is_closer);
    let quoted = chunk.len() > body.len();
    let wait = |end: End| if seen { Some(Some(end)) } else { Some(None) };
    if matches!(body, "-" | "–") {
        if before.is_empty() {
            return None;
        }
        if !before.ends_with(|c: char| c.is_ascii_digit()) {
            return Some(Some(End::Clause));
        }
        return match seen {
            false => Some(None),
            true => (!next.starts_with(|c: char| c.is_ascii_digit())).then_some(Some(End::Clause)),
        };
    }
    let continues = || next.starts_with(char::is_lowercase);
    match body.chars().next_back()? {
        ',' | ';' | ':' | '，' | '、' | '；' | '：' => Some(Some(End::Clause)),
        '!' | '?' | '！' | '？' | '。' if !quoted => Some(Some(End::Sentence)),
        '!' | '?' | '！' | '？' | '。' => wait(if continues() {
            End::Clause
        } else {
            End::Sentence
        }),
        '…' => wait(if continues() {
            End::Clause
        } else {
            End::Sentence
        }),
        '.' if body.ends_with("..") => wait(if continues() {
            End::Clause
        } else {
            End::Sentence
        }),
        '.' => full_stop(body, before, next, seen),
        _ => None,
    }
}

/// The chunk without foreign tags at its end.
fn without_tags(mut chunk: &str) -> &str {
    while chunk.ends_with('>') && !chunk.ends_with(">>") && !chunk.ends_with("</spell>") {
        let Some(open) = chunk.rfind('<') else { break };
        chunk = &chunk[..open];
    }
    chunk
}

fn full_stop(body: &str, before: &str, next: &str, seen: bool) -> Option<Option<End>> {
    let word = body.trim_start_matches(is_opener);
    let counted = before.ends_with(|c: char| c.is_ascii_digit());
    let follow = if word == "in." && counted {
        Follow::Depends
    } else {
        abbreviations::follow(word)
    };
    match follow {
        Follow::Ends => Some(Some(End::Sentence)),
        _ if !seen => Some(None),
        _ if next.is_empty() => Some(Some(End::Sentence)),
        Follow::GoesOn => None,
        Follow::Depends => {
            let opened = next.trim_start_matches(is_opener);
            let name = opened.starts_with(char::is_uppercase);
            let address = abbreviations::is_saint(word) && !abbreviations::is_street(before);
            (name && !address && !abbreviations::heads_a_name(word, opened))
                .then_some(Some(End::Sentence))
        }
    }
}

/// A dash without spaces around it, or of several hyphens: its bytes, and whether all is seen.
fn dash(text: &str, inside: bool, last: bool) -> Option<(usize, bool)> {
    if text.starts_with(['—', '―']) {
        let rest = text.trim_start_matches(['—', '―', '-']);
        return Some((text.len() - rest.len(), last || !rest.is_empty()));
    }
    if !text.starts_with("-") || !inside {
        return None;
    }
    let rest = text.trim_start_matches('-');
    let length = text.len() - rest.len();
    if rest.is_empty() && !last {
        return Some((length, false));
    }
    (length > 1).then_some((length, true))
}

/// A line that starts an item: a bullet, a number with a full stop, a heading, a row of a table.
fn starts_item(line: &str) -> bool {
    let bullet = line.strip_prefix(['-', '*', '•', '+', '>', '–', '—', '◦', '▪']);
    if bullet.is_some_and(|rest| rest.starts_with(' '))
        || line.starts_with(['#', '|'])
        || line.starts_with("---")
    {
        return true;
    }
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.len() < line.len()
        && line.len() - rest.len() < 4
        && (rest.starts_with(". ") || rest.starts_with(") "))
}

/// Words before which a long stretch is best cut.
const JOINTS: &[&str] = &[
    "and", "but", "or", "that", "which", "who", "whose", "when", "where", "while", "because",
    "although", "if", "as", "so", "then", "for", "with", "without", "from", "into", "until",
    "before", "after", "since", "than", "by", "in", "on", "at", "to", "of",
];

fn by_length(text: &str, limit: usize) -> usize {
    let head = &text[..limit];
    let spaces = || {
        head.char_indices()
            .rev()
            .filter(|(_, c)| c.is_whitespace())
            .map(|(at, c)| at + c.len_utf8())
    };
    let joint = spaces().take_while(|&at| at > LIMIT / 2).find(|&at| {
        let word = text[at..]
            .split(|c: char| !c.is_alphabetic())
            .next()
            .unwrap_or("");
        at + word.len() < limit && JOINTS.contains(&word)
    });
    joint
        .or_else(|| spaces().next())
        .filter(|&at| !head[..at].trim().is_empty())
        .unwrap_or(limit)
}

/// Brackets, quotes and emphasis that may stand before a word.
pub(crate) fn is_opener(c: char) -> bool {
    matches!(
        c,
        '"' | '\''
            | '“'
            | '‘'
            | '„'
            | '«'
            | '('
            | '['
            | '{'
            | '*'
            | '_'
            | '`'
            | '~'
            | '¿'
            | '¡'
            | '‚'
            | '‹'
    )
}

/// Brackets, quotes and emphasis that may stand after a mark.
pub(crate) fn is_closer(c: char) -> bool {
    matches!(
        c,
        '"' | '\'' | '”' | '’' | '»' | ')' | ']' | '}' | '*' | '_' | '`' | '~' | '›' | '“'
    )
}
