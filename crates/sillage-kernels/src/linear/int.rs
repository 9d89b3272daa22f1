//! Tiles of quantised weights against activations quantised to 8 bits.
//!
//! For each block of columns that share a scale, ascending, and with `d` the
//! activations' scale, the one formula of every tile on every machine is
//! `sum = fma(float(dot), scale * d, sum)`, then, where the format has minima,
//! `sum = fma(min, d * float(xsum), sum)`. The integer `dot` starts at
//! `-zero * xsum`, which the activations bring along, so zero points cost
//! nothing.

use super::activations::IntTile;
use super::tile::{Extent, Sums, TileJob, prefetch};
use crate::isa::{Isa, Kernel, LANES, Simd};
use crate::pack::{BLOCK, Bits, IntLayout, IntSpec, PANEL_ROWS, SUPER_STEPS, ScaleType};
use std::ops::Range;

/// Steps of one portion of a long product: their weights, as bytes, and the
/// activations of a tile fit the L1 cache together.
const PORTION: usize = 24;

/// A format there are kernels for, up to the zero point. Const generics take
/// no structs, so kernels are told by number.
type Kind = u8;
const Q8_0: Kind = 0;
const Q4_0: Kind = 1;
const Q4_1: Kind = 2;
const Q4_K: Kind = 3;
const Q5_K: Kind = 4;
const Q6_K: Kind = 5;
/// What others are widened to: bytes with f32 scales.
const WIDE_PLAIN: Kind = 6;
const WIDE_MIN: Kind = 7;
const WIDE_HALVES: Kind = 8;

const fn spec_of(kind: Kind) -> IntSpec {
    let wide = IntSpec {
        scale: ScaleType::F32,
        ..IntSpec::Q8_0
    };
    match kind {
        Q8_0 => IntSpec::Q8_0,
        Q4_0 => IntSpec::Q4_0,
        Q4_1 => IntSpec::Q4_1,
        Q4_K => IntSpec::Q4_K,
        Q5_K => IntSpec::Q5_K,
        Q6_K => IntSpec::Q6_K,
        WIDE_PLAIN => wide,
        WIDE_MIN => IntSpec {
            has_min: true,
            ..wide
        },
        _ => IntSpec { block: 16, ..wide },
    }
}

/// Whether all weights are below 128. (What is widened is; `Q5_K` could be, but
/// nothing forbids it larger values.)
const fn small(kind: Kind) -> bool {
    !matches!(kind, Q8_0 | Q5_K)
}

fn kind_of(spec: IntSpec) -> Option<Kind> {
    (Q8_0..=Q6_K).find(|&kind| {
        IntSpec {
            zero: spec.zero,
            ..spec_of(kind)
        } == spec
    })
}

/// The format of weights of format `kind` once widened.
fn widened(kind: Kind) -> Option<Kind> {
    match kind {
        Q4_0 => Some(WIDE_PLAIN),
        Q4_1 | Q4_K => Some(WIDE_MIN),
        Q6_K => Some(WIDE_HALVES),
        _ => None,
    }
}

pub(super) fn supports(spec: IntSpec) -> bool {
    kind_of(spec).is_some()
}

/// Two vectors: the rows of a panel.
type Pair<V> = [V; 2];

/// The factors of nested scales and minima; unused by other formats.
#[derive(Clone, Copy)]
struct Factors<S: Simd> {
    scale: Pair<S::F>,
    min: Pair<S::F>,
}

impl<S: Simd> Factors<S> {
    /// # Safety
    /// At `at` must be the factors of a super-block of format `K`.
    #[inline(always)]
    unsafe fn load<const K: Kind>(s: S, at: *const u8) -> Self {
        let at: *const u16 = at.cast();
        // SAFETY: by the caller.
        unsafe {
            let scale = [s.load_f16(at), s.load_f16(at.add(LANES))];
            let min = if const { spec_of(K).has_min } {
                [s.load_f16(at.add(2 * LANES)), s.load_f16(at.add(3 * LANES))]
            } else {
                scale
            };
            Self { scale, min }
        }
    }
}

/// The scales (or minima) of a panel's rows at `at`.
///
/// # Safety
/// They must be readable.
#[inline(always)]
unsafe fn load_scales<S: Simd, const K: Kind>(
    s: S,
    at: *const u8,
    factors: Pair<S::F>,
) -> Pair<S::F> {
    let lanes = const { IntLayout::new(spec_of(K)).scale * LANES };
    // SAFETY: by the caller.
    unsafe {
        match const { spec_of(K).scale } {
            ScaleType::F16 => [s.load_f16(at.cast()), s.load_f16(at.add(lanes).cast())],
            ScaleType::F32 => [s.load(at.cast()), s.load(at.add(lanes).cast())],
            ScaleType::Nested => {
                let low = s.to_float(s.load_i8(at.cast()));
                let high = s.to_float(s.load_i8(at.add(lanes).cast()));
                [s.mul(factors[0], low), s.mul(factors[1], high)]
            }
        }
    }
}

/// Two vectors of bytes: four columns of a panel's rows.
///
/// # Safety
/// They must be readable at `at`.
#[inline(always)]
unsafe fn load_bytes<S: Simd>(s: S, at: *const u8) -> Pair<S::B> {
    // SAFETY: by the caller.
    unsafe { [s.load_bytes(at), s.load_bytes(at.add(4 * LANES))] }
}

#[inline(always)]
fn low_nibbles<S: Simd>(s: S, w: Pair<S::B>) -> Pair<S::B> {
    [s.low_nibbles(w[0]), s.low_nibbles(w[1])]
}

#[inline(always)]
fn high_nibbles<S: Simd>(s: S, w: Pair<S::B>) -> Pair<S::B> {
    [s.high_nibbles(w[0]), s.high_nibbles(w[1])]
}

#[inline(always)]
fn join_pair<S: Simd, const P: i32>(s: S, low: Pair<S::B>, high: Pair<S::B>) -> Pair<S::B> {
    [
        s.join_pair::<P>(low[0], high[0]),
        s.join_pair::<P>(low[1], high[1]),
    ]
}

/// Bytes of a group of four columns.
const GROUP: usize = 4 * PANEL_ROWS;

/// Hands the groups of four columns of one step, or of a half of it, unpacked
/// to `take(group, weights)`.
///
/// # Safety
/// `q` must point to the weights of a step of format `K`.
#[inline(always)]
unsafe fn unpack<S: Simd, const K: Kind>(
    s: S,
    q: *const u8,
    half: usize,
    mut take: impl FnMut(usize, Pair<S::B>),
) {
    let halves = const { IntLayout::new(spec_of(K)).halves };
    // SAFETY: see the table in `pack`: group `g` of eight bits lies at
    // `g * GROUP`; groups `g` and `g + 4` of less share those bytes, and the
    // high bits of six follow the four groups.
    unsafe {
        match const { spec_of(K).bits } {
            Bits::Eight => {
                let groups = 8 / halves;
                for g in half * groups..(half + 1) * groups {
                    take(g, load_bytes(s, q.add(g * GROUP)));
                }
            }
            Bits::Four => {
                for g in 0..4 {
                    let w = load_bytes(s, q.add(g * GROUP));
                    take(g, low_nibbles(s, w));
                    take(g + 4, high_nibbles(s, w));
                }
            }
            Bits::Six => {
                let high = load_bytes(s, q.add((4 + half) * GROUP));
                let mut w = [high; 4];
                for (g, w) in w.iter_mut().enumerate() {
                    let low = load_bytes(s, q.add(g * GROUP));
                    *w = if half == 0 {
                        low_nibbles(s, low)
                    } else {
                        high_nibbles(s, low)
                    };
                }
                take(4 * half, join_pair::<S, 0>(s, w[0], high));
                take(4 * half + 1, join_pair::<S, 1>(s, w[1], high));
                take(4 * half + 2, join_pair::<S, 2>(s, w[2], high));
                take(4 * half + 3, join_pair::<S, 3>(s, w[3], high));
            }
        }
    }
}

/// Adds one step (32 columns) of a panel to the sums of `T` tokens.
///
/// # Safety
/// `w` must point to a step of format `K`, `x` to a block of a tile.
#[inline(always)]
unsafe fn step<S: Simd, const K: Kind, const T: usize>(
    s: S,
    sums: &mut Sums<S, T>,
    w: *const u8,
    x: IntTile<T>,
    factors: Factors<S>,
) {
    let layout = const { IntLayout::new(spec_of(K)) };
    // SAFETY: `layout` gives the parts of the step; `IntTile` those of `x`.
    unsafe {
        for half in 0..layout.halves {
            let mut dots = [[s.int(0); 2]; T];
            for (t, dot) in dots.iter_mut().enumerate() {
                *dot = [s.int(x.start(t, half).read()); 2];
            }
            unpack::<S, K>(
                s,
                w.add(layout.q),
                half,
                #[inline(always)]
                |g, w| {
                    for (t, dot) in dots.iter_mut().enumerate() {
                        let x = x.group(t, g).read();
                        for i in 0..2 {
                            dot[i] = if const { small(K) } {
                                s.dot4_small(dot[i], w[i], x)
                            } else {
                                s.dot4(dot[i], w[i], x)
                            };
                        }
                    }
                },
            );
            let at = w.add(half * PANEL_ROWS * layout.scale);
            let scales = load_scales::<S, K>(s, at, factors.scale);
            for (t, sum) in sums.iter_mut().enumerate() {
                let d = s.splat(x.scale(t).read());
                for i in 0..2 {
                    sum[i] = s.fma(s.to_float(dots[t][i]), s.mul(scales[i], d), sum[i]);
                }
            }
        }
        if const { spec_of(K).has_min } {
            let mins = load_scales::<S, K>(s, w.add(layout.mins), factors.min);
            for (t, sum) in sums.iter_mut().enumerate() {
                let total = s.splat(x.total(t).read());
                for i in 0..2 {
                    sum[i] = s.fma(mins[i], total, sum[i]);
                }
            }
        }
    }
}

struct IntKernel<'a, const K: Kind, const T: usize>(&'a TileJob<'a>);

impl<const K: Kind, const T: usize> Kernel for IntKernel<'_, K, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if T > S::INT_TOKENS {
            return;
        }
        let layout = const { IntLayout::new(spec_of(K)) };
        let job = self.0;
        let words = IntTile::<1>::WORDS;
        let blocks = job.columns.len() / BLOCK;
        let extent = Extent {
            bytes: layout.start(blocks),
            words: job.cols / BLOCK * words,
            skip: job.columns.start / BLOCK * words,
            take: blocks * words,
        };
        // SAFETY: `linear` gives every piece its own rows and tokens. The slices
        // that `each` cuts hold `blocks` steps and blocks, and the factors of
        // nested scales before every `SUPER_STEPS` of them.
        unsafe {
            job.each::<S, T>(
                s,
                extent,
                #[inline(always)]
                |mut sums, weights, x, cold| {
                    let (mut w, mut x) = (weights.as_ptr(), x.as_ptr());
                    let none = [s.splat(0.0); 2];
                    let mut factors = Factors {
                        scale: none,
                        min: none,
                    };
                    for b in 0..blocks {
                        if layout.supers > 0 && b % SUPER_STEPS == 0 {
                            factors = Factors::load::<K>(s, w);
                            if cold {
                                prefetch(s, w, layout.supers);
                            }
                            w = w.add(layout.supers);
                        }
                        if cold {
                            prefetch(s, w, layout.step);
                        }
                        step::<S, K, T>(s, &mut sums, w, IntTile(x), factors);
                        w = w.add(layout.step);
                        x = x.add(IntTile::<T>::WORDS);
                    }
                    sums
                },
            );
        }
    }
}

/// Calls `$f::<K>` with the kind as a constant.
macro_rules! with_kind {
    ($kind:expr, $f:ident($($argument:expr),*)) => {
        match $kind {
            Q8_0 => $f::<Q8_0>($($argument),*),
            Q4_0 => $f::<Q4_0>($($argument),*),
            Q4_1 => $f::<Q4_1>($($argument),*),
            Q4_K => $f::<Q4_K>($($argument),*),
            Q5_K => $f::<Q5_K>($($argument),*),
            Q6_K => $f::<Q6_K>($($argument),*),
            WIDE_PLAIN => $f::<WIDE_PLAIN>($($argument),*),
            WIDE_MIN => $f::<WIDE_MIN>($($argument),*),
            _ => $f::<WIDE_HALVES>($($argument),*),
        }
    };
}

/// A quantised format by number.
#[derive(Clone, Copy, Debug)]
pub(super) struct IntFormat(Kind);

impl IntFormat {
    /// `Linear::pack_int` makes only weights of formats there are.
    pub(super) fn of(spec: IntSpec) -> Self {
        Self(kind_of(spec).unwrap_or(Q8_0))
    }

    pub(super) fn bits(self) -> Bits {
        spec_of(self.0).bits
    }

    /// Runs tiles of `tokens` tokens, a height that [`super::tile::tiles`] gave.
    pub(super) fn run(self, isa: Isa, tokens: usize, job: &TileJob<'_>) {
        with_kind!(self.0, run_height(isa, tokens, job));
    }

    /// Bytes of a panel before column `column`, the first of a portion.
    pub(super) fn offset(self, column: usize) -> usize {
        IntLayout::new(spec_of(self.0)).start(column / BLOCK)
    }

    /// Unpacks `columns` of a panel in `wide`, worth the trouble for weights
    /// that several tiles will read. `None` if that would gain nothing.
    pub(super) fn widen<'a>(
        self,
        isa: Isa,
        panel: &[u8],
        columns: Range<usize>,
        wide: &'a mut [u8],
    ) -> Option<(Self, &'a [u8])> {
        let to = widened(self.0)?;
        let step = IntLayout::new(spec_of(to)).step;
        let wide = &mut wide[..columns.len() / BLOCK * step];
        let narrow = &panel[self.offset(columns.start)..];
        match self.0 {
            Q4_0 => isa.dispatch(Widen::<Q4_0>(narrow, wide)),
            Q4_1 => isa.dispatch(Widen::<Q4_1>(narrow, wide)),
            Q4_K => isa.dispatch(Widen::<Q4_K>(narrow, wide)),
            _ => isa.dispatch(Widen::<Q6_K>(narrow, wide)),
        }
        Some((Self(to), wide))
    }
}

fn run_height<const K: Kind>(isa: Isa, tokens: usize, job: &TileJob<'_>) {
    match tokens {
        1 => isa.dispatch(IntKernel::<K, 1>(job)),
        2 => isa.dispatch(IntKernel::<K, 2>(job)),
        3 => isa.dispatch(IntKernel::<K, 3>(job)),
        4 => isa.dispatch(IntKernel::<K, 4>(job)),
        _ => isa.dispatch(IntKernel::<K, 6>(job)),
    }
}

/// Cuts `cols` columns into even portions of whole super-blocks.
pub(super) fn portion(cols: usize) -> usize {
    let blocks = cols / BLOCK;
    blocks
        .div_ceil(blocks.div_ceil(PORTION))
        .next_multiple_of(SUPER_STEPS)
        * BLOCK
}

/// Bytes that [`IntFormat::widen`] needs.
pub(super) const WIDE: usize = {
    let plain = IntLayout::new(spec_of(WIDE_MIN)).step;
    let halves = IntLayout::new(spec_of(WIDE_HALVES)).step;
    PORTION.next_multiple_of(SUPER_STEPS) * if plain > halves { plain } else { halves }
};

struct Widen<'a, const K: Kind>(&'a [u8], &'a mut [u8]);

impl<const K: Kind> Kernel for Widen<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let layout = const { IntLayout::new(spec_of(K)) };
        let wide = IntLayout::new(spec_of(widened(K).unwrap_or(K)));
        let blocks = self.1.len() / wide.step;
        assert!(self.0.len() >= layout.start(blocks));
        let none = [s.splat(0.0); 2];
        let mut factors = Factors {
            scale: none,
            min: none,
        };
        let mut from = self.0.as_ptr();
        for (b, to) in self.1.chunks_exact_mut(wide.step).enumerate() {
            let to = to.as_mut_ptr();
            // SAFETY: `from` goes over the steps of a panel (and the factors
            // before them), checked above; `to` has the bytes of a wide step.
            unsafe {
                if layout.supers > 0 && b % SUPER_STEPS == 0 {
                    factors = Factors::load::<K>(s, from);
                    from = from.add(layout.supers);
                }
                let store = |at: *mut u8, v: Pair<S::F>| {
                    s.store(at.cast(), v[0]);
                    s.store(at.cast::<f32>().add(LANES), v[1]);
                };
                for half in 0..layout.halves {
                    let at = from.add(half * PANEL_ROWS * layout.scale);
                    let scales = load_scales::<S, K>(s, at, factors.scale);
                    store(to.add(half * PANEL_ROWS * wide.scale), scales);
                    unpack::<S, K>(
                        s,
                        from.add(layout.q),
                        half,
                        #[inline(always)]
                        |g, w| {
                            let to = to.add(wide.q + g * GROUP);
                            s.store_block(to, w[0]);
                            s.store_block(to.add(4 * LANES), w[1]);
                        },
                    );
                }
                if const { spec_of(K).has_min } {
                    let mins = load_scales::<S, K>(s, from.add(layout.mins), factors.min);
                    store(to.add(wide.mins), mins);
                }
                from = from.add(layout.step);
            }
        }
    }
}
