//! Opus in Ogg (RFC 6716, RFC 7845), mono.

use ::ogg::{PacketWriteEndInfo, PacketWriter};
use opus_pure::{Application, Bandwidth, OpusEncoder};

use super::sink::Sink;
use super::{Codec, EncodeError, Settings, sign};
use crate::manifest::{Draft, OGG_FIELD, SoundHash, SoundKind};

/// Packets of 20 ms that share a page in a file. In a pipe each has its own,
/// so that nothing waits.
const PAGE: usize = 5;
/// The number of the logical stream; any will do where there is one.
const SERIAL: u32 = 0x5349_4c4c;

pub(super) struct Opus {
    encoder: OpusEncoder,
    /// Room for one packet: a byte a sample, which is plenty. Given more, the
    /// encoder (0.2) codes the upper bands badly.
    packet: Vec<u8>,
    pages: PacketWriter<'static, Vec<u8>>,
    rate: u32,
    /// Samples of one packet.
    frame: usize,
    /// Samples the encoder looks ahead.
    ahead: usize,
    pending: Vec<f32>,
    /// The last packet, held back until it is known whether more follow.
    held: Option<Vec<u8>>,
    packets: usize,
    per_page: usize,
    samples: u64,
    hash: blake3::Hasher,
    reserved: usize,
}

fn fail(error: impl std::fmt::Display) -> EncodeError {
    EncodeError::codec("Opus", error)
}

impl Opus {
    pub(super) fn new(settings: &Settings, draft: Option<&Draft>) -> Result<Self, EncodeError> {
        let rate = settings.rate;
        if ![8_000, 12_000, 16_000, 24_000, 48_000].contains(&rate) {
            let choices = "8000, 12000, 16000, 24000 or 48000 Hz";
            return Err(EncodeError::FormatRate {
                format: "Opus",
                rate,
                choices,
            });
        }
        let mut encoder = OpusEncoder::new(rate as i32, 1, Application::Audio).map_err(fail)?;
        let bits = settings.bit_rate.unwrap_or(48_000).clamp(6_000, 256_000);
        encoder.bitrate_bps = bits as i32;
        if rate == 12_000 && bits >= 16_000 {
            // Left alone, the encoder (0.2) drops what lies above 4 kHz.
            encoder.force_bandwidth = Some(Bandwidth::Mediumband);
        }
        let ahead = encoder.lookahead();
        let frame = rate as usize / 50;
        Ok(Self {
            encoder,
            pages: PacketWriter::new(Vec::new()),
            packet: vec![0; frame],
            rate,
            frame,
            ahead,
            pending: Vec::new(),
            held: None,
            packets: 0,
            per_page: 1,
            samples: 0,
            hash: blake3::Hasher::new(),
            reserved: draft.map_or(0, Draft::reserved),
        })
    }

    /// Samples at 48 kHz, which is how Ogg counts Opus.
    fn at_48k(&self, samples: u64) -> u64 {
        samples * 48_000 / u64::from(self.rate)
    }

    /// The two header packets, each on its page.
    fn header(&self, manifest: &[u8]) -> Result<Vec<u8>, EncodeError> {
        let mut head = b"OpusHead\x01\x01".to_vec();
        head.extend_from_slice(&(self.at_48k(self.ahead as u64) as u16).to_le_bytes());
        head.extend_from_slice(&self.rate.to_le_bytes());
        // No gain, one stream.
        head.extend_from_slice(&[0, 0, 0]);
        let mut tags = b"OpusTags".to_vec();
        let mut text = |text: &[u8]| {
            tags.extend_from_slice(&(text.len() as u32).to_le_bytes());
            tags.extend_from_slice(text);
        };
        text(b"Sillage");
        let comments = u32::from(self.reserved > 0);
        if comments == 0 {
            tags.extend_from_slice(&0u32.to_le_bytes());
        } else {
            // Hexadecimal, since comments are text; noughts fill the room.
            let mut comment = format!("{OGG_FIELD}=").into_bytes();
            let digits = manifest
                .iter()
                .flat_map(|b| format!("{b:02x}").into_bytes());
            let full = comment.len() + 2 * self.reserved;
            comment.extend(digits);
            comment.resize(full, b'0');
            tags.extend_from_slice(&comments.to_le_bytes());
            tags.extend_from_slice(&(comment.len() as u32).to_le_bytes());
            tags.extend_from_slice(&comment);
        }
        let mut pages = PacketWriter::new(Vec::new());
        for packet in [head, tags] {
            pages
                .write_packet(packet, SERIAL, PacketWriteEndInfo::EndPage, 0)
                .map_err(fail)?;
        }
        Ok(pages.into_inner())
    }

    /// Encodes whole frames of what is pending.
    fn encode(&mut self, sink: &mut Sink) -> Result<(), EncodeError> {
        let whole = self.pending.len() / self.frame * self.frame;
        let frames: Vec<f32> = self.pending.drain(..whole).collect();
        for frame in frames.chunks_exact(self.frame) {
            let bytes = self
                .encoder
                .encode(frame, self.frame, &mut self.packet)
                .map_err(fail)?;
            let packet = self.packet[..bytes].to_vec();
            self.hash.update(&(packet.len() as u32).to_le_bytes());
            self.hash.update(&packet);
            if let Some(held) = self.held.replace(packet) {
                self.packets += 1;
                let end = match self.packets % self.per_page {
                    0 => PacketWriteEndInfo::EndPage,
                    _ => PacketWriteEndInfo::NormalPacket,
                };
                self.packet(
                    held,
                    end,
                    self.at_48k((self.packets * self.frame) as u64),
                    sink,
                )?;
            }
        }
        Ok(())
    }

    fn packet(
        &mut self,
        packet: Vec<u8>,
        end: PacketWriteEndInfo,
        granule: u64,
        sink: &mut Sink,
    ) -> Result<(), EncodeError> {
        self.pages
            .write_packet(packet, SERIAL, end, granule)
            .map_err(fail)?;
        let bytes = std::mem::take(self.pages.inner_mut());
        if bytes.is_empty() {
            Ok(())
        } else {
            sink.write(&bytes)
        }
    }
}

impl Codec for Opus {
    fn start(&mut self, sink: &mut Sink) -> Result<(), EncodeError> {
        if sink.can_go_back() {
            self.per_page = PAGE;
        } else {
            self.reserved = 0;
        }
        let header = self.header(&[])?;
        // The pages of sound count on from the two of the header.
        for _ in 0..2 {
            self.pages
                .write_packet(vec![0u8], SERIAL, PacketWriteEndInfo::EndPage, 0)
                .map_err(fail)?;
        }
        self.pages.inner_mut().clear();
        sink.write(&header)
    }

    fn push(&mut self, samples: &[f32], sink: &mut Sink) -> Result<(), EncodeError> {
        self.samples += samples.len() as u64;
        self.pending.extend_from_slice(samples);
        self.encode(sink)
    }

    fn finish(&mut self, sink: &mut Sink, draft: Option<&Draft>) -> Result<bool, EncodeError> {
        // Silence pushes the last samples through the encoder; the last page's
        // granule position tells players where the sound really ends.
        let wanted = self.samples as usize + self.ahead;
        let missing = wanted.div_ceil(self.frame).max(1) * self.frame - self.samples as usize;
        self.pending.extend(std::iter::repeat_n(0.0, missing));
        self.encode(sink)?;
        let end = self.at_48k(self.samples + self.ahead as u64);
        if let Some(packet) = self.held.take() {
            self.packet(packet, PacketWriteEndInfo::EndStream, end, sink)?;
        }
        let Some(draft) = draft.filter(|_| self.reserved > 0) else {
            return Ok(false);
        };
        let manifest = sign(
            draft,
            SoundHash {
                of: SoundKind::OpusPackets,
                blake3: self.hash.finalize().to_hex().to_string(),
                samples: self.samples,
                rate: self.rate,
            },
        )?;
        sink.patch(0, &self.header(&manifest)?)?;
        Ok(true)
    }
}
