//! Plain Rust: the path that runs everywhere, and the twin of the others.

use super::{LANES, Simd};
use half::{bf16, f16};
use std::array::from_fn;

/// Sixteen lanes as an array; needs no CPU feature.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scalar;

type F = [f32; LANES];
type I = [i32; LANES];

impl Simd for Scalar {
    type F = F;
    type I = I;
    type B = [u8; 64];
    /// Small tiles: plain code is for being right, and is unrolled enough.
    const REGISTERS: usize = 1;

    #[inline(always)]
    fn splat(self, value: f32) -> F {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> F {
        // SAFETY: the caller vouches for sixteen elements.
        unsafe { from.cast::<F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: F) {
        // SAFETY: the caller vouches for sixteen elements.
        unsafe { to.cast::<F>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_f16(self, from: *const u16) -> F {
        // SAFETY: the caller vouches for sixteen elements.
        let v = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        v.map(|b| f16::from_bits(b).to_f32())
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> F {
        // SAFETY: the caller vouches for sixteen elements.
        let v = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        v.map(|b| f32::from_bits(u32::from(b) << 16))
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, v: F) {
        let v = v.map(|x| bf16::from_f32(x).to_bits());
        // SAFETY: the caller vouches for sixteen elements.
        unsafe { to.cast::<[u16; LANES]>().write_unaligned(v) }
    }
    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn fnma(self, a: F, b: F, c: F) -> F {
        from_fn(|i| (-a[i]).mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn min(self, a: F, b: F) -> F {
        from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn abs(self, v: F) -> F {
        v.map(f32::abs)
    }
    #[inline(always)]
    fn round(self, v: F) -> F {
        v.map(f32::round_ties_even)
    }
    #[inline(always)]
    fn select_gt(self, a: F, b: F, yes: F, no: F) -> F {
        from_fn(|i| if a[i] > b[i] { yes[i] } else { no[i] })
    }
    #[inline(always)]
    fn round_bf16(self, v: F) -> F {
        v.map(|x| bf16::from_f32(x).to_f32())
    }
    #[inline(always)]
    fn int(self, value: i32) -> I {
        [value; LANES]
    }
    #[inline(always)]
    fn to_int(self, v: F) -> I {
        v.map(|x| x as i32)
    }
    #[inline(always)]
    fn to_float(self, v: I) -> F {
        v.map(|x| x as f32)
    }
    #[inline(always)]
    fn bits(self, v: F) -> I {
        v.map(|x| x.to_bits() as i32)
    }
    #[inline(always)]
    fn from_bits(self, v: I) -> F {
        v.map(|x| f32::from_bits(x as u32))
    }
    #[inline(always)]
    fn int_add(self, a: I, b: I) -> I {
        from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    fn int_sub(self, a: I, b: I) -> I {
        from_fn(|i| a[i].wrapping_sub(b[i]))
    }
    #[inline(always)]
    fn int_mul(self, a: I, b: I) -> I {
        from_fn(|i| a[i].wrapping_mul(b[i]))
    }
    #[inline(always)]
    fn int_and(self, a: I, b: I) -> I {
        from_fn(|i| a[i] & b[i])
    }
    #[inline(always)]
    fn int_or(self, a: I, b: I) -> I {
        from_fn(|i| a[i] | b[i])
    }
    #[inline(always)]
    fn int_shl<const N: i32>(self, v: I) -> I {
        v.map(|x| x << N)
    }
    #[inline(always)]
    fn int_shr<const N: i32>(self, v: I) -> I {
        v.map(|x| x >> N)
    }
    #[inline(always)]
    unsafe fn load_bytes(self, from: *const u8) -> [u8; 64] {
        // SAFETY: the caller vouches for 64 bytes.
        unsafe { from.cast::<[u8; 64]>().read_unaligned() }
    }
    #[inline(always)]
    fn low_nibbles(self, v: [u8; 64]) -> [u8; 64] {
        v.map(|b| b & 15)
    }
    #[inline(always)]
    fn high_nibbles(self, v: [u8; 64]) -> [u8; 64] {
        v.map(|b| b >> 4)
    }
    #[inline(always)]
    fn dot4(self, acc: I, w: [u8; 64], x: i32) -> I {
        let x = x.to_le_bytes();
        from_fn(|i| {
            (0..4).fold(acc[i], |sum, j| {
                sum.wrapping_add(i32::from(w[4 * i + j]) * i32::from(x[j] as i8))
            })
        })
    }
}
