//! What a voice speaks: phrases of units, with the words they come from.

use std::{ops::Range, time::Duration};

use crate::{
    normalise::{Chunk, ChunkKind, Kind, Token},
    phones::{PRIMARY, SECONDARY},
};

/// The most units of a phrase.
pub const LONGEST_PHRASE: usize = 96;

/// One sound, mark or space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// A phoneme of [`crate::inventory`], a mark (`; : , . ! ? — …`) or a space.
    pub phone: char,
    /// 0 none, 1 primary, 2 secondary; only vowels have it.
    pub stress: u8,
    /// The index into [`Phrase::words`] of the word that it belongs to; marks and spaces belong to
    /// the word before them.
    pub word: u32,
}

/// A word as the text has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Exactly as written, with the marks and quotes that touch it.
    pub text: String,
    /// Bytes from the start of all that the reader was given.
    pub span: Range<usize>,
    /// This is the rest of a word that the phrase before began.
    pub continued: bool,
}

/// A stretch of speech up to a mark, at most [`LONGEST_PHRASE`] units.
#[derive(Debug, Clone, PartialEq)]
pub struct Phrase {
    /// The sounds, with the mark and the space that end the phrase. Empty only in a last phrase
    /// that carries nothing but a pause.
    pub units: Vec<Unit>,
    /// The words they come from, in order.
    pub words: Vec<Word>,
    /// First of its sentence.
    pub sentence_start: bool,
    /// Last of its sentence.
    pub sentence_end: bool,
    /// Times the ordinary speed, from `<speed ratio=.../>`.
    pub speed: f32,
    /// Times the ordinary volume, from `<volume ratio=.../>`.
    pub volume: f32,
    /// Silence before it, from `<break time=.../>`.
    pub pause_before: Duration,
}

impl Phrase {
    /// The phonemes as one string, stress marks before their vowels.
    #[must_use]
    pub fn phonemes(&self) -> String {
        let mut out = String::new();
        for unit in &self.units {
            match unit.stress {
                1 => out.push(PRIMARY),
                2 => out.push(SECONDARY),
                _ => {}
            }
            out.push(unit.phone);
        }
        out
    }
}

/// Units with the chunk each comes from.
type Loose = (char, u8, usize);

/// Where the parts of a stretch lie.
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
    /// Bytes before the stretch.
    pub(crate) offset: usize,
    pub(crate) chunks: &'a [Chunk],
    /// The stretch is followed by a space.
    pub(crate) spaced: bool,
}

/// Groups the readings of a stretch into phrases; flags, speed and pauses are the caller's.
pub(crate) fn phrases(tokens: &[Token], readings: &[String], source: &Source<'_>) -> Vec<Phrase> {
    let mut out = Vec::new();
    let mut units: Vec<Loose> = Vec::new();
    let mut last_word = None;
    for (at, (token, reading)) in tokens.iter().zip(readings).enumerate() {
        let mark = token.kind == Kind::Mark;
        if reading.is_empty() {
            continue;
        }
        let spaced_dash = mark && reading == "—" && !source.touches_dash(token.chunk);
        if spaced_dash && units.last().is_some_and(|unit| unit.0 != ' ') {
            units.push((' ', 0, token.chunk));
        }
        push(&mut units, reading, token.chunk);
        let next = tokens.get(at + 1);
        let touching = mark && reading == "—" && !spaced_dash;
        let spaced = if next.is_none() { source.spaced } else { true };
        if spaced && !touching && next.is_none_or(|next| next.kind != Kind::Mark) {
            units.push((' ', 0, token.chunk));
        }
        if mark {
            cut(&mut units, source, &mut last_word, &mut out);
        }
    }
    cut(&mut units, source, &mut last_word, &mut out);
    out
}

fn push(units: &mut Vec<Loose>, reading: &str, chunk: usize) {
    let mut stress = 0;
    for c in reading.chars() {
        match c {
            PRIMARY => stress = 1,
            SECONDARY => stress = 2,
            _ => {
                units.push((c, stress, chunk));
                stress = 0;
            }
        }
    }
}

/// Moves the units into phrases of at most [`LONGEST_PHRASE`].
fn cut(
    units: &mut Vec<Loose>,
    source: &Source<'_>,
    last_word: &mut Option<usize>,
    out: &mut Vec<Phrase>,
) {
    let mut rest = units.as_slice();
    while !rest.is_empty() {
        let mut size = rest.len();
        if size > LONGEST_PHRASE {
            let space = rest[..LONGEST_PHRASE]
                .iter()
                .rposition(|unit| unit.0 == ' ');
            size = space.map_or(LONGEST_PHRASE, |at| at + 1);
        }
        let (head, tail) = rest.split_at(size);
        if head.iter().any(|unit| unit.0.is_alphabetic()) {
            out.push(phrase(head, source, last_word));
        }
        rest = tail;
    }
    units.clear();
}

fn phrase(loose: &[Loose], source: &Source<'_>, last_word: &mut Option<usize>) -> Phrase {
    let mut words: Vec<Word> = Vec::new();
    let mut here = None;
    let mut units = Vec::with_capacity(loose.len());
    for &(phone, stress, chunk) in loose {
        let sounds = phone.is_alphabetic() || phone == 'ː';
        if here.is_none() || (sounds && here < Some(chunk)) {
            here = Some(chunk);
            words.push(source.word(chunk, *last_word >= Some(chunk)));
            *last_word = Some(chunk);
        }
        let word = u32::try_from(words.len().saturating_sub(1)).unwrap_or(u32::MAX);
        units.push(Unit {
            phone,
            stress,
            word,
        });
    }
    Phrase {
        units,
        words,
        sentence_start: false,
        sentence_end: false,
        speed: 1.0,
        volume: 1.0,
        pause_before: Duration::ZERO,
    }
}

impl Source<'_> {
    /// Whether the mark at this chunk is a dash that touches the word before it.
    fn touches_dash(&self, chunk: usize) -> bool {
        self.chunks
            .get(chunk)
            .is_some_and(|c| c.kind == ChunkKind::Dash)
            && {
                let start = self.chunks[chunk].span.start;
                !self.text[..start].ends_with(char::is_whitespace)
            }
    }

    fn word(&self, chunk: usize, continued: bool) -> Word {
        let Some(chunk) = self.chunks.get(chunk) else {
            return Word {
                text: String::new(),
                span: self.offset..self.offset,
                continued,
            };
        };
        let raw = &self.text[chunk.span.clone()];
        let text = match chunk.kind {
            ChunkKind::Spell | ChunkKind::Phones => chunk.core.clone(),
            _ => raw.to_owned(),
        };
        Word {
            text,
            span: self.offset + chunk.span.start..self.offset + chunk.span.end,
            continued,
        }
    }
}
