//! The recurrences: selective scan (Mamba-1) and SSD (Mamba-2).
//!
//! Both walk a tile of sixteen channels by up to sixteen state elements through
//! time with the state in registers, instead of streaming the whole state at
//! every token. The recurrence itself is taken token by token and never in
//! closed form over a chunk, so that a split of the tokens cannot show in the
//! result; a decoded token is a chunk of one.

mod selective;
mod ssd;

use crate::isa::{LANES, Simd};
use crate::threads::Shards;
pub use selective::{SelectiveShape, selective_scan};
pub use ssd::{SsdShape, ssd};
use std::ops::Range;

/// Tokens walked at a time; bounds the scratch, and changes no result.
const CHUNK: usize = 64;

/// A recurrent state to be advanced.
#[derive(Debug)]
pub enum StateMut<'a> {
    /// Kept as f32.
    F32(&'a mut [f32]),
    /// Kept as bfloat16, to which it is rounded (nearest, ties away from zero)
    /// after every token: so a split of the tokens still changes nothing.
    Bf16(&'a mut [u16]),
}

impl StateMut<'_> {
    /// Elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(s) => s.len(),
            Self::Bf16(s) => s.len(),
        }
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Tokens that follow each other, and the state they continue.
#[derive(Debug)]
pub struct ScanSegment<'a> {
    /// Rows of the inputs and outputs.
    pub tokens: Range<usize>,
    /// The state before the first token; the state after the last on return.
    pub state: StateMut<'a>,
}

/// A segment whose state several pieces of work share, each its own part.
struct Job {
    tokens: Range<usize>,
    state: JobState,
}

enum JobState {
    F32(Shards<f32>),
    Bf16(Shards<u16>),
}

/// The segments as jobs, checked: states of `len`, rows below `rows`, none shared.
fn jobs(segments: &mut [ScanSegment<'_>], len: usize, rows: usize) -> Vec<Job> {
    crate::spread::assert_disjoint(segments.iter().map(|s| &s.tokens));
    segments
        .iter_mut()
        .map(|segment| {
            assert_eq!(segment.state.len(), len, "scan state of another shape");
            assert!(segment.tokens.end <= rows, "segment past the last row");
            let state = match &mut segment.state {
                StateMut::F32(state) => JobState::F32(Shards::new(state)),
                StateMut::Bf16(state) => JobState::Bf16(Shards::new(state)),
            };
            Job { tokens: segment.tokens.clone(), state }
        })
        .collect()
}

/// What a state is stored as.
pub(crate) trait Element: Copy {
    /// # Safety
    /// Sixteen elements must be readable at `from`.
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::F;
    /// What becomes of a value by storing and loading it.
    fn round<S: Simd>(s: S, v: S::F) -> S::F;
    /// Stores values that are already rounded.
    /// # Safety
    /// Sixteen elements must be writable at `to`.
    unsafe fn store<S: Simd>(s: S, to: *mut Self, v: S::F);
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::F {
        // SAFETY: by the caller.
        unsafe { s.load(from) }
    }
    #[inline(always)]
    fn round<S: Simd>(_: S, v: S::F) -> S::F {
        v
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, to: *mut Self, v: S::F) {
        // SAFETY: by the caller.
        unsafe { s.store(to, v) }
    }
}

impl Element for u16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::F {
        // SAFETY: by the caller.
        unsafe { s.load_bf16(from) }
    }
    #[inline(always)]
    fn round<S: Simd>(s: S, v: S::F) -> S::F {
        // Two operations, where ties to even would take five on every element
        // of the state at every token.
        let up = s.int_add(s.bits(v), s.int(0x8000));
        s.from_bits(s.int_and(up, s.int(!0xffff)))
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, to: *mut Self, v: S::F) {
        // SAFETY: by the caller.
        unsafe { s.store_upper(to, v) }
    }
}

/// Calls `$tile::<width>(first)` for tiles that cover rows `$from..$to`: wide
/// ones as far as registers go, then narrow ones. The width of a tile changes
/// no result.
macro_rules! in_tiles {
    ($s:ident, $from:expr, $to:expr, |$first:ident, $W:ident| $tile:expr) => {{
        let mut $first = $from;
        if S::REGISTERS >= 32 {
            while $first + 16 <= $to {
                const $W: usize = 16;
                $tile;
                $first += 16;
            }
        }
        if S::REGISTERS >= 8 {
            while $first + 4 <= $to {
                const $W: usize = 4;
                $tile;
                $first += 4;
            }
        }
        while $first < $to {
            const $W: usize = 1;
            $tile;
            $first += 1;
        }
    }};
}
use in_tiles;

/// Loads `W` rows of a state.
///
/// # Safety
/// `W` rows of sixteen elements must be readable at `from`.
#[inline(always)]
unsafe fn load_rows<S: Simd, E: Element, const W: usize>(s: S, from: *const E) -> [S::F; W] {
    let mut rows = [s.splat(0.0); W];
    for i in 0..W {
        // SAFETY: by the caller.
        rows[i] = unsafe { E::load(s, from.add(i * LANES)) };
    }
    rows
}

/// Stores `W` rows of a state.
///
/// # Safety
/// `W` rows of sixteen elements must be writable at `to`.
#[inline(always)]
unsafe fn store_rows<S: Simd, E: Element, const W: usize>(s: S, to: *mut E, rows: [S::F; W]) {
    for i in 0..W {
        // SAFETY: by the caller.
        unsafe { E::store(s, to.add(i * LANES), rows[i]) };
    }
}

#[cfg(test)]
mod tests;
