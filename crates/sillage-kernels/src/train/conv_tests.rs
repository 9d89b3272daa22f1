use super::*;
use crate::testing::{assert_close, everywhere, random};
use crate::train::checks::{assert_gradient, dot, wide};

const SIDE: usize = 5;

fn naive(shape: &ConvShape, lens: &[usize], x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let ConvShape {
        channels,
        taps,
        silu,
    } = *shape;
    let stride = channels + SIDE;
    let mut y = Vec::new();
    let mut start = 0;
    for len in lens {
        for t in 0..*len {
            for c in 0..channels {
                let mut sum = bias[c];
                for k in 0..taps {
                    if t + k + 1 >= taps {
                        let row = start + t + k + 1 - taps;
                        sum += weight[c * taps + k] * x[row * stride + c];
                    }
                }
                y.push(if silu {
                    sum / (1.0 + (-sum).exp())
                } else {
                    sum
                });
            }
        }
        start += len;
    }
    y
}

fn check(shape: ConvShape, lens: &[usize], biased: bool) {
    let ConvShape { channels, taps, .. } = shape;
    let (tokens, stride) = (lens.iter().sum::<usize>(), channels + SIDE);
    let (x, weight) = (
        random(1, tokens * stride, 1.0),
        random(2, channels * taps, 1.0),
    );
    let bias = random(3, channels, if biased { 1.0 } else { 0.0 });
    let dy = random(4, tokens * channels, 1.0);
    let given = biased.then_some(&bias[..]);
    let y = everywhere(|cx| {
        let mut y = vec![f32::NAN; tokens * channels];
        conv_forward(cx, &shape, lens, &x, stride, &weight, given, &mut y);
        y
    });
    let (wx, ww, wb) = (wide(&x), wide(&weight), wide(&bias));
    assert_close(&y, &naive(&shape, lens, &wx, &ww, &wb), 2e-6);
    let found = everywhere(|cx| {
        let mut dx = vec![0.0; x.len()];
        let (mut dweight, mut dbias) = (vec![1.0; weight.len()], vec![1.0; channels]);
        let to = biased.then_some(&mut dbias[..]);
        conv_backward(
            cx,
            &shape,
            lens,
            &x,
            stride,
            &weight,
            given,
            &dy,
            &mut dx,
            stride,
            &mut dweight,
            to,
        );
        [dx, dweight, dbias].concat()
    });
    let (dx, rest) = found.split_at(x.len());
    let less = |v: &[f32]| v.iter().map(|v| v - 1.0).collect::<Vec<_>>();
    let (dweight, dbias) = rest.split_at(weight.len());
    assert_gradient("x", dx, &x, 1e-5, |x| {
        dot(&naive(&shape, lens, x, &ww, &wb), &dy)
    });
    assert_gradient("weight", &less(dweight), &weight, 1e-5, |w| {
        dot(&naive(&shape, lens, &wx, w, &wb), &dy)
    });
    if biased {
        assert_gradient("bias", &less(dbias), &bias, 1e-5, |b| {
            dot(&naive(&shape, lens, &wx, &ww, b), &dy)
        });
    } else {
        assert!(dbias.iter().all(|v| *v == 1.0));
    }
}

#[test]
fn gradients_match_differences() {
    for (channels, taps, lens) in [
        (1, 1, &[1][..]),
        (5, 4, &[1, 2, 0, 7]),
        (20, 3, &[255, 256, 257, 3]),
        (150, 4, &[40, 2]),
        (16, 7, &[520]),
    ] {
        for silu in [false, true] {
            let shape = ConvShape {
                channels,
                taps,
                silu,
            };
            check(shape, lens, silu);
            check(shape, lens, !silu);
        }
    }
}
