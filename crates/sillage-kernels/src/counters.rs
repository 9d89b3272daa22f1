//! How much work the kernels have done.
//!
//! Each kernel adds what its shapes say once per call, so that the figures cost
//! nothing that can be measured and need no switch. They count multiplications
//! and additions of matrices, convolutions, recurrences and attention; norms,
//! activations, rotations and exponentials, which are few, are left out, as is
//! the padding of vectors.

use crate::pack::Linear;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the kernels that were given a [`Compute`](crate::Compute) have done.
#[derive(Debug, Default)]
pub struct Counters {
    linear: AtomicU64,
    conv: AtomicU64,
    scan: AtomicU64,
    attention: AtomicU64,
    weight_bytes: AtomicU64,
}

/// Floating-point operations (a multiply-add is two) by the kernel that did
/// them, and the weights that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of linear layers.
    pub linear: u64,
    /// Of causal convolutions.
    pub conv: u64,
    /// Of selective scans and SSD.
    pub scan: u64,
    /// Of attention: scores, and the sums of values.
    pub attention: u64,
    /// Bytes of the weights of linear layers, once for each call.
    pub weight_bytes: u64,
}

impl Counts {
    /// Operations of all kernels.
    #[must_use]
    pub fn flops(&self) -> u64 {
        self.linear + self.conv + self.scan + self.attention
    }
}

impl Counters {
    /// What was done since the last time, and begins again at zero. Work that
    /// other threads do at the same moment falls before or after.
    #[must_use]
    pub fn take(&self) -> Counts {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        Counts {
            linear: take(&self.linear),
            conv: take(&self.conv),
            scan: take(&self.scan),
            attention: take(&self.attention),
            weight_bytes: take(&self.weight_bytes),
        }
    }

    pub(crate) fn linear<'a>(&self, tokens: usize, weights: impl Iterator<Item = &'a Linear>) {
        let (mut elements, mut bytes) = (0, 0);
        for weight in weights {
            elements += weight.rows() as u64 * weight.cols() as u64;
            bytes += weight.bytes() as u64;
        }
        add(&self.linear, 2 * tokens as u64 * elements);
        add(&self.weight_bytes, bytes);
    }

    pub(crate) fn conv(&self, tokens: usize, channels: usize, taps: usize) {
        add(&self.conv, 2 * (tokens * channels * taps) as u64);
    }

    /// `step` operations on each element of the state of a channel; `dt * x`
    /// and the skip are three more a channel.
    pub(crate) fn scan(&self, tokens: usize, channels: usize, d_state: usize, step: u64) {
        let channel = d_state as u64 * step + 3;
        add(&self.scan, (tokens * channels) as u64 * channel);
    }

    /// `keys` is summed over the queries.
    pub(crate) fn attention(&self, keys: u64, heads: usize, head_dim: usize) {
        add(&self.attention, 4 * keys * (heads * head_dim) as u64);
    }
}

fn add(counter: &AtomicU64, work: u64) {
    counter.fetch_add(work, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use crate::pack::{FloatType, Linear, PackError};
    use crate::{Compute, Product, Write, linear};

    #[test]
    fn a_product_counts_its_elements_and_its_bytes_once_a_call() {
        let cx = Compute::new(1);
        let fill = |_, row: &mut [f32]| {
            row.fill(1.0);
            Ok::<_, PackError>(())
        };
        let weight = Linear::pack_float(6, 8, FloatType::F32, fill).unwrap();
        let (x, mut y) = (vec![1.0; 3 * 8], vec![0.0; 3 * 6]);
        let product = Product {
            weight: &weight,
            y: &mut y,
            y_stride: 6,
            y_offset: 0,
            write: Write::Store,
        };
        linear(&cx, &x, 3, &mut [product]);
        let counts = cx.counters.take();
        assert_eq!(counts.linear, 2 * 3 * 6 * 8);
        assert_eq!(counts.flops(), counts.linear);
        assert_eq!(counts.weight_bytes, weight.bytes() as u64);
        assert_eq!(cx.counters.take(), Default::default());
    }
}
