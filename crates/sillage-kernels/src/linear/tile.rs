//! Tiles: a few tokens against one panel, all their sums in registers.

use super::Write;
use crate::isa::{LANES, Simd};
use crate::pack::PANEL_ROWS;
use crate::threads::Shards;
use std::ops::Range;

/// Asks for the weights ahead of the `bytes` bytes at `w`: far ahead into the L2
/// cache, so that as much as possible is on its way from memory, and nearer into
/// the L1 cache, so that loads need not wait for the slots that those misses
/// hold. Against the hardware's own prefetching this doubled the bandwidth of
/// decoding from 4-bit and 16-bit weights where it was measured.
#[inline(always)]
pub(super) fn prefetch<S: Simd>(s: S, w: *const u8, bytes: usize) {
    const NEAR: usize = 2 << 10;
    const FAR: usize = 8 << 10;
    for line in 0..bytes.div_ceil(64) {
        s.prefetch(w.wrapping_add(NEAR + 64 * line));
        s.prefetch_far(w.wrapping_add(FAR + 64 * line));
    }
}

/// Sums of one tile: `[token][half panel]`.
pub(super) type Sums<S, const T: usize> = [[<S as Simd>::F; 2]; T];

/// Tile heights there are kernels for, largest first.
const SIZES: [usize; 7] = [12, 8, 6, 4, 3, 2, 1];

/// Tiles of equal height that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// First token.
    pub(super) start: usize,
    /// Tokens of each tile.
    pub(super) tokens: usize,
    /// Tiles.
    pub(super) count: usize,
}

/// Cuts tokens into tiles of at most `largest` tokens. The cut of a chunk that
/// starts at a multiple of `largest` is part of the cut of the whole.
pub(super) fn tiles(tokens: Range<usize>, largest: usize) -> impl Iterator<Item = Run> {
    let mut start = tokens.start;
    SIZES
        .into_iter()
        .filter(move |&size| size <= largest)
        .filter_map(move |size| {
            let run = Run {
                start,
                tokens: size,
                count: (tokens.end - start) / size,
            };
            start += run.count * size;
            (run.count > 0).then_some(run)
        })
}

/// Where results go.
pub(super) struct Output<'a> {
    pub(super) y: Shards<f32>,
    pub(super) stride: usize,
    pub(super) offset: usize,
    pub(super) write: Write,
    pub(super) rows: usize,
    /// Padded to whole panels.
    pub(super) bias: Option<&'a [f32]>,
}

impl Output<'_> {
    /// Finishes the sums of `panel` for the tile's tokens, which start at
    /// `token`.
    ///
    /// # Safety
    /// No other thread may touch these rows of these tokens.
    #[inline(always)]
    unsafe fn finish<S: Simd, const T: usize>(
        &self,
        s: S,
        sums: &Sums<S, T>,
        panel: usize,
        token: usize,
    ) {
        for half in 0..2 {
            let row = panel * PANEL_ROWS + half * LANES;
            let n = self.rows.saturating_sub(row).min(LANES);
            if n == 0 {
                return;
            }
            let bias = self.bias.map(|bias| {
                let bias = &bias[row..row + LANES];
                // SAFETY: the slice has sixteen elements.
                unsafe { s.load(bias.as_ptr()) }
            });
            for (t, sum) in sums.iter().enumerate() {
                let v = bias.map_or(sum[half], |bias| s.add(sum[half], bias));
                // SAFETY: disjoint by the caller.
                let y = unsafe {
                    self.y
                        .slice((token + t) * self.stride + self.offset + row, n)
                };
                // SAFETY: `y` has `n` elements.
                unsafe {
                    let v = match self.write {
                        Write::Store => v,
                        Write::Add(alpha) => s.fma(s.splat(alpha), v, s.load_first(y.as_ptr(), n)),
                    };
                    s.store_first(y.as_mut_ptr(), v, n);
                }
            }
        }
    }
}

/// Some columns of some panels against tiles of one height.
pub(super) struct TileJob<'a> {
    /// Weights, from the first of `columns` of the first panel on.
    pub(super) weights: &'a [u8],
    /// Bytes from one panel to the next.
    pub(super) panel_bytes: usize,
    pub(super) panels: Range<usize>,
    /// The columns to go over; sums begin at zero with the first of all and are
    /// finished with the last.
    pub(super) columns: Range<usize>,
    pub(super) cols: usize,
    /// Whether the weights come from memory rather than a cache.
    pub(super) cold: bool,
    /// Activations from the first tile on.
    pub(super) x: &'a [u32],
    /// First token.
    pub(super) start: usize,
    /// Tiles.
    pub(super) count: usize,
    pub(super) output: &'a Output<'a>,
    /// Unfinished sums `[token][panel row]` of one panel, from token
    /// `partial_start` on. They are kept as they are, so it makes no difference
    /// to a sum in how many portions its columns come.
    pub(super) partial: Shards<f32>,
    pub(super) partial_start: usize,
}

/// How a kernel divides what it is given.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    /// Bytes of one panel in the job's columns.
    pub(super) bytes: usize,
    /// Activation words of one token.
    pub(super) words: usize,
    /// Activation words of one token before the job's columns.
    pub(super) skip: usize,
    /// Activation words of one token in the job's columns.
    pub(super) take: usize,
}

impl TileJob<'_> {
    /// Has `add(sums, weights of a panel, activations of a tile, cold)` add to the
    /// sums of every panel and tile, and finishes or keeps them. `cold` weights
    /// should be prefetched.
    ///
    /// # Safety
    /// No other thread may touch these panels' rows of these tokens, nor
    /// `partial`.
    #[inline(always)]
    pub(super) unsafe fn each<S: Simd, const T: usize>(
        &self,
        s: S,
        extent: Extent,
        add: impl Fn(Sums<S, T>, &[u8], &[u32], bool) -> Sums<S, T>,
    ) {
        for (i, panel) in self.panels.clone().enumerate() {
            let weights = &self.weights[i * self.panel_bytes..][..extent.bytes];
            for tile in 0..self.count {
                let x = &self.x[(tile * extent.words + extent.skip) * T..][..extent.take * T];
                let token = self.start + tile * T;
                let mut sums = [[s.splat(0.0); 2]; T];
                let whole = self.columns.len() == self.cols;
                if !whole && self.columns.start > 0 {
                    // SAFETY: by the caller; `partial_of` points to the sums' length.
                    unsafe {
                        let kept = self.partial_of::<T>(token);
                        for (t, sum) in sums.iter_mut().enumerate() {
                            let kept = kept.add(t * PANEL_ROWS);
                            *sum = [s.load(kept), s.load(kept.add(LANES))];
                        }
                    }
                }
                // By value: sums that are pointed to are kept in memory.
                let sums = add(sums, weights, x, self.cold && tile == 0);
                // SAFETY: by the caller; `partial_of` points to the sums' length.
                unsafe {
                    if whole || self.columns.end == self.cols {
                        self.output.finish::<S, T>(s, &sums, panel, token);
                    } else {
                        let kept = self.partial_of::<T>(token);
                        for (t, sum) in sums.iter().enumerate() {
                            let kept = kept.add(t * PANEL_ROWS);
                            s.store(kept, sum[0]);
                            s.store(kept.add(LANES), sum[1]);
                        }
                    }
                }
            }
        }
    }

    /// Where the unfinished sums of the `T` tokens from `token` on are.
    ///
    /// # Safety
    /// As for [`TileJob::each`].
    #[inline(always)]
    unsafe fn partial_of<const T: usize>(&self, token: usize) -> *mut f32 {
        let start = (token - self.partial_start) * PANEL_ROWS;
        // SAFETY: by the caller.
        unsafe { self.partial.slice(start, T * PANEL_ROWS).as_mut_ptr() }
    }
}
