//! Linear layers between the stacks.

use sillage_kernels::{Compute, Linear, Product, Write, linear};

/// `weight(x)` for `m` rows of `x`, `[m, rows of the weight]`.
pub(crate) fn project(cx: &Compute, weight: &Linear, x: &[f32], m: usize) -> Vec<f32> {
    let y_stride = weight.rows();
    let mut y = vec![0.0; m * y_stride];
    let product = Product {
        weight,
        y: &mut y,
        y_stride,
        y_offset: 0,
        write: Write::Store,
    };
    linear(cx, x, m, &mut [product]);
    y
}

/// Whether every number is one.
pub(crate) fn all_finite(values: &[f32]) -> bool {
    // Without an early exit this is a few vector instructions.
    values.iter().fold(true, |all, v| all & v.is_finite())
}
