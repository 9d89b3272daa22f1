//! What is to be said, as the text front end hands it over.

use crate::error::VoiceError;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The most units a phrase may have: 96, and the two ends of an utterance.
pub const LONGEST_PHRASE: usize = 98;
/// A pause longer than this is refused: nobody asks for an hour of silence on purpose.
const LONGEST_PAUSE: u32 = 40 * 600;

/// A phone, a punctuation mark or a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u16, u8)", into = "(u16, u8)")]
pub struct Unit {
    /// Its number in the model's [`symbols`](crate::VoiceModel::symbols).
    pub symbol: u16,
    /// 0: none, 1: primary, 2: secondary.
    pub stress: u8,
}

impl From<(u16, u8)> for Unit {
    fn from((symbol, stress): (u16, u8)) -> Self {
        Unit { symbol, stress }
    }
}

impl From<Unit> for (u16, u8) {
    fn from(unit: Unit) -> Self {
        (unit.symbol, unit.stress)
    }
}

/// A word of the text and the units that say it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WordSpan {
    /// The word exactly as it was written.
    pub text: String,
    /// Its units within the phrase.
    pub units: Range<usize>,
}

/// What is encoded at once: the units up to and with a punctuation mark and the space after it.
///
/// Its sound depends on what came before in the utterance, never on what comes after, so text may be
/// handed over phrase by phrase while it is still being written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phrase {
    /// At most [`LONGEST_PHRASE`]; empty for a mere pause.
    pub units: Vec<Unit>,
    /// Words in order, to be told when they are said.
    pub words: Vec<WordSpan>,
    /// This is the first phrase of an utterance (or of a sentence that is to sound like one).
    pub first: bool,
    /// A sentence ends here; see [`Reset`](crate::Reset).
    pub sentence_end: bool,
    /// How fast: 1 as the model would, 2 twice as fast. 0.25 to 4.
    pub speed: f32,
    /// The samples are multiplied by this. 0 to 4; what passes full scale is cut off.
    pub volume: f32,
    /// Steps (25 ms) of silence before the first unit.
    pub pause: u32,
}

impl Default for Phrase {
    fn default() -> Self {
        Phrase {
            units: Vec::new(),
            words: Vec::new(),
            first: false,
            sentence_end: false,
            speed: 1.0,
            volume: 1.0,
            pause: 0,
        }
    }
}

impl Phrase {
    /// Whether a model that knows `symbols` symbols can say this.
    pub(crate) fn check(&self, symbols: usize) -> Result<(), VoiceError> {
        let found = self.units.len();
        if found > LONGEST_PHRASE {
            let limit = LONGEST_PHRASE;
            return Err(VoiceError::LongPhrase { found, limit });
        }
        let bad = |what, found: String, expected| VoiceError::BadPhrase {
            what,
            found,
            expected,
        };
        if !(0.25..=4.0).contains(&self.speed) {
            return Err(bad("speed", self.speed.to_string(), "0.25 to 4"));
        }
        if !(0.0..=4.0).contains(&self.volume) {
            return Err(bad("volume", self.volume.to_string(), "0 to 4"));
        }
        if self.pause > LONGEST_PAUSE {
            let found = self.pause.to_string();
            return Err(bad("pause", found, "at most 24,000 steps"));
        }
        for (index, unit) in self.units.iter().enumerate() {
            if usize::from(unit.symbol) >= symbols {
                return Err(VoiceError::UnknownSymbol {
                    index,
                    symbol: unit.symbol,
                    known: symbols,
                });
            }
            if unit.stress > 2 {
                return Err(bad("stress", unit.stress.to_string(), "0, 1 or 2"));
            }
        }
        let mut end = 0;
        for WordSpan { units, .. } in &self.words {
            if units.start < end || units.end < units.start || units.end > found {
                let found = format!("{}..{}", units.start, units.end);
                return Err(bad("word", found, "units of the phrase, in order"));
            }
            end = units.end;
        }
        Ok(())
    }
}
