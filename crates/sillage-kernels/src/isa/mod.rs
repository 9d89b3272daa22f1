//! Instruction sets and how a kernel is written once for all of them.
//!
//! Every kernel is generic over [`Simd`], whose vector has **sixteen f32 lanes
//! on every machine**: one register with AVX-512, two with AVX2, four with
//! NEON, an array in plain code. Lanes and their order are therefore part of a
//! kernel's arithmetic and not of the machine, and kernels built from fused
//! multiply-adds give the same bits everywhere.
//!
//! A [`Simd`] value is proof that the CPU has its features: only detection
//! makes one. [`Isa::dispatch`] enters a function compiled with those features
//! and inlines the kernel into it, so a [`Kernel::run`] and all it calls in its
//! inner loops must be `#[inline(always)]`, closures included.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub use neon::{Neon, NeonDot};
pub use scalar::Scalar;

/// Lanes of every [`Simd`] vector of 32-bit elements.
pub const LANES: usize = 16;

/// The path kernels take on this CPU. Variants other than `Scalar` hold tokens
/// that only detection makes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust; runs everywhere and is the twin that tests compare with.
    Scalar(Scalar),
    /// x86-64 with AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// ARM64.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// ARM64 with 8-bit dot products.
    #[cfg(target_arch = "aarch64")]
    NeonDot(NeonDot),
}

impl Isa {
    /// Every path this CPU can take, slowest (plain Rust) first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut all = vec![Self::Scalar(Scalar)];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx2::detect().map(Self::Avx2));
            all.extend(Avx512::detect().map(Self::Avx512));
        }
        #[cfg(target_arch = "aarch64")]
        {
            all.extend(Neon::detect().map(Self::Neon));
            all.extend(NeonDot::detect().map(Self::NeonDot));
        }
        all
    }

    /// The fastest path this CPU can take.
    #[must_use]
    pub fn best() -> Self {
        Self::available().pop().unwrap_or(Self::Scalar(Scalar))
    }

    /// The path called `name` (see [`Isa::name`]), if this CPU can take it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::available().into_iter().find(|isa| isa.name() == name)
    }

    /// A short lower-case name, such as `avx512`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar(_) => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "neon",
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot(_) => "neon-dot",
        }
    }

    /// As [`Isa::dispatch`], for kernels without byte products: sets that differ
    /// only in those share one compilation.
    #[inline]
    pub(crate) fn dispatch_float<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Self::Scalar(simd) => kernel.run(simd),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => simd.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => simd.enter(kernel),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(simd) => simd.enter(kernel),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot(simd) => simd.base().enter(kernel),
        }
    }

    /// Runs `kernel` compiled for this instruction set.
    #[inline]
    pub(crate) fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Self::Scalar(simd) => kernel.run(simd),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => simd.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => simd.enter(kernel),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(simd) => simd.enter(kernel),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot(simd) => simd.enter(kernel),
        }
    }
}

/// Code to be compiled once per instruction set.
pub(crate) trait Kernel {
    /// What the kernel returns; most write to slices and return nothing.
    type Output;
    /// The code; implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Sixteen-lane vectors of one instruction set.
///
/// The methods are safe because the value proves the features, except where
/// they follow pointers: there the caller vouches for the memory.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Sixteen f32.
    type F: Copy;
    /// Sixteen i32.
    type I: Copy;
    /// Sixty-four bytes.
    type B: Copy;

    /// Tokens of the largest tile of floating-point (quantised) weights: as
    /// many as keep their sums in registers.
    const FLOAT_TOKENS: usize = 3;
    const INT_TOKENS: usize = 2;

    /// Vectors that the register file holds.
    const REGISTERS: usize = 8;

    fn splat(self, value: f32) -> Self::F;
    /// # Safety
    /// Sixteen f32 must be readable at `from`; no alignment is needed.
    unsafe fn load(self, from: *const f32) -> Self::F;
    /// # Safety
    /// Sixteen f32 must be writable at `to`.
    unsafe fn store(self, to: *mut f32, v: Self::F);
    /// Loads `n <= 16` elements, zeros in the other lanes.
    /// # Safety
    /// `n` f32 must be readable at `from`.
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, n: usize) -> Self::F {
        let mut lanes = [0f32; LANES];
        // SAFETY: the caller vouches for `n` elements; `min` keeps to the array.
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), n.min(LANES));
            self.load(lanes.as_ptr())
        }
    }
    /// Stores the first `n <= 16` lanes.
    /// # Safety
    /// `n` f32 must be writable at `to`.
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, v: Self::F, n: usize) {
        let lanes = self.to_array(v);
        // SAFETY: the caller vouches for `n` elements; `min` keeps to the array.
        unsafe { std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, n.min(LANES)) };
    }
    /// Sixteen IEEE half floats, widened.
    /// # Safety
    /// Sixteen u16 must be readable at `from`.
    unsafe fn load_f16(self, from: *const u16) -> Self::F;
    /// Sixteen bfloat16, widened.
    /// # Safety
    /// Sixteen u16 must be readable at `from`.
    unsafe fn load_bf16(self, from: *const u16) -> Self::F;
    /// Rounds (nearest, ties to even; a NaN stays one) to bfloat16 and stores.
    /// # Safety
    /// Sixteen u16 must be writable at `to`.
    unsafe fn store_bf16(self, to: *mut u16, v: Self::F);
    /// Lane by lane the upper half of `low`, moved down, below the upper half
    /// of `high`: two rounded bfloat16 in one lane.
    #[inline(always)]
    fn join_upper(self, low: Self::F, high: Self::F) -> Self::F {
        let low = self.int_and(self.int_shr::<16>(self.bits(low)), self.int(0xffff));
        self.from_bits(self.int_or(low, self.int_and(self.bits(high), self.int(!0xffff))))
    }
    #[inline(always)]
    fn to_array(self, v: Self::F) -> [f32; LANES] {
        let mut lanes = [0f32; LANES];
        // SAFETY: the array has sixteen elements.
        unsafe { self.store(lanes.as_mut_ptr(), v) };
        lanes
    }

    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b`, rounded once.
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The larger; which one is returned for NaN differs between machines.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The smaller; as [`Simd::max`].
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    fn abs(self, v: Self::F) -> Self::F;
    /// Nearest integer, ties to even.
    #[allow(dead_code, reason = "belongs to the set")]
    fn round(self, v: Self::F) -> Self::F;
    /// Lane by lane `if a > b { yes } else { no }` (false for NaN).
    fn select_gt(self, a: Self::F, b: Self::F, yes: Self::F, no: Self::F) -> Self::F;
    /// Rounds to bfloat16 precision (nearest, ties to even), kept as f32.
    fn round_bf16(self, v: Self::F) -> Self::F;

    /// Sum of the lanes, in one fixed order: lane i with i+8, then +4, +2, +1.
    #[inline(always)]
    fn sum(self, v: Self::F) -> f32 {
        let mut lanes = self.to_array(v);
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
            width /= 2;
        }
        lanes[0]
    }
    /// The largest lane.
    #[inline(always)]
    fn largest(self, v: Self::F) -> f32 {
        self.to_array(v)
            .into_iter()
            .fold(f32::NEG_INFINITY, f32::max)
    }

    /// The largest lane.
    #[inline(always)]
    fn largest_int(self, v: Self::I) -> i32 {
        let lanes = self.to_array(self.from_bits(v));
        lanes
            .into_iter()
            .fold(i32::MIN, |most, lane| most.max(lane.to_bits() as i32))
    }

    /// Sixteen rows, columns made rows.
    #[inline(always)]
    fn transpose(self, rows: [Self::F; LANES]) -> [Self::F; LANES] {
        let lanes = rows.map(|row| self.to_array(row));
        std::array::from_fn(|i| {
            let column: [f32; LANES] = std::array::from_fn(|j| lanes[j][i]);
            // SAFETY: the array has sixteen elements.
            unsafe { self.load(column.as_ptr()) }
        })
    }

    fn int(self, value: i32) -> Self::I;
    /// Truncates towards zero; lanes must fit an i32.
    fn to_int(self, v: Self::F) -> Self::I;
    fn to_float(self, v: Self::I) -> Self::F;
    fn bits(self, v: Self::F) -> Self::I;
    #[allow(
        clippy::wrong_self_convention,
        reason = "self is the proof, not the value"
    )]
    fn from_bits(self, v: Self::I) -> Self::F;
    fn int_add(self, a: Self::I, b: Self::I) -> Self::I;
    fn int_sub(self, a: Self::I, b: Self::I) -> Self::I;
    /// The low 32 bits of the product.
    fn int_mul(self, a: Self::I, b: Self::I) -> Self::I;
    #[inline(always)]
    fn max_int(self, a: Self::I, b: Self::I) -> Self::I {
        let (a, b) = (
            self.to_array(self.from_bits(a)),
            self.to_array(self.from_bits(b)),
        );
        let lanes: [i32; LANES] =
            std::array::from_fn(|i| (a[i].to_bits() as i32).max(b[i].to_bits() as i32));
        // SAFETY: the array has sixteen lanes of 32 bits.
        self.bits(unsafe { self.load(lanes.as_ptr().cast()) })
    }
    fn int_and(self, a: Self::I, b: Self::I) -> Self::I;
    fn int_or(self, a: Self::I, b: Self::I) -> Self::I;
    fn int_shl<const N: i32>(self, v: Self::I) -> Self::I;
    /// Arithmetic shift right.
    fn int_shr<const N: i32>(self, v: Self::I) -> Self::I;

    /// # Safety
    /// Sixty-four bytes must be readable at `from`.
    unsafe fn load_bytes(self, from: *const u8) -> Self::B;
    /// Stores the low byte of every lane.
    /// # Safety
    /// Sixteen bytes must be writable at `to`.
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, v: Self::I) {
        let bytes = self
            .to_array(self.from_bits(v))
            .map(|lane| lane.to_bits() as u8);
        // SAFETY: by the caller.
        unsafe { to.cast::<[u8; LANES]>().write_unaligned(bytes) };
    }
    /// Sixteen signed bytes, widened.
    /// # Safety
    /// Sixteen bytes must be readable at `from`.
    #[inline(always)]
    unsafe fn load_i8(self, from: *const i8) -> Self::I {
        // SAFETY: by the caller.
        let lanes = unsafe { from.cast::<[i8; LANES]>().read_unaligned() }.map(i32::from);
        // SAFETY: the array has sixteen lanes of 32 bits.
        self.bits(unsafe { self.load(lanes.as_ptr().cast()) })
    }
    /// # Safety
    /// Sixty-four bytes must be writable at `to`.
    #[inline(always)]
    unsafe fn store_block(self, to: *mut u8, v: Self::B) {
        const { assert!(size_of::<Self::B>() == 64) };
        // SAFETY: a `B` is sixty-four plain bytes; memory by the caller.
        unsafe { to.cast::<Self::B>().write_unaligned(v) }
    }
    /// Byte by byte `low | (bits 2P and 2P + 1 of high) << 4`, for `low` below 16.
    #[inline(always)]
    fn join_pair<const P: i32>(self, low: Self::B, high: Self::B) -> Self::B {
        const { assert!(size_of::<Self::B>() == 64 && P >= 0 && P < 4) };
        // SAFETY: a `B` is sixty-four plain bytes, read and written as such.
        unsafe {
            let low: [u8; 64] = std::mem::transmute_copy(&low);
            let high: [u8; 64] = std::mem::transmute_copy(&high);
            let joined: [u8; 64] = std::array::from_fn(|i| low[i] | (high[i] >> (2 * P) & 3) << 4);
            std::mem::transmute_copy(&joined)
        }
    }
    /// The low half of every byte.
    fn low_nibbles(self, v: Self::B) -> Self::B;
    /// The high half of every byte, shifted down.
    fn high_nibbles(self, v: Self::B) -> Self::B;
    /// Lane i gains the dot product of bytes `4i..4i+4` of `w` (unsigned) with
    /// the four signed bytes of `x` (little endian); exact.
    fn dot4(self, acc: Self::I, w: Self::B, x: i32) -> Self::I;
    /// As [`Simd::dot4`] where every byte of `w` is below 128.
    #[inline(always)]
    fn dot4_small(self, acc: Self::I, w: Self::B, x: i32) -> Self::I {
        self.dot4(acc, w, x)
    }
    /// Hints that the cache line at `at` is wanted soon.
    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        let _ = at;
    }
    /// Hints that the cache line at `at` is wanted later: into the L2 cache.
    #[inline(always)]
    fn prefetch_far(self, at: *const u8) {
        let _ = at;
    }
}

#[cfg(test)]
mod tests;
