use super::*;
use crate::testing::{assert_close, everywhere, random};
use crate::train::checks::{assert_gradient, between, dot, wide};

struct Case {
    dims: SelectiveDims,
    lens: Vec<usize>,
    stride: usize,
    x: Vec<f32>,
    dt: Vec<f32>,
    /// B and C side by side, after three other columns.
    bc: Vec<f32>,
    a: Vec<f32>,
    skip: Vec<f32>,
    dy: Vec<f32>,
}

impl Case {
    fn new(d_inner: usize, d_state: usize, lens: &[usize]) -> Self {
        let tokens: usize = lens.iter().sum();
        let stride = 3 + 2 * d_state;
        Self {
            dims: SelectiveDims { d_inner, d_state },
            lens: lens.to_vec(),
            stride,
            x: random(1, tokens * d_inner, 1.0),
            dt: between(2, tokens * d_inner, 0.001, 0.5),
            bc: random(3, tokens * stride, 1.0),
            a: between(4, d_inner * d_state, -8.0, -0.1),
            skip: random(5, d_inner, 1.0),
            dy: random(6, tokens * d_inner, 1.0),
        }
    }

    fn naive(&self, x: &[f64], dt: &[f64], bc: &[f64], a: &[f64], skip: &[f64]) -> Vec<f64> {
        let SelectiveDims { d_inner, d_state } = self.dims;
        let mut y = vec![0.0; x.len()];
        let mut t = 0;
        for len in &self.lens {
            let mut h = vec![0.0; a.len()];
            for _ in 0..*len {
                let row = &bc[t * self.stride + 3..];
                for c in 0..d_inner {
                    let at = t * d_inner + c;
                    let mut sum = skip[c] * x[at];
                    for n in 0..d_state {
                        let i = c * d_state + n;
                        h[i] = h[i] * (dt[at] * a[i]).exp() + dt[at] * x[at] * row[n];
                        sum += row[d_state + n] * h[i];
                    }
                    y[at] = sum;
                }
                t += 1;
            }
        }
        y
    }

    fn forward(&self, cx: &Compute, saved: &mut SelectiveSaved) -> Vec<f32> {
        let mut y = vec![f32::NAN; self.x.len()];
        let (b, c) = (&self.bc[3..], &self.bc[3 + self.dims.d_state..]);
        selective_forward(
            cx,
            &self.dims,
            &self.lens,
            &self.x,
            &self.dt,
            b,
            c,
            self.stride,
            &self.a,
            &self.skip,
            &mut y,
            saved,
        );
        y
    }

    /// The gradients of x, dt, B, C, a and skip, one behind the other; the last
    /// two added to ones.
    fn backward(&self, cx: &Compute) -> Vec<f32> {
        let mut saved = SelectiveSaved::default();
        self.forward(cx, &mut saved);
        let n = self.dims.d_state;
        let (b, c) = (&self.bc[3..], &self.bc[3 + n..]);
        let tokens: usize = self.lens.iter().sum();
        let [mut dx, mut ddt] = [(); 2].map(|()| vec![f32::NAN; self.x.len()]);
        let [mut db, mut dc] = [(); 2].map(|()| vec![0.0; tokens * (n + 1)]);
        let (mut da, mut dskip) = (vec![1.0; self.a.len()], vec![1.0; self.skip.len()]);
        selective_backward(
            cx,
            &self.dims,
            &self.lens,
            &self.x,
            &self.dt,
            b,
            c,
            self.stride,
            &self.a,
            &self.skip,
            &mut saved,
            &self.dy,
            &mut dx,
            &mut ddt,
            &mut db,
            &mut dc,
            n + 1,
            &mut da,
            &mut dskip,
        );
        // B and C as they lie in `bc`.
        let mut dbc = vec![0.0; self.bc.len()];
        for t in 0..tokens {
            let row = &mut dbc[t * self.stride + 3..];
            row[..n].copy_from_slice(&db[t * (n + 1)..][..n]);
            row[n..2 * n].copy_from_slice(&dc[t * (n + 1)..][..n]);
        }
        [dx, ddt, dbc, da, dskip].concat()
    }

    fn check(&self) {
        let (x, dt, bc) = (wide(&self.x), wide(&self.dt), wide(&self.bc));
        let (a, skip) = (wide(&self.a), wide(&self.skip));
        let y = everywhere(|cx| self.forward(cx, &mut SelectiveSaved::default()));
        assert_close(&y, &self.naive(&x, &dt, &bc, &a, &skip), 5e-6);
        let found = everywhere(|cx| self.backward(cx));
        let (dx, rest) = found.split_at(x.len());
        let (ddt, rest) = rest.split_at(dt.len());
        let (dbc, rest) = rest.split_at(bc.len());
        let less = |v: &[f32]| v.iter().map(|v| v - 1.0).collect::<Vec<_>>();
        let (da, dskip) = rest.split_at(a.len());
        let loss = |y: Vec<f64>| dot(&y, &self.dy);
        assert_gradient("x", dx, &self.x, 2e-5, |x| {
            loss(self.naive(x, &dt, &bc, &a, &skip))
        });
        assert_gradient("dt", ddt, &self.dt, 2e-5, |dt| {
            loss(self.naive(&x, dt, &bc, &a, &skip))
        });
        assert_gradient("bc", dbc, &self.bc, 2e-5, |bc| {
            loss(self.naive(&x, &dt, bc, &a, &skip))
        });
        assert_gradient("a", &less(da), &self.a, 2e-5, |a| {
            loss(self.naive(&x, &dt, &bc, a, &skip))
        });
        assert_gradient("skip", &less(dskip), &self.skip, 2e-5, |skip| {
            loss(self.naive(&x, &dt, &bc, &a, skip))
        });
    }
}

#[test]
fn gradients_match_differences() {
    for (d_inner, d_state, lens) in [
        (1, 1, &[1][..]),
        (3, 5, &[2, 1, 4]),
        (16, 16, &[17, 0, 3]),
        (37, 16, &[64, 65, 63]),
        (48, 9, &[130]),
    ] {
        Case::new(d_inner, d_state, lens).check();
    }
}

#[test]
fn waves_continue_each_other() {
    Case::new(17, 4, &[700, 30, 600]).check();
}
