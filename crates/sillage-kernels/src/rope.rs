//! Rotary position embedding.

use crate::Compute;
use crate::isa::{Kernel, LANES, Simd};
use crate::spread::{read, write};
use crate::threads::Shards;
use std::sync::{Arc, Mutex, PoisonError};

/// Rows of one piece of work.
const PIECE: usize = 8;

/// The frequencies of a rotary embedding, and the angles last used.
///
/// All layers rotate the same positions one after the other: share one table
/// between them and the sines are computed once per step.
#[derive(Debug)]
pub struct RopeTable {
    inv_freq: Vec<f32>,
    interleaved: bool,
    attention_scale: f32,
    last: Mutex<Arc<Angles>>,
}

/// Cosines and sines of some positions.
#[derive(Debug, Default)]
struct Angles {
    positions: Vec<u32>,
    /// Per position all cosines, then all sines.
    rows: Vec<f32>,
}

impl RopeTable {
    /// A table that rotates the first `2 * inv_freq.len()` elements of a head:
    /// element i with element `i + inv_freq.len()`, or `2 i` with `2 i + 1` if
    /// `interleaved`. Sines and cosines are multiplied by `attention_scale`
    /// (1, but for some long-context scalings).
    #[must_use]
    pub fn new(inv_freq: Vec<f32>, interleaved: bool, attention_scale: f32) -> Self {
        Self {
            inv_freq,
            interleaved,
            attention_scale,
            last: Mutex::default(),
        }
    }

    /// Elements of a head that are rotated.
    #[must_use]
    pub fn rotated(&self) -> usize {
        2 * self.inv_freq.len()
    }

    /// The angles of `positions`, from the last call's if they are the same.
    fn angles(&self, cx: &Compute, positions: &[u32]) -> Arc<Angles> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.positions != positions {
            let half = self.inv_freq.len();
            let mut rows = vec![0.0; positions.len() * 2 * half];
            let shards = Shards::new(&mut rows);
            let cycles = positions.len() * half * 80;
            cx.spread(positions.len().div_ceil(PIECE), cycles, &|i| {
                for (t, position) in positions.iter().enumerate().skip(i * PIECE).take(PIECE) {
                    // SAFETY: each row belongs to one piece.
                    let row = unsafe { shards.slice(t * 2 * half, 2 * half) };
                    self.fill(*position, row);
                }
            });
            *last = Arc::new(Angles {
                positions: positions.to_vec(),
                rows,
            });
        }
        Arc::clone(&last)
    }

    /// The angle is an f32 product, as in the models' own training code.
    fn fill(&self, position: u32, row: &mut [f32]) {
        let (cosines, sines) = row.split_at_mut(self.inv_freq.len());
        for (i, f) in self.inv_freq.iter().enumerate() {
            let (sin, cos) = (position as f32 * f).sin_cos();
            cosines[i] = cos * self.attention_scale;
            sines[i] = sin * self.attention_scale;
        }
    }
}

/// Rotates `heads` heads of `head_dim` elements in each of the `m` rows of
/// `x: [m, stride]`, from column `offset` on, by the angles of `positions: [m]`.
///
/// # Panics
/// If a slice is shorter than its shape says, or the table is for larger heads.
pub fn rope(
    cx: &Compute,
    x: &mut [f32],
    m: usize,
    stride: usize,
    offset: usize,
    heads: usize,
    head_dim: usize,
    positions: &[u32],
    table: &RopeTable,
) {
    rotate(
        cx, x, m, stride, offset, heads, head_dim, positions, table, false,
    );
}

/// As [`rope`], by the negative angles if `back`: its transpose, which a
/// backward pass needs (`attention_scale` multiplies both ways).
pub(crate) fn rotate(
    cx: &Compute,
    x: &mut [f32],
    m: usize,
    stride: usize,
    offset: usize,
    heads: usize,
    head_dim: usize,
    positions: &[u32],
    table: &RopeTable,
    back: bool,
) {
    assert!(table.rotated() <= head_dim, "rotary table for larger heads");
    if m == 0 || table.rotated() == 0 {
        return;
    }
    let angles = table.angles(cx, &positions[..m]);
    let width = heads * head_dim;
    let shards = Shards::new(x);
    let cycles = m * width / LANES * 6;
    cx.spread(m.div_ceil(PIECE), cycles, &|i| {
        for t in i * PIECE..m.min((i + 1) * PIECE) {
            // SAFETY: each row belongs to one piece.
            let row = unsafe { shards.slice(t * stride + offset, width) };
            let angles = &angles.rows[t * table.rotated()..][..table.rotated()];
            cx.isa.dispatch_float(Rotate {
                row,
                head_dim,
                angles,
                interleaved: table.interleaved,
                sign: if back { -1.0 } else { 1.0 },
            });
        }
    });
}

struct Rotate<'a> {
    row: &'a mut [f32],
    head_dim: usize,
    angles: &'a [f32],
    interleaved: bool,
    /// What sines are multiplied by.
    sign: f32,
}

impl Kernel for Rotate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let half = self.angles.len() / 2;
        let (cosines, sines) = self.angles.split_at(half);
        for head in self.row.chunks_exact_mut(self.head_dim) {
            if self.interleaved {
                for i in 0..half {
                    let (a, b) = (head[2 * i], head[2 * i + 1]);
                    let sin = self.sign * sines[i];
                    head[2 * i] = (-b).mul_add(sin, a * cosines[i]);
                    head[2 * i + 1] = a.mul_add(sin, b * cosines[i]);
                }
                continue;
            }
            let (first, second) = head[..2 * half].split_at_mut(half);
            for i in (0..half).step_by(LANES) {
                let cos = read(s, cosines, i);
                let sin = s.mul(read(s, sines, i), s.splat(self.sign));
                let (a, b) = (read(s, first, i), read(s, second, i));
                write(s, first, i, s.fnma(b, sin, s.mul(a, cos)));
                write(s, second, i, s.fma(a, sin, s.mul(b, cos)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, everywhere, random};

    #[test]
    fn matches_f64() {
        for (m, heads, head_dim, half, interleaved) in [
            (1, 1, 2, 1, false),
            (5, 3, 64, 32, false),
            (5, 3, 64, 32, true),
            (40, 9, 80, 20, false),
            (40, 2, 40, 7, true),
        ] {
            let stride = heads * head_dim + 11;
            let x = random(1, m * stride, 1.0);
            let positions: Vec<u32> = (0..m as u32).map(|t| t * t * 31).collect();
            let inv_freq: Vec<f32> = (0..half)
                .map(|i| 10_000f32.powf(-(i as f32) / half as f32))
                .collect();
            let found = everywhere(|cx| {
                let table = RopeTable::new(inv_freq.clone(), interleaved, 1.25);
                let mut x = x.clone();
                rope(
                    cx, &mut x, m, stride, 3, heads, head_dim, &positions, &table,
                );
                x
            });
            let mut exact: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
            for t in 0..m {
                for h in 0..heads {
                    let row = &mut exact[t * stride + 3 + h * head_dim..][..head_dim];
                    for i in 0..half {
                        let (sin, cos) = f64::from(positions[t] as f32 * inv_freq[i]).sin_cos();
                        let (j, k) = if interleaved {
                            (2 * i, 2 * i + 1)
                        } else {
                            (i, i + half)
                        };
                        let (a, b) = (row[j], row[k]);
                        row[j] = 1.25 * (a * cos - b * sin);
                        row[k] = 1.25 * (b * cos + a * sin);
                    }
                }
            }
            assert_close(&found, &exact, 1e-6);
        }
    }

    #[test]
    fn angles_follow_the_positions() {
        let cx = Compute::new(1);
        let table = RopeTable::new(vec![1.0], false, 1.0);
        for position in [0, 3, 3, 7] {
            let mut x = [1.0, 0.0];
            rope(&cx, &mut x, 1, 2, 0, 1, 2, &[position], &table);
            let (sin, cos) = (position as f32).sin_cos();
            assert_eq!(x, [cos, sin]);
        }
    }
}
