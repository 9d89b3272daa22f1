//! Normalisation of rows.
//!
//! A row's sums are taken in four vectors of sixteen partial sums, filled in
//! turn, then folded in one order: it depends on the row's length only.

use crate::Compute;
use crate::isa::{Kernel, LANES, Simd};
use crate::math;
use crate::spread::{read, write};
use crate::threads::Shards;

/// Elements of rows that make one piece of work.
const PIECE: usize = 8 * 1024;

/// Runs `kernel(row, out)` for each of `m` rows of `d` elements of `out`.
fn rows(
    cx: &Compute,
    m: usize,
    d: usize,
    cycles_per_vector: usize,
    out: &mut [f32],
    row: &(dyn Fn(usize, &mut [f32]) + Sync),
) {
    let out = Shards::new(&mut out[..m * d]);
    let piece = (PIECE / d.max(1)).clamp(1, m.max(1));
    let cycles = m * d.div_ceil(LANES) * cycles_per_vector;
    cx.spread(m.div_ceil(piece), cycles, &|i| {
        for t in i * piece..m.min((i + 1) * piece) {
            // SAFETY: each row belongs to one piece.
            row(t, unsafe { out.slice(t * d, d) });
        }
    });
}

/// The sum over `term(i)` for the row's vectors `i = 0, 16, ...` below `len`.
macro_rules! row_sum {
    ($s:ident, $len:expr, |$i:ident| $term:expr) => {{
        let mut sums = [$s.splat(0.0); 4];
        let mut $i = 0;
        while $i < $len {
            for slot in 0..4 {
                if $i < $len {
                    sums[slot] = $s.add(sums[slot], $term);
                    $i += LANES;
                }
            }
        }
        $s.sum($s.add($s.add(sums[0], sums[1]), $s.add(sums[2], sums[3])))
    }};
}

/// As [`row_sum`], of `value(i)` squared.
macro_rules! row_squares {
    ($s:ident, $len:expr, |$i:ident| $value:expr) => {{
        let mut sums = [$s.splat(0.0); 4];
        let mut $i = 0;
        while $i < $len {
            for slot in 0..4 {
                if $i < $len {
                    let v = $value;
                    sums[slot] = $s.fma(v, v, sums[slot]);
                    $i += LANES;
                }
            }
        }
        $s.sum($s.add($s.add(sums[0], sums[1]), $s.add(sums[2], sums[3])))
    }};
}

/// `out = x / sqrt(mean(x^2) + eps) * weight`, per row of `x: [m, d]`; without
/// a weight, only normalised.
pub fn rms_norm(
    cx: &Compute,
    x: &[f32],
    m: usize,
    d: usize,
    weight: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) {
    rows(cx, m, d, 4, out, &|t, out| {
        cx.isa.dispatch_float(RmsRow {
            x: &x[t * d..][..d],
            weight,
            eps,
            out,
        });
    });
}

struct RmsRow<'a> {
    x: &'a [f32],
    weight: Option<&'a [f32]>,
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for RmsRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            x,
            weight,
            eps,
            out,
        } = self;
        let squares = row_squares!(s, x.len(), |i| read(s, x, i));
        let inverse = s.splat(1.0 / (squares / x.len() as f32 + eps).sqrt());
        for i in (0..x.len()).step_by(LANES) {
            let v = s.mul(read(s, x, i), inverse);
            let v = match weight {
                Some(weight) => s.mul(v, read(s, weight, i)),
                None => v,
            };
            write(s, out, i, v);
        }
    }
}

/// Subtracts each row's mean, divides by `sqrt(variance + eps)`, multiplies by
/// `weight` and adds `bias`; rows of `x: [m, d]`.
pub fn layer_norm(
    cx: &Compute,
    x: &[f32],
    m: usize,
    d: usize,
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) {
    rows(cx, m, d, 6, out, &|t, out| {
        cx.isa.dispatch_float(LayerRow {
            x: &x[t * d..][..d],
            weight,
            bias,
            eps,
            out,
        });
    });
}

struct LayerRow<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for LayerRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            x,
            weight,
            bias,
            eps,
            out,
        } = self;
        let d = x.len();
        let mean = row_sum!(s, d, |i| read(s, x, i)) / d as f32;
        let means = s.splat(mean);
        for i in (0..d).step_by(LANES) {
            write(s, out, i, s.sub(read(s, x, i), means));
        }
        let squares = row_squares!(s, d, |i| read(s, out, i));
        let inverse = s.splat(1.0 / (squares / d as f32 + eps).sqrt());
        for i in (0..d).step_by(LANES) {
            let v = s.mul(read(s, out, i), inverse);
            let v = match bias {
                Some(bias) => s.fma(v, read(s, weight, i), read(s, bias, i)),
                None => s.mul(v, read(s, weight, i)),
            };
            write(s, out, i, v);
        }
    }
}

/// The norm inside a gated norm.
#[derive(Clone, Copy, Debug)]
pub struct GatedNorm<'a> {
    /// One factor per element, `[d]`.
    pub weight: &'a [f32],
    /// Added to the mean square.
    pub eps: f32,
    /// Elements normalised together; the last group of a row may be shorter.
    pub group: usize,
    /// Whether the norm is taken before the gate is applied.
    pub norm_before_gate: bool,
}

/// `y: [m, d]` gated by `silu(z)`, and normalised in groups if `norm` is given.
///
/// Row t of the gate is `z[t * z_stride + z_offset..][..d]`. Without a norm
/// `out = y * silu(z)`; else `norm(y * silu(z))` or, if the norm comes before
/// the gate, `norm(y) * silu(z)`.
pub fn rms_norm_gated(
    cx: &Compute,
    y: &[f32],
    z: &[f32],
    z_stride: usize,
    z_offset: usize,
    m: usize,
    d: usize,
    norm: Option<&GatedNorm<'_>>,
    out: &mut [f32],
) {
    rows(cx, m, d, 24, out, &|t, out| {
        let z = &z[t * z_stride + z_offset..][..d];
        cx.isa.dispatch_float(GatedRow {
            y: &y[t * d..][..d],
            z,
            norm,
            out,
        });
    });
}

struct GatedRow<'a> {
    y: &'a [f32],
    z: &'a [f32],
    norm: Option<&'a GatedNorm<'a>>,
    out: &'a mut [f32],
}

impl Kernel for GatedRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { y, z, norm, out } = self;
        let d = y.len();
        if norm.is_none_or(|norm| !norm.norm_before_gate) {
            for i in (0..d).step_by(LANES) {
                write(
                    s,
                    out,
                    i,
                    s.mul(read(s, y, i), math::silu(s, read(s, z, i))),
                );
            }
        } else {
            out.copy_from_slice(y);
        }
        let Some(norm) = norm else { return };
        for start in (0..d).step_by(norm.group.max(1)) {
            let part = start..d.min(start + norm.group);
            let (row, z) = (&mut out[part.clone()], &z[part.clone()]);
            let weight = &norm.weight[part];
            let squares = row_squares!(s, row.len(), |i| read(s, row, i));
            let inverse = s.splat(1.0 / (squares / row.len() as f32 + norm.eps).sqrt());
            for i in (0..row.len()).step_by(LANES) {
                let mut v = s.mul(s.mul(read(s, row, i), inverse), read(s, weight, i));
                if norm.norm_before_gate {
                    v = s.mul(v, math::silu(s, read(s, z, i)));
                }
                write(s, row, i, v);
            }
        }
    }
}

#[cfg(test)]
#[path = "norm_tests.rs"]
mod tests;
