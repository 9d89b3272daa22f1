//! An inaudible mark in sound that the toolkit made.
//!
//! The mark is a pattern of small level changes over cells of time and
//! frequency. A vocoder that ends in an inverse STFT applies it by multiplying
//! each frame's spectrum with [`Watermark::gains_into`], so it costs next to
//! nothing; [`apply`] does the same to sound that already exists.
//!
//! # The pattern
//!
//! Between 300 Hz and 5.55 kHz lie 28 bands of equal width. Time runs in
//! blocks of four frames (50 ms). A *unit* is two blocks by two neighbouring
//! bands, raised and lowered like a chessboard's four squares, so that it
//! carries one sign and changes neither the level of the moment nor the colour
//! of the sound: what speech does slowly in time, or to all bands at once,
//! cancels when the detector reads it. The pattern repeats after 64 units
//! (6.4 s).
//!
//! In every step of time nine of the fourteen units carry the *presence*: the
//! same signs for everybody, found without a key. The other five carry the
//! 32-bit payload, scrambled with the key (see `payload`).
//!
//! # What it cannot do
//!
//! Who knows the public pattern can subtract it, and strong enough processing
//! removes any mark. The mark says "this was made by Sillage" about sound that
//! nobody tried to launder; its absence says nothing.

mod apply;
mod detect;
mod features;
mod pattern;
mod payload;

pub use apply::{apply, apply_watermark};
pub use detect::{Detection, Payload, Second, Track, chance, detect, window_scores};

use pattern::{BANDS, Pattern, band_mix};

/// The rate of the sound the pattern is defined for, in hertz.
pub const SAMPLE_RATE: u32 = 24_000;
/// Samples of one STFT frame.
pub const N_FFT: usize = 1024;
/// Samples from one STFT frame to the next.
pub const HOP: usize = 300;
/// Frequency bins of one frame's spectrum.
pub const BINS: usize = N_FFT / 2 + 1;
/// The size of the level changes, in decibels up and down.
pub const STRENGTH_DB: f32 = 1.5;

/// The secret that scrambles the payload. Who has it can read payloads and
/// write false ones; the presence of the mark needs no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// The key that everybody knows: payloads under it are labels, not proofs.
    pub const PUBLIC: Self = Self(*b"sillage watermark: a public key.");

    /// A key from 32 bytes of the caller's.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A key from text of any length, such as a line of a configuration file.
    /// The text should be long and random: nothing here slows down guessing.
    pub fn from_text(text: &str) -> Self {
        Self(blake3::derive_key(
            "sillage watermark key from text v1",
            text.trim().as_bytes(),
        ))
    }

    /// Signs for one use of the key: bits of a keyed hash, as +1 and -1.
    pub(crate) fn signs<const N: usize>(&self, purpose: &str) -> [f32; N] {
        let mut bits = vec![0u8; N.div_ceil(8)];
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(purpose.as_bytes());
        hasher.finalize_xof().fill(&mut bits);
        std::array::from_fn(|i| {
            if bits[i / 8] >> (i % 8) & 1 == 1 {
                1.0
            } else {
                -1.0
            }
        })
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::PUBLIC {
            "Key(public)"
        } else {
            "Key(secret)"
        })
    }
}

/// The gains of one mark: a pure function of key, payload and frame number.
#[derive(Clone, Debug)]
pub struct Watermark {
    pattern: Pattern,
    /// For each bin its two nearest bands and how much of the second.
    mix: Vec<(u8, u8, f32)>,
    first_bin: usize,
    up: f32,
    down: f32,
}

impl Watermark {
    /// The mark of `payload` under `key`, at the usual strength.
    pub fn new(key: &Key, payload: u32) -> Self {
        Self::with_strength(key, payload, STRENGTH_DB)
    }

    /// As [`Watermark::new`] with level changes of `decibels` (clamped to
    /// 0..=6), for measuring.
    pub fn with_strength(key: &Key, payload: u32, decibels: f32) -> Self {
        let decibels = if decibels.is_finite() {
            decibels.clamp(0.0, 6.0)
        } else {
            STRENGTH_DB
        };
        let (first_bin, mix) = band_mix();
        Self {
            pattern: Pattern::new(key, payload),
            mix,
            first_bin,
            up: 10f32.powf(decibels / 20.0),
            down: 10f32.powf(-decibels / 20.0),
        }
    }

    /// Writes the gain of every bin of STFT frame `frame` (centred on sample
    /// `300 * frame + 150` of the utterance). Bins outside the pattern get 1.
    ///
    /// The frame's spectrum is to be multiplied with these before its inverse
    /// transform; the overlap of frames smooths the changes in time.
    pub fn gains_into(&self, frame: u64, gains: &mut [f32; BINS]) {
        let signs = self.pattern.frame(frame);
        let mut level = [1f32; BANDS + 2];
        for (level, &sign) in level[1..=BANDS].iter_mut().zip(signs) {
            *level = if sign > 0 { self.up } else { self.down };
        }
        gains.fill(1.0);
        for (gain, &(a, b, share)) in gains[self.first_bin..].iter_mut().zip(&self.mix) {
            let (a, b) = (level[usize::from(a)], level[usize::from(b)]);
            *gain = a + (b - a) * share;
        }
    }

    /// The gains of one frame, as [`Watermark::gains_into`] writes them.
    pub fn gains(&self, frame: u64) -> [f32; BINS] {
        let mut gains = [1.0; BINS];
        self.gains_into(frame, &mut gains);
        gains
    }
}
