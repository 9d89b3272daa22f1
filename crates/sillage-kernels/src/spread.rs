//! Small helpers all kernels share: when to go parallel, and safe access to
//! vectors that may reach past the end of a row.

use crate::Compute;
use crate::isa::{LANES, Simd};

/// Entering a parallel region costs about a microsecond; work below this many
/// cycles (a rough estimate by the kernel) stays on the calling thread.
const WORTH_A_REGION: usize = 8_000;

impl Compute {
    /// Calls `work(i)` for `i` in `0..pieces`, on all threads if the whole is
    /// estimated at enough `cycles`. Where a piece runs never changes results.
    pub(crate) fn spread(&self, pieces: usize, cycles: usize, work: &(dyn Fn(usize) + Sync)) {
        if cycles < WORTH_A_REGION {
            for i in 0..pieces {
                work(i);
            }
        } else {
            self.pool.run(pieces, work);
        }
    }
}

/// Elements `i..i + 16` of `row`, zeros past its end.
#[inline(always)]
pub(crate) fn read<S: Simd>(s: S, row: &[f32], i: usize) -> S::F {
    let rest = &row[i..];
    // SAFETY: as many elements are read as `rest` has, at most sixteen.
    unsafe {
        if rest.len() >= LANES {
            s.load(rest.as_ptr())
        } else {
            s.load_first(rest.as_ptr(), rest.len())
        }
    }
}

/// Writes `v` to elements `i..i + 16` of `row`; lanes past its end are dropped.
#[inline(always)]
pub(crate) fn write<S: Simd>(s: S, row: &mut [f32], i: usize, v: S::F) {
    let rest = &mut row[i..];
    // SAFETY: as many elements are written as `rest` has, at most sixteen.
    unsafe {
        if rest.len() >= LANES {
            s.store(rest.as_mut_ptr(), v);
        } else {
            s.store_first(rest.as_mut_ptr(), v, rest.len());
        }
    }
}

/// Refuses segments that share rows: their outputs would overlap.
pub(crate) fn assert_disjoint<'a>(tokens: impl Iterator<Item = &'a std::ops::Range<usize>>) {
    let mut all: Vec<_> = tokens.filter(|t| !t.is_empty()).collect();
    all.sort_by_key(|t| t.start);
    for pair in all.windows(2) {
        assert!(pair[0].end <= pair[1].start, "segments share rows");
    }
}
