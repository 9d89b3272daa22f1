//! The pronouncing dictionary of one accent, packed by `recipes/text/build_lexicon.py`.
//!
//! Everything lies in four flat arrays in the order of the words' bytes, so a lookup is a binary
//! search and the whole dictionary costs about 5 MB. An entry is *gold* (checked by hand), a name, or neither,
//! and may have further readings for parts of speech.

use std::io::Read;

use crate::{Accent, TextError, tags::Tag};

static US: &[u8] = include_bytes!("../data/us.lex");
static GB: &[u8] = include_bytes!("../data/gb.lex");

/// Codes from here on name a part of speech inside a reading.
const VARIANT: u8 = 128;

/// Which reading of an entry a variant belongs to, in the order of the recipe's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    Default,
    Noun,
    Verb,
    Adjective,
    Adverb,
    Past,
    Participle,
    Present,
    Determiner,
    /// Before a pause.
    Last,
}

const VARIANTS: [Variant; 10] = [
    Variant::Default,
    Variant::Noun,
    Variant::Verb,
    Variant::Adjective,
    Variant::Adverb,
    Variant::Past,
    Variant::Participle,
    Variant::Present,
    Variant::Determiner,
    Variant::Last,
];

/// The dictionary of one accent.
#[derive(Debug)]
pub(crate) struct Lexicon {
    phones: Vec<char>,
    words: Vec<u8>,
    word_ends: Vec<u32>,
    sounds: Vec<u8>,
    sound_ends: Vec<u32>,
    ranks: Vec<u8>,
}

/// One dictionary entry, not yet decoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    lexicon: &'a Lexicon,
    codes: &'a [u8],
    /// Checked by hand.
    pub(crate) gold: bool,
    /// A name: it is not the stem of a verb.
    pub(crate) name: bool,
}

impl Lexicon {
    pub(crate) fn load(accent: Accent) -> Result<Self, TextError> {
        let packed = match accent {
            Accent::Us => US,
            Accent::Gb => GB,
        };
        let mut raw = Vec::with_capacity(3_400_000);
        flate2::read::DeflateDecoder::new(packed)
            .read_to_end(&mut raw)
            .map_err(|_| TextError::Table("lexicon"))?;
        Self::parse(&raw).ok_or(TextError::Table("lexicon"))
    }

    fn parse(raw: &[u8]) -> Option<Self> {
        let (phones, raw) = split_line(raw)?;
        let (count, raw) = split_line(raw)?;
        let count: usize = std::str::from_utf8(count).ok()?.parse().ok()?;
        let prefixes = raw.get(..count)?;
        let raw = raw.get(count..)?;
        let mut words = Vec::with_capacity(count * 10);
        let mut word_ends = Vec::with_capacity(count);
        let mut rest = raw;
        let mut previous = 0;
        for &shared in prefixes {
            let (suffix, tail) = split_line(rest)?;
            rest = tail;
            let start = words.len();
            words.extend_from_within(previous..previous + usize::from(shared));
            words.extend_from_slice(suffix);
            previous = start;
            word_ends.push(u32::try_from(words.len()).ok()?);
        }
        let ranks = rest.get(..count)?.to_vec();
        let sounds = rest.get(count..)?.to_vec();
        let mut sound_ends = Vec::with_capacity(count);
        for (at, &code) in sounds.iter().enumerate() {
            if code == 0 {
                sound_ends.push(u32::try_from(at).ok()?);
            }
        }
        let phones = std::str::from_utf8(phones).ok()?.chars().collect();
        (sound_ends.len() == count).then_some(Self {
            phones,
            words,
            word_ends,
            sounds,
            sound_ends,
            ranks,
        })
    }

    fn word(&self, index: usize) -> &[u8] {
        let start = if index == 0 {
            0
        } else {
            self.word_ends[index - 1] as usize
        };
        &self.words[start..self.word_ends[index] as usize]
    }

    /// The entry spelt exactly so.
    pub(crate) fn exact(&self, word: &str) -> Option<Entry<'_>> {
        let key = word.as_bytes();
        let (mut low, mut high) = (0, self.word_ends.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.word(middle).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let start = if middle == 0 {
                        0
                    } else {
                        self.sound_ends[middle - 1] as usize + 1
                    };
                    let codes = &self.sounds[start..self.sound_ends[middle] as usize];
                    return Some(Entry {
                        lexicon: self,
                        codes,
                        gold: self.ranks[middle] == 1,
                        name: self.ranks[middle] == 2,
                    });
                }
            }
        }
        None
    }

    /// The entry of a word; lower case answers for a capitalised word and the other way round.
    pub(crate) fn find(&self, word: &str) -> Option<Entry<'_>> {
        if let Some(entry) = self.exact(word) {
            return Some(entry);
        }
        let mut chars = word.chars();
        let first = chars.next()?;
        let rest = chars.as_str();
        if rest.is_empty() || rest.chars().any(char::is_uppercase) {
            return None;
        }
        let other: String = if first.is_lowercase() {
            first.to_uppercase().chain(rest.chars()).collect()
        } else {
            first.to_lowercase().chain(rest.chars()).collect()
        };
        if other == word {
            None
        } else {
            self.exact(&other)
        }
    }

    /// The gold entry of a word, if it has one.
    pub(crate) fn gold(&self, word: &str) -> Option<Entry<'_>> {
        self.find(word).filter(|entry| entry.gold)
    }
}

impl Entry<'_> {
    /// The reading for a part of speech; `last` says that a pause follows. `None` means that the
    /// word is spelt letter by letter in this use.
    pub(crate) fn reading(&self, tag: Option<Tag>, last: bool) -> Option<String> {
        let wanted = |variant: Variant| self.variant(variant);
        if last && let Some(codes) = wanted(Variant::Last) {
            return self.decode(codes);
        }
        let exact = match tag {
            Some(Tag::VBD) => wanted(Variant::Past),
            Some(Tag::VBN) => wanted(Variant::Participle),
            Some(Tag::VBP) => wanted(Variant::Present),
            Some(Tag::DT) => wanted(Variant::Determiner),
            _ => None,
        };
        let class = || match tag {
            Some(tag) if tag.is_verb() => wanted(Variant::Verb),
            Some(tag) if tag.is_noun() => wanted(Variant::Noun),
            Some(Tag::RB) => wanted(Variant::Adverb),
            Some(Tag::JJ) => wanted(Variant::Adjective),
            _ => None,
        };
        self.decode(exact.or_else(class).unwrap_or_else(|| self.first()))
    }

    /// The reading that the word has as this variant, where it has one of its own.
    fn variant(&self, variant: Variant) -> Option<&[u8]> {
        let mut rest = self.codes;
        while let Some(at) = rest.iter().position(|&code| code >= VARIANT) {
            let found = VARIANTS.get(usize::from(rest[at] - VARIANT));
            rest = &rest[at + 1..];
            if found == Some(&variant) {
                return Some(head(rest));
            }
        }
        None
    }

    /// Whether it is said otherwise as a verb.
    pub(crate) fn has_verb(&self) -> bool {
        self.variant(Variant::Verb).is_some() || self.variant(Variant::Noun).is_some()
    }

    /// The reading of the simple past, of verbs that have their own (`read`, `used`).
    pub(crate) fn past(&self) -> Option<String> {
        self.variant(Variant::Past)
            .and_then(|codes| self.decode(codes))
    }

    /// The reading without regard to its use.
    pub(crate) fn plain(&self) -> Option<String> {
        self.decode(self.first())
    }

    fn first(&self) -> &[u8] {
        head(self.codes)
    }

    fn decode(&self, codes: &[u8]) -> Option<String> {
        if codes.is_empty() {
            return None;
        }
        codes
            .iter()
            .map(|&code| self.lexicon.phones.get(usize::from(code) - 1))
            .collect()
    }
}

fn head(codes: &[u8]) -> &[u8] {
    let end = codes
        .iter()
        .position(|&code| code >= VARIANT)
        .unwrap_or(codes.len());
    &codes[..end]
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}
