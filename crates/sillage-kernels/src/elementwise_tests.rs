use super::*;
use crate::testing::{assert_close, everywhere, random};

fn exact(a: Activation, x: f64) -> f64 {
    match a {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044_715 * x * x * x)).tanh())
        }
        // The distribution function by Simpson's rule.
        Activation::Gelu => {
            let (steps, density) = (2000, |u: f64| {
                (-0.5 * u * u).exp() * 0.398_942_280_401_432_7
            });
            let h = x / f64::from(steps);
            let inner: f64 = (1..steps)
                .map(|i| density(h * f64::from(i)) * if i % 2 == 1 { 4.0 } else { 2.0 })
                .sum();
            x * (0.5 + h / 3.0 * (density(0.0) + inner + density(x)))
        }
        Activation::Relu => x.max(0.0),
        Activation::Relu2 => x.max(0.0).powi(2),
    }
}

const ALL: [Activation; 5] = [
    Activation::Silu,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Relu,
    Activation::Relu2,
];

#[test]
fn activations_match_f64() {
    for a in ALL {
        for (m, d) in [(1, 1), (3, 37), (40, 256)] {
            let (x, up) = (random(1, m * d, 2.0), random(2, m * d, 1.0));
            let found = everywhere(|cx| {
                let mut out = x.clone();
                activate(cx, &mut out, a);
                out
            });
            let plain: Vec<f64> = x.iter().map(|v| exact(a, f64::from(*v))).collect();
            assert_close(&found, &plain, 1e-6);
            let found = everywhere(|cx| {
                let mut out = vec![0.0; m * d];
                gated_activation(cx, &x, &up, m, d, a, &mut out);
                out
            });
            let gated: Vec<f64> = plain
                .iter()
                .zip(&up)
                .map(|(a, u)| a * f64::from(*u))
                .collect();
            assert_close(&found, &gated, 1e-6);
        }
    }
}

#[test]
fn softplus_dt_matches_f64() {
    for (m, h) in [(1, 24), (5, 7), (300, 80)] {
        let (dt, bias) = (random(1, m * h, 8.0), random(2, h, 2.0));
        for bias in [None, Some(&bias[..])] {
            let found = everywhere(|cx| {
                let mut dt = dt.clone();
                softplus_dt(cx, &mut dt, h, bias, 1e-3, 12.0);
                dt
            });
            for (i, f) in found.iter().enumerate() {
                let x = f64::from(dt[i] + bias.map_or(0.0, |b| b[i % h]));
                let e = (x.max(0.0) + (-x.abs()).exp().ln_1p()).clamp(1e-3, 12.0);
                assert!((f64::from(*f) - e).abs() <= 4e-7 * e, "{f} {e}");
            }
        }
    }
}

#[test]
fn columns_and_sums() {
    let (m, stride) = (130, 90);
    let x = random(1, m * stride, 1.0);
    let found = everywhere(|cx| {
        let mut x = x.clone();
        scale_columns(cx, &mut x, m, stride, 3..71, 0.25);
        add_scaled(cx, &mut x, &random(2, m * stride, 1.0), 0.5);
        x
    });
    let other = random(2, m * stride, 1.0);
    for i in 0..m * stride {
        let factor = if (3..71).contains(&(i % stride)) {
            0.25
        } else {
            1.0
        };
        assert_eq!(found[i], other[i].mul_add(0.5, x[i] * factor));
    }
}

#[test]
fn nan_and_infinities_pass_through() {
    let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0, -1.0];
    for a in ALL {
        let y = everywhere(|cx| {
            let mut x = x.to_vec();
            activate(cx, &mut x, a);
            x
        });
        assert!(y[0].is_nan() && y[3].is_finite() && y[4].is_finite());
    }
    let dt = everywhere(|cx| {
        let mut x = x.to_vec();
        softplus_dt(cx, &mut x, 5, None, 0.0, f32::INFINITY);
        x
    });
    assert!(dt[0].is_nan() && dt[1] == f32::INFINITY && dt[2] == 0.0);
}
