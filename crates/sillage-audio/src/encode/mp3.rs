//! MP3 with LAME, mono.

use mp3lame_encoder::{Bitrate, Builder, Encoder, FlushGap, Mode, MonoPcm, Quality, VbrMode};

use super::sink::Sink;
use super::{Codec, EncodeError, Settings, sign};
use crate::manifest::{Draft, SoundHash, SoundKind, id3_tag};

const RATES: [u32; 9] = [
    8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000,
];
/// LAME's bit rates, in kbit/s.
const BIT_RATES: [(u32, Bitrate); 16] = [
    (8, Bitrate::Kbps8),
    (16, Bitrate::Kbps16),
    (24, Bitrate::Kbps24),
    (32, Bitrate::Kbps32),
    (40, Bitrate::Kbps40),
    (48, Bitrate::Kbps48),
    (64, Bitrate::Kbps64),
    (80, Bitrate::Kbps80),
    (96, Bitrate::Kbps96),
    (112, Bitrate::Kbps112),
    (128, Bitrate::Kbps128),
    (160, Bitrate::Kbps160),
    (192, Bitrate::Kbps192),
    (224, Bitrate::Kbps224),
    (256, Bitrate::Kbps256),
    (320, Bitrate::Kbps320),
];

pub(super) struct Mp3 {
    settings: Settings,
    encoder: Option<Encoder>,
    hash: blake3::Hasher,
    samples: u64,
    /// Where the frame that tells the sound's exact length lies.
    info_at: u64,
    /// Bytes of that frame, which are not part of the hash.
    info: usize,
    /// Bytes at the front of what LAME gives that still belong to it.
    info_left: usize,
    reserved: usize,
}

fn fail(error: impl std::fmt::Display) -> EncodeError {
    EncodeError::codec("MP3", error)
}

impl Mp3 {
    pub(super) fn new(settings: &Settings, draft: Option<&Draft>) -> Result<Self, EncodeError> {
        if !RATES.contains(&settings.rate) {
            return Err(EncodeError::FormatRate {
                format: "MP3",
                rate: settings.rate,
                choices: "8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100 or 48000 Hz",
            });
        }
        Ok(Self {
            settings: *settings,
            encoder: None,
            hash: blake3::Hasher::new(),
            samples: 0,
            info_at: 0,
            info: 0,
            info_left: 0,
            reserved: draft.map_or(0, Draft::reserved),
        })
    }

    /// The bit rate nearest to the wanted one among those that the rate has.
    fn bit_rate(&self) -> (u32, Bitrate) {
        let wanted = self.settings.bit_rate.unwrap_or(64_000) / 1000;
        let steps = match self.settings.rate {
            ..=12_000 => 8..=64,
            12_001..=24_000 => 8..=160,
            _ => 32..=320,
        };
        let fitting = BIT_RATES
            .into_iter()
            .filter(|(kbps, _)| steps.contains(kbps));
        fitting
            .min_by_key(|(kbps, _)| kbps.abs_diff(wanted))
            .unwrap_or((64, Bitrate::Kbps64))
    }

    fn kbps(&self) -> u32 {
        self.bit_rate().0
    }

    /// LAME itself; `seekable` decides whether it writes a frame to be
    /// completed at the end.
    fn build(&self, seekable: bool) -> Result<Encoder, EncodeError> {
        let mut builder = Builder::new().ok_or_else(|| fail("out of memory"))?;
        builder.set_num_channels(1).map_err(fail)?;
        builder.set_mode(Mode::Mono).map_err(fail)?;
        builder.set_sample_rate(self.settings.rate).map_err(fail)?;
        let rate = std::num::NonZeroU32::new(self.settings.rate);
        builder.set_output_sample_rate(rate).map_err(fail)?;
        builder.set_brate(self.bit_rate().1).map_err(fail)?;
        builder.set_vbr_mode(VbrMode::Off).map_err(fail)?;
        builder.set_quality(Quality::NearBest).map_err(fail)?;
        builder.set_to_write_vbr_tag(seekable).map_err(fail)?;
        builder.build().map_err(fail)
    }

    /// Writes what LAME gave, hashing all but the frame to be completed.
    fn write(&mut self, bytes: &[u8], sink: &mut Sink) -> Result<(), EncodeError> {
        let skipped = self.info_left.min(bytes.len());
        self.info_left -= skipped;
        self.hash.update(&bytes[skipped..]);
        sink.write(bytes)
    }
}

impl Codec for Mp3 {
    fn start(&mut self, sink: &mut Sink) -> Result<(), EncodeError> {
        let seekable = sink.can_go_back();
        if !seekable {
            self.reserved = 0;
        }
        // The frame to be completed is an ordinary one without padding. LAME
        // leaves it out where its fields would not fit, and does not say so.
        let (samples, needed) = match self.settings.rate > 24_000 {
            true => (144, 177),
            false => (72, 169),
        };
        let frame = (samples * 1000 * self.kbps() / self.settings.rate) as usize;
        let encoder = self.build(seekable && frame >= needed)?;
        if seekable && frame >= needed && encoder.is_lame_tag_written() {
            self.info = frame;
            self.info_left = self.info;
        }
        self.encoder = Some(encoder);
        if self.reserved > 0 {
            sink.write(&id3_tag(&[], self.reserved))?;
        }
        self.info_at = sink.position();
        Ok(())
    }

    fn push(&mut self, samples: &[f32], sink: &mut Sink) -> Result<(), EncodeError> {
        self.samples += samples.len() as u64;
        // LAME's own bound on what it gives for so many samples.
        let mut bytes =
            Vec::with_capacity(mp3lame_encoder::max_required_buffer_size(samples.len()));
        if let Some(encoder) = &mut self.encoder {
            encoder
                .encode_to_vec(MonoPcm(samples), &mut bytes)
                .map_err(fail)?;
        }
        self.write(&bytes, sink)
    }

    fn finish(&mut self, sink: &mut Sink, draft: Option<&Draft>) -> Result<bool, EncodeError> {
        if self.samples == 0 {
            // LAME makes no file at all of no sound.
            self.push(&[0.0], sink)?;
        }
        let Some(mut encoder) = self.encoder.take() else {
            return Ok(false);
        };
        let mut bytes = Vec::with_capacity(7200);
        encoder.flush_to_vec::<FlushGap>(&mut bytes).map_err(fail)?;
        self.write(&bytes, sink)?;
        if self.info > 0 {
            let mut info = Vec::with_capacity(encoder.lame_tag_size());
            encoder.lame_tag_encode_to_vec(&mut info);
            if info.len() != self.info {
                return Err(fail(
                    "the frame of its length has another size than its bit rate says",
                ));
            }
            sink.patch(self.info_at, &info)?;
        }
        let Some(draft) = draft.filter(|_| self.reserved > 0) else {
            return Ok(false);
        };
        let manifest = sign(
            draft,
            SoundHash {
                of: SoundKind::Mp3Frames {
                    skipped: self.info as u64,
                },
                blake3: self.hash.finalize().to_hex().to_string(),
                samples: self.samples,
                rate: self.settings.rate,
            },
        )?;
        sink.patch(0, &id3_tag(&manifest, self.reserved))?;
        Ok(true)
    }
}
