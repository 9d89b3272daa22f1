//! FLAC, 16-bit mono.

use flacenc::component::{BitRepr, StreamInfo};
use flacenc::config;
use flacenc::error::{Verified, Verify};
use flacenc::source::{Context, Fill, FrameBuf};

use super::sink::Sink;
use super::{Codec, EncodeError, sign, to_i16};
use crate::manifest::{Draft, FLAC_ID, SoundHash, SoundKind};

/// Samples of one frame: 43 ms at 24 kHz, a compromise of size and delay.
const BLOCK: usize = 1024;

pub(super) struct Flac {
    config: Verified<config::Encoder>,
    info: StreamInfo,
    rate: u32,
    pending: Vec<i32>,
    frame: FrameBuf,
    /// Counts samples and computes the checksum the format asks for.
    context: Context,
    smallest: u32,
    largest: u32,
    frames: usize,
    hash: blake3::Hasher,
    /// Bytes kept free for the manifest.
    reserved: usize,
}

impl Flac {
    pub(super) fn new(rate: u32, draft: Option<&Draft>) -> Result<Self, EncodeError> {
        let fail = |error| EncodeError::codec("FLAC", error);
        let mut config = config::Encoder::default();
        config.block_size = BLOCK;
        let config = config.into_verified().map_err(|(_, error)| fail(error))?;
        // The library refuses rates above the format's 96 kHz table by itself.
        let info = StreamInfo::new(rate as usize, 1, 16).map_err(|_| EncodeError::FormatRate {
            format: "FLAC",
            rate,
            choices: "up to 96000 Hz",
        })?;
        Ok(Self {
            config,
            info,
            rate,
            pending: Vec::with_capacity(BLOCK),
            frame: FrameBuf::with_size(1, BLOCK).map_err(fail)?,
            context: Context::new(16, 1),
            smallest: u32::MAX,
            largest: 0,
            frames: 0,
            hash: blake3::Hasher::new(),
            reserved: draft.map_or(0, Draft::reserved),
        })
    }

    /// The marker, STREAMINFO and the manifest's APPLICATION block. What is
    /// unknown while streaming is nought, as the format has it.
    fn header(&self, manifest: &[u8], known: bool) -> Vec<u8> {
        let mut out = b"fLaC".to_vec();
        let last = if self.reserved == 0 { 0x80 } else { 0 };
        out.extend_from_slice(&[last, 0, 0, 34]);
        out.extend_from_slice(&(BLOCK as u16).to_be_bytes());
        out.extend_from_slice(&(BLOCK as u16).to_be_bytes());
        let (smallest, largest) = if known {
            (self.smallest, self.largest)
        } else {
            (0, 0)
        };
        out.extend_from_slice(&smallest.to_be_bytes()[1..]);
        out.extend_from_slice(&largest.to_be_bytes()[1..]);
        // 20 bits of rate, 3 of channels - 1, 5 of bits - 1, 36 of samples.
        let samples = if known {
            self.context.total_samples() as u64 & ((1 << 36) - 1)
        } else {
            0
        };
        let packed = u64::from(self.rate) << 44 | 15 << 36 | samples;
        out.extend_from_slice(&packed.to_be_bytes());
        let checksum = if known {
            self.context.md5_digest()
        } else {
            [0; 16]
        };
        out.extend_from_slice(&checksum);
        if self.reserved > 0 {
            let length = FLAC_ID.len() + self.reserved;
            out.push(0x80 | 2);
            out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
            out.extend_from_slice(FLAC_ID);
            out.extend_from_slice(manifest);
            out.resize(out.len() + self.reserved.saturating_sub(manifest.len()), 0);
        }
        out
    }

    fn block(&mut self, sink: &mut Sink) -> Result<(), EncodeError> {
        fn fail(error: impl std::fmt::Display) -> EncodeError {
            EncodeError::codec("FLAC", error)
        }
        self.frame.fill_interleaved(&self.pending).map_err(fail)?;
        self.context.fill_interleaved(&self.pending).map_err(fail)?;
        let frame =
            flacenc::encode_fixed_size_frame(&self.config, &self.frame, self.frames, &self.info)
                .map_err(fail)?;
        let mut bytes = flacenc::bitsink::ByteSink::new();
        frame.write(&mut bytes).map_err(fail)?;
        let bytes = bytes.as_slice();
        self.frames += 1;
        self.smallest = self.smallest.min(bytes.len() as u32);
        self.largest = self.largest.max(bytes.len() as u32);
        self.pending.clear();
        sink.write(bytes)
    }
}

impl Codec for Flac {
    fn start(&mut self, sink: &mut Sink) -> Result<(), EncodeError> {
        if !sink.can_go_back() {
            self.reserved = 0;
        }
        sink.write(&self.header(&[], false))
    }

    fn push(&mut self, samples: &[f32], sink: &mut Sink) -> Result<(), EncodeError> {
        for &sample in samples {
            let sample = to_i16(sample);
            self.hash.update(&sample.to_le_bytes());
            self.pending.push(i32::from(sample));
            if self.pending.len() == BLOCK {
                self.block(sink)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, sink: &mut Sink, draft: Option<&Draft>) -> Result<bool, EncodeError> {
        if !self.pending.is_empty() {
            self.block(sink)?;
        }
        if self.frames == 0 {
            (self.smallest, self.largest) = (0, 0);
        }
        let manifest = match draft.filter(|_| self.reserved > 0) {
            Some(draft) => sign(
                draft,
                SoundHash {
                    of: SoundKind::PcmS16,
                    blake3: self.hash.finalize().to_hex().to_string(),
                    samples: self.context.total_samples() as u64,
                    rate: self.rate,
                },
            )?,
            None => Vec::new(),
        };
        sink.patch(0, &self.header(&manifest, true))?;
        Ok(!manifest.is_empty())
    }
}
