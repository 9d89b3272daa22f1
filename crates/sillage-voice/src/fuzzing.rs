//! What fuzzers and the replay of their corpora do with would-be files. Not part of the interface.

use crate::{Utterance, Voice, VoiceModel};
use sillage_kernels::Compute;
use xxhash_rust::xxh3::xxh3_128;

/// Makes the checksum at the end right, so that what lies behind it is reached.
#[must_use]
pub fn resealed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(end) = bytes.len().checked_sub(16) {
        let sum = xxh3_128(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&sum);
    }
    bytes
}

/// Reads `bytes` as a voice file, as they are and with the checksum made right. Whatever is accepted must
/// survive being written again.
///
/// # Panics
/// If the codec breaks a promise.
pub fn voice(bytes: &[u8]) {
    for bytes in [bytes, &resealed(bytes)] {
        let Ok(voice) = Voice::from_bytes(bytes) else {
            continue;
        };
        let again = voice.to_bytes().and_then(|bytes| Voice::from_bytes(&bytes));
        let same = again.is_ok_and(|again| {
            let bits = |v: &Voice| v.vector.map(f32::to_bits);
            (again.name == voice.name)
                & (again.fields == voice.fields)
                & (again.tokens == voice.tokens)
                & (bits(&again) == bits(&voice))
        });
        assert!(same, "a voice changed by being written");
    }
}

/// Reads `bytes` as a frozen utterance, as they are and with the checksum made right; what is accepted
/// can be moved on, and is sound.
///
/// # Panics
/// If it becomes anything but sound.
pub fn utterance(model: &VoiceModel, cx: &Compute, bytes: &[u8]) {
    for bytes in [bytes, &resealed(bytes)] {
        let Ok(mut utterance) = Utterance::from_bytes(model, cx, bytes, None) else {
            continue;
        };
        utterance.finish();
        // Forged states may hold values that lead to the typed error.
        let _ = model.advance(cx, &mut [&mut utterance], 4);
        let samples = utterance.take_samples();
        assert!(samples.iter().all(|v| v.abs() <= 1.0), "not sound");
    }
}
