//! SSD, the recurrence of Mamba-2, over whole sequences at once.
//!
//! Per head and token `h = exp(dt a) h + dt x B^T` and `y = h C + D x`. A
//! sequence is cut into chunks (Dao and Gu 2024); within a chunk the recurrence
//! is a product with a lower triangular matrix of decays, and between chunks it
//! is a recurrence over their states. So there are three passes: what each
//! chunk adds to the state, the states at all boundaries, and the outputs of
//! each chunk. Only the states at the boundaries are kept for the backward
//! pass, which mirrors the three and computes the scores again.
//!
//! Here states are `[d_state, headdim]`. In all matrices within a chunk, tokens,
//! `headdim` and `d_state` are filled up with zeros to multiples of sixteen, so
//! that products know no edges. Matrices of pairs of tokens have the later token
//! in lanes.

mod backward;
mod forward;
mod inputs;
mod tile;

use super::pieces::{Chunk, add_partials, chunks};
use crate::Compute;
use crate::isa::{Kernel, LANES, Simd};
use crate::memory::Buffer;
use crate::scratch;
use crate::spread::{read, write};
use crate::threads::Shards;
use std::ops::Range;

/// Elements of a state that make one piece of the recurrence between chunks.
const PART: usize = 1024;

/// Sizes of a Mamba-2 recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SsdDims {
    /// Heads.
    pub heads: usize,
    /// Elements per head.
    pub headdim: usize,
    /// State elements per element of a head.
    pub d_state: usize,
    /// Groups of heads that share B and C; divides `heads`.
    pub n_groups: usize,
}

impl SsdDims {
    /// Elements of x and y per token.
    #[must_use]
    pub fn d_inner(&self) -> usize {
        self.heads * self.headdim
    }

    /// Columns of x, B and C together.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.d_inner() + 2 * self.n_groups * self.d_state
    }

    /// Tokens of a chunk.
    fn chunk(&self) -> usize {
        64
    }

    /// `headdim` and `d_state`, filled up.
    fn padded(&self) -> (usize, usize) {
        (
            self.headdim.next_multiple_of(LANES),
            self.d_state.next_multiple_of(LANES),
        )
    }

    /// Elements of one head's state, filled up.
    fn state(&self) -> usize {
        let (p, n) = self.padded();
        p * n
    }
}

/// What [`ssd_forward`] keeps for [`ssd_backward`]: the states between chunks.
/// It may serve many calls; its memory grows to the largest.
#[derive(Debug, Default)]
pub struct SsdSaved {
    /// The state before each chunk, `[chunks, heads, d_state, headdim]`.
    states: Buffer<f32>,
    /// The gradient of the state after each chunk.
    gradients: Buffer<f32>,
    /// How much of the state before a chunk is left after it, `[chunks, heads]`.
    decays: Buffer<f32>,
}

fn grow(buffer: &mut Buffer<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        *buffer = Buffer::zeroed(len);
    }
    &mut buffer[..len]
}

/// What both directions read.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    dims: &'a SsdDims,
    xbc: &'a [f32],
    dt: &'a [f32],
    a: &'a [f32],
    skip: &'a [f32],
}

impl Inputs<'_> {
    fn check(&self, lens: &[usize], y: usize) -> usize {
        let dims = self.dims;
        let tokens: usize = lens.iter().sum();
        assert!(
            dims.n_groups > 0 && dims.heads.is_multiple_of(dims.n_groups),
            "groups must divide heads"
        );
        assert!(
            self.xbc.len() >= tokens * dims.columns()
                && self.dt.len() >= tokens * dims.heads
                && y >= tokens * dims.d_inner(),
            "rows missing"
        );
        assert!(self.a.len() == dims.heads, "one decay per head");
        assert!(
            self.skip.len() == dims.heads || self.skip.len() == dims.d_inner(),
            "skip of odd shape"
        );
        tokens
    }
}

/// Runs the recurrence over every sequence, from a zero state.
///
/// - `xbc: [tokens, d_inner + 2 n_groups d_state]`: x, then B, then C;
/// - `dt: [tokens, heads]`, after softplus; `a: [heads]`, negative;
/// - `skip: [heads]` or `[d_inner]`: D;
/// - `y: [tokens, d_inner]`.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn ssd_forward(
    cx: &Compute,
    dims: &SsdDims,
    lens: &[usize],
    xbc: &[f32],
    dt: &[f32],
    a: &[f32],
    skip: &[f32],
    y: &mut [f32],
    saved: &mut SsdSaved,
) {
    let inputs = Inputs {
        dims,
        xbc,
        dt,
        a,
        skip,
    };
    let tokens = inputs.check(lens, y.len());
    let chunks = chunks(lens, dims.chunk());
    let SsdSaved { states, decays, .. } = saved;
    let states = Shards::new(grow(states, chunks.len() * dims.heads * dims.state()));
    let decays = Shards::new(grow(decays, chunks.len() * dims.heads));
    let cycles = tokens * dims.heads * dims.state() / 8;
    cx.spread(chunks.len(), cycles, &|i| {
        scratch::with(forward::local_scratch(dims), |memory| {
            cx.isa.dispatch_float(forward::Local {
                inputs,
                chunk: &chunks[i],
                index: i,
                states: &states,
                decays: &decays,
                memory,
            });
        });
    });
    carry(cx, dims, &chunks, &states, &decays, false);
    let y = Shards::new(y);
    cx.spread(chunks.len(), cycles, &|i| {
        scratch::with(forward::scratch(dims), |memory| {
            cx.isa.dispatch_float(forward::Outputs {
                inputs,
                chunk: &chunks[i],
                index: i,
                states: &states,
                y: &y,
                memory,
            });
        });
    });
}

/// The gradients of [`ssd_forward`], whose `saved` it needs: `dxbc` and `ddt`
/// are written, `da` and `dskip` are added to.
///
/// # Panics
/// If a slice is shorter than its shape says or `saved` is of another call.
#[allow(
    clippy::too_many_arguments,
    reason = "the inputs, and a gradient for each"
)]
pub fn ssd_backward(
    cx: &Compute,
    dims: &SsdDims,
    lens: &[usize],
    xbc: &[f32],
    dt: &[f32],
    a: &[f32],
    skip: &[f32],
    saved: &mut SsdSaved,
    dy: &[f32],
    dxbc: &mut [f32],
    ddt: &mut [f32],
    da: &mut [f32],
    dskip: &mut [f32],
) {
    let inputs = Inputs {
        dims,
        xbc,
        dt,
        a,
        skip,
    };
    let tokens = inputs.check(lens, dy.len());
    assert!(
        dxbc.len() >= tokens * dims.columns() && ddt.len() >= tokens * dims.heads,
        "rows missing"
    );
    assert!(
        da.len() == a.len() && dskip.len() == skip.len(),
        "gradients of another shape"
    );
    let chunks = chunks(lens, dims.chunk());
    let len = chunks.len() * dims.heads * dims.state();
    let SsdSaved {
        states,
        gradients,
        decays,
    } = saved;
    assert!(
        states.len() >= len && decays.len() >= chunks.len() * dims.heads,
        "saved by another forward pass"
    );
    let gradients = Shards::new(grow(gradients, len));
    let cycles = tokens * dims.heads * dims.state() / 8;
    cx.spread(chunks.len(), cycles, &|i| {
        scratch::with(backward::local_scratch(dims), |memory| {
            cx.isa.dispatch_float(backward::Local {
                inputs,
                chunk: &chunks[i],
                index: i,
                dy,
                gradients: &gradients,
                memory,
            });
        });
    });
    carry(cx, dims, &chunks, &gradients, &Shards::new(decays), true);
    let width = dims.heads + skip.len();
    let mut partials = vec![0.0; chunks.len() * width];
    let sums = Shards::new(&mut partials);
    let (dxbc, ddt) = (Shards::new(dxbc), Shards::new(ddt));
    cx.spread(chunks.len(), 4 * cycles, &|i| {
        scratch::with(backward::scratch(dims), |memory| {
            cx.isa.dispatch_float(backward::Chunked {
                inputs,
                chunk: &chunks[i],
                index: i,
                states,
                gradients: &gradients,
                dy,
                dxbc: &dxbc,
                ddt: &ddt,
                // SAFETY: each chunk has its own sums.
                sums: unsafe { sums.slice(i * width, width) },
                memory,
            });
        });
    });
    let mut both = vec![0.0; width];
    add_partials(cx, &partials, width, &mut both);
    let (first, rest) = both.split_at(dims.heads);
    da.iter_mut().zip(first).for_each(|(sum, add)| *sum += add);
    dskip
        .iter_mut()
        .zip(rest)
        .for_each(|(sum, add)| *sum += add);
}

/// Makes of what each chunk adds to the state the state before each chunk, or,
/// backwards, of what each chunk adds to the gradient of the state before it
/// the gradient of the state after each chunk.
fn carry(
    cx: &Compute,
    dims: &SsdDims,
    chunks: &[Chunk],
    states: &Shards<f32>,
    decays: &Shards<f32>,
    backwards: bool,
) {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (i, chunk) in chunks.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if chunks[run.start].sequence == chunk.sequence => run.end = i + 1,
            _ => runs.push(i..i + 1),
        }
    }
    let (heads, len) = (dims.heads, dims.state());
    let parts = len.div_ceil(PART);
    let cycles = chunks.len() * heads * len / 8;
    cx.spread(runs.len() * heads * parts, cycles, &|i| {
        let (run, rest) = (runs[i / (heads * parts)].clone(), i % (heads * parts));
        let (head, at) = (rest / parts, rest % parts * PART);
        cx.isa.dispatch_float(Carry {
            run,
            backwards,
            first: head * len + at,
            len: PART.min(len - at),
            stride: heads * len,
            states,
            decays,
            decay: (head, heads),
        });
    });
}

/// Part of the states of one head, through one sequence.
struct Carry<'a> {
    run: Range<usize>,
    backwards: bool,
    first: usize,
    len: usize,
    /// From chunk to chunk.
    stride: usize,
    states: &'a Shards<f32>,
    decays: &'a Shards<f32>,
    /// The first decay and the step to the next.
    decay: (usize, usize),
}

impl Kernel for Carry<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let count = self.run.len();
        let mut running = [0f32; PART];
        for step in 0..count {
            let back = if self.backwards {
                count - 1 - step
            } else {
                step
            };
            let chunk = self.run.start + back;
            let at = chunk * self.stride + self.first;
            // SAFETY: this part of the head's states in these chunks belongs to
            // this piece.
            let state = unsafe { self.states.slice(at, self.len) };
            // SAFETY: decays are only read here.
            let decay = unsafe { self.decays.slice(chunk * self.decay.1 + self.decay.0, 1)[0] };
            let decay = s.splat(decay);
            // What the last chunk adds is never computed, nor needed.
            let last = step + 1 == count;
            for i in (0..self.len).step_by(LANES) {
                let (before, own) = (read(s, &running, i), read(s, state, i));
                write(s, state, i, before);
                if !last {
                    write(s, &mut running, i, s.fma(decay, before, own));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
