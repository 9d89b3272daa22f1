//! Activations in the forms weights ask for.
//!
//! Tokens are grouped into the tiles of [`super::tile`]. A tile goes over its
//! columns in short blocks, within which its tokens follow each other at a
//! distance that kernels know at compile time: one pointer reaches them all.
//! Every token takes the same number of words, so the tile that starts at token
//! `t` starts at word `t * words`.

use super::tile::{Run, tiles};
use crate::Compute;
use crate::isa::{Isa, Kernel, LANES, Simd};
use crate::memory::Buffer;
use crate::pack::{BLOCK, Format, Linear};
use crate::threads::Shards;

/// What a weight needs its activations to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    F32,
    /// 8-bit integers. `zero` of the weights; `halves` if blocks of 16 columns
    /// have their own scales.
    Int {
        zero: u8,
        halves: bool,
    },
}

impl Form {
    pub(super) fn of(weight: &Linear) -> Self {
        match weight.format() {
            Format::Float(_) => Self::F32,
            Format::Int(spec) => Self::Int {
                zero: spec.zero,
                halves: spec.block != BLOCK,
            },
        }
    }

    /// Words of one token of `cols` columns.
    fn words(self, cols: usize) -> usize {
        match self {
            Self::F32 => cols.next_multiple_of(LANES),
            Self::Int { .. } => cols / BLOCK * IntTile::<1>::WORDS,
        }
    }

    /// Tokens of the largest tile.
    fn largest(self, isa: Isa) -> usize {
        struct Largest(Form);
        impl Kernel for Largest {
            type Output = usize;
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> usize {
                match self.0 {
                    Form::F32 => S::FLOAT_TOKENS,
                    Form::Int { .. } => S::INT_TOKENS,
                }
            }
        }
        isa.dispatch(Largest(self))
    }
}

/// One block of 32 columns in a tile of `T` tokens: eight groups of four
/// quantised columns `[T][8]`, scales `[T]`, what the integer sums of a half
/// (or, in the first, of the whole block) start at `[2][T]`, and the scaled sum
/// of the quantised columns `[T]`.
#[derive(Clone, Copy)]
pub(super) struct IntTile<const T: usize>(pub(super) *const u32);

impl<const T: usize> IntTile<T> {
    pub(super) const WORDS: usize = 12 * T;

    #[inline(always)]
    pub(super) fn group(self, token: usize, g: usize) -> *const i32 {
        self.0.wrapping_add(8 * token + g).cast()
    }
    #[inline(always)]
    pub(super) fn scale(self, token: usize) -> *const f32 {
        self.0.wrapping_add(8 * T + token).cast()
    }
    #[inline(always)]
    pub(super) fn start(self, token: usize, half: usize) -> *const i32 {
        self.0.wrapping_add((9 + half) * T + token).cast()
    }
    #[inline(always)]
    pub(super) fn total(self, token: usize) -> *const f32 {
        self.0.wrapping_add(11 * T + token).cast()
    }
}

/// The activations of a call in one form.
#[derive(Clone, Copy)]
pub(super) struct Prepared<'a> {
    pub(super) form: Form,
    /// Words of one token.
    pub(super) words: usize,
    /// Tokens of the largest tile.
    pub(super) largest: usize,
    data: &'a [u32],
}

impl<'a> Prepared<'a> {
    /// The activations from the tile that starts at `token` on.
    pub(super) fn at(&self, token: usize) -> &'a [u32] {
        &self.data[token * self.words..]
    }
}

/// Elements below which the calling thread works alone: entering a parallel
/// region would take longer.
const ALONE: usize = 1 << 14;

/// Brings `x` (`[m, cols]`) into every one of `forms`.
pub(super) fn prepare<'a>(
    cx: &Compute,
    x: &'a [f32],
    m: usize,
    cols: usize,
    forms: &[Form],
    scratch: &'a mut Buffer<u32>,
) -> [Option<Prepared<'a>>; super::Forms::MOST] {
    let needed: usize = forms.iter().map(|form| form.words(cols) * m).sum();
    if scratch.len() < needed {
        *scratch = Buffer::zeroed(needed.next_power_of_two());
    }
    let mut all = [None; super::Forms::MOST];
    let mut rest = &mut **scratch;
    for (slot, &form) in all.iter_mut().zip(forms) {
        let (words, largest) = (form.words(cols), form.largest(cx.isa));
        let data = if form == Form::F32 && m == 1 {
            as_words(x)
        } else {
            let (data, other) = rest.split_at_mut(words * m);
            rest = other;
            fill(cx, x, m, cols, form, data);
            data
        };
        *slot = Some(Prepared {
            form,
            words,
            largest,
            data,
        });
    }
    all
}

fn as_words(x: &[f32]) -> &[u32] {
    // SAFETY: f32 and u32 have the same size and alignment, and any bits are a
    // valid u32.
    unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), x.len()) }
}

fn fill(cx: &Compute, x: &[f32], m: usize, cols: usize, form: Form, data: &mut [u32]) {
    let (words, largest) = (form.words(cols), form.largest(cx.isa));
    let shards = Shards::new(data);
    let piece = |start: usize, end: usize| {
        for run in tiles(start..end, largest) {
            let tokens = run.count * run.tokens;
            // SAFETY: pieces are disjoint ranges of tokens.
            let data = unsafe { shards.slice(run.start * words, tokens * words) };
            let x = &x[run.start * cols..][..tokens * cols];
            cx.isa.dispatch(Fill {
                x,
                cols,
                form,
                run,
                data,
            });
        }
    };
    if m * cols <= ALONE {
        piece(0, m);
    } else {
        let tokens = (ALONE / cols).max(1).next_multiple_of(largest);
        cx.pool.run(m.div_ceil(tokens), &|i| {
            piece(i * tokens, m.min((i + 1) * tokens))
        });
    }
}

struct Fill<'a> {
    x: &'a [f32],
    cols: usize,
    form: Form,
    run: Run,
    data: &'a mut [u32],
}

impl Kernel for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (cols, t) = (self.cols, self.run.tokens);
        let words = self.form.words(cols) * t;
        for (x, tile) in self
            .x
            .chunks_exact(cols * t)
            .zip(self.data.chunks_exact_mut(words))
        {
            for (i, x) in x.chunks_exact(cols).enumerate() {
                match self.form {
                    Form::F32 => {
                        for (block, x) in tile.chunks_exact_mut(LANES * t).zip(x.chunks(LANES)) {
                            block[i * LANES..][..x.len()].copy_from_slice(as_words(x));
                        }
                    }
                    Form::Int { zero, halves } => {
                        quantise(s, x, tile, (i, t), i32::from(zero), halves);
                    }
                }
            }
        }
    }
}

/// Quantises token `i` of the `t` of a tile.
#[inline(always)]
fn quantise<S: Simd>(
    s: S,
    x: &[f32],
    tile: &mut [u32],
    (i, t): (usize, usize),
    zero: i32,
    halves: bool,
) {
    let blocks = tile.chunks_exact_mut(IntTile::<1>::WORDS * t);
    for (x, block) in x.chunks_exact(BLOCK).zip(blocks) {
        let (groups, parts) = block.split_at_mut(8 * t);
        let groups = &mut groups[8 * i..][..8];
        let scale = quantise_block(s, x, groups);
        let sums = [sum_bytes(s, &groups[..4]), sum_bytes(s, &groups[4..])];
        let total = sums[0] + sums[1];
        parts[i] = scale.to_bits();
        parts[t + i] = (-zero * if halves { sums[0] } else { total }) as u32;
        parts[2 * t + i] = (-zero * sums[1]) as u32;
        parts[3 * t + i] = (scale * total as f32).to_bits();
    }
}

/// The sum of the signed bytes of `words`.
#[inline(always)]
fn sum_bytes<S: Simd>(s: S, words: &[u32]) -> i32 {
    // SAFETY: the array has 64 bytes.
    let ones = unsafe { s.load_bytes([1u8; 64].as_ptr()) };
    let sum = words
        .iter()
        .fold(s.int(0), |sum, &word| s.dot4(sum, ones, word as i32));
    s.to_array(s.from_bits(sum))[0].to_bits() as i32
}

/// Writes thirty-two columns as signed bytes and returns their scale.
#[inline(always)]
fn quantise_block<S: Simd>(s: S, x: &[f32], groups: &mut [u32]) -> f32 {
    assert!(x.len() == BLOCK && groups.len() == BLOCK / 4);
    // SAFETY: `x` has two vectors of elements.
    let v = unsafe { [s.load(x.as_ptr()), s.load(x.as_ptr().add(LANES))] };
    // As integers, the bits of positive numbers have the order of the numbers,
    // infinity comes last, and NaNs after it.
    let bits = |v| s.bits(s.abs(v));
    let largest = f32::from_bits(s.largest_int(s.max_int(bits(v[0]), bits(v[1]))) as u32);
    let scale = largest / 127.0;
    // Below the normal numbers the inverse would overflow.
    let inverse = if scale >= f32::MIN_POSITIVE {
        1.0 / scale
    } else {
        0.0
    };
    let scale = if scale < f32::MIN_POSITIVE {
        0.0
    } else {
        scale
    };
    let to: *mut u8 = groups.as_mut_ptr().cast();
    for (i, v) in v.into_iter().enumerate() {
        let v = s.mul(v, s.splat(inverse));
        // Truncating after adding the largest number below a half, with the
        // sign, rounds halves away from zero and is exact everywhere else.
        let sign = s.int_and(s.bits(v), s.int(i32::MIN));
        let half = s.from_bits(s.int_or(s.int(0x3eff_ffff), sign));
        // SAFETY: sixteen bytes of the 32.
        unsafe { s.store_bytes(to.add(i * LANES), s.to_int(s.add(v, half))) };
    }
    scale
}
