//! The forward pass: a piece is one block of queries of one head.

use super::tile::{Left, Old, Product};
use super::{AttentionDims, BLOCK, Gather, LOWEST, Pair, Queries, Scene};
use crate::Compute;
use crate::isa::{Isa, Kernel, LANES, Simd};
use crate::math;
use crate::scratch;
use crate::spread::{read, write};
use crate::threads::Shards;
use std::f32::consts::{LN_2, LOG2_E};

pub(super) fn run(
    cx: &Compute,
    dims: &AttentionDims,
    lens: &[usize],
    q: &[f32],
    stride: usize,
    out: &mut [f32],
    lse: &mut [f32],
    pair: &Pair,
) {
    let mut blocks = Vec::new();
    let mut start = 0;
    for &len in lens {
        blocks.extend((0..len.div_ceil(BLOCK)).map(|block| (start, len, block)));
        start += len;
    }
    // Long ones first: what is left at the end should be short.
    blocks.sort_by_key(|(_, _, block)| std::cmp::Reverse(*block));
    let forward = Forward {
        isa: cx.isa,
        dims,
        q,
        stride,
        pair,
        out: Shards::new(&mut out[..pair.tokens * dims.heads * dims.head_dim]),
        lse: Shards::new(&mut lse[..pair.tokens * dims.heads]),
    };
    cx.pool.run(blocks.len() * dims.heads, &|piece| {
        let (start, len, block) = blocks[piece / dims.heads];
        let head = piece % dims.heads;
        let queries = Queries {
            start,
            len,
            head,
            block,
        };
        scratch::with(forward.scratch_len(), |memory| {
            forward.block(&queries, memory)
        });
    });
}

struct Forward<'a> {
    isa: Isa,
    dims: &'a AttentionDims,
    q: &'a [f32],
    stride: usize,
    pair: &'a Pair,
    out: Shards<f32>,
    lse: Shards<f32>,
}

impl Forward<'_> {
    fn scratch_len(&self) -> usize {
        BLOCK * (self.dims.head_dim + BLOCK + self.pair.padded + 3)
    }

    fn block(&self, queries: &Queries, memory: &mut [f32]) {
        let (dims, padded) = (self.dims, self.pair.padded);
        let (turned, memory) = memory.split_at_mut(dims.head_dim * BLOCK);
        let (scores, memory) = memory.split_at_mut(BLOCK * BLOCK);
        let (sums, memory) = memory.split_at_mut(BLOCK * padded);
        let (top, memory) = memory.split_at_mut(BLOCK);
        let (total, fade) = memory.split_at_mut(BLOCK);
        let first = queries.start + queries.first();
        self.isa.dispatch_float(Gather {
            from: &self.q[first * self.stride + queries.head * dims.head_dim..],
            stride: self.stride,
            count: queries.count(),
            dim: dims.head_dim,
            factor: dims.scale * LOG2_E,
            rows: None,
            turned,
        });
        top.fill(LOWEST);
        total.fill(0.0);
        let blocks = queries.key_blocks(dims);
        for block in blocks.clone() {
            let scene = queries.against(dims, block);
            let (head, key) = (queries.head / dims.shared(), queries.start + block * BLOCK);
            let k = self.pair.rows(&self.pair.k, head, key, scene.keys);
            let v = self.pair.rows(&self.pair.v, head, key, scene.keys);
            scores_of(self.isa, &scene, k, padded, dims.head_dim, turned, scores);
            self.isa.dispatch_float(Softmax {
                scene,
                scores,
                top,
                total,
                fade,
            });
            for strip in scene.strips(scene.queries) {
                self.isa.dispatch_float(Product {
                    a: Left {
                        data: &scores[strip.start..],
                        row: 1,
                        col: BLOCK,
                    },
                    b: v,
                    b_stride: padded,
                    c: &mut sums[strip.start * padded..],
                    c_stride: padded,
                    rows: strip.len(),
                    inner: scene.keys_seen(strip.end),
                    vectors: padded / LANES,
                    old: if block == blocks.start {
                        Old::Replaced
                    } else {
                        Old::Faded(&fade[strip.start..])
                    },
                });
            }
        }
        self.finish(queries, sums, top, total);
    }

    /// Writes the rows' output and log-sum-exp.
    fn finish(&self, queries: &Queries, sums: &[f32], top: &[f32], total: &[f32]) {
        let (dims, padded) = (self.dims, self.pair.padded);
        for i in 0..queries.count() {
            let at = (queries.start + queries.first() + i) * dims.heads + queries.head;
            // SAFETY: every row of every head belongs to one piece.
            let (out, lse) = unsafe {
                let out = self.out.slice(at * dims.head_dim, dims.head_dim);
                (out, self.lse.slice(at, 1))
            };
            lse[0] = top[i] * LN_2 + total[i].ln();
            self.isa.dispatch_float(Scaled {
                x: &sums[i * padded..][..padded],
                factor: 1.0 / total[i],
                out,
            });
        }
    }
}

/// Scores of a block, turned: `x: [keys, padded]` against queries (or gradients
/// of outputs) `turned: [dim, BLOCK]`.
pub(super) fn scores_of(
    isa: Isa,
    scene: &Scene,
    x: &[f32],
    padded: usize,
    dim: usize,
    turned: &[f32],
    scores: &mut [f32],
) {
    for strip in scene.strips(scene.keys) {
        let lane = scene.first_lane(strip.start);
        isa.dispatch_float(Product {
            a: Left {
                data: &x[strip.start * padded..],
                row: padded,
                col: 1,
            },
            b: &turned[lane..],
            b_stride: BLOCK,
            c: &mut scores[strip.start * BLOCK + lane..],
            c_stride: BLOCK,
            rows: strip.len(),
            inner: dim,
            vectors: scene.vectors() - lane / LANES,
            old: Old::Replaced,
        });
    }
}

/// Turns a block's scores into weights and advances the queries' maxima and
/// sums; `fade` becomes what their earlier sums are multiplied by.
struct Softmax<'a> {
    scene: Scene,
    scores: &'a mut [f32],
    top: &'a mut [f32],
    total: &'a mut [f32],
    fade: &'a mut [f32],
}

impl Kernel for Softmax<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            scene,
            scores,
            top,
            total,
            fade,
        } = self;
        let scores = &mut scores[..BLOCK * BLOCK];
        let nothing = s.splat(0.0);
        for lane in (0..scene.queries).step_by(LANES) {
            let keys = scene.keys_of_lanes(lane);
            let before = read(s, top, lane);
            let mut tops = [before; 4];
            for key in 0..keys {
                let mut v = read(s, scores, key * BLOCK + lane);
                if let Some(limits) = scene.limits {
                    v = limits.apply(s, lane, key, v, s.splat(LOWEST));
                    write(s, scores, key * BLOCK + lane, v);
                }
                tops[key % 4] = s.max(tops[key % 4], v);
            }
            let now = s.max(s.max(tops[0], tops[1]), s.max(tops[2], tops[3]));
            let mut sums = [nothing; 2];
            for key in 0..keys {
                let score = read(s, scores, key * BLOCK + lane);
                let mut weight = math::decay(s, s.sub(score, now));
                if scene.limits.is_some() {
                    weight = s.select_gt(s.splat(0.5 * LOWEST), score, nothing, weight);
                }
                sums[key % 2] = s.add(sums[key % 2], weight);
                write(s, scores, key * BLOCK + lane, weight);
            }
            let faded = math::decay(s, s.sub(before, now));
            write(s, top, lane, now);
            write(s, fade, lane, faded);
            let sum = s.add(sums[0], sums[1]);
            write(s, total, lane, s.fma(read(s, total, lane), faded, sum));
        }
    }
}

struct Scaled<'a> {
    x: &'a [f32],
    factor: f32,
    out: &'a mut [f32],
}

impl Kernel for Scaled<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in (0..self.out.len()).step_by(LANES) {
            write(
                s,
                self.out,
                i,
                s.mul(read(s, self.x, i), s.splat(self.factor)),
            );
        }
    }
}
