//! The whole voice model, and a voice made ready to speak.

use crate::acoustic::{Acoustic, TextEncoder, TextVoice};
use crate::config::{Config, MELS, ShippedVoice, VOICE_DIM, VOICE_TOKENS};
use crate::error::VoiceError;
use crate::speaker::{Heard, SpeakerEncoder};
use crate::tokens::Tokens;
use crate::vocoder::{Synthesis, Vocoder, memory_layout};
use crate::voice::Voice;
use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use sillage_models::{LoadOptions, Tensors};
use sillage_state::{Layout, State};
use std::sync::Arc;

/// The weights of a voice model. Shared freely between threads: everything that changes is in the
/// utterances.
#[derive(Debug)]
pub struct VoiceModel {
    pub(crate) text: TextEncoder,
    pub(crate) acoustic: Acoustic,
    pub(crate) vocoder: Vocoder,
    pub(crate) synthesis: Synthesis,
    pub(crate) memory: Arc<Layout>,
    encoder: SpeakerEncoder,
    symbols: Vec<String>,
    /// Whether each symbol is a sounding phone, which is never left out.
    pub(crate) sounds: Vec<bool>,
    space: String,
    voices: Vec<Voice>,
    mean: Vec<f32>,
    std: Vec<f32>,
}

/// A voice made ready: the states of the text encoder and of the backbone after the voice was shown to
/// them, and what the voice adds everywhere else. Made once, shared by all utterances.
#[derive(Debug)]
pub struct Speaker {
    pub(crate) voice: Voice,
    pub(crate) backbone: State,
    pub(crate) text: TextVoice,
    /// Added to every step.
    pub(crate) step_term: Vec<f32>,
    /// The equaliser, in the scale of normalised bands.
    pub(crate) equaliser: Vec<f32>,
    /// Normalised bands of silence.
    pub(crate) silence: Vec<f32>,
    /// Symbols, to check phrases with.
    pub(crate) symbols: usize,
    pub(crate) trunk: Arc<Layout>,
    pub(crate) memory: Arc<Layout>,
}

impl VoiceModel {
    /// Loads a checkpoint.
    ///
    /// # Errors
    /// If it is no voice model, of sizes this build is not made for, incomplete or damaged.
    pub fn load(checkpoint: &Checkpoint) -> Result<Self, VoiceError> {
        let config = Config::read(checkpoint.config())?;
        let options = LoadOptions::default();
        let tensors = Tensors::new(checkpoint);
        let statistic = |name: &str| tensors.values(name, "statistics of the bands", &[MELS]);
        let (mean, std) = (statistic("mel.mean")?, statistic("mel.std")?);
        if std.iter().any(|s| *s <= 0.0) {
            return Err(VoiceError::Setting {
                key: "mel.std".to_owned(),
                found: "a deviation that is not above zero".to_owned(),
                expected: "deviations above zero".to_owned(),
            });
        }
        let vocoder = Vocoder::load(checkpoint, &config, &options)?;
        Ok(VoiceModel {
            text: TextEncoder::load(checkpoint, &config, &options)?,
            acoustic: Acoustic::load(checkpoint, &config, &options)?,
            synthesis: Synthesis::new(),
            memory: memory_layout(vocoder.trunk.layout().model())?,
            vocoder,
            encoder: SpeakerEncoder::load(checkpoint, &config, &options, &mean, &std)?,
            voices: shipped(&config, &tensors)?,
            sounds: config.symbols.iter().map(|s| sounds(s)).collect(),
            symbols: config.symbols,
            space: config.voice_space,
            mean,
            std,
        })
    }

    /// The symbols that units are made of; a unit's `symbol` is an index into them.
    pub fn symbols(&self) -> &[String] {
        &self.symbols
    }

    /// The number of a symbol, such as `ə`, `,` or `<bos>`.
    pub fn symbol(&self, symbol: &str) -> Option<u16> {
        let index = self.symbols.iter().position(|s| s == symbol)?;
        u16::try_from(index).ok()
    }

    /// The voices that come with the checkpoint.
    pub fn voices(&self) -> &[Voice] {
        &self.voices
    }

    /// The space that voices of this model live in.
    pub fn voice_space(&self) -> &str {
        &self.space
    }

    /// Whether a voice is one of this model's space, and its numbers are a voice's.
    ///
    /// # Errors
    /// If not; the error says which.
    pub fn check_voice(&self, voice: &Voice) -> Result<(), VoiceError> {
        voice.check(&self.space)
    }

    /// Bytes that an utterance's states occupy after `seconds` of sound.
    pub fn state_bytes(&self, seconds: f64) -> u64 {
        let steps = (seconds / crate::config::STEP_SECONDS) as u64;
        self.acoustic.backbone.layout().bytes(steps)
            + self.vocoder.trunk.layout().bytes(2 * steps)
            + self.memory.bytes(0)
    }

    /// Makes a voice ready to speak.
    ///
    /// # Errors
    /// If it is of another voice space, or its numbers are no voice's.
    pub fn speaker(&self, cx: &Compute, voice: &Voice) -> Result<Arc<Speaker>, VoiceError> {
        self.check_voice(voice)?;
        let scaled = voice.equaliser.iter().zip(&self.std).map(|(e, s)| e / s);
        let silent = |(mean, std): (&f32, &f32)| (crate::features::SILENCE - mean) / std;
        Ok(Arc::new(Speaker {
            backbone: self.acoustic.voice_state(cx, &voice.vector)?,
            text: self.text.voice(cx, voice)?,
            step_term: self.acoustic.voice_term(cx, &voice.vector),
            equaliser: scaled.collect(),
            silence: self.mean.iter().zip(&self.std).map(silent).collect(),
            symbols: self.symbols.len(),
            trunk: self.vocoder.trunk.layout().clone(),
            memory: self.memory.clone(),
            voice: voice.clone(),
        }))
    }

    /// Makes a voice from a recording of somebody's speech: mono, 24 kHz. Whoever calls this must have
    /// seen to that somebody's consent.
    ///
    /// # Errors
    /// If there is too little speech in it, or its samples are no sound.
    pub fn clone_voice(
        &self,
        cx: &Compute,
        name: &str,
        samples: &[f32],
    ) -> Result<Voice, VoiceError> {
        Ok(self.voice_of(name, self.encoder.hear(cx, samples)?))
    }

    /// The voice that the speaker encoder hears in a log-mel spectrogram as it is, `[frames, 100]`.
    ///
    /// # Errors
    /// If it has no frames, or is not finite.
    pub fn encode_mel(&self, cx: &Compute, name: &str, mel: &[f32]) -> Result<Voice, VoiceError> {
        let frames = mel.len() / MELS;
        if frames == 0 || mel.iter().any(|v| !v.is_finite()) {
            return Err(VoiceError::BadClip {
                what: "has no frames, or frames that are not numbers",
            });
        }
        let heard = self.encoder.encode(cx, &[&mel[..frames * MELS]])?;
        Ok(self.voice_of(name, heard))
    }

    fn voice_of(&self, name: &str, heard: Heard) -> Voice {
        Voice::new(name, &self.space, heard.vector, heard.tokens, heard.mu)
    }
}

impl Speaker {
    /// The voice.
    pub fn voice(&self) -> &Voice {
        &self.voice
    }
}

/// Letters sound, and so does the beginning, which is the breath before the first of them.
fn sounds(symbol: &str) -> bool {
    let mut letters = symbol.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) => letter.is_alphabetic(),
        _ => symbol == "<bos>",
    }
}

fn shipped(config: &Config, tensors: &Tensors<'_>) -> Result<Vec<Voice>, VoiceError> {
    let count = config.voices.len();
    if count == 0 {
        return Ok(Vec::new());
    }
    let role = "the voices";
    let vectors = tensors.values("voices.vectors", role, &[count, VOICE_DIM])?;
    let tokens = tensors.values("voices.tokens", role, &[count * VOICE_TOKENS, VOICE_DIM])?;
    let mus = tensors.values("voices.mu", role, &[count])?;
    let voice = |(i, listed): (usize, &ShippedVoice)| {
        let tokens = &tokens[i * VOICE_TOKENS * VOICE_DIM..][..VOICE_TOKENS * VOICE_DIM];
        let tokens = Tokens::new(tokens).ok_or_else(|| VoiceError::Setting {
            key: "voices.tokens".to_owned(),
            found: format!("a number beyond 16 in voice '{}'", listed.name),
            expected: "tokens of length sqrt(128)".to_owned(),
        })?;
        let vector = std::array::from_fn(|k| vectors[i * VOICE_DIM + k]);
        let voice = Voice::new(&listed.name, &config.voice_space, vector, tokens, mus[i]);
        Ok(voice
            .with_field("about", &listed.about)
            .with_field("accent", &listed.accent))
    };
    config.voices.iter().enumerate().map(voice).collect()
}
