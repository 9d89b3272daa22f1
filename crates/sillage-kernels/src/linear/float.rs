//! Tiles of floating-point weights.
//!
//! A sum is `fma(weight, activation, sum)` over ascending columns, all in f32.
//! (The bfloat16 dot product of x86 is left alone: it runs at half the speed of
//! f32 multiply-adds on the CPUs measured, and would round the activations.)

use super::tile::{Extent, Sums, TileJob, prefetch};
use crate::isa::{Isa, Kernel, LANES, Simd};
use crate::pack::{FloatType, PANEL_ROWS};
use std::marker::PhantomData;
use std::ops::Range;

/// Columns of one portion of a long product: their weights, as f32, and the
/// activations of a tile fit the L1 cache together.
const PORTION: usize = 192;

/// How the steps of a panel are read.
trait FloatWeights {
    /// Columns of a step.
    const COLS: usize;
    /// Bytes of a step: all rows of the panel.
    const STEP: usize;

    /// The weights of a step's column `column`.
    ///
    /// # Safety
    /// `STEP` bytes must be readable at `step`, and `column < COLS`.
    unsafe fn load<S: Simd>(s: S, step: *const u8, column: usize) -> [S::F; 2];
}

struct F32;

impl FloatWeights for F32 {
    const COLS: usize = 1;
    const STEP: usize = 4 * PANEL_ROWS;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, step: *const u8, _: usize) -> [S::F; 2] {
        let step: *const f32 = step.cast();
        // SAFETY: by the caller.
        unsafe { [s.load(step), s.load(step.add(LANES))] }
    }
}

struct F16;

impl FloatWeights for F16 {
    const COLS: usize = 1;
    const STEP: usize = 2 * PANEL_ROWS;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, step: *const u8, _: usize) -> [S::F; 2] {
        let step: *const u16 = step.cast();
        // SAFETY: by the caller.
        unsafe { [s.load_f16(step), s.load_f16(step.add(LANES))] }
    }
}

struct Bf16;

impl FloatWeights for Bf16 {
    const COLS: usize = 2;
    const STEP: usize = 4 * PANEL_ROWS;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, step: *const u8, column: usize) -> [S::F; 2] {
        // SAFETY: by the caller.
        let pairs = unsafe { F32::load(s, step, 0) };
        pairs.map(
            #[inline(always)]
            |pair| {
                let bits = s.bits(pair);
                s.from_bits(if column == 0 {
                    s.int_shl::<16>(bits)
                } else {
                    s.int_and(bits, s.int(!0xffff))
                })
            },
        )
    }
}

/// Adds one column to the sums of `T` tokens.
///
/// # Safety
/// `x` must point to that column in a block of a tile.
#[inline(always)]
unsafe fn multiply<S: Simd, const T: usize>(
    s: S,
    sums: &mut Sums<S, T>,
    w: [S::F; 2],
    x: *const u32,
) {
    for (t, sum) in sums.iter_mut().enumerate() {
        // SAFETY: the tokens of a block are `LANES` words apart; words hold f32
        // bits.
        let x = s.splat(f32::from_bits(unsafe { x.add(t * LANES).read() }));
        sum[0] = s.fma(w[0], x, sum[0]);
        sum[1] = s.fma(w[1], x, sum[1]);
    }
}

struct FloatTile<'a, W, const T: usize>(&'a TileJob<'a>, PhantomData<W>);

impl<W: FloatWeights, const T: usize> Kernel for FloatTile<'_, W, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if T > S::FLOAT_TOKENS {
            return;
        }
        let job = self.0;
        let cols = job.columns.len();
        let (blocks, rest) = (cols / LANES, cols % LANES);
        let extent = Extent {
            bytes: cols.div_ceil(W::COLS) * W::STEP,
            words: job.cols.next_multiple_of(LANES),
            skip: job.columns.start,
            // A token alone may be read where it came from.
            take: if T == 1 {
                cols
            } else {
                cols.next_multiple_of(LANES)
            },
        };
        // SAFETY: `linear` gives every piece its own rows and tokens. The slices
        // that `each` cuts hold `cols` columns: `blocks` blocks of activations
        // and `rest` columns of another.
        unsafe {
            job.each::<S, T>(
                s,
                extent,
                #[inline(always)]
                |mut sums, weights, x, cold| {
                    let (mut w, mut x) = (weights.as_ptr(), x.as_ptr());
                    for _ in 0..blocks {
                        if cold {
                            prefetch(s, w, LANES / W::COLS * W::STEP);
                        }
                        for _ in 0..LANES / W::COLS {
                            for column in 0..W::COLS {
                                multiply::<S, T>(s, &mut sums, W::load(s, w, column), x);
                                x = x.add(1);
                            }
                            w = w.add(W::STEP);
                        }
                        x = x.add(LANES * (T - 1));
                    }
                    for i in 0..rest {
                        let column = i % W::COLS;
                        multiply::<S, T>(s, &mut sums, W::load(s, w, column), x.add(i));
                        if column + 1 == W::COLS {
                            w = w.add(W::STEP);
                        }
                    }
                    sums
                },
            );
        }
    }
}

/// Runs tiles of `tokens` tokens, a height that [`super::tile::tiles`] gave.
pub(super) fn run(isa: Isa, ty: FloatType, tokens: usize, job: &TileJob<'_>) {
    match ty {
        FloatType::F32 => run_height::<F32>(isa, tokens, job),
        FloatType::F16 => run_height::<F16>(isa, tokens, job),
        FloatType::Bf16 => run_height::<Bf16>(isa, tokens, job),
    }
}

fn run_height<W: FloatWeights>(isa: Isa, tokens: usize, job: &TileJob<'_>) {
    match tokens {
        1 => isa.dispatch(FloatTile::<W, 1>(job, PhantomData)),
        2 => isa.dispatch(FloatTile::<W, 2>(job, PhantomData)),
        3 => isa.dispatch(FloatTile::<W, 3>(job, PhantomData)),
        4 => isa.dispatch(FloatTile::<W, 4>(job, PhantomData)),
        6 => isa.dispatch(FloatTile::<W, 6>(job, PhantomData)),
        8 => isa.dispatch(FloatTile::<W, 8>(job, PhantomData)),
        _ => isa.dispatch(FloatTile::<W, 12>(job, PhantomData)),
    }
}

/// Cuts `cols` columns into even portions.
pub(super) fn portion(cols: usize) -> usize {
    cols.div_ceil(cols.div_ceil(PORTION))
        .next_multiple_of(LANES)
}

/// Bytes of a panel before column `column`, the first of a portion.
pub(super) fn offset(ty: FloatType, column: usize) -> usize {
    match ty {
        FloatType::F32 => column * F32::STEP,
        FloatType::F16 => column * F16::STEP,
        FloatType::Bf16 => column / Bf16::COLS * Bf16::STEP,
    }
}

/// Widens `columns` of a panel to f32 in `wide`, worth the trouble for weights
/// that several tiles will read. `None` if they are that already.
pub(super) fn widen<'a>(
    isa: Isa,
    ty: FloatType,
    panel: &[u8],
    columns: Range<usize>,
    wide: &'a mut [u8],
) -> Option<&'a [u8]> {
    let wide = &mut wide[..columns.len() * F32::STEP];
    let narrow = &panel[offset(ty, columns.start)..];
    match ty {
        FloatType::F32 => return None,
        FloatType::F16 => isa.dispatch(Widen::<F16>(narrow, wide, PhantomData)),
        FloatType::Bf16 => isa.dispatch(Widen::<Bf16>(narrow, wide, PhantomData)),
    }
    Some(wide)
}

/// Bytes that [`widen`] needs.
pub(super) const WIDE: usize = PORTION * F32::STEP;

struct Widen<'a, W>(&'a [u8], &'a mut [u8], PhantomData<W>);

impl<W: FloatWeights> Kernel for Widen<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let steps = self.0.chunks_exact(W::STEP);
        for (step, wide) in steps.zip(self.1.chunks_mut(W::COLS * F32::STEP)) {
            for (column, wide) in wide.chunks_exact_mut(F32::STEP).enumerate() {
                let to: *mut f32 = wide.as_mut_ptr().cast();
                // SAFETY: the slices have the bytes of a step and of a column.
                unsafe {
                    let [low, high] = W::load(s, step.as_ptr(), column);
                    s.store(to, low);
                    s.store(to.add(LANES), high);
                }
            }
        }
    }
}
