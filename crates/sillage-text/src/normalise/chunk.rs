//! A stretch of text as chunks: what stands between spaces, with quotes, brackets and marks set
//! apart from the core that is read.

use std::ops::Range;

use super::clean::{Plain, plain};
use crate::markup::{self, Inline, Markup};

/// What a chunk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    /// A dash that joins or parts two words without spaces.
    Dash,
    /// Letters to be spelt.
    Spell,
    /// Phonemes.
    Phones,
}

/// One piece of the text between spaces.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    /// Where it stands in the stretch, quotes and marks included.
    pub(crate) span: Range<usize>,
    pub(crate) kind: Kind,
    /// Openers before the core.
    pub(crate) lead: String,
    /// What is read, in plain characters.
    pub(crate) core: String,
    /// Marks and closers after the core.
    pub(crate) trail: String,
    /// First of its line.
    pub(crate) starts_line: bool,
    /// Letters of other scripts that were passed over.
    pub(crate) foreign: usize,
}

/// The chunks of a stretch.
pub(crate) fn chunks(text: &str) -> Vec<Chunk> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut at = 0;
    let mut fresh = true;
    while let Some(c) = text[at..].chars().next() {
        let size = c.len_utf8();
        let inline = (c == '<').then(|| inline(text, at)).flatten();
        let dashes = if inline.is_none() {
            dash(&text[at..], at > start)
        } else {
            0
        };
        if !c.is_whitespace() && inline.is_none() && dashes == 0 {
            at += size;
            continue;
        }
        push_text(&mut out, text, start..at, &mut fresh);
        if let Some((length, inline)) = inline {
            push_inline(&mut out, text, at, length, inline, &mut fresh);
            at += length;
        } else if dashes > 0 {
            out.push(Chunk {
                kind: Kind::Dash,
                ..Chunk::empty(at..at + dashes)
            });
            at += dashes;
        } else {
            fresh |= c == '\n';
            at += size;
        }
        start = at;
    }
    push_text(&mut out, text, start..at, &mut fresh);
    out
}

fn inline(text: &str, at: usize) -> Option<(usize, Inline)> {
    match markup::at(&text[at..], text[..at].chars().next_back(), true, 0) {
        Ok(Markup::Inline(length, inline)) => Some((length, inline)),
        _ => None,
    }
}

fn dash(text: &str, inside: bool) -> usize {
    if text.starts_with(['—', '―']) {
        return text.len() - text.trim_start_matches(['—', '―', '-']).len();
    }
    let rest = text.trim_start_matches('-');
    let length = text.len() - rest.len();
    if inside && length > 1 { length } else { 0 }
}

fn push_inline(
    out: &mut Vec<Chunk>,
    text: &str,
    at: usize,
    length: usize,
    inline: Inline,
    fresh: &mut bool,
) {
    let (kind, inside) = match inline {
        Inline::Spell(inside) => (Kind::Spell, inside),
        Inline::Phones(inside) => (Kind::Phones, inside),
        Inline::Skip => return,
    };
    let core = text[at + inside.start..at + inside.end].to_owned();
    out.push(Chunk {
        kind,
        core,
        ..Chunk::empty(at..at + length)
    });
    *fresh = false;
}

fn push_text(out: &mut Vec<Chunk>, text: &str, span: Range<usize>, fresh: &mut bool) {
    if span.is_empty() {
        return;
    }
    let mut chunk = Chunk {
        starts_line: *fresh,
        ..Chunk::empty(span.clone())
    };
    *fresh = false;
    let raw = &text[span];
    let decoded = if raw.contains('&') && raw.contains(';') {
        entities(raw)
    } else {
        raw.to_owned()
    };
    let mut whole = String::with_capacity(decoded.len());
    for c in decoded.chars() {
        match plain(c) {
            Plain::One(c) => whole.push(c),
            Plain::Text(text) => whole.push_str(text),
            Plain::Nothing => {}
            Plain::Foreign => chunk.foreign += 1,
        }
    }
    if let Some(at) = whole.find("](") {
        // A link of Markdown: its text is read, its address is not.
        let close = whole[at..]
            .find(')')
            .map_or(whole.len(), |end| at + end + 1);
        whole.replace_range(at..close, "]");
    }
    let core_end = core_end(&whole);
    let lead_end = whole[..core_end].find(|c| !is_lead(c)).unwrap_or(core_end);
    chunk.trail = whole[core_end..].to_owned();
    chunk.lead = whole[..lead_end].to_owned();
    chunk.core = whole[lead_end..core_end].to_owned();
    out.push(chunk);
}

fn is_lead(c: char) -> bool {
    matches!(
        c,
        '"' | '\'' | '(' | '[' | '{' | '*' | '_' | '`' | '¿' | '¡' | '•' | '|' | '◦' | '▪' | '●'
    )
}

fn is_trail(c: char) -> bool {
    matches!(
        c,
        '"' | '\''
            | ')'
            | ']'
            | '}'
            | '*'
            | '_'
            | '`'
            | ','
            | '.'
            | ';'
            | ':'
            | '!'
            | '?'
            | '…'
            | '|'
    )
}

fn core_end(whole: &str) -> usize {
    let trimmed = whole.trim_end_matches(is_trail).len();
    // Brackets that were opened inside the core belong to it: item(s), f(x).
    let open = whole[..trimmed]
        .rfind(['(', '['])
        .filter(|&at| at > 0 && whole[..at].ends_with(|c: char| c.is_alphanumeric()));
    match open {
        Some(_) if whole[trimmed..].starts_with([')', ']']) => trimmed + 1,
        _ => trimmed,
    }
}

/// The few entities of HTML that text is copied with.
fn entities(raw: &str) -> String {
    const NAMES: [(&str, &str); 9] = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&nbsp;", ""),
        ("&mdash;", "—"),
        ("&hellip;", "…"),
        ("&amp;", "&"),
    ];
    NAMES.iter().fold(raw.to_owned(), |text, (name, plain)| {
        text.replace(name, plain)
    })
}

impl Chunk {
    fn empty(span: Range<usize>) -> Self {
        Self {
            span,
            kind: Kind::Text,
            lead: String::new(),
            core: String::new(),
            trail: String::new(),
            starts_line: false,
            foreign: 0,
        }
    }

    /// The mark that the trailing signs amount to.
    pub(crate) fn mark(&self) -> Option<char> {
        mark_of(&self.trail)
    }

    /// Whether nothing separates this chunk from the next one.
    pub(crate) fn is_open(&self) -> bool {
        self.trail.is_empty()
    }
}

/// The one mark that a row of signs amounts to.
pub(crate) fn mark_of(signs: &str) -> Option<char> {
    if signs.contains('?') {
        return Some('?');
    }
    if signs.contains('!') {
        return Some('!');
    }
    if signs.contains("...") || signs.contains('…') {
        return Some('…');
    }
    ['.', ';', ':', ',']
        .into_iter()
        .find(|&mark| signs.contains(mark))
}
