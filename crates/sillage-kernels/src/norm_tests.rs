use super::*;
use crate::testing::{assert_close, everywhere, random};

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn rms(row: &[f64], eps: f64) -> f64 {
    (row.iter().map(|v| v * v).sum::<f64>() / row.len() as f64 + eps).sqrt()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|v| f64::from(*v)).collect()
}

#[test]
fn rms_norm_matches_f64() {
    for (m, d) in [(1, 1), (3, 16), (5, 100), (2, 768), (70, 1024), (1, 3000)] {
        let (x, w) = (random(1, m * d, 3.0), random(2, d, 1.0));
        for weight in [None, Some(&w[..])] {
            let found = everywhere(|cx| {
                let mut out = vec![0.0; m * d];
                rms_norm(cx, &x, m, d, weight, 1e-5, &mut out);
                out
            });
            let exact: Vec<f64> = wide(&x)
                .chunks(d)
                .flat_map(|row| {
                    let r = rms(row, 1e-5);
                    (0..d)
                        .map(|i| row[i] / r * weight.map_or(1.0, |w| f64::from(w[i])))
                        .collect::<Vec<_>>()
                })
                .collect();
            assert_close(&found, &exact, 1e-6);
        }
    }
}

#[test]
fn layer_norm_matches_f64() {
    for (m, d) in [(1, 1), (3, 16), (5, 100), (40, 768)] {
        let (x, w, b) = (random(1, m * d, 3.0), random(2, d, 1.0), random(3, d, 1.0));
        for bias in [None, Some(&b[..])] {
            let found = everywhere(|cx| {
                let mut out = vec![0.0; m * d];
                layer_norm(cx, &x, m, d, &w, bias, 1e-5, &mut out);
                out
            });
            let mut exact = Vec::new();
            for row in wide(&x).chunks(d) {
                let mean = row.iter().sum::<f64>() / d as f64;
                let centred: Vec<f64> = row.iter().map(|v| v - mean).collect();
                let r = rms(&centred, 1e-5);
                for i in 0..d {
                    exact.push(
                        centred[i] / r * f64::from(w[i]) + bias.map_or(0.0, |b| f64::from(b[i])),
                    );
                }
            }
            assert_close(&found, &exact, 2e-6);
        }
    }
}

#[test]
fn gated_norms_match_f64() {
    let (stride, offset) = (211, 7);
    for (m, d, group) in [(1, 16, 16), (3, 96, 24), (50, 192, 64), (2, 200, 200)] {
        let (y, z, w) = (
            random(1, m * d, 3.0),
            random(2, m * stride, 2.0),
            random(3, d, 1.0),
        );
        for (normed, norm_before_gate) in [(false, false), (true, false), (true, true)] {
            let norm = GatedNorm {
                weight: &w,
                eps: 1e-5,
                group,
                norm_before_gate,
            };
            let norm = normed.then_some(&norm);
            let found = everywhere(|cx| {
                let mut out = vec![0.0; m * d];
                rms_norm_gated(cx, &y, &z, stride, offset, m, d, norm, &mut out);
                out
            });
            let mut exact = Vec::new();
            for (t, y) in wide(&y).chunks(d).enumerate() {
                let gate: Vec<f64> = (0..d)
                    .map(|i| silu(f64::from(z[t * stride + offset + i])))
                    .collect();
                for start in (0..d).step_by(group) {
                    let part = start..start + group;
                    let gated: Vec<f64> = part.clone().map(|i| y[i] * gate[i]).collect();
                    let source = if norm_before_gate {
                        &y[part.clone()]
                    } else {
                        &gated[..]
                    };
                    let r = rms(source, 1e-5);
                    exact.extend(part.map(|i| {
                        if normed {
                            y[i] * gate[i] / r * f64::from(w[i])
                        } else {
                            y[i] * gate[i]
                        }
                    }));
                }
            }
            assert_close(&found, &exact, 2e-6);
        }
    }
}

#[test]
fn a_row_does_not_depend_on_its_mates() {
    let (m, d) = (67, 200);
    let (x, w) = (random(1, m * d, 1.0), random(2, d, 1.0));
    let cx = Compute::new(2);
    let (mut all, mut one) = (vec![0.0; m * d], vec![0.0; d]);
    rms_norm(&cx, &x, m, d, Some(&w), 1e-6, &mut all);
    for t in 0..m {
        rms_norm(&cx, &x[t * d..], 1, d, Some(&w), 1e-6, &mut one);
        assert_eq!(one, all[t * d..][..d]);
    }
}

#[test]
fn nan_stays_in_its_row() {
    let mut x = random(1, 64, 1.0);
    x[40] = f32::NAN;
    let found = everywhere(|cx| {
        let mut out = vec![0.0; 64];
        rms_norm(cx, &x, 2, 32, None, 1e-6, &mut out);
        out
    });
    assert!(found[..32].iter().all(|v| v.is_finite()) && found[32..].iter().all(|v| v.is_nan()));
}
