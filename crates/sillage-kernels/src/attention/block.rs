//! A block of queries against pages of keys and values.

use super::{AttendSegment, AttendShape, PAGE, PageRef, SPAN, part_len};
use crate::isa::{Kernel, LANES, Simd};
use crate::math;
use crate::scan::Element;
use crate::spread::{read, write};
use crate::threads::Shards;
use std::ops::Range;

/// Rows that share each load of keys or values.
const TILE: usize = 4;
/// In a row's part: where the partial sums and the weighted values begin.
const SUMS: usize = LANES;
const VALUES: usize = 2 * LANES;

/// Queries (times the heads that share keys) and what they see.
pub(super) struct Block<'a> {
    pub(super) shape: &'a AttendShape,
    pub(super) q: &'a [f32],
    pub(super) segment: &'a AttendSegment<'a>,
    /// The key head.
    pub(super) head: usize,
    pub(super) rows: Range<usize>,
}

/// Walks `spans` and leaves the last one's part, if one is wanted, or else
/// merges them and writes the rows' output.
pub(super) struct Walk<'a> {
    pub(super) block: Block<'a>,
    pub(super) spans: Range<usize>,
    pub(super) memory: &'a mut [f32],
    pub(super) part: Option<&'a mut [f32]>,
    pub(super) out: &'a Shards<f32>,
}

/// Merges the parts of `spans` and writes the rows' output.
pub(super) struct Merge<'a> {
    pub(super) block: Block<'a>,
    pub(super) spans: Range<usize>,
    pub(super) parts: &'a mut [f32],
    pub(super) out: &'a Shards<f32>,
}

impl Kernel for Walk<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            block,
            spans,
            memory,
            part: wanted,
            out,
        } = self;
        let len = block.rows.len() * part_len(block.shape);
        let (total, memory) = memory.split_at_mut(len);
        let (part, weights) = memory.split_at_mut(len);
        for span in spans.clone() {
            block.span(s, span, part, weights);
            if wanted.is_none() {
                block.merge(s, span, total, part);
            }
        }
        match wanted {
            Some(wanted) => wanted.copy_from_slice(part),
            None => block.finish(s, total, out),
        }
    }
}

impl Kernel for Merge<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let len = self.block.rows.len() * part_len(self.block.shape);
        let (total, mut rest) = self.parts.split_at_mut(len);
        for span in self.spans.start + 1..self.spans.end {
            let (part, after) = rest.split_at_mut(len);
            self.block.merge(s, span, total, part);
            rest = after;
        }
        self.block.finish(s, total, self.out);
    }
}

/// One head's keys and values in a page.
#[derive(Clone, Copy)]
struct Head<E> {
    k: *const E,
    v: *const E,
    /// What is fetched ahead while the keys are walked: the values, unless the
    /// page is the last and may be nearly empty; and while the values are
    /// walked: the following page's keys.
    during_k: *const E,
    during_v: *const E,
    /// Elements per key; and per value, padded.
    dim: usize,
    padded: usize,
}

/// What a row does with a page: which slots it sees.
#[derive(Clone, Copy, Default)]
struct Seen {
    from: usize,
    to: usize,
}

impl Block<'_> {
    pub(super) fn scratch_len(&self) -> usize {
        self.rows.len() * (2 * part_len(self.shape) + PAGE)
    }

    #[inline(always)]
    fn position(&self, row: usize) -> usize {
        self.segment.start + row / self.shape.shared()
    }

    /// Slots of a page that begins at position `page` seen from `row`.
    #[inline(always)]
    fn seen(&self, row: usize, page: usize) -> Seen {
        let position = self.position(row);
        let from = self
            .shape
            .first_seen(position)
            .saturating_sub(page)
            .min(PAGE);
        let to = (position + 1).saturating_sub(page).min(PAGE);
        Seen { from, to }
    }

    /// Where a row lies in `q` and in the output.
    #[inline(always)]
    fn at(&self, row: usize) -> usize {
        let shared = self.shape.shared();
        let token = self.segment.tokens.start + row / shared;
        let head = self.head * shared + row % shared;
        (token * self.shape.heads + head) * self.shape.kv.head_dim
    }

    /// All rows against the keys of one span, from nothing, into `part`.
    #[inline(always)]
    fn span<S: Simd>(&self, s: S, span: usize, part: &mut [f32], weights: &mut [f32]) {
        for row in part.chunks_exact_mut(part_len(self.shape)) {
            row.fill(0.0);
            row[..LANES].fill(f32::NEG_INFINITY);
        }
        let first = self
            .shape
            .first_seen(self.position(self.rows.start))
            .max(span * SPAN);
        let last = self.position(self.rows.end - 1).min((span + 1) * SPAN - 1);
        for page in first / PAGE..last / PAGE + 1 {
            let page_start = page * PAGE;
            let page = page - self.segment.first_page;
            let next = self.segment.pages.get(page + 1);
            match self.segment.pages[page] {
                PageRef::F32(data) => {
                    let next = if let Some(PageRef::F32(next)) = next {
                        Some(*next)
                    } else {
                        None
                    };
                    self.page(s, page_start, self.head(data, next), part, weights);
                }
                PageRef::Bf16(data) => {
                    let next = if let Some(PageRef::Bf16(next)) = next {
                        Some(*next)
                    } else {
                        None
                    };
                    self.page(s, page_start, self.head(data, next), part, weights);
                }
            }
        }
    }

    /// This block's head in a page.
    #[inline(always)]
    fn head<E>(&self, page: &[E], next: Option<&[E]>) -> Head<E> {
        let kv = &self.shape.kv;
        let (dim, padded) = (kv.head_dim, kv.padded());
        let keys = kv.keys(self.head)..kv.keys(self.head) + dim * PAGE;
        let values = kv.values(self.head)..kv.values(self.head) + padded * PAGE;
        let (k, v) = (page[keys.clone()].as_ptr(), page[values].as_ptr());
        // Without a next page, what is fetched again is here already.
        let (during_k, during_v) = match next {
            Some(next) => (v, next[keys].as_ptr()),
            None => (k, v),
        };
        Head {
            k,
            v,
            during_k,
            during_v,
            dim,
            padded,
        }
    }

    /// All rows that see something of the page beginning at position `start`.
    #[inline(always)]
    fn page<S: Simd, E: Element>(
        &self,
        s: S,
        start: usize,
        head: Head<E>,
        part: &mut [f32],
        weights: &mut [f32],
    ) {
        // Rows ascend by position: those that do see something are a range.
        let mut rows = self.rows.clone();
        while rows.start < rows.end && self.seen(rows.start, start).to == 0 {
            rows.start += 1;
        }
        while rows.start < rows.end && self.seen(rows.end - 1, start).from == PAGE {
            rows.end -= 1;
        }
        let wide = S::REGISTERS >= 8;
        let tile = if wide { TILE } else { 1 };
        let mut row = rows.start;
        while row < rows.end {
            let count = (rows.end - row).min(tile);
            match count {
                4 if wide => self.scores::<S, E, 4>(s, row, head, weights),
                3 if wide => self.scores::<S, E, 3>(s, row, head, weights),
                2 if wide => self.scores::<S, E, 2>(s, row, head, weights),
                _ => self.scores::<S, E, 1>(s, row, head, weights),
            }
            for row in row..row + count {
                self.softmax(s, row, self.seen(row, start), part, weights);
            }
            row += count;
        }
        let mut row = rows.start;
        while row < rows.end {
            let count = (rows.end - row).min(tile);
            self.values(s, row..row + count, start, head, part, weights);
            row += count;
        }
    }

    /// Dot products of `R` rows with all keys of a page, into `weights`.
    #[inline(always)]
    fn scores<S: Simd, E: Element, const R: usize>(
        &self,
        s: S,
        row: usize,
        head: Head<E>,
        weights: &mut [f32],
    ) {
        let mut q = [std::ptr::null(); R];
        for i in 0..R {
            q[i] = self.q[self.at(row + i)..][..head.dim].as_ptr();
        }
        let weights = &mut weights[(row - self.rows.start) * PAGE..][..R * PAGE];
        // SAFETY: each of `q` has `dim` elements, `weights` a page's slots per
        // row, and the keys `PAGE / 16` groups of `dim` vectors.
        unsafe {
            let to = weights.as_mut_ptr();
            if S::REGISTERS >= 32 {
                dots::<S, E, R, 4>(s, q, head, 0, to);
            } else {
                for group in 0..PAGE / LANES {
                    dots::<S, E, R, 1>(s, q, head, group, to);
                }
            }
        }
    }

    /// Turns a row's dot products into weights and advances its maximum and
    /// sums; slots it does not see weigh exactly nothing.
    #[inline(always)]
    fn softmax<S: Simd>(
        &self,
        s: S,
        row: usize,
        seen: Seen,
        part: &mut [f32],
        weights: &mut [f32],
    ) {
        let row = row - self.rows.start;
        let weights = &mut weights[row * PAGE..][..PAGE];
        let part = &mut part[row * part_len(self.shape)..][..part_len(self.shape)];
        let mut scores = [s.splat(0.0); PAGE / LANES];
        let lowest = s.splat(f32::NEG_INFINITY);
        let mut top = lowest;
        for i in 0..PAGE / LANES {
            let mut v = s.mul(read(s, weights, i * LANES), s.splat(self.shape.scale));
            if let Some(cap) = self.shape.softcap {
                v = s.mul(s.splat(cap), math::tanh(s, s.div(v, s.splat(cap))));
            }
            if seen.from > 0 || seen.to < PAGE {
                let slot = read(s, &SLOTS, i * LANES);
                v = s.select_gt(s.splat(seen.to as f32), slot, v, lowest);
                v = s.select_gt(s.splat(seen.from as f32), slot, lowest, v);
            }
            scores[i] = v;
            top = s.max(top, v);
        }
        let before = read(s, part, 0);
        let now = s.max(before, s.splat(s.largest(top)));
        let fade = math::exp(s, s.sub(before, now));
        let mut sum = s.splat(0.0);
        for i in 0..PAGE / LANES {
            let weight = math::exp(s, s.sub(scores[i], now));
            write(s, weights, i * LANES, weight);
            sum = s.add(sum, weight);
        }
        write(s, part, 0, now);
        let sum = s.fma(read(s, part, SUMS), fade, sum);
        write(s, part, SUMS, sum);
        for i in (VALUES..part.len()).step_by(LANES) {
            write(s, part, i, s.mul(read(s, part, i), fade));
        }
    }

    /// Adds a page's weighted values to at most [`TILE`] rows, slots ascending.
    ///
    /// Slots seen by all rows are walked together; what the first rows see
    /// before and the last rows see after these, row by row.
    #[inline(always)]
    fn values<S: Simd, E: Element>(
        &self,
        s: S,
        rows: Range<usize>,
        start: usize,
        head: Head<E>,
        part: &mut [f32],
        weights: &[f32],
    ) {
        let wide = S::REGISTERS >= 8;
        let (count, first) = (rows.len(), rows.start - self.rows.start);
        let stride = part_len(self.shape);
        let part = &mut part[first * stride..][..count * stride];
        let weights = &weights[first * PAGE..][..count * PAGE];
        let from = self.seen(rows.end - 1, start).from;
        let to = self.seen(rows.start, start).to.max(from);
        for step in 0..2 * count + 1 {
            let row = step % (count + 1);
            let (row, together, slots) = if step == count {
                (0, count, from..to)
            } else {
                let seen = self.seen(rows.start + row, start);
                let before = seen.from..seen.to.min(from);
                (
                    row,
                    1,
                    if step < count {
                        before
                    } else {
                        to.max(seen.from)..seen.to
                    },
                )
            };
            // SAFETY: a row of `part` has `padded` elements from `VALUES` on, one
            // of `weights` has `PAGE`, and all slots lie below `PAGE`.
            unsafe {
                let sums = part.as_mut_ptr().add(row * stride + VALUES);
                let weights = weights.as_ptr().add(row * PAGE);
                match together {
                    4 if wide => weigh::<S, E, 4>(s, head, slots, sums, stride, weights),
                    3 if wide => weigh::<S, E, 3>(s, head, slots, sums, stride, weights),
                    2 if wide => weigh::<S, E, 2>(s, head, slots, sums, stride, weights),
                    _ => weigh::<S, E, 1>(s, head, slots, sums, stride, weights),
                }
            }
        }
    }

    /// Merges a span's part into the total of the spans before it.
    #[inline(always)]
    fn merge<S: Simd>(&self, s: S, span: usize, total: &mut [f32], part: &[f32]) {
        let len = part_len(self.shape);
        for (i, row) in self.rows.clone().enumerate() {
            let total = &mut total[i * len..][..len];
            let part = &part[i * len..][..len];
            let position = self.position(row);
            if position < span * SPAN || self.shape.first_seen(position) >= (span + 1) * SPAN {
                continue;
            }
            if self.shape.first_seen(position) >= span * SPAN {
                total.copy_from_slice(part);
                continue;
            }
            let (before, other) = (read(s, total, 0), read(s, part, 0));
            let now = s.max(before, other);
            let fade = math::exp(s, s.sub(before, now));
            let other = math::exp(s, s.sub(other, now));
            write(s, total, 0, now);
            for i in (SUMS..len).step_by(LANES) {
                let v = s.mul(read(s, part, i), other);
                write(s, total, i, s.fma(read(s, total, i), fade, v));
            }
        }
    }

    /// Writes the rows' output.
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, total: &[f32], out: &Shards<f32>) {
        let len = part_len(self.shape);
        for (i, row) in self.rows.clone().enumerate() {
            let total = &total[i * len..][..len];
            let sum = s.splat(s.sum(read(s, total, SUMS)));
            let dim = self.shape.kv.head_dim;
            // SAFETY: every row of every head belongs to one block.
            let out = unsafe { out.slice(self.at(row), dim) };
            for i in (0..dim).step_by(LANES) {
                write(s, out, i, s.div(read(s, total, VALUES + i), sum));
            }
        }
    }
}

/// Asks for `N` vectors of elements from `at` on. The keys are walked while
/// these fetch the values, and the values while they fetch the next keys.
#[inline(always)]
fn fetch<S: Simd, E, const N: usize>(s: S, from: *const E, at: usize) {
    let from = from.wrapping_add(at).cast::<u8>();
    for line in 0..(N * LANES * size_of::<E>()).div_ceil(64) {
        s.prefetch(from.wrapping_add(line * 64));
    }
}

/// The numbers of a page's slots.
const SLOTS: [f32; PAGE] = {
    let mut slots = [0.0; PAGE];
    let mut i = 0;
    while i < PAGE {
        slots[i] = i as f32;
        i += 1;
    }
    slots
};

/// Dot products of `R` queries with the keys of `G` groups of sixteen slots
/// from `group` on; to `to: [R][PAGE]`. Each is one chain over the elements.
///
/// # Safety
/// `q` must have `dim` elements each, and `to` room as described.
#[inline(always)]
unsafe fn dots<S: Simd, E: Element, const R: usize, const G: usize>(
    s: S,
    q: [*const f32; R],
    head: Head<E>,
    group: usize,
    to: *mut f32,
) {
    // SAFETY: by the caller; `group + G` is at most the groups of a page.
    unsafe {
        let mut sums = [[s.splat(0.0); G]; R];
        let k = head.k.add(group * head.dim * LANES);
        for d in 0..head.dim {
            fetch::<S, E, G>(s, head.during_k, (d * (PAGE / LANES) + group) * LANES);
            let mut keys = [s.splat(0.0); G];
            for g in 0..G {
                keys[g] = E::load(s, k.add((g * head.dim + d) * LANES));
            }
            for r in 0..R {
                let q = s.splat(*q[r].add(d));
                for g in 0..G {
                    sums[r][g] = s.fma(q, keys[g], sums[r][g]);
                }
            }
        }
        for r in 0..R {
            for g in 0..G {
                s.store(to.add(r * PAGE + (group + g) * LANES), sums[r][g]);
            }
        }
    }
}

/// Adds the values of `slots`, weighted by `weights: [R][PAGE]`, to `R` rows of
/// sums that lie `stride` apart.
///
/// # Safety
/// Every row of sums must have `padded` elements; slots must lie below `PAGE`.
#[inline(always)]
unsafe fn weigh<S: Simd, E: Element, const R: usize>(
    s: S,
    head: Head<E>,
    slots: Range<usize>,
    sums: *mut f32,
    stride: usize,
    weights: *const f32,
) {
    if slots.is_empty() {
        return;
    }
    let vectors = head.padded / LANES;
    let mut i = 0;
    // SAFETY: by the caller; vectors below `vectors` lie in a row of `padded`.
    unsafe {
        while S::REGISTERS >= 32 && i + 4 <= vectors {
            weigh_columns::<S, E, R, 4>(s, head, slots.clone(), i, sums, stride, weights);
            i += 4;
        }
        while i < vectors {
            weigh_columns::<S, E, R, 1>(s, head, slots.clone(), i, sums, stride, weights);
            i += 1;
        }
    }
}

/// As [`weigh`], for `C` vectors of columns from vector `first` on.
///
/// # Safety
/// As [`weigh`].
#[inline(always)]
unsafe fn weigh_columns<S: Simd, E: Element, const R: usize, const C: usize>(
    s: S,
    head: Head<E>,
    slots: Range<usize>,
    first: usize,
    sums: *mut f32,
    stride: usize,
    weights: *const f32,
) {
    // SAFETY: by the caller.
    unsafe {
        let sums = sums.add(first * LANES);
        let v = head.v.add(first * LANES);
        let mut held = [[s.splat(0.0); C]; R];
        for r in 0..R {
            for c in 0..C {
                held[r][c] = s.load(sums.add(r * stride + c * LANES));
            }
        }
        for slot in slots {
            fetch::<S, E, C>(s, head.during_v, slot * head.padded + first * LANES);
            let mut values = [s.splat(0.0); C];
            for c in 0..C {
                values[c] = E::load(s, v.add(slot * head.padded + c * LANES));
            }
            for r in 0..R {
                let weight = s.splat(*weights.add(r * PAGE + slot));
                for c in 0..C {
                    held[r][c] = s.fma(weight, values[c], held[r][c]);
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                s.store(sums.add(r * stride + c * LANES), held[r][c]);
            }
        }
    }
}
