//! Signed provenance: what made this sound, with which voice, when; bound to
//! the sound itself.
//!
//! A manifest is a short JSON text and an Ed25519 signature over it, carried in
//! each container's own place for such things (`docs/manifest.md` describes the
//! bytes). The text holds a hash of the encoded sound, so that a manifest moved
//! to another sound, or a sound that was edited, is told apart.
//!
//! The public key travels in the manifest. A verified manifest therefore proves
//! that its sound was not altered since somebody with that key signed it; who
//! that is must be known otherwise, by comparing [`PublicKey`]s.

mod containers;
mod key;

use std::path::Path;

use serde::{Deserialize, Serialize};

#[cfg(feature = "mp3")]
pub(crate) use containers::id3_tag;
pub(crate) use containers::{FLAC_ID, OGG_FIELD, RIFF_ID};
pub use containers::{manifest_of, read_manifest};
pub use key::{PublicKey, SigningKey};

/// First bytes of a manifest's block.
const MAGIC: &[u8; 8] = b"SLLGMAN1";
/// What is signed is this line and then the text, so that a signature cannot
/// mean anything else under the same key.
const CONTEXT: &[u8] = b"sillage manifest v1\n";
const PUBLIC: usize = 32;
const SIGNATURE: usize = 64;
/// A longer text is refused, in writing and in reading.
const LONGEST: usize = 16 * 1024;

/// Why a manifest could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The key file does not hold a key.
    #[error(
        "{0} does not hold a signing key (64 hexadecimal digits): move it away and a new one is made"
    )]
    KeyFile(String),
    /// The key file can be read by others.
    #[error(
        "{0} can be read by other users, so anybody may have signed with it: move it away, or `chmod 600` it if you trust them all"
    )]
    KeyExposed(String),
    /// The system gave no randomness.
    #[error("the system gave no random numbers for a key: {0}")]
    Random(String),
    /// The text is too long.
    #[error(
        "a manifest of {0} bytes is too long (16 KiB at most): shorten the voice's or the model's name"
    )]
    TooLong(usize),
    /// The file is too big to be checked.
    #[error("{path} has {bytes} bytes; manifests are read from files up to 4 GiB")]
    TooBig {
        /// Which file.
        path: String,
        /// Its size.
        bytes: u64,
    },
    /// A block is there but it is broken.
    #[error("the manifest is damaged: {0}")]
    Damaged(&'static str),
}

/// What is claimed about a sound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The program, such as `sillage`.
    pub tool: String,
    /// Its version.
    pub version: String,
    /// Fingerprint of the model that spoke.
    pub model: String,
    /// Name or id of the voice.
    pub voice: String,
    /// When, in UTC, as `2026-01-31T12:34:56Z` (see [`utc`]).
    pub time: String,
    /// The watermark's payload, as eight hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Id of the consent record for a cloned voice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<String>,
}

/// What a hash of sound covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SoundKind {
    /// The samples as 16-bit little-endian integers (WAV and FLAC).
    PcmS16,
    /// The bytes of the samples (WAV with other than 16-bit samples).
    WavData,
    /// Every Opus packet after the headers, each after its length in 32 bits,
    /// little-endian.
    OpusPackets,
    /// The bytes after the ID3 tag and `skipped` more (the frame that holds the
    /// length).
    Mp3Frames {
        /// Bytes between the tag and what is hashed.
        skipped: u64,
    },
}

/// The sound that a manifest is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoundHash {
    /// What was hashed.
    #[serde(flatten)]
    pub of: SoundKind,
    /// BLAKE3 in hexadecimal.
    pub blake3: String,
    /// Samples of sound.
    pub samples: u64,
    /// Their rate in hertz.
    pub rate: u32,
}

/// A claim and the sound it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The claim.
    #[serde(flatten)]
    pub claim: Claim,
    /// The sound.
    pub sound: SoundHash,
}

/// A claim that will be signed when its sound is complete.
#[derive(Clone, Debug)]
pub struct Draft {
    claim: Claim,
    key: SigningKey,
    reserved: usize,
}

impl Draft {
    /// Prepares a claim for signing.
    ///
    /// # Errors
    /// [`ManifestError::TooLong`].
    pub fn new(claim: Claim, key: SigningKey) -> Result<Self, ManifestError> {
        let widest = SoundHash {
            of: SoundKind::Mp3Frames { skipped: u64::MAX },
            blake3: "0".repeat(64),
            samples: u64::MAX,
            rate: u32::MAX,
        };
        let mut draft = Self {
            claim,
            key,
            reserved: 0,
        };
        draft.reserved = draft.sign(widest)?.len();
        Ok(draft)
    }

    /// Bytes to keep free for the signed block.
    pub(crate) fn reserved(&self) -> usize {
        self.reserved
    }

    /// The signed block for a sound.
    pub(crate) fn sign(&self, sound: SoundHash) -> Result<Vec<u8>, ManifestError> {
        let manifest = Manifest {
            claim: self.claim.clone(),
            sound,
        };
        let body = serde_json::to_vec(&manifest)
            .map_err(|_| ManifestError::Damaged("the claim cannot be written as JSON"))?;
        if body.len() > LONGEST {
            return Err(ManifestError::TooLong(body.len()));
        }
        let signature = self.key.sign(&[CONTEXT, &body].concat());
        let mut block = MAGIC.to_vec();
        block.extend_from_slice(&(body.len() as u32).to_le_bytes());
        block.extend_from_slice(&body);
        block.extend_from_slice(&self.key.public().to_bytes());
        block.extend_from_slice(&signature);
        Ok(block)
    }
}

/// What became of a file's manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The signature is right and the sound is the one that was signed.
    Verified {
        /// What was signed.
        manifest: Manifest,
        /// By whom.
        key: PublicKey,
    },
    /// The signature is right, but the sound is not the one that was signed.
    AlteredSound {
        /// What was signed.
        manifest: Manifest,
        /// By whom.
        key: PublicKey,
    },
    /// The text was not signed by the key beside it: it says nothing.
    BadSignature,
    /// There is no manifest, or none in a container that can carry one.
    None,
}

/// A signed block, taken apart and its signature checked. `Ok(None)` for a
/// wrong signature.
fn open(block: &[u8]) -> Result<Option<(Manifest, PublicKey)>, ManifestError> {
    let damaged = ManifestError::Damaged;
    let rest = block
        .strip_prefix(MAGIC)
        .ok_or(damaged("it does not start as one"))?;
    let (length, rest) = rest
        .split_first_chunk::<4>()
        .ok_or(damaged("it is cut off"))?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > LONGEST {
        return Err(damaged("its length is impossible"));
    }
    let (body, rest) = rest
        .split_at_checked(length)
        .ok_or(damaged("it is cut off"))?;
    let (public, rest) = rest
        .split_first_chunk::<PUBLIC>()
        .ok_or(damaged("it is cut off"))?;
    let (signature, _) = rest
        .split_first_chunk::<SIGNATURE>()
        .ok_or(damaged("it is cut off"))?;
    let Some(key) = PublicKey::from_bytes(public) else {
        return Ok(None);
    };
    if !key.verifies(&[CONTEXT, body].concat(), signature) {
        return Ok(None);
    }
    let manifest = serde_json::from_slice(body)
        .map_err(|_| damaged("its text was signed but cannot be read; a newer version may"))?;
    Ok(Some((manifest, key)))
}

/// A time in UTC as manifests write it, to the second.
pub fn utc(time: std::time::SystemTime) -> String {
    let seconds = time
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from 1 March of year 0, so that the leap day is a year's
    // last; 719,468 of them lie before 1970.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = 400 * era + year + carry;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn io_error(action: &'static str, path: &Path, source: std::io::Error) -> ManifestError {
    ManifestError::Io {
        action,
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn times_are_the_calendars() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(at(1_795_484_283), "2026-11-24T01:38:03Z");
    }

    #[test]
    fn a_changed_byte_anywhere_is_found() {
        let claim = Claim {
            tool: "sillage".into(),
            version: "1".into(),
            model: "m".into(),
            voice: "v".into(),
            time: utc(UNIX_EPOCH),
            payload: None,
            consent: None,
        };
        let key = SigningKey::from_bytes([7; 32]);
        let draft = Draft::new(claim, key.clone()).unwrap();
        let sound = SoundHash {
            of: SoundKind::PcmS16,
            blake3: "ab".repeat(32),
            samples: 9,
            rate: 24_000,
        };
        let block = draft.sign(sound).unwrap();
        assert!(block.len() <= draft.reserved());
        assert_eq!(open(&block).unwrap().unwrap().1, key.public());
        for i in 0..block.len() {
            let mut bad = block.clone();
            bad[i] ^= 1;
            assert!(!matches!(open(&bad), Ok(Some(_))), "byte {i}");
            assert!(open(&block[..i]).is_err());
        }
    }
}
