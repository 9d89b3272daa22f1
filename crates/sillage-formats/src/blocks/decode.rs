//! From raw blocks to floats, and to integers with scales.

use half::{bf16, f16};

use super::{BlockError, TensorType};

fn half_at(raw: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([raw[at], raw[at + 1]]).to_f32()
}

fn check(ty: TensorType, raw: &[u8], elements: usize) -> Result<(), BlockError> {
    let expected = ty.bytes(elements);
    if expected == Some(raw.len()) {
        return Ok(());
    }
    Err(BlockError::Length {
        ty,
        elements,
        expected,
        found: raw.len(),
    })
}

/// Decodes `raw` into `out.len()` floats. 16-bit floats become exactly the f32 of the same value;
/// blocks become `scale * (q - zero) + min`, each operation rounded to f32 as ggml's reference
/// decoder does.
///
/// # Errors
/// [`BlockError::Length`] when `raw` does not hold exactly `out.len()` elements.
pub fn decode_f32(ty: TensorType, raw: &[u8], out: &mut [f32]) -> Result<(), BlockError> {
    check(ty, raw, out.len())?;
    match ty {
        TensorType::F32 => {
            for (o, b) in out.iter_mut().zip(raw.as_chunks::<4>().0) {
                *o = f32::from_le_bytes(*b);
            }
        }
        TensorType::F16 => {
            for (o, b) in out.iter_mut().zip(raw.as_chunks::<2>().0) {
                *o = f16::from_le_bytes(*b).to_f32();
            }
        }
        TensorType::Bf16 => {
            for (o, b) in out.iter_mut().zip(raw.as_chunks::<2>().0) {
                *o = bf16::from_le_bytes(*b).to_f32();
            }
        }
        _ => decode_blocks(ty, raw, out),
    }
    Ok(())
}

/// One block at a time through the integer form, in buffers of at most one super-block.
fn decode_blocks(ty: TensorType, raw: &[u8], out: &mut [f32]) {
    let Some(layout) = ty.int_layout() else {
        return;
    };
    let mut q = [0u8; 256];
    let mut scales = [0f32; 16];
    let mut mins = [0f32; 16];
    let len = ty.block_len();
    let groups = len / layout.block;
    let blocks = raw.chunks_exact(ty.block_bytes());
    for (block, out) in blocks.zip(out.chunks_exact_mut(len)) {
        decode_block(
            ty,
            block,
            &mut q[..len],
            &mut scales[..groups],
            &mut mins[..groups],
        );
        for (g, out) in out.chunks_exact_mut(layout.block).enumerate() {
            let q = &q[g * layout.block..(g + 1) * layout.block];
            for (o, &q) in out.iter_mut().zip(q) {
                let centred = f32::from(i16::from(q) - i16::from(layout.zero));
                *o = scales[g] * centred + if layout.has_min { mins[g] } else { 0.0 };
            }
        }
    }
}

/// Decodes `raw` into unsigned values, scales and minima, laid out as
/// [`TensorType::int_layout`] says: `q` has one value an element, `scales` one an `block`
/// elements, `mins` as many as `scales` when the layout has minima and is otherwise ignored.
///
/// # Errors
/// [`BlockError`] when the type is a float type or a length does not fit.
pub fn decode_int(
    ty: TensorType,
    raw: &[u8],
    q: &mut [u8],
    scales: &mut [f32],
    mins: &mut [f32],
) -> Result<(), BlockError> {
    let layout = ty.int_layout().ok_or(BlockError::NotInteger { ty })?;
    check(ty, raw, q.len())?;
    let groups = q.len() / layout.block;
    if scales.len() != groups || (layout.has_min && mins.len() != groups) {
        return Err(BlockError::Output {
            ty,
            elements: q.len(),
        });
    }
    let len = ty.block_len();
    let groups = len / layout.block;
    let mut unused = [0f32; 16];
    for (i, block) in raw.chunks_exact(ty.block_bytes()).enumerate() {
        let mins = match layout.has_min {
            true => &mut mins[i * groups..(i + 1) * groups],
            false => &mut unused[..groups],
        };
        let scales = &mut scales[i * groups..(i + 1) * groups];
        decode_block(ty, block, &mut q[i * len..(i + 1) * len], scales, mins);
    }
    Ok(())
}

/// The factors that all scales (and minima) of each super-block of a K type are multiples of;
/// one a super-block. Other types have none and leave the slices alone.
pub fn decode_factors(ty: TensorType, raw: &[u8], scales: &mut [f32], mins: &mut [f32]) {
    let (scale_at, min_at) = match ty {
        TensorType::Q4K | TensorType::Q5K => (0, 2),
        TensorType::Q6K => (208, 208),
        _ => return,
    };
    let blocks = || raw.chunks_exact(ty.block_bytes());
    scales
        .iter_mut()
        .zip(blocks())
        .for_each(|(s, block)| *s = half_at(block, scale_at));
    mins.iter_mut()
        .zip(blocks())
        .for_each(|(m, block)| *m = half_at(block, min_at));
}

/// One block; the slices have exactly the lengths of one block (both callers see to it).
fn decode_block(ty: TensorType, raw: &[u8], q: &mut [u8], scales: &mut [f32], mins: &mut [f32]) {
    match ty {
        TensorType::F32 | TensorType::F16 | TensorType::Bf16 => {}
        TensorType::Q8_0 => {
            scales[0] = half_at(raw, 0);
            for (q, &b) in q.iter_mut().zip(&raw[2..]) {
                // i8 + 128 is the byte with its top bit flipped.
                *q = b ^ 0x80;
            }
        }
        TensorType::Q4_0 => {
            scales[0] = half_at(raw, 0);
            nibbles(&raw[2..18], q);
        }
        TensorType::Q4_1 => {
            scales[0] = half_at(raw, 0);
            mins[0] = half_at(raw, 2);
            nibbles(&raw[4..20], q);
        }
        TensorType::Q4K => {
            k_scales(raw, scales, mins);
            for (raw, q) in raw[16..].chunks_exact(32).zip(q.chunks_exact_mut(64)) {
                nibbles(raw, q);
            }
        }
        TensorType::Q5K => {
            k_scales(raw, scales, mins);
            let high = &raw[16..48];
            for (c, (raw, q)) in raw[48..]
                .chunks_exact(32)
                .zip(q.chunks_exact_mut(64))
                .enumerate()
            {
                nibbles(raw, q);
                for (l, &h) in high.iter().enumerate() {
                    q[l] |= (h >> (2 * c) & 1) << 4;
                    q[l + 32] |= (h >> (2 * c + 1) & 1) << 4;
                }
            }
        }
        TensorType::Q6K => q6k(raw, q, scales),
    }
}

/// Low nibbles fill the first half of `q`, high nibbles the second.
fn nibbles(raw: &[u8], q: &mut [u8]) {
    let (low, high) = q.split_at_mut(raw.len());
    for ((&b, l), h) in raw.iter().zip(low).zip(high) {
        *l = b & 15;
        *h = b >> 4;
    }
}

/// The eight 6-bit scales and minima of Q4_K and Q5_K: bytes 4..16 hold the low six bits of the
/// first four of each, and the rest squeezed into nibbles and the spare top bits.
fn k_scales(raw: &[u8], scales: &mut [f32], mins: &mut [f32]) {
    let d = half_at(raw, 0);
    let dmin = half_at(raw, 2);
    let packed = &raw[4..16];
    for j in 0..8 {
        let (scale, min) = if j < 4 {
            (packed[j] & 63, packed[j + 4] & 63)
        } else {
            let scale = (packed[j + 4] & 15) | (packed[j - 4] >> 6 << 4);
            (scale, (packed[j + 4] >> 4) | (packed[j] >> 6 << 4))
        };
        scales[j] = d * f32::from(scale);
        mins[j] = -(dmin * f32::from(min));
    }
}

fn q6k(raw: &[u8], q: &mut [u8], scales: &mut [f32]) {
    let (low, high) = (&raw[..128], &raw[128..192]);
    let d = half_at(raw, 208);
    for (s, &b) in scales.iter_mut().zip(&raw[192..208]) {
        *s = d * f32::from(b as i8);
    }
    for half in 0..2 {
        let (low, high) = (&low[half * 64..], &high[half * 32..]);
        let q = &mut q[half * 128..(half + 1) * 128];
        for l in 0..32 {
            q[l] = (low[l] & 15) | ((high[l] & 3) << 4);
            q[l + 32] = (low[l + 32] & 15) | ((high[l] >> 2 & 3) << 4);
            q[l + 64] = (low[l] >> 4) | ((high[l] >> 4 & 3) << 4);
            q[l + 96] = (low[l + 32] >> 4) | ((high[l] >> 6) << 4);
        }
    }
}

/// Writes floats in one of the float types, rounding to nearest even; other types are refused.
///
/// # Errors
/// [`BlockError`] when `ty` is a block type.
pub fn encode_float(ty: TensorType, values: &[f32], out: &mut Vec<u8>) -> Result<(), BlockError> {
    match ty {
        TensorType::F32 => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        TensorType::F16 => out.extend(values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes())),
        TensorType::Bf16 => {
            out.extend(values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()));
        }
        _ => {
            return Err(BlockError::Output {
                ty,
                elements: values.len(),
            });
        }
    }
    Ok(())
}
