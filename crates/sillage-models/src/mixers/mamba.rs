//! Mamba-1: a gated, convolved input, and a scan whose step sizes, B and C depend on it
//! (Gu and Dao 2023, section 3).

use super::{ConvWeights, Pass, Slots, add, scan_segments, store};
use crate::description;
use crate::description::Stored;
use crate::error::ModelError;
use crate::model::LoadOptions;
use crate::tensors::{Tensors, transpose};
use sillage_kernels::{
    Linear, SelectiveShape, linear, rms_norm, rms_norm_gated, selective_scan, softplus_dt,
};
use sillage_state::SlotSpec;

pub(crate) struct Mamba {
    d: description::Mamba,
    x: Linear,
    z: Linear,
    conv: ConvWeights,
    dt_low: Linear,
    bc: Linear,
    dt: Linear,
    /// `[d_state, d_inner]`, negative.
    a: Vec<f32>,
    skip: Vec<f32>,
    out: Linear,
    slot: usize,
}

impl Mamba {
    pub(crate) fn load(
        d: &description::Mamba,
        at: &str,
        layer: &str,
        d_model: usize,
        tensors: &Tensors<'_>,
        options: &LoadOptions,
        slots: &mut Slots,
    ) -> Result<Self, ModelError> {
        let (inner, states) = (d.d_inner, d.d_state);
        let in_proj = Stored::Together("in_proj");
        let [x, z] = tensors.projections(
            at,
            in_proj,
            "a Mamba input projection",
            [inner; 2],
            d_model,
            d.bias,
        )?;
        let conv = ConvWeights::load(at, layer, inner, d.d_conv, d.conv_bias, tensors, slots)?;
        let x_proj = Stored::Together("x_proj");
        let [dt_low, bc] = tensors.projections(
            at,
            x_proj,
            "a Mamba projection to dt, B and C",
            [d.dt_rank, 2 * states],
            inner,
            false,
        )?;
        let dt = tensors.projection(
            &format!("{at}.dt_proj"),
            "a Mamba dt projection",
            inner,
            d.dt_rank,
            true,
        )?;
        let a = transpose(
            &tensors.a(at, &[inner, states], d.a_is_final)?,
            inner,
            states,
        );
        let skip = tensors.values(
            &format!("{at}.D"),
            "the skip connection of the scan",
            &[inner],
        )?;
        let out = tensors.projection(
            &format!("{at}.out_proj"),
            "a Mamba output projection",
            d_model,
            inner,
            d.bias,
        )?;
        let shape = SelectiveShape {
            d_inner: inner,
            d_state: states,
        };
        slots.push((
            format!("{layer}.ssm"),
            SlotSpec::Scan {
                len: shape.state_len(),
                ty: options.state,
            },
        ));
        Ok(Mamba {
            d: d.clone(),
            x,
            z,
            conv,
            dt_low,
            bc,
            dt,
            a,
            skip,
            out,
            slot: slots.len() - 1,
        })
    }

    /// Widths of: x, z, convolved x, dt at low rank, B|C, and their normed twins, dt, y.
    pub(crate) fn widths(&self) -> [usize; 9] {
        let (inner, states, rank) = (self.d.d_inner, self.d.d_state, self.d.dt_rank);
        [
            inner,
            inner,
            inner,
            rank,
            2 * states,
            rank,
            2 * states,
            inner,
            inner,
        ]
    }

    pub(crate) fn forward(&self, pass: &mut Pass<'_, '_>, input: &[f32], factor: f32) {
        let (cx, m) = (pass.cx, pass.m);
        let (inner, states, rank) = (self.d.d_inner, self.d.d_state, self.d.dt_rank);
        let [x, z, u, mut dt_low, mut bc, dt_normed, bc_normed, dt, y] =
            pass.scratch.split(m, self.widths());
        linear(cx, input, m, &mut [store(&self.x, x), store(&self.z, z)]);
        self.conv.forward(cx, pass.spans, x, u);
        linear(
            cx,
            u,
            m,
            &mut [store(&self.dt_low, dt_low), store(&self.bc, bc)],
        );
        if let Some(eps) = self.d.inner_norm_eps {
            rms_norm(cx, dt_low, m, rank, None, eps, dt_normed);
            // B and C have a norm each: `[m, 2, d_state]` is as good as `[2 m, d_state]`.
            rms_norm(cx, bc, 2 * m, states, None, eps, bc_normed);
            (dt_low, bc) = (dt_normed, bc_normed);
        }
        linear(cx, dt_low, m, &mut [store(&self.dt, dt)]);
        softplus_dt(cx, dt, inner, None, 0.0, f32::INFINITY);
        let shape = SelectiveShape {
            d_inner: inner,
            d_state: states,
        };
        let mut segments = scan_segments(pass.spans, self.slot);
        let (b, c) = (&*bc, &bc[states..]);
        selective_scan(
            cx,
            &shape,
            u,
            dt,
            &self.a,
            b,
            c,
            2 * states,
            &self.skip,
            &mut segments,
            y,
        );
        drop(segments);
        rms_norm_gated(cx, y, z, inner, 0, m, inner, None, x);
        add(cx, &self.out, x, m, pass.stream, pass.d_model, factor);
    }

    pub(crate) fn inventory<'a>(&'a self, matrices: &mut Vec<&'a Linear>, vectors: &mut usize) {
        matrices.extend([
            &self.x,
            &self.z,
            &self.dt_low,
            &self.bc,
            &self.dt,
            &self.out,
        ]);
        *vectors += self.conv.elements() + self.a.len() + self.skip.len();
    }
}
