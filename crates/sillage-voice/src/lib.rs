//! Phonemes to sound, in real time, in any voice.
//!
//! A [`VoiceModel`] holds the weights: a text encoder, an acoustic backbone (a state space model) that
//! turns phonemes into frames, and a vocoder that turns frames into samples. A [`Voice`] is a vector, some
//! tokens and a name; [`VoiceModel::speaker`] brings the text encoder and the backbone into their states
//! once, and every phrase and every request forks those states. An [`Utterance`] is one request: phrases go in as they become known, samples come out as they
//! are made, and [`VoiceModel::advance`] moves any number of utterances at once, reading the weights once
//! for all of them.
//!
//! Everything an utterance remembers is a value. It can be forked, frozen to bytes in the middle of a
//! sound, sent elsewhere and resumed, and the samples are the same bit for bit, as they are whatever the
//! size of the chunks, the other utterances, and the number of threads.
//!
//! ```no_run
//! use sillage_formats::Checkpoint;
//! use sillage_kernels::Compute;
//! use sillage_voice::{CHUNK, Phrase, Unit, Utterance, UtteranceOptions, VoiceModel};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = VoiceModel::load(&Checkpoint::open("models/voice/voice.safetensors")?)?;
//! let cx = Compute::new(1);
//! let voice = &model.voices()[0];
//! let speaker = model.speaker(&cx, voice)?;
//! let mut utterance = Utterance::new(&speaker, UtteranceOptions::default());
//! let units: Vec<Unit> = Vec::new(); // the work of a text front end
//! utterance.push_phrase(Phrase { units, first: true, ..Phrase::default() })?;
//! utterance.finish();
//! while !utterance.is_done() {
//!     model.advance(&cx, &mut [&mut utterance], CHUNK)?;
//!     let samples = utterance.take_samples(); // mono, 24 kHz
//!     # let _ = samples;
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod acoustic;
mod advance;
pub mod cloning;
mod config;
mod error;
pub mod features;
mod freeze;
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod golden_tests;
mod model;
mod phrase;
mod project;
mod speaker;
mod speech;
mod timing;
mod tokens;
mod utterance;
mod vocoder;
mod voice;

pub use config::{
    BINS, FRAMES_PER_STEP, HOP, MELS, N_FFT, SAMPLE_RATE, STEP_SECONDS, VOICE_DIM, VOICE_TOKENS,
};
pub use error::{FrozenError, VoiceError, VoiceFileError};
pub use model::{Speaker, VoiceModel};
pub use phrase::{LONGEST_PHRASE, Phrase, Unit, WordSpan};
pub use speech::{Alphabet, Speech, SpeechError, SpeechOptions};
pub use timing::{PhoneTiming, WordTiming};
pub use tokens::Tokens;
pub use utterance::{CHUNK, FIRST_CHUNK, FrameGains, Reset, Utterance, UtteranceOptions};
pub use voice::Voice;
