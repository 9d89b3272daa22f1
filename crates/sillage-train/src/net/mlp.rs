//! The MLP, forward and backward.

use super::linear::{Flat, FlatMut, Projection};
use super::{Pass, Saved, nth};
use crate::error::TrainError;
use crate::params::Params;
use sillage_kernels::Activation as Kind;
use sillage_kernels::train::{
    Onto, activate_backward, activate_forward, gated_backward, gated_forward,
};
use sillage_models::description::{Activation, Mlp};

#[derive(Debug)]
pub(super) struct MlpNet {
    d: Mlp,
    kind: Kind,
    input: Projection,
    down: Projection,
}

impl MlpNet {
    pub(super) fn new(
        d: &Mlp,
        at: &str,
        d_model: usize,
        params: &Params,
    ) -> Result<Self, TrainError> {
        if d.gate_multiplier != 1.0 {
            let what = "an MLP whose gate is multiplied (Falcon-H1)";
            return Err(TrainError::Untrainable(what.to_owned()));
        }
        let parts = &[d.d_ff; 2][..if d.gated { 2 } else { 1 }];
        let kind = match d.activation {
            Activation::Silu => Kind::Silu,
            Activation::Gelu => Kind::Gelu,
            Activation::GeluTanh => Kind::GeluTanh,
            Activation::Relu => Kind::Relu,
            Activation::Relu2 => Kind::Relu2,
        };
        let down = format!("{at}.{}", d.down);
        Ok(MlpNet {
            kind,
            input: Projection::stored(params, at, d.inputs, parts, d_model, d.bias),
            down: Projection::one(params, &down, d_model, d.d_ff, d.bias),
            d: d.clone(),
        })
    }

    fn inside(&self, pass: &Pass<'_>, projected: &[f32], out: &mut [f32]) {
        let (wide, width) = (self.d.d_ff, self.input.width());
        match self.d.gated {
            true => {
                let up = &projected[wide..];
                gated_forward(pass.cx, self.kind, projected, up, width, wide, out);
            }
            false => activate_forward(pass.cx, self.kind, projected, out),
        }
    }

    pub(super) fn forward(
        &self,
        pass: &Pass<'_>,
        flat: Flat<'_>,
        input: &[f32],
        saved: &mut Saved,
        scratch: &mut Vec<Vec<f32>>,
        out: &mut [f32],
    ) {
        let (cx, m, wide) = (pass.cx, pass.tokens, self.d.d_ff);
        let projected = nth(&mut saved.buffers, 0, m * self.input.width());
        self.input
            .forward(cx, flat, input, pass.d_model, projected, Onto::Fresh);
        let inside = nth(scratch, 0, m * wide);
        self.inside(pass, projected, inside);
        self.down.forward(cx, flat, inside, wide, out, Onto::Sum);
    }

    pub(super) fn backward(
        &self,
        pass: &Pass<'_>,
        mut flat: FlatMut<'_>,
        input: &[f32],
        saved: &mut Saved,
        scratch: &mut Vec<Vec<f32>>,
        d_out: &[f32],
        d_input: &mut [f32],
    ) {
        let (cx, m, wide, width) = (pass.cx, pass.tokens, self.d.d_ff, self.input.width());
        let read = Flat {
            params: flat.params,
        };
        let projected = nth(&mut saved.buffers, 0, m * width);
        nth(scratch, 0, m * wide);
        nth(scratch, 1, m * width);
        let [inside, d_projected, ..] = scratch.as_mut_slice() else {
            return;
        };
        let (inside, d_projected) = (&mut inside[..m * wide], &mut d_projected[..m * width]);
        self.inside(pass, projected, inside);
        self.down.learn(cx, &mut flat, inside, wide, d_out);
        // From here on the same buffer holds the gradient.
        let d_inside = inside;
        self.down.back(cx, read, d_out, d_inside, wide, Onto::Fresh);
        if self.d.gated {
            gated_backward(cx, self.kind, projected, wide, d_inside, d_projected);
        } else {
            activate_backward(cx, self.kind, projected, d_inside, d_projected);
        }
        self.input
            .learn(cx, &mut flat, input, pass.d_model, d_projected);
        self.input
            .back(cx, read, d_projected, d_input, pass.d_model, Onto::Sum);
    }
}
