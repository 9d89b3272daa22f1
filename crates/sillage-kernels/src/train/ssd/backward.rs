//! The gradients of a chunk.
//!
//! With `M_ji = B_j C_i L_ij` the scores times decays, `W_ji = x_j dy_i`, `H`
//! the state before the chunk and `E` the gradient of the state after it:
//!
//! - `dx_j = dt_j (sum_i M_ji dy_i + left_j E B_j) + D dy_j`
//! - `dC_i = sum_j W_ji L_ij dt_j B_j + since_i H^T dy_i`
//! - `dB_j = sum_i W_ji L_ij dt_j C_i + left_j dt_j E^T x_j`
//!
//! A decay at token t stands in the way of every flow from before t to t or
//! later, so its logarithm's gradient is the sum over all that flows past t:
//! between tokens j < t <= i, from the state before the chunk, into the state
//! after it, and from one to the other. The first is had from sums over rows
//! and columns of `M * W` alone.

mod group;

use super::forward::outer;
use super::inputs::{Decays, Times, after, bc_column, gather, since_start, take, until_end};
use super::tile::{in_tiles, multiply, turn};
use super::{Chunk, Inputs, SsdDims};
use crate::isa::{Kernel, LANES, Simd};
use crate::spread::{read, write};
use crate::threads::Shards;

pub(super) fn local_scratch(dims: &SsdDims) -> usize {
    let (p, n) = dims.padded();
    Times::len(dims) + dims.chunk() * (n + p + 1)
}

/// What a chunk's outputs add to the gradient of the state before it.
pub(super) struct Local<'a> {
    pub(super) inputs: Inputs<'a>,
    pub(super) chunk: &'a Chunk,
    pub(super) index: usize,
    pub(super) dy: &'a [f32],
    pub(super) gradients: &'a Shards<f32>,
    pub(super) memory: &'a mut [f32],
}

impl Kernel for Local<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Chunk { tokens, sequence } = self.chunk;
        if tokens.start == sequence.start {
            // Nothing came before.
            return;
        }
        let (inputs, dims) = (self.inputs, self.inputs.dims);
        let (p, n) = dims.padded();
        let filled = tokens.len().next_multiple_of(LANES);
        let mut memory = self.memory;
        let mut times = Times::take(dims, &mut memory);
        let c = take(&mut memory, dims.chunk() * n);
        let dy = take(&mut memory, dims.chunk() * p);
        let since = take(&mut memory, dims.chunk());
        times.fill(s, &inputs, tokens);
        let (columns, per_group) = (dims.columns(), dims.heads / dims.n_groups);
        for h in 0..dims.heads {
            if h % per_group == 0 {
                let column = bc_column(dims, h / per_group, 1);
                let width = dims.d_state;
                gather(
                    s, inputs.xbc, columns, tokens, column, width, None, c, n, filled,
                );
            }
            let (_, sum) = times.of(h, filled);
            let since = &mut since[..filled];
            since_start(s, sum, since);
            let (column, width) = (h * dims.headdim, dims.headdim);
            gather(
                s,
                self.dy,
                dims.d_inner(),
                tokens,
                column,
                width,
                Some(since),
                dy,
                p,
                filled,
            );
            let at = (self.index * dims.heads + h) * n * p;
            // SAFETY: the gradients of this chunk belong to this piece.
            let gradient = unsafe { self.gradients.slice(at, n * p) };
            outer(s, c, n, dy, p, filled, gradient);
        }
    }
}

pub(super) fn scratch(dims: &SsdDims) -> usize {
    let ((p, n), chunk) = (dims.padded(), dims.chunk());
    Times::len(dims)
        + Decays::len(dims)
        + chunk * (6 * n + 3 * chunk + 3 * p)
        + chunk * n.max(p)
        + chunk * (6 + LANES)
        + p
}

/// Everything within a chunk, for all heads.
pub(super) struct Chunked<'a> {
    pub(super) inputs: Inputs<'a>,
    pub(super) chunk: &'a Chunk,
    pub(super) index: usize,
    pub(super) states: &'a [f32],
    pub(super) gradients: &'a Shards<f32>,
    pub(super) dy: &'a [f32],
    pub(super) dxbc: &'a Shards<f32>,
    pub(super) ddt: &'a Shards<f32>,
    /// This chunk's gradients of `a`, then of `skip`.
    pub(super) sums: &'a mut [f32],
    pub(super) memory: &'a mut [f32],
}

impl Kernel for Chunked<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (inputs, dims) = (self.inputs, self.inputs.dims);
        let tokens = &self.chunk.tokens;
        let mut memory = self.memory;
        let mut times = Times::take(dims, &mut memory);
        times.fill(s, &inputs, tokens);
        let (p, n) = dims.padded();
        let size = dims.chunk();
        let decays = take(&mut memory, Decays::len(dims));
        let mut work = Work {
            inputs,
            chunk: self.chunk,
            dy: self.dy,
            dxbc: self.dxbc,
            size,
            filled: tokens.len().next_multiple_of(LANES),
            p,
            n,
            b: take(&mut memory, size * n),
            c: take(&mut memory, size * n),
            bt: take(&mut memory, size * n),
            ct: take(&mut memory, size * n),
            dbt: take(&mut memory, size * n),
            dct: take(&mut memory, size * n),
            scores: take(&mut memory, size * size),
            weights: take(&mut memory, size * size),
            dscores: take(&mut memory, size * size),
            y: take(&mut memory, size * p),
            yt: take(&mut memory, size * p),
            xt: take(&mut memory, size * p),
            spare: take(&mut memory, size * n.max(p)),
            flows: Flows {
                since: take(&mut memory, size),
                left: take(&mut memory, size),
                rows: take(&mut memory, size),
                diagonal: take(&mut memory, size),
                before: take(&mut memory, size),
                beyond: take(&mut memory, size),
                columns: take(&mut memory, size * LANES),
            },
            skip: take(&mut memory, p),
        };
        let per_group = dims.heads / dims.n_groups;
        let (da, dskip) = self.sums.split_at_mut(dims.heads);
        for h in 0..dims.heads {
            if h % per_group == 0 {
                work.begin_group(s, h / per_group);
            }
            let at = (self.index * dims.heads + h) * n * p;
            let state = &self.states[at..][..n * p];
            // SAFETY: gradients of states are only read here.
            let gradient = unsafe { self.gradients.slice(at, n * p) };
            let (dt, sum) = times.of(h, work.filled);
            work.head(s, h, dt, sum, decays, state, gradient);
            work.skip_gradient(s, h, dskip);
            da[h] = work.decay_gradient(s, h, dt, sum, state, gradient, self.ddt);
            if (h + 1) % per_group == 0 {
                work.end_group(s, h / per_group);
            }
        }
    }
}

/// What flows within, into and out of a chunk, per token.
struct Flows<'a> {
    /// What is left of the state before the chunk at each token.
    since: &'a mut [f32],
    /// What is left of each token at the end of the chunk.
    left: &'a mut [f32],
    /// Into each token from earlier ones of the chunk.
    rows: &'a mut [f32],
    /// From each token into itself, over dt.
    diagonal: &'a mut [f32],
    /// Into each token from the state before the chunk.
    before: &'a mut [f32],
    /// From each token into the state after the chunk, over dt.
    beyond: &'a mut [f32],
    /// From each token into later ones of the chunk, over dt: sixteen sums a
    /// token.
    columns: &'a mut [f32],
}

/// A chunk at work. Names that end in t are matrices with tokens in lanes.
struct Work<'a> {
    inputs: Inputs<'a>,
    chunk: &'a Chunk,
    dy: &'a [f32],
    dxbc: &'a Shards<f32>,
    /// Rows of matrices with tokens in lanes, and how many tokens there are.
    size: usize,
    filled: usize,
    p: usize,
    n: usize,
    b: &'a mut [f32],
    c: &'a mut [f32],
    bt: &'a mut [f32],
    ct: &'a mut [f32],
    /// Gradients of B and C through states, of the group so far.
    dbt: &'a mut [f32],
    dct: &'a mut [f32],
    /// `B_j C_i`, and times decays.
    scores: &'a mut [f32],
    weights: &'a mut [f32],
    /// The gradient of `scores`, of the group so far.
    dscores: &'a mut [f32],
    /// One head's dy, also turned, and its x.
    y: &'a mut [f32],
    yt: &'a mut [f32],
    xt: &'a mut [f32],
    spare: &'a mut [f32],
    flows: Flows<'a>,
    /// One head's gradient of D.
    skip: &'a mut [f32],
}

impl Work<'_> {
    fn is_first(&self) -> bool {
        self.chunk.tokens.start == self.chunk.sequence.start
    }

    fn is_last(&self) -> bool {
        self.chunk.tokens.end == self.chunk.sequence.end
    }

    #[inline(always)]
    fn head<S: Simd>(
        &mut self,
        s: S,
        h: usize,
        dt: &[f32],
        sum: &[f32],
        decays: &mut [f32],
        state: &[f32],
        gradient: &[f32],
    ) {
        self.begin_head(s, h, sum);
        let (filled, vectors) = (self.filled, self.filled / LANES);
        let decays = Decays::new(s, sum, decays, self.size);
        in_tiles!(
            S,
            0,
            vectors,
            0..filled.min((v + V) * LANES),
            |r, v, R, V| self.pairs::<S, R, V>(s, r, v, dt, &decays)
        );
        if !self.is_first() {
            in_tiles!(S, 0, vectors, 0..self.n, |r, v, R, V| self
                .flow_before::<S, R, V>(s, r, v, state));
        }
        if !self.is_last() {
            in_tiles!(S, 0, vectors, 0..self.n, |r, v, R, V| self
                .flow_beyond::<S, R, V>(s, r, v, dt, gradient));
        }
        in_tiles!(S, 0, self.p / LANES, 0..filled, |r, v, R, V| self
            .inputs_of::<S, R, V>(s, h, r, v, dt, gradient));
    }

    /// Brings together a head's dy and x, and sums up `dy x`.
    #[inline(always)]
    fn begin_head<S: Simd>(&mut self, s: S, h: usize, sum: &[f32]) {
        let (dims, filled, p) = (self.inputs.dims, self.filled, self.p);
        let (column, width, tokens) = (h * dims.headdim, dims.headdim, &self.chunk.tokens);
        let (xbc, columns) = (self.inputs.xbc, dims.columns());
        gather(
            s, xbc, columns, tokens, column, width, None, self.spare, p, filled,
        );
        gather(
            s,
            self.dy,
            dims.d_inner(),
            tokens,
            column,
            width,
            None,
            self.y,
            p,
            filled,
        );
        for j in (0..p).step_by(LANES) {
            let mut sum = s.splat(0.0);
            for i in 0..filled {
                let (y, x) = (read(s, self.y, i * p + j), read(s, self.spare, i * p + j));
                sum = s.fma(y, x, sum);
            }
            write(s, self.skip, j, sum);
        }
        turn(s, self.spare, p, self.xt, self.size, filled, p);
        turn(s, self.y, p, self.yt, self.size, filled, p);
        let flows = &mut self.flows;
        since_start(s, sum, flows.since);
        until_end(s, sum, flows.left);
        flows.rows.fill(0.0);
        flows.diagonal.fill(0.0);
        flows.before.fill(0.0);
        flows.beyond.fill(0.0);
        flows.columns.fill(0.0);
    }

    /// What flows from tokens `r..r + R` to those of vectors `v..v + V`.
    #[inline(always)]
    fn pairs<S: Simd, const R: usize, const V: usize>(
        &mut self,
        s: S,
        r: usize,
        v: usize,
        dt: &[f32],
        decays: &Decays<'_>,
    ) {
        let size = self.size;
        let mut sums = [[s.splat(0.0); V]; R];
        let (xt, yt) = (&self.xt[r..], &self.yt[v * LANES..]);
        multiply(s, &mut sums, self.p, xt, (1, size), yt, size);
        for i in 0..R {
            let j = r + i;
            let step = s.splat(dt[j]);
            let mut column = read(s, self.flows.columns, j * LANES);
            for k in 0..V {
                let block = v + k;
                if block < r / LANES {
                    continue;
                }
                let (at, lanes) = (j * size + block * LANES, block * LANES);
                let scores = read(s, self.scores, at);
                let diagonal = block == r / LANES;
                let decay = if diagonal {
                    let lane = (j % LANES) as f32;
                    let decay = after(s, lane - 0.5, decays.own(s, j));
                    let all = s.mul(s.mul(scores, decay), sums[i][k]);
                    let own = s.sub(all, after(s, lane, all));
                    let flow = s.add(read(s, self.flows.diagonal, lanes), own);
                    write(s, self.flows.diagonal, lanes, flow);
                    decay
                } else {
                    decays.later(s, j, block)
                };
                let weight = s.mul(scores, decay);
                write(s, self.weights, at, weight);
                let mut flow = s.mul(weight, sums[i][k]);
                if diagonal {
                    flow = after(s, (j % LANES) as f32, flow);
                }
                column = s.add(column, flow);
                let row = s.fma(flow, step, read(s, self.flows.rows, lanes));
                write(s, self.flows.rows, lanes, row);
                let change = s.mul(s.mul(sums[i][k], decay), step);
                let change = s.add(read(s, self.dscores, at), change);
                write(s, self.dscores, at, change);
            }
            write(s, self.flows.columns, j * LANES, column);
        }
    }

    /// What flows from rows `r..r + R` of the state before the chunk.
    #[inline(always)]
    fn flow_before<S: Simd, const R: usize, const V: usize>(
        &mut self,
        s: S,
        r: usize,
        v: usize,
        state: &[f32],
    ) {
        let (size, lanes, p) = (self.size, v * LANES, self.p);
        let mut sums = [[s.splat(0.0); V]; R];
        multiply(
            s,
            &mut sums,
            p,
            &state[r * p..],
            (p, 1),
            &self.yt[lanes..],
            size,
        );
        for k in 0..V {
            let lanes = lanes + k * LANES;
            let since = read(s, self.flows.since, lanes);
            let mut flow = read(s, self.flows.before, lanes);
            for i in 0..R {
                let at = (r + i) * size + lanes;
                let change = s.mul(sums[i][k], since);
                write(s, self.dct, at, s.add(read(s, self.dct, at), change));
                flow = s.fma(read(s, self.ct, at), change, flow);
            }
            write(s, self.flows.before, lanes, flow);
        }
    }

    /// What flows into rows `r..r + R` of the state after the chunk.
    #[inline(always)]
    fn flow_beyond<S: Simd, const R: usize, const V: usize>(
        &mut self,
        s: S,
        r: usize,
        v: usize,
        dt: &[f32],
        gradient: &[f32],
    ) {
        let (size, lanes, p) = (self.size, v * LANES, self.p);
        let mut sums = [[s.splat(0.0); V]; R];
        multiply(
            s,
            &mut sums,
            p,
            &gradient[r * p..],
            (p, 1),
            &self.xt[lanes..],
            size,
        );
        for k in 0..V {
            let lanes = lanes + k * LANES;
            let (left, step) = (read(s, self.flows.left, lanes), read(s, dt, lanes));
            let mut flow = read(s, self.flows.beyond, lanes);
            for i in 0..R {
                let at = (r + i) * size + lanes;
                let change = s.mul(sums[i][k], left);
                write(s, self.dbt, at, s.fma(change, step, read(s, self.dbt, at)));
                flow = s.fma(read(s, self.bt, at), change, flow);
            }
            write(s, self.flows.beyond, lanes, flow);
        }
    }

    /// The gradient of x of tokens `r..r + R`, vectors `v..v + V` of the head.
    #[inline(always)]
    fn inputs_of<S: Simd, const R: usize, const V: usize>(
        &mut self,
        s: S,
        h: usize,
        r: usize,
        v: usize,
        dt: &[f32],
        gradient: &[f32],
    ) {
        let (size, p, dims) = (self.size, self.p, self.inputs.dims);
        let column = v * LANES;
        let mut sums = [[s.splat(0.0); V]; R];
        let depth = if self.is_last() { 0 } else { self.n };
        multiply(
            s,
            &mut sums,
            depth,
            &self.bt[r..],
            (1, size),
            &gradient[column..],
            p,
        );
        for i in 0..R {
            for k in 0..V {
                sums[i][k] = s.mul(sums[i][k], s.splat(self.flows.left[r + i]));
            }
        }
        let (weights, y) = (&self.weights[r * size + r..], &self.y[r * p + column..]);
        multiply(s, &mut sums, self.filled - r, weights, (size, 1), y, p);
        for (i, t) in self.chunk.tokens.clone().skip(r).take(R).enumerate() {
            let step = s.splat(dt[r + i]);
            for k in 0..V {
                let own = column + k * LANES;
                if own >= dims.headdim {
                    continue;
                }
                let width = LANES.min(dims.headdim - own);
                let at = h * dims.headdim + own;
                let skip = self.inputs.skip_at(s, h, at, width);
                let direct = s.mul(skip, read(s, self.y, (r + i) * p + own));
                // SAFETY: the rows of this chunk belong to this piece.
                let dx = unsafe { self.dxbc.slice(t * dims.columns() + at, width) };
                write(s, dx, 0, s.fma(sums[i][k], step, direct));
            }
        }
    }

    #[inline(always)]
    fn skip_gradient<S: Simd>(&self, s: S, h: usize, dskip: &mut [f32]) {
        let dims = self.inputs.dims;
        if dskip.len() == dims.heads {
            let mut sum = s.splat(0.0);
            for j in (0..self.p).step_by(LANES) {
                sum = s.add(sum, read(s, self.skip, j));
            }
            dskip[h] = s.sum(sum);
        } else {
            let own = &self.skip[..dims.headdim];
            dskip[h * dims.headdim..][..dims.headdim].copy_from_slice(own);
        }
    }

    /// Writes the gradient of dt; returns that of a.
    #[inline(always)]
    fn decay_gradient<S: Simd>(
        &mut self,
        s: S,
        h: usize,
        dt: &[f32],
        sum: &[f32],
        state: &[f32],
        gradient: &[f32],
        ddt: &Shards<f32>,
    ) -> f32 {
        let tokens = &self.chunk.tokens;
        let (flows, heads) = (&mut self.flows, self.inputs.dims.heads);
        // What flows on from the state before the chunk to that after it.
        let mut past = 0.0;
        if tokens.start != self.chunk.sequence.start && tokens.end != self.chunk.sequence.end {
            let mut sums = [s.splat(0.0); 4];
            for (i, at) in (0..state.len()).step_by(LANES).enumerate() {
                sums[i % 4] = s.fma(read(s, state, at), read(s, gradient, at), sums[i % 4]);
            }
            let all = s.sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])));
            past = all * flows.since[sum.len() - 1];
        }
        // What ends at t or later less what begins there; columns get their
        // sums on the way.
        let mut ends = 0.0;
        for t in (0..tokens.len()).rev() {
            let column = s.sum(read(s, flows.columns, t * LANES));
            flows.columns[t * LANES] = column;
            ends += flows.rows[t] + flows.before[t] - dt[t] * column;
            flows.rows[t] = ends;
        }
        let (a, mut da) = (self.inputs.a[h], 0.0);
        for (t, token) in tokens.clone().enumerate() {
            let decay = flows.rows[t] + past;
            let own = flows.columns[t * LANES] + flows.diagonal[t] + flows.beyond[t];
            // SAFETY: the rows of this chunk belong to this piece.
            unsafe { ddt.slice(token * heads + h, 1)[0] = a.mul_add(decay, own) };
            da += dt[t] * decay;
            past += dt[t] * flows.beyond[t];
        }
        da
    }
}
