//! The one verb: feed a ragged batch.

use crate::description::NormKind;
use crate::error::ForwardError;
use crate::logits::{Logits, Wanted};
use crate::mixers::Pass;
use crate::model::Model;
use crate::tensors::NormWeights;
use crate::workspace::Workspace;
use sillage_kernels::{Compute, Product, Write, layer_norm, linear, rms_norm, scale_columns};
use sillage_state::State;
use std::ops::Range;

/// Positions are counted in 32 bits where they are turned into angles.
const LAST_POSITION: u64 = u32::MAX as u64;

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

/// A row's share of one pass.
pub(crate) struct Span<'a> {
    pub(crate) state: &'a mut State,
    /// Which tokens of the pass are this row's.
    pub(crate) tokens: Range<usize>,
    /// Absolute position of the first.
    pub(crate) start: usize,
}

/// Which tokens of which row go into a pass.
struct Share {
    row: usize,
    tokens: Range<usize>,
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
        self.check(rows)?;
        let wanted = rows
            .iter()
            .map(|row| row.logits.range(row.tokens.len()).len());
        let mut logits = Logits::zeroed(self.vocab(), wanted);
        let mut workspace = self.take_workspace();
        let mut done = 0;
        for piece in pieces(rows, self.piece) {
            done += self.pass(cx, rows, &piece, &mut workspace, &mut logits, done);
        }
        self.return_workspace(workspace);
        Ok(logits)
    }

    fn check(&self, rows: &[Row<'_>]) -> Result<(), ForwardError> {
        if rows.is_empty() {
            return Err(ForwardError::NoRows);
        }
        for (i, row) in rows.iter().enumerate() {
            if !row.state.fits(self.layout()) {
                return Err(ForwardError::ForeignState {
                    row: i,
                    expected: self.layout().model().to_string(),
                    found: row.state.layout().model().to_string(),
                });
            }
            if row.tokens.is_empty() {
                return Err(ForwardError::NoTokens { row: i });
            }
            let vocab = self.vocab();
            if let Some(index) = row.tokens.iter().position(|&t| t as usize >= vocab) {
                return Err(ForwardError::TokenOutOfRange {
                    row: i,
                    index,
                    token: row.tokens[index],
                    vocab,
                });
            }
            let position = row.state.position();
            let end = position.checked_add(row.tokens.len() as u64);
            // Mixers without positions can go on for ever.
            let bounded = self.layout().bytes_per_token() > 0;
            if end.is_none_or(|end| bounded && end > LAST_POSITION) {
                let limit = if bounded { LAST_POSITION } else { u64::MAX };
                return Err(ForwardError::TooLong {
                    row: i,
                    position,
                    tokens: row.tokens.len(),
                    limit,
                });
            }
        }
        Ok(())
    }

    /// Feeds one piece through all layers; returns how many positions' logits it wrote, at number
    /// `done` and after.
    fn pass(
        &self,
        cx: &Compute,
        rows: &mut [Row<'_>],
        piece: &[Share],
        workspace: &mut Workspace,
        logits: &mut Logits,
        done: usize,
    ) -> usize {
        let d_model = self.description.d_model;
        let m = piece.iter().map(|share| share.tokens.len()).sum();
        workspace.reserve(m, d_model, self.scratch);
        let Workspace {
            stream,
            normed,
            scaled,
            positions,
            scratch,
        } = workspace;
        let (stream, normed, scaled) = (
            &mut stream[..m * d_model],
            &mut normed[..m * d_model],
            &mut scaled[..m * d_model],
        );
        self.embed(rows, piece, stream);
        let wanted = wanted(rows, piece);
        let mut spans = spans(rows, piece, positions);
        for residual in &self.residuals {
            apply_norm(cx, &residual.norm, stream, m, d_model, normed);
            for (weights, times_in, times_out) in &residual.branches {
                let input = if *times_in == 1.0 {
                    &*normed
                } else {
                    scaled.copy_from_slice(normed);
                    scale_columns(cx, scaled, m, d_model, 0..d_model, *times_in);
                    &*scaled
                };
                let mut pass = Pass {
                    cx,
                    spans: &mut spans,
                    m,
                    positions,
                    scratch,
                    stream: &mut *stream,
                    d_model,
                };
                weights.forward(&mut pass, input, *times_out);
            }
        }
        for span in spans {
            span.state.advance(span.tokens.len() as u64);
        }
        self.project(cx, stream, &wanted, normed, scaled, logits, done);
        wanted.len()
    }

    /// The embeddings of a piece's tokens.
    fn embed(&self, rows: &[Row<'_>], piece: &[Share], stream: &mut [f32]) {
        let tokens = piece
            .iter()
            .flat_map(|share| &rows[share.row].tokens[share.tokens.clone()]);
        let multiplier = self.description.embedding_multiplier;
        for (&token, out) in tokens.zip(stream.chunks_exact_mut(self.description.d_model)) {
            self.embedding.row(token as usize, out);
            if multiplier != 1.0 {
                out.iter_mut().for_each(|x| *x *= multiplier);
            }
        }
    }

    /// The logits at the wanted tokens of a pass.
    fn project(
        &self,
        cx: &Compute,
        stream: &[f32],
        wanted: &[usize],
        gathered: &mut [f32],
        normed: &mut [f32],
        logits: &mut Logits,
        done: usize,
    ) {
        let (d_model, n) = (self.description.d_model, wanted.len());
        if n == 0 {
            return;
        }
        let (gathered, normed) = (&mut gathered[..n * d_model], &mut normed[..n * d_model]);
        for (&token, out) in wanted.iter().zip(gathered.chunks_exact_mut(d_model)) {
            out.copy_from_slice(&stream[token * d_model..(token + 1) * d_model]);
        }
        apply_norm(cx, &self.final_norm, gathered, n, d_model, normed);
        // Cheaper here than on the logits, which are many times more.
        let multiplier = self.description.logits_multiplier;
        if multiplier != 1.0 {
            scale_columns(cx, normed, n, d_model, 0..d_model, multiplier);
        }
        let y = logits.positions_mut(done, n);
        let y_stride = self.description.vocab;
        let product = Product {
            weight: self.head(),
            y,
            y_stride,
            y_offset: 0,
            write: Write::Store,
        };
        linear(cx, normed, n, &mut [product]);
    }
}

/// Cuts a batch into pieces of at most `limit` tokens, rows in order.
fn pieces(rows: &[Row<'_>], limit: usize) -> Vec<Vec<Share>> {
    let mut pieces = Vec::new();
    let (mut piece, mut room) = (Vec::new(), limit);
    for (row, Row { tokens, .. }) in rows.iter().enumerate() {
        let mut start = 0;
        while start < tokens.len() {
            if room == 0 {
                pieces.push(std::mem::take(&mut piece));
                room = limit;
            }
            let end = tokens.len().min(start + room);
            piece.push(Share {
                row,
                tokens: start..end,
            });
            room -= end - start;
            start = end;
        }
    }
    pieces.push(piece);
    pieces
}

/// Which tokens of the pass need logits, in order.
fn wanted(rows: &[Row<'_>], piece: &[Share]) -> Vec<usize> {
    let mut wanted = Vec::new();
    let mut at = 0;
    for share in piece {
        let row = &rows[share.row];
        let range = row.logits.range(row.tokens.len());
        let (from, to) = (
            range.start.max(share.tokens.start),
            range.end.min(share.tokens.end),
        );
        wanted.extend((from..to).map(|token| at + token - share.tokens.start));
        at += share.tokens.len();
    }
    wanted
}

/// The states of the rows of a piece, which are neighbours; notes the position of each token.
fn spans<'a>(rows: &'a mut [Row<'_>], piece: &[Share], positions: &mut Vec<u32>) -> Vec<Span<'a>> {
    positions.clear();
    let (Some(first), Some(last)) = (piece.first(), piece.last()) else {
        return Vec::new();
    };
    let rows = &mut rows[first.row..=last.row];
    let mut at = 0;
    rows.iter_mut()
        .zip(piece)
        .map(|(row, share)| {
            let len = share.tokens.len();
            let start = row.state.position();
            // Models whose positions matter are refused beyond 32 bits; to the others any will do.
            positions.extend((start..start + len as u64).map(|p| p as u32));
            at += len;
            Span {
                state: &mut *row.state,
                tokens: at - len..at,
                start: start as usize,
            }
        })
        .collect()
}

fn apply_norm(cx: &Compute, norm: &NormWeights, x: &[f32], m: usize, d: usize, out: &mut [f32]) {
    match norm.norm.kind {
        NormKind::Rms => rms_norm(cx, x, m, d, Some(&norm.weight), norm.norm.eps, out),
        NormKind::Layer => layer_norm(
            cx,
            x,
            m,
            d,
            &norm.weight,
            norm.bias.as_deref(),
            norm.norm.eps,
            out,
        ),
    }
}
