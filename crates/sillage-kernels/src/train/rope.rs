//! Backward pass of the rotary position embedding.

use crate::Compute;
use crate::rope::{RopeTable, rotate};

/// Turns the gradient of [`fn@crate::rope`]'s output into that of its input, in
/// place: `heads` heads of `head_dim` elements at the beginning of each row of
/// `dx: [positions.len(), stride]` are rotated by the negative angles.
///
/// For heads further right in wider rows pass `dx` from their column on. The
/// forward pass is [`fn@crate::rope`], which takes such rows too.
///
/// # Panics
/// If a slice is shorter than its shape says, or the table is for larger heads.
pub fn rope_backward(
    cx: &Compute,
    table: &RopeTable,
    positions: &[u32],
    dx: &mut [f32],
    stride: usize,
    heads: usize,
    head_dim: usize,
) {
    let m = positions.len();
    rotate(
        cx, dx, m, stride, 0, heads, head_dim, positions, table, true,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rope;
    use crate::testing::{assert_close, everywhere, random};

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        let terms = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        terms.sum()
    }

    /// A linear map `R` and its transpose: `<R x, y> = <x, R' y>`, and for a
    /// scale of one `R' R x = x`.
    #[test]
    fn is_the_transpose_of_the_forward_pass() {
        for (m, heads, head_dim, half, interleaved) in [
            (1, 1, 2, 1, false),
            (9, 3, 64, 32, false),
            (9, 3, 64, 32, true),
            (40, 9, 80, 20, false),
            (5, 2, 40, 7, true),
        ] {
            let (width, stride) = (heads * head_dim, heads * head_dim + 5);
            let x = random(1, m * stride, 1.0);
            let y = random(2, m * stride, 1.0);
            let positions: Vec<u32> = (0..m as u32).map(|t| t * 17).collect();
            let inv_freq: Vec<f32> = (0..half)
                .map(|i| 10_000f32.powf(-(i as f32) / half as f32))
                .collect();
            for scale in [1.0, 1.25] {
                let table = || RopeTable::new(inv_freq.clone(), interleaved, scale);
                let turned = everywhere(|cx| {
                    let mut x = x.clone();
                    rope(
                        cx,
                        &mut x,
                        m,
                        stride,
                        0,
                        heads,
                        head_dim,
                        &positions,
                        &table(),
                    );
                    x
                });
                let back = |of: &[f32]| {
                    everywhere(|cx| {
                        let mut dx = of.to_vec();
                        rope_backward(cx, &table(), &positions, &mut dx, stride, heads, head_dim);
                        dx
                    })
                };
                let dx = back(&y);
                for t in 0..m {
                    let row = t * stride..t * stride + width;
                    let (ahead, behind) = (
                        dot(&turned[row.clone()], &y[row.clone()]),
                        dot(&x[row.clone()], &dx[row]),
                    );
                    assert!((ahead - behind).abs() < 1e-4, "{ahead} {behind}");
                    // What lies between the rows stays as it was.
                    let gap = t * stride + width..(t + 1) * stride;
                    assert_eq!(dx[gap.clone()], y[gap]);
                }
                if scale == 1.0 {
                    let exact: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
                    assert_close(&back(&turned), &exact, 1e-6);
                }
            }
        }
    }
}
