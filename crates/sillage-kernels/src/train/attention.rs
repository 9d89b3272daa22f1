//! Causal attention in blocks (FlashAttention-2: Dao, 2023), forward and
//! backward, with memory linear in the length.
//!
//! Scores are held **turned**: a row a key, a lane a query. Then the softmax
//! over keys goes lane by lane with no sums across a vector, and all seven
//! products of both passes find their operands as they lie. Only queries (and
//! gradients of outputs) must be turned, once per block of queries.
//!
//! A block's scores are taken to base two: the factor log2(e) is folded into
//! the queries with the scale.

mod backward;
mod forward;
mod spare;
mod tile;

use crate::Compute;
use crate::isa::{Kernel, LANES, Simd};
use crate::spread::{read, write};
use crate::threads::Shards;
use spare::Spare;

/// Queries and keys of a block: its scores fill a third of a first cache.
const BLOCK: usize = 64;
/// Stands for minus infinity, whose differences would be no numbers.
const LOWEST: f32 = -1e30;

const LANE: [f32; LANES] = [
    0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
];

/// Shapes of attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionDims {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values, each shared by `heads / kv_heads` of queries.
    pub kv_heads: usize,
    /// Elements per head.
    pub head_dim: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    /// Positions a query sees, its own included; all before it if `None`.
    pub window: Option<usize>,
}

impl AttentionDims {
    /// Elements per head, filled up to whole vectors.
    fn padded(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// Query heads per key head.
    fn shared(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The first position that a query at `position` sees.
    fn first_seen(&self, position: usize) -> usize {
        match self.window {
            Some(window) => (position + 1).saturating_sub(window),
            None => 0,
        }
    }

    fn check(&self, lens: &[usize], [q, k, v]: [&[f32]; 3], strides: [usize; 3]) -> usize {
        assert!(self.head_dim > 0 && self.heads > 0, "heads of nothing");
        assert!(
            self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads),
            "key heads that cannot be shared evenly"
        );
        assert!(self.window != Some(0), "a window of nothing");
        let tokens = lens.iter().sum();
        assert!(
            q.len() >= self.extent(tokens, self.heads, strides[0])
                && k.len() >= self.extent(tokens, self.kv_heads, strides[1])
                && v.len() >= self.extent(tokens, self.kv_heads, strides[2]),
            "fewer queries, keys or values than tokens"
        );
        tokens
    }

    /// Elements that `tokens` rows of `heads` heads reach over.
    fn extent(&self, tokens: usize, heads: usize, stride: usize) -> usize {
        let width = heads * self.head_dim;
        assert!(stride >= width, "rows that overlap");
        match tokens {
            0 => 0,
            _ => (tokens - 1) * stride + width,
        }
    }
}

/// `out: [tokens, heads * head_dim]` of causal attention within each sequence.
///
/// Rows of `q`, `k` and `v` hold their heads one behind the other and begin
/// every `strides[0]`, `[1]` and `[2]` elements: they may be sections of one
/// wider matrix. `lse: [tokens, heads]` receives the logarithm of each row's
/// sum of exponentials, for [`attention_backward`].
///
/// # Panics
/// If a slice is too short, rows overlap, or heads do not divide.
pub fn attention_forward(
    cx: &Compute,
    dims: &AttentionDims,
    lens: &[usize],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    strides: [usize; 3],
    out: &mut [f32],
    lse: &mut [f32],
) {
    let tokens = dims.check(lens, [q, k, v], strides);
    forward::run(
        cx,
        dims,
        lens,
        q,
        strides[0],
        out,
        lse,
        &Pair {
            tokens,
            padded: dims.padded(),
            k: pack(cx, dims, tokens, k, strides[1]),
            v: pack(cx, dims, tokens, v, strides[2]),
        },
    );
}

/// Gradients of queries, keys and values, written to `dq`, `dk` and `dv`, whose
/// rows begin every `grad_strides`; from `out` and `lse` of
/// [`attention_forward`] and `dout: [tokens, heads * head_dim]`.
///
/// # Panics
/// As [`attention_forward`].
#[allow(
    clippy::too_many_arguments,
    reason = "nine matrices, and each has a stride of its own"
)]
pub fn attention_backward(
    cx: &Compute,
    dims: &AttentionDims,
    lens: &[usize],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    strides: [usize; 3],
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
    grad_strides: [usize; 3],
) {
    let tokens = dims.check(lens, [q, k, v], strides);
    dims.check(lens, [dq, dk, dv], grad_strides);
    let saved = backward::Saved {
        q,
        stride: strides[0],
        out,
        lse,
        dout,
    };
    let pair = Pair {
        tokens,
        padded: dims.padded(),
        k: pack(cx, dims, tokens, k, strides[1]),
        v: pack(cx, dims, tokens, v, strides[2]),
    };
    let [dq, dk, dv] = [dq, dk, dv].map(Shards::new);
    let to = [
        (dq, 0, grad_strides[0]),
        (dk, 0, grad_strides[1]),
        (dv, 0, grad_strides[2]),
    ];
    backward::run(cx, dims, lens, &saved, &pair, &to);
}

/// As [`attention_backward`], with queries, keys and values, and likewise their
/// gradients, side by side in rows of one matrix: at columns `offsets` of `qkv`
/// and of `dqkv`, rows every `stride` elements.
///
/// # Panics
/// As [`attention_forward`], or if the three sections overlap.
pub fn attention_backward_fused(
    cx: &Compute,
    dims: &AttentionDims,
    lens: &[usize],
    qkv: &[f32],
    offsets: [usize; 3],
    stride: usize,
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    dqkv: &mut [f32],
) {
    let mut sections = [0, 1, 2].map(|i| {
        let heads = if i == 0 { dims.heads } else { dims.kv_heads };
        offsets[i]..offsets[i] + heads * dims.head_dim
    });
    sections.sort_by_key(|section| section.start);
    let apart = sections.windows(2).all(|pair| pair[0].end <= pair[1].start);
    assert!(apart && sections[2].end <= stride, "sections that overlap");
    if lens.iter().all(|len| *len == 0) {
        return;
    }
    let part = |i: usize| &qkv[offsets[i]..];
    let tokens = dims.check(lens, [part(0), part(1), part(2)], [stride; 3]);
    let part = |i: usize| &dqkv[offsets[i]..];
    dims.check(lens, [part(0), part(1), part(2)], [stride; 3]);
    let saved = backward::Saved {
        q: &qkv[offsets[0]..],
        stride,
        out,
        lse,
        dout,
    };
    let pair = Pair {
        tokens,
        padded: dims.padded(),
        k: pack(cx, dims, tokens, &qkv[offsets[1]..], stride),
        v: pack(cx, dims, tokens, &qkv[offsets[2]..], stride),
    };
    let all = Shards::new(dqkv);
    let to = offsets.map(|offset| (all, offset, stride));
    backward::run(cx, dims, lens, &saved, &pair, &to);
}

/// Keys and values head by head, rows filled up with zeros to whole vectors:
/// rows far apart would share few sets of a cache.
struct Pair {
    tokens: usize,
    padded: usize,
    k: Spare,
    v: Spare,
}

impl Pair {
    /// Rows `token..token + count` of a head in `of`.
    fn rows<'a>(&self, of: &'a [f32], head: usize, token: usize, count: usize) -> &'a [f32] {
        &of[(head * self.tokens + token) * self.padded..][..count * self.padded]
    }
}

fn pack(cx: &Compute, dims: &AttentionDims, tokens: usize, x: &[f32], stride: usize) -> Spare {
    let (dim, padded) = (dims.head_dim, dims.padded());
    let mut packed = Spare::take(dims.kv_heads * tokens * padded);
    let shards = Shards::new(&mut packed);
    let blocks = tokens.div_ceil(BLOCK);
    let cycles = dims.kv_heads * tokens * padded / 4;
    cx.spread(dims.kv_heads * blocks, cycles, &|piece| {
        let (head, block) = (piece / blocks, piece % blocks);
        for t in block * BLOCK..tokens.min((block + 1) * BLOCK) {
            // SAFETY: each row of each head belongs to one piece.
            let row = unsafe { shards.slice((head * tokens + t) * padded, padded) };
            row[..dim].copy_from_slice(&x[t * stride + head * dim..][..dim]);
            row[dim..].fill(0.0);
        }
    });
    packed
}

/// One block of queries of one head.
#[derive(Clone, Copy)]
struct Queries {
    /// The sequence's first token, and its length.
    start: usize,
    len: usize,
    head: usize,
    /// Which block of the sequence.
    block: usize,
}

impl Queries {
    /// The first query's position.
    fn first(&self) -> usize {
        self.block * BLOCK
    }

    fn count(&self) -> usize {
        BLOCK.min(self.len - self.first())
    }

    /// Blocks of keys that some query sees.
    fn key_blocks(&self, dims: &AttentionDims) -> std::ops::Range<usize> {
        dims.first_seen(self.first()) / BLOCK..self.block + 1
    }

    /// Against block `block` of keys.
    fn against(&self, dims: &AttentionDims, block: usize) -> Scene {
        let ahead = self.first() - block * BLOCK;
        let diagonal = block == self.block;
        let window = dims.window.filter(|window| ahead + self.count() > *window);
        Scene {
            keys: BLOCK.min(self.len - block * BLOCK),
            queries: self.count(),
            diagonal,
            limits: (diagonal || window.is_some()).then(|| Limits {
                ahead: ahead as f32,
                window: window.map_or(f32::INFINITY, |window| window as f32),
            }),
        }
    }
}

/// Who sees whom in a block of scores.
#[derive(Clone, Copy)]
struct Scene {
    keys: usize,
    queries: usize,
    /// Whether key i and query i are the same position.
    diagonal: bool,
    /// `None` if all see all.
    limits: Option<Limits>,
}

/// Query `l` sees key `j` if it lies `ahead + l - j` positions behind: at least
/// none, and fewer than `window`.
#[derive(Clone, Copy)]
struct Limits {
    ahead: f32,
    window: f32,
}

impl Scene {
    fn vectors(&self) -> usize {
        self.queries.div_ceil(LANES)
    }

    /// Strips of `count` rows: on the diagonal narrow ones, since of each a
    /// different part is seen.
    fn strips(&self, count: usize) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let step = if self.diagonal { LANES } else { BLOCK };
        (0..count)
            .step_by(step)
            .map(move |i| i..count.min(i + step))
    }

    /// The first lane that sees keys from `key`, which begins a strip.
    fn first_lane(&self, key: usize) -> usize {
        if self.diagonal { key } else { 0 }
    }

    /// Keys seen by queries up to `end`, which ends a strip.
    fn keys_seen(&self, end: usize) -> usize {
        if self.diagonal {
            self.keys.min(end)
        } else {
            self.keys
        }
    }

    /// Keys of which lanes `lane..lane + 16` have scores.
    #[inline(always)]
    fn keys_of_lanes(&self, lane: usize) -> usize {
        if self.diagonal {
            self.keys.min(lane + LANES)
        } else {
            self.keys
        }
    }
}

impl Limits {
    /// `v` where lanes from `lane` on see key `key`, else `hidden`.
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, lane: usize, key: usize, v: S::F, hidden: S::F) -> S::F {
        let behind = s.add(
            read(s, &LANE, 0),
            s.splat(self.ahead + lane as f32 - key as f32),
        );
        let v = s.select_gt(s.splat(0.0), behind, hidden, v);
        s.select_gt(s.splat(self.window), behind, v, hidden)
    }
}

/// Up to a block of rows of `dim` elements: copied to `rows` if wanted, filled
/// up with zeros, and times `factor` turned into `turned: [dim, BLOCK]`.
struct Gather<'a> {
    from: &'a [f32],
    stride: usize,
    count: usize,
    dim: usize,
    factor: f32,
    rows: Option<&'a mut [f32]>,
    turned: &'a mut [f32],
}

impl Kernel for Gather<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (dim, padded) = (self.dim, self.dim.next_multiple_of(LANES));
        let factor = s.splat(self.factor);
        for first in (0..self.count.next_multiple_of(LANES)).step_by(LANES) {
            for i in (0..dim).step_by(LANES) {
                let mut square = [s.splat(0.0); LANES];
                for r in 0..LANES.min(self.count - first) {
                    let row = &self.from[(first + r) * self.stride..][..dim];
                    square[r] = s.mul(read(s, row, i), factor);
                }
                let square = s.transpose(square);
                for j in 0..LANES.min(dim - i) {
                    write(s, self.turned, (i + j) * BLOCK + first, square[j]);
                }
            }
        }
        let Some(rows) = self.rows else { return };
        for r in 0..self.count {
            let row = &self.from[r * self.stride..][..dim];
            for i in (0..dim).step_by(LANES) {
                write(s, &mut rows[r * padded..][..padded], i, read(s, row, i));
            }
        }
    }
}

#[cfg(test)]
mod tests;
