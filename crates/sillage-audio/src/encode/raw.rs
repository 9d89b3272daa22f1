//! Samples without a header, and the G.711 laws.

use super::sink::Sink;
use super::{Codec, EncodeError, RawSample, to_i16};
use crate::manifest::Draft;

pub(super) struct Raw(pub(super) RawSample);

impl Codec for Raw {
    fn start(&mut self, _: &mut Sink) -> Result<(), EncodeError> {
        Ok(())
    }

    fn push(&mut self, samples: &[f32], sink: &mut Sink) -> Result<(), EncodeError> {
        sink.write(&bytes(self.0, samples))
    }

    fn finish(&mut self, _: &mut Sink, _: Option<&Draft>) -> Result<bool, EncodeError> {
        Ok(false)
    }
}

/// The bytes of samples.
pub(super) fn bytes(kind: RawSample, samples: &[f32]) -> Vec<u8> {
    match kind {
        RawSample::S16Le => samples
            .iter()
            .flat_map(|&v| to_i16(v).to_le_bytes())
            .collect(),
        RawSample::F32Le => samples.iter().flat_map(|&v| v.to_le_bytes()).collect(),
        RawSample::MuLaw => samples.iter().map(|&v| mu_law(to_i16(v))).collect(),
        RawSample::ALaw => samples.iter().map(|&v| a_law(to_i16(v))).collect(),
    }
}

/// G.711 mu-law: sign, three bits of exponent, four of mantissa, inverted. The
/// bias makes every segment start at a power of two.
fn mu_law(value: i16) -> u8 {
    const BIAS: i32 = 132;
    let value = i32::from(value);
    let magnitude = value.abs().min(32_635) + BIAS;
    let exponent = 24 - magnitude.leading_zeros() as i32;
    let mantissa = magnitude >> (exponent + 3) & 15;
    let sign = if value < 0 { 0x80 } else { 0 };
    !((sign | exponent << 4 | mantissa) as u8)
}

/// G.711 A-law: sign, three bits of segment, four of mantissa, every other bit
/// inverted. The first two segments are linear.
fn a_law(value: i16) -> u8 {
    // Twelve bits and a sign; negative numbers count from -1.
    let positive = value >= 0;
    let magnitude = i32::from(if positive { value } else { !value }) >> 3;
    let code = if magnitude < 32 {
        magnitude >> 1
    } else {
        let segment = 27 - magnitude.leading_zeros() as i32;
        segment << 4 | magnitude >> segment & 15
    };
    let sign = if positive { 0x80 } else { 0 };
    ((sign | code) as u8) ^ 0x55
}
