//! An utterance as bytes: frozen in the middle of a sound, resumed elsewhere, going on bit for bit.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic: `\x89SILUTT\n` |
//! | 4 | version, 2 (in version 1 voices had no tokens) |
//! | 4 | bytes of the header |
//! | … | the header: JSON with the phrases to come and where in them the utterance is |
//! | … | its voice, as a voice file |
//! | … | f32: samples that were made and not taken |
//! | … | three states: backbone, vocoder, vocoder's memory |
//! | 16 | xxh3-128 of everything above |

use crate::acoustic::Clock;
use crate::error::FrozenError;
use crate::model::VoiceModel;
use crate::phrase::{Phrase, Unit, WordSpan};
use crate::timing::Timeline;
use crate::utterance::{FrameGains, Pending, Place, Reset, Utterance, UtteranceOptions};
use crate::vocoder::Memory;
use crate::voice::Voice;
use serde::{Deserialize, Serialize};
use sillage_kernels::Compute;
use sillage_state::{Layout, Precision, Snapshot, State};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

const MAGIC: [u8; 8] = *b"\x89SILUTT\n";
const VERSION: u32 = 2;
const HEAD: usize = 16;
const SUM: usize = 16;
/// Frames are counted no further: four hundred years of sound.
const MOST_FRAMES: u64 = 1 << 40;

#[derive(Serialize, Deserialize)]
struct Header {
    seed: u32,
    reset: Reset,
    finished: bool,
    done: bool,
    clock: Clock,
    place: Place,
    timeline: Timeline,
    made: u64,
    queue: Vec<FrozenPhrase>,
    voice_bytes: usize,
    samples: usize,
}

/// A phrase with its settings as bits, which no notation rounds.
#[derive(Serialize, Deserialize)]
struct FrozenPhrase {
    units: Vec<Unit>,
    words: Vec<WordSpan>,
    first: bool,
    sentence_end: bool,
    speed: u32,
    volume: u32,
    pause: u32,
    counts: Option<Vec<u32>>,
}

impl FrozenPhrase {
    fn of(pending: &Pending) -> Self {
        let phrase = &pending.phrase;
        FrozenPhrase {
            units: phrase.units.clone(),
            words: phrase.words.clone(),
            first: phrase.first,
            sentence_end: phrase.sentence_end,
            speed: phrase.speed.to_bits(),
            volume: phrase.volume.to_bits(),
            pause: phrase.pause,
            counts: pending.counts.clone(),
        }
    }

    fn thaw(self) -> Pending {
        Pending {
            phrase: Phrase {
                units: self.units,
                words: self.words,
                first: self.first,
                sentence_end: self.sentence_end,
                speed: f32::from_bits(self.speed),
                volume: f32::from_bits(self.volume),
                pause: self.pause,
            },
            counts: self.counts,
            inputs: None,
        }
    }
}

impl Utterance {
    /// Freezes it as it is; it goes on unharmed. Gains of frames are not part of it.
    ///
    /// # Errors
    /// If its voice's description is too long to be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FrozenError> {
        let voice = self.speaker.voice.to_bytes()?;
        let header = Header {
            seed: self.options.seed,
            reset: self.options.reset,
            finished: self.finished,
            done: self.done,
            clock: self.clock,
            place: self.place,
            timeline: self.timeline.clone(),
            made: self.made,
            queue: self.queue.iter().map(FrozenPhrase::of).collect(),
            voice_bytes: voice.len(),
            samples: self.samples.len(),
        };
        let damaged = |what: String| FrozenError::Damaged { what };
        let json = serde_json::to_vec(&header).map_err(|e| damaged(e.to_string()))?;
        let len = u32::try_from(json.len()).map_err(|e| damaged(e.to_string()))?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(len.to_le_bytes());
        bytes.extend(json);
        bytes.extend(voice);
        bytes.extend(self.samples.iter().flat_map(|v| v.to_le_bytes()));
        for state in [&self.backbone, &self.trunk, &self.memory] {
            state.snapshot().write_to(&mut bytes, Precision::Exact)?;
        }
        bytes.extend(xxh3_128(&bytes).to_le_bytes());
        Ok(bytes)
    }

    /// Resumes an utterance that was frozen with the same model, with the same gains if it had any.
    ///
    /// # Errors
    /// If the bytes are no frozen utterance, damaged, of a later version, or of another model.
    pub fn from_bytes(
        model: &VoiceModel,
        cx: &Compute,
        bytes: &[u8],
        gains: Option<Arc<dyn FrameGains>>,
    ) -> Result<Self, FrozenError> {
        let (header, mut rest) = open(bytes)?;
        let mut part = |len: usize| -> Result<&[u8], FrozenError> {
            let (part, after) = rest.split_at_checked(len).ok_or_else(cut)?;
            rest = after;
            Ok(part)
        };
        let voice = Voice::from_bytes(part(header.voice_bytes)?)?;
        let samples = part(header.samples.checked_mul(4).ok_or_else(cut)?)?;
        let samples = samples.as_chunks::<4>().0.iter();
        let samples: Vec<f32> = samples.map(|b| f32::from_le_bytes(*b)).collect();
        let speaker = model.speaker(cx, &voice)?;
        let options = UtteranceOptions {
            seed: header.seed,
            reset: header.reset,
            gains,
        };
        let mut utterance = Utterance::new(&speaker, options);
        let state = |rest: &mut &[u8], layout: &Arc<Layout>| -> Result<State, FrozenError> {
            Ok(Snapshot::read_from(&mut *rest, layout)?.resume())
        };
        utterance.backbone = state(&mut rest, speaker.backbone.layout())?;
        utterance.trunk = state(&mut rest, &speaker.trunk)?;
        utterance.memory = state(&mut rest, &speaker.memory)?;
        if !rest.is_empty() {
            return Err(damaged("there is more than was frozen"));
        }
        utterance.finished = header.finished;
        utterance.done = header.done;
        utterance.clock = header.clock;
        utterance.place = header.place;
        utterance.timeline = header.timeline;
        utterance.made = header.made;
        utterance.samples = samples;
        utterance.queue = header.queue.into_iter().map(FrozenPhrase::thaw).collect();
        utterance.verify()?;
        Ok(utterance)
    }

    /// Whether it is such as could have been frozen.
    fn verify(&mut self) -> Result<(), FrozenError> {
        for (i, pending) in self.queue.iter().enumerate() {
            pending.phrase.check(self.speaker.symbols)?;
            let units = pending.phrase.units.len();
            let place = if i == 0 { self.place } else { Place::default() };
            let fits = match &pending.counts {
                Some(counts) => {
                    let last = counts.get(place.unit).copied().unwrap_or(0);
                    counts.len() == units && place.unit <= units && place.step <= last
                }
                None => (place.unit, place.step) == (0, 0),
            };
            if !fits || place.pause > pending.phrase.pause {
                return Err(damaged("its place in a phrase is outside"));
            }
        }
        if self.queue.is_empty() && self.place != Place::default() {
            return Err(damaged("it is within a phrase that is not there"));
        }
        let finite = self.samples.iter().all(|v| v.is_finite() && v.abs() <= 1.0);
        let memory = Memory::of(&mut self.memory).is_some_and(|memory| memory.is_sane());
        if !finite || !memory || !self.clock.is_sane() || self.trunk.position() > MOST_FRAMES {
            return Err(damaged("its numbers are not such as an utterance has"));
        }
        Ok(())
    }
}

/// Checks the outside; the header, and what comes after it.
fn open(bytes: &[u8]) -> Result<(Header, &[u8]), FrozenError> {
    if !bytes.starts_with(&MAGIC) {
        return Err(FrozenError::NotFrozen);
    }
    let word = |at: usize| -> Result<u32, FrozenError> {
        let bytes = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
        Ok(u32::from_le_bytes(bytes.ok_or_else(cut)?))
    };
    let found = word(8)?;
    if found != VERSION {
        let known = VERSION;
        return Err(FrozenError::Version { found, known });
    }
    let len = word(12)? as usize;
    let end = bytes.len().checked_sub(SUM).filter(|end| *end >= HEAD);
    let (body, sum) = bytes.split_at(end.ok_or_else(cut)?);
    if xxh3_128(body).to_le_bytes() != *sum {
        return Err(damaged("its checksum is wrong"));
    }
    let (json, rest) = body[HEAD..].split_at_checked(len).ok_or_else(cut)?;
    let header = serde_json::from_slice(json).map_err(|e| FrozenError::Damaged {
        what: format!("its header: {e}"),
    })?;
    Ok((header, rest))
}

fn cut() -> FrozenError {
    damaged("it is cut off")
}

fn damaged(what: &str) -> FrozenError {
    FrozenError::Damaged {
        what: what.to_owned(),
    }
}
