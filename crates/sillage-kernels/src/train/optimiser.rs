//! What happens to parameters once their gradients are known.

use crate::Compute;
use crate::isa::{Kernel, LANES, Simd};
use crate::spread::{read, write};
use crate::threads::Shards;

/// Elements of one piece of work.
const PIECE: usize = 16 * 1024;

/// Adam with decoupled weight decay (Loshchilov and Hutter, 2019), in the
/// order of operations of `torch.optim.AdamW`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f32,
    /// How much of the running means of the gradient and of its square is
    /// kept in a step.
    pub betas: (f32, f32),
    /// Added to the root of the mean square.
    pub eps: f32,
    /// What a parameter loses in a step, times the learning rate.
    pub weight_decay: f32,
    /// Which step this is, from 1 on.
    pub step: u64,
}

/// One step of `params` against `grads` times `grad_scale` (for clipping);
/// `m` and `v` are the running means, zeros before the first step.
///
/// # Panics
/// If the slices differ in length, or the step is 0.
pub fn adamw(
    cx: &Compute,
    rule: &AdamW,
    params: &mut [f32],
    grads: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    grad_scale: f32,
) {
    let len = params.len();
    assert!(
        grads.len() == len && m.len() == len && v.len() == len,
        "slices of different parameters"
    );
    let factors = Factors::new(rule, grad_scale);
    let (params, m, v) = (Shards::new(params), Shards::new(m), Shards::new(v));
    cx.spread(len.div_ceil(PIECE), len / LANES * 30, &|piece| {
        let (at, n) = (piece * PIECE, PIECE.min(len - piece * PIECE));
        // SAFETY: pieces are disjoint ranges of each of the three.
        let (params, m, v) = unsafe { (params.slice(at, n), m.slice(at, n), v.slice(at, n)) };
        cx.isa.dispatch_float(Step {
            factors: &factors,
            params,
            grads: &grads[at..][..n],
            m,
            v,
        });
    });
}

/// What a step multiplies by, computed in f64 as PyTorch does.
struct Factors {
    grad: f32,
    keep: f32,
    blend: (f32, f32),
    beta2: f32,
    root: f32,
    eps: f32,
    rate: f32,
}

impl Factors {
    fn new(rule: &AdamW, grad_scale: f32) -> Self {
        assert!(rule.step > 0, "steps are counted from 1");
        let (lr, decay) = (f64::from(rule.lr), f64::from(rule.weight_decay));
        let (beta1, beta2) = (f64::from(rule.betas.0), f64::from(rule.betas.1));
        // An exponent beyond i32 has long made the power nothing.
        let steps = i32::try_from(rule.step).unwrap_or(i32::MAX);
        Self {
            grad: grad_scale,
            keep: (1.0 - lr * decay) as f32,
            blend: ((1.0 - beta1) as f32, (1.0 - beta2) as f32),
            beta2: rule.betas.1,
            root: (1.0 - beta2.powi(steps)).sqrt() as f32,
            eps: rule.eps,
            rate: (lr / (1.0 - beta1.powi(steps))) as f32,
        }
    }
}

struct Step<'a> {
    factors: &'a Factors,
    params: &'a mut [f32],
    grads: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl Kernel for Step<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let f = self.factors;
        let (keep, beta2) = (s.splat(f.keep), s.splat(f.beta2));
        let (blend, blend2) = (s.splat(f.blend.0), s.splat(f.blend.1));
        let (root, eps, rate) = (s.splat(f.root), s.splat(f.eps), s.splat(f.rate));
        for i in (0..self.params.len()).step_by(LANES) {
            let grad = s.mul(read(s, self.grads, i), s.splat(f.grad));
            let m = read(s, self.m, i);
            let m = s.fma(s.sub(grad, m), blend, m);
            let v = s.mul(read(s, self.v, i), beta2);
            let v = s.fma(s.mul(grad, grad), blend2, v);
            let below = s.add(s.div(sqrt(s, v), root), eps);
            let kept = s.mul(read(s, self.params, i), keep);
            let moved = s.fnma(rate, s.div(m, below), kept);
            write(s, self.m, i, m);
            write(s, self.v, i, v);
            write(s, self.params, i, moved);
        }
    }
}

/// Square roots, rounded once on every machine; the compiler makes them one
/// instruction.
#[inline(always)]
fn sqrt<S: Simd>(s: S, v: S::F) -> S::F {
    let mut lanes = s.to_array(v);
    for lane in &mut lanes {
        *lane = lane.sqrt();
    }
    // SAFETY: the array has sixteen elements.
    unsafe { s.load(lanes.as_ptr()) }
}

/// The sum of the squares of `x`, for the norm of a gradient: within a piece
/// in sixteen lanes, over pieces in their order.
#[must_use]
pub fn sum_squares(cx: &Compute, x: &[f32]) -> f64 {
    let mut sums = vec![0.0; x.len().div_ceil(PIECE)];
    let shards = Shards::new(&mut sums);
    cx.spread(x.len().div_ceil(PIECE), x.len() / LANES * 4, &|piece| {
        let x = &x[piece * PIECE..x.len().min((piece + 1) * PIECE)];
        let sum = cx.isa.dispatch_float(Squares { x });
        // SAFETY: each piece has its own element.
        unsafe { shards.slice(piece, 1)[0] = sum };
    });
    sums.iter().sum()
}

struct Squares<'a> {
    x: &'a [f32],
}

impl Kernel for Squares<'_> {
    type Output = f64;
    /// Plain code: there are no f64 vectors, but the compiler finds its own.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut lanes = [0f64; LANES];
        for chunk in self.x.chunks(LANES) {
            if let Ok(chunk) = <&[f32; LANES]>::try_from(chunk) {
                for i in 0..LANES {
                    lanes[i] += f64::from(chunk[i]) * f64::from(chunk[i]);
                }
            } else {
                for (lane, x) in lanes.iter_mut().zip(chunk) {
                    *lane += f64::from(*x) * f64::from(*x);
                }
            }
        }
        lanes.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, everywhere, random};

    const RULE: AdamW = AdamW {
        lr: 1e-2,
        betas: (0.9, 0.95),
        eps: 1e-8,
        weight_decay: 0.1,
        step: 1,
    };

    #[test]
    fn follows_f64_for_some_steps() {
        for n in [1, 15, 16, 1000, 40_000] {
            let start = random(1, n, 1.0);
            let found = everywhere(|cx| {
                let (mut p, mut m, mut v) = (start.clone(), vec![0.0; n], vec![0.0; n]);
                for step in 1..6 {
                    let grads = random(10 + step, n, 0.3);
                    let rule = AdamW { step, ..RULE };
                    adamw(cx, &rule, &mut p, &grads, &mut m, &mut v, 0.5);
                }
                [p, m, v].concat()
            });
            let mut p: Vec<f64> = start.iter().map(|x| f64::from(*x)).collect();
            let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
            let (lr, decay) = (f64::from(RULE.lr), f64::from(RULE.weight_decay));
            let (b1, b2) = (f64::from(RULE.betas.0), f64::from(RULE.betas.1));
            for step in 1..6 {
                let grads = random(10 + step, n, 0.3);
                for i in 0..n {
                    let g = f64::from(grads[i]) * 0.5;
                    p[i] -= lr * decay * p[i];
                    m[i] = b1 * m[i] + (1.0 - b1) * g;
                    v[i] = b2 * v[i] + (1.0 - b2) * g * g;
                    let (m, v) = (
                        m[i] / (1.0 - b1.powi(step as i32)),
                        v[i] / (1.0 - b2.powi(step as i32)),
                    );
                    p[i] -= lr * m / (v.sqrt() + f64::from(RULE.eps));
                }
            }
            assert_close(&found[..n], &p, 1e-6);
            assert_close(&found[n..2 * n], &m, 1e-6);
            assert_close(&found[2 * n..], &v, 1e-6);
        }
    }

    /// The first step moves by the learning rate against the gradient's sign.
    #[test]
    fn the_first_step_by_hand() {
        let cx = Compute::new(1);
        let mut p = [1.0, -2.0, 0.5];
        let (mut m, mut v) = ([0.0; 3], [0.0; 3]);
        adamw(&cx, &RULE, &mut p, &[4.0, -0.1, 0.0], &mut m, &mut v, 1.0);
        // 1 - 0.001 - 0.01, -2 + 0.002 + 0.01, 0.5 - 0.0005.
        for (p, exact) in p.iter().zip([0.989, -1.988, 0.4995]) {
            assert!((p - exact).abs() < 1e-6, "{p}");
        }
        assert!((m[0] - 0.4).abs() < 1e-6 && (v[0] - 0.8).abs() < 1e-6);
    }

    #[test]
    fn squares_are_summed_in_f64() {
        for n in [0, 1, 17, 16 * 1024, 100_001] {
            let x = random(3, n, 2.0);
            let found = everywhere(|cx| {
                let sum = sum_squares(cx, &x).to_bits();
                vec![
                    f32::from_bits(sum as u32),
                    f32::from_bits((sum >> 32) as u32),
                ]
            });
            let found =
                f64::from_bits(u64::from(found[1].to_bits()) << 32 | u64::from(found[0].to_bits()));
            let exact: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
            assert!((found - exact).abs() <= 1e-12 * exact, "{found} {exact}");
        }
    }
}
