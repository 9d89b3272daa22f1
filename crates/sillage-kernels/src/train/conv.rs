//! The causal depthwise convolution: forward and backward.
//!
//! A piece is a block of tokens by a few tiles of sixteen channels. A tile is
//! first copied together, with the taps before it and zeros where the sequence
//! has not begun, so the walks over time know no edges. The backward pass
//! computes what lies before the activation again, also for the few tokens
//! after its block whose gradients reach back into it.

use super::pieces::{Chunk, add_partials, chunks};
use crate::Compute;
use crate::isa::{Kernel, LANES, Simd};
use crate::math;
use crate::scratch;
use crate::spread::{read, write};
use crate::threads::Shards;

/// Tokens and channels of one piece of work.
const BLOCK: usize = 256;
const PIECE: usize = 128;

/// A depthwise convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Channels.
    pub channels: usize,
    /// Taps, at least one.
    pub taps: usize,
    /// Whether `silu` follows.
    pub silu: bool,
}

impl ConvShape {
    fn pieces(&self) -> usize {
        self.channels.div_ceil(PIECE)
    }

    /// Taps and bias with channels in lanes: `[taps + 1, channels]`.
    fn turned(&self, weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let Self { channels, taps, .. } = *self;
        let mut turned = vec![0.0; (taps + 1) * channels];
        for c in 0..channels {
            for k in 0..taps {
                turned[k * channels + c] = weight[c * taps + k];
            }
        }
        if let Some(bias) = bias {
            turned[taps * channels..].copy_from_slice(&bias[..channels]);
        }
        turned
    }

    fn check(&self, lens: &[usize], x: usize, x_stride: usize, y: usize) -> usize {
        let tokens: usize = lens.iter().sum();
        assert!(self.taps > 0, "a convolution needs at least one tap");
        assert!(x_stride >= self.channels, "rows that overlap");
        assert!(y >= tokens * self.channels, "rows missing");
        assert!(
            tokens == 0 || x >= (tokens - 1) * x_stride + self.channels,
            "rows missing"
        );
        tokens
    }
}

/// `y[t] = bias + sum_k weight[k] x[t - taps + 1 + k]`, then `silu` if the
/// shape says so. `weight: [channels, taps]`, its last tap for the current
/// token; rows of `x` begin every `x_stride`; `y: [tokens, channels]`.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn conv_forward(
    cx: &Compute,
    shape: &ConvShape,
    lens: &[usize],
    x: &[f32],
    x_stride: usize,
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let tokens = shape.check(lens, x.len(), x_stride, y.len());
    let weight = shape.turned(weight, bias);
    let blocks = chunks(lens, BLOCK);
    let across = shape.pieces();
    let y = Shards::new(y);
    let cycles = tokens * shape.channels.div_ceil(LANES) * 24;
    cx.spread(blocks.len() * across, cycles, &|i| {
        let input = Input {
            shape,
            x,
            x_stride,
            weight: &weight,
            block: &blocks[i / across],
        };
        let first = i % across * PIECE;
        scratch::with(shape.scratch(), |memory| {
            cx.isa.dispatch_float(Forward {
                input: &input,
                first,
                y: &y,
                memory,
            });
        });
    });
}

/// The gradients of [`conv_forward`]: `dx` is written, `dweight` and `dbias`
/// are added to.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn conv_backward(
    cx: &Compute,
    shape: &ConvShape,
    lens: &[usize],
    x: &[f32],
    x_stride: usize,
    weight: &[f32],
    bias: Option<&[f32]>,
    dy: &[f32],
    dx: &mut [f32],
    dx_stride: usize,
    dweight: &mut [f32],
    dbias: Option<&mut [f32]>,
) {
    let ConvShape { channels, taps, .. } = *shape;
    let tokens = shape.check(lens, x.len(), x_stride, dy.len());
    shape.check(lens, dx.len(), dx_stride, dy.len());
    let weight = shape.turned(weight, bias);
    let blocks = chunks(lens, BLOCK);
    let across = shape.pieces();
    let width = (taps + 1) * channels;
    let mut partials = vec![0.0; blocks.len() * width];
    let (dx, sums) = (Shards::new(dx), Shards::new(&mut partials));
    let cycles = tokens * channels.div_ceil(LANES) * 60;
    cx.spread(blocks.len() * across, cycles, &|i| {
        let input = Input {
            shape,
            x,
            x_stride,
            weight: &weight,
            block: &blocks[i / across],
        };
        let first = i % across * PIECE;
        scratch::with(shape.scratch(), |memory| {
            cx.isa.dispatch_float(Backward {
                input: &input,
                first,
                dy,
                dx: &dx,
                dx_stride,
                sums: &sums,
                sums_at: i / across * width,
                memory,
            });
        });
    });
    let mut turned = vec![0.0; width];
    add_partials(cx, &partials, width, &mut turned);
    for c in 0..channels {
        for k in 0..taps {
            dweight[c * taps + k] += turned[k * channels + c];
        }
    }
    if let Some(dbias) = dbias {
        for (sum, add) in dbias.iter_mut().zip(&turned[taps * channels..]) {
            *sum += add;
        }
    }
}

impl ConvShape {
    /// A tile of x and one of gradients, each with the taps around the block.
    fn scratch(&self) -> usize {
        (2 * BLOCK + 3 * self.taps) * LANES
    }
}

struct Input<'a> {
    shape: &'a ConvShape,
    x: &'a [f32],
    x_stride: usize,
    /// `[taps + 1, channels]`, the bias last.
    weight: &'a [f32],
    block: &'a Chunk,
}

impl Input<'_> {
    /// First columns and widths of the tiles of a piece.
    #[inline(always)]
    fn tiles(&self, first: usize) -> impl Iterator<Item = (usize, usize)> {
        let channels = self.shape.channels;
        (first..channels.min(first + PIECE))
            .step_by(LANES)
            .map(move |column| (column, LANES.min(channels - column)))
    }

    /// Copies a tile's inputs together: the `taps - 1` before the block, then
    /// its tokens and `after` more; zeros outside the sequence.
    #[inline(always)]
    fn gather<S: Simd>(&self, s: S, column: usize, width: usize, after: usize, to: &mut [f32]) {
        let Chunk { tokens, sequence } = self.block;
        let before = self.shape.taps - 1;
        for i in 0..before + tokens.len() + after {
            let t = tokens.start + i;
            let v = if t >= sequence.start + before && t < sequence.end + before {
                let row = &self.x[(t - before) * self.x_stride + column..][..width];
                read(s, row, 0)
            } else {
                s.splat(0.0)
            };
            write(s, to, i * LANES, v);
        }
    }

    /// A tile of row `k` of the weights; the bias is row `taps`.
    #[inline(always)]
    fn weight<S: Simd>(&self, s: S, k: usize, (column, width): (usize, usize)) -> S::F {
        let at = k * self.shape.channels + column;
        read(s, &self.weight[at..][..width], 0)
    }

    /// A tile's first `N` taps and its bias.
    #[inline(always)]
    fn taps<S: Simd, const N: usize>(&self, s: S, tile: (usize, usize)) -> Taps<S, N> {
        let mut taps = [s.splat(0.0); N];
        for k in 0..N {
            taps[k] = self.weight(s, k, tile);
        }
        Taps {
            taps,
            bias: self.weight(s, self.shape.taps, tile),
            tile,
        }
    }

    /// What lies before the activation at token `t` of the block.
    #[inline(always)]
    fn sum<S: Simd, const N: usize>(&self, s: S, x: &[f32], t: usize, w: &Taps<S, N>) -> S::F {
        let mut sum = w.bias;
        for k in 0..N {
            sum = s.fma(w.taps[k], read(s, x, (t + k) * LANES), sum);
        }
        for k in N..self.shape.taps {
            sum = s.fma(self.weight(s, k, w.tile), read(s, x, (t + k) * LANES), sum);
        }
        sum
    }
}

/// Weights of a tile that stay in registers: none, or all of a usual number.
struct Taps<S: Simd, const N: usize> {
    taps: [S::F; N],
    bias: S::F,
    /// Its first column and width.
    tile: (usize, usize),
}

struct Forward<'a> {
    input: &'a Input<'a>,
    first: usize,
    y: &'a Shards<f32>,
    memory: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.input.shape.taps {
            4 => self.walk::<S, 4>(s),
            _ => self.walk::<S, 0>(s),
        }
    }
}

impl Forward<'_> {
    #[inline(always)]
    fn walk<S: Simd, const N: usize>(self, s: S) {
        let Self {
            input,
            first,
            y,
            memory,
        } = self;
        for (column, width) in input.tiles(first) {
            input.gather(s, column, width, 0, memory);
            let taps = input.taps::<S, N>(s, (column, width));
            for (t, token) in input.block.tokens.clone().enumerate() {
                let mut v = input.sum(s, memory, t, &taps);
                if input.shape.silu {
                    v = math::silu(s, v);
                }
                // SAFETY: these channels of these rows belong to this piece.
                let y = unsafe { y.slice(token * input.shape.channels + column, width) };
                write(s, y, 0, v);
            }
        }
    }
}

struct Backward<'a> {
    input: &'a Input<'a>,
    first: usize,
    dy: &'a [f32],
    dx: &'a Shards<f32>,
    dx_stride: usize,
    /// Partial gradients of taps and bias, this block's at `sums_at`.
    sums: &'a Shards<f32>,
    sums_at: usize,
    memory: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        match self.input.shape.taps {
            4 => self.walk::<S, 4>(s),
            _ => self.walk::<S, 0>(s),
        }
    }
}

impl Backward<'_> {
    #[inline(always)]
    fn walk<S: Simd, const N: usize>(&mut self, s: S) {
        let input = self.input;
        let taps = input.shape.taps;
        let Chunk { tokens, sequence } = input.block;
        let after = (taps - 1).min(sequence.end - tokens.end);
        let (x, g) = self.memory.split_at_mut((BLOCK + 2 * taps) * LANES);
        for (column, width) in input.tiles(self.first) {
            input.gather(s, column, width, after, x);
            let w = input.taps::<S, N>(s, (column, width));
            for t in 0..tokens.len() + taps - 1 {
                let mut v = s.splat(0.0);
                if t < tokens.len() + after {
                    let at = (tokens.start + t) * input.shape.channels + column;
                    v = read(s, &self.dy[at..][..width], 0);
                    if input.shape.silu {
                        v = s.mul(v, silu_slope(s, input.sum(s, x, t, &w)));
                    }
                }
                write(s, g, t * LANES, v);
            }
            for (t, token) in tokens.clone().enumerate() {
                let mut v = s.splat(0.0);
                for k in 0..N {
                    v = s.fma(w.taps[k], read(s, g, (t + taps - 1 - k) * LANES), v);
                }
                for k in N..taps {
                    let w = input.weight(s, k, w.tile);
                    v = s.fma(w, read(s, g, (t + taps - 1 - k) * LANES), v);
                }
                // SAFETY: these channels of these rows belong to this piece.
                let dx = unsafe { self.dx.slice(token * self.dx_stride + column, width) };
                write(s, dx, 0, v);
            }
            for k in 0..=taps {
                let at = self.sums_at + k * input.shape.channels + column;
                // SAFETY: these columns of this block's sums belong to this piece.
                let to = unsafe { self.sums.slice(at, width) };
                let x = (k < taps).then(|| &x[k * LANES..]);
                write(s, to, 0, weight_gradient(s, g, x, tokens.len()));
            }
        }
    }
}

/// The sum over `len` tokens of `g x`, or of `g` alone; in four chains.
#[inline(always)]
fn weight_gradient<S: Simd>(s: S, g: &[f32], x: Option<&[f32]>, len: usize) -> S::F {
    let mut sums = [s.splat(0.0); 4];
    for start in (0..len).step_by(4) {
        for i in 0..4 {
            if start + i < len {
                let g = read(s, g, (start + i) * LANES);
                sums[i] = match x {
                    Some(x) => s.fma(g, read(s, x, (start + i) * LANES), sums[i]),
                    None => s.add(g, sums[i]),
                };
            }
        }
    }
    s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]))
}

/// The derivative of `silu`: with `p` the logistic function, `p (1 + x (1 - p))`.
#[inline(always)]
pub(super) fn silu_slope<S: Simd>(s: S, x: S::F) -> S::F {
    let p = logistic(s, x);
    s.mul(p, s.fma(x, s.sub(s.splat(1.0), p), s.splat(1.0)))
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn logistic<S: Simd>(s: S, x: S::F) -> S::F {
    let e = math::exp(s, s.sub(s.splat(0.0), x));
    s.div(s.splat(1.0), s.add(s.splat(1.0), e))
}

#[cfg(test)]
#[path = "conv_tests.rs"]
mod tests;
