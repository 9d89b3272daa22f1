//! RIFF WAVE, 16-bit mono.

use super::sink::Sink;
use super::{Codec, EncodeError, sign, to_i16};
use crate::manifest::{Draft, RIFF_ID, SoundHash, SoundKind};

/// A length that is not known: readers of pipes take it as "until the end".
const UNKNOWN: u32 = u32::MAX;
const HEADER: u64 = 44;
/// Sound beyond this would leave no room for the sizes of 32 bits.
const LONGEST: u64 = u32::MAX as u64 - (1 << 20);

pub(super) struct Wav {
    rate: u32,
    hash: blake3::Hasher,
    samples: u64,
}

impl Wav {
    pub(super) fn new(rate: u32) -> Self {
        Self {
            rate,
            hash: blake3::Hasher::new(),
            samples: 0,
        }
    }

    fn header(&self, riff: u32, data: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER as usize);
        out.extend_from_slice(b"RIFF");
        out.extend_from_slice(&riff.to_le_bytes());
        out.extend_from_slice(b"WAVEfmt ");
        out.extend_from_slice(&16u32.to_le_bytes());
        // PCM, one channel.
        out.extend_from_slice(&1u16.to_le_bytes());
        out.extend_from_slice(&1u16.to_le_bytes());
        out.extend_from_slice(&self.rate.to_le_bytes());
        out.extend_from_slice(&(2 * self.rate).to_le_bytes());
        out.extend_from_slice(&2u16.to_le_bytes());
        out.extend_from_slice(&16u16.to_le_bytes());
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
        if sink.can_go_back() && 2 * self.samples > LONGEST {
            return Err(EncodeError::TooLong);
        }
        let bytes: Vec<u8> = samples
            .iter()
            .flat_map(|&v| to_i16(v).to_le_bytes())
            .collect();
        self.hash.update(&bytes);
        sink.write(&bytes)
    }

    fn finish(&mut self, sink: &mut Sink, draft: Option<&Draft>) -> Result<bool, EncodeError> {
        if !sink.can_go_back() {
            return Ok(false);
        }
        if let Some(draft) = draft {
            let mut block = sign(
                draft,
                SoundHash {
                    of: SoundKind::PcmS16,
                    blake3: self.hash.finalize().to_hex().to_string(),
                    samples: self.samples,
                    rate: self.rate,
                },
            )?;
            sink.write(RIFF_ID)?;
            sink.write(&(block.len() as u32).to_le_bytes())?;
            // Chunks start at even places.
            if block.len() % 2 == 1 {
                block.push(0);
            }
            sink.write(&block)?;
        }
        // `push` keeps both under 4 GiB.
        let (riff, data) = (sink.position() - 8, 2 * self.samples);
        sink.patch(0, &self.header(riff as u32, data as u32))?;
        Ok(draft.is_some())
    }
}
