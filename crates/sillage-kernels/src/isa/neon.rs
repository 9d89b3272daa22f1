//! ARM64: four 128-bit registers are one sixteen-lane vector.

use super::{Kernel, LANES, Simd};
use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

/// Proof of NEON.
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

/// Proof of NEON and of its 8-bit dot products.
#[derive(Clone, Copy, Debug)]
pub struct NeonDot(Neon);

impl Neon {
    /// The token, on a CPU that has the feature (all that run Linux do).
    #[must_use]
    pub fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Self(()))
    }

    #[inline]
    pub(crate) fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "neon")]
        fn inner<K: Kernel>(simd: Neon, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: `self` exists only if detection found the feature.
        unsafe { inner(self, kernel) }
    }
}

impl NeonDot {
    /// The token, on a CPU that has the features.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let base = Neon::detect()?;
        is_aarch64_feature_detected!("dotprod").then_some(Self(base))
    }

    /// The same CPU without its dot products.
    #[inline]
    pub(crate) fn base(self) -> Neon {
        self.0
    }

    #[inline]
    pub(crate) fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "neon,dotprod")]
        fn inner<K: Kernel>(simd: NeonDot, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: `self` exists only if detection found the features.
        unsafe { inner(self, kernel) }
    }
}

type F = [float32x4_t; 4];
type I = [int32x4_t; 4];
type B = [uint8x16_t; 4];

/// The expression for each of the four registers, `$i` being its number.
macro_rules! four {
    ($i:ident => $value:expr) => {{
        // SAFETY: the token proves the features; pointers are vouched for by
        // the callers of the `unsafe fn`s this stands in.
        unsafe {
            [
                {
                    const $i: usize = 0;
                    $value
                },
                {
                    const $i: usize = 1;
                    $value
                },
                {
                    const $i: usize = 2;
                    $value
                },
                {
                    const $i: usize = 3;
                    $value
                },
            ]
        }
    }};
}

/// Four half floats, widened.
///
/// # Safety
/// Four u16 must be readable at `from`.
#[inline(always)]
unsafe fn widen_f16(from: *const u16) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: FCVTL is part of NEON and touches only its registers; the intrinsic
    // for it is not stable. Memory by the caller.
    unsafe {
        let narrow = vld1_u16(from);
        std::arch::asm!(
            "fcvtl {wide:v}.4s, {narrow:v}.4h",
            wide = lateout(vreg) wide,
            narrow = in(vreg) narrow,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    wide
}

/// As scalar conversion: nearest, ties to even, a NaN stays one.
#[inline(always)]
fn nearest_bf16(v: float32x4_t) -> uint32x4_t {
    // SAFETY: only called through a token.
    unsafe {
        let bits = vreinterpretq_u32_f32(v);
        let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
        let sum = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
        let quiet = vorrq_u32(bits, vdupq_n_u32(0x0040_0000));
        vbslq_u32(vceqq_f32(v, v), sum, quiet)
    }
}

/// The sums of four products each of bytes of `w` and signed bytes of `x`.
#[inline(always)]
fn dot_widened(w: uint8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: only called through a token.
    unsafe {
        let (x_low, x_high) = (vmovl_s8(vget_low_s8(x)), vmovl_high_s8(x));
        let w_low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(w)));
        let w_high = vreinterpretq_s16_u16(vmovl_high_u8(w));
        let first = vmull_s16(vget_low_s16(w_low), vget_low_s16(x_low));
        let second = vmull_high_s16(w_low, x_low);
        let third = vmull_s16(vget_low_s16(w_high), vget_low_s16(x_high));
        let fourth = vmull_high_s16(w_high, x_high);
        vpaddq_s32(vpaddq_s32(first, second), vpaddq_s32(third, fourth))
    }
}

/// As [`dot_widened`] for bytes of `w` below 128: products fit 16 bits, and so
/// do sums of two.
#[inline(always)]
fn dot_small(w: uint8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: only called through a token.
    unsafe {
        let w = vreinterpretq_s8_u8(w);
        let low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
        let high = vmull_high_s8(w, x);
        vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high))
    }
}

/// The SDOT instruction, whose intrinsic is not stable.
///
/// # Safety
/// The CPU must have dot products.
#[inline(always)]
unsafe fn sdot(mut acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: it touches only its registers; the feature by the caller.
    unsafe {
        std::arch::asm!(
            ".arch_extension dotprod",
            "sdot {acc:v}.4s, {w:v}.16b, {x:v}.16b",
            acc = inout(vreg) acc,
            w = in(vreg) w,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// The methods both tokens share.
macro_rules! shared_methods {
    () => {
        type F = F;
        type I = I;
        type B = B;

        #[inline(always)]
        fn splat(self, value: f32) -> F {
            four!(K => { let _ = K; vdupq_n_f32(value) })
        }
        #[inline(always)]
        unsafe fn load(self, from: *const f32) -> F {
            four!(K => vld1q_f32(from.add(4 * K)))
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32, v: F) {
            four!(K => vst1q_f32(to.add(4 * K), v[K]));
        }
        #[inline(always)]
        unsafe fn load_f16(self, from: *const u16) -> F {
            four!(K => widen_f16(from.add(4 * K)))
        }
        #[inline(always)]
        unsafe fn load_bf16(self, from: *const u16) -> F {
            four!(K => vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.add(4 * K)))))
        }
        #[inline(always)]
        unsafe fn store_bf16(self, to: *mut u16, v: F) {
            four!(K => vst1_u16(to.add(4 * K), vshrn_n_u32::<16>(nearest_bf16(v[K]))));
        }
        #[inline(always)]
        fn join_upper(self, low: F, high: F) -> F {
            four!(K => {
                let (low, high) = (vreinterpretq_u32_f32(low[K]), vreinterpretq_u32_f32(high[K]));
                vreinterpretq_f32_u32(vsriq_n_u32::<16>(high, low))
            })
        }
        #[inline(always)]
        fn add(self, a: F, b: F) -> F {
            four!(K => vaddq_f32(a[K], b[K]))
        }
        #[inline(always)]
        fn sub(self, a: F, b: F) -> F {
            four!(K => vsubq_f32(a[K], b[K]))
        }
        #[inline(always)]
        fn mul(self, a: F, b: F) -> F {
            four!(K => vmulq_f32(a[K], b[K]))
        }
        #[inline(always)]
        fn div(self, a: F, b: F) -> F {
            four!(K => vdivq_f32(a[K], b[K]))
        }
        #[inline(always)]
        fn fma(self, a: F, b: F, c: F) -> F {
            four!(K => vfmaq_f32(c[K], a[K], b[K]))
        }
        #[inline(always)]
        fn fnma(self, a: F, b: F, c: F) -> F {
            four!(K => vfmsq_f32(c[K], a[K], b[K]))
        }
        // By selection, which treats NaN and the two zeros as x86 does.
        #[inline(always)]
        fn max(self, a: F, b: F) -> F {
            four!(K => vbslq_f32(vcgtq_f32(a[K], b[K]), a[K], b[K]))
        }
        #[inline(always)]
        fn min(self, a: F, b: F) -> F {
            four!(K => vbslq_f32(vcltq_f32(a[K], b[K]), a[K], b[K]))
        }
        #[inline(always)]
        fn abs(self, v: F) -> F {
            four!(K => vabsq_f32(v[K]))
        }
        #[inline(always)]
        fn round(self, v: F) -> F {
            four!(K => vrndnq_f32(v[K]))
        }
        #[inline(always)]
        fn select_gt(self, a: F, b: F, yes: F, no: F) -> F {
            four!(K => vbslq_f32(vcgtq_f32(a[K], b[K]), yes[K], no[K]))
        }
        #[inline(always)]
        fn round_bf16(self, v: F) -> F {
            four!(K => {
                let kept = vandq_u32(nearest_bf16(v[K]), vdupq_n_u32(!0xffff));
                vreinterpretq_f32_u32(kept)
            })
        }
        #[inline(always)]
        fn largest_int(self, v: I) -> i32 {
            // SAFETY: token.
            unsafe {
                let (a, b) = (vmaxq_s32(v[0], v[1]), vmaxq_s32(v[2], v[3]));
                vmaxvq_s32(vmaxq_s32(a, b))
            }
        }
        #[inline(always)]
        fn int(self, value: i32) -> I {
            four!(K => { let _ = K; vdupq_n_s32(value) })
        }
        #[inline(always)]
        fn to_int(self, v: F) -> I {
            four!(K => vcvtq_s32_f32(v[K]))
        }
        #[inline(always)]
        fn to_float(self, v: I) -> F {
            four!(K => vcvtq_f32_s32(v[K]))
        }
        #[inline(always)]
        fn bits(self, v: F) -> I {
            four!(K => vreinterpretq_s32_f32(v[K]))
        }
        #[inline(always)]
        fn from_bits(self, v: I) -> F {
            four!(K => vreinterpretq_f32_s32(v[K]))
        }
        #[inline(always)]
        fn int_add(self, a: I, b: I) -> I {
            four!(K => vaddq_s32(a[K], b[K]))
        }
        #[inline(always)]
        fn int_sub(self, a: I, b: I) -> I {
            four!(K => vsubq_s32(a[K], b[K]))
        }
        #[inline(always)]
        fn max_int(self, a: I, b: I) -> I {
            four!(K => vmaxq_s32(a[K], b[K]))
        }
        #[inline(always)]
        fn int_mul(self, a: I, b: I) -> I {
            four!(K => vmulq_s32(a[K], b[K]))
        }
        #[inline(always)]
        fn int_and(self, a: I, b: I) -> I {
            four!(K => vandq_s32(a[K], b[K]))
        }
        #[inline(always)]
        fn int_or(self, a: I, b: I) -> I {
            four!(K => vorrq_s32(a[K], b[K]))
        }
        #[inline(always)]
        fn int_shl<const N: i32>(self, v: I) -> I {
            four!(K => vshlq_n_s32::<N>(v[K]))
        }
        #[inline(always)]
        fn int_shr<const N: i32>(self, v: I) -> I {
            four!(K => vshrq_n_s32::<N>(v[K]))
        }
        #[inline(always)]
        unsafe fn load_bytes(self, from: *const u8) -> B {
            four!(K => vld1q_u8(from.add(16 * K)))
        }
        #[inline(always)]
        unsafe fn store_bytes(self, to: *mut u8, v: I) {
            // SAFETY: token; pointer by the caller.
            unsafe {
                let low = vmovn_high_s32(vmovn_s32(v[0]), v[1]);
                let high = vmovn_high_s32(vmovn_s32(v[2]), v[3]);
                let bytes = vmovn_high_s16(vmovn_s16(low), high);
                vst1q_u8(to, vreinterpretq_u8_s8(bytes));
            }
        }
        #[inline(always)]
        unsafe fn load_i8(self, from: *const i8) -> I {
            // SAFETY: token; pointer by the caller.
            unsafe {
                let bytes = vld1q_s8(from);
                let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
                [
                    vmovl_s16(vget_low_s16(low)),
                    vmovl_high_s16(low),
                    vmovl_s16(vget_low_s16(high)),
                    vmovl_high_s16(high),
                ]
            }
        }
        #[inline(always)]
        fn low_nibbles(self, v: B) -> B {
            four!(K => vandq_u8(v[K], vdupq_n_u8(15)))
        }
        #[inline(always)]
        fn high_nibbles(self, v: B) -> B {
            four!(K => vshrq_n_u8::<4>(v[K]))
        }
        #[inline(always)]
        fn prefetch(self, at: *const u8) {
            // SAFETY: a prefetch never faults, whatever the address.
            unsafe {
                std::arch::asm!(
                    "prfm pldl1keep, [{at}]",
                    at = in(reg) at,
                    options(nostack, readonly, preserves_flags),
                );
            }
        }
    };
}

impl Simd for Neon {
    shared_methods!();

    #[inline(always)]
    fn dot4(self, acc: I, w: B, x: i32) -> I {
        four!(K => {
            let x = vreinterpretq_s8_s32(vdupq_n_s32(x));
            vaddq_s32(acc[K], dot_widened(w[K], x))
        })
    }
    #[inline(always)]
    fn dot4_small(self, acc: I, w: B, x: i32) -> I {
        four!(K => {
            let x = vreinterpretq_s8_s32(vdupq_n_s32(x));
            vaddq_s32(acc[K], dot_small(w[K], x))
        })
    }
}

impl Simd for NeonDot {
    shared_methods!();

    #[inline(always)]
    fn dot4(self, acc: I, w: B, x: i32) -> I {
        // The instruction wants both signed: w - 128 is, and 128 times the sum
        // of x, the same for all lanes, mends it.
        let sum: i32 = {
            let [a, b, c, d] = x.to_le_bytes();
            i32::from(a as i8) + i32::from(b as i8) + i32::from(c as i8) + i32::from(d as i8)
        };
        four!(K => {
            let x = vreinterpretq_s8_s32(vdupq_n_s32(x));
            let w = vreinterpretq_s8_u8(veorq_u8(w[K], vdupq_n_u8(0x80)));
            sdot(vaddq_s32(acc[K], vdupq_n_s32(128 * sum)), w, x)
        })
    }
    #[inline(always)]
    fn dot4_small(self, acc: I, w: B, x: i32) -> I {
        four!(K => {
            let x = vreinterpretq_s8_s32(vdupq_n_s32(x));
            sdot(acc[K], vreinterpretq_s8_u8(w[K]), x)
        })
    }
}

const _: () = assert!(LANES == 16);
