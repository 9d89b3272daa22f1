//! The selective scan, the recurrence of Mamba-1.
//!
//! Per channel and token `h = h * exp(dt * a) + (dt * x) B` and
//! `y = sum_n C_n h_n + d * x`, with channels in lanes: every (token, channel,
//! n) takes an exponential, which is where the time goes. The sum is one chain
//! over n.

use super::{CHUNK, Element, Job, JobState, ScanSegment, in_tiles};
use crate::Compute;
use crate::isa::{Kernel, LANES, Simd};
use crate::math;
use crate::scratch;
use crate::spread::{read, write};
use crate::threads::Shards;
use std::ops::Range;

/// Operations on one element of the state for one token: the exponent of its
/// decay, `B * dtx`, a multiply-add into the state, one into the output.
const SELECTIVE_STEP: u64 = 6;
/// Tiles of sixteen channels in one piece of work.
const PIECE: usize = 8;

/// Sizes of a Mamba-1 recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectiveShape {
    /// Channels.
    pub d_inner: usize,
    /// State elements per channel.
    pub d_state: usize,
}

impl SelectiveShape {
    /// Elements of the state: `[tiles of 16 of d_inner][d_state][16]`.
    #[must_use]
    pub fn state_len(&self) -> usize {
        self.tiles() * self.d_state * LANES
    }

    fn tiles(&self) -> usize {
        self.d_inner.div_ceil(LANES)
    }
}

/// Advances every segment's state over its tokens.
///
/// - `x, dt, y: [m, d_inner]`, dt after softplus;
/// - `a: [d_state, d_inner]`, negative;
/// - `b, c`: row t is `[t * bc_stride..][..d_state]`;
/// - `d: [d_inner]`: the skip from x to y.
///
/// # Panics
/// If a slice is shorter than its shape says, a state has another length, or
/// segments share rows.
pub fn selective_scan(
    cx: &Compute,
    shape: &SelectiveShape,
    x: &[f32],
    dt: &[f32],
    a: &[f32],
    b: &[f32],
    c: &[f32],
    bc_stride: usize,
    d: &[f32],
    segments: &mut [ScanSegment<'_>],
    y: &mut [f32],
) {
    let SelectiveShape { d_inner, d_state } = *shape;
    let rows = segments.iter().map(|s| s.tokens.end).max().unwrap_or(0);
    let bc_len = rows.saturating_sub(1) * bc_stride + if rows > 0 { d_state } else { 0 };
    assert!(
        b.len() >= bc_len && c.len() >= bc_len,
        "rows of B or C missing"
    );
    assert!(
        x.len().min(dt.len()).min(y.len()) >= rows * d_inner,
        "rows missing"
    );
    assert!(
        a.len() == d_state * d_inner && d.len() == d_inner,
        "decay or skip of odd shape"
    );
    let jobs = super::jobs(segments, shape.state_len(), rows);
    let chunks = shape.tiles().div_ceil(PIECE);
    let tokens: usize = jobs.iter().map(|job| job.tokens.len()).sum();
    cx.counters.scan(tokens, d_inner, d_state, SELECTIVE_STEP);
    let cycles = tokens * shape.state_len() / 2;
    let inputs = Inputs {
        shape,
        x,
        dt,
        a,
        b,
        c,
        bc_stride,
        d,
        y: Shards::new(y),
    };
    cx.spread(jobs.len() * chunks, cycles, &|i| {
        let Job { tokens, state } = &jobs[i / chunks];
        let first = i % chunks * PIECE;
        let tiles = first..shape.tiles().min(first + PIECE);
        let len = d_state * LANES;
        let (start, len) = (tiles.start * len, tiles.len() * len);
        scratch::with((3 * CHUNK + d_state) * LANES, |memory| {
            let (inputs, tiles, tokens) = (&inputs, tiles.clone(), tokens.clone());
            match state {
                JobState::F32(state) => {
                    // SAFETY: every tile of every segment belongs to one piece.
                    let state = unsafe { state.slice(start, len) };
                    cx.isa.dispatch_float(Piece {
                        inputs,
                        tiles,
                        tokens,
                        state,
                        memory,
                    });
                }
                JobState::Bf16(state) => {
                    // SAFETY: as above.
                    let state = unsafe { state.slice(start, len) };
                    cx.isa.dispatch_float(Piece {
                        inputs,
                        tiles,
                        tokens,
                        state,
                        memory,
                    });
                }
            }
        });
    });
}

struct Inputs<'a> {
    shape: &'a SelectiveShape,
    x: &'a [f32],
    dt: &'a [f32],
    a: &'a [f32],
    b: &'a [f32],
    c: &'a [f32],
    bc_stride: usize,
    d: &'a [f32],
    y: Shards<f32>,
}

/// Some tiles of channels of one segment.
struct Piece<'a, E> {
    inputs: &'a Inputs<'a>,
    tiles: Range<usize>,
    tokens: Range<usize>,
    state: &'a mut [E],
    /// `3 * CHUNK + d_state` vectors.
    memory: &'a mut [f32],
}

impl<E: Element> Kernel for Piece<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            inputs,
            tiles,
            tokens,
            state,
            memory,
        } = self;
        let d_state = inputs.shape.d_state;
        for (i, tile) in tiles.enumerate() {
            let state = &mut state[i * d_state * LANES..][..d_state * LANES];
            let mut start = tokens.start;
            while start < tokens.end {
                let chunk = start..tokens.end.min(start + CHUNK);
                start = chunk.end;
                inputs.tile(s, tile, chunk, state, memory);
            }
        }
    }
}

impl Inputs<'_> {
    /// One tile over a chunk of tokens.
    #[inline(always)]
    fn tile<S: Simd, E: Element>(
        &self,
        s: S,
        tile: usize,
        chunk: Range<usize>,
        state: &mut [E],
        memory: &mut [f32],
    ) {
        let SelectiveShape { d_inner, d_state } = *self.shape;
        let column = tile * LANES;
        let width = (d_inner - column).min(LANES);
        let (steps, memory) = memory.split_at_mut(2 * CHUNK * LANES);
        let (y, rates) = memory.split_at_mut(CHUNK * LANES);
        let log2_e = s.splat(std::f32::consts::LOG2_E);
        for n in 0..d_state {
            let a = read(s, &self.a[n * d_inner + column..][..width], 0);
            write(s, rates, n * LANES, s.mul(a, log2_e));
        }
        for (i, t) in chunk.clone().enumerate() {
            let x = read(s, &self.x[t * d_inner + column..][..width], 0);
            let dt = read(s, &self.dt[t * d_inner + column..][..width], 0);
            write(s, steps, i * 2 * LANES, dt);
            write(s, steps, (i * 2 + 1) * LANES, s.mul(dt, x));
            write(s, y, i * LANES, s.splat(0.0));
        }
        let walk = Walk {
            steps: chunk.len(),
            dt: steps.as_ptr(),
            rates: rates.as_ptr(),
            b: self.b[chunk.start * self.bc_stride..].as_ptr(),
            c: self.c[chunk.start * self.bc_stride..].as_ptr(),
            bc_stride: self.bc_stride,
            y: y.as_mut_ptr(),
        };
        let state = state[..d_state * LANES].as_mut_ptr();
        // SAFETY: the scratch was filled above for every step and row; B and C
        // reach to the last row (checked on entry); the state has `d_state` rows.
        unsafe {
            in_tiles!(s, 0, d_state, |first, W| walk
                .rows::<S, E, W>(s, state, first));
        }
        let d = read(s, &self.d[column..][..width], 0);
        for (i, t) in chunk.enumerate() {
            let x = read(s, &self.x[t * d_inner + column..][..width], 0);
            let v = s.fma(d, x, read(s, y, i * LANES));
            // SAFETY: these columns of these rows belong to this piece.
            write(
                s,
                unsafe { self.y.slice(t * d_inner + column, width) },
                0,
                v,
            );
        }
    }
}

/// A walk of state rows through a chunk.
#[derive(Clone, Copy)]
struct Walk {
    steps: usize,
    /// Per step dt, then dt * x.
    dt: *const f32,
    /// Per state row a * log2(e).
    rates: *const f32,
    b: *const f32,
    c: *const f32,
    bc_stride: usize,
    /// Per step the chain so far.
    y: *mut f32,
}

impl Walk {
    /// Walks rows `first..first + W`, continuing the chains in `y`.
    ///
    /// # Safety
    /// The pointers must be valid as described, and `state` for those rows.
    #[inline(always)]
    unsafe fn rows<S: Simd, E: Element, const W: usize>(self, s: S, state: *mut E, first: usize) {
        // SAFETY: by the caller.
        unsafe {
            let state = state.add(first * LANES);
            let rates = self.rates.add(first * LANES);
            let mut h = E::load_rows::<S, W>(s, state);
            for t in 0..self.steps {
                let dt = s.load(self.dt.add(t * 2 * LANES));
                let dtx = s.load(self.dt.add((t * 2 + 1) * LANES));
                let b = self.b.add(t * self.bc_stride + first);
                let c = self.c.add(t * self.bc_stride + first);
                let y = self.y.add(t * LANES);
                let mut sum = s.load(y);
                for i in 0..W {
                    let keep = math::decay(s, s.mul(dt, s.load(rates.add(i * LANES))));
                    let new = s.mul(dtx, s.splat(*b.add(i)));
                    let now = s.fma(E::value(s, h[i]), keep, new);
                    sum = s.fma(now, s.splat(*c.add(i)), sum);
                    h[i] = E::row(s, now);
                }
                s.store(y, sum);
            }
            E::store_rows(s, state, h);
        }
    }
}
