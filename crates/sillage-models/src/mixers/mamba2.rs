//! Mamba-2: one input projection makes gate, x, B, C and step sizes; heads of channels share a rate
//! (Dao and Gu 2024, section 7).

use super::{ConvWeights, Pass, SKIP, Slots, add, scan_segments, scan_slot, store};
use crate::description;
use crate::description::Stored;
use crate::error::ModelError;
use crate::model::LoadOptions;
use crate::tensors::Tensors;
use sillage_kernels::{
    Compute, GatedNorm, Linear, SsdShape, linear, rms_norm_gated, scale_columns, softplus_dt, ssd,
};

pub(crate) struct Mamba2 {
    d: description::Mamba2,
    z: Linear,
    xbc: Linear,
    dt: Linear,
    conv: ConvWeights,
    dt_bias: Vec<f32>,
    a: Vec<f32>,
    skip: Vec<f32>,
    norm: Option<Vec<f32>>,
    out: Linear,
    slot: usize,
}

impl Mamba2 {
    pub(crate) fn load(
        d: &description::Mamba2,
        at: &str,
        layer: &str,
        d_model: usize,
        tensors: &Tensors<'_>,
        options: &LoadOptions,
        slots: &mut Slots,
    ) -> Result<Self, ModelError> {
        let (inner, conv_dim, heads) = (d.d_inner(), d.conv_dim(), d.heads);
        let in_proj = Stored::Together("in_proj");
        let role = "a Mamba-2 input projection";
        let [z, xbc, dt] = tensors.projections(
            at,
            in_proj,
            role,
            [inner, conv_dim, heads],
            d_model,
            d.in_bias,
        )?;
        let conv = ConvWeights::load(at, layer, conv_dim, d.d_conv, d.conv_bias, tensors, slots)?;
        let dt_bias = tensors.values(
            &format!("{at}.dt_bias"),
            "the bias of the step sizes",
            &[heads],
        )?;
        let a = tensors.a(at, &[heads], d.a_is_final)?;
        let skip_len = if d.d_per_channel { inner } else { heads };
        let skip = tensors.values(&format!("{at}.D"), SKIP, &[skip_len])?;
        let norm = match d.norm {
            Some(_) => {
                Some(tensors.values(&format!("{at}.norm.weight"), "the gated norm", &[inner])?)
            }
            None => None,
        };
        let role = "a Mamba-2 output projection";
        let out =
            tensors.projection(&format!("{at}.out_proj"), role, d_model, inner, d.out_bias)?;
        let len = shape(d).state_len();
        let slot = scan_slot(layer, len, options, slots);
        Ok(Mamba2 {
            d: d.clone(),
            z,
            xbc,
            dt,
            conv,
            dt_bias,
            a,
            skip,
            norm,
            out,
            slot,
        })
    }

    /// Widths of: z, x|B|C, dt, convolved x|B|C, y.
    pub(crate) fn widths(&self) -> [usize; 5] {
        let (inner, conv_dim) = (self.d.d_inner(), self.d.conv_dim());
        [inner, conv_dim, self.d.heads, conv_dim, inner]
    }

    pub(crate) fn forward(&self, pass: &mut Pass<'_, '_>, input: &[f32], factor: f32) {
        let (cx, m, d) = (pass.cx, pass.m, &self.d);
        let inner = d.d_inner();
        let [z, xbc, dt, convolved, y] = pass.scratch.split(m, self.widths());
        linear(
            cx,
            input,
            m,
            &mut [
                store(&self.z, z),
                store(&self.xbc, xbc),
                store(&self.dt, dt),
            ],
        );
        self.scale_sections(cx, m, z, xbc, dt);
        self.conv.forward(cx, pass.spans, true, xbc, convolved);
        softplus_dt(
            cx,
            dt,
            d.heads,
            Some(&self.dt_bias),
            d.dt_limit.0,
            d.dt_limit.1,
        );
        let mut segments = scan_segments(pass.spans, self.slot);
        ssd(
            cx,
            &shape(d),
            convolved,
            dt,
            &self.a,
            Some(&self.skip),
            &mut segments,
            y,
        );
        drop(segments);
        let norm = match (&self.norm, d.norm) {
            (Some(weight), Some(inner_norm)) => Some(GatedNorm {
                weight,
                eps: inner_norm.eps,
                group: inner / d.n_groups,
                norm_before_gate: inner_norm.before_gate,
            }),
            _ => None,
        };
        let gated = &mut xbc[..m * inner];
        rms_norm_gated(cx, y, z, inner, 0, m, inner, norm.as_ref(), gated);
        add(cx, &self.out, gated, m, pass.stream, pass.d_model, factor);
    }

    /// Falcon-H1 multiplies the sections of the projected input; every other model has ones here.
    fn scale_sections(
        &self,
        cx: &Compute,
        m: usize,
        z: &mut [f32],
        xbc: &mut [f32],
        dt: &mut [f32],
    ) {
        let (inner, conv_dim, heads) = (self.d.d_inner(), self.d.conv_dim(), self.d.heads);
        let states = self.d.n_groups * self.d.d_state;
        let [times_z, times_x, times_b, times_c, times_dt] = self.d.multipliers;
        let scale = |values: &mut [f32], stride: usize, start: usize, len: usize, factor: f32| {
            if factor != 1.0 {
                scale_columns(cx, values, m, stride, start..start + len, factor);
            }
        };
        scale(z, inner, 0, inner, times_z);
        scale(xbc, conv_dim, 0, inner, times_x);
        scale(xbc, conv_dim, inner, states, times_b);
        scale(xbc, conv_dim, inner + states, states, times_c);
        scale(dt, heads, 0, heads, times_dt);
    }

    pub(crate) fn inventory<'a>(&'a self, matrices: &mut Vec<&'a Linear>, vectors: &mut usize) {
        matrices.extend([&self.z, &self.xbc, &self.dt, &self.out]);
        *vectors += self.conv.elements() + self.dt_bias.len() + self.a.len() + self.skip.len();
        *vectors += self.norm.as_ref().map_or(0, Vec::len);
    }
}

fn shape(d: &description::Mamba2) -> SsdShape {
    SsdShape {
        heads: d.heads,
        headdim: d.headdim,
        d_state: d.d_state,
        groups: d.n_groups,
    }
}
