//! What tests of gradients share.

use crate::testing::random;

/// Elements of a gradient that are compared with differences.
const SAMPLE: usize = 48;

pub(super) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// Numbers between `low` and `high`.
pub(super) fn between(seed: u64, len: usize, low: f32, high: f32) -> Vec<f32> {
    let unit = random(seed, len, 1.0);
    unit.iter()
        .map(|v| low + (high - low) * (0.5 + v / 7.0).clamp(0.0, 1.0))
        .collect()
}

/// Requires `found` to be the gradient of `loss` at `at`, by central differences
/// in f64 at a sample of elements; within `tolerance` of the largest element.
pub(super) fn assert_gradient(
    name: &str,
    found: &[f32],
    at: &[f32],
    tolerance: f64,
    loss: impl Fn(&[f64]) -> f64,
) {
    assert_eq!(found.len(), at.len(), "{name}");
    let mut point = wide(at);
    let scale = found
        .iter()
        .fold(1e-6, |m: f64, v| m.max(f64::from(v.abs())));
    // A stride without common factors with any size used.
    let count = found.len().min(SAMPLE);
    for k in 0..count {
        let i = if count == found.len() {
            k
        } else {
            (k * 7_919 + 13) % found.len()
        };
        let (middle, step) = (point[i], 1e-5 * point[i].abs().max(1.0));
        point[i] = middle + step;
        let above = loss(&point);
        point[i] = middle - step;
        let below = loss(&point);
        point[i] = middle;
        let exact = (above - below) / (2.0 * step);
        let error = (f64::from(found[i]) - exact).abs();
        assert!(
            error <= tolerance * scale,
            "{name}[{i}]: {}, exactly {exact} (scale {scale})",
            found[i]
        );
    }
}

/// `sum y g`.
pub(super) fn dot(y: &[f64], g: &[f32]) -> f64 {
    y.iter().zip(g).map(|(y, g)| y * f64::from(*g)).sum()
}
