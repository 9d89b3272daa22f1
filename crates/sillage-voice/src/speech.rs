//! Text to sound: what a front end reads, in the units of a model, fed to an utterance.

use crate::error::VoiceError;
use crate::model::{Speaker, VoiceModel};
use crate::phrase::{LONGEST_PHRASE, Phrase, Unit, WordSpan};
use crate::utterance::{FrameGains, Reset, Utterance, UtteranceOptions};
use crate::{BINS, STEP_SECONDS};
use sillage_audio::watermark::{Key, Watermark};
use sillage_text::{FrontEnd, Reader, TextError};
use std::collections::HashMap;
use std::sync::Arc;

/// What can go wrong between a text and its sound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpeechError {
    /// A mistake in the text's markup.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The model could not say it.
    #[error(transparent)]
    Voice(#[from] VoiceError),
}

/// How a text is spoken.
#[derive(Debug, Clone)]
pub struct SpeechOptions {
    /// What the noise in the sound is made from.
    pub seed: u32,
    /// Times the ordinary speed.
    pub speed: f32,
    /// Times the ordinary volume.
    pub volume: f32,
    /// What the watermark says, in 32 bits.
    pub payload: u32,
    /// The watermark's key.
    pub key: Key,
    /// When the backbone goes back to the state of the voice.
    pub reset: Reset,
}

impl Default for SpeechOptions {
    fn default() -> Self {
        SpeechOptions {
            seed: 0,
            speed: 1.0,
            volume: 1.0,
            payload: 0,
            key: Key::PUBLIC,
            reset: Reset::default(),
        }
    }
}

/// The watermark as gains of the vocoder's frames: that is where it costs nothing.
struct Mark(Watermark);

impl FrameGains for Mark {
    fn gains(&self, frame: u64, out: &mut [f32; BINS]) {
        self.0.gains_into(frame, out);
    }
}

/// Which symbol of a model every sound of a front end is.
#[derive(Debug)]
pub struct Alphabet {
    symbols: HashMap<char, u16>,
    begin: Option<u16>,
    end: Option<u16>,
}

impl Alphabet {
    /// The alphabet of a model.
    #[must_use]
    pub fn of(model: &VoiceModel) -> Arc<Self> {
        let number = |wanted: &str| {
            let at = model.symbols().iter().position(|s| s == wanted)?;
            u16::try_from(at).ok()
        };
        let single = |(at, symbol): (usize, &String)| {
            let mut chars = symbol.chars();
            let first = chars.next().filter(|_| chars.next().is_none())?;
            Some((first, u16::try_from(at).ok()?))
        };
        Arc::new(Alphabet {
            symbols: model
                .symbols()
                .iter()
                .enumerate()
                .filter_map(single)
                .collect(),
            begin: number("<bos>"),
            end: number("<eos>"),
        })
    }

    /// A front end's phrase in the model's units. Sounds that the model never learned are left out.
    fn phrase(&self, from: &sillage_text::Phrase) -> Phrase {
        let mut units = Vec::with_capacity(from.units.len() + 2);
        let mut words: Vec<(u32, WordSpan)> = Vec::new();
        let framed = !from.units.is_empty();
        let bare = |symbol| Unit { symbol, stress: 0 };
        units.extend(
            self.begin
                .filter(|_| framed && from.sentence_start)
                .map(bare),
        );
        for unit in &from.units {
            let Some(&symbol) = self.symbols.get(&unit.phone) else {
                continue;
            };
            let at = units.len();
            units.push(Unit {
                symbol,
                stress: unit.stress,
            });
            if !unit.phone.is_alphabetic() {
                continue;
            }
            match words.last_mut() {
                Some((word, span)) if *word == unit.word => span.units.end = at + 1,
                _ => {
                    let text = from.words.get(unit.word as usize);
                    let text = text.map(|word| word.text.clone()).unwrap_or_default();
                    words.push((
                        unit.word,
                        WordSpan {
                            text,
                            units: at..at + 1,
                        },
                    ));
                }
            }
        }
        units.extend(self.end.filter(|_| framed && from.sentence_end).map(bare));
        let continued = |word: u32| from.words.get(word as usize).is_some_and(|w| w.continued);
        words.retain(|(word, _)| !continued(*word));
        Phrase {
            units,
            words: words.into_iter().map(|(_, span)| span).collect(),
            first: from.sentence_start,
            sentence_end: from.sentence_end,
            ..Phrase::default()
        }
    }
}

/// A text that is being spoken: text goes in as it is written, sound comes out of its utterance.
pub struct Speech {
    reader: Reader,
    alphabet: Arc<Alphabet>,
    speed: f32,
    volume: f32,
    units: usize,
    /// What speaks; move it on with [`VoiceModel::advance`].
    pub utterance: Utterance,
}

impl Speech {
    /// A speech without words yet, read as `front` reads and marked as synthetic.
    #[must_use]
    pub fn new(
        alphabet: &Arc<Alphabet>,
        front: &FrontEnd,
        speaker: &Arc<Speaker>,
        options: &SpeechOptions,
    ) -> Self {
        let mark = Mark(Watermark::new(&options.key, options.payload));
        let spoken = UtteranceOptions {
            seed: options.seed,
            reset: options.reset,
            gains: Some(Arc::new(mark)),
        };
        Speech {
            reader: front.reader(),
            alphabet: alphabet.clone(),
            speed: options.speed,
            volume: options.volume,
            units: 0,
            utterance: Utterance::new(speaker, spoken),
        }
    }

    /// Adds text; pieces may end anywhere.
    ///
    /// # Errors
    /// A mistake in the markup.
    pub fn push(&mut self, text: &str) -> Result<(), SpeechError> {
        for phrase in self.reader.push(text)? {
            self.say(&phrase)?;
        }
        Ok(())
    }

    /// Reads what waits for its sentence's end as if it ended here; more text may come.
    ///
    /// # Errors
    /// A mistake in the markup.
    pub fn settle(&mut self) -> Result<(), SpeechError> {
        if self.reader.waiting() > 0 {
            // A paragraph's end is certain at once.
            self.push("\n\n")?;
        }
        Ok(())
    }

    /// Says that no more text will come.
    ///
    /// # Errors
    /// A mistake in the markup.
    pub fn finish(&mut self) -> Result<(), SpeechError> {
        for phrase in self.reader.finish()? {
            self.say(&phrase)?;
        }
        self.utterance.finish();
        Ok(())
    }

    /// Sounds, marks and spaces that were handed over so far; none at the end means that there was nothing
    /// to read in the text.
    #[must_use]
    pub fn units(&self) -> usize {
        self.units
    }

    fn say(&mut self, read: &sillage_text::Phrase) -> Result<(), SpeechError> {
        self.units += read.units.len();
        let steps = (read.pause_before.as_secs_f64() / STEP_SECONDS).round();
        if steps > 0.0 {
            let pause = Phrase {
                pause: steps as u32,
                ..Phrase::default()
            };
            self.utterance.push_phrase(pause)?;
        }
        let mut phrase = self.alphabet.phrase(read);
        if phrase.units.is_empty() {
            return Ok(());
        }
        phrase.speed = (read.speed * self.speed).clamp(0.25, 4.0);
        phrase.volume = (read.volume * self.volume).clamp(0.0, 4.0);
        for part in parts(phrase) {
            self.utterance.push_phrase(part)?;
        }
        Ok(())
    }
}

/// A phrase of full length has no room for the marks of its sentence's ends: they become phrases of
/// their own.
fn parts(mut phrase: Phrase) -> Vec<Phrase> {
    let over = phrase.units.len().saturating_sub(LONGEST_PHRASE);
    if over == 0 {
        return vec![phrase];
    }
    let tail = phrase.units.split_off(LONGEST_PHRASE);
    let last = Phrase {
        units: tail,
        words: Vec::new(),
        first: false,
        ..phrase.clone()
    };
    for word in &mut phrase.words {
        word.units.end = word.units.end.min(LONGEST_PHRASE);
        word.units.start = word.units.start.min(word.units.end);
    }
    phrase.sentence_end = false;
    vec![phrase, last]
}
