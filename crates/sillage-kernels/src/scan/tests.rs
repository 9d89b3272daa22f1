use super::*;
use crate::Compute;
use crate::testing::{assert_close, bits, computes, everywhere, random};

fn softplus(x: &f32) -> f32 {
    (f64::from(*x)).exp().ln_1p() as f32
}

/// A session's state, of either kind.
#[derive(Clone)]
enum State {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
}

impl State {
    fn new(bf16: bool, values: &[f32], d_state: usize) -> Self {
        if bf16 {
            let mut state = vec![0; values.len()];
            for (i, v) in values.iter().enumerate() {
                state[Self::bf16_at(i, d_state)] = half::bf16::from_f32(*v).to_bits();
            }
            Self::Bf16(state)
        } else {
            Self::F32(values.to_vec())
        }
    }
    fn as_mut(&mut self) -> StateMut<'_> {
        match self {
            Self::F32(s) => StateMut::F32(s),
            Self::Bf16(s) => StateMut::Bf16(s),
        }
    }
    fn values(&self, d_state: usize) -> Vec<f32> {
        match self {
            Self::F32(s) => s.clone(),
            Self::Bf16(s) => (0..s.len())
                .map(|i| half::bf16::from_bits(s[Self::bf16_at(i, d_state)]).to_f32())
                .collect(),
        }
    }
    /// Where element `i` of a state lies when it is kept as bfloat16.
    fn bf16_at(i: usize, d_state: usize) -> usize {
        let (row, lane) = (i / LANES, i % LANES);
        let n = row % d_state;
        if n == d_state - 1 && n.is_multiple_of(2) {
            return i;
        }
        (row - n % 2) * LANES + 2 * lane + n % 2
    }
}

/// A recurrence with its inputs.
trait Case {
    fn m(&self) -> usize;
    fn state(&self) -> &[f32];
    fn width(&self) -> usize;
    fn d_state(&self) -> usize;
    fn call(&self, cx: &Compute, segments: &mut [ScanSegment<'_>], y: &mut [f32]);
    /// Outputs, then the state's values, in f64.
    fn exact(&self) -> Vec<f64>;

    /// Outputs, then the state, after feeding the tokens in parts that end at `ends`.
    fn run(&self, cx: &Compute, bf16: bool, ends: &[usize]) -> Vec<f32> {
        let mut y = vec![0.0; self.m() * self.width()];
        let mut state = State::new(bf16, self.state(), self.d_state());
        let mut start = 0;
        for &end in ends {
            let mut segments = [ScanSegment {
                tokens: start..end,
                state: state.as_mut(),
            }];
            self.call(cx, &mut segments, &mut y);
            start = end;
        }
        y.extend(state.values(self.d_state()));
        y
    }
}

struct Ssd {
    shape: SsdShape,
    m: usize,
    xbc: Vec<f32>,
    dt: Vec<f32>,
    a: Vec<f32>,
    d: Option<Vec<f32>>,
    state: Vec<f32>,
}

impl Ssd {
    fn new(heads: usize, headdim: usize, d_state: usize, groups: usize, m: usize) -> Self {
        let shape = SsdShape {
            heads,
            headdim,
            d_state,
            groups,
        };
        let d_len = [0, heads, heads * headdim][d_state % 3];
        let mut state = random(5, shape.state_len(), 1.0);
        // Padding lanes start at zero, as a fresh state does.
        for (i, v) in state.iter_mut().enumerate() {
            if i / (LANES * d_state) % shape.headdim.div_ceil(LANES) * LANES + i % LANES >= headdim
            {
                *v = 0.0;
            }
        }
        Self {
            shape,
            m,
            xbc: random(1, m * (heads * headdim + 2 * groups * d_state), 1.0),
            dt: random(2, m * heads, 2.0).iter().map(softplus).collect(),
            a: random(3, heads, 1.0).iter().map(|v| -v.exp()).collect(),
            d: (d_len > 0).then(|| random(4, d_len, 1.0)),
            state,
        }
    }
}

impl Case for Ssd {
    fn m(&self) -> usize {
        self.m
    }
    fn state(&self) -> &[f32] {
        &self.state
    }
    fn width(&self) -> usize {
        self.shape.heads * self.shape.headdim
    }
    fn d_state(&self) -> usize {
        self.shape.d_state
    }
    fn call(&self, cx: &Compute, segments: &mut [ScanSegment<'_>], y: &mut [f32]) {
        ssd(
            cx,
            &self.shape,
            &self.xbc,
            &self.dt,
            &self.a,
            self.d.as_deref(),
            segments,
            y,
        );
    }
    fn exact(&self) -> Vec<f64> {
        let SsdShape {
            heads,
            headdim,
            d_state,
            groups,
        } = self.shape;
        let inner = heads * headdim;
        let stride = inner + 2 * groups * d_state;
        let xbc = |t: usize, i: usize| f64::from(self.xbc[t * stride + i]);
        let mut state: Vec<f64> = self.state.iter().map(|v| f64::from(*v)).collect();
        let mut y = Vec::new();
        for t in 0..self.m {
            for (h, p) in (0..heads).flat_map(|h| (0..headdim).map(move |p| (h, p))) {
                let (dt, x) = (f64::from(self.dt[t * heads + h]), xbc(t, h * headdim + p));
                let b = inner + h / (heads / groups) * d_state;
                let mut sum = self.d.as_ref().map_or(0.0, |d| {
                    f64::from(if d.len() == heads {
                        d[h]
                    } else {
                        d[h * headdim + p]
                    }) * x
                });
                for n in 0..d_state {
                    let at = ((h * headdim.div_ceil(16) + p / 16) * d_state + n) * 16 + p % 16;
                    state[at] =
                        state[at] * (dt * f64::from(self.a[h])).exp() + dt * x * xbc(t, b + n);
                    sum += state[at] * xbc(t, b + groups * d_state + n);
                }
                y.push(sum);
            }
        }
        y.extend(state);
        y
    }
}

struct Selective {
    shape: SelectiveShape,
    m: usize,
    x: Vec<f32>,
    dt: Vec<f32>,
    a: Vec<f32>,
    bc: Vec<f32>,
    d: Vec<f32>,
    state: Vec<f32>,
}

impl Selective {
    fn new(d_inner: usize, d_state: usize, m: usize) -> Self {
        let shape = SelectiveShape { d_inner, d_state };
        let mut state = random(5, shape.state_len(), 1.0);
        for (i, v) in state.iter_mut().enumerate() {
            if i / (LANES * d_state) * LANES + i % LANES >= d_inner {
                *v = 0.0;
            }
        }
        Self {
            shape,
            m,
            x: random(1, m * d_inner, 1.0),
            dt: random(2, m * d_inner, 2.0).iter().map(softplus).collect(),
            a: random(3, d_inner * d_state, 1.0)
                .iter()
                .map(|v| -v.exp())
                .collect(),
            bc: random(4, m * (5 + 2 * d_state), 1.0),
            d: random(6, d_inner, 1.0),
            state,
        }
    }
}

impl Case for Selective {
    fn m(&self) -> usize {
        self.m
    }
    fn state(&self) -> &[f32] {
        &self.state
    }
    fn width(&self) -> usize {
        self.shape.d_inner
    }
    fn d_state(&self) -> usize {
        self.shape.d_state
    }
    fn call(&self, cx: &Compute, segments: &mut [ScanSegment<'_>], y: &mut [f32]) {
        let n = self.shape.d_state;
        let (b, c, stride) = (&self.bc[5..], &self.bc[5 + n..], 5 + 2 * n);
        let Self {
            shape, x, dt, a, d, ..
        } = self;
        selective_scan(cx, shape, x, dt, a, b, c, stride, d, segments, y);
    }
    fn exact(&self) -> Vec<f64> {
        let SelectiveShape { d_inner, d_state } = self.shape;
        let mut state: Vec<f64> = self.state.iter().map(|v| f64::from(*v)).collect();
        let mut y = Vec::new();
        for t in 0..self.m {
            let bc = |i: usize| f64::from(self.bc[t * (5 + 2 * d_state) + 5 + i]);
            for i in 0..d_inner {
                let (dt, x) = (
                    f64::from(self.dt[t * d_inner + i]),
                    f64::from(self.x[t * d_inner + i]),
                );
                let mut sum = f64::from(self.d[i]) * x;
                for n in 0..d_state {
                    let at = (i / 16 * d_state + n) * 16 + i % 16;
                    let a = f64::from(self.a[n * d_inner + i]);
                    state[at] = state[at] * (dt * a).exp() + dt * x * bc(n);
                    sum += state[at] * bc(d_state + n);
                }
                y.push(sum);
            }
        }
        y.extend(state);
        y
    }
}

fn cases(m: usize) -> Vec<Box<dyn Case>> {
    vec![
        Box::new(Ssd::new(4, 64, 128, 1, m)),
        Box::new(Ssd::new(6, 16, 16, 2, m)),
        Box::new(Ssd::new(3, 20, 23, 3, m)),
        Box::new(Ssd::new(2, 8, 5, 1, m)),
        Box::new(Ssd::new(2, 32, 64, 1, m)),
        Box::new(Selective::new(160, 16, m)),
        Box::new(Selective::new(50, 8, m)),
        Box::new(Selective::new(33, 21, m)),
    ]
}

#[test]
fn matches_f64_on_every_path() {
    for m in [1, 3, 64, 65, 150] {
        for case in cases(m) {
            let found = everywhere(|cx| case.run(cx, false, &[m]));
            assert_close(&found, &case.exact(), 3e-6);
            let rounded = everywhere(|cx| case.run(cx, true, &[m]));
            assert_close(&rounded, &case.exact(), 3e-2);
        }
    }
}

#[test]
fn splits_change_nothing() {
    let m = 131;
    let single: Vec<usize> = (1..=m).collect();
    for case in cases(m) {
        for bf16 in [false, true] {
            let whole = bits(&case.run(&computes()[0], bf16, &[m]));
            for cx in computes() {
                for ends in [&single[..], &[0, 1, 64, m], &[63, 66, 70, m], &[64, 128, m]] {
                    assert!(bits(&case.run(&cx, bf16, ends)) == whole, "{ends:?}");
                }
            }
        }
    }
}

#[test]
fn mates_change_nothing() {
    let m = 90;
    let parts = [70..90, 0..1, 1..67, 67..70];
    for case in cases(m) {
        for bf16 in [false, true] {
            let cx = Compute::new(2);
            let fresh = || State::new(bf16, case.state(), case.d_state());
            let mut alone = vec![0.0; m * case.width()];
            let mut expected: Vec<State> = parts.iter().map(|_| fresh()).collect();
            for (tokens, state) in parts.iter().zip(&mut expected) {
                let mut one = [ScanSegment {
                    tokens: tokens.clone(),
                    state: state.as_mut(),
                }];
                case.call(&cx, &mut one, &mut alone);
            }
            let mut together = vec![0.0; m * case.width()];
            let mut states: Vec<State> = parts.iter().map(|_| fresh()).collect();
            let mut segments: Vec<_> = parts
                .iter()
                .zip(&mut states)
                .map(|(tokens, state)| ScanSegment {
                    tokens: tokens.clone(),
                    state: state.as_mut(),
                })
                .collect();
            case.call(&cx, &mut segments, &mut together);
            assert!(bits(&together) == bits(&alone));
            for (a, b) in states.iter().zip(&expected) {
                assert!(bits(&a.values(case.d_state())) == bits(&b.values(case.d_state())));
            }
        }
    }
}

#[test]
fn nan_and_extremes_neither_panic_nor_spread() {
    let mut case = Ssd::new(2, 16, 16, 1, 5);
    case.xbc[16] = f32::NAN;
    let y = everywhere(|cx| case.run(cx, true, &[5]));
    assert!(y[16].is_nan() && y[..16].iter().all(|v| v.is_finite()));
    case.dt[4] = f32::INFINITY;
    case.a[1] = f32::NAN;
    everywhere(|cx| case.run(cx, false, &[2, 5]));
    let mut case = Selective::new(32, 16, 5);
    case.dt[3] = f32::INFINITY;
    case.dt[40] = f32::NAN;
    case.dt[50] = 1e30;
    everywhere(|cx| case.run(cx, true, &[1, 5]));
}

#[test]
#[should_panic(expected = "share rows")]
fn shared_rows_are_refused() {
    let case = Selective::new(16, 4, 3);
    let (mut a, mut b) = (case.state.clone(), case.state.clone());
    let mut segments = [
        ScanSegment {
            tokens: 0..2,
            state: StateMut::F32(&mut a),
        },
        ScanSegment {
            tokens: 1..3,
            state: StateMut::F32(&mut b),
        },
    ];
    case.call(&Compute::new(1), &mut segments, &mut [0.0; 48]);
}
