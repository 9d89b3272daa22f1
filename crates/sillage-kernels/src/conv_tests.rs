use super::*;
use crate::testing::{assert_close, bits, everywhere, random};

struct Case {
    weight: Vec<f32>,
    bias: Vec<f32>,
    state: Vec<f32>,
    x: Vec<f32>,
    d_conv: usize,
    channels: usize,
    stride: usize,
    m: usize,
}

impl Case {
    fn new(d_conv: usize, channels: usize, m: usize) -> Self {
        let stride = channels + 9;
        Self {
            weight: random(1, d_conv * channels, 1.0),
            bias: random(2, channels, 1.0),
            state: random(3, (d_conv - 1) * channels, 1.0),
            x: random(4, m * stride, 1.0),
            d_conv,
            channels,
            stride,
            m,
        }
    }

    fn conv(&self, silu: bool) -> Conv<'_> {
        let Self {
            d_conv, channels, ..
        } = *self;
        Conv {
            weight: &self.weight,
            bias: Some(&self.bias),
            d_conv,
            channels,
            silu,
        }
    }

    /// Output and state after feeding the tokens in parts that end at `ends`.
    fn run(&self, cx: &Compute, silu: bool, ends: &[usize]) -> Vec<f32> {
        let (mut out, mut state) = (vec![0.0; self.m * self.channels], self.state.clone());
        let mut start = 0;
        for &end in ends {
            let mut segments = [ConvSegment {
                tokens: start..end,
                state: &mut state,
            }];
            causal_conv(
                cx,
                &self.conv(silu),
                &self.x,
                self.stride,
                5,
                &mut segments,
                &mut out,
            );
            start = end;
        }
        out.extend(state);
        out
    }
}

#[test]
fn matches_f64() {
    for (d_conv, channels, m) in [(4, 200, 9), (2, 16, 1), (1, 5, 3), (7, 33, 4), (4, 700, 70)] {
        let case = Case::new(d_conv, channels, m);
        for silu in [false, true] {
            let found = everywhere(|cx| case.run(cx, silu, &[m]));
            let input = |t: isize, c: usize| {
                f64::from(if t < 0 {
                    case.state[(t + d_conv as isize - 1) as usize * channels + c]
                } else {
                    case.x[t as usize * case.stride + 5 + c]
                })
            };
            let mut exact = Vec::new();
            for t in 0..m as isize {
                for c in 0..channels {
                    let v = (0..d_conv).fold(f64::from(case.bias[c]), |v, k| {
                        let x = input(t + k as isize - d_conv as isize + 1, c);
                        v + f64::from(case.weight[k * channels + c]) * x
                    });
                    exact.push(if silu { v / (1.0 + (-v).exp()) } else { v });
                }
            }
            for k in 0..d_conv as isize - 1 {
                exact.extend((0..channels).map(|c| input(m as isize - d_conv as isize + 1 + k, c)));
            }
            assert_close(&found, &exact, 1e-6);
        }
    }
}

#[test]
fn splits_and_mates_change_nothing() {
    let cx = Compute::new(2);
    for (d_conv, silu) in [(7, false), (5, true), (4, true)] {
        let case = Case::new(d_conv, 150, 12);
        let whole = bits(&case.run(&cx, silu, &[12]));
        for ends in [
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12][..],
            &[2, 12],
            &[0, 5, 7, 12],
            &[11, 12],
        ] {
            let split = bits(&case.run(&cx, silu, ends));
            assert!(split == whole, "{d_conv} taps, split {ends:?}");
        }
    }
    let case = Case::new(4, 150, 12);
    let whole = bits(&case.run(&cx, true, &[12]));
    // The rows as two sessions, each with a state of its own, in one call.
    let (mut first, mut second) = (case.state.clone(), case.state.clone());
    let mut out = vec![0.0; 12 * 150];
    let mut segments = [
        ConvSegment {
            tokens: 5..12,
            state: &mut second,
        },
        ConvSegment {
            tokens: 0..5,
            state: &mut first,
        },
    ];
    causal_conv(
        &cx,
        &case.conv(true),
        &case.x,
        case.stride,
        5,
        &mut segments,
        &mut out,
    );
    let mut alone = vec![0.0; 12 * 150];
    let mut state = case.state.clone();
    let mut segments = [ConvSegment {
        tokens: 5..12,
        state: &mut state,
    }];
    causal_conv(
        &cx,
        &case.conv(true),
        &case.x,
        case.stride,
        5,
        &mut segments,
        &mut alone,
    );
    assert!(bits(&out[..750]) == whole[..750] && out[750..] == alone[750..] && state == second);
}

#[test]
fn nan_stays_in_its_channel() {
    let mut case = Case::new(4, 40, 5);
    case.x[5 + 7] = f32::NAN;
    let out = everywhere(|cx| case.run(cx, true, &[5]));
    for (i, v) in out[..200].iter().enumerate() {
        assert_eq!(v.is_nan(), i % 40 == 7 && i / 40 < 4);
    }
}
