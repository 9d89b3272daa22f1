//! A described model, forward and backward.
//!
//! Nothing is recorded at run time: a description is a list of residuals, and a residual's backward
//! pass is written beside its forward pass. What a backward pass needs and cannot cheaply make again is
//! kept in a [`Workspace`]: the stream before each residual, and each mixer's projected input. Norms
//! and gates are computed a second time.

mod attention;
mod head;
mod linear;
mod mamba;
mod mamba2;
mod mlp;

use crate::error::TrainError;
use crate::params::Params;
use crate::tasks::UNSCORED;
use attention::AttentionNet;
use head::Head;
use linear::{Flat, FlatMut};
use mamba::MambaNet;
use mamba2::Mamba2Net;
use mlp::MlpNet;
use sillage_kernels::Compute;
use sillage_kernels::train::{
    ConvShape, Onto, conv_backward, conv_forward, embed_backward, embed_forward,
    layer_norm_backward, layer_norm_forward, rms_backward, rms_forward,
};
use sillage_models::Description;
use sillage_models::description::{Branch, Mixer, Norm, NormKind};
use std::ops::Range;

/// Sequences one behind the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Tokens of all sequences.
    pub tokens: Vec<u32>,
    /// What should follow each, or [`UNSCORED`].
    pub targets: Vec<u32>,
    /// Length of each sequence.
    pub lens: Vec<usize>,
}

impl Batch {
    /// Adds a sequence.
    pub fn push(&mut self, tokens: &[u32], targets: &[u32]) {
        self.tokens.extend_from_slice(tokens);
        self.targets.extend_from_slice(targets);
        self.lens.push(tokens.len());
    }

    /// Tokens that are scored.
    #[must_use]
    pub fn scored(&self) -> usize {
        self.targets.iter().filter(|&&t| t != UNSCORED).count()
    }
}

/// What a pass says of each scored token, in order.
#[derive(Debug, Clone, Default)]
pub struct Scores {
    /// Negative log-likelihoods, in nats.
    pub losses: Vec<f32>,
    /// Whether the likeliest token was the right one; only of passes without gradients.
    pub correct: Vec<bool>,
}

/// A model that can be trained.
#[derive(Debug)]
pub struct Net {
    description: Description,
    params: Params,
    residuals: Vec<ResidualNet>,
    embedding: Range<usize>,
    head: Head,
}

#[derive(Debug)]
struct ResidualNet {
    norm: NormNet,
    multiplier: f32,
    /// With the multiplier of what it adds.
    branches: Vec<(MixerNet, f32)>,
}

#[derive(Debug)]
enum MixerNet {
    Mamba(MambaNet),
    Mamba2(Mamba2Net),
    Attention(AttentionNet),
    Mlp(MlpNet),
    Conv {
        shape: ConvShape,
        weight: Range<usize>,
        bias: Option<Range<usize>>,
    },
}

#[derive(Debug)]
struct NormNet {
    norm: Norm,
    weight: Range<usize>,
    bias: Range<usize>,
}

/// Buffers of a pass; they grow to what the largest batch needs and are used again.
#[derive(Debug, Default)]
pub struct Workspace {
    /// The stream before each residual, and after the last.
    streams: Vec<Vec<f32>>,
    saved: Vec<Vec<Saved>>,
    normed: Vec<f32>,
    branch: Vec<f32>,
    d_normed: Vec<f32>,
    d_stream: Vec<f32>,
    scratch: Vec<Vec<f32>>,
    positions: Vec<u32>,
    head: head::HeadSpace,
}

/// What one mixer keeps for its backward pass.
#[derive(Debug, Default)]
struct Saved {
    buffers: Vec<Vec<f32>>,
    ssd: sillage_kernels::train::SsdSaved,
    selective: sillage_kernels::train::SelectiveSaved,
}

/// What every part of a pass is given.
struct Pass<'a> {
    cx: &'a Compute,
    lens: &'a [usize],
    positions: &'a [u32],
    tokens: usize,
    d_model: usize,
}

/// A buffer of exactly `len` elements, whatever they are.
fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        *buffer = vec![0.0; len];
    }
    &mut buffer[..len]
}

/// As [`sized`], the `i`-th of several.
fn nth(buffers: &mut Vec<Vec<f32>>, i: usize, len: usize) -> &mut [f32] {
    if buffers.len() <= i {
        buffers.resize_with(i + 1, Vec::new);
    }
    sized(&mut buffers[i], len)
}

/// Copies narrow matrices into columns of a wide one; each with its first column and its width.
fn join(wide: &mut [f32], stride: usize, parts: [(usize, &mut [f32], usize); 2]) {
    for (at, part, width) in parts {
        for (row, part) in wide.chunks_exact_mut(stride).zip(part.chunks_exact(width)) {
            row[at..at + width].copy_from_slice(part);
        }
    }
}

impl Net {
    /// Of a description.
    ///
    /// # Errors
    /// If it has parts that can be run but not trained.
    pub fn new(description: Description) -> Result<Self, TrainError> {
        let params = Params::new(&description);
        let d = description.d_model;
        let mut residuals = Vec::with_capacity(description.residuals.len());
        for residual in &description.residuals {
            let branches = residual
                .branches
                .iter()
                .map(|branch| Ok((MixerNet::new(branch, d, &params)?, branch.out_multiplier)))
                .collect::<Result<_, TrainError>>()?;
            residuals.push(ResidualNet {
                norm: NormNet::new(residual.norm, &residual.norm_at, &params),
                multiplier: residual.multiplier,
                branches,
            });
        }
        let embedding = params.at(&description.names.embedding);
        let head = Head::new(&description, &params);
        Ok(Net {
            description,
            params,
            residuals,
            embedding,
            head,
        })
    }

    /// What it is.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Where its tensors lie.
    #[must_use]
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Scores a batch. `params` is a row as [`Params`] lays it out.
    ///
    /// # Panics
    /// If tokens or targets are not below the vocabulary, or the batch's lengths do not add up.
    pub fn score(
        &self,
        cx: &Compute,
        params: &[f32],
        batch: &Batch,
        space: &mut Workspace,
    ) -> Scores {
        self.forward(cx, params, batch, space);
        let stream = &space.streams[self.residuals.len()];
        self.head.score(cx, params, batch, stream, &mut space.head)
    }

    /// Logits of every token, `[tokens, vocab]`.
    ///
    /// # Panics
    /// As [`Net::score`].
    pub fn logits(
        &self,
        cx: &Compute,
        params: &[f32],
        batch: &Batch,
        space: &mut Workspace,
    ) -> Vec<f32> {
        self.forward(cx, params, batch, space);
        let stream = space.streams[self.residuals.len()].clone();
        self.head.logits(
            cx,
            params,
            &stream[..batch.tokens.len() * self.description.d_model],
        )
    }

    /// Adds to `grads` the gradient of `scale` times the sum of the batch's losses.
    ///
    /// # Panics
    /// As [`Net::score`].
    pub fn learn(
        &self,
        cx: &Compute,
        params: &[f32],
        batch: &Batch,
        scale: f32,
        grads: &mut [f32],
        space: &mut Workspace,
    ) -> Scores {
        self.forward(cx, params, batch, space);
        let d = self.description.d_model;
        let len = batch.tokens.len() * d;
        let mut d_stream = std::mem::take(&mut space.d_stream);
        sized(&mut d_stream, len);
        let stream = std::mem::take(&mut space.streams[self.residuals.len()]);
        let scores = self.head.learn(
            cx,
            FlatMut { params, grads },
            batch,
            scale,
            &stream[..len],
            &mut d_stream[..len],
            &mut space.head,
        );
        space.streams[self.residuals.len()] = stream;
        self.backward(cx, params, grads, batch, &mut d_stream[..len], space);
        space.d_stream = d_stream;
        scores
    }

    fn pass<'a>(&self, cx: &'a Compute, batch: &'a Batch, positions: &'a [u32]) -> Pass<'a> {
        Pass {
            cx,
            lens: &batch.lens,
            positions,
            tokens: batch.tokens.len(),
            d_model: self.description.d_model,
        }
    }

    fn forward(&self, cx: &Compute, params: &[f32], batch: &Batch, space: &mut Workspace) {
        let (d, tokens) = (self.description.d_model, batch.tokens.len());
        assert_eq!(
            batch.lens.iter().sum::<usize>(),
            tokens,
            "lengths of a batch"
        );
        assert_eq!(batch.targets.len(), tokens, "targets of a batch");
        let len = tokens * d;
        let positions = positions(&mut space.positions, &batch.lens);
        let pass = self.pass(cx, batch, &positions);
        let table = &params[self.embedding.clone()];
        let stream = nth(&mut space.streams, 0, len);
        embed_forward(cx, table, d, &batch.tokens, stream);
        let multiplier = self.description.embedding_multiplier;
        if multiplier != 1.0 {
            stream.iter_mut().for_each(|v| *v *= multiplier);
        }
        space.saved.resize_with(self.residuals.len(), Vec::new);
        for (i, residual) in self.residuals.iter().enumerate() {
            nth(&mut space.streams, i + 1, len);
            let (before, after) = space.streams.split_at_mut(i + 1);
            let (before, after) = (&before[i][..len], &mut after[0][..len]);
            after.copy_from_slice(before);
            let normed = sized(&mut space.normed, len);
            residual.norm.forward(cx, params, before, d, normed);
            let saved = &mut space.saved[i];
            saved.resize_with(residual.branches.len(), Saved::default);
            for ((mixer, factor), saved) in residual.branches.iter().zip(saved) {
                let factor = factor * residual.multiplier;
                let flat = Flat { params };
                if factor == 1.0 {
                    mixer.forward(&pass, flat, normed, saved, &mut space.scratch, after);
                } else {
                    let out = sized(&mut space.branch, len);
                    out.fill(0.0);
                    mixer.forward(&pass, flat, normed, saved, &mut space.scratch, out);
                    sillage_kernels::add_scaled(cx, after, out, factor);
                }
            }
        }
        space.positions = positions;
    }

    fn backward(
        &self,
        cx: &Compute,
        params: &[f32],
        grads: &mut [f32],
        batch: &Batch,
        d_stream: &mut [f32],
        space: &mut Workspace,
    ) {
        let (d, len) = (self.description.d_model, d_stream.len());
        let positions = std::mem::take(&mut space.positions);
        let pass = self.pass(cx, batch, &positions);
        for (i, residual) in self.residuals.iter().enumerate().rev() {
            let before = &space.streams[i][..len];
            let normed = sized(&mut space.normed, len);
            residual.norm.forward(cx, params, before, d, normed);
            let d_normed = sized(&mut space.d_normed, len);
            d_normed.fill(0.0);
            for ((mixer, factor), saved) in residual.branches.iter().zip(&mut space.saved[i]) {
                let factor = factor * residual.multiplier;
                let flat = FlatMut { params, grads };
                let d_out: &[f32] = if factor == 1.0 {
                    d_stream
                } else {
                    let scaled = sized(&mut space.branch, len);
                    for (scaled, d) in scaled.iter_mut().zip(&*d_stream) {
                        *scaled = d * factor;
                    }
                    scaled
                };
                mixer.backward(
                    &pass,
                    flat,
                    normed,
                    saved,
                    &mut space.scratch,
                    d_out,
                    d_normed,
                );
            }
            let flat = FlatMut { params, grads };
            residual
                .norm
                .backward(cx, flat, before, d, d_normed, d_stream);
        }
        let multiplier = self.description.embedding_multiplier;
        if multiplier != 1.0 {
            d_stream.iter_mut().for_each(|v| *v *= multiplier);
        }
        let table = &mut grads[self.embedding.clone()];
        embed_backward(cx, &batch.tokens, d_stream, d, table);
        space.positions = positions;
    }
}

/// Positions of the tokens within their sequences.
fn positions(buffer: &mut Vec<u32>, lens: &[usize]) -> Vec<u32> {
    let mut positions = std::mem::take(buffer);
    positions.clear();
    for &len in lens {
        positions.extend(0..len as u32);
    }
    positions
}

impl NormNet {
    fn new(norm: Norm, at: &str, params: &Params) -> Self {
        NormNet {
            norm,
            weight: params.at(&format!("{at}.weight")),
            bias: params.at(&format!("{at}.bias")),
        }
    }

    fn forward(&self, cx: &Compute, params: &[f32], x: &[f32], d: usize, y: &mut [f32]) {
        let (weight, eps) = (&params[self.weight.clone()], self.norm.eps);
        match self.norm.kind {
            NormKind::Rms => rms_forward(cx, x, d, weight, eps, y),
            NormKind::Layer => {
                let bias = Some(&params[self.bias.clone()]);
                layer_norm_forward(cx, x, d, weight, bias, eps, y);
            }
        }
    }

    /// Adds to `dx`.
    fn backward(
        &self,
        cx: &Compute,
        flat: FlatMut<'_>,
        x: &[f32],
        d: usize,
        dy: &[f32],
        dx: &mut [f32],
    ) {
        let (weight, eps) = (&flat.params[self.weight.clone()], self.norm.eps);
        match self.norm.kind {
            NormKind::Rms => {
                let dweight = &mut flat.grads[self.weight.clone()];
                rms_backward(cx, x, d, weight, eps, dy, dx, Onto::Sum, dweight);
            }
            NormKind::Layer => {
                // The bias lies right behind the weight.
                let both = &mut flat.grads[self.weight.start..self.bias.end];
                let (dweight, dbias) = both.split_at_mut(d);
                let dbias = Some(dbias);
                layer_norm_backward(cx, x, d, weight, eps, dy, dx, Onto::Sum, dweight, dbias);
            }
        }
    }
}

impl MixerNet {
    fn new(branch: &Branch, d_model: usize, params: &Params) -> Result<Self, TrainError> {
        if branch.in_multiplier != 1.0 {
            let what = "a block whose input is multiplied";
            return Err(TrainError::Untrainable(what.to_owned()));
        }
        let at = &branch.at;
        Ok(match &branch.mixer {
            Mixer::Mamba(d) => MixerNet::Mamba(MambaNet::new(d, at, d_model, params)?),
            Mixer::Mamba2(d) => MixerNet::Mamba2(Mamba2Net::new(d, at, d_model, params)?),
            Mixer::Attention(d) => MixerNet::Attention(AttentionNet::new(d, at, d_model, params)?),
            Mixer::Mlp(d) => MixerNet::Mlp(MlpNet::new(d, at, d_model, params)?),
            Mixer::Conv(d) => MixerNet::Conv {
                shape: ConvShape {
                    channels: d_model,
                    taps: d.d_conv,
                    silu: false,
                },
                weight: params.at(&format!("{at}.conv1d.weight")),
                bias: d.bias.then(|| params.at(&format!("{at}.conv1d.bias"))),
            },
        })
    }

    /// Adds its output to `out`.
    fn forward(
        &self,
        pass: &Pass<'_>,
        flat: Flat<'_>,
        input: &[f32],
        saved: &mut Saved,
        scratch: &mut Vec<Vec<f32>>,
        out: &mut [f32],
    ) {
        match self {
            MixerNet::Mamba(net) => net.forward(pass, flat, input, saved, scratch, out),
            MixerNet::Mamba2(net) => net.forward(pass, flat, input, saved, scratch, out),
            MixerNet::Attention(net) => net.forward(pass, flat, input, saved, out),
            MixerNet::Mlp(net) => net.forward(pass, flat, input, saved, scratch, out),
            MixerNet::Conv {
                shape,
                weight,
                bias,
            } => {
                let y = nth(scratch, 0, out.len());
                let bias = bias.clone().map(|bias| &flat.params[bias]);
                let weight = &flat.params[weight.clone()];
                conv_forward(
                    pass.cx,
                    shape,
                    pass.lens,
                    input,
                    pass.d_model,
                    weight,
                    bias,
                    y,
                );
                sillage_kernels::add_scaled(pass.cx, out, y, 1.0);
            }
        }
    }

    /// Adds to `d_input` and to the gradients.
    fn backward(
        &self,
        pass: &Pass<'_>,
        mut flat: FlatMut<'_>,
        input: &[f32],
        saved: &mut Saved,
        scratch: &mut Vec<Vec<f32>>,
        d_out: &[f32],
        d_input: &mut [f32],
    ) {
        match self {
            MixerNet::Mamba(net) => {
                net.backward(pass, flat, input, saved, scratch, d_out, d_input);
            }
            MixerNet::Mamba2(net) => {
                net.backward(pass, flat, input, saved, scratch, d_out, d_input);
            }
            MixerNet::Attention(net) => {
                net.backward(pass, flat, input, saved, scratch, d_out, d_input);
            }
            MixerNet::Mlp(net) => net.backward(pass, flat, input, saved, scratch, d_out, d_input),
            MixerNet::Conv {
                shape,
                weight,
                bias,
            } => {
                let dx = nth(scratch, 0, d_out.len());
                let (values, dweight, dbias) = flat.conv(weight, bias.as_ref());
                let (weight, bias) = values;
                let (cx, d) = (pass.cx, pass.d_model);
                conv_backward(
                    cx, shape, pass.lens, input, d, weight, bias, d_out, dx, d, dweight, dbias,
                );
                sillage_kernels::add_scaled(cx, d_input, dx, 1.0);
            }
        }
    }
}
