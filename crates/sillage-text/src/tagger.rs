//! Parts of speech: an averaged perceptron over hashed features, trained by
//! `recipes/text/train_tagger.py`, greedy from left to right.
//!
//! It looks two tokens back and two ahead, never beyond the mark that ends the stretch it is
//! given, so that what has been heard so far never depends on what comes after a pause.

use crate::{TextError, tags::Tag};

static MODEL: &[u8] = include_bytes!("../data/tagger.bin");

const BEFORE: &str = "<s>";
const AFTER: &str = "</s>";
const NUMBER: &str = "<num>";
const TEMPLATES: usize = 17;

/// The hashes of a token that features are made of: word, last three and two letters, shape.
pub(crate) type Columns = [u32; 4];

/// The model: features in the order of their hashes, each with a few weights.
#[derive(Debug)]
pub(crate) struct Tagger {
    keys: Vec<u32>,
    starts: Vec<u32>,
    weights: Vec<(u8, i8)>,
    /// For each value of a hash's upper bits, where its features start.
    index: Vec<u32>,
}

/// Upper bits of a hash that the index resolves.
const INDEX_BITS: u32 = 14;

/// What a stretch of text sees of the one before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct History([Columns; 2]);

impl History {
    /// Its hashes in a row.
    pub(crate) fn words(&self) -> impl Iterator<Item = u32> {
        self.0.into_iter().flatten()
    }

    pub(crate) fn from_words([a, b, c, d, e, f, g, h]: [u32; 8]) -> Self {
        Self([[a, b, c, d], [e, f, g, h]])
    }
}

impl Default for History {
    fn default() -> Self {
        Self([columns(BEFORE); 2])
    }
}

impl Tagger {
    pub(crate) fn load() -> Result<Self, TextError> {
        Self::parse(MODEL).ok_or(TextError::Table("tagger"))
    }

    fn parse(mut raw: &[u8]) -> Option<Self> {
        let mut model = Self {
            keys: Vec::new(),
            starts: vec![0],
            weights: Vec::new(),
            index: Vec::new(),
        };
        let mut key = 0u32;
        while !raw.is_empty() {
            key = key.checked_add(varint(&mut raw)?)?;
            let (&count, rest) = raw.split_first()?;
            let (pairs, rest) = rest.split_at_checked(usize::from(count) * 2)?;
            for pair in pairs.chunks_exact(2) {
                if usize::from(pair[0]) >= Tag::ALL.len() {
                    return None;
                }
                model.weights.push((pair[0], i8::from_le_bytes([pair[1]])));
            }
            raw = rest;
            model.keys.push(key);
            model.starts.push(u32::try_from(model.weights.len()).ok()?);
        }
        let mut at = 0;
        for top in 0..=(1u64 << INDEX_BITS) {
            while model
                .keys
                .get(at)
                .is_some_and(|&key| u64::from(key >> (32 - INDEX_BITS)) < top)
            {
                at += 1;
            }
            model.index.push(u32::try_from(at).ok()?);
        }
        Some(model)
    }

    fn add(&self, feature: u32, scores: &mut [i32; Tag::ALL.len()]) {
        let top = (feature >> (32 - INDEX_BITS)) as usize;
        let (from, to) = (self.index[top] as usize, self.index[top + 1] as usize);
        if let Ok(at) = self.keys[from..to].binary_search(&feature) {
            let row = self.starts[from + at] as usize..self.starts[from + at + 1] as usize;
            for &(tag, weight) in &self.weights[row] {
                scores[usize::from(tag)] += i32::from(weight);
            }
        }
    }

    /// The tags of a stretch that ends with a mark or where the text does; `fixed` tokens keep
    /// the tag they have.
    pub(crate) fn tag(&self, tokens: &[(Columns, Option<Tag>)], history: &mut History) -> Vec<Tag> {
        let (before, after) = (columns(BEFORE), columns(AFTER));
        let row = |at: isize| -> &Columns {
            match usize::try_from(at) {
                Ok(at) => tokens.get(at).map_or(&after, |token| &token.0),
                Err(_) => match at {
                    -1 => &history.0[1],
                    -2 => &history.0[0],
                    _ => &before,
                },
            }
        };
        let mut tags = Vec::with_capacity(tokens.len());
        let (mut t1, mut t2) = (0u32, 0u32);
        for (at, (_, fixed)) in tokens.iter().enumerate() {
            let here = isize::try_from(at).unwrap_or(0);
            let tag = fixed.unwrap_or_else(|| {
                let window = [
                    row(here - 2),
                    row(here - 1),
                    row(here),
                    row(here + 1),
                    row(here + 2),
                ];
                self.best(&features(window, t1, t2))
            });
            t2 = t1;
            t1 = tag as u32 + 1;
            tags.push(tag);
        }
        for (columns, _) in tokens {
            history.0 = [history.0[1], *columns];
        }
        tags
    }

    fn best(&self, features: &[u32; TEMPLATES]) -> Tag {
        let mut scores = [0; Tag::ALL.len()];
        for &feature in features {
            self.add(feature, &mut scores);
        }
        let mut best = 0;
        for (tag, &score) in scores.iter().enumerate() {
            if score > scores[best] {
                best = tag;
            }
        }
        Tag::ALL[best]
    }
}

/// The hashes of one token.
pub(crate) fn columns(word: &str) -> Columns {
    let lower = if word.starts_with(|c: char| c.is_ascii_digit()) {
        NUMBER.to_owned()
    } else {
        word.to_lowercase()
    };
    [
        fnv(&lower),
        fnv(tail(&lower, 3)),
        fnv(tail(&lower, 2)),
        fnv(shape(word)),
    ]
}

/// The hashes of a number.
pub(crate) fn number_columns() -> Columns {
    columns("0")
}

fn tail(word: &str, letters: usize) -> &str {
    let start = word
        .char_indices()
        .rev()
        .nth(letters - 1)
        .map_or(0, |(at, _)| at);
    &word[start..]
}

fn shape(word: &str) -> &'static str {
    let mut chars = word.chars();
    let Some(first) = chars.next() else {
        return ".";
    };
    if first.is_ascii_digit() {
        return "0";
    }
    if !first.is_alphabetic() && first != '\'' {
        return ".";
    }
    if first.is_uppercase() {
        let rest = chars.as_str();
        return if !rest.is_empty() && !rest.chars().any(char::is_lowercase) {
            "XX"
        } else {
            "X"
        };
    }
    if word.chars().any(char::is_uppercase) {
        "xX"
    } else {
        "x"
    }
}

fn fnv(text: &str) -> u32 {
    text.bytes().fold(2_166_136_261, |value, byte| {
        (value ^ u32::from(byte)).wrapping_mul(16_777_619)
    })
}

fn mix(template: u32, a: u32, b: u32) -> u32 {
    let low = |value: u64| value & 0xFFFF_FFFF;
    let mut value = u64::from(template) * 0x9E37_79B1 + u64::from(a);
    value = low((value ^ (value >> 15)).wrapping_mul(0x85EB_CA6B));
    value = low((value ^ u64::from(b)).wrapping_mul(0xC2B2_AE35));
    value ^= value >> 13;
    u32::try_from(low(value)).unwrap_or(0)
}

fn features(
    [back2, back1, here, next1, next2]: [&Columns; 5],
    t1: u32,
    t2: u32,
) -> [u32; TEMPLATES] {
    let [word, suffix3, suffix2, shape] = *here;
    [
        mix(1, word, 0),
        mix(2, suffix3, shape),
        mix(3, suffix2, 0),
        mix(4, shape, back1[3]),
        mix(5, t1, 0),
        mix(6, t1, t2),
        mix(7, t1, word),
        mix(8, back1[0], 0),
        mix(9, back1[0], word),
        mix(10, back2[0], 0),
        mix(11, next1[0], 0),
        mix(12, next1[0], word),
        mix(13, next2[0], 0),
        mix(14, next1[1], t1),
        mix(15, back1[1], 0),
        mix(16, next1[1], word),
        mix(17, suffix3, t1),
    ]
}

fn varint(raw: &mut &[u8]) -> Option<u32> {
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = raw.split_first()?;
        *raw = rest;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return u32::try_from(value).ok();
        }
    }
    None
}
