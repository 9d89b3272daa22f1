//! Inputs of a chunk, brought together and filled up with zeros.

use super::tile::put_block;
use super::{Inputs, SsdDims};
use crate::isa::{LANES, Simd};
use crate::math;
use crate::spread::{read, write};
use std::ops::Range;

/// Takes `len` elements (a multiple of sixteen, for alignment) off `memory`.
pub(super) fn take<'a>(memory: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (part, rest) = std::mem::take(memory).split_at_mut(len);
    *memory = rest;
    part
}

/// Where B (`0`) or C (`1`) of a group begins in a row.
pub(super) fn bc_column(dims: &SsdDims, group: usize, which: usize) -> usize {
    dims.d_inner() + (which * dims.n_groups + group) * dims.d_state
}

/// Rows `rows` of `from`, `width` columns from `column` on, to rows of
/// `to_width` in `to`, zeros behind and below to `filled` rows; row i times
/// `scale[i]`, if given.
#[inline(always)]
pub(super) fn gather<S: Simd>(
    s: S,
    from: &[f32],
    stride: usize,
    rows: &Range<usize>,
    column: usize,
    width: usize,
    scale: Option<&[f32]>,
    to: &mut [f32],
    to_width: usize,
    filled: usize,
) {
    for (i, t) in rows.clone().enumerate() {
        let row = &from[t * stride + column..][..width];
        let to = &mut to[i * to_width..][..to_width];
        for j in (0..to_width).step_by(LANES) {
            let mut v = if j < width {
                read(s, row, j)
            } else {
                s.splat(0.0)
            };
            if let Some(scale) = scale {
                v = s.mul(v, s.splat(scale[i]));
            }
            write(s, to, j, v);
        }
    }
    to[rows.len() * to_width..filled * to_width].fill(0.0);
}

/// Per head and token of a chunk, rows of `stride` tokens: dt, and the sum of
/// dt a up to and with the token. Tokens past the end have dt zero.
pub(super) struct Times<'a> {
    pub(super) dt: &'a mut [f32],
    pub(super) sum: &'a mut [f32],
    pub(super) stride: usize,
}

impl<'a> Times<'a> {
    pub(super) fn len(dims: &SsdDims) -> usize {
        2 * dims.heads.next_multiple_of(LANES) * dims.chunk()
    }

    pub(super) fn take(dims: &SsdDims, memory: &mut &'a mut [f32]) -> Self {
        let half = Self::len(dims) / 2;
        Self {
            dt: take(memory, half),
            sum: take(memory, half),
            stride: dims.chunk(),
        }
    }

    /// Fills in all heads; heads lie in lanes while sums are taken.
    #[inline(always)]
    pub(super) fn fill<S: Simd>(&mut self, s: S, inputs: &Inputs<'_>, tokens: &Range<usize>) {
        let heads = inputs.dims.heads;
        for first in (0..heads).step_by(LANES) {
            let some = (heads - first).min(LANES);
            let rate = read(s, &inputs.a[first..][..some], 0);
            let mut sum = s.splat(0.0);
            for start in (0..tokens.len()).step_by(LANES) {
                let (mut dts, mut sums) = ([s.splat(0.0); LANES], [s.splat(0.0); LANES]);
                for i in 0..LANES {
                    let t = tokens.start + start + i;
                    if t < tokens.end {
                        dts[i] = read(s, &inputs.dt[t * heads + first..][..some], 0);
                    }
                    sum = s.fma(dts[i], rate, sum);
                    sums[i] = sum;
                }
                let at = first * self.stride + start;
                put_block(s, s.transpose(dts), &mut self.dt[at..], self.stride);
                put_block(s, s.transpose(sums), &mut self.sum[at..], self.stride);
            }
        }
    }

    pub(super) fn of(&self, head: usize, filled: usize) -> (&[f32], &[f32]) {
        let at = head * self.stride;
        (&self.dt[at..][..filled], &self.sum[at..][..filled])
    }
}

/// `e^sum`: what is left of the state before the chunk at each token.
#[inline(always)]
pub(super) fn since_start<S: Simd>(s: S, sum: &[f32], to: &mut [f32]) {
    for i in (0..sum.len()).step_by(LANES) {
        write(s, to, i, math::exp(s, read(s, sum, i)));
    }
}

/// `e^(last sum - sum)`: what is left of each token at the end of the chunk.
#[inline(always)]
pub(super) fn until_end<S: Simd>(s: S, sum: &[f32], to: &mut [f32]) {
    let last = s.splat(sum[sum.len() - 1]);
    for i in (0..sum.len()).step_by(LANES) {
        write(s, to, i, math::exp(s, s.sub(last, read(s, sum, i))));
    }
}

/// Decays between tokens of a chunk: `e^(sum_i - sum_j)` for i >= j.
///
/// Between blocks of sixteen tokens it is a product of two factors, from j to
/// the end of its block and from there to i, neither of which can overflow.
pub(super) struct Decays<'a> {
    sum: &'a [f32],
    /// From each token to the end of its block.
    out: &'a mut [f32],
    /// From the end of block j to the tokens of block i: `[block j][token i]`.
    over: &'a mut [f32],
    /// Rows of `over`.
    stride: usize,
}

impl<'a> Decays<'a> {
    pub(super) fn len(dims: &SsdDims) -> usize {
        let chunk = dims.chunk();
        chunk + chunk / LANES * chunk
    }

    #[inline(always)]
    pub(super) fn new<S: Simd>(s: S, sum: &'a [f32], memory: &'a mut [f32], stride: usize) -> Self {
        let (out, over) = memory.split_at_mut(stride);
        for j in (0..sum.len()).step_by(LANES) {
            let end = s.splat(sum[j + LANES - 1]);
            write(s, out, j, math::exp(s, s.sub(end, read(s, sum, j))));
            for i in (j + LANES..sum.len()).step_by(LANES) {
                let decay = math::exp(s, s.sub(read(s, sum, i), end));
                write(s, over, j / LANES * stride + i, decay);
            }
        }
        Self {
            sum,
            out,
            over,
            stride,
        }
    }

    /// From token `j` to tokens `16 block..`, a later block than that of `j`.
    #[inline(always)]
    pub(super) fn later<S: Simd>(&self, s: S, j: usize, block: usize) -> S::F {
        let over = read(s, self.over, j / LANES * self.stride + block * LANES);
        s.mul(over, s.splat(self.out[j]))
    }

    /// From token `j` to the tokens of its own block; one before it.
    #[inline(always)]
    pub(super) fn own<S: Simd>(&self, s: S, j: usize) -> S::F {
        let since = s.sub(read(s, self.sum, j / LANES * LANES), s.splat(self.sum[j]));
        math::exp(s, s.min(s.splat(0.0), since))
    }
}

/// The numbers of lanes.
const COUNT: [f32; LANES] = [
    0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
];

/// `v` in the lanes after `lane`, zeros elsewhere; with that lane's own for
/// a `lane` half smaller.
#[inline(always)]
pub(super) fn after<S: Simd>(s: S, lane: f32, v: S::F) -> S::F {
    let count = read(s, &COUNT, 0);
    s.select_gt(count, s.splat(lane), v, s.splat(0.0))
}
