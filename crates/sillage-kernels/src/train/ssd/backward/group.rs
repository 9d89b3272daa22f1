//! What the heads of a group share: B, C and their gradients.

use super::super::forward::score;
use super::super::inputs::{bc_column, gather};
use super::super::tile::{in_tiles, multiply, turn};
use super::Work;
use crate::isa::{LANES, Simd};
use crate::spread::{read, write};

impl Work<'_> {
    /// Brings together the group's B and C, and clears what its heads add to.
    #[inline(always)]
    pub(super) fn begin_group<S: Simd>(&mut self, s: S, group: usize) {
        let (dims, filled, n) = (self.inputs.dims, self.filled, self.n);
        for (which, to, turned) in [
            (0, &mut *self.b, &mut *self.bt),
            (1, &mut *self.c, &mut *self.ct),
        ] {
            let (column, width) = (bc_column(dims, group, which), dims.d_state);
            let (xbc, columns) = (self.inputs.xbc, dims.columns());
            gather(
                s,
                xbc,
                columns,
                &self.chunk.tokens,
                column,
                width,
                None,
                to,
                n,
                filled,
            );
            turn(s, to, n, turned, self.size, filled, n);
        }
        score(s, self.b, n, self.ct, self.size, filled, self.scores);
        self.dscores.fill(0.0);
        self.dbt.fill(0.0);
        self.dct.fill(0.0);
    }

    /// The gradients of the group's B and C.
    #[inline(always)]
    pub(super) fn end_group<S: Simd>(&mut self, s: S, group: usize) {
        let (filled, n, size) = (self.filled, self.n, self.size);
        turn(s, self.dct, size, self.spare, n, n, filled);
        in_tiles!(S, 0, n / LANES, 0..filled, |r, v, R, V| {
            let mut sums = [[s.splat(0.0); V]; R];
            let (left, right) = (&self.dscores[r..], &self.b[v * LANES..]);
            multiply(s, &mut sums, r + R, left, (1, size), right, n);
            self.put_bc(s, sums, r, v, (group, 1));
        });
        turn(s, self.dbt, size, self.spare, n, n, filled);
        in_tiles!(S, 0, n / LANES, 0..filled, |r, v, R, V| {
            let mut sums = [[s.splat(0.0); V]; R];
            let left = &self.dscores[r * size + r..];
            let right = &self.c[r * n + v * LANES..];
            multiply(s, &mut sums, filled - r, left, (size, 1), right, n);
            self.put_bc(s, sums, r, v, (group, 0));
        });
    }

    /// Writes a tile of the gradient of B or C, plus what is in `spare`.
    #[inline(always)]
    fn put_bc<S: Simd, const R: usize, const V: usize>(
        &self,
        s: S,
        sums: [[S::F; V]; R],
        r: usize,
        v: usize,
        (group, which): (usize, usize),
    ) {
        let dims = self.inputs.dims;
        for (i, t) in self.chunk.tokens.clone().skip(r).take(R).enumerate() {
            for k in 0..V {
                let own = (v + k) * LANES;
                if own >= dims.d_state {
                    continue;
                }
                let width = LANES.min(dims.d_state - own);
                let at = t * dims.columns() + bc_column(dims, group, which) + own;
                // SAFETY: the rows of this chunk belong to this piece.
                let to = unsafe { self.dxbc.slice(at, width) };
                let states = read(s, self.spare, (r + i) * self.n + own);
                write(s, to, 0, s.add(sums[i][k], states));
            }
        }
    }
}
