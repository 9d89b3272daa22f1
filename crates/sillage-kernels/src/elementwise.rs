//! Functions of single elements, and of pairs of them.

use crate::Compute;
use crate::isa::{Kernel, LANES, Simd};
use crate::math;
use crate::spread::{read, write};
use crate::threads::Shards;
use std::ops::Range;

/// Elements of one piece of work.
const PIECE: usize = 4096;
/// A rough price of one vector through an activation.
const CYCLES: usize = 20;

/// Activation functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x` times the normal distribution function (by the error function).
    Gelu,
    /// The tanh approximation of [`Activation::Gelu`].
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)` squared.
    Relu2,
}

impl Activation {
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, s: S, x: S::F) -> S::F {
        match self {
            Self::Silu => math::silu(s, x),
            Self::Gelu => math::gelu(s, x),
            Self::GeluTanh => math::gelu_tanh(s, x),
            Self::Relu => s.max(s.splat(0.0), x),
            Self::Relu2 => {
                let x = s.max(s.splat(0.0), x);
                s.mul(x, x)
            }
        }
    }
}

/// Calls `work(range, part of out)` for pieces of `out`.
fn pieces(
    cx: &Compute,
    out: &mut [f32],
    cycles_per_vector: usize,
    work: &(dyn Fn(Range<usize>, &mut [f32]) + Sync),
) {
    let len = out.len();
    let out = Shards::new(out);
    cx.spread(len.div_ceil(PIECE), len / LANES * cycles_per_vector, &|i| {
        let range = i * PIECE..len.min((i + 1) * PIECE);
        // SAFETY: pieces are disjoint ranges.
        let part = unsafe { out.slice(range.start, range.len()) };
        work(range, part);
    });
}

/// Replaces every element by its activation.
pub fn activate(cx: &Compute, x: &mut [f32], a: Activation) {
    pieces(cx, x, CYCLES, &|_, x| {
        cx.isa.dispatch_float(Activate { x, a })
    });
}

struct Activate<'a> {
    x: &'a mut [f32],
    a: Activation,
}

impl Kernel for Activate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in (0..self.x.len()).step_by(LANES) {
            write(s, self.x, i, self.a.apply(s, read(s, self.x, i)));
        }
    }
}

/// `out = a(gate) * up`, each `[m, d]`.
pub fn gated_activation(
    cx: &Compute,
    gate: &[f32],
    up: &[f32],
    m: usize,
    d: usize,
    a: Activation,
    out: &mut [f32],
) {
    pieces(cx, &mut out[..m * d], CYCLES, &|range, out| {
        let (gate, up) = (&gate[range.clone()], &up[range]);
        cx.isa.dispatch_float(GatedActivation { gate, up, a, out });
    });
}

struct GatedActivation<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    a: Activation,
    out: &'a mut [f32],
}

impl Kernel for GatedActivation<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in (0..self.out.len()).step_by(LANES) {
            let v = s.mul(self.a.apply(s, read(s, self.gate, i)), read(s, self.up, i));
            write(s, self.out, i, v);
        }
    }
}

/// `dt = softplus(dt + bias)` limited to `min..=max`, on `dt: [m, h]` with
/// `bias: [h]`.
pub fn softplus_dt(
    cx: &Compute,
    dt: &mut [f32],
    h: usize,
    bias: Option<&[f32]>,
    min: f32,
    max: f32,
) {
    let h = h.max(1);
    // Whole rows, so that pieces need not know where in the bias they start.
    let rows = (PIECE / h).max(1);
    let len = dt.len();
    let shards = Shards::new(dt);
    cx.spread(len.div_ceil(rows * h), len / LANES * 2 * CYCLES, &|i| {
        let at = i * rows * h;
        // SAFETY: pieces are disjoint ranges.
        let dt = unsafe { shards.slice(at, (len - at).min(rows * h)) };
        cx.isa.dispatch_float(SoftplusDt {
            dt,
            h,
            bias,
            min,
            max,
        });
    });
}

struct SoftplusDt<'a> {
    dt: &'a mut [f32],
    h: usize,
    bias: Option<&'a [f32]>,
    min: f32,
    max: f32,
}

impl Kernel for SoftplusDt<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (min, max) = (s.splat(self.min), s.splat(self.max));
        for start in (0..self.dt.len()).step_by(self.h) {
            let end = self.dt.len().min(start + self.h);
            let row = &mut self.dt[start..end];
            for i in (0..row.len()).step_by(LANES) {
                let mut x = read(s, row, i);
                if let Some(bias) = self.bias {
                    x = s.add(x, read(s, bias, i));
                }
                // The limit first: of a NaN these keep the second operand.
                write(s, row, i, s.min(max, s.max(min, math::softplus(s, x))));
            }
        }
    }
}

/// Multiplies columns `range` of `x: [m, stride]` by `factor`.
pub fn scale_columns(
    cx: &Compute,
    x: &mut [f32],
    m: usize,
    stride: usize,
    range: Range<usize>,
    factor: f32,
) {
    if m == 0 || range.is_empty() {
        return;
    }
    let width = range.len();
    let rows = (PIECE / width).max(1);
    let shards = Shards::new(&mut x[..(m - 1) * stride + range.end]);
    cx.spread(m.div_ceil(rows), m * width / LANES * 2, &|i| {
        for t in i * rows..m.min((i + 1) * rows) {
            // SAFETY: rows are disjoint, and each belongs to one piece.
            let row = unsafe { shards.slice(t * stride + range.start, width) };
            cx.isa.dispatch_float(Scale { x: row, factor });
        }
    });
}

struct Scale<'a> {
    x: &'a mut [f32],
    factor: f32,
}

impl Kernel for Scale<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let factor = s.splat(self.factor);
        for i in (0..self.x.len()).step_by(LANES) {
            write(s, self.x, i, s.mul(read(s, self.x, i), factor));
        }
    }
}

/// `y += factor * x`, rounded once.
pub fn add_scaled(cx: &Compute, y: &mut [f32], x: &[f32], factor: f32) {
    pieces(cx, y, 3, &|range, y| {
        cx.isa.dispatch_float(AddScaled {
            y,
            x: &x[range],
            factor,
        })
    });
}

struct AddScaled<'a> {
    y: &'a mut [f32],
    x: &'a [f32],
    factor: f32,
}

impl Kernel for AddScaled<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let factor = s.splat(self.factor);
        for i in (0..self.y.len()).step_by(LANES) {
            let v = s.fma(read(s, self.x, i), factor, read(s, self.y, i));
            write(s, self.y, i, v);
        }
    }
}

#[cfg(test)]
#[path = "elementwise_tests.rs"]
mod tests;
