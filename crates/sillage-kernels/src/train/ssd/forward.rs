//! What a chunk adds to the state, and its outputs.

use super::inputs::{Decays, Times, after, bc_column, gather, since_start, take, until_end};
use super::tile::{in_tiles, multiply, turn};
use super::{Chunk, Inputs, SsdDims};
use crate::isa::{Kernel, LANES, Simd};
use crate::math;
use crate::spread::{read, write};
use crate::threads::Shards;

pub(super) fn local_scratch(dims: &SsdDims) -> usize {
    let (p, n) = dims.padded();
    Times::len(dims) + dims.chunk() * (n + p + 1)
}

/// What a chunk adds to the state after it, for every head.
pub(super) struct Local<'a> {
    pub(super) inputs: Inputs<'a>,
    pub(super) chunk: &'a Chunk,
    pub(super) index: usize,
    pub(super) states: &'a Shards<f32>,
    pub(super) decays: &'a Shards<f32>,
    pub(super) memory: &'a mut [f32],
}

impl Kernel for Local<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Chunk { tokens, sequence } = self.chunk;
        let (inputs, dims) = (self.inputs, self.inputs.dims);
        let (p, n) = dims.padded();
        let filled = tokens.len().next_multiple_of(LANES);
        let mut memory = self.memory;
        let mut times = Times::take(dims, &mut memory);
        let b = take(&mut memory, dims.chunk() * n);
        let x = take(&mut memory, dims.chunk() * p);
        let left = take(&mut memory, dims.chunk());
        times.fill(s, &inputs, tokens);
        let (columns, per_group) = (dims.columns(), dims.heads / dims.n_groups);
        for h in 0..dims.heads {
            let (dt, sum) = times.of(h, filled);
            let at = self.index * dims.heads + h;
            // SAFETY: the decays of this chunk belong to this piece.
            unsafe { self.decays.slice(at, 1)[0] = sum[filled - 1] };
            if tokens.end == sequence.end {
                // Nothing comes after.
                continue;
            }
            if h % per_group == 0 {
                let column = bc_column(dims, h / per_group, 0);
                let width = dims.d_state;
                gather(
                    s, inputs.xbc, columns, tokens, column, width, None, b, n, filled,
                );
            }
            until_end(s, sum, left);
            for i in (0..filled).step_by(LANES) {
                let scale = s.mul(read(s, left, i), read(s, dt, i));
                write(s, left, i, scale);
            }
            let (column, width) = (h * dims.headdim, dims.headdim);
            gather(
                s,
                inputs.xbc,
                columns,
                tokens,
                column,
                width,
                Some(left),
                x,
                p,
                filled,
            );
            // SAFETY: the states of this chunk belong to this piece.
            let state = unsafe { self.states.slice(at * n * p, n * p) };
            outer(s, b, n, x, p, filled, state);
        }
        for h in 0..dims.heads {
            let at = self.index * dims.heads + h;
            // SAFETY: the decays of this chunk belong to this piece.
            let decay = unsafe { self.decays.slice(at, 1) };
            let v = math::exp(s, s.splat(decay[0]));
            decay[0] = s.to_array(v)[0];
        }
    }
}

/// `state: [n, p] = a^T b` with `a: [rows, n]`, `b: [rows, p]`.
#[inline(always)]
pub(super) fn outer<S: Simd>(
    s: S,
    a: &[f32],
    n: usize,
    b: &[f32],
    p: usize,
    rows: usize,
    state: &mut [f32],
) {
    in_tiles!(S, 0, p / LANES, 0..n, |r, v, R, V| {
        let mut sums = [[s.splat(0.0); V]; R];
        multiply(s, &mut sums, rows, &a[r..], (1, n), &b[v * LANES..], p);
        for i in 0..R {
            for j in 0..V {
                write(s, state, (r + i) * p + (v + j) * LANES, sums[i][j]);
            }
        }
    });
}

pub(super) fn scratch(dims: &SsdDims) -> usize {
    let ((p, n), chunk) = (dims.padded(), dims.chunk());
    Times::len(dims) + Decays::len(dims) + chunk * (3 * n + 2 * chunk + p + 1)
}

/// A chunk's outputs, of every head.
pub(super) struct Outputs<'a> {
    pub(super) inputs: Inputs<'a>,
    pub(super) chunk: &'a Chunk,
    pub(super) index: usize,
    pub(super) states: &'a Shards<f32>,
    pub(super) y: &'a Shards<f32>,
    pub(super) memory: &'a mut [f32],
}

impl Kernel for Outputs<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Chunk { tokens, sequence } = self.chunk;
        let (inputs, dims) = (self.inputs, self.inputs.dims);
        let ((p, n), size) = (dims.padded(), dims.chunk());
        let filled = tokens.len().next_multiple_of(LANES);
        let mut memory = self.memory;
        let mut times = Times::take(dims, &mut memory);
        let decays = take(&mut memory, Decays::len(dims));
        let b = take(&mut memory, size * n);
        let c = take(&mut memory, size * n);
        let ct = take(&mut memory, size * n);
        let scores = take(&mut memory, size * size);
        let weights = take(&mut memory, size * size);
        let x = take(&mut memory, size * p);
        let since = take(&mut memory, size);
        times.fill(s, &inputs, tokens);
        let (columns, per_group) = (dims.columns(), dims.heads / dims.n_groups);
        for h in 0..dims.heads {
            if h % per_group == 0 {
                for (which, to) in [(0, &mut *b), (1, &mut *c)] {
                    let column = bc_column(dims, h / per_group, which);
                    let width = dims.d_state;
                    gather(
                        s, inputs.xbc, columns, tokens, column, width, None, to, n, filled,
                    );
                }
                turn(s, c, n, ct, size, filled, n);
                score(s, b, n, ct, size, filled, scores);
            }
            let (dt, sum) = times.of(h, filled);
            let column = h * dims.headdim;
            gather(
                s,
                inputs.xbc,
                columns,
                tokens,
                column,
                dims.headdim,
                Some(dt),
                x,
                p,
                filled,
            );
            since_start(s, sum, since);
            weigh(
                s,
                &Decays::new(s, sum, decays, size),
                scores,
                size,
                filled,
                weights,
            );
            let first = tokens.start == sequence.start;
            // SAFETY: states are only read here.
            let state = unsafe {
                self.states
                    .slice((self.index * dims.heads + h) * n * p, n * p)
            };
            let head = Head {
                chunk: self.chunk,
                inputs: &inputs,
                h,
                depth: if first { 0 } else { n },
                sizes: (size, p),
                ct,
                state,
                since,
                weights,
                x,
                y: self.y,
            };
            in_tiles!(S, 0, p / LANES, 0..filled, |r, v, R, V| head
                .tile::<S, R, V>(s, r, v));
        }
    }
}

/// `scores[j][i] = B_j C_i`, in blocks that are not above the diagonal.
#[inline(always)]
pub(super) fn score<S: Simd>(
    s: S,
    b: &[f32],
    n: usize,
    ct: &[f32],
    size: usize,
    filled: usize,
    scores: &mut [f32],
) {
    in_tiles!(
        S,
        0,
        filled / LANES,
        0..filled.min((v + V) * LANES),
        |r, v, R, V| {
            let mut sums = [[s.splat(0.0); V]; R];
            multiply(s, &mut sums, n, &b[r * n..], (n, 1), &ct[v * LANES..], size);
            for i in 0..R {
                for j in 0..V {
                    write(s, scores, (r + i) * size + (v + j) * LANES, sums[i][j]);
                }
            }
        }
    );
}

/// `weights[j][i] = scores[j][i] e^(sum_i - sum_j)`, zero where i < j.
#[inline(always)]
fn weigh<S: Simd>(
    s: S,
    decays: &Decays<'_>,
    scores: &[f32],
    size: usize,
    filled: usize,
    weights: &mut [f32],
) {
    for j in 0..filled {
        let block = j / LANES;
        let at = j * size + block * LANES;
        let own = s.mul(decays.own(s, j), read(s, scores, at));
        write(s, weights, at, after(s, (j % LANES) as f32 - 0.5, own));
        for i in block + 1..filled / LANES {
            let v = s.mul(decays.later(s, j, i), read(s, scores, j * size + i * LANES));
            write(s, weights, j * size + i * LANES, v);
        }
    }
}

/// One head's outputs.
struct Head<'a> {
    inputs: &'a Inputs<'a>,
    chunk: &'a Chunk,
    h: usize,
    /// `d_state`, or zero where the state is.
    depth: usize,
    /// Rows of matrices over tokens and over `headdim`.
    sizes: (usize, usize),
    ct: &'a [f32],
    state: &'a [f32],
    since: &'a [f32],
    weights: &'a [f32],
    x: &'a [f32],
    y: &'a Shards<f32>,
}

impl Head<'_> {
    /// Tokens `r..r + R`, vectors `v..v + V` of the head.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(&self, s: S, r: usize, v: usize) {
        let (size, p) = self.sizes;
        let column = v * LANES;
        let mut sums = [[s.splat(0.0); V]; R];
        let (ct, state) = (&self.ct[r..], &self.state[column..]);
        multiply(s, &mut sums, self.depth, ct, (1, size), state, p);
        for i in 0..R {
            for j in 0..V {
                sums[i][j] = s.mul(sums[i][j], s.splat(self.since[r + i]));
            }
        }
        let (weights, x) = (&self.weights[r..], &self.x[column..]);
        multiply(s, &mut sums, r + R, weights, (1, size), x, p);
        let dims = self.inputs.dims;
        let tokens = self.chunk.tokens.clone().skip(r).take(R);
        for (i, t) in tokens.enumerate() {
            for j in 0..V {
                let own = column + j * LANES;
                if own >= dims.headdim {
                    continue;
                }
                let width = LANES.min(dims.headdim - own);
                let at = self.h * dims.headdim + own;
                let x = read(s, &self.inputs.xbc[t * dims.columns() + at..][..width], 0);
                let skip = self.inputs.skip_at(s, self.h, at, width);
                // SAFETY: the rows of this chunk belong to this piece.
                let y = unsafe { self.y.slice(t * dims.d_inner() + at, width) };
                write(s, y, 0, s.fma(skip, x, sums[i][j]));
            }
        }
    }
}

impl Inputs<'_> {
    /// D of columns `at..at + width`, which are of head `h`.
    #[inline(always)]
    pub(super) fn skip_at<S: Simd>(&self, s: S, h: usize, at: usize, width: usize) -> S::F {
        if self.skip.len() == self.dims.heads {
            s.splat(self.skip[h])
        } else {
            read(s, &self.skip[at..][..width], 0)
        }
    }
}
