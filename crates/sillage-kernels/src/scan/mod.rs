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
    /// after every token: so a split of the tokens still changes nothing. Rows
    /// `2 i` and `2 i + 1` of sixteen elements lie interleaved, element beside
    /// element (a last odd row alone).
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
            Job {
                tokens: segment.tokens.clone(),
                state,
            }
        })
        .collect()
}

/// What a state or a cache is stored as.
pub(crate) trait Element: Copy {
    /// # Safety
    /// Sixteen elements must be readable at `from`.
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::F;
    /// The value that a row in registers stands for.
    fn value<S: Simd>(s: S, row: S::F) -> S::F;
    /// A row for a value: what storing would make of it, if not bit for bit.
    fn row<S: Simd>(s: S, value: S::F) -> S::F;
    /// Loads `W` rows of a state.
    /// # Safety
    /// `W` rows of sixteen elements must be readable at `from`.
    unsafe fn load_rows<S: Simd, const W: usize>(s: S, from: *const Self) -> [S::F; W];
    /// Stores `W` rows of a state.
    /// # Safety
    /// `W` rows of sixteen elements must be writable at `to`.
    unsafe fn store_rows<S: Simd, const W: usize>(s: S, to: *mut Self, rows: [S::F; W]);
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::F {
        // SAFETY: by the caller.
        unsafe { s.load(from) }
    }
    #[inline(always)]
    fn value<S: Simd>(_: S, row: S::F) -> S::F {
        row
    }
    #[inline(always)]
    fn row<S: Simd>(_: S, value: S::F) -> S::F {
        value
    }
    #[inline(always)]
    unsafe fn load_rows<S: Simd, const W: usize>(s: S, from: *const Self) -> [S::F; W] {
        let mut rows = [s.splat(0.0); W];
        for i in 0..W {
            // SAFETY: by the caller.
            rows[i] = unsafe { s.load(from.add(i * LANES)) };
        }
        rows
    }
    #[inline(always)]
    unsafe fn store_rows<S: Simd, const W: usize>(s: S, to: *mut Self, rows: [S::F; W]) {
        for i in 0..W {
            // SAFETY: by the caller.
            unsafe { s.store(to.add(i * LANES), rows[i]) };
        }
    }
}

/// The upper halves of lanes: bfloat16. Rows in registers carry anything in
/// the lower halves, and rows are stored in pairs, lane beside lane, so that
/// neither loading nor storing has to widen or narrow vectors.
impl Element for u16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const Self) -> S::F {
        // SAFETY: by the caller.
        unsafe { s.load_bf16(from) }
    }
    #[inline(always)]
    fn value<S: Simd>(s: S, row: S::F) -> S::F {
        s.from_bits(s.int_and(s.bits(row), s.int(!0xffff)))
    }
    #[inline(always)]
    fn row<S: Simd>(s: S, value: S::F) -> S::F {
        // Nearest, ties away from zero: one operation, where ties to even would
        // take four, on every element of the state at every token.
        s.from_bits(s.int_add(s.bits(value), s.int(0x8000)))
    }
    #[inline(always)]
    unsafe fn load_rows<S: Simd, const W: usize>(s: S, from: *const Self) -> [S::F; W] {
        let mut rows = [s.splat(0.0); W];
        // SAFETY: by the caller; a pair is as long as a vector of f32.
        unsafe {
            if W == 1 {
                rows[0] = s.load_bf16(from);
            }
            for i in 0..W / 2 {
                let pair = s.load(from.add(2 * i * LANES).cast());
                rows[2 * i] = s.from_bits(s.int_shl::<16>(s.bits(pair)));
                rows[2 * i + 1] = pair;
            }
        }
        rows
    }
    #[inline(always)]
    unsafe fn store_rows<S: Simd, const W: usize>(s: S, to: *mut Self, rows: [S::F; W]) {
        // SAFETY: by the caller; a pair is as long as a vector of f32.
        unsafe {
            if W == 1 {
                s.store_bf16(to, Self::value(s, rows[0]));
            }
            for i in 0..W / 2 {
                let pair = s.join_upper(rows[2 * i], rows[2 * i + 1]);
                s.store(to.add(2 * i * LANES).cast(), pair);
            }
        }
    }
}

/// Calls `$tile::<width>(first)` for tiles that cover rows `$from..$to`: wide
/// ones as far as registers go, then narrow ones; only a last odd row is walked alone. The width of a tile
/// changes no result.
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
        while $first + 2 <= $to {
            const $W: usize = 2;
            $tile;
            $first += 2;
        }
        while $first < $to {
            const $W: usize = 1;
            $tile;
            $first += 1;
        }
    }};
}
use in_tiles;

#[cfg(test)]
mod tests;
