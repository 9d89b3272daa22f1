//! The selective scan, the recurrence of Mamba-1: forward and backward.
//!
//! Per channel and token `h = h exp(dt a) + dt x B` and `y = C h + D x`, with
//! channels in lanes. The forward pass keeps the state before every chunk of
//! tokens; the backward pass walks the chunks from the last to the first, each
//! forwards again and then back.
//!
//! The gradients of B and C are sums over channels. A tile of sixteen channels
//! adds its lanes, and tiles are added in order; so that this takes little
//! memory, the backward pass goes through the tokens in waves, at whose ends
//! all tiles meet.

mod backward;
mod forward;

use super::pieces::{Chunk, chunks};
use crate::Compute;
use crate::isa::{LANES, Simd};
use crate::memory::Buffer;
use crate::scratch;
use crate::spread::{read, write};
use crate::threads::Shards;
use std::ops::Range;

/// Tokens between states that are kept.
const CHUNK: usize = 64;
/// State rows walked together: sixteen lanes of four rows of four tokens are
/// what is summed at once.
const ROWS: usize = 4;
/// Tokens of a wave, and a chunk more at most.
const WAVE: usize = 512;
/// Tokens of one piece of the sum over tiles.
const TOKENS: usize = 32;

/// Sizes of a Mamba-1 recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectiveDims {
    /// Channels.
    pub d_inner: usize,
    /// State elements per channel.
    pub d_state: usize,
}

impl SelectiveDims {
    fn tiles(&self) -> usize {
        self.d_inner.div_ceil(LANES)
    }

    /// State rows, filled up with rows of zeros.
    fn rows(&self) -> usize {
        self.d_state.next_multiple_of(ROWS)
    }

    /// First column and width of a tile.
    fn columns(&self, tile: usize) -> (usize, usize) {
        let column = tile * LANES;
        (column, LANES.min(self.d_inner - column))
    }

    /// `a: [d_inner, d_state]` as `[tile][row][lane]`.
    fn turned(&self, a: &[f32]) -> Vec<f32> {
        let rows = self.rows();
        let mut turned = vec![0.0; self.tiles() * rows * LANES];
        for (c, row) in a.chunks_exact(self.d_state.max(1)).enumerate() {
            for (n, v) in row.iter().enumerate() {
                turned[(c / LANES * rows + n) * LANES + c % LANES] = *v;
            }
        }
        turned
    }

    /// Scratch of one piece, in floats.
    fn scratch(&self) -> usize {
        // dt, dt x and two sums per token; states and decays of four rows; B, C.
        CHUNK * LANES * 5 + 2 * CHUNK * ROWS * LANES + 2 * CHUNK * self.rows()
    }
}

/// What [`selective_forward`] keeps for [`selective_backward`]. It may serve
/// many calls; its memory grows to the largest.
#[derive(Debug, Default)]
pub struct SelectiveSaved {
    /// The state before each chunk, `[chunk][tile][row][lane]`.
    states: Buffer<f32>,
}

#[derive(Clone, Copy)]
struct Inputs<'a> {
    dims: &'a SelectiveDims,
    x: &'a [f32],
    dt: &'a [f32],
    b: &'a [f32],
    c: &'a [f32],
    bc_stride: usize,
    /// `[tile][row][lane]`.
    a: &'a [f32],
    skip: &'a [f32],
}

impl Inputs<'_> {
    fn check(&self, lens: &[usize], a: usize, y: usize) -> usize {
        let SelectiveDims { d_inner, d_state } = *self.dims;
        let tokens: usize = lens.iter().sum();
        assert!(
            self.x.len().min(self.dt.len()).min(y) >= tokens * d_inner,
            "rows missing"
        );
        let last = tokens.saturating_sub(1) * self.bc_stride + d_state;
        assert!(
            tokens == 0 || self.b.len().min(self.c.len()) >= last,
            "rows of B or C missing"
        );
        assert!(
            a == d_inner * d_state && self.skip.len() == d_inner,
            "decay or skip of odd shape"
        );
        tokens
    }

    fn cycles(&self, tokens: usize) -> usize {
        tokens * self.dims.tiles() * self.dims.rows() * 10
    }
}

/// Runs the recurrence over every sequence, from a zero state.
///
/// - `x, dt, y: [tokens, d_inner]`, dt after softplus;
/// - `b, c`: row t is `[t * bc_stride..][..d_state]`;
/// - `a: [d_inner, d_state]`, negative; `skip: [d_inner]`: D.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn selective_forward(
    cx: &Compute,
    dims: &SelectiveDims,
    lens: &[usize],
    x: &[f32],
    dt: &[f32],
    b: &[f32],
    c: &[f32],
    bc_stride: usize,
    a: &[f32],
    skip: &[f32],
    y: &mut [f32],
    saved: &mut SelectiveSaved,
) {
    let turned = dims.turned(a);
    let inputs = Inputs {
        dims,
        x,
        dt,
        b,
        c,
        bc_stride,
        a: &turned,
        skip,
    };
    let tokens = inputs.check(lens, a.len(), y.len());
    let chunks = chunks(lens, CHUNK);
    let len = chunks.len() * turned.len();
    if saved.states.len() < len {
        saved.states = Buffer::zeroed(len);
    }
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (i, chunk) in chunks.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if chunks[run.start].sequence == chunk.sequence => run.end = i + 1,
            _ => runs.push(i..i + 1),
        }
    }
    let (y, states) = (Shards::new(y), Shards::new(&mut saved.states));
    let tiles = dims.tiles();
    cx.spread(runs.len() * tiles, inputs.cycles(tokens), &|i| {
        scratch::with(dims.scratch(), |memory| {
            cx.isa.dispatch_float(forward::Forward {
                inputs,
                chunks: &chunks,
                run: runs[i / tiles].clone(),
                tile: i % tiles,
                y: &y,
                states: &states,
                memory,
            });
        });
    });
}

/// The gradients of [`selective_forward`], whose `saved` it needs: those of x,
/// dt, B and C are written (the last two in rows every `dbc_stride`), `da` and
/// `dskip` are added to.
///
/// # Panics
/// If a slice is shorter than its shape says or `saved` is of another call.
#[allow(
    clippy::too_many_arguments,
    reason = "the inputs, and a gradient for each"
)]
pub fn selective_backward(
    cx: &Compute,
    dims: &SelectiveDims,
    lens: &[usize],
    x: &[f32],
    dt: &[f32],
    b: &[f32],
    c: &[f32],
    bc_stride: usize,
    a: &[f32],
    skip: &[f32],
    saved: &mut SelectiveSaved,
    dy: &[f32],
    dx: &mut [f32],
    ddt: &mut [f32],
    db: &mut [f32],
    dc: &mut [f32],
    dbc_stride: usize,
    da: &mut [f32],
    dskip: &mut [f32],
) {
    let turned = dims.turned(a);
    let inputs = Inputs {
        dims,
        x,
        dt,
        b,
        c,
        bc_stride,
        a: &turned,
        skip,
    };
    let tokens = inputs.check(lens, a.len(), dy.len().min(dx.len()).min(ddt.len()));
    assert!(dbc_stride >= dims.d_state, "rows that overlap");
    assert!(
        da.len() == a.len() && dskip.len() == skip.len(),
        "gradients of another shape"
    );
    let chunks = chunks(lens, CHUNK);
    let (tiles, rows) = (dims.tiles(), dims.rows());
    assert!(
        saved.states.len() >= chunks.len() * turned.len(),
        "saved by another forward pass"
    );
    // Per tile: gradients of a (by row) and D, and of the state to come.
    let mut sums = vec![0.0; tiles * (rows + 1) * LANES];
    let mut carry = vec![0.0; turned.len()];
    let mut partials = Buffer::zeroed(tiles * (WAVE + CHUNK).min(tokens) * 2 * rows);
    let (dx, ddt) = (Shards::new(dx), Shards::new(ddt));
    let (db, dc) = (Shards::new(db), Shards::new(dc));
    for wave in waves(&chunks).into_iter().rev() {
        let span = chunks[wave.start].tokens.start..chunks[wave.end - 1].tokens.end;
        let room = tiles * span.len() * 2 * rows;
        let cycles = 3 * inputs.cycles(span.len());
        let shared = (Shards::new(&mut sums), Shards::new(&mut carry));
        let shards = Shards::new(&mut partials[..room]);
        cx.spread(tiles, cycles, &|tile| {
            let len = span.len() * 2 * rows;
            scratch::with(dims.scratch(), |memory| {
                cx.isa.dispatch_float(backward::Backward {
                    inputs,
                    chunks: &chunks[wave.clone()],
                    first: wave.start,
                    tile,
                    states: &saved.states,
                    dy,
                    dx: &dx,
                    ddt: &ddt,
                    // SAFETY: these three belong to this tile.
                    partials: unsafe { shards.slice(tile * len, len) },
                    // SAFETY: as above.
                    sums: unsafe {
                        shared
                            .0
                            .slice(tile * (rows + 1) * LANES, (rows + 1) * LANES)
                    },
                    // SAFETY: as above.
                    carry: unsafe { shared.1.slice(tile * rows * LANES, rows * LANES) },
                    memory,
                });
            });
        });
        let partials = &partials[..room];
        cx.spread(span.len().div_ceil(TOKENS), room / LANES * 2, &|i| {
            let some = i * TOKENS..span.len().min((i + 1) * TOKENS);
            cx.isa.dispatch_float(backward::Gather {
                dims,
                partials,
                wave: &span,
                tokens: some,
                db: &db,
                dc: &dc,
                stride: dbc_stride,
            });
        });
    }
    for c in 0..dims.d_inner {
        let own = &sums[c / LANES * (rows + 1) * LANES + c % LANES..];
        for n in 0..dims.d_state {
            da[c * dims.d_state + n] += own[n * LANES];
        }
        dskip[c] += own[rows * LANES];
    }
}

/// Chunks taken together until they have a wave's tokens.
fn waves(chunks: &[Chunk]) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for (i, chunk) in chunks.iter().enumerate() {
        tokens += chunk.tokens.len();
        if tokens >= WAVE || i + 1 == chunks.len() {
            all.push(start..i + 1);
            (start, tokens) = (i + 1, 0);
        }
    }
    all
}

/// One tile's inputs of one chunk.
struct Steps<'a> {
    /// Per token.
    dt: &'a mut [f32],
    dtx: &'a mut [f32],
    /// B and C, `[token][row]`.
    b: &'a mut [f32],
    c: &'a mut [f32],
}

impl Steps<'_> {
    #[inline(always)]
    fn fill<S: Simd>(&mut self, s: S, inputs: &Inputs<'_>, tile: usize, tokens: &Range<usize>) {
        let (column, width) = inputs.dims.columns(tile);
        let SelectiveDims { d_inner, d_state } = *inputs.dims;
        let rows = inputs.dims.rows();
        for (i, t) in tokens.clone().enumerate() {
            let dt = read(s, &inputs.dt[t * d_inner + column..][..width], 0);
            let x = read(s, &inputs.x[t * d_inner + column..][..width], 0);
            write(s, self.dt, i * LANES, dt);
            write(s, self.dtx, i * LANES, s.mul(dt, x));
            for (from, to) in [(inputs.b, &mut *self.b), (inputs.c, &mut *self.c)] {
                let to = &mut to[i * rows..][..rows];
                to[..d_state].copy_from_slice(&from[t * inputs.bc_stride..][..d_state]);
                to[d_state..].fill(0.0);
            }
        }
    }
}

/// Rates of four rows, for exponents of two.
#[inline(always)]
fn rates<S: Simd>(s: S, inputs: &Inputs<'_>, tile: usize, first: usize) -> [S::F; ROWS] {
    let mut rates = [s.splat(0.0); ROWS];
    for r in 0..ROWS {
        let at = (tile * inputs.dims.rows() + first + r) * LANES;
        rates[r] = s.mul(read(s, inputs.a, at), s.splat(std::f32::consts::LOG2_E));
    }
    rates
}

/// Scratch as a chunk's steps, a vector per token for outputs, and the rest.
fn parts(memory: &mut [f32], rows: usize) -> (Steps<'_>, &mut [f32], &mut [f32]) {
    let (dt, memory) = memory.split_at_mut(CHUNK * LANES);
    let (dtx, memory) = memory.split_at_mut(CHUNK * LANES);
    let (y, memory) = memory.split_at_mut(CHUNK * LANES);
    let (b, memory) = memory.split_at_mut(CHUNK * rows);
    let (c, memory) = memory.split_at_mut(CHUNK * rows);
    (Steps { dt, dtx, b, c }, y, memory)
}

#[cfg(test)]
mod tests;
