//! RIFF WAVE, mono.

use super::sink::Sink;
use super::{Codec, EncodeError, RawSample, raw, sign};
use crate::manifest::{Draft, RIFF_ID, SoundHash, SoundKind};

/// A length that is not known: readers of pipes take it as "until the end".
const UNKNOWN: u32 = u32::MAX;
/// Bytes of the header of plain PCM.
const HEADER: usize = 44;
/// Sound beyond this would leave no room for the sizes of 32 bits.
const LONGEST: u64 = u32::MAX as u64 - (1 << 20);

pub(super) struct Wav {
    sample: RawSample,
    rate: u32,
    hash: blake3::Hasher,
    samples: u64,
}

impl Wav {
    pub(super) fn new(sample: RawSample, rate: u32) -> Self {
        Self {
            sample,
            rate,
            hash: blake3::Hasher::new(),
            samples: 0,
        }
    }

    /// Bytes of a sample.
    fn width(&self) -> u16 {
        match self.sample {
            RawSample::S16Le => 2,
            RawSample::F32Le => 4,
            RawSample::MuLaw | RawSample::ALaw => 1,
        }
    }

    fn header(&self, riff: u32, data: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + 2);
        out.extend_from_slice(b"RIFF");
        out.extend_from_slice(&riff.to_le_bytes());
        out.extend_from_slice(b"WAVEfmt ");
        // What is not plain PCM says how much more it has to say: nothing.
        let more = self.sample != RawSample::S16Le;
        out.extend_from_slice(&(if more { 18u32 } else { 16 }).to_le_bytes());
        let tag: u16 = match self.sample {
            RawSample::S16Le => 1,
            RawSample::F32Le => 3,
            RawSample::ALaw => 6,
            RawSample::MuLaw => 7,
        };
        let width = self.width();
        out.extend_from_slice(&tag.to_le_bytes());
        // One channel.
        out.extend_from_slice(&1u16.to_le_bytes());
        out.extend_from_slice(&self.rate.to_le_bytes());
        out.extend_from_slice(&(u32::from(width) * self.rate).to_le_bytes());
        out.extend_from_slice(&width.to_le_bytes());
        out.extend_from_slice(&(8 * width).to_le_bytes());
        if more {
            out.extend_from_slice(&0u16.to_le_bytes());
        }
        out.extend_from_slice(b"data");
        out.extend_from_slice(&data.to_le_bytes());
        out
    }
}

impl Codec for Wav {
    fn start(&mut self, sink: &mut Sink) -> Result<(), EncodeError> {
        sink.write(&self.header(UNKNOWN, UNKNOWN))
    }

    fn push(&mut self, samples: &[f32], sink: &mut Sink) -> Result<(), EncodeError> {
        self.samples += samples.len() as u64;
        if sink.can_go_back() && u64::from(self.width()) * self.samples > LONGEST {
            return Err(EncodeError::TooLong);
        }
        let bytes = raw::bytes(self.sample, samples);
        self.hash.update(&bytes);
        sink.write(&bytes)
    }

    fn finish(&mut self, sink: &mut Sink, draft: Option<&Draft>) -> Result<bool, EncodeError> {
        if !sink.can_go_back() {
            return Ok(false);
        }
        let data = u64::from(self.width()) * self.samples;
        if data % 2 == 1 {
            // Chunks start at even places.
            sink.write(&[0])?;
        }
        if let Some(draft) = draft {
            let mut block = sign(
                draft,
                SoundHash {
                    of: match self.sample {
                        RawSample::S16Le => SoundKind::PcmS16,
                        _ => SoundKind::WavData,
                    },
                    blake3: self.hash.finalize().to_hex().to_string(),
                    samples: self.samples,
                    rate: self.rate,
                },
            )?;
            sink.write(RIFF_ID)?;
            sink.write(&(block.len() as u32).to_le_bytes())?;
            if block.len() % 2 == 1 {
                block.push(0);
            }
            sink.write(&block)?;
        }
        // `push` keeps both under 4 GiB.
        let riff = sink.position() - 8;
        sink.patch(0, &self.header(riff as u32, data as u32))?;
        Ok(draft.is_some())
    }
}
