//! Small dense products, all operands in the nearest caches.
//!
//! Rows of the right operand lie in vectors; of the left one single elements
//! are spread over a vector, so it may be stored either way round. Every output
//! is one chain of fused multiply-adds along the inner index: the tiles' sizes
//! differ between machines, the bits do not.

use crate::isa::{Kernel, LANES, Simd};

/// The left operand: element (r, i) is `data[r * row + i * col]`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) data: &'a [f32],
    pub(super) row: usize,
    pub(super) col: usize,
}

/// What becomes of the output's old contents.
#[derive(Clone, Copy)]
pub(super) enum Old<'a> {
    Replaced,
    Kept,
    /// Each row is multiplied by its factor first.
    Faded(&'a [f32]),
}

/// `c = a b`, onto what is there or not: `rows` times `inner` times
/// `16 vectors` elements.
pub(super) struct Product<'a> {
    pub(super) a: Left<'a>,
    pub(super) b: &'a [f32],
    pub(super) b_stride: usize,
    pub(super) c: &'a mut [f32],
    pub(super) c_stride: usize,
    pub(super) rows: usize,
    pub(super) inner: usize,
    pub(super) vectors: usize,
    pub(super) old: Old<'a>,
}

impl Product<'_> {
    fn check(&self) {
        let (rows, inner, width) = (self.rows, self.inner, self.vectors * LANES);
        assert!(inner > 0, "a product of nothing");
        let left = (rows - 1) * self.a.row + (inner - 1) * self.a.col;
        assert!(self.a.data.len() > left, "left operand");
        let right = (inner - 1) * self.b_stride + width;
        assert!(self.b.len() >= right, "right operand");
        let output = (rows - 1) * self.c_stride + width;
        assert!(self.c.len() >= output, "output");
        if let Old::Faded(factors) = self.old {
            assert!(factors.len() >= rows, "factors");
        }
    }
}

impl Kernel for Product<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        if self.rows == 0 || self.vectors == 0 {
            return;
        }
        self.check();
        let mut from = 0;
        while from < self.vectors {
            let left = self.vectors - from;
            // SAFETY: the operands hold these rows and columns, by the check.
            from += unsafe {
                if S::REGISTERS >= 32 {
                    // No narrow strip at the end where two even ones will do.
                    match left {
                        1 => self.strip::<S, 8, 1>(s, from),
                        2 => self.strip::<S, 8, 2>(s, from),
                        3 | 5 | 6 => self.strip::<S, 8, 3>(s, from),
                        _ => self.strip::<S, 6, 4>(s, from),
                    }
                } else {
                    self.strip::<S, 6, 1>(s, from)
                }
            };
        }
    }
}

impl Product<'_> {
    /// All rows of `V` vectors from vector `from` on; returns `V`.
    ///
    /// # Safety
    /// As [`Product::check`] has found.
    #[inline(always)]
    unsafe fn strip<S: Simd, const R: usize, const V: usize>(
        &mut self,
        s: S,
        from: usize,
    ) -> usize {
        let mut row = 0;
        while row < self.rows {
            // SAFETY: by the caller, for rows up to the last.
            row += unsafe {
                match self.rows - row {
                    left if left >= R => self.tile::<S, R, V>(s, row, from),
                    left if left >= 4 => self.tile::<S, 4, V>(s, row, from),
                    left if left >= 2 => self.tile::<S, 2, V>(s, row, from),
                    _ => self.tile::<S, 1, V>(s, row, from),
                }
            };
        }
        V
    }

    /// `R` rows of `V` vectors; returns `R`.
    ///
    /// # Safety
    /// As [`Product::check`] has found, and the tile lies within the output.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize>(
        &mut self,
        s: S,
        row: usize,
        from: usize,
    ) -> usize {
        let Left {
            data,
            row: step,
            col,
        } = self.a;
        // SAFETY: the furthest elements of all three lie within their slices;
        // `c` is this product's alone.
        unsafe {
            let mut a = data.as_ptr().add(row * step);
            let mut b = self.b.as_ptr().add(from * LANES);
            let c = self.c.as_mut_ptr().add(row * self.c_stride + from * LANES);
            let mut sums = [[s.splat(0.0); V]; R];
            for r in 0..R {
                let fade = match self.old {
                    Old::Replaced => continue,
                    Old::Kept => 1.0,
                    Old::Faded(factors) => *factors.get_unchecked(row + r),
                };
                for v in 0..V {
                    let old = s.load(c.add(r * self.c_stride + v * LANES));
                    sums[r][v] = s.mul(old, s.splat(fade));
                }
            }
            for _ in 0..self.inner {
                let mut vectors = [s.splat(0.0); V];
                for v in 0..V {
                    vectors[v] = s.load(b.add(v * LANES));
                }
                for r in 0..R {
                    let x = s.splat(*a.add(r * step));
                    for v in 0..V {
                        sums[r][v] = s.fma(x, vectors[v], sums[r][v]);
                    }
                }
                // The last step may leave the slice, where nothing is read.
                a = a.wrapping_add(col);
                b = b.wrapping_add(self.b_stride);
            }
            for r in 0..R {
                for v in 0..V {
                    s.store(c.add(r * self.c_stride + v * LANES), sums[r][v]);
                }
            }
        }
        R
    }
}
