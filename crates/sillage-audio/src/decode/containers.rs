//! Everything but Ogg Opus, through `symphonia`.

use std::io::{Cursor, ErrorKind};

use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;

use super::{Block, DecodeError, Taker};

/// A file is damaged when more than one packet in this many is.
const BAD_PACKETS: u64 = 20;

fn probe(file: &[u8]) -> Result<Box<dyn FormatReader>, DecodeError> {
    let source = Box::new(Cursor::new(with_known_lengths(file)));
    let stream = MediaSourceStream::new(source, MediaSourceStreamOptions::default());
    let options = (FormatOptions::default(), MetadataOptions::default());
    symphonia::default::get_probe()
        .probe(&Hint::new(), stream, options.0, options.1)
        .map_err(|error| match error {
            Error::Unsupported(what) => DecodeError::NotAudio(what.to_owned()),
            Error::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
                DecodeError::NotAudio("it ends within its header".to_owned())
            }
            other => DecodeError::NotAudio(other.to_string()),
        })
}

pub(super) fn each_block(file: &[u8], take: &mut Taker<'_>) -> Result<(), DecodeError> {
    let mut format = probe(file)?;
    let unsupported = |what: &str| DecodeError::Unsupported(what.to_owned());
    let track = format
        .default_track(TrackType::Audio)
        .ok_or_else(|| unsupported("it has no track of sound"))?;
    let (id, declared) = (track.id, track.num_frames);
    let parameters = track
        .codec_params
        .as_ref()
        .and_then(|parameters| parameters.audio())
        .ok_or_else(|| unsupported("its codec is unknown"))?;
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(|error| unsupported(&error.to_string()))?;

    let (mut good, mut bad, mut frames, mut rate) = (0u64, 0u64, 0u64, 1u32);
    let mut cut_off = false;
    let mut last = String::new();
    let mut samples: Vec<f32> = Vec::new();
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(Error::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                cut_off = true;
                break;
            }
            Err(Error::ResetRequired) => {
                return Err(unsupported("a new stream begins in the middle"));
            }
            Err(error) => {
                bad += 1;
                last = error.to_string();
                break;
            }
        };
        if packet.track_id != id {
            continue;
        }
        match decoder.decode(&packet) {
            Ok(buffer) => {
                good += 1;
                rate = buffer.spec().rate();
                let channels = buffer.spec().channels().count();
                samples.resize(buffer.samples_interleaved(), 0.0);
                buffer.copy_to_slice_interleaved(&mut samples);
                frames += buffer.frames() as u64;
                take(Block {
                    samples: &samples,
                    channels,
                    rate,
                })?;
            }
            // MP3 begins with packets that lean on ones before the cut.
            Err(Error::DecodeError(what)) => {
                bad += 1;
                last = what.to_owned();
            }
            Err(Error::IoError(_)) => {
                bad += 1;
                last = "a packet ends early".to_owned();
            }
            Err(error) => return Err(unsupported(&error.to_string())),
        }
    }
    // Containers round their lengths; half a tenth of a second is no cut.
    let missing = declared.unwrap_or(0).saturating_sub(frames);
    let seconds = frames as f64 / f64::from(rate.max(1));
    if bad > 0 && bad * BAD_PACKETS > good {
        return Err(DecodeError::Damaged(last));
    }
    if cut_off || missing as f64 > 0.05 * f64::from(rate) {
        return Err(DecodeError::Truncated { seconds });
    }
    if good == 0 {
        Err(DecodeError::Empty)
    } else {
        Ok(())
    }
}

/// A copy of the file in which a WAV header that was written before the length
/// was known (to a pipe: all ones, or nearly) tells what is really there.
fn with_known_lengths(file: &[u8]) -> Vec<u8> {
    const UNKNOWN: u32 = 0x7fff_0000;
    let mut file = file.to_vec();
    let u32_at = |file: &[u8], at: usize| {
        file.get(at..)
            .and_then(|rest| rest.first_chunk())
            .map(|b| u32::from_le_bytes(*b))
    };
    let riff = u32_at(&file, 4).unwrap_or(1);
    if !file.starts_with(b"RIFF") || !(riff == 0 || riff >= UNKNOWN) {
        return file;
    }
    let mut at = 12;
    while let Some(size) = u32_at(&file, at + 4) {
        let rest = file.len() - at - 8;
        if file[at..].starts_with(b"data") {
            if size >= UNKNOWN || (size == 0 && rest > 0) {
                // Anything under 4 GiB fits; more is beyond any limit here.
                let known = u32::try_from(rest).unwrap_or(u32::MAX);
                file[at + 4..at + 8].copy_from_slice(&known.to_le_bytes());
            }
            break;
        }
        at = at
            .saturating_add(8)
            .saturating_add(size as usize)
            .saturating_add(size as usize & 1);
    }
    let known = u32::try_from(file.len().saturating_sub(8)).unwrap_or(u32::MAX);
    file[4..8].copy_from_slice(&known.to_le_bytes());
    file
}
