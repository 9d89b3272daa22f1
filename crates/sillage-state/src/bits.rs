//! Numbers to little-endian bytes and back, in pieces.
//!
//! This crate holds no `unsafe`, so arrays are not reinterpreted but copied
//! through a block of bytes that stays in the first-level cache; the loops
//! below compile to plain vector moves.

use std::io::{self, Read, Write};

/// Elements converted at a time.
const BLOCK: usize = 4096;

/// The nearest bf16, ties to even; a NaN stays a NaN.
pub(crate) fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        // Rounding could carry a NaN's payload over into infinity.
        return (bits >> 16) as u16 | 0x40;
    }
    let round = 0x7fff + ((bits >> 16) & 1);
    (bits.wrapping_add(round) >> 16) as u16
}

/// The f32 that a bf16 stands for, exactly.
pub(crate) fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Writes each value through `encode`, `N` bytes an element.
fn write_with<T: Copy, const N: usize>(
    out: &mut impl Write,
    values: &[T],
    encode: impl Fn(T) -> [u8; N],
) -> io::Result<()> {
    let mut block = [0u8; BLOCK * 4];
    for chunk in values.chunks(BLOCK) {
        let bytes = &mut block[..chunk.len() * N];
        for (slot, &value) in bytes.as_chunks_mut::<N>().0.iter_mut().zip(chunk) {
            *slot = encode(value);
        }
        out.write_all(bytes)?;
    }
    Ok(())
}

/// Fills `values` through `decode`, `N` bytes an element.
fn read_with<T: Copy, const N: usize>(
    input: &mut impl Read,
    values: &mut [T],
    decode: impl Fn([u8; N]) -> T,
) -> io::Result<()> {
    let mut block = [0u8; BLOCK * 4];
    for chunk in values.chunks_mut(BLOCK) {
        let bytes = &mut block[..chunk.len() * N];
        input.read_exact(bytes)?;
        for (slot, value) in bytes.as_chunks::<N>().0.iter().zip(chunk) {
            *value = decode(*slot);
        }
    }
    Ok(())
}

pub(crate) fn write_f32(out: &mut impl Write, values: &[f32]) -> io::Result<()> {
    write_with(out, values, f32::to_le_bytes)
}

pub(crate) fn write_f32_as_bf16(out: &mut impl Write, values: &[f32]) -> io::Result<()> {
    write_with(out, values, |value| to_bf16(value).to_le_bytes())
}

pub(crate) fn write_u16(out: &mut impl Write, values: &[u16]) -> io::Result<()> {
    write_with(out, values, u16::to_le_bytes)
}

pub(crate) fn write_u32(out: &mut impl Write, values: &[u32]) -> io::Result<()> {
    write_with(out, values, u32::to_le_bytes)
}

pub(crate) fn read_f32(input: &mut impl Read, values: &mut [f32]) -> io::Result<()> {
    read_with(input, values, f32::from_le_bytes)
}

pub(crate) fn read_f32_from_bf16(input: &mut impl Read, values: &mut [f32]) -> io::Result<()> {
    read_with(input, values, |bytes| from_bf16(u16::from_le_bytes(bytes)))
}

pub(crate) fn read_u16(input: &mut impl Read, values: &mut [u16]) -> io::Result<()> {
    read_with(input, values, u16::from_le_bytes)
}

/// Reads `count` numbers, growing only as they arrive, so that a false count
/// cannot claim memory that the input does not back.
pub(crate) fn read_u32s(input: &mut impl Read, count: u64) -> io::Result<Vec<u32>> {
    let mut values = Vec::new();
    let mut left = count;
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK);
        let start = values.len();
        values.resize(start + piece, 0);
        read_with(input, &mut values[start..], u32::from_le_bytes)?;
        left -= piece as u64;
    }
    Ok(values)
}

/// Passes bytes on and hashes them on the way.
pub(crate) struct Hashing<W> {
    pub(crate) inner: W,
    pub(crate) hash: xxhash_rust::xxh3::Xxh3,
    /// Bytes that have passed.
    pub(crate) count: u64,
}

impl<W> Hashing<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self {
            inner,
            hash: xxhash_rust::xxh3::Xxh3::new(),
            count: 0,
        }
    }

    fn passed(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.count += bytes.len() as u64;
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.passed(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.passed(&bytes[..read]);
        Ok(read)
    }
}

/// Sixteen bytes as 32 lower-case hexadecimal digits.
pub(crate) fn hex(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}

/// The inverse of [`hex`]; `None` for anything but 32 lower-case digits.
pub(crate) fn unhex(text: &str) -> Option<[u8; 16]> {
    let digits = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let value = digits.then(|| u128::from_str_radix(text, 16).ok())??;
    Some(value.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_to_nearest_even() {
        for bits in 0..=u16::MAX {
            let value = from_bf16(bits);
            if !value.is_nan() {
                assert_eq!(to_bf16(value), bits);
            } else {
                assert!(from_bf16(to_bf16(value)).is_nan());
            }
        }
        assert_eq!(to_bf16(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(to_bf16(f32::from_bits(0x3f81_8000)), 0x3f82);
        assert_eq!(to_bf16(f32::from_bits(0x3f80_8001)), 0x3f81);
        assert!(from_bf16(to_bf16(f32::from_bits(0x7f80_0001))).is_nan());
        assert_eq!(to_bf16(f32::MAX), 0x7f80);
    }

    #[test]
    fn hex_round_trips() {
        let bytes = *b"\0\x01sixteen bytes!";
        assert_eq!(unhex(&hex(bytes)), Some(bytes));
        assert_eq!(unhex("+0000000000000000000000000000000"), None);
        assert_eq!(unhex(&"F".repeat(32)), None);
        assert_eq!(unhex(""), None);
    }
}
