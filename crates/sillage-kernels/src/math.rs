//! Elementary functions on vectors, the same bits on every machine.
//!
//! Each is a range reduction and a polynomial in fused multiply-adds.
//! Coefficients are Chebyshev interpolants computed for these ranges; the
//! tests sweep them against f64. NaN gives NaN everywhere; infinities give
//! their limits.

use crate::isa::Simd;
use std::f32::consts::{FRAC_1_SQRT_2, LN_2, LOG2_E, SQRT_2};

/// Adding and subtracting it rounds a float of small magnitude to an integer,
/// which then also stands in the low bits.
const MAGIC: f32 = 12_582_912.0;
/// Largest input of `exp` with a finite result.
const EXP_HIGH: f32 = 88.722_84;
/// Below it `exp` would be subnormal; zero is returned.
const EXP_LOW: f32 = -87.336_54;
/// ln 2 in two parts; the first has few bits, so multiples of it are exact.
const LN2_HIGH: f32 = 355.0 / 512.0;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `e^x` within 1 ulp; zero where the result would be subnormal.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    let shifted = s.fma(x, s.splat(LOG2_E), s.splat(MAGIC));
    let n = s.sub(shifted, s.splat(MAGIC));
    let r = s.fnma(n, s.splat(LN2_HIGH), x);
    let r = s.fnma(n, s.splat(LN2_LOW), r);
    let mut p = s.splat(1.989_099_1e-4);
    for c in [
        1.393_365e-3,
        8.333_310_5e-3,
        4.166_646_7e-2,
        0.166_666_67,
        0.5,
    ] {
        p = s.fma(p, r, s.splat(c));
    }
    let p = s.add(s.fma(p, s.mul(r, r), r), s.splat(1.0));
    let power = s.from_bits(s.int_add(s.bits(p), s.int_shl::<23>(s.bits(shifted))));
    // NaN takes the second arm here and stays what it is.
    let over = s.add(x, s.splat(f32::INFINITY));
    let power = s.select_gt(s.splat(EXP_HIGH), x, power, over);
    s.select_gt(s.splat(EXP_LOW), x, s.splat(0.0), power)
}

/// `2^y` for `y <= 0`, within 1 ulp; at most 2^-126 below `y = -126`.
///
/// The decay of a scan: the caller folds log2(e) into `y`. What it returns for
/// large positive `y` is meaningless but the same everywhere.
#[inline(always)]
pub(crate) fn decay<S: Simd>(s: S, y: S::F) -> S::F {
    let y = s.max(s.splat(-126.0), y);
    let shifted = s.add(y, s.splat(MAGIC));
    let r = s.sub(y, s.sub(shifted, s.splat(MAGIC)));
    let mut p = s.splat(1.545_316_3e-4);
    for c in [
        1.339_086_3e-3,
        9.618_083e-3,
        5.550_357e-2,
        0.240_226_5,
        LN_2,
        1.0,
    ] {
        p = s.fma(p, r, s.splat(c));
    }
    s.from_bits(s.int_add(s.bits(p), s.int_shl::<23>(s.bits(shifted))))
}

/// `ln(1 + u)` for `u` in `0..=1`, within 2 ulp.
#[inline(always)]
pub(crate) fn ln_1p_unit<S: Simd>(s: S, u: S::F) -> S::F {
    // Above sqrt(2) - 1 halve 1 + u, exactly: ln(1 + u) = ln 2 + ln(1 + f).
    let cut = s.splat(SQRT_2 - 1.0);
    let half = s.splat(0.5);
    let f = s.select_gt(u, cut, s.mul(s.sub(u, s.splat(1.0)), half), u);
    let whole = s.select_gt(u, cut, s.splat(LN_2), s.splat(0.0));
    let mut p = s.splat(6.972_519e-2);
    for c in [
        -0.114_812_12,
        0.116_857_85,
        -0.124_255_23,
        0.142_490_07,
        -0.166_678_07,
        0.200_007_17,
        -0.249_999_97,
        0.333_333_3,
    ] {
        p = s.fma(p, f, s.splat(c));
    }
    let square = s.mul(f, f);
    let bend = s.mul(square, s.fma(p, f, s.splat(-0.5)));
    s.add(whole, s.add(f, bend))
}

/// `ln(1 + e^x)`; equals `x` from about 17 on.
#[inline(always)]
pub(crate) fn softplus<S: Simd>(s: S, x: S::F) -> S::F {
    let u = exp(s, s.sub(s.splat(0.0), s.abs(x)));
    s.add(ln_1p_unit(s, u), s.max(s.splat(0.0), x))
}

/// `x / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn silu<S: Simd>(s: S, x: S::F) -> S::F {
    let e = exp(s, s.sub(s.splat(0.0), x));
    s.div(x, s.add(s.splat(1.0), e))
}

/// Hyperbolic tangent, within 2e-7 (absolute).
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let e = exp(s, s.add(x, x));
    s.sub(s.splat(1.0), s.div(s.splat(2.0), s.add(s.splat(1.0), e)))
}

/// `x` times the standard normal distribution function, within 1e-6.
///
/// The complementary error function is formula 7.1.26 of Abramowitz and
/// Stegun, "Handbook of Mathematical Functions" (error below 1.5e-7).
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, x: S::F) -> S::F {
    let z = s.mul(s.abs(x), s.splat(FRAC_1_SQRT_2));
    let t = s.div(s.splat(1.0), s.fma(z, s.splat(0.327_591_1), s.splat(1.0)));
    let mut p = s.splat(1.061_405_4);
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = s.fma(p, t, s.splat(c));
    }
    let tail = s.mul(s.mul(p, t), exp(s, s.fnma(z, z, s.splat(0.0))));
    let half = s.mul(s.mul(x, s.splat(0.5)), tail);
    s.select_gt(x, s.splat(0.0), s.sub(x, half), half)
}

/// The tanh approximation of [`gelu`].
#[inline(always)]
pub(crate) fn gelu_tanh<S: Simd>(s: S, x: S::F) -> S::F {
    // 0.5 (1 + tanh u) = 1 / (1 + e^-2u)
    const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769;
    let cube = s.mul(s.mul(x, x), x);
    let u = s.mul(
        s.fma(cube, s.splat(0.044_715), x),
        s.splat(-TWICE_SQRT_2_OVER_PI),
    );
    s.div(x, s.add(s.splat(1.0), exp(s, u)))
}

/// Largest angle whose sine and cosine are accurate; what lies beyond is taken for this.
pub(crate) const ANGLE_LIMIT: f32 = 10_000.0;

/// Sine and cosine of an angle in radians up to [`ANGLE_LIMIT`], within 2e-7.
#[inline(always)]
pub(crate) fn sin_cos<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
    use std::f32::consts::{FRAC_2_PI, FRAC_PI_2};
    /// What pi / 2 has beyond its f32.
    const FRAC_PI_2_LOW: f32 = -4.371_139e-8;
    let x = s.max(s.splat(-ANGLE_LIMIT), s.min(s.splat(ANGLE_LIMIT), x));
    // Quarter turns, in the low bits of `shifted` too.
    let shifted = s.fma(x, s.splat(FRAC_2_PI), s.splat(MAGIC));
    let n = s.sub(shifted, s.splat(MAGIC));
    let r = s.fnma(n, s.splat(FRAC_PI_2), x);
    let r = s.fnma(n, s.splat(FRAC_PI_2_LOW), r);
    let square = s.mul(r, r);
    let mut p = s.splat(-1.958_285_6e-4);
    p = s.fma(p, square, s.splat(8.332_725e-3));
    p = s.fma(p, square, s.splat(-0.166_666_64));
    let sin = s.fma(s.mul(p, square), r, r);
    let mut q = s.splat(2.454_289_6e-5);
    q = s.fma(q, square, s.splat(-1.388_827_9e-3));
    q = s.fma(q, square, s.splat(4.166_666_4e-2));
    q = s.fma(q, square, s.splat(-0.5));
    let cos = s.fma(q, square, s.splat(1.0));
    // Quarter 1: sin = cos r, cos = -sin r; quarter 2: both negative; quarter 3: sin = -cos r, cos = sin r.
    let quarter = s.bits(shifted);
    let odd = s.to_float(s.int_and(quarter, s.int(1)));
    let half = s.splat(0.5);
    let flip = |v: S::F, quarter: S::I| {
        let sign = s.int_shl::<30>(s.int_and(quarter, s.int(2)));
        s.from_bits(s.int_add(s.bits(v), sign))
    };
    let one_on = s.int_add(quarter, s.int(1));
    (
        flip(s.select_gt(odd, half, cos, sin), quarter),
        flip(s.select_gt(odd, half, sin, cos), one_on),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, Kernel, LANES};

    #[derive(Clone, Copy)]
    enum Function {
        Exp,
        Decay,
        Ln1p,
        Softplus,
        Silu,
        Tanh,
        Gelu,
        GeluTanh,
        Sin,
        Cos,
    }
    struct Apply<'a>(Function, &'a [f32; LANES]);
    impl Kernel for Apply<'_> {
        type Output = [f32; LANES];
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> [f32; LANES] {
            // SAFETY: the array has sixteen elements.
            let x = unsafe { s.load(self.1.as_ptr()) };
            s.to_array(match self.0 {
                Function::Exp => exp(s, x),
                Function::Decay => decay(s, x),
                Function::Ln1p => ln_1p_unit(s, x),
                Function::Softplus => softplus(s, x),
                Function::Silu => silu(s, x),
                Function::Tanh => tanh(s, x),
                Function::Gelu => gelu(s, x),
                Function::GeluTanh => gelu_tanh(s, x),
                Function::Sin => sin_cos(s, x).0,
                Function::Cos => sin_cos(s, x).1,
            })
        }
    }

    /// Calls `check(x, f(x))` densely over `low..=high`, on every path, and
    /// holds all paths to the same bits.
    fn sweep(f: Function, low: f32, high: f32, mut check: impl FnMut(f64, f64)) {
        const VECTORS: usize = 20_000;
        let step = (f64::from(high) - f64::from(low)) / (VECTORS * LANES) as f64;
        let isas = Isa::available();
        for block in 0..VECTORS {
            let x: [f32; LANES] = std::array::from_fn(|i| {
                (f64::from(low) + step * (block * LANES + i) as f64) as f32
            });
            let best = Isa::best().dispatch(Apply(f, &x));
            for (x, y) in x.iter().zip(best) {
                check(f64::from(*x), f64::from(y));
            }
            if block % 20 == 0 {
                for isa in &isas {
                    let other = isa.dispatch(Apply(f, &x));
                    assert_eq!(
                        other.map(f32::to_bits),
                        best.map(f32::to_bits),
                        "{}",
                        isa.name()
                    );
                }
            }
        }
    }

    /// Distance in units of the last place of the f32 nearest to `exact`.
    fn ulps(found: f64, exact: f64) -> f64 {
        let nearest = exact as f32;
        let next = f32::from_bits(nearest.to_bits() + 1);
        ((found - exact) / (f64::from(next) - f64::from(nearest))).abs()
    }

    #[test]
    fn exp_is_within_one_ulp() {
        for (low, high) in [(-87.3, 88.7), (-1.0, 1.0), (-1e-3, 1e-3), (-20.0, 0.0)] {
            sweep(Function::Exp, low, high, |x, y| {
                assert!(ulps(y, x.exp()) <= 1.0, "exp({x}) = {y}");
            });
        }
        sweep(Function::Decay, -125.9, 0.0, |x, y| {
            assert!(ulps(y, x.exp2()) <= 1.0, "2^{x} = {y}");
        });
    }

    #[test]
    fn logarithm_and_softplus_keep_relative_accuracy() {
        for (low, high) in [(0.0, 1.0), (0.0, 1e-3), (0.4, 0.43)] {
            sweep(Function::Ln1p, low, high, |x, y| {
                assert!(x == 0.0 || ulps(y, x.ln_1p()) <= 2.0, "ln_1p({x}) = {y}");
            });
        }
        sweep(Function::Softplus, -80.0, 80.0, |x, y| {
            let exact = x.max(0.0) + (-x.abs()).exp().ln_1p();
            assert!(ulps(y, exact) <= 3.0, "softplus({x}) = {y}, not {exact}");
        });
    }

    /// erf by its series, good for |x| below 6 in f64.
    fn erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn activations_are_close() {
        let near = |found: f64, exact: f64, x: f64| {
            assert!(
                (found - exact).abs() <= 1e-6 * exact.abs().max(1.0),
                "f({x}) = {found}, not {exact}"
            );
        };
        sweep(Function::Silu, -80.0, 80.0, |x, y| {
            near(y, x / (1.0 + (-x).exp()), x)
        });
        sweep(Function::Tanh, -20.0, 20.0, |x, y| near(y, x.tanh(), x));
        sweep(Function::Gelu, -4.0, 4.0, |x, y| {
            near(y, 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)), x);
        });
        sweep(Function::GeluTanh, -8.0, 8.0, |x, y| {
            let u = 0.797_884_560_802_865_4 * (x + 0.044_715 * x * x * x);
            near(y, 0.5 * x * (1.0 + u.tanh()), x);
        });
    }

    #[test]
    fn sine_and_cosine_are_close() {
        for limit in [1e-3, 4.0, 100.0, ANGLE_LIMIT] {
            sweep(Function::Sin, -limit, limit, |x, y| {
                assert!((y - x.sin()).abs() < 2e-7, "sin({x}) = {y}");
            });
            sweep(Function::Cos, -limit, limit, |x, y| {
                assert!((y - x.cos()).abs() < 2e-7, "cos({x}) = {y}");
            });
        }
        // Beyond the limit the angle is wrong, but the result is a point of the circle.
        sweep(Function::Sin, -1e30, 1e30, |x, y| {
            let limit = f64::from(ANGLE_LIMIT);
            assert!(
                (y - x.clamp(-limit, limit).sin()).abs() < 2e-7,
                "sin({x}) = {y}"
            );
        });
    }

    #[test]
    fn limits_and_nan() {
        let inf = f32::INFINITY;
        let x = [
            -inf,
            inf,
            f32::NAN,
            0.0,
            -0.0,
            -1e30,
            1e30,
            -100.0,
            100.0,
            -87.4,
            88.8,
            1e-40,
            -1e-40,
            f32::from_bits(0x7fc0_1234),
            f32::from_bits(0xff80_0001),
            1.0,
        ];
        for isa in Isa::available() {
            let y = isa.dispatch(Apply(Function::Exp, &x));
            let expected = [
                0.0,
                inf,
                f32::NAN,
                1.0,
                1.0,
                0.0,
                inf,
                0.0,
                inf,
                0.0,
                inf,
                1.0,
                1.0,
            ];
            for (i, e) in expected.iter().enumerate() {
                assert!(
                    y[i] == *e || (e.is_nan() && y[i].is_nan()),
                    "exp({}) = {}",
                    x[i],
                    y[i]
                );
            }
            assert!(y[13].is_nan() && y[14].is_nan());
            let y = isa.dispatch(Apply(Function::Softplus, &x));
            assert_eq!((y[0], y[1], y[5], y[6]), (0.0, inf, 0.0, 1e30));
            assert!(y[2].is_nan() && y[13].is_nan());
            for f in [
                Function::Silu,
                Function::Tanh,
                Function::Gelu,
                Function::GeluTanh,
            ] {
                assert!(isa.dispatch(Apply(f, &x))[2].is_nan());
            }
            assert_eq!(isa.dispatch(Apply(Function::Tanh, &x))[..2], [-1.0, 1.0]);
        }
    }
}
