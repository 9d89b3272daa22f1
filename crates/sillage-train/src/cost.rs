//! What training cost: processor seconds, operations, money.

use crate::recipe::Price;
use serde::{Deserialize, Serialize};
use sillage_models::Description;
use sillage_models::description::Mixer;

/// What a run has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// Tokens trained on.
    pub tokens: u64,
    /// Floating-point operations, by [`flops`], three forward passes' worth a token.
    pub flops: f64,
    /// Processor seconds of all threads; wall-clock seconds times threads where the system does not
    /// tell them.
    pub cpu_seconds: f64,
    /// Wall-clock seconds.
    pub seconds: f64,
}

impl Used {
    /// What the processor seconds cost at a price.
    #[must_use]
    pub fn money(&self, price: &Price) -> f64 {
        self.cpu_seconds / 3600.0 * price.per_core_hour
    }
}

/// Processor seconds that this process has used, all threads together, to the nanosecond; `None` where
/// the system keeps no such clock. Short runs need the fineness: the counters of `/proc` move in steps
/// of 10 ms.
#[must_use]
pub fn cpu_seconds() -> Option<f64> {
    #[cfg(unix)]
    {
        use rustix::time::{ClockId, clock_gettime};
        let used = clock_gettime(ClockId::ProcessCPUTime);
        Some(used.tv_sec as f64 + used.tv_nsec as f64 * 1e-9)
    }
    #[cfg(not(unix))]
    None
}

/// Floating-point operations of a forward pass over one sequence of `length` tokens, two per
/// multiplication and addition: matrices, convolutions, scans (as recurrences) and attention scores.
/// Embedding look-ups, norms and gates are left out; they are a few in a thousand.
#[must_use]
pub fn flops(description: &Description, length: usize) -> f64 {
    let d = description.d_model as f64;
    let each: f64 = description
        .branches()
        .map(|(_, branch)| match &branch.mixer {
            Mixer::Mamba(m) => {
                let (inner, n, rank) = (m.d_inner as f64, m.d_state as f64, m.dt_rank as f64);
                let matrices =
                    d * 2.0 * inner + inner * (rank + 2.0 * n) + rank * inner + inner * d;
                2.0 * (matrices + inner * m.d_conv as f64) + 6.0 * inner * n
            }
            Mixer::Mamba2(m) => {
                let (inner, n, conv) = (m.d_inner() as f64, m.d_state as f64, m.conv_dim() as f64);
                let matrices = d * (inner + conv + m.heads as f64) + inner * d;
                2.0 * (matrices + conv * m.d_conv as f64) + 6.0 * inner * n
            }
            Mixer::Attention(a) => {
                let (wide, narrow) = (a.heads * a.head_dim, a.kv_heads * a.head_dim);
                let matrices = d * (2 * wide + 2 * narrow) as f64;
                2.0 * matrices + 4.0 * wide as f64 * seen(length, a.window)
            }
            Mixer::Mlp(m) => 2.0 * d * (m.d_ff * if m.gated { 3 } else { 2 }) as f64,
            Mixer::Conv(c) => 2.0 * d * c.d_conv as f64,
        })
        .sum();
    (each + 2.0 * d * description.vocab as f64) * length as f64
}

/// Positions that a query sees on average.
fn seen(length: usize, window: Option<usize>) -> f64 {
    let window = window.unwrap_or(length).clamp(1, length.max(1)) as f64;
    let length = length as f64;
    // A triangle, then a level part.
    window * (length - (window - 1.0) / 2.0) / length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_see_what_a_loop_counts() {
        for length in [1, 2, 7, 64] {
            for window in [None, Some(1), Some(3), Some(64), Some(100)] {
                let count: usize = (1..=length).map(|t| t.min(window.unwrap_or(t))).sum();
                let average = count as f64 / length as f64;
                assert!((seen(length, window) - average).abs() < 1e-9);
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn processor_seconds_grow_with_any_work() {
        let before = cpu_seconds().unwrap();
        let product = (1..10_000u64).fold(1, |x, y| std::hint::black_box(x ^ y.wrapping_mul(3)));
        assert!(std::hint::black_box(product) != u64::MAX);
        assert!(cpu_seconds().unwrap() > before);
    }
}
