//! Which cell of time and frequency is raised and which is lowered.

use super::{BINS, Key, N_FFT, SAMPLE_RATE, payload};

/// Bands of the pattern, of equal width (187.5 Hz). Bands as the ear has them
/// (mel) were measured to be worse: the low ones hold too few bins. Narrower
/// ones do as well, but a pair of them is as wide as the harmonics of a high
/// voice lie apart, and a gliding voice then looks like a pattern.
pub(crate) const BANDS: usize = 28;
/// Pairs of neighbouring bands.
pub(crate) const PAIRS: usize = BANDS / 2;
/// Frames of one block.
pub(crate) const BLOCK: usize = 4;
/// Frames of one unit: two blocks of opposite sign.
pub(crate) const UNIT: usize = 2 * BLOCK;
/// Units in time after which the pattern repeats.
pub(crate) const UNITS: usize = 64;
/// Frames after which the pattern repeats.
pub(crate) const PERIOD: usize = UNIT * UNITS;
/// Units of every step of time that carry payload symbols, one each.
pub(crate) const SYMBOLS: usize = 5;

const LOW_HZ: f64 = 300.0;
const HIGH_HZ: f64 = 5550.0;

/// The payload symbol that the unit at `(unit, pair)` carries, or none for the
/// presence. The five rotate over the bands so that each symbol meets them all.
pub(crate) fn symbol_of(unit: usize, pair: usize) -> Option<usize> {
    let place = (pair + PAIRS * UNITS - 5 * unit) % PAIRS;
    (place < SYMBOLS).then_some(place)
}

/// The sign of band `band` in frame `frame` of a unit whose sign is +1.
pub(crate) fn chessboard(frame_in_unit: usize, band: usize) -> i8 {
    if (frame_in_unit / BLOCK + band).is_multiple_of(2) {
        1
    } else {
        -1
    }
}

/// The public signs of the presence, by unit and pair; 0 where the payload is.
pub(crate) fn presence() -> Vec<[i8; PAIRS]> {
    let signs: [f32; UNITS * PAIRS] = Key::PUBLIC.signs("presence v1");
    let mut table = vec![[0i8; PAIRS]; UNITS];
    for (unit, row) in table.iter_mut().enumerate() {
        for (pair, cell) in row.iter_mut().enumerate() {
            if symbol_of(unit, pair).is_none() {
                *cell = if signs[unit * PAIRS + pair] > 0.0 {
                    1
                } else {
                    -1
                };
            }
        }
    }
    table
}

/// Signs of all bands in all frames of a period.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Vec<[i8; BANDS]>);

impl Pattern {
    pub(crate) fn new(key: &Key, payload: u32) -> Self {
        let mut units = presence();
        let chips = payload::encode(key, payload);
        for (unit, row) in units.iter_mut().enumerate() {
            for (pair, cell) in row.iter_mut().enumerate() {
                if let Some(symbol) = symbol_of(unit, pair) {
                    *cell = chips[symbol][unit];
                }
            }
        }
        Self::from_units(&units)
    }

    /// Every unit's sign spread over its frames and bands.
    pub(crate) fn from_units(units: &[[i8; PAIRS]]) -> Self {
        let frames = units.iter().flat_map(|row| {
            (0..UNIT).map(move |frame| {
                std::array::from_fn(|band| row[band / 2] * chessboard(frame, band))
            })
        });
        Self(frames.collect())
    }

    pub(crate) fn frame(&self, frame: u64) -> &[i8; BANDS] {
        &self.0[(frame % PERIOD as u64) as usize]
    }
}

/// Edges of the bands in bins, `BANDS + 1` of them, for sound whose
/// frequencies were multiplied by `scale`.
pub(crate) fn band_edges(scale: f64) -> [f64; BANDS + 1] {
    std::array::from_fn(|i| {
        let hz = LOW_HZ + (HIGH_HZ - LOW_HZ) * i as f64 / BANDS as f64;
        hz * scale * N_FFT as f64 / f64::from(SAMPLE_RATE)
    })
}

/// For every bin from the first that the pattern touches: the two bands it
/// lies in (shifted by one: 0 and `BANDS + 1` are the outside) and the share
/// of the second.
pub(crate) fn band_mix() -> (usize, Vec<(u8, u8, f32)>) {
    let edges = band_edges(1.0);
    // A bin spans half a bin to either side of its centre.
    let first = (edges[0] - 0.5).ceil().max(0.0) as usize;
    let last = ((edges[BANDS] + 0.5).floor() as usize).min(BINS - 1);
    let mix = (first..=last).map(|bin| {
        let (low, high) = (bin as f64 - 0.5, bin as f64 + 0.5);
        let band = edges.iter().filter(|&&edge| edge <= low).count();
        let next = edges.get(band).copied().unwrap_or(f64::INFINITY);
        let share = (high - next).clamp(0.0, 1.0);
        (band as u8, (band + 1).min(BANDS + 1) as u8, share as f32)
    });
    (first, mix.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_of_time_carries_each_symbol_once() {
        for unit in 0..UNITS {
            let mut seen = [0; SYMBOLS];
            for pair in 0..PAIRS {
                if let Some(symbol) = symbol_of(unit, pair) {
                    seen[symbol] += 1;
                }
            }
            assert_eq!(seen, [1; SYMBOLS]);
        }
    }

    #[test]
    fn a_unit_changes_neither_level_nor_colour() {
        for band in 0..BANDS {
            let over_time: i32 = (0..UNIT).map(|f| i32::from(chessboard(f, band))).sum();
            assert_eq!(over_time, 0);
        }
        for frame in 0..UNIT {
            assert_eq!(chessboard(frame, 0) + chessboard(frame, 1), 0);
        }
    }

    #[test]
    fn bands_are_wider_than_a_bin_and_ascend() {
        let edges = band_edges(1.0);
        assert!(edges.windows(2).all(|e| e[1] - e[0] > 1.0));
        let (first, mix) = band_mix();
        assert_eq!(first, 13);
        assert!(
            mix.iter()
                .all(|&(a, b, share)| b == a + 1 && (0.0..=1.0).contains(&share))
        );
    }
}
