//! Sound in: WAV, FLAC, MP3, Ogg (Vorbis and Opus) and MP4/AAC to mono samples
//! at the rate that is wanted.
//!
//! What arrives is not trusted: bytes, seconds and channels are bounded while
//! decoding, so that a small file that unpacks to days of sound stops early, and
//! damage is an error that says so.

mod containers;
mod opus;

use std::io::Read;
use std::path::Path;

use crate::resample::{RATES, ResampleError, Resampler};

/// What may come in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of the file.
    pub bytes: u64,
    /// Seconds of sound.
    pub seconds: f64,
    /// Channels, which are averaged.
    pub channels: usize,
}

impl Default for Limits {
    /// 256 MiB, one hour, two channels.
    fn default() -> Self {
        Self {
            bytes: 256 << 20,
            seconds: 3600.0,
            channels: 2,
        }
    }
}

/// A decoded sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// Mono samples, nominally within -1..1, all finite.
    pub samples: Vec<f32>,
    /// Their rate in hertz: the one asked for.
    pub rate: u32,
    /// The rate of the file.
    pub source_rate: u32,
    /// The channels of the file.
    pub source_channels: usize,
}

impl Clip {
    /// The length in seconds.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate)
    }
}

/// Why a sound could not be decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The bytes are no sound that is known.
    #[error(
        "this is not a sound file that can be read ({0}): give WAV, FLAC, MP3, Ogg or M4A, or convert it with `ffmpeg -i in out.wav`"
    )]
    NotAudio(String),
    /// The container is known, what is in it is not.
    #[error("the sound inside cannot be decoded ({0}): convert it with `ffmpeg -i in out.wav`")]
    Unsupported(String),
    /// The file stops before its own end.
    #[error("the file is cut off after {seconds:.2} s: copy or record it again")]
    Truncated {
        /// How much could be decoded.
        seconds: f64,
    },
    /// Too much of it is damaged.
    #[error("the file is damaged ({0}): copy or record it again")]
    Damaged(String),
    /// It holds no samples.
    #[error("the file holds no sound: record it again")]
    Empty,
    /// Too many bytes.
    #[error(
        "the file is larger than {limit} bytes: cut out the part that is needed, or compress it"
    )]
    TooBig {
        /// The limit.
        limit: u64,
    },
    /// Too long.
    #[error("the sound is longer than {limit} s: cut out the part that is needed")]
    TooLong {
        /// The limit in seconds.
        limit: f64,
    },
    /// Too many channels.
    #[error(
        "the sound has {found} channels and {limit} are taken: mix it down first, for instance with `ffmpeg -i in -ac 1 out.wav`"
    )]
    Channels {
        /// In the file.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A rate that cannot be.
    #[error(transparent)]
    Rate(#[from] ResampleError),
}

/// Decodes a file to mono at `rate`.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_file(path: &Path, rate: u32, limits: &Limits) -> Result<Clip, DecodeError> {
    let fail = |source| DecodeError::Io {
        path: path.display().to_string(),
        source,
    };
    let file = std::fs::File::open(path).map_err(fail)?;
    // A pipe has no length, so the bound is on what is read.
    let mut bytes = Vec::new();
    file.take(limits.bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    decode(&bytes, rate, limits)
}

/// Decodes a file's bytes to mono at `rate`.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(file: &[u8], rate: u32, limits: &Limits) -> Result<Clip, DecodeError> {
    if file.len() as u64 > limits.bytes {
        return Err(DecodeError::TooBig {
            limit: limits.bytes,
        });
    }
    let mut mixer = Mixer::new(rate, *limits)?;
    each_block(file, &mut |block| mixer.take(block))?;
    mixer.finish()
}

/// Samples that were decoded together.
pub(crate) struct Block<'a> {
    /// Channels beside one another.
    pub(crate) samples: &'a [f32],
    pub(crate) channels: usize,
    pub(crate) rate: u32,
}

/// What is done with each block.
type Taker<'a> = dyn FnMut(Block<'_>) -> Result<(), DecodeError> + 'a;

/// Decodes block by block.
fn each_block(file: &[u8], take: &mut Taker<'_>) -> Result<(), DecodeError> {
    if file.is_empty() {
        return Err(DecodeError::Empty);
    }
    // The name of the codec stands at the start of the first page's packet.
    let head = &file[..file.len().min(128)];
    if head.starts_with(b"OggS") && head.windows(8).any(|w| w == b"OpusHead") {
        return opus::each_block(file, take);
    }
    containers::each_block(file, take)
}

/// Hash, length and rate of a mono file's samples as 16-bit integers.
pub(crate) fn pcm_hash(file: &[u8]) -> Result<(String, u64, u32), DecodeError> {
    let mut hash = blake3::Hasher::new();
    let (mut samples, mut rate) = (0, 0);
    each_block(file, &mut |block| {
        if block.channels != 1 {
            return Err(DecodeError::Channels {
                found: block.channels,
                limit: 1,
            });
        }
        rate = block.rate;
        samples += block.samples.len() as u64;
        for &value in block.samples {
            hash.update(&((value * 32_768.0).round() as i16).to_le_bytes());
        }
        Ok(())
    })?;
    Ok((hash.finalize().to_hex().to_string(), samples, rate))
}

/// Averages channels, resamples, and watches the limits.
struct Mixer {
    limits: Limits,
    rate: u32,
    source: Option<(u32, usize, Resampler)>,
    taken: u64,
    mono: Vec<f32>,
    out: Vec<f32>,
}

impl Mixer {
    fn new(rate: u32, limits: Limits) -> Result<Self, DecodeError> {
        if !RATES.contains(&rate) {
            return Err(ResampleError::Rate(rate).into());
        }
        Ok(Self {
            limits,
            rate,
            source: None,
            taken: 0,
            mono: Vec::new(),
            out: Vec::new(),
        })
    }

    fn take(&mut self, block: Block<'_>) -> Result<(), DecodeError> {
        let Block {
            samples,
            channels,
            rate,
        } = block;
        if channels == 0 || channels > self.limits.channels {
            return Err(DecodeError::Channels {
                found: channels,
                limit: self.limits.channels,
            });
        }
        let (first_rate, first_channels, resampler) = match &mut self.source {
            Some(source) => source,
            none => none.insert((rate, channels, Resampler::new(rate, self.rate)?)),
        };
        if (*first_rate, *first_channels) != (rate, channels) {
            let what = "the rate or the number of channels changes in the middle";
            return Err(DecodeError::Unsupported(what.into()));
        }
        self.taken += (samples.len() / channels) as u64;
        if self.taken as f64 > self.limits.seconds * f64::from(rate) {
            return Err(DecodeError::TooLong {
                limit: self.limits.seconds,
            });
        }
        self.mono.clear();
        let share = 1.0 / channels as f32;
        self.mono
            .extend(samples.chunks_exact(channels).map(|frame| {
                // Floating-point files may hold anything; a filter would spread it.
                let mean = frame.iter().sum::<f32>() * share;
                if mean.is_finite() {
                    mean.clamp(-8.0, 8.0)
                } else {
                    0.0
                }
            }));
        resampler.push(&self.mono, &mut self.out)?;
        Ok(())
    }

    fn finish(mut self) -> Result<Clip, DecodeError> {
        let Some((source_rate, source_channels, mut resampler)) = self.source else {
            return Err(DecodeError::Empty);
        };
        resampler.finish(&mut self.out)?;
        if self.out.is_empty() {
            return Err(DecodeError::Empty);
        }
        Ok(Clip {
            samples: self.out,
            rate: self.rate,
            source_rate,
            source_channels,
        })
    }
}
