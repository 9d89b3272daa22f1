//! A voice as a value: a vector, tokens, a pitch, and what is to be said about it. A file of a few
//! kilobytes.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic: `\x89SILVOX\n` |
//! | 4 | version, 2 (in version 1 voices had no tokens) |
//! | 4 | bytes of the description, at most 65,536 |
//! | … | the description: JSON with the name, the voice space and free fields |
//! | 916 | f32: 128 of the vector, the mean log F0, 100 equaliser offsets |
//! | 6,144 | i16: 24 tokens of 128, in steps of 1/2048 |
//! | 16 | xxh3-128 of everything above |
//!
//! Numbers are little-endian. The checksum finds accidents; it is no signature.

use crate::config::{MELS, VOICE_DIM, VOICE_TOKENS};
use crate::error::{VoiceError, VoiceFileError};
use crate::tokens::{Tokens, stretched};
use crate::vocoder::LOG_F0;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_128;

const MAGIC: [u8; 8] = *b"\x89SILVOX\n";
const VERSION: u32 = 2;
/// The most bytes a description may take.
const DESCRIPTION_LIMIT: usize = 1 << 16;
const NUMBERS: usize = VOICE_DIM + 1 + MELS;
const HEAD: usize = 16;
const SUM: usize = 16;
const LONGEST_FILE: usize = HEAD + DESCRIPTION_LIMIT + 4 * NUMBERS + Tokens::BYTES + SUM;
/// No voice vector of the training recordings has an element beyond a small part of this.
const LARGEST: f32 = 1e3;

/// Somebody's voice, as a model of its voice space can speak it.
#[derive(Debug, Clone, PartialEq)]
pub struct Voice {
    /// What it is called.
    pub name: String,
    /// Free text by name: `about`, `accent`, `language`, `consent`, ...
    pub fields: BTreeMap<String, String>,
    /// The space its vector and tokens live in, as the model's configuration names it.
    pub space: String,
    /// What tells it from other voices; of length `sqrt(128)`.
    pub vector: [f32; VOICE_DIM],
    /// How it says one kind of sound and another: what the text encoder looks up unit by unit.
    pub tokens: Tokens,
    /// Mean natural logarithm of its F0 in Hz.
    pub mu: f32,
    /// Added to every frame's log-mel bands.
    pub equaliser: [f32; MELS],
}

/// The description within a file.
#[derive(Serialize, Deserialize)]
struct Description {
    name: String,
    space: String,
    #[serde(default)]
    fields: BTreeMap<String, String>,
}

impl Voice {
    /// A voice with a flat equaliser and no fields.
    #[must_use]
    pub fn new(name: &str, space: &str, vector: [f32; VOICE_DIM], tokens: Tokens, mu: f32) -> Self {
        Voice {
            name: name.to_owned(),
            fields: BTreeMap::new(),
            space: space.to_owned(),
            vector,
            tokens,
            mu,
            equaliser: [0.0; MELS],
        }
    }

    /// The same with a field.
    #[must_use]
    pub fn with_field(mut self, name: &str, value: &str) -> Self {
        self.fields.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Voices blended by weight, vectors, tokens and all; its fields say of what.
    ///
    /// # Errors
    /// If there are none, weights are negative or do not add up, the voices are of different spaces, or
    /// they cancel each other.
    pub fn mix(name: &str, parts: &[(&Voice, f32)]) -> Result<Voice, VoiceError> {
        let sound = |w: f32| w.is_finite() && w >= 0.0;
        let total: f32 = parts.iter().map(|(_, weight)| weight).sum();
        let Some((first, _)) = parts.first() else {
            return Err(VoiceError::BadMix);
        };
        if !parts.iter().all(|(_, w)| sound(*w)) || total <= 0.0 || !total.is_finite() {
            return Err(VoiceError::BadMix);
        }
        let (mut vector, mut equaliser, mut mu) = ([0.0; VOICE_DIM], [0.0; MELS], 0.0);
        let mut tokens = [0.0; VOICE_TOKENS * VOICE_DIM];
        let mut recipe = Vec::new();
        for (voice, weight) in parts {
            voice.check(&first.space)?;
            let share = weight / total;
            let add = |to: &mut [f32], from: &[f32]| {
                to.iter_mut().zip(from).for_each(|(t, f)| *t += share * f);
            };
            add(&mut vector, &voice.vector);
            add(&mut tokens, &voice.tokens.values());
            add(&mut equaliser, &voice.equaliser);
            mu += share * voice.mu;
            recipe.push(format!("{}:{weight}", voice.name));
        }
        let vector = stretched(vector).ok_or(VoiceError::BadMix)?;
        let tokens = Tokens::stretched(&tokens).ok_or(VoiceError::BadMix)?;
        let mut mixed = Voice::new(name, &first.space, vector, tokens, mu);
        mixed.equaliser = equaliser;
        Ok(mixed.with_field("mix", &recipe.join(" ")))
    }

    /// Whether a model of voice space `space` can speak it.
    pub(crate) fn check(&self, space: &str) -> Result<(), VoiceError> {
        if self.space != space {
            return Err(VoiceError::ForeignVoice {
                name: self.name.clone(),
                found: self.space.clone(),
                expected: space.to_owned(),
            });
        }
        let (low, high) = LOG_F0;
        let bad = |value: f32| VoiceError::BadVoice {
            name: self.name.clone(),
            value,
        };
        let numbers = self.vector.iter().chain(&self.equaliser);
        if let Some(value) = numbers.copied().find(|v| v.is_nan() || v.abs() > LARGEST) {
            return Err(bad(value));
        }
        if !(low..=high).contains(&self.mu) {
            return Err(bad(self.mu));
        }
        Ok(())
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// If the description is too long.
    pub fn to_bytes(&self) -> Result<Vec<u8>, VoiceFileError> {
        let description = Description {
            name: self.name.clone(),
            space: self.space.clone(),
            fields: self.fields.clone(),
        };
        // Strings always have a notation.
        let json = serde_json::to_vec(&description).unwrap_or_default();
        if json.len() > DESCRIPTION_LIMIT {
            return Err(VoiceFileError::TooLong {
                found: json.len(),
                limit: DESCRIPTION_LIMIT,
            });
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((json.len() as u32).to_le_bytes());
        bytes.extend(json);
        let numbers = self.vector.iter().chain([&self.mu]).chain(&self.equaliser);
        bytes.extend(numbers.flat_map(|v| v.to_le_bytes()));
        bytes.extend(self.tokens.bytes());
        bytes.extend(xxh3_128(&bytes).to_le_bytes());
        Ok(bytes)
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// If they are no voice file, of another version, or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VoiceFileError> {
        let damaged = |what| VoiceFileError::Damaged { what };
        let cut = || damaged("it is cut off");
        if !bytes.starts_with(&MAGIC) {
            return Err(VoiceFileError::NotAVoice);
        }
        let word = |at: usize| -> Option<u32> {
            let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(bytes))
        };
        let found = word(8).ok_or_else(cut)?;
        let known = VERSION;
        match found {
            VERSION => {}
            1 => return Err(VoiceFileError::Old { found, known }),
            _ => return Err(VoiceFileError::Version { found, known }),
        }
        let len = word(12).ok_or_else(cut)? as usize;
        if len > DESCRIPTION_LIMIT {
            return Err(damaged("its description is too long"));
        }
        let tokens = HEAD + len + 4 * NUMBERS;
        let body = tokens + Tokens::BYTES;
        if bytes.len() < body + SUM {
            return Err(cut());
        }
        if bytes.len() > body + SUM || xxh3_128(&bytes[..body]).to_le_bytes() != bytes[body..] {
            return Err(damaged("its checksum is wrong"));
        }
        let description: Description = serde_json::from_slice(&bytes[HEAD..HEAD + len])
            .map_err(|_| damaged("its description is none"))?;
        let mut numbers = bytes[HEAD + len..tokens]
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b));
        // There are exactly as many numbers as are taken.
        let mut next = || numbers.next().unwrap_or_default();
        Ok(Voice {
            name: description.name,
            fields: description.fields,
            space: description.space,
            vector: std::array::from_fn(|_| next()),
            tokens: Tokens::from_bytes(&bytes[tokens..body]).ok_or_else(cut)?,
            mu: next(),
            equaliser: std::array::from_fn(|_| next()),
        })
    }

    /// Writes a file that appears whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written, or the description is too long.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), VoiceFileError> {
        let bytes = self.to_bytes()?;
        let written = sillage_state::write_file(path.as_ref(), |file| file.write_all(&bytes));
        written.map_err(|source| VoiceFileError::Io {
            doing: "written",
            source,
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is no voice file, of another version, or damaged.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, VoiceFileError> {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            let file = std::fs::File::open(path)?;
            // A longer file is damaged, which one byte more is enough to tell.
            file.take(LONGEST_FILE as u64 + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|source| VoiceFileError::Io {
            doing: "read",
            source,
        })?;
        Voice::from_bytes(&bytes)
    }
}
