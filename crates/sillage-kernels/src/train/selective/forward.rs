//! One tile of channels through one sequence.

use super::{Chunk, Inputs, ROWS, parts, rates};
use crate::isa::{Kernel, LANES, Simd};
use crate::math;
use crate::spread::{read, write};
use crate::threads::Shards;
use std::ops::Range;

/// One tile of one sequence.
pub(super) struct Forward<'a> {
    pub(super) inputs: Inputs<'a>,
    pub(super) chunks: &'a [Chunk],
    pub(super) run: Range<usize>,
    pub(super) tile: usize,
    pub(super) y: &'a Shards<f32>,
    pub(super) states: &'a Shards<f32>,
    pub(super) memory: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (inputs, tile) = (self.inputs, self.tile);
        let (rows, tiles) = (inputs.dims.rows(), inputs.dims.tiles());
        let (column, width) = inputs.dims.columns(tile);
        let (mut steps, y, _) = parts(self.memory, rows);
        let skip = read(s, &inputs.skip[column..][..width], 0);
        for index in self.run.clone() {
            let tokens = &self.chunks[index].tokens;
            let at = (index * tiles + tile) * rows * LANES;
            // SAFETY: this tile's states of this sequence belong to this piece,
            // which never holds two of the same chunk.
            let state = unsafe { self.states.slice(at, rows * LANES) };
            if index == self.run.start {
                state.fill(0.0);
            }
            steps.fill(s, &inputs, tile, tokens);
            for (i, t) in tokens.clone().enumerate() {
                let x = &inputs.x[t * inputs.dims.d_inner + column..][..width];
                write(s, y, i * LANES, s.mul(skip, read(s, x, 0)));
            }
            for first in (0..rows).step_by(ROWS) {
                let rates = rates(s, &inputs, tile, first);
                let mut h = [s.splat(0.0); ROWS];
                for r in 0..ROWS {
                    h[r] = read(s, state, (first + r) * LANES);
                }
                for t in 0..tokens.len() {
                    let dt = read(s, steps.dt, t * LANES);
                    let dtx = read(s, steps.dtx, t * LANES);
                    let mut sum = read(s, y, t * LANES);
                    let at = t * rows + first;
                    let (b, c) = (&steps.b[at..][..ROWS], &steps.c[at..][..ROWS]);
                    for r in 0..ROWS {
                        let keep = math::decay(s, s.mul(dt, rates[r]));
                        h[r] = s.fma(h[r], keep, s.mul(dtx, s.splat(b[r])));
                        sum = s.fma(h[r], s.splat(c[r]), sum);
                    }
                    write(s, y, t * LANES, sum);
                }
                if index + 1 < self.run.end {
                    let next = at + tiles * rows * LANES + first * LANES;
                    for r in 0..ROWS {
                        // SAFETY: as above; of the next chunk.
                        let next = unsafe { self.states.slice(next + r * LANES, LANES) };
                        write(s, next, 0, h[r]);
                    }
                }
            }
            for (i, t) in tokens.clone().enumerate() {
                let v = read(s, y, i * LANES);
                let at = t * inputs.dims.d_inner + column;
                // SAFETY: these columns of these rows belong to this piece.
                write(s, unsafe { self.y.slice(at, width) }, 0, v);
            }
        }
    }
}
