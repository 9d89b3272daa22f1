//! Dense f32 products, by the `gemm-f32` crate, cut into fixed tiles.
//!
//! The part of the `gemm` crate that is used is taken directly: the whole one
//! compiles f64 and complex kernels as well, for minutes.
//!
//! The crate can spread a product over threads itself, but leaves open whether
//! the bits stay the same; tiles that depend on the shape alone leave no doubt.

use crate::Compute;
use crate::isa::Isa;
use crate::threads::Shards;
use gemm_common::Parallelism;

/// Columns of the output that make one piece of work.
const COLUMNS: usize = 512;
/// Its rows, at least and at most: packing an operand is work as well, which
/// many small pieces would repeat.
const ROWS: (usize, usize) = (64, 512);

/// A matrix somewhere in a slice.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> View<'a> {
    /// `rows` rows of `cols` elements, one behind the other.
    ///
    /// # Panics
    /// If `data` is shorter.
    #[must_use]
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// `rows` rows of `cols` elements that begin every `row_stride` elements.
    ///
    /// # Panics
    /// If `data` ends before the last of them.
    #[must_use]
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        let needed = match rows * cols {
            0 => 0,
            _ => (rows - 1) * row_stride + cols,
        };
        assert!(data.len() >= needed, "a view beyond its data");
        Self {
            data,
            rows,
            cols,
            row_stride,
            col_stride: 1,
        }
    }

    /// Rows and columns exchanged.
    #[must_use]
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    fn at(&self, row: usize, col: usize) -> f32 {
        self.data[row * self.row_stride + col * self.col_stride]
    }
}

/// What becomes of the output's old contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onto {
    /// They are replaced.
    Fresh,
    /// The product is added to them.
    Sum,
}

/// `out = a b` or `out += a b`, where rows of `out` begin every `stride`
/// elements; on all threads of `cx`.
///
/// # Panics
/// If the shapes do not fit.
pub fn gemm(cx: &Compute, a: View<'_>, b: View<'_>, out: &mut [f32], stride: usize, into: Onto) {
    let (m, n) = (a.rows, b.cols);
    check(a, b, out, stride);
    let tall = m.div_ceil(4).clamp(ROWS.0, ROWS.1);
    let (across, down) = (n.div_ceil(COLUMNS), m.div_ceil(tall));
    let shards = Shards::new(out);
    cx.pool.run(across * down, &|piece| {
        let (i, j) = (piece / across * tall, piece % across * COLUMNS);
        let (rows, cols) = (tall.min(m - i), COLUMNS.min(n - j));
        let at = i * stride + j;
        let (a, b) = (below(a, i, rows), right(b, j, cols));
        let out = shards.pointer(at, (rows - 1) * stride + cols);
        // SAFETY: in range by the check above; each piece touches only its own
        // rows' own columns.
        unsafe { tile(cx.isa, a, b, out, stride, into) };
    });
}

/// As [`gemm`] within one thread, for products inside other kernels' pieces.
///
/// # Panics
/// If the shapes do not fit.
pub fn gemm_here(isa: Isa, a: View<'_>, b: View<'_>, out: &mut [f32], stride: usize, into: Onto) {
    check(a, b, out, stride);
    if a.rows * b.cols > 0 {
        // SAFETY: the shapes were checked and `out` is this call's alone.
        unsafe { tile(isa, a, b, out.as_mut_ptr(), stride, into) };
    }
}

fn check(a: View<'_>, b: View<'_>, out: &[f32], stride: usize) {
    assert_eq!(a.cols, b.rows, "inner sizes of a product");
    assert!(stride >= b.cols, "rows of a product that overlap");
    let needed = match a.rows * b.cols {
        0 => 0,
        _ => (a.rows - 1) * stride + b.cols,
    };
    assert!(out.len() >= needed, "a product larger than its output");
}

fn below(view: View<'_>, row: usize, rows: usize) -> View<'_> {
    View {
        data: &view.data[row * view.row_stride..],
        rows,
        ..view
    }
}

fn right(view: View<'_>, col: usize, cols: usize) -> View<'_> {
    View {
        data: &view.data[col * view.col_stride..],
        cols,
        ..view
    }
}

/// One tile on this thread.
///
/// # Safety
/// `out` must be valid for `a.rows` rows of `b.cols` elements every `stride`,
/// and nobody else may touch those elements meanwhile.
unsafe fn tile(isa: Isa, a: View<'_>, b: View<'_>, out: *mut f32, stride: usize, into: Onto) {
    if let Isa::Scalar(_) = isa {
        for i in 0..a.rows {
            for j in 0..b.cols {
                // SAFETY: within the tile, by the caller.
                let cell = unsafe { &mut *out.add(i * stride + j) };
                let product = (0..a.cols).fold(0.0, |sum, k| a.at(i, k).mul_add(b.at(k, j), sum));
                *cell = match into {
                    Onto::Fresh => product,
                    Onto::Sum => *cell + product,
                };
            }
        }
        return;
    }
    // The crate's kernels write columns, so it is asked for the transpose:
    // b^T a^T.
    let (m, n, k) = (b.cols, a.rows, a.cols);
    let old = match into {
        Onto::Fresh => 0.0,
        Onto::Sum => 1.0,
    };
    let strides = |view: View<'_>| (view.row_stride as isize, view.col_stride as isize);
    let ((b_cols, b_rows), (a_cols, a_rows)) = (strides(b), strides(a));
    let (a, b) = (a.data.as_ptr(), b.data.as_ptr());
    let (read, none) = (into == Onto::Sum, Parallelism::None);
    // SAFETY: the views lie within their slices by construction, the output by
    // the caller.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            m,
            n,
            k,
            out,
            stride as isize,
            1,
            read,
            b,
            b_cols,
            b_rows,
            a,
            a_cols,
            a_rows,
            old,
            1.0,
            false,
            false,
            false,
            none,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn every_path_and_thread_count_agrees() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (130, 600, 33), (257, 513, 129)] {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let plain = |i: usize, j: usize| {
                let terms = (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[l * n + j]));
                terms.sum::<f64>()
            };
            let mut first: Option<Vec<f32>> = None;
            for isa in Isa::available() {
                for threads in [1, 3] {
                    let cx = Compute::with_isa(isa, threads);
                    let mut out = vec![1.0; m * (n + 2)];
                    let (va, vb) = (View::new(&a, m, k), View::new(&b, k, n));
                    gemm(&cx, va, vb, &mut out, n + 2, Onto::Sum);
                    for i in 0..m {
                        assert_eq!(out[i * (n + 2) + n..][..2], [1.0, 1.0]);
                        for j in 0..n {
                            let off = f64::from(out[i * (n + 2) + j]) - 1.0 - plain(i, j);
                            assert!(off.abs() < 1e-4, "{off}");
                        }
                    }
                    // The same bits for one thread as for three.
                    if threads == 1 {
                        first = Some(out);
                    } else {
                        assert_eq!(first.as_ref(), Some(&out));
                    }
                    let mut turned = vec![0.0; m * n];
                    let bt = {
                        let mut bt = vec![0.0; k * n];
                        for l in 0..k {
                            for j in 0..n {
                                bt[j * k + l] = b[l * n + j];
                            }
                        }
                        bt
                    };
                    let view = View::new(&bt, n, k).t();
                    gemm(&cx, View::new(&a, m, k), view, &mut turned, n, Onto::Fresh);
                    for i in 0..m * n {
                        let off = f64::from(turned[i]) - plain(i / n, i % n);
                        assert!(off.abs() < 1e-4, "{off}");
                    }
                }
            }
        }
    }
}
