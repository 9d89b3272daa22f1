//! Thirty-two bits as five symbols of seven bits.
//!
//! 32 bits and 3 check bits make five symbols. A symbol is one of the 64
//! Walsh functions or the negative of one, sent as 64 chips, one in each unit
//! of a period, in an order and with signs that depend on the key. Such a code
//! is decoded as well as can be by one fast Walsh-Hadamard transform, and a
//! part of a period is enough when it is clear.

use super::Key;
use super::pattern::{SYMBOLS, UNITS};

const BITS: u32 = 7;

/// The chips of one payload: by symbol and unit, +1 or -1.
pub(crate) type Chips = [[i8; UNITS]; SYMBOLS];

/// Three bits that a wrong decoding passes one time in eight.
fn check_bits(payload: u32) -> u64 {
    let hash = blake3::hash(&payload.to_le_bytes());
    u64::from(hash.as_bytes()[0] & 7)
}

fn symbols(payload: u32) -> [u8; SYMBOLS] {
    let word = u64::from(payload) | check_bits(payload) << 32;
    std::array::from_fn(|i| (word >> (i as u32 * BITS) & 127) as u8)
}

/// Row `row` of the Walsh-Hadamard matrix of order 64 at column `column`.
fn walsh(row: usize, column: usize) -> i8 {
    if (row & column).count_ones().is_multiple_of(2) {
        1
    } else {
        -1
    }
}

/// What the key makes of the plain code: a sign per chip and, per symbol, an
/// order of the chips, so that the units of any stretch of time are a random
/// choice of the code's columns.
struct Scramble {
    signs: [f32; UNITS * SYMBOLS],
    order: [[usize; UNITS]; SYMBOLS],
}

impl Scramble {
    fn new(key: &Key) -> Self {
        let order = std::array::from_fn(|symbol| {
            let bits: [f32; UNITS * 32] = key.signs(&format!("chip order v1, {symbol}"));
            let rank = |unit: usize| {
                bits[unit * 32..][..32]
                    .iter()
                    .fold(0u32, |r, &b| r << 1 | u32::from(b > 0.0))
            };
            let mut order: [usize; UNITS] = std::array::from_fn(|unit| unit);
            order.sort_by_key(|&unit| (rank(unit), unit));
            order
        });
        Self {
            signs: key.signs("chip signs v1"),
            order,
        }
    }
}

/// The chips that carry `payload` under `key`.
pub(crate) fn encode(key: &Key, payload: u32) -> Chips {
    let scramble = Scramble::new(key);
    let symbols = symbols(payload);
    std::array::from_fn(|s| {
        let (row, negative) = (usize::from(symbols[s] & 63), symbols[s] & 64 != 0);
        std::array::from_fn(|unit| {
            let mut chip = walsh(row, scramble.order[s][unit]);
            if negative != (scramble.signs[s * UNITS + unit] < 0.0) {
                chip = -chip;
            }
            chip
        })
    })
}

/// The likeliest payload for soft chips, and the probability that it is right.
/// Chips that were not heard are 0.
pub(crate) fn decode(key: &Key, chips: &[[f32; UNITS]; SYMBOLS]) -> (u32, f32) {
    let scramble = Scramble::new(key);
    let mut word = 0u64;
    let mut confidence = 1f64;
    for s in 0..SYMBOLS {
        let mut values = [0f32; UNITS];
        for unit in 0..UNITS {
            values[scramble.order[s][unit]] = chips[s][unit] * scramble.signs[s * UNITS + unit];
        }
        let (symbol, probability) = decode_symbol(&values);
        word |= u64::from(symbol) << (s as u32 * BITS);
        confidence *= probability;
    }
    let payload = (word & 0xffff_ffff) as u32;
    if word >> 32 != check_bits(payload) {
        confidence = 0.0;
    }
    (payload, confidence as f32)
}

/// The likeliest symbol and its probability among all 128, with the chips'
/// amplitude and noise estimated from the chips themselves.
fn decode_symbol(values: &[f32; UNITS]) -> (u8, f64) {
    let mut transform = *values;
    hadamard(&mut transform);
    let energy: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
    let heard = values.iter().filter(|&&v| v != 0.0).count().max(1) as f64;
    let best = (0..UNITS).max_by(|&a, &b| transform[a].abs().total_cmp(&transform[b].abs()));
    let best = best.unwrap_or(0);
    let peak = f64::from(transform[best].abs());
    let amplitude = peak / heard;
    let noise = ((energy - peak * amplitude) / heard)
        .max(1e-3 * amplitude * amplitude)
        .max(1e-12);
    let weight = amplitude / noise;
    let others: f64 = transform
        .iter()
        .map(|&r| f64::from(r))
        .flat_map(|r| [r, -r])
        .map(|r| ((r - peak) * weight).exp())
        .sum();
    let symbol = best as u8 | if transform[best] < 0.0 { 64 } else { 0 };
    (symbol, 1.0 / others.max(1.0))
}

/// The Walsh-Hadamard transform in place.
fn hadamard(values: &mut [f32; UNITS]) {
    let mut half = 1;
    while half < UNITS {
        for start in (0..UNITS).step_by(2 * half) {
            for i in start..start + half {
                let (a, b) = (values[i], values[i + half]);
                values[i] = a + b;
                values[i + half] = a - b;
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn soft(chips: &Chips) -> [[f32; UNITS]; SYMBOLS] {
        chips.map(|row| row.map(f32::from))
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(payload: u32, key: [u8; 32]) {
            let key = Key::from_bytes(key);
            let (read, confidence) = decode(&key, &soft(&encode(&key, payload)));
            prop_assert_eq!(read, payload);
            prop_assert!(confidence > 0.999);
        }

        #[test]
        fn three_quarters_of_the_chips_are_enough_when_clear(payload: u32, from in 0usize..UNITS) {
            let mut chips = soft(&encode(&Key::PUBLIC, payload));
            for row in &mut chips {
                for lost in 0..UNITS / 4 {
                    row[(from + lost) % UNITS] = 0.0;
                }
            }
            prop_assert_eq!(decode(&Key::PUBLIC, &chips).0, payload);
        }

        #[test]
        fn another_key_reads_nothing_it_would_trust(payload: u32, other: [u8; 32]) {
            let chips = soft(&encode(&Key::PUBLIC, payload));
            prop_assert!(decode(&Key::from_bytes(other), &chips).1 < 0.9);
        }
    }

    #[test]
    fn silence_has_no_payload() {
        assert!(decode(&Key::PUBLIC, &[[0.0; UNITS]; SYMBOLS]).1 < 0.01);
    }
}
