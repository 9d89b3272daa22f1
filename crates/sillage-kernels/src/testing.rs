//! What the kernels' tests share.

use crate::{Compute, Isa};

/// `len` numbers, roughly normal with deviation `scale`, the same for a seed.
pub(crate) fn random(seed: u64, len: usize, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut unit = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..len)
        .map(|_| (unit() + unit() + unit() + unit() - 2.0) * 1.732 * scale)
        .collect()
}

/// Every instruction set on one thread, and the best on several counts; plain
/// code comes first.
pub(crate) fn computes() -> Vec<Compute> {
    let mut all: Vec<_> = Isa::available()
        .into_iter()
        .map(|isa| Compute::with_isa(isa, 1))
        .collect();
    all.extend([2, 5].map(Compute::new));
    all
}

/// The bits of every number; all NaNs count as one.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values
        .iter()
        .map(|v| if v.is_nan() { u32::MAX } else { v.to_bits() })
        .collect()
}

/// Runs `kernel` on every path and thread count, requires the same bits of all
/// and returns the result.
pub(crate) fn everywhere(kernel: impl Fn(&Compute) -> Vec<f32>) -> Vec<f32> {
    let all = computes();
    let expected = kernel(&all[0]);
    for cx in &all[1..] {
        let found = kernel(cx);
        assert!(
            bits(&found) == bits(&expected),
            "{} {:?} differs",
            cx.isa.name(),
            cx.pool
        );
    }
    expected
}

/// Requires `found` to be `exact` within `tolerance` of the largest value.
pub(crate) fn assert_close(found: &[f32], exact: &[f64], tolerance: f64) {
    assert_eq!(found.len(), exact.len());
    let scale = exact.iter().fold(1e-30, |m: f64, v| m.max(v.abs()));
    for (i, (f, e)) in found.iter().zip(exact).enumerate() {
        let error = (f64::from(*f) - e).abs();
        assert!(
            error <= tolerance * scale,
            "element {i}: {f}, exactly {e} (scale {scale})"
        );
    }
}
