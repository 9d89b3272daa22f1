//! Normalisation of rows: forward and backward.
//!
//! The forward passes are those of inference. The backward passes take a row's
//! statistics again, which costs less than keeping them. Gradients of weights
//! are summed over blocks of rows and then over the blocks, in order.

use super::Onto;
use super::conv::{logistic, silu_slope};
use super::pieces::{add_partials, rows_per_partial};
use crate::Compute;
use crate::isa::{Kernel, LANES, Simd};
use crate::math;
use crate::spread::{read, write};
use crate::threads::Shards;

/// `y = x / sqrt(mean(x^2) + eps) * weight`, per row of `d` elements.
pub fn rms_forward(cx: &Compute, x: &[f32], d: usize, weight: &[f32], eps: f32, y: &mut [f32]) {
    crate::rms_norm(cx, x, rows_of(x, d), d, Some(weight), eps, y);
}

/// The gradients of [`rms_forward`]: `dx` is written or added to, `dweight`
/// is added to.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn rms_backward(
    cx: &Compute,
    x: &[f32],
    d: usize,
    weight: &[f32],
    eps: f32,
    dy: &[f32],
    dx: &mut [f32],
    onto: Onto,
    dweight: &mut [f32],
) {
    let rows = rows_of(x, d);
    let dx = Shards::new(&mut dx[..rows * d]);
    summed(cx, rows, d, 12, dweight, &|t, sums| {
        cx.isa.dispatch_float(Row::<false> {
            x: &x[t * d..][..d],
            weight,
            eps,
            dy: &dy[t * d..][..d],
            // SAFETY: each row belongs to one piece.
            dx: unsafe { dx.slice(t * d, d) },
            onto,
            sums,
        });
    });
}

/// Subtracts each row's mean, divides by `sqrt(variance + eps)`, multiplies by
/// `weight` and adds `bias`.
pub fn layer_norm_forward(
    cx: &Compute,
    x: &[f32],
    d: usize,
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
    y: &mut [f32],
) {
    crate::layer_norm(cx, x, rows_of(x, d), d, weight, bias, eps, y);
}

/// The gradients of [`layer_norm_forward`]: `dx` is written or added to,
/// `dweight` and `dbias` are added to.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn layer_norm_backward(
    cx: &Compute,
    x: &[f32],
    d: usize,
    weight: &[f32],
    eps: f32,
    dy: &[f32],
    dx: &mut [f32],
    onto: Onto,
    dweight: &mut [f32],
    dbias: Option<&mut [f32]>,
) {
    let rows = rows_of(x, d);
    let dx = Shards::new(&mut dx[..rows * d]);
    let mut both = vec![0.0; 2 * d];
    summed(cx, rows, 2 * d, 16, &mut both, &|t, sums| {
        cx.isa.dispatch_float(Row::<true> {
            x: &x[t * d..][..d],
            weight,
            eps,
            dy: &dy[t * d..][..d],
            // SAFETY: each row belongs to one piece.
            dx: unsafe { dx.slice(t * d, d) },
            onto,
            sums,
        });
    });
    let (weights, biases) = both.split_at(d);
    dweight
        .iter_mut()
        .zip(weights)
        .for_each(|(sum, add)| *sum += add);
    if let Some(dbias) = dbias {
        dbias
            .iter_mut()
            .zip(biases)
            .for_each(|(sum, add)| *sum += add);
    }
}

fn rows_of(x: &[f32], d: usize) -> usize {
    x.len() / d.max(1)
}

/// Calls `row(t, sums)` for every row, where `sums: [width]` gathers over the
/// rows of a block; then adds the blocks' sums to `out`.
fn summed(
    cx: &Compute,
    rows: usize,
    width: usize,
    cycles_per_vector: usize,
    out: &mut [f32],
    row: &(dyn Fn(usize, &mut [f32]) + Sync),
) {
    let block = rows_per_partial(rows);
    let blocks = rows.div_ceil(block);
    let mut partials = vec![0.0; blocks * width];
    let shards = Shards::new(&mut partials);
    let cycles = rows * width.div_ceil(LANES) * cycles_per_vector;
    cx.spread(blocks, cycles, &|i| {
        // SAFETY: each block has its own sums.
        let sums = unsafe { shards.slice(i * width, width) };
        for t in i * block..rows.min((i + 1) * block) {
            row(t, sums);
        }
    });
    add_partials(cx, &partials, width, out);
}

/// One row's gradients; with its mean taken off first if `CENTRED`.
struct Row<'a, const CENTRED: bool> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    dy: &'a [f32],
    dx: &'a mut [f32],
    onto: Onto,
    /// Gradients of the weight, then of the bias if `CENTRED`.
    sums: &'a mut [f32],
}

impl<const CENTRED: bool> Kernel for Row<'_, CENTRED> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, dy, sums, .. } = self;
        let (x, dy, dx) = (x, &dy[..x.len()], self.dx);
        let weight = &self.weight[..x.len()];
        let d = x.len();
        let share = 1.0 / d as f32;
        let mut mean = 0.0;
        if CENTRED {
            let mut sum = s.splat(0.0);
            for i in (0..d).step_by(LANES) {
                sum = s.add(sum, read(s, x, i));
            }
            mean = s.sum(sum) * share;
        }
        // Sums of squares, of g and of g x, where g = weight dy.
        let (mut squares, mut plain, mut cross) = (s.splat(0.0), s.splat(0.0), s.splat(0.0));
        let means = s.splat(mean);
        for i in (0..d).step_by(LANES) {
            let mut v = read(s, x, i);
            let g = s.mul(read(s, weight, i), read(s, dy, i));
            if CENTRED {
                v = first(s, s.sub(v, means), d - i);
                plain = s.add(plain, g);
            }
            squares = s.fma(v, v, squares);
            cross = s.fma(g, v, cross);
        }
        let inverse = 1.0 / (s.sum(squares) * share + self.eps).sqrt();
        let bend = s.splat(-s.sum(cross) * share * inverse * inverse);
        let level = s.splat(s.sum(plain) * share);
        let scale = s.splat(inverse);
        for i in (0..d).step_by(LANES) {
            let (mut v, out) = (read(s, x, i), read(s, dy, i));
            let mut g = s.mul(read(s, weight, i), out);
            if CENTRED {
                v = s.sub(v, means);
                g = s.sub(g, level);
                let at = &mut sums[d..];
                write(s, at, i, s.add(read(s, at, i), out));
            }
            let mut change = s.mul(scale, s.fma(v, bend, g));
            if self.onto == Onto::Sum {
                change = s.add(change, read(s, dx, i));
            }
            write(s, dx, i, change);
            let at = &mut sums[..d];
            let sum = s.fma(out, s.mul(v, scale), read(s, at, i));
            write(s, at, i, sum);
        }
    }
}

/// The first `n` lanes, zeros in the others.
#[inline(always)]
fn first<S: Simd>(s: S, v: S::F, n: usize) -> S::F {
    if n >= LANES {
        return v;
    }
    read(s, &s.to_array(v)[..n], 0)
}

/// A norm in groups, with a gate before or after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GatedShape {
    /// Elements of a row.
    pub d: usize,
    /// Groups normalised each by itself; divides `d`.
    pub groups: usize,
    /// Added to the mean square.
    pub eps: f32,
    /// `norm(y) * silu(z)` instead of `norm(y * silu(z))`.
    pub before_gate: bool,
}

impl GatedShape {
    fn group(&self) -> usize {
        assert!(
            self.groups > 0 && self.d.is_multiple_of(self.groups),
            "groups must divide a row"
        );
        self.d / self.groups
    }
}

/// `y: [rows, d]` gated by `silu(z)` and normalised; without a weight only
/// gated. Rows of `z` begin every `z_stride`.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn gated_rms_forward(
    cx: &Compute,
    shape: &GatedShape,
    y: &[f32],
    z: &[f32],
    z_stride: usize,
    weight: Option<&[f32]>,
    out: &mut [f32],
) {
    let group = shape.group();
    let norm = weight.map(|weight| crate::GatedNorm {
        weight,
        eps: shape.eps,
        group,
        norm_before_gate: shape.before_gate,
    });
    let (d, rows) = (shape.d, rows_of(y, shape.d));
    crate::rms_norm_gated(cx, y, z, z_stride, 0, rows, d, norm.as_ref(), out);
}

/// The gradients of [`gated_rms_forward`]: `dy` and `dz` are written,
/// `dweight` is added to.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn gated_rms_backward(
    cx: &Compute,
    shape: &GatedShape,
    y: &[f32],
    z: &[f32],
    z_stride: usize,
    weight: Option<&[f32]>,
    dout: &[f32],
    dy: &mut [f32],
    dz: &mut [f32],
    dz_stride: usize,
    dweight: Option<&mut [f32]>,
) {
    let d = shape.d;
    let (rows, group) = (rows_of(y, d), shape.group());
    let (dy, dz) = (Shards::new(&mut dy[..rows * d]), Shards::new(dz));
    let mut unused = vec![0.0; d];
    summed(
        cx,
        rows,
        d,
        40,
        dweight.unwrap_or(&mut unused),
        &|t, sums| {
            cx.isa.dispatch_float(GatedRow {
                shape,
                group,
                y: &y[t * d..][..d],
                z: &z[t * z_stride..][..d],
                weight,
                dout: &dout[t * d..][..d],
                // SAFETY: each row belongs to one piece.
                dy: unsafe { dy.slice(t * d, d) },
                // SAFETY: as above.
                dz: unsafe { dz.slice(t * dz_stride, d) },
                sums,
            });
        },
    );
}

struct GatedRow<'a> {
    shape: &'a GatedShape,
    group: usize,
    y: &'a [f32],
    z: &'a [f32],
    weight: Option<&'a [f32]>,
    dout: &'a [f32],
    dy: &'a mut [f32],
    dz: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Kernel for GatedRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let d = self.shape.d;
        match self.weight {
            None => {
                for i in (0..d).step_by(LANES) {
                    let (y, z, g) = (
                        read(s, self.y, i),
                        read(s, self.z, i),
                        read(s, self.dout, i),
                    );
                    write(s, self.dy, i, s.mul(g, math::silu(s, z)));
                    write(s, self.dz, i, s.mul(s.mul(g, y), silu_slope(s, z)));
                }
            }
            Some(weight) => {
                for start in (0..d).step_by(self.group.max(1)) {
                    self.normed(s, weight, start);
                }
            }
        }
    }
}

impl GatedRow<'_> {
    /// One normalised group, which begins at `start`.
    ///
    /// With u what is normalised and g the gradient of u's norm times weight,
    /// the gradient of u is `(g - u mean(g u) / r^2) / r`.
    #[inline(always)]
    fn normed<S: Simd>(&mut self, s: S, weight: &[f32], start: usize) {
        let part = start..start + self.group;
        let (y, z) = (&self.y[part.clone()], &self.z[part.clone()]);
        let (weight, dout) = (&weight[part.clone()], &self.dout[part.clone()]);
        let (dy, dz) = (&mut self.dy[part.clone()], &mut self.dz[part.clone()]);
        let sums = &mut self.sums[part];
        let first = self.shape.before_gate;
        let share = 1.0 / y.len() as f32;
        let (mut squares, mut cross) = (s.splat(0.0), s.splat(0.0));
        for i in (0..y.len()).step_by(LANES) {
            let gate = math::silu(s, read(s, z, i));
            let (y, out) = (read(s, y, i), read(s, dout, i));
            let (u, g) = if first {
                (y, s.mul(out, gate))
            } else {
                (s.mul(y, gate), out)
            };
            squares = s.fma(u, u, squares);
            cross = s.fma(s.mul(g, read(s, weight, i)), u, cross);
        }
        let inverse = 1.0 / (s.sum(squares) * share + self.shape.eps).sqrt();
        let bend = s.splat(-s.sum(cross) * share * inverse * inverse);
        let scale = s.splat(inverse);
        for i in (0..y.len()).step_by(LANES) {
            let z = read(s, z, i);
            let gate = s.mul(z, logistic(s, z));
            let (y, out, w) = (read(s, y, i), read(s, dout, i), read(s, weight, i));
            let (u, g) = if first {
                (y, s.mul(out, gate))
            } else {
                (s.mul(y, gate), out)
            };
            let normed = s.mul(u, scale);
            let du = s.mul(scale, s.fma(u, bend, s.mul(g, w)));
            let (to_y, to_gate) = if first {
                (du, s.mul(out, s.mul(normed, w)))
            } else {
                (s.mul(du, gate), s.mul(du, y))
            };
            write(s, dy, i, to_y);
            write(s, dz, i, s.mul(to_gate, silu_slope(s, z)));
            write(s, sums, i, s.fma(g, normed, read(s, sums, i)));
        }
    }
}

#[cfg(test)]
#[path = "norm_tests.rs"]
mod tests;
