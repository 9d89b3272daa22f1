//! Sound out: samples are pushed as they are made, and bytes leave at once.
//!
//! A file is written under a name of its own beside the target, synced and
//! renamed when it is finished; an encoder that is dropped leaves nothing
//! behind. A pipe gets a header that says "length unknown", and its reader's
//! going away is an ordinary end, [`EncodeError::Closed`].

mod flac;
#[cfg(feature = "mp3")]
mod mp3;
mod opus;
mod raw;
mod sink;
mod wav;

use std::io::Write;
use std::path::Path;

use crate::manifest::{Draft, SoundHash};
use crate::resample::{ResampleError, Resampler};
use sink::Sink;

/// How sound is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// RIFF WAVE, 16-bit.
    Wav,
    /// RIFF WAVE with samples of another kind.
    WavOf(RawSample),
    /// FLAC, 16-bit, lossless.
    Flac,
    /// Opus in Ogg.
    Opus,
    /// MP3 (cargo feature `mp3`).
    Mp3,
    /// Samples alone, without a header.
    Raw(RawSample),
}

/// A sample of headerless sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RawSample {
    /// 16-bit signed, little-endian.
    S16Le,
    /// 32-bit float, little-endian.
    F32Le,
    /// G.711 mu-law.
    MuLaw,
    /// G.711 A-law.
    ALaw,
}

impl Format {
    /// The format that a file name's ending asks for.
    pub fn from_path(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match ending.as_str() {
            "wav" | "wave" => Self::Wav,
            "flac" => Self::Flac,
            "opus" | "ogg" | "oga" => Self::Opus,
            "mp3" => Self::Mp3,
            "raw" | "pcm" | "s16" | "s16le" => Self::Raw(RawSample::S16Le),
            "f32" | "f32le" => Self::Raw(RawSample::F32Le),
            "ulaw" | "mulaw" => Self::Raw(RawSample::MuLaw),
            "alaw" => Self::Raw(RawSample::ALaw),
            _ => return None,
        })
    }

    /// The Internet media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Wav | Self::WavOf(_) => "audio/wav",
            Self::Flac => "audio/flac",
            Self::Opus => "audio/ogg",
            Self::Mp3 => "audio/mpeg",
            Self::Raw(RawSample::S16Le) => "audio/pcm",
            Self::Raw(RawSample::F32Le) => "application/octet-stream",
            Self::Raw(RawSample::MuLaw) => "audio/basic",
            Self::Raw(RawSample::ALaw) => "audio/x-alaw-basic",
        }
    }
}

/// What to write.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The format.
    pub format: Format,
    /// The rate of the samples that will be pushed, in hertz.
    pub input_rate: u32,
    /// The rate to write, in hertz. Opus takes 8, 12, 16, 24 and 48 kHz; MP3 8,
    /// 11.025, 12, 16, 22.05, 24, 32, 44.1 and 48 kHz.
    pub rate: u32,
    /// Bits per second for Opus (6,000 to 256,000, and at most eight a sample;
    /// 48,000 when not given) and MP3 (the nearest of its steps; 64,000 when
    /// not given).
    pub bit_rate: Option<u32>,
}

impl Settings {
    /// `format` at the rate the samples have.
    pub fn new(format: Format, rate: u32) -> Self {
        Self {
            format,
            input_rate: rate,
            rate,
            bit_rate: None,
        }
    }
}

/// Why sound could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The reader of a pipe went away. An ordinary end for a command.
    #[error("the reader closed the pipe")]
    Closed,
    /// Writing failed.
    #[error("cannot write {target}: {source}")]
    Io {
        /// What was being written.
        target: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A rate that cannot be.
    #[error(transparent)]
    Rate(#[from] ResampleError),
    /// A rate that the format does not have.
    #[error("{format} cannot have {rate} Hz: choose {choices}")]
    FormatRate {
        /// The format.
        format: &'static str,
        /// The rate asked for.
        rate: u32,
        /// What is possible.
        choices: &'static str,
    },
    /// A sample is not a number.
    #[error("sample {0} is not a finite number; nothing after it was written")]
    NotFinite(u64),
    /// This build has no MP3 encoder.
    #[error(
        "this build cannot write MP3 (cargo feature `mp3`): write .opus, .flac or .wav instead"
    )]
    NoMp3,
    /// A WAV file cannot be longer.
    #[error("a WAV file ends at 4 GiB: write .flac or .opus, or raw samples")]
    TooLong,
    /// The codec's library failed; its message follows.
    #[error("the {codec} encoder failed ({message}); try another format")]
    Codec {
        /// The codec.
        codec: &'static str,
        /// The library's message.
        message: String,
    },
}

impl EncodeError {
    fn codec(codec: &'static str, error: impl std::fmt::Display) -> Self {
        Self::Codec {
            codec,
            message: error.to_string(),
        }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Samples written, at the written rate.
    pub samples: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Whether the file carries a signed manifest.
    pub manifest: bool,
}

/// One format's way from samples to bytes.
trait Codec: Send {
    /// Bytes before the first sample.
    fn start(&mut self, sink: &mut Sink) -> Result<(), EncodeError>;
    /// Encodes samples at the written rate.
    fn push(&mut self, samples: &[f32], sink: &mut Sink) -> Result<(), EncodeError>;
    /// Encodes the rest and corrects the header where the sink can go back.
    /// Returns whether a manifest was written.
    fn finish(&mut self, sink: &mut Sink, draft: Option<&Draft>) -> Result<bool, EncodeError>;
}

/// Writes one sound.
pub struct Encoder {
    sink: Sink,
    codec: Box<dyn Codec>,
    resampler: Resampler,
    resampled: Vec<f32>,
    draft: Option<Draft>,
    pushed: u64,
    samples: u64,
}

impl Encoder {
    /// Writes to a file, with a manifest if a draft of one is given. A path
    /// that is a pipe or a device is written to directly, without a manifest.
    ///
    /// # Errors
    /// Rates the format does not have, and what the system says.
    pub fn to_path(
        path: &Path,
        settings: Settings,
        draft: Option<Draft>,
    ) -> Result<Self, EncodeError> {
        // Settings are checked before anything is created.
        let codec = codec(&settings, draft.as_ref())?;
        Self::start(Sink::file(path)?, codec, settings, draft)
    }

    /// Writes to a pipe, a socket or a buffer, front to back, each piece as soon
    /// as it is encoded. The manifest, which signs the sound, cannot be put
    /// before sound that has left, so there is none.
    ///
    /// # Errors
    /// As [`Encoder::to_path`].
    pub fn to_writer(
        writer: Box<dyn Write + Send>,
        settings: Settings,
    ) -> Result<Self, EncodeError> {
        let codec = codec(&settings, None)?;
        Self::start(Sink::pipe(writer, "the output"), codec, settings, None)
    }

    fn start(
        mut sink: Sink,
        mut codec: Box<dyn Codec>,
        settings: Settings,
        draft: Option<Draft>,
    ) -> Result<Self, EncodeError> {
        let resampler = Resampler::new(settings.input_rate, settings.rate)?;
        codec.start(&mut sink)?;
        let draft = draft.filter(|_| sink.can_go_back());
        Ok(Self {
            sink,
            codec,
            resampler,
            resampled: Vec::new(),
            draft,
            pushed: 0,
            samples: 0,
        })
    }

    /// Takes the next samples, nominally within -1..1; what sticks out is
    /// clipped.
    ///
    /// # Errors
    /// [`EncodeError::NotFinite`], and what the system or the codec says.
    pub fn push(&mut self, samples: &[f32]) -> Result<(), EncodeError> {
        if let Some(bad) = samples.iter().position(|v| !v.is_finite()) {
            return Err(EncodeError::NotFinite(self.pushed + bad as u64));
        }
        self.pushed += samples.len() as u64;
        self.resampled.clear();
        self.resampler.push(samples, &mut self.resampled)?;
        self.encode()
    }

    /// Encodes what the resampler gave.
    fn encode(&mut self) -> Result<(), EncodeError> {
        for value in &mut self.resampled {
            *value = value.clamp(-1.0, 1.0);
        }
        self.samples += self.resampled.len() as u64;
        self.codec.push(&self.resampled, &mut self.sink)?;
        self.sink.flush()
    }

    /// Writes the rest, completes the header and the manifest, and gives the
    /// file its name.
    ///
    /// # Errors
    /// As [`Encoder::push`].
    pub fn finish(mut self) -> Result<Summary, EncodeError> {
        self.resampled.clear();
        self.resampler.finish(&mut self.resampled)?;
        self.encode()?;
        let manifest = self.codec.finish(&mut self.sink, self.draft.as_ref())?;
        let bytes = self.sink.finish()?;
        Ok(Summary {
            samples: self.samples,
            bytes,
            manifest,
        })
    }
}

fn codec(settings: &Settings, draft: Option<&Draft>) -> Result<Box<dyn Codec>, EncodeError> {
    Ok(match settings.format {
        Format::Wav => Box::new(wav::Wav::new(RawSample::S16Le, settings.rate)),
        Format::WavOf(sample) => Box::new(wav::Wav::new(sample, settings.rate)),
        Format::Flac => Box::new(flac::Flac::new(settings.rate, draft)?),
        Format::Opus => Box::new(opus::Opus::new(settings, draft)?),
        #[cfg(feature = "mp3")]
        Format::Mp3 => Box::new(mp3::Mp3::new(settings, draft)?),
        #[cfg(not(feature = "mp3"))]
        Format::Mp3 => return Err(EncodeError::NoMp3),
        Format::Raw(sample) => Box::new(raw::Raw(sample)),
    })
}

/// A sample as 16-bit integer.
fn to_i16(value: f32) -> i16 {
    // The cast saturates, so +1.0 is the largest and -1.0 the smallest value.
    (value * 32_768.0).round() as i16
}

/// The signed manifest's bytes for what was hashed.
fn sign(draft: &Draft, sound: SoundHash) -> Result<Vec<u8>, EncodeError> {
    draft
        .sign(sound)
        .map_err(|error| EncodeError::codec("manifest", error))
}
