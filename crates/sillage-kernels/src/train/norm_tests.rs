use super::*;
use crate::testing::{assert_close, everywhere, random};
use crate::train::checks::{assert_gradient, dot, wide};

const EPS: f32 = 1e-3;
const SIDE: usize = 3;

fn normed(row: &[f64]) -> Vec<f64> {
    let mean = row.iter().map(|v| v * v).sum::<f64>() / row.len() as f64;
    let inverse = 1.0 / (mean + f64::from(EPS)).sqrt();
    row.iter().map(|v| v * inverse).collect()
}

fn rms(x: &[f64], weight: &[f64]) -> Vec<f64> {
    x.chunks(weight.len())
        .flat_map(|row| {
            let row = normed(row);
            (0..row.len())
                .map(|i| row[i] * weight[i])
                .collect::<Vec<_>>()
        })
        .collect()
}

fn layer(x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    x.chunks(weight.len())
        .flat_map(|row| {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            let row = normed(&row.iter().map(|v| v - mean).collect::<Vec<_>>());
            (0..row.len())
                .map(|i| row[i] * weight[i] + bias[i])
                .collect::<Vec<_>>()
        })
        .collect()
}

fn gated(shape: &GatedShape, y: &[f64], z: &[f64], weight: Option<&[f64]>) -> Vec<f64> {
    let (d, group) = (shape.d, shape.d / shape.groups);
    let mut out = Vec::new();
    for (t, y) in y.chunks(d).enumerate() {
        let z = &z[t * (d + SIDE)..];
        let gate: Vec<f64> = (0..d).map(|i| z[i] / (1.0 + (-z[i]).exp())).collect();
        let both: Vec<f64> = (0..d).map(|i| y[i] * gate[i]).collect();
        let Some(weight) = weight else {
            out.extend(both);
            continue;
        };
        let first = shape.before_gate;
        let source = if first { y } else { &both };
        let flat: Vec<f64> = source.chunks(group).flat_map(normed).collect();
        out.extend((0..d).map(|i| flat[i] * weight[i] * if first { gate[i] } else { 1.0 }));
    }
    out
}

#[test]
fn rms_gradients_match_differences() {
    for (rows, d) in [(1, 1), (3, 16), (5, 100), (300, 40)] {
        let (x, w) = (random(1, rows * d, 2.0), random(2, d, 1.0));
        let dy = random(3, rows * d, 1.0);
        for onto in [Onto::Fresh, Onto::Sum] {
            let found = everywhere(|cx| {
                let (mut dx, mut dw) = (vec![2.0; x.len()], vec![1.0; d]);
                rms_backward(cx, &x, d, &w, EPS, &dy, &mut dx, onto, &mut dw);
                let old = if onto == Onto::Sum { 2.0 } else { 0.0 };
                dx.iter_mut().for_each(|v| *v -= old);
                dw.iter_mut().for_each(|v| *v -= 1.0);
                [dx, dw].concat()
            });
            let (dx, dw) = found.split_at(x.len());
            let (wx, ww) = (wide(&x), wide(&w));
            // Of one channel, the terms all but cancel.
            let tolerance = if d == 1 { 3e-5 } else { 1e-5 };
            assert_gradient("x", dx, &x, tolerance, |x| dot(&rms(x, &ww), &dy));
            assert_gradient("weight", dw, &w, 1e-5, |w| dot(&rms(&wx, w), &dy));
        }
        let y = everywhere(|cx| {
            let mut y = vec![0.0; x.len()];
            rms_forward(cx, &x, d, &w, EPS, &mut y);
            y
        });
        assert_close(&y, &rms(&wide(&x), &wide(&w)), 1e-6);
    }
}

#[test]
fn layer_norm_gradients_match_differences() {
    for (rows, d) in [(3, 16), (5, 100), (70, 33)] {
        let (mut x, w) = (random(1, rows * d, 2.0), random(2, d, 1.0));
        x.iter_mut().for_each(|v| *v += 3.0);
        let (b, dy) = (random(4, d, 1.0), random(3, rows * d, 1.0));
        let found = everywhere(|cx| {
            let (mut dx, mut dw, mut db) = (vec![2.0; x.len()], vec![0.0; d], vec![0.0; d]);
            let to = Some(&mut db[..]);
            layer_norm_backward(cx, &x, d, &w, EPS, &dy, &mut dx, Onto::Fresh, &mut dw, to);
            [dx, dw, db].concat()
        });
        let (dx, rest) = found.split_at(x.len());
        let (dw, db) = rest.split_at(d);
        let (wx, ww, wb) = (wide(&x), wide(&w), wide(&b));
        assert_gradient("x", dx, &x, 1e-5, |x| dot(&layer(x, &ww, &wb), &dy));
        assert_gradient("weight", dw, &w, 1e-5, |w| dot(&layer(&wx, w, &wb), &dy));
        assert_gradient("bias", db, &b, 1e-5, |b| dot(&layer(&wx, &ww, b), &dy));
    }
}

#[test]
fn gated_gradients_match_differences() {
    for (rows, d, groups) in [(1, 1, 1), (3, 48, 2), (40, 60, 3)] {
        let stride = d + SIDE;
        let (y, z) = (random(1, rows * d, 1.0), random(2, rows * stride, 2.0));
        let (w, dout) = (random(3, d, 1.0), random(4, rows * d, 1.0));
        let (wy, wz, ww) = (wide(&y), wide(&z), wide(&w));
        for (before_gate, weighted) in [(false, true), (true, true), (false, false)] {
            let shape = GatedShape {
                d,
                groups,
                eps: EPS,
                before_gate,
            };
            let (given, wide_given) = (weighted.then_some(&w[..]), weighted.then_some(&ww[..]));
            let out = everywhere(|cx| {
                let mut out = vec![0.0; y.len()];
                gated_rms_forward(cx, &shape, &y, &z, stride, given, &mut out);
                out
            });
            assert_close(&out, &gated(&shape, &wy, &wz, wide_given), 2e-6);
            let found = everywhere(|cx| {
                let (mut dy, mut dz) = (vec![2.0; y.len()], vec![0.0; z.len()]);
                let mut dw = vec![0.0; d];
                let to = weighted.then_some(&mut dw[..]);
                gated_rms_backward(
                    cx, &shape, &y, &z, stride, given, &dout, &mut dy, &mut dz, stride, to,
                );
                [dy, dz, dw].concat()
            });
            let (dy, rest) = found.split_at(y.len());
            let (dz, dw) = rest.split_at(z.len());
            let loss = |out: Vec<f64>| dot(&out, &dout);
            assert_gradient("y", dy, &y, 1e-5, |y| {
                loss(gated(&shape, y, &wz, wide_given))
            });
            assert_gradient("z", dz, &z, 1e-5, |z| {
                loss(gated(&shape, &wy, z, wide_given))
            });
            if weighted {
                assert_gradient("weight", dw, &w, 1e-5, |w| {
                    loss(gated(&shape, &wy, &wz, Some(w)))
                });
            }
        }
    }
}
