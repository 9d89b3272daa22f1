//! The trunk of every model: residual blocks and a final norm, between whatever stands before it and
//! whatever stands behind.
//!
//! A language model puts an embedding before and an output projection behind; a model of anything else
//! feeds vectors and takes vectors. The loop over the blocks and its laws are written here, once.

use crate::architectures::StackConfig;
use crate::description::{Norm, NormKind, Residual};
use crate::error::{ForwardError, ModelError};
use crate::mixers::{Pass, Slots, Weights};
use crate::model::LoadOptions;
use crate::tensors::{NormWeights, Tensors};
use crate::workspace::Workspace;
use sillage_formats::Checkpoint;
use sillage_kernels::{Compute, Linear, layer_norm, rms_norm, scale_columns};
use sillage_state::{Fingerprint, Layout, State};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Positions are counted in 32 bits where they are turned into angles.
const LAST_POSITION: u64 = u32::MAX as u64;

/// A stack of pre-norm residual blocks and a final norm, fed with vectors.
///
/// It obeys the laws of [`Model`](crate::Model): a row's outputs and state do not depend on the other
/// rows, on how its inputs are divided among calls, or on the number of threads.
pub struct Stack {
    d_model: usize,
    residuals: Vec<ResidualWeights>,
    final_norm: NormWeights,
    layout: Arc<Layout>,
    /// Tokens of one pass, at most.
    piece: usize,
    /// Scratch elements per token that the most demanding mixer needs.
    scratch: usize,
    workspaces: Mutex<Vec<Workspace>>,
}

/// Weights of one addition to the residual stream.
struct ResidualWeights {
    norm: NormWeights,
    /// With the multiplier of its input and of what it adds.
    branches: Vec<(Weights, f32, f32)>,
}

/// One row of a batch: a state and the vectors to feed it.
#[derive(Debug)]
pub struct StackRow<'a> {
    /// What the stack remembers of this row; left after its last input.
    pub state: &'a mut State,
    /// `[n, d_model]`, n at least one.
    pub inputs: &'a [f32],
}

/// A row as the trunk sees it.
pub(crate) struct Feed<'a> {
    pub(crate) state: &'a mut State,
    /// Tokens to feed, at least one.
    pub(crate) len: usize,
}

/// Which tokens of which row go into a pass.
pub(crate) struct Share {
    pub(crate) row: usize,
    pub(crate) tokens: Range<usize>,
}

/// A row's share of one pass.
pub(crate) struct Span<'a> {
    pub(crate) state: &'a mut State,
    /// Which tokens of the pass are this row's.
    pub(crate) tokens: Range<usize>,
    /// Absolute position of the first.
    pub(crate) start: usize,
}

/// What stands before and behind the trunk in one call.
pub(crate) trait Ends {
    /// Writes what enters the first block for the tokens of a pass, `[m, d_model]`.
    fn enter(&mut self, piece: &[Share], stream: &mut [f32]);
    /// Takes what the last block left, `[m, d_model]`; the final norm is not yet applied. `spare` are
    /// two buffers of the same size.
    fn leave(
        &mut self,
        cx: &Compute,
        stack: &Stack,
        piece: &[Share],
        stream: &mut [f32],
        spare: [&mut [f32]; 2],
    );
}

impl Stack {
    /// Loads the stack whose tensors' names begin with `prefix` (and a dot):
    /// `blocks.{i}.norm.weight`, `blocks.{i}.mixer.*` and `norm.weight`.
    ///
    /// # Errors
    /// Tensors that are missing, misshapen or not finite, and anything that keeps the file from being
    /// read.
    pub fn load(
        checkpoint: &Checkpoint,
        prefix: &str,
        config: &StackConfig,
        options: &LoadOptions,
    ) -> Result<Self, ModelError> {
        let mut hasher = Fingerprint::hasher();
        hasher.update(prefix.as_bytes());
        hasher.update(&[0]);
        hasher.update(serde_json::to_string(config).unwrap_or_default().as_bytes());
        hasher.update(&checkpoint.fingerprint()?);
        let tensors = Tensors::new(checkpoint);
        Self::assemble(
            &config.residuals(prefix),
            config.d_model,
            (&format!("{prefix}.norm"), config.norm()),
            &tensors,
            options,
            hasher.finish(),
        )
    }

    /// Loads residuals and a final norm (the prefix of its tensors, and its kind).
    pub(crate) fn assemble(
        residuals: &[Residual],
        d_model: usize,
        (final_norm_at, final_norm): (&str, Norm),
        tensors: &Tensors<'_>,
        options: &LoadOptions,
        fingerprint: Fingerprint,
    ) -> Result<Self, ModelError> {
        let final_norm = tensors.norm(final_norm_at, final_norm, d_model)?;
        let mut slots = Slots::new();
        let mut loaded = Vec::with_capacity(residuals.len());
        for residual in residuals {
            let norm = tensors.norm(&residual.norm_at, residual.norm, d_model)?;
            let mut branches = Vec::with_capacity(residual.branches.len());
            for branch in &residual.branches {
                let weights = Weights::load(
                    branch,
                    residual.layer,
                    d_model,
                    tensors,
                    options,
                    &mut slots,
                )?;
                let out = branch.out_multiplier * residual.multiplier;
                branches.push((weights, branch.in_multiplier, out));
            }
            loaded.push(ResidualWeights { norm, branches });
        }
        let branches = loaded.iter().flat_map(|r| &r.branches);
        let scratch = branches.map(|(weights, ..)| weights.scratch()).max();
        Ok(Stack {
            d_model,
            residuals: loaded,
            final_norm,
            layout: Arc::new(Layout::new(fingerprint, slots)?),
            piece: options.piece.max(1),
            scratch: scratch.unwrap_or(0),
            workspaces: Mutex::new(Vec::new()),
        })
    }

    /// Width of inputs and outputs.
    pub fn d_model(&self) -> usize {
        self.d_model
    }

    /// What its states are made of; tells the bytes of a state at any position.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The state before any input.
    pub fn new_state(&self) -> State {
        State::new(self.layout.clone())
    }

    /// Bytes of all weights as they lie in memory.
    pub fn weight_bytes(&self) -> u64 {
        let (mut matrices, mut vectors) = (Vec::new(), 0);
        self.inventory(&mut matrices, &mut vectors);
        matrices.iter().map(|m| m.bytes() as u64).sum::<u64>() + 4 * vectors as u64
    }

    /// Feeds every row its inputs. `out` takes the outputs after the final norm, `[n, d_model]` of each
    /// row, one row after another.
    ///
    /// # Errors
    /// Everything is checked before any state is touched, so on an error all states are as they were.
    pub fn forward(
        &self,
        cx: &Compute,
        rows: &mut [StackRow<'_>],
        out: &mut [f32],
    ) -> Result<(), ForwardError> {
        let d_model = self.d_model;
        for (row, StackRow { inputs, .. }) in rows.iter().enumerate() {
            if !inputs.len().is_multiple_of(d_model) {
                let found = inputs.len();
                return Err(ForwardError::BadInputs {
                    row,
                    d_model,
                    found,
                });
            }
        }
        let (mut feeds, mut inputs) = (Vec::new(), Vec::new());
        for row in rows {
            inputs.push(row.inputs);
            feeds.push(Feed {
                len: row.inputs.len() / d_model,
                state: &mut *row.state,
            });
        }
        self.check(&feeds)?;
        let expected = inputs.iter().map(|i| i.len()).sum();
        let found = out.len();
        if found != expected {
            return Err(ForwardError::BadOutput { expected, found });
        }
        let mut vectors = Vectors {
            d_model,
            inputs,
            out,
        };
        self.run(cx, &mut feeds, &mut vectors);
        Ok(())
    }

    /// Whether the rows can be fed.
    pub(crate) fn check(&self, rows: &[Feed<'_>]) -> Result<(), ForwardError> {
        if rows.is_empty() {
            return Err(ForwardError::NoRows);
        }
        for (i, row) in rows.iter().enumerate() {
            if !row.state.fits(&self.layout) {
                return Err(ForwardError::ForeignState {
                    row: i,
                    expected: self.layout.model().to_string(),
                    found: row.state.layout().model().to_string(),
                });
            }
            if row.len == 0 {
                return Err(ForwardError::NoTokens { row: i });
            }
            let position = row.state.position();
            let end = position.checked_add(row.len as u64);
            // Mixers without positions can go on for ever.
            let bounded = self.layout.bytes_per_token() > 0;
            if end.is_none_or(|end| bounded && end > LAST_POSITION) {
                let limit = if bounded { LAST_POSITION } else { u64::MAX };
                return Err(ForwardError::TooLong {
                    row: i,
                    position,
                    tokens: row.len,
                    limit,
                });
            }
        }
        Ok(())
    }

    /// Feeds rows that were checked, piece by piece.
    pub(crate) fn run(&self, cx: &Compute, rows: &mut [Feed<'_>], ends: &mut impl Ends) {
        let mut workspace = self.take_workspace();
        for piece in pieces(rows, self.piece) {
            self.pass(cx, rows, &piece, &mut workspace, ends);
        }
        self.return_workspace(workspace);
    }

    /// Feeds one piece through all blocks.
    fn pass(
        &self,
        cx: &Compute,
        rows: &mut [Feed<'_>],
        piece: &[Share],
        workspace: &mut Workspace,
        ends: &mut impl Ends,
    ) {
        let d_model = self.d_model;
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
        ends.enter(piece, stream);
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
        ends.leave(cx, self, piece, stream, [normed, scaled]);
    }

    /// The final norm of `m` tokens.
    pub(crate) fn finish(&self, cx: &Compute, stream: &[f32], m: usize, out: &mut [f32]) {
        apply_norm(cx, &self.final_norm, stream, m, self.d_model, out);
    }

    /// Every matrix, and the number of elements of everything else.
    pub(crate) fn inventory<'a>(&'a self, matrices: &mut Vec<&'a Linear>, vectors: &mut usize) {
        let norm = |n: &NormWeights| n.weight.len() + n.bias.as_ref().map_or(0, Vec::len);
        *vectors += norm(&self.final_norm);
        for residual in &self.residuals {
            *vectors += norm(&residual.norm);
            for (weights, ..) in &residual.branches {
                weights.inventory(matrices, vectors);
            }
        }
    }

    /// Scratch memory for one call; calls at the same time each get their own.
    fn take_workspace(&self) -> Workspace {
        let mut pool = self
            .workspaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        pool.pop().unwrap_or_else(Workspace::empty)
    }

    /// Gives scratch memory back for the next call.
    fn return_workspace(&self, workspace: Workspace) {
        self.workspaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(workspace);
    }
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack")
            .field("d_model", &self.d_model)
            .field("blocks", &self.residuals.len())
            .finish_non_exhaustive()
    }
}

/// Vectors in, vectors out.
struct Vectors<'a, 'o> {
    d_model: usize,
    inputs: Vec<&'a [f32]>,
    /// What is left to be written.
    out: &'o mut [f32],
}

impl Ends for Vectors<'_, '_> {
    fn enter(&mut self, piece: &[Share], stream: &mut [f32]) {
        let (d_model, mut rest) = (self.d_model, stream);
        for share in piece {
            let (part, after) = rest.split_at_mut(share.tokens.len() * d_model);
            let tokens = share.tokens.start * d_model..share.tokens.end * d_model;
            part.copy_from_slice(&self.inputs[share.row][tokens]);
            rest = after;
        }
    }

    fn leave(
        &mut self,
        cx: &Compute,
        stack: &Stack,
        _piece: &[Share],
        stream: &mut [f32],
        _spare: [&mut [f32]; 2],
    ) {
        let (part, rest) = std::mem::take(&mut self.out).split_at_mut(stream.len());
        stack.finish(cx, stream, stream.len() / stack.d_model, part);
        self.out = rest;
    }
}

/// Cuts a batch into pieces of at most `limit` tokens, rows in order.
fn pieces(rows: &[Feed<'_>], limit: usize) -> Vec<Vec<Share>> {
    let mut pieces = Vec::new();
    let (mut piece, mut room) = (Vec::new(), limit);
    for (row, Feed { len, .. }) in rows.iter().enumerate() {
        let mut start = 0;
        while start < *len {
            if room == 0 {
                pieces.push(std::mem::take(&mut piece));
                room = limit;
            }
            let end = (*len).min(start + room);
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

/// The states of the rows of a piece, which are neighbours; notes the position of each token.
fn spans<'a>(rows: &'a mut [Feed<'_>], piece: &[Share], positions: &mut Vec<u32>) -> Vec<Span<'a>> {
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
