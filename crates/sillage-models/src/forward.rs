//! The one verb: feed a ragged batch.

use crate::error::ForwardError;
use crate::logits::{Logits, Wanted};
use crate::model::Model;
use crate::stack::{Ends, Feed, Share, Stack};
use sillage_kernels::{Compute, Product, Write, linear, scale_columns};
use sillage_state::State;

/// One row of a batch: a state and the tokens to feed it.
#[derive(Debug)]
pub struct Row<'a> {
    /// What the model remembers of this row; left after its last token.
    pub state: &'a mut State,
    /// Tokens to feed, at least one.
    pub tokens: &'a [u32],
    /// Where logits are wanted.
    pub logits: Wanted,
}

impl Model {
    /// Feeds every row its tokens and returns the logits that were wanted.
    ///
    /// The weights are read once for all tokens of all rows (once per [`LoadOptions::piece`] tokens, to
    /// be exact). A row's state and logits do not depend on the other rows, nor on how its tokens are
    /// divided among calls, nor on the number of threads.
    ///
    /// # Errors
    /// Everything is checked before any state is touched, so on an error all states are as they were.
    ///
    /// [`LoadOptions::piece`]: crate::LoadOptions::piece
    pub fn forward(&self, cx: &Compute, rows: &mut [Row<'_>]) -> Result<Logits, ForwardError> {
        let (mut feeds, mut texts) = (Vec::new(), Vec::new());
        for row in rows {
            texts.push((row.tokens, row.logits));
            feeds.push(Feed {
                len: row.tokens.len(),
                state: &mut *row.state,
            });
        }
        self.stack.check(&feeds)?;
        self.check_tokens(&texts)?;
        let wanted = texts
            .iter()
            .map(|(tokens, wanted)| wanted.range(tokens.len()).len());
        let logits = Logits::zeroed(self.vocab(), wanted);
        let mut language = Language {
            model: self,
            texts,
            logits,
            done: 0,
        };
        self.stack.run(cx, &mut feeds, &mut language);
        Ok(language.logits)
    }

    /// Feeds every state one token, as decoding does; logits after each.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn step(
        &self,
        cx: &Compute,
        states: &mut [State],
        tokens: &[u32],
    ) -> Result<Logits, ForwardError> {
        let mut rows: Vec<Row<'_>> = states
            .iter_mut()
            .zip(tokens.chunks_exact(1))
            .map(|(state, tokens)| Row {
                state,
                tokens,
                logits: Wanted::Last,
            })
            .collect();
        self.forward(cx, &mut rows)
    }

    fn check_tokens(&self, texts: &[(&[u32], Wanted)]) -> Result<(), ForwardError> {
        let vocab = self.vocab();
        for (row, (tokens, _)) in texts.iter().enumerate() {
            if let Some(index) = tokens.iter().position(|&t| t as usize >= vocab) {
                return Err(ForwardError::TokenOutOfRange {
                    row,
                    index,
                    token: tokens[index],
                    vocab,
                });
            }
        }
        Ok(())
    }
}

/// Tokens in, logits out.
struct Language<'a> {
    model: &'a Model,
    /// Each row's tokens, and where logits are wanted.
    texts: Vec<(&'a [u32], Wanted)>,
    logits: Logits,
    /// Positions whose logits are written.
    done: usize,
}

impl Ends for Language<'_> {
    fn enter(&mut self, piece: &[Share], stream: &mut [f32]) {
        let description = &self.model.description;
        let tokens = piece
            .iter()
            .flat_map(|share| &self.texts[share.row].0[share.tokens.clone()]);
        let multiplier = description.embedding_multiplier;
        for (&token, out) in tokens.zip(stream.chunks_exact_mut(description.d_model)) {
            self.model.embedding.row(token as usize, out);
            if multiplier != 1.0 {
                out.iter_mut().for_each(|x| *x *= multiplier);
            }
        }
    }

    fn leave(
        &mut self,
        cx: &Compute,
        stack: &Stack,
        piece: &[Share],
        stream: &mut [f32],
        [gathered, normed]: [&mut [f32]; 2],
    ) {
        let description = &self.model.description;
        let wanted = self.wanted(piece);
        let (d_model, n) = (description.d_model, wanted.len());
        if n == 0 {
            return;
        }
        let (gathered, normed) = (&mut gathered[..n * d_model], &mut normed[..n * d_model]);
        for (&token, out) in wanted.iter().zip(gathered.chunks_exact_mut(d_model)) {
            out.copy_from_slice(&stream[token * d_model..(token + 1) * d_model]);
        }
        stack.finish(cx, gathered, n, normed);
        // Cheaper here than on the logits, which are many times more.
        let multiplier = description.logits_multiplier;
        if multiplier != 1.0 {
            scale_columns(cx, normed, n, d_model, 0..d_model, multiplier);
        }
        let product = Product {
            weight: self.model.head(),
            y: self.logits.positions_mut(self.done, n),
            y_stride: description.vocab,
            y_offset: 0,
            write: Write::Store,
        };
        linear(cx, normed, n, &mut [product]);
        self.done += n;
    }
}

impl Language<'_> {
    /// Which tokens of the pass need logits, in order.
    fn wanted(&self, piece: &[Share]) -> Vec<usize> {
        let mut wanted = Vec::new();
        let mut at = 0;
        for share in piece {
            let (tokens, logits) = self.texts[share.row];
            let range = logits.range(tokens.len());
            let (from, to) = (
                range.start.max(share.tokens.start),
                range.end.min(share.tokens.end),
            );
            wanted.extend((from..to).map(|token| at + token - share.tokens.start));
            at += share.tokens.len();
        }
        wanted
    }
}
