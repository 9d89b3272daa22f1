//! Causal depthwise convolution over time, with the `silu` that follows it.
//!
//! Channels lie in lanes. Work is split over segments and channels, never over
//! time, so a piece also owns its columns of the state. Each output is the
//! bias plus one product per tap, oldest first.

use crate::Compute;
use crate::isa::{Kernel, LANES, Simd};
use crate::math;
use crate::spread::{read, write};
use crate::threads::Shards;
use std::ops::Range;

/// Channels of one piece of work.
const PIECE: usize = 128;

/// Tokens that follow each other, and the state they continue.
#[derive(Debug)]
pub struct ConvSegment<'a> {
    /// Rows of `x` and `out`.
    pub tokens: Range<usize>,
    /// The last `d_conv - 1` inputs, `[d_conv - 1, channels]`, oldest first.
    pub state: &'a mut [f32],
}

/// A depthwise convolution.
#[derive(Clone, Copy, Debug)]
pub struct Conv<'a> {
    /// `[d_conv, channels]`, tap 0 for the oldest input.
    pub weight: &'a [f32],
    /// `[channels]`.
    pub bias: Option<&'a [f32]>,
    /// Taps, at least one.
    pub d_conv: usize,
    /// Channels.
    pub channels: usize,
    /// Whether `silu` follows.
    pub silu: bool,
}

/// Convolves columns `x_offset..x_offset + channels` of `x: [_, x_stride]` into
/// `out: [_, channels]` and leaves each segment's last inputs in its state.
/// Segments must not share rows.
///
/// # Panics
/// If a slice is shorter than its shape says or segments share rows' storage.
pub fn causal_conv(
    cx: &Compute,
    conv: &Conv<'_>,
    x: &[f32],
    x_stride: usize,
    x_offset: usize,
    segments: &mut [ConvSegment<'_>],
    out: &mut [f32],
) {
    let Conv {
        d_conv, channels, ..
    } = *conv;
    assert!(d_conv > 0, "a convolution needs at least one tap");
    let out = Shards::new(out);
    let chunks = channels.div_ceil(PIECE);
    let tokens: usize = segments.iter().map(|s| s.tokens.len()).sum();
    cx.counters.conv(tokens, channels, d_conv);
    let parts: Vec<_> = segments
        .iter_mut()
        .map(|s| {
            assert_eq!(
                s.state.len(),
                (d_conv - 1) * channels,
                "conv state of another shape"
            );
            (s.tokens.clone(), Shards::new(s.state))
        })
        .collect();
    crate::spread::assert_disjoint(parts.iter().map(|(tokens, _)| tokens));
    cx.spread(parts.len() * chunks, tokens * channels / LANES * 20, &|i| {
        let (tokens, state) = &parts[i / chunks];
        let start = i % chunks * PIECE;
        let range = start..channels.min(start + PIECE);
        cx.isa.dispatch_float(Piece {
            conv,
            x,
            x_stride,
            x_offset,
            tokens,
            state,
            out: &out,
            range,
        });
    });
}

/// The channels `range` of one segment.
struct Piece<'a> {
    conv: &'a Conv<'a>,
    x: &'a [f32],
    x_stride: usize,
    x_offset: usize,
    tokens: &'a Range<usize>,
    state: &'a Shards<f32>,
    out: &'a Shards<f32>,
    range: Range<usize>,
}

impl Piece<'_> {
    /// The input `back` steps before the segment's token `t`.
    #[inline(always)]
    fn input(&self, t: usize, back: usize) -> &[f32] {
        if back <= t {
            let row = (self.tokens.start + t - back) * self.x_stride + self.x_offset;
            &self.x[row + self.range.start..][..self.range.len()]
        } else {
            self.state_row(self.conv.d_conv - 1 + t - back)
        }
    }

    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    fn state_row(&self, k: usize) -> &mut [f32] {
        let at = k * self.conv.channels + self.range.start;
        // SAFETY: these columns of this segment's state belong to this piece
        // alone, which runs on one thread and holds one row it writes to, or
        // rows it only reads, at a time.
        unsafe { self.state.slice(at, self.range.len()) }
    }

    #[inline(always)]
    fn weight(&self, k: usize) -> &[f32] {
        &self.conv.weight[k * self.conv.channels + self.range.start..][..self.range.len()]
    }

    #[inline(always)]
    fn bias<S: Simd>(&self, s: S, i: usize) -> S::F {
        match self.conv.bias {
            Some(bias) => read(s, &bias[self.range.clone()], i),
            None => s.splat(0.0),
        }
    }

    /// One token, with `N` taps, their inputs and weights found once.
    #[inline(always)]
    fn few<S: Simd, const N: usize>(&self, s: S, t: usize, out: &mut [f32]) {
        let mut x: [&[f32]; N] = [&[]; N];
        let mut w = x;
        for k in 0..N {
            (x[k], w[k]) = (self.input(t, N - 1 - k), self.weight(k));
        }
        let whole = out.len() / LANES * LANES;
        assert!(x.iter().chain(&w).all(|row| row.len() >= whole));
        for i in (0..whole).step_by(LANES) {
            let mut v = self.bias(s, i);
            for k in 0..N {
                // SAFETY: every row has the whole vectors of `out`, as was asserted.
                let (w, x) =
                    unsafe { (s.load(w[k].as_ptr().add(i)), s.load(x[k].as_ptr().add(i))) };
                v = s.fma(w, x, v);
            }
            write(s, out, i, self.finished(s, v));
        }
        if whole < out.len() {
            let mut v = self.bias(s, whole);
            for k in 0..N {
                v = s.fma(read(s, w[k], whole), read(s, x[k], whole), v);
            }
            write(s, out, whole, self.finished(s, v));
        }
    }

    #[inline(always)]
    fn finished<S: Simd>(&self, s: S, v: S::F) -> S::F {
        if self.conv.silu { math::silu(s, v) } else { v }
    }

    /// One token, with any number of taps.
    #[inline(always)]
    fn any<S: Simd>(&self, s: S, t: usize, out: &mut [f32]) {
        for i in (0..out.len()).step_by(LANES) {
            let mut v = self.bias(s, i);
            for k in 0..self.conv.d_conv {
                let x = self.input(t, self.conv.d_conv - 1 - k);
                v = s.fma(read(s, self.weight(k), i), read(s, x, i), v);
            }
            write(s, out, i, self.finished(s, v));
        }
    }

    /// Leaves the last inputs in the state. Rows move towards the front, so
    /// each is read before it is overwritten.
    #[inline(always)]
    fn keep(&self) {
        let n = self.tokens.len();
        let kept = self.conv.d_conv - 1;
        for k in 0..kept {
            if k + n < kept {
                let from = self.state_row(k + n).as_ptr();
                // SAFETY: another row of the same columns, or the same row
                // when `n` is zero; `copy` allows that.
                unsafe { std::ptr::copy(from, self.state_row(k).as_mut_ptr(), self.range.len()) };
            } else {
                let back = kept - 1 - k;
                let row = (self.tokens.start + n - 1 - back) * self.x_stride + self.x_offset;
                let row = &self.x[row + self.range.start..][..self.range.len()];
                self.state_row(k).copy_from_slice(row);
            }
        }
    }
}

impl Kernel for Piece<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for t in 0..self.tokens.len() {
            let at = (self.tokens.start + t) * self.conv.channels + self.range.start;
            // SAFETY: these channels of this segment's rows belong to this piece.
            let out = unsafe { self.out.slice(at, self.range.len()) };
            match self.conv.d_conv {
                4 => self.few::<S, 4>(s, t, out),
                7 => self.few::<S, 7>(s, t, out),
                _ => self.any(s, t, out),
            }
        }
        self.keep();
    }
}

#[cfg(test)]
#[path = "conv_tests.rs"]
mod tests;
