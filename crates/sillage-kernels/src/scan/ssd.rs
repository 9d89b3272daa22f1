//! SSD, the recurrence of Mamba-2.
//!
//! Per head and token `h = h * exp(dt * a) + (dt * x) B^T` and
//! `y = h C + d * x`, where `h` is `[headdim, d_state]`, kept with headdim in
//! lanes. The sum over `d_state` is taken in chains of sixteen that are then
//! added up in order: long enough to amortise, and short enough that the
//! chains of one decoded token run side by side.

use super::{CHUNK, Element, Job, JobState, ScanSegment, in_tiles};
use crate::Compute;
use crate::isa::{Kernel, LANES, Simd};
use crate::math;
use crate::scratch;
use crate::spread::{read, write};
use crate::threads::Shards;
use std::ops::Range;

/// State elements of one piece of a decoding step: a few microseconds' worth.
const PIECE: usize = 16 * 1024;
/// How far ahead of a decoding step its state is fetched, in bytes.
const AHEAD: usize = 2048;
/// From this many tokens on B and C are copied together before they are used.
const PACK_FROM: usize = 4;

/// Operations on one element of the state for one token: `B * dtx`, a
/// multiply-add into the state, a multiply-add into the output.
const SSD_STEP: u64 = 5;

/// Sizes of a Mamba-2 recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SsdShape {
    /// Heads.
    pub heads: usize,
    /// Elements per head.
    pub headdim: usize,
    /// State elements per element of a head.
    pub d_state: usize,
    /// Groups of heads that share B and C; divides `heads`.
    pub groups: usize,
}

impl SsdShape {
    /// Elements of the state: `[heads][tiles of 16 of headdim][d_state][16]`.
    #[must_use]
    pub fn state_len(&self) -> usize {
        self.heads * self.head_len()
    }

    fn tiles(&self) -> usize {
        self.headdim.div_ceil(LANES)
    }

    fn head_len(&self) -> usize {
        self.tiles() * self.d_state * LANES
    }

    /// Columns of x, B and C together.
    fn columns(&self) -> usize {
        self.heads * self.headdim + 2 * self.groups * self.d_state
    }
}

/// Advances every segment's state over its tokens.
///
/// - `xbc: [m, heads * headdim + 2 * groups * d_state]`: x, then B, then C;
/// - `dt: [m, heads]`, after softplus; `a: [heads]`, negative;
/// - `d: [heads]` or `[heads * headdim]`: the skip from x to y;
/// - `y: [m, heads * headdim]`.
///
/// # Panics
/// If a slice is shorter than its shape says, a state has another length, or
/// segments share rows.
pub fn ssd(
    cx: &Compute,
    shape: &SsdShape,
    xbc: &[f32],
    dt: &[f32],
    a: &[f32],
    d: Option<&[f32]>,
    segments: &mut [ScanSegment<'_>],
    y: &mut [f32],
) {
    let SsdShape {
        heads,
        headdim,
        groups,
        ..
    } = *shape;
    assert!(
        groups > 0 && heads.is_multiple_of(groups),
        "groups must divide heads"
    );
    let rows = xbc.len() / shape.columns().max(1);
    assert!(
        dt.len() >= rows * heads && y.len() >= rows * heads * headdim,
        "rows missing"
    );
    assert!(a.len() == heads, "one decay per head");
    assert!(
        d.is_none_or(|d| d.len() == heads || d.len() == heads * headdim),
        "skip of odd shape"
    );
    let jobs = super::jobs(segments, shape.state_len(), rows);
    let mut pieces = Vec::new();
    for (i, job) in jobs.iter().enumerate() {
        let whole = if job.tokens.len() < CHUNK {
            PIECE / shape.head_len().max(1)
        } else {
            1
        };
        let count = whole.max(1);
        pieces.extend(
            (0..heads)
                .step_by(count)
                .map(|h| (i, h..heads.min(h + count))),
        );
    }
    let tokens: usize = jobs.iter().map(|job| job.tokens.len()).sum();
    cx.counters
        .scan(tokens, heads * headdim, shape.d_state, SSD_STEP);
    let cycles = tokens * shape.state_len() / 8;
    let inputs = Inputs {
        shape,
        xbc,
        dt,
        a,
        d,
        y: Shards::new(y),
    };
    cx.spread(pieces.len(), cycles, &|i| {
        let (job, heads) = &pieces[i];
        let Job { tokens, state } = &jobs[*job];
        let (start, len) = (
            heads.start * shape.head_len(),
            heads.len() * shape.head_len(),
        );
        scratch::with(Scratch::len(shape, tokens.len()), |memory| {
            let scratch = Scratch::new(shape, tokens.len(), memory);
            let (inputs, heads, tokens) = (&inputs, heads.clone(), tokens.clone());
            match state {
                JobState::F32(state) => {
                    // SAFETY: every head of every segment belongs to one piece.
                    let state = unsafe { state.slice(start, len) };
                    cx.isa.dispatch_float(Piece {
                        inputs,
                        heads,
                        tokens,
                        state,
                        scratch,
                    });
                }
                JobState::Bf16(state) => {
                    // SAFETY: as above.
                    let state = unsafe { state.slice(start, len) };
                    cx.isa.dispatch_float(Piece {
                        inputs,
                        heads,
                        tokens,
                        state,
                        scratch,
                    });
                }
            }
        });
    });
}

struct Inputs<'a> {
    shape: &'a SsdShape,
    xbc: &'a [f32],
    dt: &'a [f32],
    a: &'a [f32],
    d: Option<&'a [f32]>,
    y: Shards<f32>,
}

/// Room for one chunk of one head.
struct Scratch<'a> {
    /// exp(dt a) per token.
    decay: &'a mut [f32],
    /// dt, then dt * x as `[tile][token][16]`.
    dt: &'a mut [f32],
    dtx: &'a mut [f32],
    /// Output of one tile, `[token][16]`.
    y: &'a mut [f32],
    /// Chains that narrow tiles have begun, `[token][16]`.
    chain: &'a mut [f32],
    /// B and C as `[block of 16 of d_state][token][B: 16 | C: 16]`.
    bc: &'a mut [f32],
}

impl<'a> Scratch<'a> {
    fn sizes(shape: &SsdShape, tokens: usize) -> [usize; 6] {
        let steps = tokens.min(CHUNK).next_multiple_of(LANES);
        let bc = steps * 2 * shape.d_state.next_multiple_of(LANES);
        [
            steps,
            steps,
            shape.tiles() * steps * LANES,
            steps * LANES,
            steps * LANES,
            bc,
        ]
    }

    fn len(shape: &SsdShape, tokens: usize) -> usize {
        Self::sizes(shape, tokens).iter().sum()
    }

    fn new(shape: &SsdShape, tokens: usize, mut memory: &'a mut [f32]) -> Self {
        let [decay, dt, dtx, y, chain, bc] = Self::sizes(shape, tokens).map(|len| {
            let (part, rest) = std::mem::take(&mut memory).split_at_mut(len);
            memory = rest;
            part
        });
        Self {
            decay,
            dt,
            dtx,
            y,
            chain,
            bc,
        }
    }
}

/// Where a chunk's B and C are read: `step` elements from token to token,
/// `block` from sixteen elements of `d_state` to the next.
#[derive(Clone, Copy)]
struct Bc {
    b: *const f32,
    c: *const f32,
    step: usize,
    block: usize,
}

/// Some heads of one segment.
struct Piece<'a, E> {
    inputs: &'a Inputs<'a>,
    heads: Range<usize>,
    tokens: Range<usize>,
    state: &'a mut [E],
    scratch: Scratch<'a>,
}

impl<E: Element> Kernel for Piece<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let head_len = self.inputs.shape.head_len();
        let per_group = self.inputs.shape.heads / self.inputs.shape.groups;
        let mut start = self.tokens.start;
        while start < self.tokens.end {
            let chunk = start..self.tokens.end.min(start + CHUNK);
            let mut packed = None;
            for h in self.heads.clone() {
                let group = h / per_group;
                let bc = self.bc(s, &chunk, group, packed == Some(group));
                packed = Some(group);
                self.steps(s, &chunk, h);
                let at = (h - self.heads.start) * head_len;
                for tile in 0..self.inputs.shape.tiles() {
                    self.tile(s, &chunk, h, tile, at, bc);
                }
            }
            start = chunk.end;
        }
    }
}

impl<E: Element> Piece<'_, E> {
    /// Where to read B and C of a chunk: in place when it is short, else
    /// gathered, since rows of `xbc` fall on few cache sets.
    #[inline(always)]
    fn bc<S: Simd>(&mut self, s: S, chunk: &Range<usize>, group: usize, packed: bool) -> Bc {
        let shape = self.inputs.shape;
        let columns = shape.columns();
        let first = shape.heads * shape.headdim + group * shape.d_state;
        let size = shape.groups * shape.d_state;
        let steps = chunk.len();
        if steps < PACK_FROM {
            let row = &self.inputs.xbc[chunk.start * columns..chunk.end * columns];
            let (b, c) = (row[first..].as_ptr(), row[first + size..].as_ptr());
            return Bc {
                b,
                c,
                step: columns,
                block: LANES,
            };
        }
        let block = steps * 2 * LANES;
        if !packed {
            for (i, t) in chunk.clone().enumerate() {
                let row = &self.inputs.xbc[t * columns..][..columns];
                let b = &row[first..][..shape.d_state];
                let c = &row[first + size..][..shape.d_state];
                for n in (0..shape.d_state).step_by(LANES) {
                    let to = &mut self.scratch.bc[n / LANES * block + i * 2 * LANES..][..2 * LANES];
                    write(s, to, 0, read(s, b, n));
                    write(s, to, LANES, read(s, c, n));
                }
            }
        }
        let b = self.scratch.bc.as_ptr();
        Bc {
            b,
            c: b.wrapping_add(LANES),
            step: 2 * LANES,
            block,
        }
    }

    /// Fills in a head's decays and dt * x.
    #[inline(always)]
    fn steps<S: Simd>(&mut self, s: S, chunk: &Range<usize>, h: usize) {
        let Inputs {
            shape, xbc, dt, a, ..
        } = *self.inputs;
        let steps = chunk.len();
        for (i, t) in chunk.clone().enumerate() {
            self.scratch.dt[i] = dt[t * shape.heads + h];
        }
        let a = s.splat(a[h]);
        for i in (0..steps).step_by(LANES) {
            let dt = read(s, &self.scratch.dt[..steps], i);
            write(s, self.scratch.decay, i, math::exp(s, s.mul(dt, a)));
        }
        for (i, t) in chunk.clone().enumerate() {
            let x = &xbc[t * shape.columns() + h * shape.headdim..][..shape.headdim];
            let dt = s.splat(self.scratch.dt[i]);
            for tile in 0..shape.tiles() {
                let v = s.mul(dt, read(s, x, tile * LANES));
                write(s, self.scratch.dtx, (tile * steps + i) * LANES, v);
            }
        }
    }

    /// One tile of a head, whose state begins at `at`, over a chunk.
    #[inline(always)]
    fn tile<S: Simd>(
        &mut self,
        s: S,
        chunk: &Range<usize>,
        h: usize,
        tile: usize,
        at: usize,
        bc: Bc,
    ) {
        let Inputs {
            shape,
            xbc,
            d,
            ref y,
            ..
        } = *self.inputs;
        let steps = chunk.len();
        let len = shape.d_state * LANES;
        let state = &mut self.state[at + tile * len..][..len];
        self.scratch.y[..steps * LANES].fill(0.0);
        let walk = Walk {
            steps,
            decay: self.scratch.decay[..steps].as_ptr(),
            dtx: self.scratch.dtx[tile * steps * LANES..][..steps * LANES].as_ptr(),
            bc,
            y: self.scratch.y[..steps * LANES].as_mut_ptr(),
            chain: self.scratch.chain[..steps * LANES].as_mut_ptr(),
        };
        // SAFETY: the slices above have a row per step, B and C have `d_state`
        // elements per step, and `state` has `d_state` rows.
        unsafe { walk.all(s, state.as_mut_ptr(), shape.d_state) };
        let columns = shape.columns();
        let width = (shape.headdim - tile * LANES).min(LANES);
        let column = h * shape.headdim + tile * LANES;
        for (i, t) in chunk.clone().enumerate() {
            let mut v = read(s, self.scratch.y, i * LANES);
            if let Some(d) = d {
                let x = read(s, &xbc[t * columns + column..][..width], 0);
                let d = if d.len() == shape.heads {
                    s.splat(d[h])
                } else {
                    read(s, &d[column..][..width], 0)
                };
                v = s.fma(d, x, v);
            }
            // SAFETY: these columns of these rows belong to this piece.
            let y = unsafe { y.slice(t * shape.heads * shape.headdim + column, width) };
            write(s, y, 0, v);
        }
    }
}

/// A walk of state rows through a chunk; all pointers have a row per step.
#[derive(Clone, Copy)]
struct Walk {
    steps: usize,
    decay: *const f32,
    dtx: *const f32,
    bc: Bc,
    y: *mut f32,
    chain: *mut f32,
}

impl Walk {
    /// Walks all `d_state` rows of a tile, adding their output to `y`.
    ///
    /// # Safety
    /// The pointers must be valid as described, and `state` for `d_state` rows.
    #[inline(always)]
    unsafe fn all<S: Simd, E: Element>(self, s: S, state: *mut E, d_state: usize) {
        // SAFETY: rows `first..first + W` lie below `d_state`; the rest by the
        // caller.
        unsafe {
            let mut block = 0;
            while block < d_state {
                let end = d_state.min(block + LANES);
                if S::REGISTERS >= 32 && end == block + LANES {
                    self.rows::<S, E, 16, true>(s, state, block);
                } else {
                    self.clear(s);
                    in_tiles!(s, block, end, |first, W| {
                        self.rows::<S, E, W, false>(s, state, first)
                    });
                    self.finish(s);
                }
                block = end;
            }
        }
    }

    /// Walks rows `first..first + W`, which lie in one block of sixteen. A
    /// `WHOLE` block's chains go straight to `y`, else they go on in `chain`.
    #[inline(always)]
    unsafe fn rows<S: Simd, E: Element, const W: usize, const WHOLE: bool>(
        self,
        s: S,
        state: *mut E,
        first: usize,
    ) {
        let Self {
            steps,
            decay,
            dtx,
            bc,
            y,
            chain,
        } = self;
        let offset = first / LANES * bc.block + first % LANES;
        // SAFETY: by the caller of `all`.
        unsafe {
            let state = state.add(first * LANES);
            let (mut b, mut c) = (bc.b.add(offset), bc.c.add(offset));
            let mut h = E::load_rows::<S, W>(s, state);
            if steps == 1 {
                // Decoding streams the state: ask for what comes next.
                for line in 0..(W * LANES * size_of::<E>()).div_ceil(64) {
                    s.prefetch(state.cast::<u8>().wrapping_add(AHEAD + line * 64));
                }
            }
            for t in 0..steps {
                let keep = s.splat(*decay.add(t));
                let x = s.load(dtx.add(t * LANES));
                let mut sum = if WHOLE {
                    s.splat(0.0)
                } else {
                    s.load(chain.add(t * LANES))
                };
                for i in 0..W {
                    let new = s.mul(x, s.splat(*b.add(i)));
                    let now = s.fma(E::value(s, h[i]), keep, new);
                    sum = s.fma(now, s.splat(*c.add(i)), sum);
                    h[i] = E::row(s, now);
                }
                if WHOLE {
                    let y = y.add(t * LANES);
                    s.store(y, s.add(s.load(y), sum));
                } else {
                    s.store(chain.add(t * LANES), sum);
                }
                b = b.wrapping_add(bc.step);
                c = c.wrapping_add(bc.step);
            }
            E::store_rows(s, state, h);
        }
    }

    /// Begins the chains of a block that is walked in parts.
    #[inline(always)]
    unsafe fn clear<S: Simd>(self, s: S) {
        for t in 0..self.steps {
            // SAFETY: by the caller of `all`.
            unsafe { s.store(self.chain.add(t * LANES), s.splat(0.0)) };
        }
    }

    /// Adds the chains of such a block to `y`.
    #[inline(always)]
    unsafe fn finish<S: Simd>(self, s: S) {
        for t in 0..self.steps {
            // SAFETY: by the caller of `all`.
            unsafe {
                let y = self.y.add(t * LANES);
                s.store(y, s.add(s.load(y), s.load(self.chain.add(t * LANES))));
            }
        }
    }
}
