//! Which positions' logits a caller wants, and the logits.

use std::ops::Range;

/// At which of a row's tokens logits are computed. The output projection is often the widest matrix of
/// a model, so what is not wanted is not computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Nowhere: the tokens only change the state.
    None,
    /// After the last token.
    Last,
    /// After every token.
    All,
}

impl Wanted {
    /// The wanted positions of a row of `len` tokens.
    pub(crate) fn range(self, len: usize) -> Range<usize> {
        match self {
            Wanted::None => len..len,
            Wanted::Last => len - 1..len,
            Wanted::All => 0..len,
        }
    }
}

/// Logits of a batch, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    vocab: usize,
    /// Where each row's positions begin, and at last where they end.
    starts: Vec<usize>,
    values: Vec<f32>,
}

impl Logits {
    /// Room for the wanted positions of each row.
    pub(crate) fn zeroed(vocab: usize, counts: impl Iterator<Item = usize>) -> Self {
        let mut starts = vec![0];
        let mut total = 0;
        for count in counts {
            total += count;
            starts.push(total);
        }
        Logits {
            vocab,
            starts,
            values: vec![0.0; total * vocab],
        }
    }

    /// The logits of row `i`, `[n, vocab]` where `n` is 0, 1 or the number of its tokens, as was wanted.
    ///
    /// # Panics
    /// If the batch had no row `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[self.starts[i] * self.vocab..self.starts[i + 1] * self.vocab]
    }

    /// The logits after the last wanted token of row `i`, `[vocab]`; empty where none were wanted.
    ///
    /// # Panics
    /// If the batch had no row `i`.
    pub fn last(&self, i: usize) -> &[f32] {
        let row = self.row(i);
        &row[row.len().saturating_sub(self.vocab)..]
    }

    /// Rows of the batch.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// Logits per position.
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// The values of `count` positions, the first being number `from` of those wanted in the batch.
    pub(crate) fn positions_mut(&mut self, from: usize, count: usize) -> &mut [f32] {
        &mut self.values[from * self.vocab..(from + count) * self.vocab]
    }
}
