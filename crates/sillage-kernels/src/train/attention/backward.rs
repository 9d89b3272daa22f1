//! The backward pass: a piece is a run of blocks of queries of all heads that
//! share keys.
//!
//! A piece owns the gradients of its queries. Those of keys and values it sums
//! up in a part of its own; when all pieces are done, the parts of a sequence
//! are added in their order. Runs are as long as they can be while there are
//! pieces enough for many threads: a part costs memory as the keys do.

use super::forward::scores_of;
use super::spare::Spare;
use super::tile::{Left, Old, Product};
use super::{AttentionDims, BLOCK, Gather, Pair, Queries, Scene};
use crate::Compute;
use crate::isa::{Isa, Kernel, LANES, Simd};
use crate::math;
use crate::scratch;
use crate::spread::{read, write};
use crate::threads::Shards;
use std::f32::consts::LOG2_E;
use std::ops::Range;

/// Pieces that occupy any usual number of threads.
const PIECES: usize = 16;
/// Blocks of queries that a piece should have at least, and parts that a
/// sequence may have at most.
const RUN: usize = 8;
const PARTS: usize = 8;

/// What the forward pass left, and the gradient of its output.
pub(super) struct Saved<'a> {
    pub(super) q: &'a [f32],
    pub(super) stride: usize,
    pub(super) out: &'a [f32],
    pub(super) lse: &'a [f32],
    pub(super) dout: &'a [f32],
}

/// Where a gradient's rows go: a slice, the first row's column, the stride.
pub(super) type Target = (Shards<f32>, usize, usize);

/// A piece: blocks of queries of one sequence for one head of keys.
struct Part {
    start: usize,
    len: usize,
    head: usize,
    blocks: Range<usize>,
    /// Where its gradients of keys (and of values) begin.
    at: usize,
}

impl Part {
    /// Whether some query of the part sees block `block` of keys.
    fn touches(&self, dims: &AttentionDims, block: usize) -> bool {
        let seen = dims.first_seen(self.blocks.start * BLOCK) / BLOCK;
        (seen..self.blocks.end).contains(&block)
    }
}

/// All parts, those of one sequence and head in one run of the list.
fn parts(dims: &AttentionDims, lens: &[usize], padded: usize) -> Vec<Part> {
    let sequences = lens.iter().filter(|len| **len > 0).count();
    let wanted = PIECES.div_ceil((sequences * dims.kv_heads).max(1));
    let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
    for &len in lens {
        let blocks = len.div_ceil(BLOCK);
        let count = wanted.min(PARTS).min(blocks / RUN).max(1);
        for head in 0..dims.kv_heads {
            for i in 0..count {
                let blocks = blocks * i / count..blocks * (i + 1) / count;
                parts.push(Part {
                    start,
                    len,
                    head,
                    blocks,
                    at,
                });
                at += len * padded;
            }
        }
        start += len;
    }
    parts
}

pub(super) fn run(
    cx: &Compute,
    dims: &AttentionDims,
    lens: &[usize],
    saved: &Saved<'_>,
    pair: &Pair,
    to: &[Target; 3],
) {
    let tokens = pair.tokens;
    assert!(
        saved.out.len() >= tokens * dims.heads * dims.head_dim
            && saved.dout.len() >= tokens * dims.heads * dims.head_dim
            && saved.lse.len() >= tokens * dims.heads,
        "outputs of fewer tokens"
    );
    let parts = parts(dims, lens, pair.padded);
    let size = parts
        .last()
        .map_or(0, |part| part.at + part.len * pair.padded);
    let (mut dk, mut dv) = (Spare::take(size), Spare::take(size));
    let mut order: Vec<&Part> = parts.iter().collect();
    // Long ones first: what is left at the end should be short.
    order.sort_by_key(|part| std::cmp::Reverse(part.blocks.end * part.blocks.len()));
    let backward = Backward {
        isa: cx.isa,
        dims,
        saved,
        pair,
        dq: to[0],
        dk: Shards::new(&mut dk),
        dv: Shards::new(&mut dv),
    };
    cx.pool.run(order.len(), &|piece| {
        scratch::with(backward.scratch_len(), |memory| {
            backward.part(order[piece], &mut backward.split(memory));
        });
    });
    for (sums, to) in [(&dk, &to[1]), (&dv, &to[2])] {
        gather_parts(cx, dims, &parts, sums, pair.padded, to);
    }
}

/// Adds up the parts of each sequence and head and writes the result.
fn gather_parts(
    cx: &Compute,
    dims: &AttentionDims,
    parts: &[Part],
    sums: &[f32],
    padded: usize,
    &(to, offset, stride): &Target,
) {
    let mut blocks = Vec::new();
    for group in parts.chunk_by(|a, b| (a.start, a.head, a.len) == (b.start, b.head, b.len)) {
        blocks.extend((0..group[0].len.div_ceil(BLOCK)).map(|block| (group, block)));
    }
    cx.spread(blocks.len(), sums.len() / 4, &|piece| {
        let (group, block) = blocks[piece];
        let Part {
            start, len, head, ..
        } = group[0];
        for t in block * BLOCK..len.min((block + 1) * BLOCK) {
            let at = (start + t) * stride + offset + head * dims.head_dim;
            // SAFETY: every row of every head belongs to one piece.
            let row = unsafe { to.slice(at, dims.head_dim) };
            let mut old = false;
            for part in group.iter().filter(|part| part.touches(dims, block)) {
                let x = &sums[part.at + t * padded..][..padded];
                cx.isa.dispatch_float(AddRow { x, row, old });
                old = true;
            }
        }
    });
}

struct AddRow<'a> {
    x: &'a [f32],
    row: &'a mut [f32],
    old: bool,
}

impl Kernel for AddRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in (0..self.row.len()).step_by(LANES) {
            let mut v = read(s, self.x, i);
            if self.old {
                v = s.add(read(s, self.row, i), v);
            }
            write(s, self.row, i, v);
        }
    }
}

struct Backward<'a> {
    isa: Isa,
    dims: &'a AttentionDims,
    saved: &'a Saved<'a>,
    pair: &'a Pair,
    dq: Target,
    dk: Shards<f32>,
    dv: Shards<f32>,
}

/// A piece's memory: a block of queries and one of scores.
struct Memory<'a> {
    q: &'a mut [f32],
    q_turned: &'a mut [f32],
    dout: &'a mut [f32],
    dout_turned: &'a mut [f32],
    /// Scores, then weights; and the gradients of weights, then of scores.
    weights: &'a mut [f32],
    dscores: &'a mut [f32],
    dq: &'a mut [f32],
    /// Per query: log-sum-exp to base two, and `scale` times `out . dout`.
    lse: &'a mut [f32],
    delta: &'a mut [f32],
}

impl Backward<'_> {
    fn scratch_len(&self) -> usize {
        BLOCK * (3 * self.pair.padded + 2 * self.dims.head_dim + 2 * BLOCK + 2)
    }

    fn split<'a>(&self, memory: &'a mut [f32]) -> Memory<'a> {
        let (rows, turned) = (BLOCK * self.pair.padded, BLOCK * self.dims.head_dim);
        let mut rest = memory;
        let mut take = |len: usize| {
            let (taken, after) = std::mem::take(&mut rest).split_at_mut(len);
            rest = after;
            taken
        };
        Memory {
            q: take(rows),
            dout: take(rows),
            q_turned: take(turned),
            dout_turned: take(turned),
            weights: take(BLOCK * BLOCK),
            dscores: take(BLOCK * BLOCK),
            dq: take(rows),
            lse: take(BLOCK),
            delta: take(BLOCK),
        }
    }

    fn part(&self, part: &Part, memory: &mut Memory<'_>) {
        let shared = self.dims.shared();
        for block in part.blocks.clone() {
            for i in 0..shared {
                let queries = Queries {
                    start: part.start,
                    len: part.len,
                    head: part.head * shared + i,
                    block,
                };
                self.gather(&queries, memory);
                let blocks = queries.key_blocks(self.dims);
                for keys in blocks.clone() {
                    // The first queries to see a block of keys find no sums yet.
                    let fresh = i == 0 && block == keys.max(part.blocks.start);
                    self.against(part, &queries, keys, memory, [keys == blocks.start, fresh]);
                }
                self.finish(&queries, memory.dq);
            }
        }
    }

    /// Fetches a block of queries.
    fn gather(&self, queries: &Queries, memory: &mut Memory<'_>) {
        let (dims, saved) = (self.dims, self.saved);
        let (dim, count) = (dims.head_dim, queries.count());
        let first = queries.start + queries.first();
        let width = dims.heads * dim;
        self.isa.dispatch_float(Gather {
            from: &saved.q[first * saved.stride + queries.head * dim..],
            stride: saved.stride,
            count,
            dim,
            factor: dims.scale * LOG2_E,
            rows: Some(memory.q),
            turned: memory.q_turned,
        });
        // The scale of the scores' gradients is theirs from here on.
        self.isa.dispatch_float(Gather {
            from: &saved.dout[first * width + queries.head * dim..],
            stride: width,
            count,
            dim,
            factor: dims.scale,
            rows: Some(memory.dout),
            turned: memory.dout_turned,
        });
        memory.lse.fill(0.0);
        for i in 0..count {
            let at = (first + i) * dims.heads + queries.head;
            memory.lse[i] = saved.lse[at] * LOG2_E;
        }
        let at = first * width + queries.head * dim;
        self.isa.dispatch_float(Deltas {
            out: &saved.out[at..],
            dout: &saved.dout[at..],
            stride: width,
            count,
            dim,
            factor: dims.scale,
            delta: memory.delta,
        });
    }

    /// A block of queries against one of keys: everything there is to gain.
    fn against(
        &self,
        part: &Part,
        queries: &Queries,
        block: usize,
        memory: &mut Memory<'_>,
        [first_keys, first_queries]: [bool; 2],
    ) {
        let (isa, dims, padded) = (self.isa, self.dims, self.pair.padded);
        let (dim, vectors) = (dims.head_dim, padded / LANES);
        let scene = queries.against(dims, block);
        let key = queries.start + block * BLOCK;
        let k = self.pair.rows(&self.pair.k, part.head, key, scene.keys);
        let v = self.pair.rows(&self.pair.v, part.head, key, scene.keys);
        scores_of(isa, &scene, k, padded, dim, memory.q_turned, memory.weights);
        scores_of(
            isa,
            &scene,
            v,
            padded,
            dim,
            memory.dout_turned,
            memory.dscores,
        );
        isa.dispatch_float(Weigh {
            scene,
            weights: memory.weights,
            dscores: memory.dscores,
            lse: memory.lse,
            delta: memory.delta,
        });
        let old = |first| if first { Old::Replaced } else { Old::Kept };
        let at = part.at + block * BLOCK * padded;
        // SAFETY: a part's range belongs to its piece alone.
        let (dk, dv) = unsafe {
            let len = scene.keys * padded;
            (self.dk.slice(at, len), self.dv.slice(at, len))
        };
        for (sums, left, right) in [
            (dv, &memory.weights, &memory.dout),
            (dk, &memory.dscores, &memory.q),
        ] {
            for strip in scene.strips(scene.keys) {
                let lane = scene.first_lane(strip.start);
                isa.dispatch_float(Product {
                    a: Left {
                        data: &left[strip.start * BLOCK + lane..],
                        row: BLOCK,
                        col: 1,
                    },
                    b: &right[lane * padded..],
                    b_stride: padded,
                    c: &mut sums[strip.start * padded..],
                    c_stride: padded,
                    rows: strip.len(),
                    inner: scene.queries - lane,
                    vectors,
                    old: old(first_queries),
                });
            }
        }
        for strip in scene.strips(scene.queries) {
            isa.dispatch_float(Product {
                a: Left {
                    data: &memory.dscores[strip.start..],
                    row: 1,
                    col: BLOCK,
                },
                b: k,
                b_stride: padded,
                c: &mut memory.dq[strip.start * padded..],
                c_stride: padded,
                rows: strip.len(),
                inner: scene.keys_seen(strip.end),
                vectors,
                old: old(first_keys),
            });
        }
    }

    /// Writes the gradients of a block of queries.
    fn finish(&self, queries: &Queries, dq: &[f32]) {
        let (dim, padded) = (self.dims.head_dim, self.pair.padded);
        let (to, offset, stride) = self.dq;
        for i in 0..queries.count() {
            let token = queries.start + queries.first() + i;
            // SAFETY: every row of every head belongs to one piece.
            let row = unsafe { to.slice(token * stride + offset + queries.head * dim, dim) };
            row.copy_from_slice(&dq[i * padded..][..dim]);
        }
    }
}

/// Turns scores into weights, and gradients of weights into those of scores.
struct Weigh<'a> {
    scene: Scene,
    weights: &'a mut [f32],
    dscores: &'a mut [f32],
    lse: &'a [f32],
    delta: &'a [f32],
}

impl Kernel for Weigh<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            scene,
            weights,
            dscores,
            lse,
            delta,
        } = self;
        let weights = &mut weights[..BLOCK * BLOCK];
        let dscores = &mut dscores[..BLOCK * BLOCK];
        for lane in (0..scene.queries).step_by(LANES) {
            let (lse, delta) = (read(s, lse, lane), read(s, delta, lane));
            for key in 0..scene.keys_of_lanes(lane) {
                let i = key * BLOCK + lane;
                let mut weight = math::decay(s, s.sub(read(s, weights, i), lse));
                if let Some(limits) = scene.limits {
                    weight = limits.apply(s, lane, key, weight, s.splat(0.0));
                }
                let dscore = s.mul(weight, s.sub(read(s, dscores, i), delta));
                write(s, weights, i, weight);
                write(s, dscores, i, dscore);
            }
        }
    }
}

/// `factor` times `out . dout` of each row; zeros for rows that are not there.
struct Deltas<'a> {
    out: &'a [f32],
    dout: &'a [f32],
    stride: usize,
    count: usize,
    dim: usize,
    factor: f32,
    delta: &'a mut [f32],
}

impl Kernel for Deltas<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.delta.fill(0.0);
        for r in 0..self.count {
            let out = &self.out[r * self.stride..][..self.dim];
            let dout = &self.dout[r * self.stride..][..self.dim];
            let mut sum = s.splat(0.0);
            for i in (0..self.dim).step_by(LANES) {
                sum = s.fma(read(s, out, i), read(s, dout, i), sum);
            }
            self.delta[r] = self.factor * s.sum(sum);
        }
    }
}
