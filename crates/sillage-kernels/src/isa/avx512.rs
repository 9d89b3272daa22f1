//! x86-64 with AVX-512: one register is one sixteen-lane vector.

use super::{Kernel, Simd};
use std::arch::x86_64::*;

/// Proof of AVX-512 F, BW, DQ, VL and VNNI.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

impl Avx512 {
    /// The token, on a CPU that has the features.
    #[must_use]
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c"))
        .then_some(Self(()))
    }

    #[inline]
    pub(crate) fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c,avx2")]
        fn inner<K: Kernel>(simd: Avx512, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: `self` exists only if detection found these features.
        unsafe { inner(self, kernel) }
    }
}

// SAFETY of every block inside: the token proves the features; pointers are
// vouched for by the callers of the `unsafe fn`s.
impl Simd for Avx512 {
    type F = __m512;
    type I = __m512i;
    type B = __m512i;
    const FLOAT_TOKENS: usize = 12;
    const INT_TOKENS: usize = 6;

    const REGISTERS: usize = 32;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: token.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: token; pointer by the caller.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m512) {
        // SAFETY: token; pointer by the caller.
        unsafe { _mm512_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, n: usize) -> __m512 {
        let mask = ((1u32 << n.min(16)) - 1) as u16;
        // SAFETY: token; masked lanes are not touched.
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, v: __m512, n: usize) {
        let mask = ((1u32 << n.min(16)) - 1) as u16;
        // SAFETY: token; masked lanes are not touched.
        unsafe { _mm512_mask_storeu_ps(to, mask, v) }
    }
    #[inline(always)]
    unsafe fn load_f16(self, from: *const u16) -> __m512 {
        // SAFETY: token; pointer by the caller.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> __m512 {
        // SAFETY: token; pointer by the caller.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, v: __m512) {
        // SAFETY: token; pointer by the caller.
        unsafe {
            let bits = _mm512_castps_si512(self.round_bf16(v));
            let narrow = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(bits));
            _mm256_storeu_si256(to.cast(), narrow);
        }
    }
    #[inline(always)]
    fn join_upper(self, low: __m512, high: __m512) -> __m512 {
        // Table 0xca: bits of the second where the first (the mask) is set,
        // else of the third.
        // SAFETY: token.
        unsafe {
            let low = _mm512_srli_epi32::<16>(_mm512_castps_si512(low));
            let mask = _mm512_set1_epi32(!0xffff);
            let high = _mm512_castps_si512(high);
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0xca>(mask, high, low))
        }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: token.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: token.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: token.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: token.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: token.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn fnma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: token.
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: token.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: token.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn abs(self, v: __m512) -> __m512 {
        // SAFETY: token.
        unsafe { _mm512_abs_ps(v) }
    }
    #[inline(always)]
    fn round(self, v: __m512) -> __m512 {
        // SAFETY: token. Immediate 0: nearest even, all fraction bits.
        unsafe { _mm512_roundscale_ps::<0>(v) }
    }
    #[inline(always)]
    fn select_gt(self, a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        // SAFETY: token.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), no, yes) }
    }
    #[inline(always)]
    fn round_bf16(self, v: __m512) -> __m512 {
        // Add half of the last kept place, minus one when that place is
        // even, then cut: ties to even. NaNs are kept by the blend.
        // SAFETY: token.
        unsafe {
            let bits = _mm512_castps_si512(v);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let sum = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
            let kept = _mm512_mask_blend_epi32(nan, sum, quiet);
            _mm512_castsi512_ps(_mm512_and_si512(kept, _mm512_set1_epi32(!0xffff)))
        }
    }
    #[inline(always)]
    fn largest(self, v: __m512) -> f32 {
        // SAFETY: token.
        unsafe { _mm512_reduce_max_ps(v) }
    }
    #[inline(always)]
    fn max_int(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: token.
        unsafe { _mm512_max_epi32(a, b) }
    }
    #[inline(always)]
    fn largest_int(self, v: __m512i) -> i32 {
        // SAFETY: token.
        unsafe { _mm512_reduce_max_epi32(v) }
    }
    #[inline(always)]
    fn transpose(self, rows: [__m512; 16]) -> [__m512; 16] {
        // Within 128-bit lanes by twos and fours, then the lanes themselves.
        let mut a = rows;
        let mut b = rows;
        // SAFETY: token.
        unsafe {
            for i in 0..8 {
                b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
                b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
            }
            for i in 0..4 {
                for j in 0..2 {
                    let low = _mm512_castps_pd(b[4 * i + j]);
                    let high = _mm512_castps_pd(b[4 * i + 2 + j]);
                    a[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
                    a[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
                }
            }
            for i in 0..2 {
                for j in 0..4 {
                    let (low, high) = (a[8 * i + j], a[8 * i + 4 + j]);
                    b[8 * i + j] = _mm512_shuffle_f32x4::<0x88>(low, high);
                    b[8 * i + 4 + j] = _mm512_shuffle_f32x4::<0xdd>(low, high);
                }
            }
            for j in 0..8 {
                let (low, high) = (b[j], b[8 + j]);
                a[j] = _mm512_shuffle_f32x4::<0x88>(low, high);
                a[8 + j] = _mm512_shuffle_f32x4::<0xdd>(low, high);
            }
        }
        a
    }
    #[inline(always)]
    fn int(self, value: i32) -> __m512i {
        // SAFETY: token.
        unsafe { _mm512_set1_epi32(value) }
    }
    #[inline(always)]
    fn to_int(self, v: __m512) -> __m512i {
        // SAFETY: token.
        unsafe { _mm512_cvttps_epi32(v) }
    }
    #[inline(always)]
    fn to_float(self, v: __m512i) -> __m512 {
        // SAFETY: token.
        unsafe { _mm512_cvtepi32_ps(v) }
    }
    #[inline(always)]
    fn bits(self, v: __m512) -> __m512i {
        // SAFETY: token.
        unsafe { _mm512_castps_si512(v) }
    }
    #[inline(always)]
    fn from_bits(self, v: __m512i) -> __m512 {
        // SAFETY: token.
        unsafe { _mm512_castsi512_ps(v) }
    }
    #[inline(always)]
    fn int_add(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: token.
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    fn int_sub(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: token.
        unsafe { _mm512_sub_epi32(a, b) }
    }
    #[inline(always)]
    fn int_mul(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: token.
        unsafe { _mm512_mullo_epi32(a, b) }
    }
    #[inline(always)]
    fn int_and(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: token.
        unsafe { _mm512_and_si512(a, b) }
    }
    #[inline(always)]
    fn int_or(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: token.
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    fn int_shl<const N: i32>(self, v: __m512i) -> __m512i {
        // SAFETY: token.
        unsafe { _mm512_sll_epi32(v, _mm_cvtsi32_si128(N)) }
    }
    #[inline(always)]
    fn int_shr<const N: i32>(self, v: __m512i) -> __m512i {
        // SAFETY: token.
        unsafe { _mm512_sra_epi32(v, _mm_cvtsi32_si128(N)) }
    }
    #[inline(always)]
    unsafe fn load_bytes(self, from: *const u8) -> __m512i {
        // SAFETY: token; pointer by the caller.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, v: __m512i) {
        // SAFETY: token; pointer by the caller.
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(v)) }
    }
    #[inline(always)]
    unsafe fn load_i8(self, from: *const i8) -> __m512i {
        // SAFETY: token; pointer by the caller.
        unsafe { _mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast())) }
    }
    #[inline(always)]
    fn join_pair<const P: i32>(self, low: __m512i, high: __m512i) -> __m512i {
        // SAFETY: token.
        unsafe {
            let moved = match P {
                0 => _mm512_slli_epi16::<4>(high),
                1 => _mm512_slli_epi16::<2>(high),
                2 => high,
                _ => _mm512_srli_epi16::<2>(high),
            };
            // a | (b & c)
            _mm512_ternarylogic_epi32::<0xf8>(low, moved, _mm512_set1_epi8(0x30))
        }
    }
    #[inline(always)]
    fn low_nibbles(self, v: __m512i) -> __m512i {
        // SAFETY: token.
        unsafe { _mm512_and_si512(v, _mm512_set1_epi8(15)) }
    }
    #[inline(always)]
    fn high_nibbles(self, v: __m512i) -> __m512i {
        // SAFETY: token.
        unsafe { _mm512_and_si512(_mm512_srli_epi16::<4>(v), _mm512_set1_epi8(15)) }
    }
    #[inline(always)]
    fn dot4(self, acc: __m512i, w: __m512i, x: i32) -> __m512i {
        // SAFETY: token.
        unsafe { _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(x)) }
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
