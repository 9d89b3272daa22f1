//! What a branch computes, with its weights: the mixers and the MLP.
//!
//! A mixer reads `[m, d_model]`, all tokens of all rows at once, and adds its output to the residual
//! stream; only where a state is involved does it look at the rows one by one.

mod attention;
mod conv;
mod mamba;
mod mamba2;
mod mlp;

use crate::description::{Branch, Mixer};
use crate::error::ModelError;
use crate::model::LoadOptions;
use crate::stack::Span;
use crate::tensors::Tensors;
use crate::workspace::Scratch;
use sillage_kernels::{Compute, Linear, Product, Write};
use sillage_state::SlotSpec;

/// What a mixer works with during one pass.
pub(crate) struct Pass<'a, 'r> {
    pub(crate) cx: &'a Compute,
    /// The rows taking part, and where their tokens lie in the pass.
    pub(crate) spans: &'a mut [Span<'r>],
    /// Tokens in the pass.
    pub(crate) m: usize,
    /// Absolute position of each.
    pub(crate) positions: &'a [u32],
    pub(crate) scratch: &'a mut Scratch,
    /// The residual stream, `[m, d_model]`.
    pub(crate) stream: &'a mut [f32],
    pub(crate) d_model: usize,
}

/// `stream += factor * weight(x)`, where the stream is `[m, d_model]`.
fn add(
    cx: &Compute,
    weight: &Linear,
    x: &[f32],
    m: usize,
    stream: &mut [f32],
    d_model: usize,
    factor: f32,
) {
    let product = Product {
        weight,
        y: stream,
        y_stride: d_model,
        y_offset: 0,
        write: Write::Add(factor),
    };
    sillage_kernels::linear(cx, x, m, &mut [product]);
}

/// `y = weight(x)`, rows of `y` as wide as the weight.
fn store<'a>(weight: &'a Linear, y: &'a mut [f32]) -> Product<'a> {
    let y_stride = weight.rows();
    Product {
        weight,
        y,
        y_stride,
        y_offset: 0,
        write: Write::Store,
    }
}

/// A mixer with its weights, and the numbers of its slots in the state.
pub(crate) enum Weights {
    Mamba(mamba::Mamba),
    Mamba2(mamba2::Mamba2),
    Attention(attention::Attention),
    Mlp(mlp::Mlp),
    Conv(conv::Conv),
}

/// The slots of the state, in the order in which they are numbered.
pub(crate) type Slots = Vec<(String, SlotSpec)>;

impl Weights {
    pub(crate) fn load(
        branch: &Branch,
        layer: usize,
        d_model: usize,
        tensors: &Tensors<'_>,
        options: &LoadOptions,
        slots: &mut Slots,
    ) -> Result<Self, ModelError> {
        let at = &branch.at;
        let layer = format!("layers.{layer}");
        Ok(match &branch.mixer {
            Mixer::Mamba(d) => Weights::Mamba(mamba::Mamba::load(
                d, at, &layer, d_model, tensors, options, slots,
            )?),
            Mixer::Mamba2(d) => Weights::Mamba2(mamba2::Mamba2::load(
                d, at, &layer, d_model, tensors, options, slots,
            )?),
            Mixer::Attention(d) => Weights::Attention(attention::Attention::load(
                d, at, &layer, d_model, tensors, options, slots,
            )?),
            Mixer::Mlp(d) => Weights::Mlp(mlp::Mlp::load(d, at, d_model, tensors)?),
            Mixer::Conv(d) => {
                Weights::Conv(conv::Conv::load(d, at, &layer, d_model, tensors, slots)?)
            }
        })
    }

    /// Elements of scratch memory per token.
    pub(crate) fn scratch(&self) -> usize {
        match self {
            Weights::Mamba(w) => w.widths().iter().sum(),
            Weights::Mamba2(w) => w.widths().iter().sum(),
            Weights::Attention(w) => w.widths().iter().sum(),
            Weights::Mlp(w) => w.widths().iter().sum(),
            Weights::Conv(w) => w.widths().iter().sum(),
        }
    }

    /// `stream += factor * f(x)`
    pub(crate) fn forward(&self, pass: &mut Pass<'_, '_>, x: &[f32], factor: f32) {
        match self {
            Weights::Mamba(w) => w.forward(pass, x, factor),
            Weights::Mamba2(w) => w.forward(pass, x, factor),
            Weights::Attention(w) => w.forward(pass, x, factor),
            Weights::Mlp(w) => w.forward(pass, x, factor),
            Weights::Conv(w) => w.forward(pass, x, factor),
        }
    }

    /// Every matrix, then every other tensor's number of elements.
    pub(crate) fn inventory<'a>(&'a self, matrices: &mut Vec<&'a Linear>, vectors: &mut usize) {
        match self {
            Weights::Mamba(w) => w.inventory(matrices, vectors),
            Weights::Mamba2(w) => w.inventory(matrices, vectors),
            Weights::Attention(w) => w.inventory(matrices),
            Weights::Mlp(w) => w.inventory(matrices),
            Weights::Conv(w) => w.inventory(vectors),
        }
    }
}

/// What D is for, in messages.
const SKIP: &str = "the skip connection of the scan";

/// A causal convolution and where its state is.
struct ConvWeights {
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
    d_conv: usize,
    channels: usize,
    slot: usize,
}

impl ConvWeights {
    fn load(
        at: &str,
        layer: &str,
        channels: usize,
        d_conv: usize,
        bias: bool,
        tensors: &Tensors<'_>,
        slots: &mut Slots,
    ) -> Result<Self, ModelError> {
        let at = format!("{at}.conv1d");
        let weight = tensors.conv(&at, channels, d_conv)?;
        let bias = match bias {
            true => Some(tensors.values(&format!("{at}.bias"), "the convolution", &[channels])?),
            false => None,
        };
        slots.push((format!("{layer}.conv"), SlotSpec::Conv { channels, d_conv }));
        Ok(ConvWeights {
            weight,
            bias,
            d_conv,
            channels,
            slot: slots.len() - 1,
        })
    }

    /// `out = conv(x)`, with `silu` after it if that is wanted; both `[m, channels]`.
    fn forward(
        &self,
        cx: &Compute,
        spans: &mut [Span<'_>],
        silu: bool,
        x: &[f32],
        out: &mut [f32],
    ) {
        let conv = sillage_kernels::Conv {
            weight: &self.weight,
            bias: self.bias.as_deref(),
            d_conv: self.d_conv,
            channels: self.channels,
            silu,
        };
        let mut segments: Vec<_> = spans
            .iter_mut()
            .map(|span| sillage_kernels::ConvSegment {
                tokens: span.tokens.clone(),
                state: span.state.conv_mut(self.slot),
            })
            .collect();
        sillage_kernels::causal_conv(cx, &conv, x, self.channels, 0, &mut segments, out);
    }

    fn elements(&self) -> usize {
        self.weight.len() + self.bias.as_ref().map_or(0, Vec::len)
    }
}

/// Numbers the slot of a scan of `len` elements.
fn scan_slot(layer: &str, len: usize, options: &LoadOptions, slots: &mut Slots) -> usize {
    let ty = options.state;
    slots.push((format!("{layer}.ssm"), SlotSpec::Scan { len, ty }));
    slots.len() - 1
}

/// The rows' states of one scan.
fn scan_segments<'a>(
    spans: &'a mut [Span<'_>],
    slot: usize,
) -> Vec<sillage_kernels::ScanSegment<'a>> {
    spans
        .iter_mut()
        .map(|span| sillage_kernels::ScanSegment {
            tokens: span.tokens.clone(),
            state: span.state.scan_mut(slot),
        })
        .collect()
}
