//! The MLP: `down(act(gate(x)) * up(x))`, or without a gate `down(act(up(x)))`.

use super::{Pass, add, store};
use crate::description::{self, Activation};
use crate::error::ModelError;
use crate::tensors::Tensors;
use sillage_kernels as kernels;
use sillage_kernels::{Linear, activate, gated_activation, linear, scale_columns};

pub(crate) struct Mlp {
    d: description::Mlp,
    activation: kernels::Activation,
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
}

impl Mlp {
    pub(crate) fn load(
        d: &description::Mlp,
        at: &str,
        d_model: usize,
        tensors: &Tensors<'_>,
    ) -> Result<Self, ModelError> {
        let role = "an MLP input projection";
        let (gate, up) = if d.gated {
            let [gate, up] =
                tensors.projections(at, d.inputs, role, [d.d_ff; 2], d_model, d.bias)?;
            (Some(gate), up)
        } else {
            let [up] = tensors.projections(at, d.inputs, role, [d.d_ff], d_model, d.bias)?;
            (None, up)
        };
        let role = "an MLP output projection";
        let down =
            tensors.projection(&format!("{at}.{}", d.down), role, d_model, d.d_ff, d.bias)?;
        let activation = match d.activation {
            Activation::Silu => kernels::Activation::Silu,
            Activation::Gelu => kernels::Activation::Gelu,
            Activation::GeluTanh => kernels::Activation::GeluTanh,
            Activation::Relu => kernels::Activation::Relu,
            Activation::Relu2 => kernels::Activation::Relu2,
        };
        Ok(Mlp {
            d: d.clone(),
            activation,
            gate,
            up,
            down,
        })
    }

    /// Widths of: gate, up, their product.
    pub(crate) fn widths(&self) -> [usize; 3] {
        [self.d.d_ff; 3]
    }

    pub(crate) fn forward(&self, pass: &mut Pass<'_, '_>, input: &[f32], factor: f32) {
        let (cx, m, wide) = (pass.cx, pass.m, self.d.d_ff);
        let [gate, up, product] = pass.scratch.split(m, self.widths());
        let Some(gate_weight) = &self.gate else {
            linear(cx, input, m, &mut [store(&self.up, up)]);
            activate(cx, up, self.activation);
            add(cx, &self.down, up, m, pass.stream, pass.d_model, factor);
            return;
        };
        linear(
            cx,
            input,
            m,
            &mut [store(gate_weight, gate), store(&self.up, up)],
        );
        if self.d.gate_multiplier != 1.0 {
            scale_columns(cx, gate, m, wide, 0..wide, self.d.gate_multiplier);
        }
        gated_activation(cx, gate, up, m, wide, self.activation, product);
        add(
            cx,
            &self.down,
            product,
            m,
            pass.stream,
            pass.d_model,
            factor,
        );
    }

    pub(crate) fn inventory<'a>(&'a self, matrices: &mut Vec<&'a Linear>) {
        matrices.extend(&self.gate);
        matrices.extend([&self.up, &self.down]);
    }
}
