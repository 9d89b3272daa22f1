//! Mamba-1, forward and backward (Gu and Dao 2023, section 3).

use super::linear::{Flat, FlatMut, Projection};
use super::{Pass, Saved, join, nth};
use crate::error::TrainError;
use crate::params::Params;
use sillage_kernels::train::{
    ConvShape, GatedShape, Onto, SelectiveDims, conv_backward, conv_forward, gated_rms_backward,
    gated_rms_forward, selective_backward, selective_forward, softplus_backward, softplus_forward,
};
use sillage_models::description::{Mamba, Stored};
use std::ops::Range;

#[derive(Debug)]
pub(super) struct MambaNet {
    d: Mamba,
    input: Projection,
    conv: Range<usize>,
    conv_bias: Option<Range<usize>>,
    low: Projection,
    dt: Projection,
    dt_bias: Range<usize>,
    rates: Range<usize>,
    skip: Range<usize>,
    out: Projection,
}

/// What is kept: x|z as projected, x convolved, dt|B|C at low rank, dt before and after the softplus,
/// and y before the gate.
const X_Z: usize = 0;
const CONVOLVED: usize = 1;
const LOW: usize = 2;
const RAW: usize = 3;
const DT: usize = 4;
const Y: usize = 5;

/// A, negative, from its stored form.
pub(super) fn rates(stored: &[f32], is_final: bool) -> Vec<f32> {
    match is_final {
        true => stored.to_vec(),
        // In f64, as the runtime does.
        false => stored.iter().map(|a| -f64::from(*a).exp() as f32).collect(),
    }
}

/// Adds to `d_stored` the gradient of A's stored form.
pub(super) fn rates_back(a: &[f32], da: &[f32], is_final: bool, d_stored: &mut [f32]) {
    for ((d, a), da) in d_stored.iter_mut().zip(a).zip(da) {
        *d += if is_final { *da } else { a * da };
    }
}

impl MambaNet {
    pub(super) fn new(
        d: &Mamba,
        at: &str,
        d_model: usize,
        params: &Params,
    ) -> Result<Self, TrainError> {
        if d.inner_norm_eps.is_some() {
            let what = "a Mamba block with norms on dt, B and C (FalconMamba)";
            return Err(TrainError::Untrainable(what.to_owned()));
        }
        let (inner, rank) = (d.d_inner, d.dt_rank);
        let fused = Stored::Together("in_proj");
        let low = Stored::Together("x_proj");
        let name = |name: &str| format!("{at}.{name}");
        Ok(MambaNet {
            input: Projection::stored(params, at, fused, &[inner; 2], d_model, d.bias),
            conv: params.at(&name("conv1d.weight")),
            conv_bias: d.conv_bias.then(|| params.at(&name("conv1d.bias"))),
            low: Projection::stored(params, at, low, &[rank + 2 * d.d_state], inner, false),
            // Its bias goes into the softplus.
            dt: Projection::one(params, &name("dt_proj"), inner, rank, false),
            dt_bias: params.at(&name("dt_proj.bias")),
            rates: params.at(&name("A_log")),
            skip: params.at(&name("D")),
            out: Projection::one(params, &name("out_proj"), d_model, inner, d.bias),
            d: d.clone(),
        })
    }

    fn dims(&self) -> SelectiveDims {
        SelectiveDims {
            d_inner: self.d.d_inner,
            d_state: self.d.d_state,
        }
    }

    fn conv_shape(&self) -> ConvShape {
        ConvShape {
            channels: self.d.d_inner,
            taps: self.d.d_conv,
            silu: true,
        }
    }

    /// Widths of what is kept.
    fn widths(&self) -> [usize; 6] {
        let inner = self.d.d_inner;
        [2 * inner, inner, self.low.width(), inner, inner, inner]
    }

    fn gate(&self) -> GatedShape {
        GatedShape {
            d: self.d.d_inner,
            groups: 1,
            eps: 0.0,
            before_gate: false,
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
        let (cx, m, inner) = (pass.cx, pass.tokens, self.d.d_inner);
        let (rank, states) = (self.d.dt_rank, self.d.d_state);
        let value = |range: &Range<usize>| &flat.params[range.clone()];
        for (i, width) in self.widths().into_iter().enumerate() {
            nth(&mut saved.buffers, i, m * width);
        }
        let [xz, convolved, low, raw, dt, y, ..] = saved.buffers.as_mut_slice() else {
            return;
        };
        let widths = self.widths();
        let (xz, convolved) = (
            &mut xz[..m * widths[X_Z]],
            &mut convolved[..m * widths[CONVOLVED]],
        );
        let (low, raw) = (&mut low[..m * widths[LOW]], &mut raw[..m * widths[RAW]]);
        let (dt, y) = (&mut dt[..m * widths[DT]], &mut y[..m * widths[Y]]);
        self.input
            .forward(cx, flat, input, pass.d_model, xz, Onto::Fresh);
        let bias = self.conv_bias.as_ref().map(value);
        let (shape, weight) = (self.conv_shape(), value(&self.conv));
        conv_forward(
            cx,
            &shape,
            pass.lens,
            xz,
            2 * inner,
            weight,
            bias,
            convolved,
        );
        self.low
            .forward(cx, flat, convolved, inner, low, Onto::Fresh);
        let stride = widths[LOW];
        self.dt.forward(cx, flat, low, stride, raw, Onto::Fresh);
        let limit = (0.0, f32::INFINITY);
        softplus_forward(cx, raw, inner, value(&self.dt_bias), limit, dt);
        let a = rates(value(&self.rates), self.d.a_is_final);
        let (b, c) = (&low[rank..], &low[rank + states..]);
        let (skip, state) = (value(&self.skip), &mut saved.selective);
        selective_forward(
            cx,
            &self.dims(),
            pass.lens,
            convolved,
            dt,
            b,
            c,
            stride,
            &a,
            skip,
            y,
            state,
        );
        let gated = nth(scratch, 0, m * inner);
        gated_rms_forward(cx, &self.gate(), y, &xz[inner..], 2 * inner, None, gated);
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
        let (cx, m, inner) = (pass.cx, pass.tokens, self.d.d_inner);
        let (rank, states) = (self.d.dt_rank, self.d.d_state);
        let (params, widths) = (flat.params, self.widths());
        let read = Flat { params };
        let value = |range: &Range<usize>| &params[range.clone()];
        let [xz, convolved, low, raw, dt, y, ..] = saved.buffers.as_slice() else {
            return;
        };
        let (xz, convolved) = (&xz[..m * widths[X_Z]], &convolved[..m * widths[CONVOLVED]]);
        let (low, raw) = (&low[..m * widths[LOW]], &raw[..m * widths[RAW]]);
        let (dt, y) = (&dt[..m * widths[DT]], &y[..m * widths[Y]]);
        let lens = [
            inner,
            inner,
            2 * inner,
            inner,
            widths[LOW],
            inner,
            inner,
            states,
            states,
        ];
        for (i, len) in lens.into_iter().enumerate() {
            nth(scratch, i, m * len);
        }
        let [
            gated,
            dy,
            d_xz,
            d_convolved,
            d_low,
            d_dt,
            d_raw,
            d_b,
            d_c,
            ..,
        ] = scratch.as_mut_slice()
        else {
            return;
        };
        let (d_b, d_c) = (&mut d_b[..m * states], &mut d_c[..m * states]);
        let (gated, dy) = (&mut gated[..m * inner], &mut dy[..m * inner]);
        let (d_xz, d_low) = (&mut d_xz[..m * 2 * inner], &mut d_low[..m * widths[LOW]]);
        let d_convolved = &mut d_convolved[..m * inner];
        let (d_dt, d_raw) = (&mut d_dt[..m * inner], &mut d_raw[..m * inner]);

        let z = &xz[inner..];
        gated_rms_forward(cx, &self.gate(), y, z, 2 * inner, None, gated);
        self.out.learn(cx, &mut flat, gated, inner, d_out);
        // From here on the same buffer holds the gradient.
        let d_gated = gated;
        self.out.back(cx, read, d_out, d_gated, inner, Onto::Fresh);
        let (shape, dz) = (self.gate(), &mut d_xz[inner..]);
        gated_rms_backward(
            cx,
            &shape,
            y,
            z,
            2 * inner,
            None,
            d_gated,
            dy,
            dz,
            2 * inner,
            None,
        );
        let a = rates(value(&self.rates), self.d.a_is_final);
        let mut da = vec![0.0; a.len()];
        let stride = widths[LOW];
        selective_backward(
            cx,
            &self.dims(),
            pass.lens,
            convolved,
            dt,
            &low[rank..],
            &low[rank + states..],
            stride,
            &a,
            value(&self.skip),
            &mut saved.selective,
            dy,
            d_convolved,
            d_dt,
            d_b,
            d_c,
            states,
            &mut da,
            &mut flat.grads[self.skip.clone()],
        );
        let d_rates = &mut flat.grads[self.rates.clone()];
        rates_back(&a, &da, self.d.a_is_final, d_rates);
        let (limit, bias) = ((0.0, f32::INFINITY), value(&self.dt_bias));
        let d_bias = &mut flat.grads[self.dt_bias.clone()];
        softplus_backward(cx, raw, inner, bias, limit, d_dt, d_raw, inner, d_bias);
        self.dt.learn(cx, &mut flat, low, stride, d_raw);
        self.dt.back(cx, read, d_raw, d_low, stride, Onto::Fresh);
        join(
            d_low,
            stride,
            [(rank, d_b, states), (rank + states, d_c, states)],
        );
        self.low.learn(cx, &mut flat, convolved, inner, d_low);
        self.low
            .back(cx, read, d_low, d_convolved, inner, Onto::Sum);
        let ((weight, bias), d_weight, d_bias) = flat.conv(&self.conv, self.conv_bias.as_ref());
        conv_backward(
            cx,
            &self.conv_shape(),
            pass.lens,
            xz,
            2 * inner,
            weight,
            bias,
            d_convolved,
            d_xz,
            2 * inner,
            d_weight,
            d_bias,
        );
        self.input.learn(cx, &mut flat, input, pass.d_model, d_xz);
        self.input
            .back(cx, read, d_xz, d_input, pass.d_model, Onto::Sum);
    }
}
