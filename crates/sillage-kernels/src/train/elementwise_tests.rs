use super::*;
use crate::testing::{assert_close, everywhere, random};
use crate::train::checks::{assert_gradient, dot, wide};

const ALL: [Activation; 5] = [
    Activation::Silu,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Relu,
    Activation::Relu2,
];

/// erf by its series, good for |x| below 6 in f64.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

fn exact(act: Activation, x: f64) -> f64 {
    match act {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        Activation::GeluTanh => {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + u.tanh())
        }
        Activation::Relu => x.max(0.0),
        Activation::Relu2 => x.max(0.0).powi(2),
    }
}

fn apply(act: Activation, x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| exact(act, *x)).collect()
}

#[test]
fn activations_match_differences() {
    for act in ALL {
        for len in [1, 17, 9000] {
            let (x, dy) = (random(1, len, 2.0), random(2, len, 1.0));
            let y = everywhere(|cx| {
                let mut y = vec![0.0; len];
                activate_forward(cx, act, &x, &mut y);
                y
            });
            assert_close(&y, &apply(act, &wide(&x)), 2e-6);
            let dx = everywhere(|cx| {
                let mut dx = vec![f32::NAN; len];
                activate_backward(cx, act, &x, &dy, &mut dx);
                dx
            });
            assert_gradient("x", &dx, &x, 1e-5, |x| dot(&apply(act, x), &dy));
        }
        // Far out slopes are 0 or 1 (or 2 x), and never NaN.
        let far = [-1e30, -100.0, 100.0, 1e30];
        let dx = everywhere(|cx| {
            let mut dx = vec![0.0; 4];
            activate_backward(cx, act, &far, &[1.0; 4], &mut dx);
            dx
        });
        let high = if act == Activation::Relu2 { 200.0 } else { 1.0 };
        assert!(
            dx[0] == 0.0 && dx[1] == 0.0 && dx[2] == high,
            "{act:?} {dx:?}"
        );
        assert!(dx[3] >= 1.0, "{act:?} {dx:?}");
    }
}

#[test]
fn gates_match_differences() {
    for (rows, d) in [(1, 1), (700, 1), (9, 37)] {
        let stride = 2 * d;
        let x = random(1, rows * stride, 1.5);
        let dy = random(2, rows * d, 1.0);
        let plain = |act: Activation, x: &[f64]| -> Vec<f64> {
            (0..rows * d)
                .map(|i| {
                    let at = i / d * stride + i % d;
                    exact(act, x[at]) * x[at + d]
                })
                .collect()
        };
        for act in [Activation::Silu, Activation::Gelu] {
            let y = everywhere(|cx| {
                let mut y = vec![0.0; rows * d];
                gated_forward(cx, act, &x, &x[d..], stride, d, &mut y);
                y
            });
            assert_close(&y, &plain(act, &wide(&x)), 2e-6);
            let dx = everywhere(|cx| {
                let mut dx = vec![0.0; rows * 2 * d];
                gated_backward(cx, act, &x, d, &dy, &mut dx);
                dx
            });
            assert_gradient("x", &dx, &x, 1e-5, |x| dot(&plain(act, x), &dy));
        }
    }
}

#[test]
fn softplus_matches_differences_and_sums_rows() {
    let limit = (0.2, 1.5);
    for (rows, d) in [(1, 1), (900, 1), (70, 24)] {
        let stride = d + 2;
        let (raw, bias) = (random(1, rows * stride, 2.0), random(2, d, 0.5));
        let dout = random(3, rows * d, 1.0);
        let plain = |raw: &[f64], bias: &[f64]| -> Vec<f64> {
            (0..rows * d)
                .map(|i| {
                    let v = (raw[i / d * stride + i % d] + bias[i % d]).exp().ln_1p();
                    v.clamp(f64::from(limit.0), f64::from(limit.1))
                })
                .collect()
        };
        let out = everywhere(|cx| {
            let mut out = vec![0.0; rows * d];
            softplus_forward(cx, &raw, stride, &bias, limit, &mut out);
            out
        });
        let (wr, wb) = (wide(&raw), wide(&bias));
        assert_close(&out, &plain(&wr, &wb), 1e-6);
        let found = everywhere(|cx| {
            let (mut draw, mut dbias) = (vec![0.0; raw.len()], vec![0.0; d]);
            softplus_backward(
                cx, &raw, stride, &bias, limit, &dout, &mut draw, stride, &mut dbias,
            );
            [draw, dbias].concat()
        });
        let (draw, dbias) = found.split_at(raw.len());
        let loss = |out: Vec<f64>| dot(&out, &dout);
        assert_gradient("raw", draw, &raw, 1e-5, |raw| loss(plain(raw, &wb)));
        assert_gradient("bias", dbias, &bias, 1e-5, |bias| loss(plain(&wr, bias)));
    }
}
