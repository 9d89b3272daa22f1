//! What the synthesis of sound does to every bin of a spectrum: magnitudes and
//! phases to complex numbers, and noise that is a function of its place.
//!
//! A frame is a few hundred bins, so these take an [`Isa`] and run on the
//! calling thread; whoever has many frames spreads those.

use crate::isa::{Isa, Kernel, LANES, Simd};
use crate::math;
use crate::spread::{read, write};

/// `out = e^x` with `x` limited to `low..=high`.
///
/// # Panics
/// If the slices differ in length.
pub fn exp_limited(isa: Isa, x: &[f32], low: f32, high: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "as many results as exponents");
    isa.dispatch_float(Exp { x, low, high, out });
}

struct Exp<'a> {
    x: &'a [f32],
    low: f32,
    high: f32,
    out: &'a mut [f32],
}

impl Kernel for Exp<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in (0..self.out.len()).step_by(LANES) {
            let x = limited(s, read(s, self.x, i), self.low, self.high);
            write(s, self.out, i, math::exp(s, x));
        }
    }
}

/// The complex numbers `e^(x + i angle)`, with `x` limited to `low..=high` and
/// angles, in radians, to ±10,000.
///
/// # Panics
/// If the slices differ in length.
pub fn polar(
    isa: Isa,
    x: &[f32],
    angle: &[f32],
    low: f32,
    high: f32,
    real: &mut [f32],
    imaginary: &mut [f32],
) {
    let len = real.len();
    assert!(
        [x.len(), angle.len(), imaginary.len()] == [len; 3],
        "as many results as exponents and angles"
    );
    isa.dispatch_float(Polar {
        x,
        angle,
        low,
        high,
        real,
        imaginary,
    });
}

struct Polar<'a> {
    x: &'a [f32],
    angle: &'a [f32],
    low: f32,
    high: f32,
    real: &'a mut [f32],
    imaginary: &'a mut [f32],
}

impl Kernel for Polar<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in (0..self.real.len()).step_by(LANES) {
            let x = limited(s, read(s, self.x, i), self.low, self.high);
            let size = math::exp(s, x);
            let (sin, cos) = math::sin_cos(s, read(s, self.angle, i));
            write(s, self.real, i, s.mul(size, cos));
            write(s, self.imaginary, i, s.mul(size, sin));
        }
    }
}

#[inline(always)]
fn limited<S: Simd>(s: S, x: S::F, low: f32, high: f32) -> S::F {
    s.max(s.splat(low), s.min(s.splat(high), x))
}

/// Noise of zero mean and unit variance: element `i` is a number uniform in
/// ±sqrt(3), made from the counter `first + i` (wrapping) by the mixing function
/// of MurmurHash3 (Appleby, public domain).
pub fn uniform(isa: Isa, first: u32, out: &mut [f32]) {
    isa.dispatch_float(Uniform { first, out });
}

struct Uniform<'a> {
    first: u32,
    out: &'a mut [f32],
}

impl Kernel for Uniform<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        const COUNT: [f32; LANES] = {
            let mut lanes = [0.0; LANES];
            let mut i = 0;
            while i < LANES {
                lanes[i] = i as f32;
                i += 1;
            }
            lanes
        };
        let lanes = s.to_int(read(s, &COUNT, 0));
        let scale = s.splat(3f32.sqrt());
        for i in (0..self.out.len()).step_by(LANES) {
            let start = s.int(self.first.wrapping_add(i as u32) as i32);
            let mut x = s.int_add(start, lanes);
            x = s.int_mul(folded(s, x), s.int(0x85eb_ca6b_u32 as i32));
            x = s.int_mul(folded(s, x), s.int(0xc2b2_ae35_u32 as i32));
            x = folded(s, x);
            // Less 2^31, as a signed number: the top bit turned over.
            let signed = s.to_float(s.int_add(x, s.int(i32::MIN)));
            let unit = s.mul(signed, s.splat(1.0 / 2_147_483_648.0));
            write(s, self.out, i, s.mul(unit, scale));
        }
    }
}

/// `x ^ (x >> 16)`, shifting in zeros.
#[inline(always)]
fn folded<S: Simd>(s: S, x: S::I) -> S::I {
    let upper = s.int_and(s.int_shr::<16>(x), s.int(0xffff));
    s.int_sub(s.int_or(x, upper), s.int_and(x, upper))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bits, random};

    /// Requires the same bits of every instruction set.
    fn everywhere(kernel: impl Fn(Isa) -> Vec<f32>) -> Vec<f32> {
        let mut all = Isa::available().into_iter().map(|isa| (isa, kernel(isa)));
        let (_, expected) = all.next().unwrap();
        for (isa, found) in all {
            assert_eq!(bits(&found), bits(&expected), "{}", isa.name());
        }
        expected
    }

    #[test]
    fn complex_numbers_match_f64() {
        for len in [1, 16, 513] {
            let (x, angle) = (random(1, len, 6.0), random(2, len, 40.0));
            let found = everywhere(|isa| {
                let (mut out, mut imaginary) = (vec![0.0; len], vec![0.0; len]);
                polar(isa, &x, &angle, -3.0, 5.0, &mut out, &mut imaginary);
                out.extend(imaginary);
                out
            });
            let sizes = everywhere(|isa| {
                let mut out = vec![0.0; len];
                exp_limited(isa, &x, -3.0, 5.0, &mut out);
                out
            });
            for i in 0..len {
                let size = f64::from(x[i].clamp(-3.0, 5.0)).exp();
                let (sin, cos) = f64::from(angle[i]).sin_cos();
                for (f, e) in [
                    (found[i], size * cos),
                    (found[len + i], size * sin),
                    (sizes[i], size),
                ] {
                    assert!((f64::from(f) - e).abs() <= 4e-7 * size, "{f} {e}");
                }
            }
        }
    }

    #[test]
    fn noise_is_the_hash_of_its_place() {
        for (first, len) in [(0, 40), (u32::MAX - 9, 33), (12_345, 513)] {
            let found = everywhere(|isa| {
                let mut out = vec![0.0; len];
                uniform(isa, first, &mut out);
                out
            });
            for (i, f) in found.iter().enumerate() {
                let mut x = first.wrapping_add(i as u32);
                x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
                x = (x ^ (x >> 16)).wrapping_mul(0xc2b2_ae35);
                x ^= x >> 16;
                let unit = (f64::from(x) / 2_147_483_648.0 - 1.0) as f32;
                assert_eq!(f.to_bits(), (unit * 3f32.sqrt()).to_bits());
            }
        }
        let mut many = vec![0.0; 1 << 16];
        uniform(Isa::best(), 7, &mut many);
        let mean = many.iter().sum::<f32>() / many.len() as f32;
        let power = many.iter().map(|v| v * v).sum::<f32>() / many.len() as f32;
        assert!(
            mean.abs() < 0.02 && (power - 1.0).abs() < 0.02,
            "{mean} {power}"
        );
    }

    #[test]
    fn infinities_meet_the_limits() {
        let x = [f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30];
        let found = everywhere(|isa| {
            let (mut out, mut imaginary) = (vec![0.0; 4], vec![0.0; 4]);
            polar(isa, &x, &x, -14.0, 6.0, &mut out, &mut imaginary);
            out.extend(imaginary);
            out
        });
        assert!(found.iter().all(|v| v.is_finite()));
    }
}
