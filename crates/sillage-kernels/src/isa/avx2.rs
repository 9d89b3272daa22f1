//! x86-64 with AVX2: two registers are one sixteen-lane vector.

use super::{Kernel, Simd};
use std::arch::x86_64::*;

/// Proof of AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// The token, on a CPU that has the features.
    #[must_use]
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c"))
        .then_some(Self(()))
    }

    #[inline]
    pub(crate) fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn inner<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: `self` exists only if detection found these features.
        unsafe { inner(self, kernel) }
    }
}

type F = [__m256; 2];
type I = [__m256i; 2];

/// Applies one intrinsic to both halves.
macro_rules! both {
    ($op:ident($($v:ident),+)) => {
        // SAFETY: the token in scope (`self`) proves the features.
        unsafe { [$op($($v[0]),+), $op($($v[1]),+)] }
    };
}

impl Simd for Avx2 {
    type F = F;
    type I = I;
    type B = I;

    #[inline(always)]
    fn splat(self, value: f32) -> F {
        // SAFETY: token.
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> F {
        // SAFETY: token; pointer by the caller.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: F) {
        // SAFETY: token; pointer by the caller.
        unsafe {
            _mm256_storeu_ps(to, v[0]);
            _mm256_storeu_ps(to.add(8), v[1]);
        }
    }
    #[inline(always)]
    unsafe fn load_f16(self, from: *const u16) -> F {
        // SAFETY: token; pointer by the caller.
        unsafe {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast())),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> F {
        // SAFETY: token; pointer by the caller.
        unsafe {
            let wide = [
                _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast())),
                _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(8).cast())),
            ];
            wide.map(|v| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(v)))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, v: F) {
        // SAFETY: token; pointer by the caller.
        unsafe {
            let [low, high] = self
                .bits(self.round_bf16(v))
                .map(|bits| _mm256_srli_epi32::<16>(bits));
            // Packing works within 128-bit halves; the permutation mends that.
            let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(low, high));
            _mm256_storeu_si256(to.cast(), packed);
        }
    }
    #[inline(always)]
    fn join_upper(self, low: F, high: F) -> F {
        // SAFETY: token.
        [0, 1].map(|i| unsafe {
            let low = _mm256_srli_epi32::<16>(_mm256_castps_si256(low[i]));
            let high = _mm256_castps_si256(high[i]);
            _mm256_castsi256_ps(_mm256_blend_epi16::<0xaa>(low, high))
        })
    }
    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        both!(_mm256_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        both!(_mm256_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        both!(_mm256_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        both!(_mm256_div_ps(a, b))
    }
    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        both!(_mm256_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn fnma(self, a: F, b: F, c: F) -> F {
        both!(_mm256_fnmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        both!(_mm256_max_ps(a, b))
    }
    #[inline(always)]
    fn min(self, a: F, b: F) -> F {
        both!(_mm256_min_ps(a, b))
    }
    #[inline(always)]
    fn abs(self, v: F) -> F {
        // SAFETY: token.
        let mask = unsafe { [_mm256_castsi256_ps(_mm256_set1_epi32(0x7fff_ffff)); 2] };
        both!(_mm256_and_ps(v, mask))
    }
    #[inline(always)]
    fn round(self, v: F) -> F {
        // SAFETY: token.
        v.map(|v| unsafe {
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v)
        })
    }
    #[inline(always)]
    fn select_gt(self, a: F, b: F, yes: F, no: F) -> F {
        // SAFETY: token.
        unsafe {
            [
                _mm256_blendv_ps(no[0], yes[0], _mm256_cmp_ps::<_CMP_GT_OQ>(a[0], b[0])),
                _mm256_blendv_ps(no[1], yes[1], _mm256_cmp_ps::<_CMP_GT_OQ>(a[1], b[1])),
            ]
        }
    }
    #[inline(always)]
    fn round_bf16(self, v: F) -> F {
        // As in avx512.rs: half a place, less one where the place is even.
        // SAFETY: token.
        v.map(|v| unsafe {
            let bits = _mm256_castps_si256(v);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let sum = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
            let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(v, v);
            let kept = _mm256_blendv_ps(_mm256_castsi256_ps(sum), _mm256_castsi256_ps(quiet), nan);
            _mm256_and_ps(kept, _mm256_castsi256_ps(_mm256_set1_epi32(!0xffff)))
        })
    }
    #[inline(always)]
    fn int(self, value: i32) -> I {
        // SAFETY: token.
        unsafe { [_mm256_set1_epi32(value); 2] }
    }
    #[inline(always)]
    fn to_int(self, v: F) -> I {
        both!(_mm256_cvttps_epi32(v))
    }
    #[inline(always)]
    fn to_float(self, v: I) -> F {
        both!(_mm256_cvtepi32_ps(v))
    }
    #[inline(always)]
    fn bits(self, v: F) -> I {
        both!(_mm256_castps_si256(v))
    }
    #[inline(always)]
    fn from_bits(self, v: I) -> F {
        both!(_mm256_castsi256_ps(v))
    }
    #[inline(always)]
    fn int_add(self, a: I, b: I) -> I {
        both!(_mm256_add_epi32(a, b))
    }
    #[inline(always)]
    fn int_sub(self, a: I, b: I) -> I {
        both!(_mm256_sub_epi32(a, b))
    }
    #[inline(always)]
    fn max_int(self, a: I, b: I) -> I {
        both!(_mm256_max_epi32(a, b))
    }
    #[inline(always)]
    fn int_mul(self, a: I, b: I) -> I {
        both!(_mm256_mullo_epi32(a, b))
    }
    #[inline(always)]
    fn int_and(self, a: I, b: I) -> I {
        both!(_mm256_and_si256(a, b))
    }
    #[inline(always)]
    fn int_or(self, a: I, b: I) -> I {
        both!(_mm256_or_si256(a, b))
    }
    #[inline(always)]
    fn int_shl<const N: i32>(self, v: I) -> I {
        // SAFETY: token.
        v.map(|v| unsafe { _mm256_slli_epi32::<N>(v) })
    }
    #[inline(always)]
    fn int_shr<const N: i32>(self, v: I) -> I {
        // SAFETY: token.
        v.map(|v| unsafe { _mm256_srai_epi32::<N>(v) })
    }
    #[inline(always)]
    unsafe fn load_bytes(self, from: *const u8) -> I {
        // SAFETY: token; pointer by the caller.
        unsafe {
            [
                _mm256_loadu_si256(from.cast()),
                _mm256_loadu_si256(from.add(32).cast()),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_i8(self, from: *const i8) -> I {
        // SAFETY: token; pointer by the caller.
        unsafe {
            [
                _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast())),
                _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.add(8).cast())),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, v: I) {
        // SAFETY: token; pointer by the caller.
        unsafe {
            let low = _mm256_set1_epi32(0xff);
            let words =
                _mm256_packs_epi32(_mm256_and_si256(v[0], low), _mm256_and_si256(v[1], low));
            // Packing works within 128-bit halves; the permutation mends that.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let bytes = _mm_packus_epi16(
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            );
            _mm_storeu_si128(to.cast(), bytes);
        }
    }
    #[inline(always)]
    fn join_pair<const P: i32>(self, low: I, high: I) -> I {
        [0, 1].map(|i| {
            // SAFETY: token.
            unsafe {
                let moved = match P {
                    0 => _mm256_slli_epi16::<4>(high[i]),
                    1 => _mm256_slli_epi16::<2>(high[i]),
                    2 => high[i],
                    _ => _mm256_srli_epi16::<2>(high[i]),
                };
                _mm256_or_si256(low[i], _mm256_and_si256(moved, _mm256_set1_epi8(0x30)))
            }
        })
    }
    #[inline(always)]
    fn low_nibbles(self, v: I) -> I {
        // SAFETY: token.
        v.map(|v| unsafe { _mm256_and_si256(v, _mm256_set1_epi8(15)) })
    }
    #[inline(always)]
    fn high_nibbles(self, v: I) -> I {
        // SAFETY: token.
        v.map(|v| unsafe { _mm256_and_si256(_mm256_srli_epi16::<4>(v), _mm256_set1_epi8(15)) })
    }
    #[inline(always)]
    fn dot4(self, acc: I, w: I, x: i32) -> I {
        // The one-step byte product saturates at 16 bits, which full-range
        // weights reach; even and odd bytes apart stay exact.
        // SAFETY: token.
        unsafe {
            let x = _mm256_set1_epi32(x);
            let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x));
            let odd = _mm256_srai_epi16::<8>(x);
            let low = _mm256_set1_epi16(0x00ff);
            [0, 1].map(|i| {
                let a = _mm256_madd_epi16(_mm256_and_si256(w[i], low), even);
                let b = _mm256_madd_epi16(_mm256_srli_epi16::<8>(w[i]), odd);
                _mm256_add_epi32(acc[i], _mm256_add_epi32(a, b))
            })
        }
    }
    #[inline(always)]
    fn dot4_small(self, acc: I, w: I, x: i32) -> I {
        // Below 128 two products of a pair sum to at most 2 * 127 * 128, which
        // fits 16 bits.
        // SAFETY: token.
        unsafe {
            let x = _mm256_set1_epi32(x);
            let ones = _mm256_set1_epi16(1);
            [0, 1].map(|i| {
                let pairs = _mm256_maddubs_epi16(w[i], x);
                _mm256_add_epi32(acc[i], _mm256_madd_epi16(pairs, ones))
            })
        }
    }
    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a prefetch never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
    fn prefetch_far(self, at: *const u8) {
        // SAFETY: a prefetch never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
}
