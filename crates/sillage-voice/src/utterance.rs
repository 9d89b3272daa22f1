//! One request: phrases in, samples out.

use crate::acoustic::Clock;
use crate::config::{BINS, SAMPLE_RATE};
use crate::error::VoiceError;
use crate::model::Speaker;
use crate::phrase::Phrase;
use crate::timing::{PhoneTiming, Timeline, WordTiming};
use crate::vocoder::Memory;
use serde::{Deserialize, Serialize};
use sillage_state::State;
use std::collections::VecDeque;
use std::sync::Arc;

/// Steps that bring the first sound: the vocoder looks so far ahead that fewer would bring less than
/// twenty milliseconds.
pub const FIRST_CHUNK: usize = 3;
/// Steps (200 ms of sound) that share one reading of the weights later on.
pub const CHUNK: usize = 8;

/// Changes the loudness of every bin of every frame before it becomes sound, as a watermark does.
///
/// It must be a function of the frame's number alone, so that resumed and forked utterances sound as
/// they would have. Frames are 300 samples apart, their windows 1,024 samples wide.
pub trait FrameGains: Send + Sync {
    /// Writes the gains of frame number `frame`; 1 changes nothing.
    fn gains(&self, frame: u64, out: &mut [f32; BINS]);
}

/// When the backbone forgets what it said and goes back to the state of the voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Reset {
    /// At every [`sentence_end`](Phrase::sentence_end), as it was trained.
    #[default]
    SentenceEnd,
    /// Never: one utterance, however long.
    Never,
}

/// How an utterance is spoken.
#[derive(Clone, Default)]
pub struct UtteranceOptions {
    /// What the noise in the sound is made from.
    pub seed: u32,
    /// When the backbone goes back to the state of the voice.
    pub reset: Reset,
    /// Gains of every bin of every frame.
    pub gains: Option<Arc<dyn FrameGains>>,
}

impl std::fmt::Debug for UtteranceOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UtteranceOptions")
            .field("seed", &self.seed)
            .field("reset", &self.reset)
            .field("gains", &self.gains.is_some())
            .finish()
    }
}

/// A phrase on its way.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) phrase: Phrase,
    /// Steps of each unit, once they are known.
    pub(crate) counts: Option<Vec<u32>>,
    /// What each unit puts into its steps, `[units, d_model]`, once the phrase is encoded.
    pub(crate) inputs: Option<Vec<f32>>,
}

/// Where within the front phrase the next step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) unit: usize,
    /// Steps of that unit that were taken.
    pub(crate) step: u32,
    /// Steps of the pause that were taken.
    pub(crate) pause: u32,
}

/// One request in the course of being spoken.
///
/// A clone is a fork: it goes on from here, independently, and copies nothing before it has to.
#[derive(Clone)]
pub struct Utterance {
    pub(crate) speaker: Arc<Speaker>,
    pub(crate) options: UtteranceOptions,
    pub(crate) queue: VecDeque<Pending>,
    pub(crate) place: Place,
    pub(crate) clock: Clock,
    pub(crate) timeline: Timeline,
    /// No more phrases will come.
    pub(crate) finished: bool,
    /// All sound is made.
    pub(crate) done: bool,
    /// The part of the model that made something that is not a number.
    pub(crate) failed: Option<&'static str>,
    pub(crate) backbone: State,
    pub(crate) trunk: State,
    pub(crate) memory: State,
    /// Made and not yet taken.
    pub(crate) samples: Vec<f32>,
    /// Samples made in all.
    pub(crate) made: u64,
}

impl Utterance {
    /// An utterance in a speaker's voice, with nothing to say yet.
    #[must_use]
    pub fn new(speaker: &Arc<Speaker>, options: UtteranceOptions) -> Self {
        let mut memory = State::new(speaker.memory.clone());
        if let Some(mut memory) = Memory::of(&mut memory) {
            memory.set_log_f0(speaker.voice.mu);
        }
        Utterance {
            backbone: speaker.backbone.fork(),
            trunk: State::new(speaker.trunk.clone()),
            memory,
            speaker: speaker.clone(),
            options,
            queue: VecDeque::new(),
            place: Place::default(),
            clock: Clock::default(),
            timeline: Timeline::default(),
            finished: false,
            done: false,
            failed: None,
            samples: Vec::new(),
            made: 0,
        }
    }

    /// Adds what is to be said next.
    ///
    /// # Errors
    /// If the phrase is too long, has unknown symbols or settings out of range, or comes after
    /// [`finish`](Utterance::finish). The utterance is then as it was.
    pub fn push_phrase(&mut self, phrase: Phrase) -> Result<(), VoiceError> {
        if self.finished {
            return Err(VoiceError::Finished);
        }
        phrase.check(self.speaker.symbols)?;
        self.queue.push_back(Pending {
            phrase,
            counts: None,
            inputs: None,
        });
        Ok(())
    }

    /// Says that no more phrases will come, so that the last frames need not wait for the next.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Whether all sound is made (there may be samples left to take).
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Whether nothing can be made before another phrase or the end comes.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.done && !self.finished && self.queue.is_empty()
    }

    /// How many steps to make next: few until there is sound, then more at a time, which is cheaper.
    #[must_use]
    pub fn next_chunk(&self) -> usize {
        if self.made == 0 { FIRST_CHUNK } else { CHUNK }
    }

    /// The samples that were made since this was last called: mono, 24 kHz, within ±1. They are kept until
    /// they are taken, as are the times of words and units.
    pub fn take_samples(&mut self) -> Vec<f32> {
        std::mem::take(&mut self.samples)
    }

    /// Samples made so far, taken or not.
    #[must_use]
    pub fn samples_made(&self) -> u64 {
        self.made
    }

    /// Seconds of sound made so far.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.made as f64 / f64::from(SAMPLE_RATE)
    }

    /// When the words of the phrases that were begun since this was last called are said. A word may be
    /// told before its sound is made.
    pub fn take_words(&mut self) -> Vec<WordTiming> {
        self.timeline.take_words()
    }

    /// The same for every unit.
    pub fn take_phones(&mut self) -> Vec<PhoneTiming> {
        self.timeline.take_phones()
    }

    /// The voice that speaks.
    #[must_use]
    pub fn speaker(&self) -> &Arc<Speaker> {
        &self.speaker
    }

    /// A second utterance that goes on from here, independent of this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        self.clone()
    }

    /// Bytes of all its states.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        self.backbone.bytes() + self.trunk.bytes() + self.memory.bytes()
    }
}

impl std::fmt::Debug for Utterance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Utterance")
            .field("voice", &self.speaker.voice.name)
            .field("phrases", &self.queue.len())
            .field("made", &self.made)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}
