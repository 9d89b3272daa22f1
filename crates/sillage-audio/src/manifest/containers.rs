//! Where each container carries the manifest, and what of it is hashed.

use std::io::Cursor;
use std::path::Path;

use super::{MAGIC, ManifestError, SoundKind, Verdict, io_error, open};
use crate::decode;

/// RIFF chunk in WAV, after the sound.
pub(crate) const RIFF_ID: &[u8; 4] = b"SLLG";
/// Application id of the metadata block in FLAC.
pub(crate) const FLAC_ID: &[u8; 4] = b"SLLG";
/// Comment field in Ogg.
pub(crate) const OGG_FIELD: &str = "SILLAGE_MANIFEST";
/// Owner of the private ID3v2 frame in MP3, with its closing zero.
const ID3_OWNER: &[u8] = b"sillage.manifest\0";
/// Files beyond this are not read.
const BIGGEST: u64 = 1 << 32;

/// Reads and verifies a file's manifest.
///
/// # Errors
/// A file that cannot be read, and a manifest that is there but damaged. A
/// file without one, of whatever kind, is [`Verdict::None`].
pub fn read_manifest(path: &Path) -> Result<Verdict, ManifestError> {
    let fail = |error| io_error("read", path, error);
    let bytes = std::fs::metadata(path).map_err(fail)?.len();
    if bytes > BIGGEST {
        return Err(ManifestError::TooBig {
            path: path.display().to_string(),
            bytes,
        });
    }
    manifest_of(&std::fs::read(path).map_err(fail)?)
}

/// As [`read_manifest`], for a file's bytes.
///
/// # Errors
/// A manifest that is there but damaged.
pub fn manifest_of(file: &[u8]) -> Result<Verdict, ManifestError> {
    let parts = match file {
        [b'R', b'I', b'F', b'F', ..] => wav(file),
        [b'f', b'L', b'a', b'C', ..] => flac(file),
        [b'O', b'g', b'g', b'S', ..] => ogg(file),
        [b'I', b'D', b'3', ..] => mp3(file),
        _ => None,
    };
    let Some(parts) = parts else {
        return Ok(Verdict::None);
    };
    let Some((manifest, key)) = open(&parts.block)? else {
        return Ok(Verdict::BadSignature);
    };
    let (blake3, samples, rate) = match (parts.sound, manifest.sound.of) {
        (
            Sound::Hashed {
                of,
                blake3,
                samples,
                rate,
            },
            wanted,
        ) if of == wanted => (blake3, samples, rate),
        (Sound::Mp3(bytes), SoundKind::Mp3Frames { skipped }) => {
            let hashed = usize::try_from(skipped)
                .ok()
                .and_then(|skipped| bytes.get(skipped..));
            (
                hashed.map(|bytes| blake3::hash(bytes).to_hex().to_string()),
                None,
                None,
            )
        }
        _ => (None, None, None),
    };
    let sound = &manifest.sound;
    let same = blake3.as_ref() == Some(&sound.blake3)
        && samples.is_none_or(|samples| samples == sound.samples)
        && rate.is_none_or(|rate| rate == sound.rate);
    Ok(match same {
        true => Verdict::Verified { manifest, key },
        false => Verdict::AlteredSound { manifest, key },
    })
}

/// A container taken apart.
struct Parts<'a> {
    block: Vec<u8>,
    sound: Sound<'a>,
}

enum Sound<'a> {
    /// No hash where the sound could not be read.
    Hashed {
        of: SoundKind,
        blake3: Option<String>,
        samples: Option<u64>,
        rate: Option<u32>,
    },
    /// The bytes after the tag: the manifest knows how many to leave out.
    Mp3(&'a [u8]),
}

fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn wav(file: &[u8]) -> Option<Parts<'_>> {
    let (mut block, mut data, mut format) = (None, None, None);
    let mut at = 12;
    while let Some(size) = u32_le(file, at + 4) {
        let id = file.get(at..at + 4)?;
        let end = (at + 8).saturating_add(size as usize).min(file.len());
        let content = file.get(at + 8..end)?;
        match id {
            b"fmt " => format = Some(content),
            b"data" => data = Some(content),
            id if id == RIFF_ID => block = Some(content.to_vec()),
            _ => {}
        }
        at = end.saturating_add(size as usize & 1);
    }
    // One channel of what is written here, or it is not what was signed.
    let (mut of, mut width) = (SoundKind::PcmS16, 2);
    let plain = format.filter(|f| {
        let (head, bits) = (f.get(..4), f.get(14..16));
        match (head, bits) {
            (Some([1, 0, 1, 0]), Some([16, 0])) => return true,
            (Some([3, 0, 1, 0]), Some([32, 0])) => width = 4,
            (Some([6 | 7, 0, 1, 0]), Some([8, 0])) => width = 1,
            _ => return false,
        }
        of = SoundKind::WavData;
        true
    });
    let hash = plain
        .and(data)
        .map(|data| blake3::hash(data).to_hex().to_string());
    let sound = Sound::Hashed {
        of,
        blake3: hash,
        samples: data.map(|data| data.len() as u64 / width),
        rate: plain.and_then(|format| u32_le(format, 4)),
    };
    Some(Parts {
        block: block?,
        sound,
    })
}

fn flac(file: &[u8]) -> Option<Parts<'_>> {
    let mut at = 4;
    loop {
        let head = file.get(at..at + 4)?;
        let size = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        let content = file.get(at + 4..at + 4 + size)?;
        if head[0] & 127 == 2
            && let Some(block) = content.strip_prefix(FLAC_ID)
        {
            let (hash, samples, rate) = decode::pcm_hash(file).ok().unzip3();
            let sound = Sound::Hashed {
                of: SoundKind::PcmS16,
                blake3: hash,
                samples,
                rate,
            };
            return Some(Parts {
                block: block.to_vec(),
                sound,
            });
        }
        if head[0] & 128 != 0 {
            return None;
        }
        at += 4 + size;
    }
}

/// `Option<(a, b, c)>` as three options.
trait Unzip3<A, B, C> {
    fn unzip3(self) -> (Option<A>, Option<B>, Option<C>);
}

impl<A, B, C> Unzip3<A, B, C> for Option<(A, B, C)> {
    fn unzip3(self) -> (Option<A>, Option<B>, Option<C>) {
        self.map_or((None, None, None), |(a, b, c)| (Some(a), Some(b), Some(c)))
    }
}

fn ogg(file: &[u8]) -> Option<Parts<'_>> {
    let mut packets = ::ogg::PacketReader::new(Cursor::new(file));
    let mut next = || packets.read_packet().ok().flatten();
    let head = next()?;
    if !head.data.starts_with(b"OpusHead") {
        return None;
    }
    let block = opus_comment(&next()?.data)?;
    let mut hash = blake3::Hasher::new();
    while let Some(packet) = next() {
        hash.update(&(packet.data.len() as u32).to_le_bytes());
        hash.update(&packet.data);
    }
    let sound = Sound::Hashed {
        of: SoundKind::OpusPackets,
        blake3: Some(hash.finalize().to_hex().to_string()),
        samples: None,
        rate: u32_le(&head.data, 12),
    };
    Some(Parts { block, sound })
}

/// The manifest's comment, back from hexadecimal.
fn opus_comment(tags: &[u8]) -> Option<Vec<u8>> {
    let tags = tags.strip_prefix(b"OpusTags")?;
    let vendor = u32_le(tags, 0)? as usize;
    let mut at = vendor.checked_add(4)?;
    let count = u32_le(tags, at)?;
    at += 4;
    for _ in 0..count {
        let size = u32_le(tags, at)? as usize;
        let comment = tags.get(at + 4..(at + 4).checked_add(size)?)?;
        at += 4 + size;
        let Some(digits) = comment
            .strip_prefix(OGG_FIELD.as_bytes())
            .and_then(|c| c.strip_prefix(b"="))
        else {
            continue;
        };
        let digit = |d: u8| char::from(d).to_digit(16);
        // What is no hexadecimal ends the block, which is then cut off.
        let bytes = digits
            .chunks_exact(2)
            .map_while(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8));
        return Some(bytes.collect());
    }
    None
}

/// Sizes in ID3v2 have seven bits in a byte.
#[cfg(feature = "mp3")]
fn synchsafe(size: usize) -> [u8; 4] {
    std::array::from_fn(|i| (size >> (7 * (3 - i)) & 127) as u8)
}

/// An ID3v2.4 tag whose private frame has room for `reserved` bytes.
#[cfg(feature = "mp3")]
pub(crate) fn id3_tag(block: &[u8], reserved: usize) -> Vec<u8> {
    let frame = ID3_OWNER.len() + reserved;
    let mut out = b"ID3\x04\x00\x00".to_vec();
    out.extend_from_slice(&synchsafe(frame + 10));
    out.extend_from_slice(b"PRIV");
    out.extend_from_slice(&synchsafe(frame));
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(ID3_OWNER);
    out.extend_from_slice(block);
    out.resize(out.len() + reserved.saturating_sub(block.len()), 0);
    out
}

fn mp3(file: &[u8]) -> Option<Parts<'_>> {
    let size = |at: usize| {
        let bytes = file.get(at..at + 4)?;
        Some(
            bytes
                .iter()
                .fold(0usize, |size, &byte| size << 7 | usize::from(byte & 127)),
        )
    };
    let end = size(6)?.checked_add(10)?;
    let (tag, sound) = file.split_at_checked(end)?;
    let mut at = 10;
    while let Some(id) = tag.get(at..at + 4).filter(|id| id[0] != 0) {
        let frame = size(at + 4)?;
        let content = tag.get(at + 10..(at + 10).checked_add(frame)?)?;
        if id == b"PRIV"
            && let Some(block) = content.strip_prefix(ID3_OWNER)
            && (block.starts_with(MAGIC) || block.iter().any(|&b| b != 0))
        {
            return Some(Parts {
                block: block.to_vec(),
                sound: Sound::Mp3(sound),
            });
        }
        at += 10 + frame;
    }
    None
}
