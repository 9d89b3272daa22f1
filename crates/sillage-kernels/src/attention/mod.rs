//! Causal attention over a paged KV cache.
//!
//! A query meets the keys in pages of [`PAGE`] positions, in ascending order,
//! with a running maximum and sum (online softmax). Every [`SPAN`] absolute
//! positions that sum starts afresh, and the spans' results are merged in
//! ascending order. Pages and spans lie at absolute positions, so a query's
//! arithmetic depends on its own position alone: the same in a prefill and in
//! a decoding step, whole or split between threads span by span.

mod block;
mod pages;

use crate::Compute;
use crate::isa::LANES;
use crate::scratch;
use crate::threads::Shards;
use block::{Block, Merge, Walk};
pub use pages::{KvShape, PAGE, PageMut, PageRef, write_kv};
use std::ops::Range;

/// Positions whose keys are summed together before they are merged.
const SPAN: usize = 16 * PAGE;
/// Rows (queries times heads that share keys) of one block: enough that a page
/// fetched into the first-level cache is used many times over.
const BLOCK_ROWS: usize = 48;
/// Blocks per thread below which a deep cache is also split by spans.
const BLOCKS_PER_THREAD: usize = 8;

/// Queries that follow each other, and the pages they see.
#[derive(Debug)]
pub struct AttendSegment<'a> {
    /// Rows of `q` and `out`.
    pub tokens: Range<usize>,
    /// Absolute position of the first of `tokens`.
    pub start: usize,
    /// Absolute index of `pages[0]`: it holds positions from `first_page * PAGE`.
    pub first_page: usize,
    /// The pages, up to and including the last token's.
    pub pages: Vec<PageRef<'a>>,
}

/// Sizes and constants of an attention layer.
#[derive(Clone, Copy, Debug)]
pub struct AttendShape {
    /// Query heads; a multiple of `kv.kv_heads`.
    pub heads: usize,
    /// Heads and sizes of the cache.
    pub kv: KvShape,
    /// Factor of the scores.
    pub scale: f32,
    /// Query i sees positions `j` with `i - window < j <= i`.
    pub window: Option<usize>,
    /// Scores become `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
}

impl AttendShape {
    /// Query heads that share a key head.
    fn shared(&self) -> usize {
        self.heads / self.kv.kv_heads
    }

    /// The first position that a query at `position` sees.
    fn first_seen(&self, position: usize) -> usize {
        self.window
            .map_or(0, |window| (position + 1).saturating_sub(window.max(1)))
    }

    /// The keys that `queries` queries from position `start` on see, in all.
    fn seen(&self, start: usize, queries: usize) -> u64 {
        let window = self.window.map_or(usize::MAX, |window| window.max(1));
        // Those that see every key before them, and those that see a window.
        let growing = window.saturating_sub(start + 1).min(queries);
        let (start, all, growing) = (start as u64, queries as u64, growing as u64);
        let full = match all - growing {
            0 => 0,
            full => full * window as u64,
        };
        growing * (start + 1) + growing * growing.saturating_sub(1) / 2 + full
    }
}

/// Attention of `q: [m, heads * head_dim]` over each segment's pages, into
/// `out` of the same shape. The keys and values of the segments' own tokens
/// must already be in the pages.
///
/// # Panics
/// If a slice is shorter than its shape says, a page a query needs is missing
/// or of another shape, or segments share rows.
pub fn attend(
    cx: &Compute,
    shape: &AttendShape,
    q: &[f32],
    segments: &[AttendSegment<'_>],
    out: &mut [f32],
) {
    check(shape, q, segments, out.len());
    for segment in segments {
        let keys = shape.seen(segment.start, segment.tokens.len());
        cx.counters.attention(keys, shape.heads, shape.kv.head_dim);
    }
    let plan = Plan::new(cx, shape, segments);
    let mut parts = vec![0.0; plan.part_rows * part_len(shape)];
    let parts = Shards::new(&mut parts);
    let out = Shards::new(out);
    let block = |item: &Item| Block {
        shape,
        q,
        segment: &segments[item.segment],
        head: item.head,
        rows: item.rows.clone(),
    };
    cx.spread(plan.pieces.len(), plan.cycles, &|i| {
        let (item, spans, at) = &plan.pieces[i];
        let block = block(item);
        scratch::with(block.scratch_len(), |memory| {
            let part = at.map(|at| {
                let len = block.rows.len() * part_len(shape);
                // SAFETY: every part has its own place.
                unsafe { parts.slice(at * part_len(shape), len) }
            });
            let spans = spans.clone();
            cx.isa.dispatch_float(Walk {
                block,
                spans,
                memory,
                part,
                out: &out,
            });
        });
    });
    cx.spread(
        plan.merges.len(),
        plan.part_rows * part_len(shape) / 4,
        &|i| {
            let (item, spans, at) = &plan.merges[i];
            let block = block(item);
            let len = spans.len() * block.rows.len() * part_len(shape);
            // SAFETY: the parts of one block, which nobody else uses any more.
            let parts = unsafe { parts.slice(at * part_len(shape), len) };
            cx.isa.dispatch_float(Merge {
                block,
                spans: spans.clone(),
                parts,
                out: &out,
            });
        },
    );
}

fn check(shape: &AttendShape, q: &[f32], segments: &[AttendSegment<'_>], out: usize) {
    let KvShape { kv_heads, head_dim } = shape.kv;
    assert!(
        kv_heads > 0 && shape.heads.is_multiple_of(kv_heads),
        "kv heads must divide heads"
    );
    crate::spread::assert_disjoint(segments.iter().map(|s| &s.tokens));
    for segment in segments.iter().filter(|s| !s.tokens.is_empty()) {
        let end = segment.tokens.end * shape.heads * head_dim;
        assert!(end <= q.len() && end <= out, "rows missing");
        let last = segment.start + segment.tokens.len() - 1;
        assert!(
            segment.first_page * PAGE <= shape.first_seen(segment.start),
            "first page missing"
        );
        assert!(
            last / PAGE < segment.first_page + segment.pages.len(),
            "last page missing"
        );
        let len = shape.kv.page_len();
        assert!(
            segment.pages.iter().all(|p| p.len() == len),
            "page of another shape"
        );
    }
}

/// Floats a row needs between spans: the maximum (sixteen times), sixteen
/// partial sums, and the weighted sum of the values.
fn part_len(shape: &AttendShape) -> usize {
    2 * LANES + shape.kv.padded()
}

/// Some rows of one segment against one key head.
#[derive(Clone, Debug)]
struct Item {
    segment: usize,
    head: usize,
    /// Rows, counted as (query of the segment) * shared heads + head.
    rows: Range<usize>,
}

/// The work of a call. How it is cut changes no result.
#[derive(Default)]
struct Plan {
    /// Rows, the spans to walk, and where to leave a part (in rows), if the
    /// block is walked in parts.
    pieces: Vec<(Item, Range<usize>, Option<usize>)>,
    /// Blocks walked in parts, their spans, and where these begin.
    merges: Vec<(Item, Range<usize>, usize)>,
    part_rows: usize,
    cycles: usize,
}

impl Plan {
    fn new(cx: &Compute, shape: &AttendShape, segments: &[AttendSegment<'_>]) -> Self {
        let mut plan = Self::default();
        let shared = shape.shared();
        let step = (BLOCK_ROWS / shared).max(1);
        for (i, segment) in segments.iter().enumerate() {
            let queries = segment.tokens.len();
            let blocks = queries.div_ceil(step) * shape.kv.kv_heads;
            let few = blocks < BLOCKS_PER_THREAD * cx.pool.threads();
            // Late blocks see most keys: starting with them evens the end out.
            for first in (0..queries).step_by(step).rev() {
                let end = queries.min(first + step);
                let (low, high) = (segment.start + first, segment.start + end - 1);
                let spans = shape.first_seen(low) / SPAN..high / SPAN + 1;
                let keys = high + 1 - shape.first_seen(low);
                plan.cycles += keys * (end - first) * shape.heads * shape.kv.head_dim / 8;
                for head in 0..shape.kv.kv_heads {
                    let rows = first * shared..end * shared;
                    plan.push(
                        Item {
                            segment: i,
                            head,
                            rows,
                        },
                        spans.clone(),
                        few,
                    );
                }
            }
        }
        plan
    }

    fn push(&mut self, item: Item, spans: Range<usize>, few: bool) {
        if !few || spans.len() == 1 {
            self.pieces.push((item, spans, None));
            return;
        }
        self.merges
            .push((item.clone(), spans.clone(), self.part_rows));
        for span in spans {
            self.pieces
                .push((item.clone(), span..span + 1, Some(self.part_rows)));
            self.part_rows += item.rows.len();
        }
    }
}

#[cfg(test)]
mod tests;
