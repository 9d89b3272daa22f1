//! Ogg Opus (RFC 7845), through `ogg` and `opus-pure`.

use std::io::Cursor;

use ::ogg::{OggReadError, PacketReader};
use opus_pure::OpusDecoder;

use super::{Block, DecodeError, Taker};

/// Opus is decoded at the rate its time is counted in.
const RATE: u32 = 48_000;
/// The longest packet: 120 ms.
const LONGEST: usize = 5760;

fn damaged(error: impl std::fmt::Display) -> DecodeError {
    DecodeError::Damaged(error.to_string())
}

pub(super) fn each_block(file: &[u8], take: &mut Taker<'_>) -> Result<(), DecodeError> {
    let mut packets = PacketReader::new(Cursor::new(file));
    let head = packets
        .read_packet()
        .map_err(damaged)?
        .ok_or(DecodeError::Empty)?;
    let serial = head.stream_serial();
    let head = Head::parse(&head.data)?;
    let mut decoder = OpusDecoder::new(RATE as i32, head.channels).map_err(damaged)?;
    let mut pcm = vec![0f32; LONGEST * head.channels];
    let (mut seen, mut made, mut bad, mut good) = (0u64, 0u64, 0u64, 0u64);
    let seconds = |made: u64| made as f64 / f64::from(RATE);
    loop {
        let packet = match packets.read_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(OggReadError::ReadError(_)) => {
                return Err(DecodeError::Truncated {
                    seconds: seconds(made),
                });
            }
            Err(error) => return Err(damaged(format!("{error:?}"))),
        };
        if packet.stream_serial() != serial {
            return Err(DecodeError::Unsupported(
                "it holds several streams".to_owned(),
            ));
        }
        seen += 1;
        if seen == 1 {
            continue;
        }
        let Ok(frames) = decoder.decode(&packet.data, LONGEST, &mut pcm) else {
            bad += 1;
            continue;
        };
        good += 1;
        let start = made;
        made += frames as u64;
        // The last page's position says where the sound ends, counted with
        // what is skipped at the start.
        let end = match packet.last_in_stream() {
            true if packet.absgp_page() > start => packet.absgp_page().min(made),
            _ => made,
        };
        let from = head.skip.clamp(start, made) - start;
        let to = end.max(start + from) - start;
        let range = from as usize * head.channels..to as usize * head.channels;
        for value in &mut pcm[range.clone()] {
            *value *= head.gain;
        }
        take(Block {
            samples: &pcm[range],
            channels: head.channels,
            rate: RATE,
        })?;
    }
    if bad > 0 && bad * 20 > good {
        return Err(DecodeError::Damaged("packets that are no Opus".to_owned()));
    }
    if made <= head.skip {
        Err(DecodeError::Empty)
    } else {
        Ok(())
    }
}

/// The identification header.
struct Head {
    channels: usize,
    /// Samples to drop at the start.
    skip: u64,
    gain: f32,
}

impl Head {
    fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let [
            version,
            channels,
            skip0,
            skip1,
            _,
            _,
            _,
            _,
            gain0,
            gain1,
            family,
            ..,
        ] = *data.strip_prefix(b"OpusHead").unwrap_or_default()
        else {
            return Err(DecodeError::Damaged(
                "its Opus header is cut off".to_owned(),
            ));
        };
        if version & 0xf0 != 0 || family > 1 {
            return Err(DecodeError::Unsupported(
                "a newer kind of Ogg Opus".to_owned(),
            ));
        }
        if channels == 0 || channels > 2 {
            return Err(DecodeError::Channels {
                found: channels.into(),
                limit: 2,
            });
        }
        let gain = f32::from(i16::from_le_bytes([gain0, gain1])) / 256.0;
        Ok(Self {
            channels: channels.into(),
            skip: u16::from_le_bytes([skip0, skip1]).into(),
            gain: 10f32.powf(gain.clamp(-60.0, 60.0) / 20.0),
        })
    }
}
