//! Small products within a chunk, in tiles of registers.

use crate::isa::{LANES, Simd};
use crate::spread::{read, write};

/// Where element (row, k) of a product's left side lies:
/// `row * .0 + k * .1`.
pub(super) type Steps = (usize, usize);

/// `sums[r][v] += a[r][k] b[k][v]`, summed over `k` in order: `R` rows by `V`
/// vectors, rows of `b` every `stride`.
#[inline(always)]
pub(super) fn multiply<S: Simd, const R: usize, const V: usize>(
    s: S,
    sums: &mut [[S::F; V]; R],
    depth: usize,
    a: &[f32],
    steps: Steps,
    b: &[f32],
    stride: usize,
) {
    if depth == 0 {
        return;
    }
    assert!(a.len() > (R - 1) * steps.0 + (depth - 1) * steps.1);
    assert!(b.len() >= (depth - 1) * stride + V * LANES);
    let mut acc = *sums;
    let (mut a, mut b) = (a.as_ptr(), b.as_ptr());
    for _ in 0..depth {
        // SAFETY: the last row and depth lie in the slices, as was asserted;
        // the pointers pass the end only when they are no longer used.
        unsafe {
            let mut right = [s.splat(0.0); V];
            for v in 0..V {
                right[v] = s.load(b.add(v * LANES));
            }
            for r in 0..R {
                let left = s.splat(*a.add(r * steps.0));
                for v in 0..V {
                    acc[r][v] = s.fma(left, right[v], acc[r][v]);
                }
            }
        }
        a = a.wrapping_add(steps.1);
        b = b.wrapping_add(stride);
    }
    *sums = acc;
}

/// Transposes 16 x 16 blocks: `rows` by `cols` (multiples of sixteen) of
/// `from`, whose rows begin every `from_stride`, to `cols` by `rows` of `to`.
#[inline(always)]
pub(super) fn turn<S: Simd>(
    s: S,
    from: &[f32],
    from_stride: usize,
    to: &mut [f32],
    to_stride: usize,
    rows: usize,
    cols: usize,
) {
    for i in (0..rows).step_by(LANES) {
        for j in (0..cols).step_by(LANES) {
            let mut block = [s.splat(0.0); LANES];
            for r in 0..LANES {
                block[r] = read(s, from, (i + r) * from_stride + j);
            }
            put_block(
                s,
                s.transpose(block),
                &mut to[j * to_stride + i..],
                to_stride,
            );
        }
    }
}

/// Stores sixteen rows every `stride`.
#[inline(always)]
pub(super) fn put_block<S: Simd>(s: S, block: [S::F; LANES], to: &mut [f32], stride: usize) {
    for r in 0..LANES {
        write(s, to, r * stride, block[r]);
    }
}

/// Calls the body for tiles of `R` rows by `V` vectors that cover `$rows`
/// (a range of multiples of eight, which may depend on the vectors) and
/// vectors `$from..$to`.
macro_rules! in_tiles {
    ($S:ident, $from:expr, $to:expr, $rows:expr, |$r:ident, $v:ident, $R:ident, $V:ident| $body:expr) => {{
        let (mut $v, to) = ($from, $to);
        while $v < to {
            if $v + 2 <= to {
                const $V: usize = 2;
                in_tiles!(@rows $S, $rows, |$r, $R| $body);
                $v += 2;
            } else {
                const $V: usize = 1;
                in_tiles!(@rows $S, $rows, |$r, $R| $body);
                $v += 1;
            }
        }
    }};
    (@rows $S:ident, $rows:expr, |$r:ident, $R:ident| $body:expr) => {{
        let rows: std::ops::Range<usize> = $rows;
        if $S::REGISTERS >= 32 {
            const $R: usize = 8;
            for $r in rows.step_by($R) {
                $body;
            }
        } else {
            const $R: usize = 2;
            for $r in rows.step_by($R) {
                $body;
            }
        }
    }};
}
pub(super) use in_tiles;
