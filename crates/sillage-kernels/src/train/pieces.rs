//! How training kernels cut their work, and how they sum over the pieces.

use crate::Compute;
use crate::isa::{Kernel, LANES, Simd};
use crate::spread::{read, write};
use crate::threads::Shards;
use std::ops::Range;

/// Columns of one piece of a sum over partial rows.
const COLUMNS: usize = 256;
/// Rows that become one partial sum, at least.
const FEWEST: usize = 16;
/// Partial sums of one call, at most.
const MOST: usize = 128;

/// Tokens of one sequence that lie together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Its rows.
    pub(super) tokens: Range<usize>,
    /// The rows of the sequence it is part of.
    pub(super) sequence: Range<usize>,
}

/// The sequences of `lens` cut into chunks of `size` tokens, the last of each
/// shorter.
pub(super) fn chunks(lens: &[usize], size: usize) -> Vec<Chunk> {
    let mut all = Vec::with_capacity(lens.iter().map(|len| len.div_ceil(size)).sum());
    let mut start = 0;
    for len in lens {
        let sequence = start..start + len;
        all.extend(sequence.clone().step_by(size).map(|at| Chunk {
            tokens: at..sequence.end.min(at + size),
            sequence: sequence.clone(),
        }));
        start = sequence.end;
    }
    all
}

/// How many of `rows` rows to sum into one partial row: never so few that the
/// partial rows become work themselves, and by the number of rows alone.
pub(super) fn rows_per_partial(rows: usize) -> usize {
    rows.div_ceil(MOST).max(FEWEST)
}

/// Adds the rows of `partials: [_, width]` to `out`, first to last.
pub(super) fn add_partials(cx: &Compute, partials: &[f32], width: usize, out: &mut [f32]) {
    if width == 0 {
        return;
    }
    let count = partials.len() / width;
    let shards = Shards::new(&mut out[..width]);
    let cycles = count * width.div_ceil(LANES) * 2;
    cx.spread(width.div_ceil(COLUMNS), cycles, &|i| {
        let start = i * COLUMNS;
        // SAFETY: pieces are disjoint ranges.
        let out = unsafe { shards.slice(start, COLUMNS.min(width - start)) };
        let partials = &partials[start..];
        cx.isa.dispatch_float(AddPartials {
            partials,
            count,
            width,
            out,
        });
    });
}

struct AddPartials<'a> {
    partials: &'a [f32],
    count: usize,
    width: usize,
    out: &'a mut [f32],
}

impl Kernel for AddPartials<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let len = self.out.len();
        for i in (0..len).step_by(LANES) {
            let mut sum = s.splat(0.0);
            for row in 0..self.count {
                sum = s.add(sum, read(s, &self.partials[row * self.width..][..len], i));
            }
            write(s, self.out, i, s.add(read(s, self.out, i), sum));
        }
    }
}
