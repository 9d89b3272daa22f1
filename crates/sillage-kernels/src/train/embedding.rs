//! Looking rows up in a table, and the gradient of that.

use crate::Compute;
use crate::isa::{Kernel, LANES, Simd};
use crate::spread::{read, write};
use crate::threads::Shards;

/// Elements of output of one piece of the forward pass.
const PIECE: usize = 16 * 1024;
/// Columns of one piece of the backward pass: one cache line's neighbours are
/// fetched with it, so fewer would read the gradients twice.
const COLUMNS: usize = 64;

/// Row `i` of `y: [tokens.len(), d]` becomes row `tokens[i]` of `table: [_, d]`.
///
/// # Panics
/// If a token lies beyond the table, or `y` is too short.
pub fn embed_forward(cx: &Compute, table: &[f32], d: usize, tokens: &[u32], y: &mut [f32]) {
    let m = tokens.len();
    let y = Shards::new(&mut y[..m * d]);
    let rows = (PIECE / d.max(1)).max(1);
    cx.spread(m.div_ceil(rows), m * d / LANES * 4, &|piece| {
        for i in piece * rows..m.min((piece + 1) * rows) {
            // SAFETY: each row belongs to one piece.
            let row = unsafe { y.slice(i * d, d) };
            row.copy_from_slice(&table[tokens[i] as usize * d..][..d]);
        }
    });
}

/// Adds row `i` of `dy: [tokens.len(), d]` to row `tokens[i]` of
/// `dtable: [_, d]`.
///
/// A piece is a range of columns, in which it takes all tokens in their order:
/// so every row's sum is taken in that order, for any number of threads.
///
/// # Panics
/// If a token lies beyond the table, or `dy` is too short.
pub fn embed_backward(cx: &Compute, tokens: &[u32], dy: &[f32], d: usize, dtable: &mut [f32]) {
    let m = tokens.len();
    assert!(dy.len() >= m * d, "gradients of fewer tokens");
    let shards = Shards::new(dtable);
    cx.spread(d.div_ceil(COLUMNS), m * d / LANES * 4, &|piece| {
        let first = piece * COLUMNS;
        cx.isa.dispatch_float(AddColumns {
            tokens,
            dy,
            d,
            first,
            width: COLUMNS.min(d - first),
            dtable: &shards,
        });
    });
}

struct AddColumns<'a> {
    tokens: &'a [u32],
    dy: &'a [f32],
    d: usize,
    first: usize,
    width: usize,
    dtable: &'a Shards<f32>,
}

impl Kernel for AddColumns<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (i, token) in self.tokens.iter().enumerate() {
            let dy = &self.dy[i * self.d + self.first..][..self.width];
            let at = *token as usize * self.d + self.first;
            // SAFETY: a column belongs to one piece, and this is the piece's
            // only slice at this time.
            let row = unsafe { self.dtable.slice(at, self.width) };
            for j in (0..self.width).step_by(LANES) {
                write(s, row, j, s.add(read(s, row, j), read(s, dy, j)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, everywhere, random};

    #[test]
    fn looks_up_and_scatters() {
        for (rows, d, m) in [(1, 1, 1), (5, 7, 40), (11, 64, 300), (3, 203, 129)] {
            let table = random(1, rows * d, 1.0);
            let dy = random(2, m * d, 1.0);
            let start = random(3, rows * d, 1.0);
            let tokens: Vec<u32> = (0..m)
                .map(|i| (i * i * 7 + i / 3) % rows)
                .map(|t| t as u32)
                .collect();
            let y = everywhere(|cx| {
                let mut y = vec![f32::NAN; m * d];
                embed_forward(cx, &table, d, &tokens, &mut y);
                y
            });
            let found = everywhere(|cx| {
                let mut dtable = start.clone();
                embed_backward(cx, &tokens, &dy, d, &mut dtable);
                dtable
            });
            let mut exact: Vec<f64> = start.iter().map(|x| f64::from(*x)).collect();
            for (i, token) in tokens.iter().enumerate() {
                for j in 0..d {
                    assert_eq!(y[i * d + j], table[*token as usize * d + j]);
                    exact[*token as usize * d + j] += f64::from(dy[i * d + j]);
                }
            }
            assert_close(&found, &exact, 1e-5);
        }
    }

    #[test]
    fn nothing_is_fine() {
        let cx = Compute::new(2);
        embed_forward(&cx, &[], 0, &[], &mut []);
        embed_backward(&cx, &[], &[], 4, &mut [1.0; 8]);
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn a_token_beyond_the_table_is_refused() {
        embed_backward(&Compute::new(1), &[2], &[0.0; 4], 4, &mut [0.0; 8]);
    }
}
