//! Cross entropy of rows of logits.
//!
//! A row's sum of exponentials is taken in four vectors of sixteen partial
//! sums, filled in turn, then folded in one order: a row's result depends on
//! that row alone.

use crate::Compute;
use crate::isa::{Kernel, LANES, Simd};
use crate::math;
use crate::spread::{read, write};
use crate::threads::Shards;

/// Elements of rows that make one piece of work.
const PIECE: usize = 16 * 1024;

/// A target that asks for nothing: loss and gradient of its row are zero.
pub const IGNORED: u32 = u32::MAX;

const LANE: [f32; LANES] = {
    let mut lanes = [0.0; LANES];
    let mut i = 0;
    while i < LANES {
        lanes[i] = i as f32;
        i += 1;
    }
    lanes
};

/// The loss `-ln softmax(row)[target]` of each row of `logits: [rows, vocab]`,
/// in nats, and in place of the logits the gradient of `scale` times the sum
/// of all losses. A row whose target is [`IGNORED`] has none.
///
/// # Panics
/// If a target lies beyond the vocabulary or a slice is too short.
pub fn cross_entropy(
    cx: &Compute,
    logits: &mut [f32],
    vocab: usize,
    targets: &[u32],
    scale: f32,
    losses: &mut [f32],
) {
    check(vocab, targets);
    let m = targets.len();
    let (logits, losses) = (
        Shards::new(&mut logits[..m * vocab]),
        Shards::new(&mut losses[..m]),
    );
    pieces(cx, m, vocab, 25, &|i| {
        // SAFETY: each row, and its loss, belong to one piece.
        let (row, loss) = unsafe { (logits.slice(i * vocab, vocab), losses.slice(i, 1)) };
        let target = targets[i];
        loss[0] = cx.isa.dispatch_float(Gradient { row, target, scale });
    });
}

/// The loss of each row of `logits: [rows, vocab]`, in nats, and whether its
/// largest logit (of equal ones the first) is the target's. A row whose target
/// is [`IGNORED`] has loss zero and is not correct.
///
/// # Panics
/// If a target lies beyond the vocabulary or a slice is too short.
pub fn cross_entropy_forward(
    cx: &Compute,
    logits: &[f32],
    vocab: usize,
    targets: &[u32],
    losses: &mut [f32],
    correct: &mut [bool],
) {
    check(vocab, targets);
    let m = targets.len();
    let logits = &logits[..m * vocab];
    let (losses, correct) = (
        Shards::new(&mut losses[..m]),
        Shards::new(&mut correct[..m]),
    );
    pieces(cx, m, vocab, 20, &|i| {
        // SAFETY: each row's loss and verdict belong to one piece.
        let (loss, correct) = unsafe { (losses.slice(i, 1), correct.slice(i, 1)) };
        let (row, target) = (&logits[i * vocab..][..vocab], targets[i]);
        (loss[0], correct[0]) = cx.isa.dispatch_float(Loss { row, target });
    });
}

fn check(vocab: usize, targets: &[u32]) {
    let known = |target: &u32| (*target as usize) < vocab || *target == IGNORED;
    assert!(targets.iter().all(known), "a target beyond the vocabulary");
}

fn pieces(
    cx: &Compute,
    m: usize,
    vocab: usize,
    cycles_per_vector: usize,
    row: &(dyn Fn(usize) + Sync),
) {
    let rows = (PIECE / vocab.max(1)).clamp(1, m.max(1));
    let cycles = m * vocab.div_ceil(LANES) * cycles_per_vector;
    cx.spread(m.div_ceil(rows), cycles, &|piece| {
        (piece * rows..m.min((piece + 1) * rows)).for_each(row);
    });
}

/// The largest element.
#[inline(always)]
fn largest<S: Simd>(s: S, row: &[f32]) -> f32 {
    let lowest = s.splat(f32::NEG_INFINITY);
    let mut tops = [lowest; 4];
    let whole = row.len() / LANES * LANES;
    for i in (0..whole).step_by(LANES) {
        let slot = i / LANES % 4;
        tops[slot] = s.max(tops[slot], read(s, row, i));
    }
    let left = s.splat((row.len() - whole) as f32);
    let rest = s.select_gt(left, read(s, &LANE, 0), read(s, row, whole), lowest);
    let top = s.max(s.max(tops[0], tops[1]), s.max(tops[2], tops[3]));
    s.largest(s.max(top, rest))
}

/// `e^(x - top)` of elements `i..i + 16`, zeros past the end.
#[inline(always)]
fn weight<S: Simd>(s: S, row: &[f32], i: usize, top: S::F) -> S::F {
    let e = math::exp(s, s.sub(read(s, row, i), top));
    if row.len() - i >= LANES {
        return e;
    }
    let left = s.splat((row.len() - i) as f32);
    s.select_gt(left, read(s, &LANE, 0), e, s.splat(0.0))
}

#[inline(always)]
fn fold<S: Simd>(s: S, sums: [S::F; 4]) -> f32 {
    s.sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
}

struct Gradient<'a> {
    row: &'a mut [f32],
    target: u32,
    scale: f32,
}

impl Kernel for Gradient<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let Self { row, target, scale } = self;
        if target == IGNORED {
            row.fill(0.0);
            return 0.0;
        }
        let asked = row[target as usize];
        let top = largest(s, row);
        let mut sums = [s.splat(0.0); 4];
        for i in (0..row.len()).step_by(LANES) {
            let e = weight(s, row, i, s.splat(top));
            let slot = i / LANES % 4;
            sums[slot] = s.add(sums[slot], e);
            write(s, row, i, e);
        }
        let sum = fold(s, sums);
        let factor = s.splat(scale / sum);
        for i in (0..row.len()).step_by(LANES) {
            write(s, row, i, s.mul(read(s, row, i), factor));
        }
        row[target as usize] -= scale;
        sum.ln() + (top - asked)
    }
}

struct Loss<'a> {
    row: &'a [f32],
    target: u32,
}

impl Kernel for Loss<'_> {
    type Output = (f32, bool);
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, bool) {
        let Self { row, target } = self;
        if target == IGNORED {
            return (0.0, false);
        }
        let asked = row[target as usize];
        let top = largest(s, row);
        let mut sums = [s.splat(0.0); 4];
        for i in (0..row.len()).step_by(LANES) {
            let slot = i / LANES % 4;
            sums[slot] = s.add(sums[slot], weight(s, row, i, s.splat(top)));
        }
        let first = || row[..target as usize].iter().all(|x| *x < top);
        (fold(s, sums).ln() + (top - asked), asked == top && first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, everywhere, random};

    /// Losses, then gradients, in f64.
    fn naive(logits: &[f32], vocab: usize, targets: &[u32], scale: f64) -> (Vec<f64>, Vec<f64>) {
        let (mut losses, mut grads) = (Vec::new(), Vec::new());
        for (row, target) in logits.chunks(vocab).zip(targets) {
            if *target == IGNORED {
                losses.push(0.0);
                grads.extend(vec![0.0; vocab]);
                continue;
            }
            let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
            let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.iter().map(|x| (x - top).exp()).sum();
            losses.push(sum.ln() + top - row[*target as usize]);
            grads.extend(row.iter().enumerate().map(|(i, x)| {
                scale * ((x - top).exp() / sum - f64::from(u8::from(i == *target as usize)))
            }));
        }
        (losses, grads)
    }

    #[test]
    fn matches_f64() {
        for (m, vocab, spread) in [
            (1, 1, 1.0),
            (3, 2, 50.0),
            (9, 17, 3.0),
            (40, 256, 3.0),
            (5, 1003, 1.0),
            (3, 40_001, 4.0),
        ] {
            // Far from zero, so that a sum without its maximum would overflow.
            let mut logits = random(1, m * vocab, spread);
            logits.iter_mut().for_each(|x| *x += 200.0);
            let mut targets: Vec<u32> = (0..m).map(|i| ((i * 7919) % vocab) as u32).collect();
            targets[m / 2] = IGNORED;
            let found = everywhere(|cx| {
                let (mut logits, mut losses) = (logits.clone(), vec![f32::NAN; m]);
                cross_entropy(cx, &mut logits, vocab, &targets, 0.25, &mut losses);
                logits.extend(losses);
                logits
            });
            let (losses, grads) = naive(&logits, vocab, &targets, 0.25);
            assert_close(&found[..m * vocab], &grads, 2e-6);
            assert_close(&found[m * vocab..], &losses, 2e-6);
            let forward = everywhere(|cx| {
                let (mut losses, mut correct) = (vec![f32::NAN; m], vec![true; m]);
                cross_entropy_forward(cx, &logits, vocab, &targets, &mut losses, &mut correct);
                for (i, correct) in correct.iter().enumerate() {
                    let row = &logits[i * vocab..][..vocab];
                    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let first = row.iter().position(|x| *x == top);
                    assert_eq!(*correct, first == Some(targets[i] as usize));
                }
                losses
            });
            assert_eq!(forward, found[m * vocab..]);
        }
    }

    #[test]
    fn of_equal_logits_the_first_is_the_answer() {
        let cx = Compute::new(1);
        let logits = [1.0, 3.0, 3.0, f32::NEG_INFINITY].repeat(4);
        let (mut losses, mut correct) = ([0.0; 4], [true; 4]);
        let targets = [0, 1, 2, 3];
        cross_entropy_forward(&cx, &logits, 4, &targets, &mut losses, &mut correct);
        assert_eq!(correct, [false, true, false, false]);
        assert_eq!(losses[1], losses[2]);
        assert_eq!(losses[3], f32::INFINITY);
    }

    /// A row alone gives the bits it gives among others.
    #[test]
    fn a_row_does_not_know_its_companions() {
        let (m, vocab) = (37, 777);
        let logits = random(5, m * vocab, 3.0);
        let targets: Vec<u32> = (0..m as u32).map(|i| i * 11).collect();
        let cx = Compute::new(2);
        let (mut all, mut losses) = (logits.clone(), vec![0.0; m]);
        cross_entropy(&cx, &mut all, vocab, &targets, 1.0, &mut losses);
        for i in 0..m {
            let (mut row, mut loss) = (logits[i * vocab..][..vocab].to_vec(), [0.0]);
            cross_entropy(&cx, &mut row, vocab, &targets[i..=i], 1.0, &mut loss);
            assert_eq!((&row[..], loss[0]), (&all[i * vocab..][..vocab], losses[i]));
        }
    }
}
