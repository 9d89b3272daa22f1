//! A depthwise causal convolution and nothing else: how a stack looks a few steps back cheaply.

use super::{ConvWeights, Pass, Slots};
use crate::description;
use crate::error::ModelError;
use crate::tensors::Tensors;
use sillage_kernels::add_scaled;

pub(crate) struct Conv(ConvWeights);

impl Conv {
    pub(crate) fn load(
        d: &description::Conv,
        at: &str,
        layer: &str,
        d_model: usize,
        tensors: &Tensors<'_>,
        slots: &mut Slots,
    ) -> Result<Self, ModelError> {
        ConvWeights::load(at, layer, d_model, d.d_conv, d.bias, tensors, slots).map(Conv)
    }

    /// Width of the convolved input.
    pub(crate) fn widths(&self) -> [usize; 1] {
        [self.0.channels]
    }

    pub(crate) fn forward(&self, pass: &mut Pass<'_, '_>, input: &[f32], factor: f32) {
        let [convolved] = pass.scratch.split(pass.m, self.widths());
        self.0.forward(pass.cx, pass.spans, false, input, convolved);
        add_scaled(pass.cx, pass.stream, convolved, factor);
    }

    pub(crate) fn inventory(&self, vectors: &mut usize) {
        *vectors += self.0.elements();
    }
}
