//! Functions of single elements and of pairs of them: forward and backward.

use super::conv::{logistic, silu_slope};
use super::pieces::{add_partials, rows_per_partial};
use crate::elementwise::Activation;
use crate::isa::{Kernel, LANES, Simd};
use crate::spread::{read, write};
use crate::threads::Shards;
use crate::{Compute, math};
use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// Elements of one piece of work.
const PIECE: usize = 4096;
/// A rough price of one vector through an activation.
const CYCLES: usize = 24;

/// The derivative of `act` at `x`.
#[inline(always)]
fn slope<S: Simd>(s: S, act: Activation, x: S::F) -> S::F {
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    match act {
        Activation::Silu => silu_slope(s, x),
        Activation::Relu => s.select_gt(x, zero, one, zero),
        Activation::Relu2 => s.mul(s.splat(2.0), s.max(zero, x)),
        Activation::Gelu => {
            // The distribution function as in `math::gelu`, and x times the density.
            let z = s.mul(s.abs(x), s.splat(FRAC_1_SQRT_2));
            let t = s.div(one, s.fma(z, s.splat(0.327_591_1), one));
            let mut p = s.splat(1.061_405_4);
            for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
                p = s.fma(p, t, s.splat(c));
            }
            let bell = math::exp(s, s.fnma(z, z, zero));
            let half = s.mul(s.mul(s.mul(p, t), bell), s.splat(0.5));
            let below = s.select_gt(x, zero, s.sub(one, half), half);
            let density = s.splat(0.5 * FRAC_1_SQRT_2 * FRAC_2_SQRT_PI);
            s.fma(s.mul(x, bell), density, below)
        }
        Activation::GeluTanh => {
            // x p(2 u) with p the logistic function and u = c (x + k x^3).
            const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769;
            const K: f32 = 0.044_715;
            let square = s.mul(x, x);
            let stretch = s.splat(TWICE_SQRT_2_OVER_PI);
            let u = s.mul(s.mul(x, s.fma(square, s.splat(K), one)), stretch);
            let du = s.mul(s.fma(square, s.splat(3.0 * K), one), stretch);
            let p = logistic(s, u);
            let bend = s.mul(s.mul(p, s.sub(one, p)), s.mul(x, du));
            // Far out p is 0 or 1 and x du may overflow.
            let far = s.select_gt(s.abs(x), s.splat(16.0), zero, bend);
            s.add(p, far)
        }
    }
}

/// `y = act(x)`.
///
/// # Panics
/// If the lengths differ.
pub fn activate_forward(cx: &Compute, act: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "lengths of an activation");
    let rows = Rows::elements(x.len());
    let y = Shards::new(y);
    rows.spread(cx, CYCLES, &|at, len| {
        cx.isa.dispatch_float(Activate {
            act,
            x: &x[at..][..len],
            // SAFETY: pieces are disjoint ranges.
            y: unsafe { y.slice(at, len) },
        });
    });
}

struct Activate<'a> {
    act: Activation,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Activate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in (0..self.x.len()).step_by(LANES) {
            write(s, self.y, i, self.act.apply(s, read(s, self.x, i)));
        }
    }
}

/// `dx = act'(x) dy`.
///
/// # Panics
/// If the lengths differ.
pub fn activate_backward(cx: &Compute, act: Activation, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(
        x.len() == dy.len() && x.len() == dx.len(),
        "lengths of an activation"
    );
    let rows = Rows::elements(x.len());
    let dx = Shards::new(dx);
    rows.spread(cx, CYCLES, &|at, len| {
        cx.isa.dispatch_float(ActivateBack {
            act,
            x: &x[at..][..len],
            dy: &dy[at..][..len],
            // SAFETY: pieces are disjoint ranges.
            dx: unsafe { dx.slice(at, len) },
        });
    });
}

struct ActivateBack<'a> {
    act: Activation,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for ActivateBack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in (0..self.x.len()).step_by(LANES) {
            let slope = slope(s, self.act, read(s, self.x, i));
            write(s, self.dx, i, s.mul(slope, read(s, self.dy, i)));
        }
    }
}

/// `y = act(gate) * up`: rows of `d` elements, those of `gate` and `up` every
/// `stride`.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn gated_forward(
    cx: &Compute,
    act: Activation,
    gate: &[f32],
    up: &[f32],
    stride: usize,
    d: usize,
    y: &mut [f32],
) {
    let rows = Rows::of(y.len(), d);
    let y = Shards::new(y);
    rows.spread(cx, CYCLES, &|t, _| {
        cx.isa.dispatch_float(Gate {
            act,
            gate: &gate[t * stride..][..d],
            up: &up[t * stride..][..d],
            // SAFETY: each row belongs to one piece.
            y: unsafe { y.slice(t * d, d) },
        });
    });
}

struct Gate<'a> {
    act: Activation,
    gate: &'a [f32],
    up: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Gate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in (0..self.y.len()).step_by(LANES) {
            let gate = self.act.apply(s, read(s, self.gate, i));
            write(s, self.y, i, s.mul(gate, read(s, self.up, i)));
        }
    }
}

/// The gradient of [`gated_forward`] of a matrix whose rows are `d` of gate and
/// then `d` of up; written in the same form.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn gated_backward(
    cx: &Compute,
    act: Activation,
    gate_up: &[f32],
    d: usize,
    dy: &[f32],
    d_gate_up: &mut [f32],
) {
    let rows = Rows::of(dy.len(), d);
    let shards = Shards::new(d_gate_up);
    rows.spread(cx, 2 * CYCLES, &|t, _| {
        let (gate, up) = gate_up[t * 2 * d..][..2 * d].split_at(d);
        // SAFETY: each row belongs to one piece.
        let (dgate, dup) = unsafe { shards.slice(t * 2 * d, 2 * d) }.split_at_mut(d);
        cx.isa.dispatch_float(GateBack {
            act,
            gate,
            up,
            dy: &dy[t * d..][..d],
            dgate,
            dup,
        });
    });
}

struct GateBack<'a> {
    act: Activation,
    gate: &'a [f32],
    up: &'a [f32],
    dy: &'a [f32],
    dgate: &'a mut [f32],
    dup: &'a mut [f32],
}

impl Kernel for GateBack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in (0..self.dy.len()).step_by(LANES) {
            let (gate, dy) = (read(s, self.gate, i), read(s, self.dy, i));
            let to_gate = s.mul(dy, read(s, self.up, i));
            write(s, self.dgate, i, s.mul(to_gate, slope(s, self.act, gate)));
            write(s, self.dup, i, s.mul(dy, self.act.apply(s, gate)));
        }
    }
}

/// `out = softplus(raw + bias)`, limited: rows of `bias.len()` elements, those
/// of `raw` every `raw_stride`.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn softplus_forward(
    cx: &Compute,
    raw: &[f32],
    raw_stride: usize,
    bias: &[f32],
    limit: (f32, f32),
    out: &mut [f32],
) {
    let d = bias.len();
    let rows = Rows::of(out.len(), d);
    let out = Shards::new(out);
    rows.spread(cx, 2 * CYCLES, &|t, _| {
        cx.isa.dispatch_float(Softplus {
            raw: &raw[t * raw_stride..][..d],
            bias,
            limit,
            // SAFETY: each row belongs to one piece.
            out: unsafe { out.slice(t * d, d) },
        });
    });
}

struct Softplus<'a> {
    raw: &'a [f32],
    bias: &'a [f32],
    limit: (f32, f32),
    out: &'a mut [f32],
}

impl Kernel for Softplus<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (min, max) = (s.splat(self.limit.0), s.splat(self.limit.1));
        for i in (0..self.out.len()).step_by(LANES) {
            let x = s.add(read(s, self.raw, i), read(s, self.bias, i));
            // The limit first: of a NaN these keep the second operand.
            let v = s.min(max, s.max(min, math::softplus(s, x)));
            write(s, self.out, i, v);
        }
    }
}

/// The gradients of [`softplus_forward`]: `draw` is written (zero where the
/// limit held), `dbias` is added to.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn softplus_backward(
    cx: &Compute,
    raw: &[f32],
    raw_stride: usize,
    bias: &[f32],
    limit: (f32, f32),
    dout: &[f32],
    draw: &mut [f32],
    draw_stride: usize,
    dbias: &mut [f32],
) {
    let d = bias.len();
    let rows = dout.len() / d.max(1);
    assert!(draw_stride >= d, "rows that overlap");
    let shards = Shards::new(draw);
    Rows::of(dout.len(), d).spread(cx, 2 * CYCLES, &|t, _| {
        cx.isa.dispatch_float(SoftplusBack {
            raw: &raw[t * raw_stride..][..d],
            bias,
            limit,
            dout: &dout[t * d..][..d],
            // SAFETY: each row belongs to one piece.
            draw: unsafe { shards.slice(t * draw_stride, d) },
        });
    });
    sum_rows(cx, draw, rows, d, draw_stride, dbias);
}

struct SoftplusBack<'a> {
    raw: &'a [f32],
    bias: &'a [f32],
    limit: (f32, f32),
    dout: &'a [f32],
    draw: &'a mut [f32],
}

impl Kernel for SoftplusBack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (min, max) = (s.splat(self.limit.0), s.splat(self.limit.1));
        let zero = s.splat(0.0);
        for i in (0..self.dout.len()).step_by(LANES) {
            let x = s.add(read(s, self.raw, i), read(s, self.bias, i));
            let v = math::softplus(s, x);
            let g = s.mul(read(s, self.dout, i), logistic(s, x));
            let g = s.select_gt(min, v, zero, s.select_gt(v, max, zero, g));
            write(s, self.draw, i, g);
        }
    }
}

/// Adds `rows` rows of `cols` elements, every `stride`, to `dbias`: the
/// gradient of a bias.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn sum_rows(
    cx: &Compute,
    dy: &[f32],
    rows: usize,
    cols: usize,
    stride: usize,
    dbias: &mut [f32],
) {
    let block = rows_per_partial(rows);
    let blocks = rows.div_ceil(block);
    let mut partials = vec![0.0; blocks * cols];
    let shards = Shards::new(&mut partials);
    let cycles = rows * cols.div_ceil(LANES) * 3;
    cx.spread(blocks, cycles, &|i| {
        // SAFETY: each block has its own sums.
        let sums = unsafe { shards.slice(i * cols, cols) };
        let rows = i * block..rows.min((i + 1) * block);
        cx.isa.dispatch_float(SumRows {
            dy: &dy[rows.start * stride..],
            rows: rows.len(),
            stride,
            sums,
        });
    });
    add_partials(cx, &partials, cols, dbias);
}

struct SumRows<'a> {
    dy: &'a [f32],
    rows: usize,
    stride: usize,
    sums: &'a mut [f32],
}

impl Kernel for SumRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let cols = self.sums.len();
        for t in 0..self.rows {
            let row = &self.dy[t * self.stride..][..cols];
            for i in (0..cols).step_by(LANES) {
                write(
                    s,
                    self.sums,
                    i,
                    s.add(read(s, self.sums, i), read(s, row, i)),
                );
            }
        }
    }
}

/// Rows of equal width, a few of which make a piece of work, or single
/// elements.
struct Rows {
    rows: usize,
    /// Elements of a row; `None` for single elements.
    d: Option<usize>,
}

impl Rows {
    fn of(len: usize, d: usize) -> Self {
        Self {
            rows: len / d.max(1),
            d: Some(d.max(1)),
        }
    }

    fn elements(len: usize) -> Self {
        Self { rows: len, d: None }
    }

    /// Calls `work(row, 1)` for every row, or `work(first, count)` for every
    /// piece of single elements.
    fn spread(&self, cx: &Compute, cycles_per_vector: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        let rows = self.rows;
        let piece = (PIECE / self.d.unwrap_or(1)).max(1);
        let vectors = match self.d {
            Some(d) => rows * d.div_ceil(LANES),
            None => rows.div_ceil(LANES),
        };
        cx.spread(rows.div_ceil(piece), vectors * cycles_per_vector, &|i| {
            let some = i * piece..rows.min((i + 1) * piece);
            if self.d.is_none() {
                work(some.start, some.len());
            } else {
                some.for_each(|t| work(t, 1));
            }
        });
    }
}

#[cfg(test)]
#[path = "elementwise_tests.rs"]
mod tests;
