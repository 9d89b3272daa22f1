//! Mamba-2, forward and backward (Dao and Gu 2024, section 7).

use super::linear::{Flat, FlatMut, Projection};
use super::mamba::{rates, rates_back};
use super::{Pass, Saved, nth};
use crate::error::TrainError;
use crate::params::Params;
use sillage_kernels::train::{
    ConvShape, GatedShape, Onto, SsdDims, conv_backward, conv_forward, gated_rms_backward,
    gated_rms_forward, softplus_backward, softplus_forward, ssd_backward, ssd_forward,
};
use sillage_models::description::{Mamba2, Stored};
use std::ops::Range;

#[derive(Debug)]
pub(super) struct Mamba2Net {
    d: Mamba2,
    input: Projection,
    conv: Range<usize>,
    conv_bias: Option<Range<usize>>,
    dt_bias: Range<usize>,
    rates: Range<usize>,
    skip: Range<usize>,
    norm: Option<Range<usize>>,
    out: Projection,
}

/// What is kept: z|x|B|C|dt as projected, x|B|C convolved, dt, and y before the gate.
const Z_XBC_DT: usize = 0;
const CONVOLVED: usize = 1;
const DT: usize = 2;
const Y: usize = 3;

impl Mamba2Net {
    pub(super) fn new(
        d: &Mamba2,
        at: &str,
        d_model: usize,
        params: &Params,
    ) -> Result<Self, TrainError> {
        if d.multipliers != [1.0; 5] {
            let what = "a Mamba-2 block with multipliers for its sections (Falcon-H1)";
            return Err(TrainError::Untrainable(what.to_owned()));
        }
        let (inner, conv_dim) = (d.d_inner(), d.conv_dim());
        let parts = [inner, conv_dim, d.heads];
        let fused = Stored::Together("in_proj");
        Ok(Mamba2Net {
            input: Projection::stored(params, at, fused, &parts, d_model, d.in_bias),
            conv: params.at(&format!("{at}.conv1d.weight")),
            conv_bias: d.conv_bias.then(|| params.at(&format!("{at}.conv1d.bias"))),
            dt_bias: params.at(&format!("{at}.dt_bias")),
            rates: params.at(&format!("{at}.A_log")),
            skip: params.at(&format!("{at}.D")),
            norm: d.norm.map(|_| params.at(&format!("{at}.norm.weight"))),
            out: Projection::one(
                params,
                &format!("{at}.out_proj"),
                d_model,
                inner,
                d.out_bias,
            ),
            d: d.clone(),
        })
    }

    fn dims(&self) -> SsdDims {
        SsdDims {
            heads: self.d.heads,
            headdim: self.d.headdim,
            d_state: self.d.d_state,
            n_groups: self.d.n_groups,
        }
    }

    fn conv_shape(&self) -> ConvShape {
        ConvShape {
            channels: self.d.conv_dim(),
            taps: self.d.d_conv,
            silu: true,
        }
    }

    fn gate(&self) -> GatedShape {
        GatedShape {
            d: self.d.d_inner(),
            groups: self.d.n_groups,
            eps: self.d.norm.map_or(0.0, |norm| norm.eps),
            before_gate: self.d.norm.is_some_and(|norm| norm.before_gate),
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
        let (cx, m, d) = (pass.cx, pass.tokens, &self.d);
        let (inner, conv_dim, width) = (d.d_inner(), d.conv_dim(), self.input.width());
        let value = |range: &Range<usize>| &flat.params[range.clone()];
        nth(&mut saved.buffers, Z_XBC_DT, m * width);
        nth(&mut saved.buffers, CONVOLVED, m * conv_dim);
        nth(&mut saved.buffers, DT, m * d.heads);
        nth(&mut saved.buffers, Y, m * inner);
        let [projected, convolved, dt, y, ..] = saved.buffers.as_mut_slice() else {
            return;
        };
        let projected = &mut projected[..m * width];
        let (convolved, dt) = (&mut convolved[..m * conv_dim], &mut dt[..m * d.heads]);
        let y = &mut y[..m * inner];
        self.input
            .forward(cx, flat, input, pass.d_model, projected, Onto::Fresh);
        conv_forward(
            cx,
            &self.conv_shape(),
            pass.lens,
            &projected[inner..],
            width,
            value(&self.conv),
            self.conv_bias.as_ref().map(value),
            convolved,
        );
        let raw = &projected[inner + conv_dim..];
        softplus_forward(cx, raw, width, value(&self.dt_bias), d.dt_limit, dt);
        let a = rates(value(&self.rates), d.a_is_final);
        let (skip, state) = (value(&self.skip), &mut saved.ssd);
        ssd_forward(
            cx,
            &self.dims(),
            pass.lens,
            convolved,
            dt,
            &a,
            skip,
            y,
            state,
        );
        let gated = nth(scratch, 0, m * inner);
        let norm = self.norm.as_ref().map(value);
        gated_rms_forward(cx, &self.gate(), y, projected, width, norm, gated);
        self.out.forward(cx, flat, gated, inner, out, Onto::Sum);
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
        let (cx, m, d) = (pass.cx, pass.tokens, &self.d);
        let (inner, conv_dim, width) = (d.d_inner(), d.conv_dim(), self.input.width());
        let params = flat.params;
        let value = |range: &Range<usize>| &params[range.clone()];
        let [projected, convolved, dt, y, ..] = saved.buffers.as_slice() else {
            return;
        };
        let projected = &projected[..m * width];
        let (convolved, dt) = (&convolved[..m * conv_dim], &dt[..m * d.heads]);
        let y = &y[..m * inner];
        for (i, len) in [inner, inner, inner, width, conv_dim, d.heads]
            .iter()
            .enumerate()
        {
            nth(scratch, i, m * len);
        }
        let [gated, d_gated, dy, d_projected, d_convolved, d_dt, ..] = scratch.as_mut_slice()
        else {
            return;
        };
        let (gated, d_gated) = (&mut gated[..m * inner], &mut d_gated[..m * inner]);
        let (dy, d_projected) = (&mut dy[..m * inner], &mut d_projected[..m * width]);
        let (d_convolved, d_dt) = (&mut d_convolved[..m * conv_dim], &mut d_dt[..m * d.heads]);

        let norm = self.norm.as_ref().map(value);
        gated_rms_forward(cx, &self.gate(), y, projected, width, norm, gated);
        self.out.learn(cx, &mut flat, gated, inner, d_out);
        let read = Flat { params };
        self.out.back(cx, read, d_out, d_gated, inner, Onto::Fresh);
        let d_norm = self.norm.clone().map(|norm| &mut flat.grads[norm]);
        gated_rms_backward(
            cx,
            &self.gate(),
            y,
            projected,
            width,
            norm,
            d_gated,
            dy,
            d_projected,
            width,
            d_norm,
        );
        let a = rates(value(&self.rates), d.a_is_final);
        let mut da = vec![0.0; a.len()];
        ssd_backward(
            cx,
            &self.dims(),
            pass.lens,
            convolved,
            dt,
            &a,
            value(&self.skip),
            &mut saved.ssd,
            dy,
            d_convolved,
            d_dt,
            &mut da,
            &mut flat.grads[self.skip.clone()],
        );
        let d_rates = &mut flat.grads[self.rates.clone()];
        rates_back(&a, &da, d.a_is_final, d_rates);
        let at = inner + conv_dim;
        softplus_backward(
            cx,
            &projected[at..],
            width,
            value(&self.dt_bias),
            d.dt_limit,
            d_dt,
            &mut d_projected[at..],
            width,
            &mut flat.grads[self.dt_bias.clone()],
        );
        let ((weight, bias), d_weight, d_bias) = flat.conv(&self.conv, self.conv_bias.as_ref());
        conv_backward(
            cx,
            &self.conv_shape(),
            pass.lens,
            &projected[inner..],
            width,
            weight,
            bias,
            d_convolved,
            &mut d_projected[inner..],
            width,
            d_weight,
            d_bias,
        );
        self.input
            .learn(cx, &mut flat, input, pass.d_model, d_projected);
        self.input
            .back(cx, read, d_projected, d_input, pass.d_model, Onto::Sum);
    }
}
