//! What a checkpoint of this kind says about itself, and the sizes this build is made for.

use crate::error::VoiceError;
use serde::Deserialize;
use serde_json::Value;
use sillage_models::StackConfig;

/// Samples a second; sound is mono.
pub const SAMPLE_RATE: u32 = 24_000;
/// Samples from one frame's centre to the next.
pub const HOP: usize = 300;
/// Samples of a frame's window.
pub const N_FFT: usize = 1024;
/// Bins of a frame's spectrum.
pub const BINS: usize = N_FFT / 2 + 1;
/// Bands of the log-mel spectrogram between backbone and vocoder.
pub const MELS: usize = 100;
/// Frames that one step of the backbone makes.
pub const FRAMES_PER_STEP: usize = 2;
/// Seconds of sound that one step of the backbone makes.
pub const STEP_SECONDS: f64 = (HOP * FRAMES_PER_STEP) as f64 / SAMPLE_RATE as f64;
/// Numbers of a voice vector; its length (as a vector) is the square root of this.
pub const VOICE_DIM: usize = 128;
/// Vectors of a voice beside the one that sums it up, of as many numbers and the same length.
pub const VOICE_TOKENS: usize = 24;
/// Frames ahead that the vocoder looks.
pub(crate) const AHEAD: usize = 2;
/// Steps from either end of a unit that are told apart.
pub(crate) const NEAR: usize = 16;
/// Bands in which the vocoder says how loud the noise is.
pub(crate) const NOISE_BANDS: usize = 64;
/// What the backbone says about a frame: log-mel bands, pitch, voicing.
pub(crate) const FRAME: usize = MELS + 2;

/// `model_type` of the configuration.
const MODEL_TYPE: &str = "sillage-voice";
/// The version of the layout this build reads.
const VERSION: u64 = 1;
/// More symbols than any notation of speech has.
const MOST_SYMBOLS: usize = 4096;
/// More voices than a checkpoint has use for.
const MOST_VOICES: usize = 4096;

/// A checkpoint's configuration.
#[derive(Debug)]
pub(crate) struct Config {
    /// Index of each is its number in the embedding.
    pub(crate) symbols: Vec<String>,
    /// Lowest bands that the speaker encoder sees.
    pub(crate) speaker_bands: usize,
    /// Which space voices live in: their vectors and tokens are of use to models of the same space only.
    pub(crate) voice_space: String,
    /// The voices that come with the checkpoint; their vectors and tokens are tensors.
    pub(crate) voices: Vec<ShippedVoice>,
    pub(crate) text_forward: StackConfig,
    pub(crate) text_backward: StackConfig,
    pub(crate) text_attend: StackConfig,
    pub(crate) acoustic: StackConfig,
    pub(crate) vocoder: StackConfig,
    pub(crate) speaker: StackConfig,
}

/// A voice that comes with the checkpoint.
#[derive(Debug, Deserialize)]
pub(crate) struct ShippedVoice {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) about: String,
    #[serde(default)]
    pub(crate) accent: String,
}

/// The flat part of a configuration.
#[derive(Deserialize)]
struct Flat {
    symbols: Vec<String>,
    #[serde(default = "all_bands")]
    speaker_bands: usize,
    #[serde(default)]
    voice_space: String,
    #[serde(default)]
    voices: Vec<ShippedVoice>,
}

fn all_bands() -> usize {
    MELS
}

impl Config {
    pub(crate) fn read(value: &Value) -> Result<Self, VoiceError> {
        let found = value.get("model_type").and_then(Value::as_str);
        if found != Some(MODEL_TYPE) {
            return Err(VoiceError::NotAVoiceModel {
                found: found.unwrap_or("nothing").chars().take(80).collect(),
            });
        }
        for (key, expected) in [
            ("version", VERSION),
            ("sample_rate", u64::from(SAMPLE_RATE)),
            ("hop", HOP as u64),
            ("n_fft", N_FFT as u64),
            ("frames_per_step", FRAMES_PER_STEP as u64),
            ("mels", MELS as u64),
            ("voice_dim", VOICE_DIM as u64),
            ("voice_tokens", VOICE_TOKENS as u64),
            ("near", NEAR as u64),
            ("noise_bands", NOISE_BANDS as u64),
        ] {
            let found = value.get(key);
            if found.and_then(Value::as_u64) != Some(expected) {
                let found = found.map_or("absent".to_owned(), Value::to_string);
                return Err(VoiceError::Setting {
                    key: key.to_owned(),
                    found: found.chars().take(80).collect(),
                    expected: expected.to_string(),
                });
            }
        }
        let flat = Flat::deserialize(value).map_err(|error| VoiceError::Setting {
            key: "symbols, speaker_bands, voice_space, voices".to_owned(),
            found: error.to_string(),
            expected: "what the recipe's export writes".to_owned(),
        })?;
        flat.check()?;
        let stack = |name: &str, value: Option<&Value>| {
            StackConfig::read(name, value.unwrap_or(&Value::Null))
        };
        let text = |name: &str| {
            let part = value.get("text").and_then(|text| text.get(name));
            stack(&format!("text.{name}"), part)
        };
        Ok(Config {
            text_forward: text("forward")?,
            text_backward: text("backward")?,
            text_attend: text("attend")?,
            acoustic: stack("acoustic", value.get("acoustic"))?,
            vocoder: stack("vocoder", value.get("vocoder"))?,
            speaker: stack("speaker", value.get("speaker"))?,
            symbols: flat.symbols,
            speaker_bands: flat.speaker_bands,
            voice_space: flat.voice_space,
            voices: flat.voices,
        })
    }
}

impl Flat {
    fn check(&self) -> Result<(), VoiceError> {
        let count = |key: &str, found: usize, most: usize| match found {
            n if n <= most => Ok(()),
            n => Err(VoiceError::Setting {
                key: key.to_owned(),
                found: n.to_string(),
                expected: format!("at most {most}"),
            }),
        };
        count("symbols", self.symbols.len(), MOST_SYMBOLS)?;
        count("speaker_bands", self.speaker_bands, MELS)?;
        count("voices", self.voices.len(), MOST_VOICES)?;
        if self.symbols.is_empty() {
            return Err(VoiceError::Setting {
                key: "symbols".to_owned(),
                found: "none".to_owned(),
                expected: "a list of symbols".to_owned(),
            });
        }
        Ok(())
    }
}
