//! Mamba-1: a gated, convolved input, and a scan whose step sizes, B and C depend on it
//! (Gu and Dao 2023, section 3).

use super::{ConvWeights, Pass, SKIP, Slots, add, scan_segments, scan_slot, store};
use crate::description;
use crate::description::Stored;
use crate::error::ModelError;
use crate::model::LoadOptions;
use crate::tensors::{Tensors, transpose};
use sillage_kernels::{
    Linear, SelectiveShape, linear, rms_norm, rms_norm_gated, selective_scan, softplus_dt,
};

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
        let fused = Stored::Together("in_proj");
        let role = "a Mamba input projection";
        let [x, z] = tensors.projections(at, fused, role, [inner; 2], d_model, d.bias)?;
        let conv = ConvWeights::load(at, layer, inner, d.d_conv, d.conv_bias, tensors, slots)?;
        let (fused, parts) = (Stored::Together("x_proj"), [d.dt_rank, 2 * states]);
        let role = "a Mamba projection to dt, B and C";
        let [dt_low, bc] = tensors.projections(at, fused, role, parts, inner, false)?;
        let (name, role) = (format!("{at}.dt_proj"), "a Mamba dt projection");
        let dt = tensors.projection(&name, role, inner, d.dt_rank, true)?;
        let a = tensors.a(at, &[inner, states], d.a_is_final)?;
        let skip = tensors.values(&format!("{at}.D"), SKIP, &[inner])?;
        let (name, role) = (format!("{at}.out_proj"), "a Mamba output projection");
        let out = tensors.projection(&name, role, d_model, inner, d.bias)?;
        let len = shape(d).state_len();
        let slot = scan_slot(layer, len, options, slots);
        Ok(Mamba {
            d: d.clone(),
            x,
            z,
            conv,
            dt_low,
            bc,
            dt,
            a: transpose(&a, inner, states),
            skip,
            out,
            slot,
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
        self.conv.forward(cx, pass.spans, true, x, u);
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
        let shape = shape(&self.d);
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

fn shape(d: &description::Mamba) -> SelectiveShape {
    SelectiveShape {
        d_inner: d.d_inner,
        d_state: d.d_state,
    }
}
