//! From floats to the two block types that `quantize` writes.

use half::f16;

use super::{BlockError, TensorType};

/// Bytes of a block made by [`encode_q8`] (Q8_0).
pub const Q8_BLOCK_BYTES: usize = 34;
/// Bytes of a block made by [`encode_q4`] (Q4_1).
pub const Q4_BLOCK_BYTES: usize = 20;

/// Appends `values` as Q8_0 blocks. The scale is the f16 nearest to `amax / 127`, and the values
/// are rounded against that f16, so the scale's own rounding costs nothing.
///
/// # Errors
/// [`BlockError`] when `values` does not fill whole blocks of 32 or a scale overflows f16.
pub fn encode_q8(values: &[f32], out: &mut Vec<u8>) -> Result<(), BlockError> {
    whole(TensorType::Q8_0, values)?;
    for block in values.as_chunks::<32>().0 {
        let amax = block.iter().fold(0f32, |m, v| m.max(v.abs()));
        let scale = f16::from_f32(amax / 127.0);
        if !scale.is_finite() {
            return Err(BlockError::Range {
                ty: TensorType::Q8_0,
                value: amax,
            });
        }
        let inverse = inverse(scale.to_f32());
        out.extend(scale.to_le_bytes());
        out.extend(
            block
                .iter()
                .map(|v| (v * inverse).round().clamp(-127.0, 127.0) as i8 as u8),
        );
    }
    Ok(())
}

/// Appends `values` as Q4_1 blocks (`scale * q + min`, q in 0..=15, both f16).
///
/// Scale and minimum are searched: from several starting widths of the grid, values are assigned
/// to grid points and the pair is refitted by least squares, twice; the candidate with the
/// smallest squared error AFTER rounding the pair to f16 wins. Against plain min/max this takes
/// about a sixth off the squared error of bell-shaped weights.
///
/// # Errors
/// [`BlockError`] when `values` does not fill whole blocks of 32 or a scale overflows f16.
pub fn encode_q4(values: &[f32], out: &mut Vec<u8>) -> Result<(), BlockError> {
    whole(TensorType::Q4_1, values)?;
    for block in values.as_chunks::<32>().0 {
        let fit = search_q4(block);
        if !fit.error.is_finite() {
            let value = block
                .iter()
                .fold(0f32, |m, v| if v.abs() >= m.abs() { *v } else { m });
            return Err(BlockError::Range {
                ty: TensorType::Q4_1,
                value,
            });
        }
        out.extend(f16::from_f32(fit.scale).to_le_bytes());
        out.extend(f16::from_f32(fit.min).to_le_bytes());
        out.extend((0..16).map(|j| fit.q[j] | fit.q[j + 16] << 4));
    }
    Ok(())
}

fn whole(ty: TensorType, values: &[f32]) -> Result<(), BlockError> {
    if values.len().is_multiple_of(32) {
        return Ok(());
    }
    Err(BlockError::Length {
        ty,
        elements: values.len(),
        expected: None,
        found: 0,
    })
}

fn inverse(scale: f32) -> f32 {
    // A scale so small that its inverse overflows decodes to zero whatever is stored.
    let inverse = 1.0 / scale;
    if inverse.is_finite() { inverse } else { 0.0 }
}

struct Fit {
    scale: f32,
    min: f32,
    q: [u8; 32],
    error: f32,
}

/// Starting widths of the grid, in steps of its full range. Below 15 the outermost values are
/// clipped, which pays when they are outliers.
const WIDTHS: [f32; 9] = [15.0, 14.5, 14.0, 13.5, 13.0, 12.5, 15.5, 16.0, 11.5];

fn search_q4(block: &[f32; 32]) -> Fit {
    let low = block.iter().copied().fold(f32::INFINITY, f32::min);
    let high = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut best: Option<Fit> = None;
    for width in WIDTHS {
        let mut scale = (high - low) / width;
        // Clipping is shared by both ends: the grid is centred on the range.
        let mut min = (high + low) * 0.5 - scale * 7.5;
        for _ in 0..2 {
            let q = assign(block, scale, min);
            if let Some((s, m)) = refit(block, &q) {
                (scale, min) = (s, m);
            }
        }
        let fit = finish(block, scale, min);
        if best.as_ref().is_none_or(|b| fit.error < b.error) {
            best = Some(fit);
        }
    }
    best.unwrap_or_else(|| finish(block, 0.0, low))
}

fn assign(block: &[f32; 32], scale: f32, min: f32) -> [u8; 32] {
    let inverse = inverse(scale);
    // The cast saturates, so NaN (never in a checked tensor) and infinities are harmless.
    std::array::from_fn(|i| ((block[i] - min) * inverse + 0.5).clamp(0.0, 15.0) as u8)
}

/// Least squares for `block ~ scale * q + min`; `None` when all `q` are equal.
fn refit(block: &[f32; 32], q: &[u8; 32]) -> Option<(f32, f32)> {
    let (mut sq, mut sqq, mut sv, mut sqv) = (0f32, 0f32, 0f32, 0f32);
    for (&v, &q) in block.iter().zip(q) {
        let q = f32::from(q);
        sq += q;
        sqq += q * q;
        sv += v;
        sqv += q * v;
    }
    let determinant = 32.0 * sqq - sq * sq;
    if determinant <= 0.0 {
        return None;
    }
    let scale = (32.0 * sqv - sq * sv) / determinant;
    (scale > 0.0).then(|| (scale, (sv - scale * sq) / 32.0))
}

/// Rounds the pair to f16, assigns once more against the rounded pair and measures.
fn finish(block: &[f32; 32], scale: f32, min: f32) -> Fit {
    let scale = f16::from_f32(scale).to_f32();
    let min = f16::from_f32(min).to_f32();
    let q = assign(block, scale, min);
    let error = block
        .iter()
        .zip(&q)
        .map(|(&v, &q)| (v - (scale * f32::from(q) + min)).powi(2))
        .sum();
    Fit {
        scale,
        min,
        q,
        error,
    }
}
