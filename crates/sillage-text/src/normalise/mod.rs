//! Text to the words that are spoken: numbers, dates, money, abbreviations, symbols and the rest.
//!
//! A stretch is cut into chunks at its spaces; readers try in turn to make sense of the chunks at
//! hand, and the first that does says them. Every token knows the chunk it came from.

pub(crate) mod abbreviations;
pub(crate) mod chunk;
mod clean;
mod codes;
mod dates;
mod emoji;
mod lists;
mod money;
mod number;
mod numbers;
mod quantity;
mod symbols;
mod telephone;
mod units;
mod web;
mod words;

use crate::{Accent, lexicon::Lexicon};
pub(crate) use chunk::{Chunk, Kind as ChunkKind};
pub(crate) use words::{humps, row_and_ending};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A word or a compound, for the dictionary.
    Word,
    /// A word of a number.
    Number,
    /// A row of letters, said one by one; may end in `s` or `'s`.
    Letters,
    /// Letters to be said slowly, one word each.
    Spelt,
    /// Phonemes as the text gives them.
    Phones,
    /// A mark that ends a phrase.
    Mark,
}

/// One spoken thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    /// The chunk it comes from.
    pub(crate) chunk: usize,
}

/// A stretch being read.
pub(crate) struct Reading<'a> {
    pub(crate) chunks: &'a [Chunk],
    pub(crate) accent: Accent,
    pub(crate) lexicon: &'a Lexicon,
    /// All in capitals.
    pub(crate) shouting: bool,
    at: usize,
    tokens: Vec<Token>,
}

/// The tokens of a stretch. `close` adds a full stop where no mark ends it.
pub(crate) fn read(chunks: &[Chunk], accent: Accent, lexicon: &Lexicon, close: bool) -> Vec<Token> {
    let shouting = is_shouting(chunks);
    let mut reading = Reading {
        chunks,
        accent,
        lexicon,
        shouting,
        at: 0,
        tokens: Vec::new(),
    };
    while reading.at < chunks.len() {
        let used = reading.next().max(1);
        reading.at += used;
        reading.close_chunk(reading.at - 1);
    }
    if close
        && reading
            .tokens
            .last()
            .is_some_and(|token| token.kind != Kind::Mark)
    {
        reading.mark('.', chunks.len().saturating_sub(1));
    }
    reading.tokens
}

fn is_shouting(chunks: &[Chunk]) -> bool {
    let words = || {
        chunks
            .iter()
            .filter(|c| c.core.chars().filter(|c| c.is_alphabetic()).count() > 1)
    };
    let loud = words()
        .filter(|c| !c.core.chars().any(char::is_lowercase))
        .count();
    loud > 2 && loud * 10 >= words().count() * 7
}

impl<'a> Reading<'a> {
    /// Reads what stands at the current chunk; how many chunks that took.
    fn next(&mut self) -> usize {
        let chunk = &self.chunks[self.at];
        match chunk.kind {
            ChunkKind::Dash => {
                self.mark('—', self.at);
                return 1;
            }
            ChunkKind::Spell => {
                for c in chunk.core.clone().chars() {
                    words::spelt(self, c);
                }
                return 1;
            }
            ChunkKind::Phones => {
                let text = chunk.core.clone();
                self.push(Kind::Phones, &text, 0);
                return 1;
            }
            ChunkKind::Text => {}
        }
        if chunk.lead.contains('(')
            && self
                .tokens
                .last()
                .is_some_and(|token| token.kind != Kind::Mark)
            && !telephone::starts(self)
        {
            self.mark(',', self.at.saturating_sub(1));
        }
        const READERS: &[fn(&mut Reading<'_>) -> usize] = &[
            symbols::alone,
            web::read,
            money::read,
            telephone::read,
            dates::read,
            quantity::read,
            codes::read,
            symbols::read,
            words::read,
        ];
        for reader in READERS {
            let before = self.tokens.len();
            let used = reader(self);
            if used > 0 {
                return used;
            }
            self.tokens.truncate(before);
        }
        1
    }

    /// The mark after the chunk that was read last.
    fn close_chunk(&mut self, at: usize) {
        let chunk = &self.chunks[at];
        if self
            .tokens
            .last()
            .is_none_or(|token| token.kind == Kind::Mark)
        {
            return;
        }
        // A full stop that ended a sentence would have ended the stretch.
        let abbreviated =
            chunk.trail.starts_with('.') && chunk.mark() == Some('.') && at + 1 < self.chunks.len();
        if let Some(mark) = chunk.mark().filter(|_| !abbreviated) {
            self.mark(mark, at);
        } else if chunk.trail.contains(')')
            && at + 1 < self.chunks.len()
            && chunk.lead.is_empty() | chunk.lead.contains('(')
        {
            let opened = self.chunks[..=at]
                .iter()
                .any(|chunk| chunk.lead.contains('('));
            if opened && self.chunks[at + 1].kind == ChunkKind::Text {
                self.mark(',', at);
            }
        }
    }

    fn mark(&mut self, mark: char, chunk: usize) {
        if self
            .tokens
            .last()
            .is_some_and(|token| token.kind != Kind::Mark)
        {
            self.tokens.push(Token {
                kind: Kind::Mark,
                text: mark.to_string(),
                chunk,
            });
        }
    }

    /// The core of the chunk that is `ahead` of this one; empty if there is none or a mark, a quote
    /// or a bracket stands between.
    pub(crate) fn ahead(&self, ahead: usize) -> &'a str {
        let chunks = &self.chunks[self.at..];
        let open = (0..ahead).all(|i| chunks.get(i).is_some_and(Chunk::is_open));
        match chunks.get(ahead) {
            Some(chunk)
                if open
                    && chunk.kind == ChunkKind::Text
                    && (ahead == 0 || chunk.lead.is_empty()) =>
            {
                &chunk.core
            }
            _ => "",
        }
    }

    /// As [`Reading::ahead`], but the chunks between may end with the full stop of an abbreviation.
    pub(crate) fn after_stop(&self) -> &'a str {
        let chunks = &self.chunks[self.at..];
        let open = chunks
            .first()
            .is_some_and(|chunk| chunk.trail.is_empty() || chunk.trail == ".");
        match chunks.get(1) {
            Some(chunk) if open && chunk.kind == ChunkKind::Text && chunk.lead.is_empty() => {
                &chunk.core
            }
            _ => "",
        }
    }

    /// The core of the chunk before this one; empty after a mark.
    pub(crate) fn behind(&self) -> &'a str {
        match self.at.checked_sub(1).and_then(|at| self.chunks.get(at)) {
            Some(chunk)
                if chunk.kind == ChunkKind::Text && (chunk.is_open() || chunk.trail == ".") =>
            {
                &chunk.core
            }
            _ => "",
        }
    }

    /// Where the chunk at hand stands.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The chunk at hand.
    pub(crate) fn chunk(&self) -> &'a Chunk {
        &self.chunks[self.at]
    }

    /// Whether the chunk at hand is the first of the stretch.
    pub(crate) fn is_first(&self) -> bool {
        self.at == 0
    }

    /// Says words, for the chunk `ahead` of this one.
    pub(crate) fn say(&mut self, words: &str, ahead: usize) {
        for word in words.split_ascii_whitespace() {
            let letters = word.len() == 2 && word.bytes().all(|b| b.is_ascii_uppercase());
            self.push(
                if letters { Kind::Letters } else { Kind::Word },
                word,
                ahead,
            );
        }
    }

    /// Says the words of a number.
    pub(crate) fn count(&mut self, words: &str, ahead: usize) {
        for word in words.split_ascii_whitespace() {
            self.push(Kind::Number, word, ahead);
        }
    }

    pub(crate) fn push(&mut self, kind: Kind, text: &str, ahead: usize) {
        self.tokens.push(Token {
            kind,
            text: text.to_owned(),
            chunk: self.at + ahead,
        });
    }

    /// A short rest inside a reading, such as between the groups of a telephone number.
    pub(crate) fn rest(&mut self) {
        self.mark(',', self.at);
    }
}

/// The tokens as plain words, for people: lower case, no marks, letters apart.
pub(crate) fn plain_words(tokens: &[Token]) -> String {
    let mut words: Vec<String> = Vec::new();
    for token in tokens {
        match token.kind {
            Kind::Mark => {}
            Kind::Letters => {
                let (row, ending) = words::row_and_ending(&token.text);
                words.extend(
                    row.chars()
                        .filter(|c| *c != '.')
                        .map(|c| c.to_lowercase().collect()),
                );
                if let (Some(last), false) = (words.last_mut(), ending.is_empty()) {
                    last.push_str("'s");
                }
            }
            Kind::Word | Kind::Number | Kind::Spelt | Kind::Phones => {
                let text = token.text.to_lowercase();
                words.extend(
                    text.split(['-', '/', ' ', '_'])
                        .filter(|part| !part.is_empty())
                        .map(str::to_owned),
                );
            }
        }
    }
    words.join(" ")
}
