//! A voice's tokens: vectors beside the one that sums it up, each about another kind of sound.
//!
//! They are the larger part of a voice, so they are kept as files hold them, in 16 bits: a voice that was
//! just cloned, one that was saved and one that travels in a frozen utterance are the same bit for bit.

use crate::config::{VOICE_DIM, VOICE_TOKENS};

/// Steps in which a number is stored. Tokens are of length `sqrt(128)`, so that no number of theirs is
/// beyond 11.4, and 16 bits hold them with an error below 0.00025.
const STEPS: f32 = 2048.0;
/// Numbers of all tokens.
const NUMBERS: usize = VOICE_TOKENS * VOICE_DIM;

/// The tokens of a voice, `[24, 128]`, each of length `sqrt(128)`, in steps of 1/2048.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens(Box<[i16]>);

impl Tokens {
    /// Bytes within a file.
    pub(crate) const BYTES: usize = 2 * NUMBERS;

    /// Tokens from `[24, 128]` numbers, rounded to what can be stored; `None` if there are more or fewer
    /// of them, or one is beyond ±16 or no number.
    #[must_use]
    pub fn new(values: &[f32]) -> Option<Self> {
        let stored = |value: &f32| {
            let steps = (value * STEPS).round();
            let fits = (f32::from(i16::MIN)..=f32::from(i16::MAX)).contains(&steps);
            // Whole and in range, so nothing is cut off.
            fits.then_some(steps as i16)
        };
        if values.len() != NUMBERS {
            return None;
        }
        let stored: Option<Box<[i16]>> = values.iter().map(stored).collect();
        stored.map(Tokens)
    }

    /// Tokens of the directions given, `[24, 128]`, brought to their length; `None` if one has no
    /// direction.
    pub(crate) fn stretched(directions: &[f32]) -> Option<Self> {
        let mut values = Vec::with_capacity(NUMBERS);
        for direction in directions.as_chunks::<VOICE_DIM>().0 {
            values.extend(stretched(*direction)?);
        }
        Tokens::new(&values)
    }

    /// The numbers, `[24, 128]`.
    #[must_use]
    pub fn values(&self) -> Vec<f32> {
        let steps = self.0.iter();
        steps.map(|s| f32::from(*s) / STEPS).collect()
    }

    /// What files hold of them: little-endian.
    pub(crate) fn bytes(&self) -> impl Iterator<Item = u8> {
        self.0.iter().flat_map(|s| s.to_le_bytes())
    }

    /// Tokens from a file's bytes; `None` if there are more or fewer than [`Tokens::BYTES`].
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let steps = bytes.as_chunks::<2>().0.iter();
        (bytes.len() == Tokens::BYTES)
            .then(|| Tokens(steps.map(|b| i16::from_le_bytes(*b)).collect()))
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// The vector with the length that all voice vectors and tokens have; `None` if it has no direction.
pub(crate) fn stretched(mut vector: [f32; VOICE_DIM]) -> Option<[f32; VOICE_DIM]> {
    let squares: f64 = vector.iter().map(|v| f64::from(*v).powi(2)).sum();
    let factor = (VOICE_DIM as f64 / squares).sqrt();
    if !factor.is_finite() {
        return None;
    }
    vector
        .iter_mut()
        .for_each(|v| *v = (f64::from(*v) * factor) as f32);
    Some(vector)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn rounding_is_small_and_happens_once() {
        let directions: Vec<f32> = (0..NUMBERS).map(|i| (i as f32 * 0.7).sin() - 0.2).collect();
        let tokens = Tokens::stretched(&directions).unwrap();
        let values = tokens.values();
        for (row, given) in values.chunks(VOICE_DIM).zip(directions.chunks(VOICE_DIM)) {
            let length = |x: &[f32]| x.iter().map(|v| v * v).sum::<f32>().sqrt();
            let scale = (VOICE_DIM as f32).sqrt() / length(given);
            for (found, given) in row.iter().zip(given) {
                assert!((found - scale * given).abs() < 0.00026, "{found}");
            }
        }
        assert_eq!(Tokens::new(&values).unwrap(), tokens);
        let bytes: Vec<u8> = tokens.bytes().collect();
        assert_eq!(bytes.len(), Tokens::BYTES);
        assert_eq!(Tokens::from_bytes(&bytes).unwrap(), tokens);
        assert_eq!(Tokens::from_bytes(&bytes[2..]), None);
    }

    #[test]
    fn what_cannot_be_stored_is_refused() {
        let mut values = vec![1.0; NUMBERS];
        for bad in [f32::NAN, f32::INFINITY, 16.0, -16.1] {
            values[77] = bad;
            assert_eq!(Tokens::new(&values), None, "{bad}");
        }
        values[77] = -16.0;
        assert!(Tokens::new(&values).is_some());
        assert_eq!(Tokens::new(&values[1..]), None);
        values[VOICE_DIM..2 * VOICE_DIM].fill(0.0);
        assert_eq!(Tokens::stretched(&values), None);
    }
}
