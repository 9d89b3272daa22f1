use super::*;
use crate::testing::{assert_close, everywhere, random};

#[derive(Clone, Copy)]
struct Case {
    lens: &'static [usize],
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    window: Option<usize>,
}

const CASES: &[Case] = &[
    Case {
        lens: &[1],
        heads: 1,
        kv_heads: 1,
        head_dim: 1,
        window: None,
    },
    Case {
        lens: &[5, 0, 64, 3],
        heads: 2,
        kv_heads: 1,
        head_dim: 16,
        window: None,
    },
    Case {
        lens: &[63, 65],
        heads: 4,
        kv_heads: 2,
        head_dim: 20,
        window: None,
    },
    Case {
        lens: &[130],
        heads: 3,
        kv_heads: 3,
        head_dim: 64,
        window: Some(1),
    },
    Case {
        lens: &[17, 200],
        heads: 2,
        kv_heads: 2,
        head_dim: 48,
        window: Some(37),
    },
    Case {
        lens: &[193, 128],
        heads: 6,
        kv_heads: 2,
        head_dim: 80,
        window: Some(64),
    },
    Case {
        lens: &[70, 140],
        heads: 2,
        kv_heads: 1,
        head_dim: 128,
        window: Some(100),
    },
    // Long enough for several parts, with and without keys no part sees.
    Case {
        lens: &[1200, 40],
        heads: 2,
        kv_heads: 1,
        head_dim: 16,
        window: None,
    },
    Case {
        lens: &[1100],
        heads: 1,
        kv_heads: 1,
        head_dim: 32,
        window: Some(150),
    },
];

impl Case {
    fn dims(&self) -> AttentionDims {
        AttentionDims {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: 1.3 / (self.head_dim as f32).sqrt(),
            window: self.window,
        }
    }

    fn tokens(&self) -> usize {
        self.lens.iter().sum()
    }

    /// Widths of q, k and v, and the columns where they begin in one matrix.
    fn columns(&self) -> ([usize; 3], usize) {
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        ([3, q + 3, q + kv + 4], q + 2 * kv + 9)
    }

    fn qkv(&self) -> Vec<f32> {
        random(1, self.tokens() * self.columns().1, 1.0)
    }

    fn dout(&self) -> Vec<f32> {
        random(2, self.tokens() * self.heads * self.head_dim, 1.0)
    }

    /// Output and log-sum-exp.
    fn forward(&self, cx: &Compute, qkv: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let ([q, k, v], stride) = self.columns();
        let mut out = vec![f32::NAN; self.tokens() * self.heads * self.head_dim];
        let mut lse = vec![f32::NAN; self.tokens() * self.heads];
        attention_forward(
            cx,
            &self.dims(),
            self.lens,
            &qkv[q..],
            &qkv[k..],
            &qkv[v..],
            [stride; 3],
            &mut out,
            &mut lse,
        );
        (out, lse)
    }
}

/// Output, log-sum-exp and the gradient of `qkv`, in f64 and by the formulas.
fn naive(case: &Case, qkv: &[f32], dout: &[f32]) -> [Vec<f64>; 3] {
    let ([q, k, v], stride) = case.columns();
    let (dim, heads) = (case.head_dim, case.heads);
    let (dims, x) = (case.dims(), |i: usize| f64::from(qkv[i]));
    let scale = f64::from(dims.scale);
    let mut out = vec![0.0; case.tokens() * heads * dim];
    let mut lse = vec![0.0; case.tokens() * heads];
    let mut grad = vec![0.0; qkv.len()];
    let mut start = 0;
    for &len in case.lens {
        for head in 0..heads {
            let shared = head / (heads / case.kv_heads);
            for i in 0..len {
                let seen: Vec<usize> = (dims.first_seen(i)..=i).collect();
                let query = (start + i) * stride + q + head * dim;
                let key = |j: usize| (start + j) * stride + k + shared * dim;
                let value = |j: usize| (start + j) * stride + v + shared * dim;
                let score = |j: usize| (0..dim).map(|d| x(query + d) * x(key(j) + d)).sum::<f64>();
                let scores: Vec<f64> = seen.iter().map(|j| scale * score(*j)).collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                lse[(start + i) * heads + head] = top + sum.ln();
                let at = ((start + i) * heads + head) * dim;
                let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp() / sum).collect();
                for (j, w) in seen.iter().zip(&weights) {
                    (0..dim).for_each(|d| out[at + d] += w * x(value(*j) + d));
                }
                let g = |d: usize| f64::from(dout[at + d]);
                let delta: f64 = (0..dim).map(|d| g(d) * out[at + d]).sum();
                for (j, w) in seen.iter().zip(&weights) {
                    let dw: f64 = (0..dim).map(|d| g(d) * x(value(*j) + d)).sum();
                    let ds = scale * w * (dw - delta);
                    for d in 0..dim {
                        grad[query + d] += ds * x(key(*j) + d);
                        grad[key(*j) + d] += ds * x(query + d);
                        grad[value(*j) + d] += w * g(d);
                    }
                }
            }
        }
        start += len;
    }
    [out, lse, grad]
}

#[test]
fn both_passes_match_f64() {
    for case in CASES {
        let (qkv, dout) = (case.qkv(), case.dout());
        let (offsets, stride) = case.columns();
        let found = everywhere(|cx| {
            let (out, lse) = case.forward(cx, &qkv);
            let mut grad = vec![0.0; qkv.len()];
            attention_backward_fused(
                cx,
                &case.dims(),
                case.lens,
                &qkv,
                offsets,
                stride,
                &out,
                &lse,
                &dout,
                &mut grad,
            );
            [out, lse, grad].concat()
        });
        let [out, lse, grad] = naive(case, &qkv, &dout);
        let (out_found, found) = found.split_at(out.len());
        let (lse_found, grad_found) = found.split_at(lse.len());
        assert_close(out_found, &out, 2e-6);
        assert_close(lse_found, &lse, 2e-6);
        // Each of the three by its own measure.
        for i in 0..3 {
            let end = if i == 2 { stride } else { offsets[i + 1] };
            let section = |row: usize| row * stride + offsets[i]..row * stride + end;
            let found: Vec<f32> = (0..case.tokens())
                .flat_map(|row| grad_found[section(row)].to_vec())
                .collect();
            let exact: Vec<f64> = (0..case.tokens())
                .flat_map(|row| grad[section(row)].to_vec())
                .collect();
            if case.window == Some(1) && i < 2 {
                // One weight of one: no score has a gradient.
                assert!(found.iter().all(|x| x.abs() < 1e-5));
            } else {
                assert_close(&found, &exact, 4e-6);
            }
        }
    }
}

/// Separate matrices give the bits that sections of one give, and what was in
/// the gradients before is gone.
#[test]
fn separate_gradients_agree() {
    let case = &CASES[4];
    let (qkv, dout) = (case.qkv(), case.dout());
    let (offsets, stride) = case.columns();
    let cx = Compute::new(2);
    let (out, lse) = case.forward(&cx, &qkv);
    let mut fused = vec![0.0; qkv.len()];
    let (dims, lens) = (case.dims(), case.lens);
    attention_backward_fused(
        &cx, &dims, lens, &qkv, offsets, stride, &out, &lse, &dout, &mut fused,
    );
    let widths = [case.heads, case.kv_heads, case.kv_heads].map(|heads| heads * case.head_dim);
    let mut apart = widths.map(|width| vec![f32::NAN; case.tokens() * width]);
    let [dq, dk, dv] = &mut apart;
    attention_backward(
        &cx,
        &dims,
        lens,
        &qkv[offsets[0]..],
        &qkv[offsets[1]..],
        &qkv[offsets[2]..],
        [stride; 3],
        &out,
        &lse,
        &dout,
        dq,
        dk,
        dv,
        widths,
    );
    for i in 0..3 {
        for t in 0..case.tokens() {
            let row = &apart[i][t * widths[i]..][..widths[i]];
            assert_eq!(row, &fused[t * stride + offsets[i]..][..widths[i]]);
        }
    }
}

/// A sequence alone gives the outputs it gives among others.
#[test]
fn sequences_do_not_know_each_other() {
    let case = CASES[4];
    let qkv = case.qkv();
    let cx = Compute::new(2);
    let (out, _) = case.forward(&cx, &qkv);
    let alone = Case {
        lens: &case.lens[1..],
        ..case
    };
    let skipped = case.lens[0];
    let (second, _) = alone.forward(&cx, &qkv[skipped * case.columns().1..]);
    assert_eq!(second, out[skipped * case.heads * case.head_dim..]);
}

#[test]
fn large_scores_stay_finite() {
    let case = CASES[2];
    let qkv: Vec<f32> = case.qkv().iter().map(|x| 30.0 * x).collect();
    let dout = case.dout();
    let found = everywhere(|cx| case.forward(cx, &qkv).0);
    let [out, ..] = naive(&case, &qkv, &dout);
    assert!(found.iter().all(|x| x.is_finite()));
    // Scores in the hundreds carry errors of 1e-4.
    assert_close(&found, &out, 5e-4);
}

#[test]
#[should_panic(expected = "sections that overlap")]
fn overlapping_sections_are_refused() {
    let dims = CASES[0].dims();
    let mut grad = [0.0; 3];
    let (one, cx) = ([1.0], Compute::new(1));
    attention_backward_fused(
        &cx,
        &dims,
        &[1],
        &[0.0; 3],
        [0, 1, 1],
        3,
        &one,
        &one,
        &one,
        &mut grad,
    );
}

/// Speeds, against which nothing is held: `cargo test --release -- --ignored
/// --nocapture attention_speed`.
#[test]
#[ignore = "a measurement"]
fn attention_speed() {
    let threads = std::env::var("THREADS").ok().and_then(|n| n.parse().ok());
    let cx = Compute::new(threads.unwrap_or(2));
    for len in [128, 512, 2048, 8192] {
        let dims = AttentionDims {
            heads: 8,
            kv_heads: 8,
            head_dim: 64,
            scale: 0.125,
            window: None,
        };
        let (width, batch) = (512, (1024 / len).max(1));
        let (lens, n) = (vec![len; batch], len * batch * width);
        let [q, k, v, dout] = [1, 2, 3, 4].map(|seed| random(seed, n, 1.0));
        let [mut out, mut dq, mut dk, mut dv] = [0; 4].map(|_| vec![0.0; n]);
        let mut lse = vec![0.0; len * batch * 8];
        let strides = [width; 3];
        let mut best = [f64::INFINITY; 2];
        for _ in 0..(20_000 / len).clamp(4, 20) {
            let began = std::time::Instant::now();
            attention_forward(&cx, &dims, &lens, &q, &k, &v, strides, &mut out, &mut lse);
            best[0] = best[0].min(began.elapsed().as_secs_f64());
            let began = std::time::Instant::now();
            attention_backward(
                &cx, &dims, &lens, &q, &k, &v, strides, &out, &lse, &dout, &mut dq, &mut dk,
                &mut dv, strides,
            );
            best[1] = best[1].min(began.elapsed().as_secs_f64());
        }
        let product = (len * (len + 1) * width * batch) as f64 * 1e-9;
        println!(
            "length {len} x {batch}: forward {:.2} ms {:.0} GFLOP/s, backward {:.2} ms {:.0} GFLOP/s, both {:.0} GFLOP/s",
            best[0] * 1e3,
            2.0 * product / best[0],
            best[1] * 1e3,
            5.0 * product / best[1],
            7.0 * product / (best[0] + best[1]),
        );
    }
}
