//! One tile of channels through a wave of tokens, from the last to the first,
//! and the sums over tiles.

use super::{CHUNK, Chunk, Inputs, ROWS, SelectiveDims, Steps, parts, rates};
use crate::isa::{Kernel, LANES, Simd};
use crate::math;
use crate::spread::{read, write};
use crate::threads::Shards;
use std::ops::Range;

/// One tile of a wave.
pub(super) struct Backward<'a> {
    pub(super) inputs: Inputs<'a>,
    pub(super) chunks: &'a [Chunk],
    /// The wave's first chunk.
    pub(super) first: usize,
    pub(super) tile: usize,
    pub(super) states: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) dx: &'a Shards<f32>,
    pub(super) ddt: &'a Shards<f32>,
    /// This tile's sums for B and C, `[token][B: rows | C: rows]`.
    pub(super) partials: &'a mut [f32],
    /// Gradients of a, then of D.
    pub(super) sums: &'a mut [f32],
    /// The gradient of the state before what was walked last.
    pub(super) carry: &'a mut [f32],
    pub(super) memory: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (inputs, tile) = (self.inputs, self.tile);
        let (rows, tiles) = (inputs.dims.rows(), inputs.dims.tiles());
        let start = self.chunks[0].tokens.start;
        let (mut steps, dy, memory) = parts(self.memory, rows);
        let (du, memory) = memory.split_at_mut(CHUNK * LANES);
        let (dstep, memory) = memory.split_at_mut(CHUNK * LANES);
        let (states, keeps) = memory.split_at_mut(CHUNK * ROWS * LANES);
        for (i, chunk) in self.chunks.iter().enumerate().rev() {
            let tokens = &chunk.tokens;
            if tokens.end == chunk.sequence.end {
                self.carry.fill(0.0);
            }
            steps.fill(s, &inputs, tile, tokens);
            let tail = (tile, tokens, &mut *self.sums);
            begin_chunk(s, &inputs, self.dy, tail, dy);
            du.fill(0.0);
            dstep.fill(0.0);
            let before = &self.states[((self.first + i) * tiles + tile) * rows * LANES..];
            for first in (0..rows).step_by(ROWS) {
                let mut block = Block {
                    steps: &steps,
                    dy,
                    du,
                    dstep,
                    states,
                    keeps,
                    len: tokens.len(),
                    rows,
                    first,
                };
                block.forwards(s, rates(s, &inputs, tile, first), before);
                let a = &inputs.a[tile * rows * LANES..];
                block.backwards(s, a, before, self.carry, self.sums);
                let to = &mut self.partials[(tokens.start - start) * 2 * rows..];
                block.sum(s, to);
            }
            let (column, width) = inputs.dims.columns(tile);
            let skip = read(s, &inputs.skip[column..][..width], 0);
            for (i, t) in tokens.clone().enumerate() {
                let at = t * inputs.dims.d_inner + column;
                let (u, step) = (read(s, du, i * LANES), read(s, dstep, i * LANES));
                let x = read(s, &inputs.x[at..][..width], 0);
                let direct = s.mul(skip, read(s, dy, i * LANES));
                let v = s.fma(u, read(s, steps.dt, i * LANES), direct);
                // SAFETY: these columns of these rows belong to this piece.
                write(s, unsafe { self.dx.slice(at, width) }, 0, v);
                // SAFETY: as above.
                write(
                    s,
                    unsafe { self.ddt.slice(at, width) },
                    0,
                    s.fma(u, x, step),
                );
            }
        }
    }
}

/// Copies a chunk's output gradients together and adds to that of D.
#[inline(always)]
fn begin_chunk<S: Simd>(
    s: S,
    inputs: &Inputs<'_>,
    from: &[f32],
    (tile, tokens, sums): (usize, &Range<usize>, &mut [f32]),
    dy: &mut [f32],
) {
    let (column, width) = inputs.dims.columns(tile);
    let last = inputs.dims.rows() * LANES;
    let mut sum = read(s, sums, last);
    for (i, t) in tokens.clone().enumerate() {
        let at = t * inputs.dims.d_inner + column;
        let v = read(s, &from[at..][..width], 0);
        sum = s.fma(v, read(s, &inputs.x[at..][..width], 0), sum);
        write(s, dy, i * LANES, v);
    }
    write(s, sums, last, sum);
}

/// Four rows of one tile through one chunk.
struct Block<'a> {
    steps: &'a Steps<'a>,
    dy: &'a [f32],
    /// The gradient of dt x, and what decays add to that of dt; so far.
    du: &'a mut [f32],
    dstep: &'a mut [f32],
    /// Per token and row the state, then what C's gradient sums up.
    states: &'a mut [f32],
    /// Per token and row the decay, then what B's gradient sums up.
    keeps: &'a mut [f32],
    len: usize,
    rows: usize,
    first: usize,
}

impl Block<'_> {
    #[inline(always)]
    fn forwards<S: Simd>(&mut self, s: S, rates: [S::F; ROWS], before: &[f32]) {
        let mut h = [s.splat(0.0); ROWS];
        for r in 0..ROWS {
            h[r] = read(s, before, (self.first + r) * LANES);
        }
        for t in 0..self.len {
            let dt = read(s, self.steps.dt, t * LANES);
            let dtx = read(s, self.steps.dtx, t * LANES);
            let b = &self.steps.b[t * self.rows + self.first..][..ROWS];
            for r in 0..ROWS {
                let keep = math::decay(s, s.mul(dt, rates[r]));
                h[r] = s.fma(h[r], keep, s.mul(dtx, s.splat(b[r])));
                let at = (t * ROWS + r) * LANES;
                write(s, self.states, at, h[r]);
                write(s, self.keeps, at, keep);
            }
        }
    }

    #[inline(always)]
    fn backwards<S: Simd>(
        &mut self,
        s: S,
        a: &[f32],
        before: &[f32],
        carry: &mut [f32],
        sums: &mut [f32],
    ) {
        let zero = [s.splat(0.0); ROWS];
        let (mut flow, mut a_of, mut da) = (zero, zero, zero);
        for r in 0..ROWS {
            let at = (self.first + r) * LANES;
            (flow[r], a_of[r]) = (read(s, carry, at), read(s, a, at));
            da[r] = read(s, sums, at);
        }
        for t in (0..self.len).rev() {
            let (dy, dt) = (
                read(s, self.dy, t * LANES),
                read(s, self.steps.dt, t * LANES),
            );
            let dtx = read(s, self.steps.dtx, t * LANES);
            let row = t * self.rows + self.first;
            let (b, c) = (&self.steps.b[row..][..ROWS], &self.steps.c[row..][..ROWS]);
            let (mut u, mut step) = (read(s, self.du, t * LANES), read(s, self.dstep, t * LANES));
            for r in 0..ROWS {
                let at = (t * ROWS + r) * LANES;
                let previous = match t {
                    0 => read(s, before, (self.first + r) * LANES),
                    _ => read(s, self.states, at - ROWS * LANES),
                };
                let g = s.fma(s.splat(c[r]), dy, flow[r]);
                u = s.fma(g, s.splat(b[r]), u);
                flow[r] = s.mul(g, read(s, self.keeps, at));
                let bend = s.mul(flow[r], previous);
                step = s.fma(bend, a_of[r], step);
                da[r] = s.fma(bend, dt, da[r]);
                write(s, self.states, at, s.mul(dy, read(s, self.states, at)));
                write(s, self.keeps, at, s.mul(g, dtx));
            }
            write(s, self.du, t * LANES, u);
            write(s, self.dstep, t * LANES, step);
        }
        for r in 0..ROWS {
            let at = (self.first + r) * LANES;
            write(s, carry, at, flow[r]);
            write(s, sums, at, da[r]);
        }
    }

    /// Sums the lanes of four rows of four tokens at a time.
    #[inline(always)]
    fn sum<S: Simd>(&self, s: S, to: &mut [f32]) {
        for (which, from) in [(0, &*self.keeps), (1, &*self.states)] {
            for start in (0..self.len).step_by(LANES / ROWS) {
                let some = (self.len - start).min(LANES / ROWS);
                let mut block = [s.splat(0.0); LANES];
                for i in 0..LANES {
                    if i < some * ROWS {
                        block[i] = read(s, from, (start * ROWS + i) * LANES);
                    }
                }
                let block = s.transpose(block);
                let mut sum = block[0];
                for i in 1..LANES {
                    sum = s.add(sum, block[i]);
                }
                let lanes = s.to_array(sum);
                for i in 0..some {
                    let at = (start + i) * 2 * self.rows + which * self.rows + self.first;
                    to[at..][..ROWS].copy_from_slice(&lanes[i * ROWS..][..ROWS]);
                }
            }
        }
    }
}

/// The sums over tiles of some tokens of a wave.
pub(super) struct Gather<'a> {
    pub(super) dims: &'a SelectiveDims,
    pub(super) partials: &'a [f32],
    pub(super) wave: &'a Range<usize>,
    /// Within the wave.
    pub(super) tokens: Range<usize>,
    pub(super) db: &'a Shards<f32>,
    pub(super) dc: &'a Shards<f32>,
    pub(super) stride: usize,
}

impl Kernel for Gather<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (rows, n) = (self.dims.rows(), self.dims.d_state);
        let tile = self.wave.len() * 2 * rows;
        for t in self.tokens.clone() {
            let at = (self.wave.start + t) * self.stride;
            for (which, to) in [(0, self.db), (1, self.dc)] {
                // SAFETY: the rows of these tokens belong to this piece.
                let to = unsafe { to.slice(at, n) };
                for j in (0..n).step_by(LANES) {
                    let mut sum = s.splat(0.0);
                    for k in 0..self.dims.tiles() {
                        let from = k * tile + (2 * t + which) * rows;
                        sum = s.add(sum, read(s, &self.partials[from..][..n], j));
                    }
                    write(s, to, j, sum);
                }
            }
        }
    }
}
