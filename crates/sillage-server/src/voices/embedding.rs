//! Voices as lists of 192 numbers, for clients of API versions that knew only
//! those: 128 of the vector, the mean log F0, and 63 noughts.
//!
//! A voice is more than that. What the numbers leave out (its tokens) is taken
//! from the known voice they came from or, for numbers made up elsewhere, from
//! the known voices that they are most like.

use super::Voices;
use crate::fault::Fault;
use crate::keys::Owner;
use sillage_voice::{VOICE_DIM, Voice, cloning::likeness};

/// Numbers of a list.
const LENGTH: usize = 192;
/// So like a known voice, it is that voice.
const THE_SAME: f32 = 0.9999;
/// How sharply the most alike are preferred.
const SHARPNESS: f32 = 12.0;

impl Voices {
    /// A voice as a list of numbers.
    #[must_use]
    pub fn embedding(voice: &Voice) -> Vec<f32> {
        let mut numbers = voice.vector.to_vec();
        numbers.push(voice.mu);
        numbers.resize(LENGTH, 0.0);
        numbers
    }

    /// The voice that such a list stands for.
    ///
    /// # Errors
    /// If it is no such list.
    pub fn from_embedding(&self, owner: Owner, numbers: &[f32]) -> Result<Voice, Fault> {
        let wrong = |what: &str| {
            Err(Fault::bad(
                "embedding",
                format!("{what}: take one from this server's voices"),
            ))
        };
        if numbers.len() != LENGTH {
            return wrong(&format!(
                "an embedding has {LENGTH} numbers, this has {}",
                numbers.len()
            ));
        }
        if numbers.iter().any(|n| !n.is_finite() || n.abs() > 1e3) {
            return wrong("an embedding's numbers are finite and small");
        }
        let length = numbers[..VOICE_DIM]
            .iter()
            .map(|n| n * n)
            .sum::<f32>()
            .sqrt();
        if length < 1e-3 {
            return wrong("an embedding points somewhere, this is all noughts");
        }
        let scale = (VOICE_DIM as f32).sqrt() / length;
        let known = self.list(owner)?;
        let Some(first) = known.first() else {
            return wrong("there are no voices");
        };
        let mut wanted = first.voice.clone();
        wanted.vector = std::array::from_fn(|i| numbers[i] * scale);
        let mut parts: Vec<(Voice, f32)> = known
            .into_iter()
            .map(|entry| (likeness(&entry.voice, &wanted), entry.voice))
            .map(|(like, voice)| (voice, like))
            .collect();
        parts.sort_by(|a, b| b.1.total_cmp(&a.1));
        if parts[0].1 > THE_SAME {
            return Ok(parts.swap_remove(0).0);
        }
        let most = parts[0].1;
        for part in &mut parts {
            part.1 = (SHARPNESS * (part.1 - most)).exp();
        }
        let mut voice = self.mix("embedding", &parts)?;
        voice.vector = wanted.vector;
        let pitch = numbers[VOICE_DIM];
        if (4.0..6.3).contains(&pitch) {
            voice.mu = pitch;
        }
        Ok(voice)
    }
}
