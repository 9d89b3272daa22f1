use super::*;
use crate::testing::{assert_close, everywhere, random};
use crate::train::checks::{assert_gradient, between, dot, wide};

struct Case {
    dims: SsdDims,
    lens: Vec<usize>,
    xbc: Vec<f32>,
    dt: Vec<f32>,
    a: Vec<f32>,
    skip: Vec<f32>,
    dy: Vec<f32>,
}

impl Case {
    fn new(sizes: [usize; 4], lens: &[usize], per_element: bool) -> Self {
        let [heads, headdim, d_state, n_groups] = sizes;
        let dims = SsdDims {
            heads,
            headdim,
            d_state,
            n_groups,
        };
        let tokens: usize = lens.iter().sum();
        let skips = if per_element { dims.d_inner() } else { heads };
        Self {
            dims,
            lens: lens.to_vec(),
            xbc: random(1, tokens * dims.columns(), 1.0),
            dt: between(2, tokens * heads, 0.01, 0.3),
            a: between(3, heads, -4.0, -0.05),
            skip: random(4, skips, 1.0),
            dy: random(5, tokens * dims.d_inner(), 1.0),
        }
    }

    fn tokens(&self) -> usize {
        self.lens.iter().sum()
    }

    /// The recurrence, token by token.
    fn naive(&self, xbc: &[f64], dt: &[f64], a: &[f64], skip: &[f64]) -> Vec<f64> {
        let dims = &self.dims;
        let (p, n, columns) = (dims.headdim, dims.d_state, dims.columns());
        let mut y = vec![0.0; self.tokens() * dims.d_inner()];
        for h in 0..dims.heads {
            let b = bc(dims, h, 0);
            let c = bc(dims, h, 1);
            let mut t = 0;
            for len in &self.lens {
                let mut state = vec![0.0; p * n];
                for _ in 0..*len {
                    let row = &xbc[t * columns..][..columns];
                    let dt = dt[t * dims.heads + h];
                    let keep = (dt * a[h]).exp();
                    for i in 0..p {
                        let at = h * p + i;
                        let d = if skip.len() == dims.heads {
                            skip[h]
                        } else {
                            skip[at]
                        };
                        let mut sum = d * row[at];
                        for k in 0..n {
                            let state = &mut state[i * n + k];
                            *state = *state * keep + dt * row[at] * row[b + k];
                            sum += *state * row[c + k];
                        }
                        y[t * dims.d_inner() + at] = sum;
                    }
                    t += 1;
                }
            }
        }
        y
    }

    fn forward(&self, cx: &Compute, saved: &mut SsdSaved) -> Vec<f32> {
        let mut y = vec![f32::NAN; self.dy.len()];
        let Self {
            dims, lens, xbc, ..
        } = self;
        ssd_forward(
            cx, dims, lens, xbc, &self.dt, &self.a, &self.skip, &mut y, saved,
        );
        y
    }

    /// The gradients of xbc, dt, a and skip, one behind the other; the last two
    /// added to ones.
    fn backward(&self, cx: &Compute, saved: &mut SsdSaved) -> Vec<f32> {
        let Self {
            dims, lens, xbc, ..
        } = self;
        let (mut dxbc, mut ddt) = (vec![f32::NAN; xbc.len()], vec![f32::NAN; self.dt.len()]);
        let (mut da, mut dskip) = (vec![1.0; self.a.len()], vec![1.0; self.skip.len()]);
        ssd_backward(
            cx, dims, lens, xbc, &self.dt, &self.a, &self.skip, saved, &self.dy, &mut dxbc,
            &mut ddt, &mut da, &mut dskip,
        );
        [dxbc, ddt, da, dskip].concat()
    }

    fn check(&self) {
        let forward = everywhere(|cx| self.forward(cx, &mut SsdSaved::default()));
        let (xbc, dt) = (wide(&self.xbc), wide(&self.dt));
        let (a, skip) = (wide(&self.a), wide(&self.skip));
        assert_close(&forward, &self.naive(&xbc, &dt, &a, &skip), 5e-6);
        let found = everywhere(|cx| {
            let mut saved = SsdSaved::default();
            self.forward(cx, &mut saved);
            self.backward(cx, &mut saved)
        });
        let (dxbc, rest) = found.split_at(xbc.len());
        let (ddt, rest) = rest.split_at(dt.len());
        let less = |v: &[f32]| v.iter().map(|v| v - 1.0).collect::<Vec<_>>();
        let (da, dskip) = rest.split_at(a.len());
        let loss = |y: Vec<f64>| dot(&y, &self.dy);
        assert_gradient("xbc", dxbc, &self.xbc, 2e-5, |xbc| {
            loss(self.naive(xbc, &dt, &a, &skip))
        });
        assert_gradient("dt", ddt, &self.dt, 2e-5, |dt| {
            loss(self.naive(&xbc, dt, &a, &skip))
        });
        assert_gradient("a", &less(da), &self.a, 2e-5, |a| {
            loss(self.naive(&xbc, &dt, a, &skip))
        });
        assert_gradient("skip", &less(dskip), &self.skip, 2e-5, |skip| {
            loss(self.naive(&xbc, &dt, &a, skip))
        });
    }
}

/// Where B or C of a head begins.
fn bc(dims: &SsdDims, head: usize, which: usize) -> usize {
    let group = head / (dims.heads / dims.n_groups);
    dims.d_inner() + (which * dims.n_groups + group) * dims.d_state
}

#[test]
fn small_shapes_match_f64() {
    for (sizes, lens) in [
        ([1, 1, 1, 1], &[1][..]),
        ([1, 3, 5, 1], &[2, 1, 4]),
        ([2, 16, 8, 1], &[17]),
        ([4, 8, 16, 2], &[40, 3]),
        ([3, 20, 12, 3], &[5, 0, 33]),
    ] {
        for per_element in [false, true] {
            Case::new(sizes, lens, per_element).check();
        }
    }
}

#[test]
fn lengths_about_a_chunk_match_f64() {
    for lens in [
        &[63, 64, 65][..],
        &[127, 128],
        &[129, 1, 200],
        &[31, 32, 33, 16, 15],
    ] {
        Case::new([2, 16, 16, 1], lens, false).check();
    }
    Case::new([6, 32, 24, 2], &[140], true).check();
    Case::new([2, 64, 64, 1], &[150], false).check();
    Case::new([1, 64, 128, 1], &[300], false).check();
}

#[test]
fn strong_decays_neither_overflow_nor_vanish() {
    let mut case = Case::new([2, 16, 16, 1], &[200], false);
    case.a = vec![-16.0, -300.0];
    case.dt = between(7, case.dt.len(), 0.001, 2.0);
    case.check();
}

#[test]
fn sequences_do_not_know_each_other() {
    let case = Case::new([2, 16, 16, 1], &[70, 90], false);
    let cx = Compute::new(2);
    let together = case.forward(&cx, &mut SsdSaved::default());
    let mut alone = Case::new([2, 16, 16, 1], &[90], false);
    alone.xbc = case.xbc[70 * case.dims.columns()..].to_vec();
    alone.dt = case.dt[70 * 2..].to_vec();
    let y = alone.forward(&cx, &mut SsdSaved::default());
    assert_eq!(y, together[70 * case.dims.d_inner()..]);
}

#[test]
fn memory_of_a_longer_call_changes_nothing() {
    let cx = Compute::new(2);
    let (long, short) = (
        Case::new([2, 16, 16, 1], &[300], false),
        Case::new([2, 16, 16, 1], &[100], false),
    );
    let mut saved = SsdSaved::default();
    long.forward(&cx, &mut saved);
    long.backward(&cx, &mut saved);
    short.forward(&cx, &mut saved);
    let used = short.backward(&cx, &mut saved);
    let mut saved = SsdSaved::default();
    short.forward(&cx, &mut saved);
    assert_eq!(used, short.backward(&cx, &mut saved));
}
