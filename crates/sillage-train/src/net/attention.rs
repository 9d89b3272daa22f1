//! Causal self-attention, forward and backward.

use super::linear::{Flat, FlatMut, Projection};
use super::{Pass, Saved, nth};
use crate::error::TrainError;
use crate::params::Params;
use sillage_kernels::train::{
    AttentionDims, Onto, attention_backward_fused, attention_forward, rope_backward,
};
use sillage_kernels::{RopeTable, rope};
use sillage_models::description::Attention;

#[derive(Debug)]
pub(super) struct AttentionNet {
    d: Attention,
    input: Projection,
    rope: Option<RopeTable>,
    out: Projection,
}

/// What is kept: q|k|v after rotation, the output before the last projection, and the logarithms of
/// the softmax's sums.
const QKV: usize = 0;
const Y: usize = 1;
const SUMS: usize = 2;

impl AttentionNet {
    pub(super) fn new(
        d: &Attention,
        at: &str,
        d_model: usize,
        params: &Params,
    ) -> Result<Self, TrainError> {
        if d.key_multiplier != 1.0 {
            let what = "attention whose keys are multiplied (Falcon-H1)";
            return Err(TrainError::Untrainable(what.to_owned()));
        }
        let (wide, narrow) = (d.heads * d.head_dim, d.kv_heads * d.head_dim);
        let parts = [wide, narrow, narrow];
        let out = format!("{at}.{}", d.out);
        Ok(AttentionNet {
            input: Projection::stored(params, at, d.qkv, &parts, d_model, d.qkv_bias),
            rope: d.rope.as_ref().map(|rope| rope.table()),
            out: Projection::one(params, &out, d_model, wide, d.out_bias),
            d: d.clone(),
        })
    }

    fn dims(&self) -> AttentionDims {
        AttentionDims {
            heads: self.d.heads,
            kv_heads: self.d.kv_heads,
            head_dim: self.d.head_dim,
            scale: self.d.scale,
            window: self.d.window,
        }
    }

    /// Columns of q and of k, v.
    fn sections(&self) -> (usize, usize) {
        let d = &self.d;
        (d.heads * d.head_dim, d.kv_heads * d.head_dim)
    }

    pub(super) fn forward(
        &self,
        pass: &Pass<'_>,
        flat: Flat<'_>,
        input: &[f32],
        saved: &mut Saved,
        out: &mut [f32],
    ) {
        let (cx, m, d) = (pass.cx, pass.tokens, &self.d);
        let ((wide, narrow), width) = (self.sections(), self.input.width());
        nth(&mut saved.buffers, QKV, m * width);
        nth(&mut saved.buffers, Y, m * wide);
        nth(&mut saved.buffers, SUMS, m * d.heads);
        let [qkv, y, sums, ..] = saved.buffers.as_mut_slice() else {
            return;
        };
        let qkv = &mut qkv[..m * width];
        let (y, sums) = (&mut y[..m * wide], &mut sums[..m * d.heads]);
        self.input
            .forward(cx, flat, input, pass.d_model, qkv, Onto::Fresh);
        if let Some(table) = &self.rope {
            let positions = pass.positions;
            rope(cx, qkv, m, width, 0, d.heads, d.head_dim, positions, table);
            rope(
                cx, qkv, m, width, wide, d.kv_heads, d.head_dim, positions, table,
            );
        }
        let (k, v) = (&qkv[wide..], &qkv[wide + narrow..]);
        attention_forward(cx, &self.dims(), pass.lens, qkv, k, v, [width; 3], y, sums);
        self.out.forward(cx, flat, y, wide, out, Onto::Sum);
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
        let ((wide, narrow), width) = (self.sections(), self.input.width());
        let read = Flat {
            params: flat.params,
        };
        let [qkv, y, sums, ..] = saved.buffers.as_slice() else {
            return;
        };
        let (qkv, y, sums) = (&qkv[..m * width], &y[..m * wide], &sums[..m * d.heads]);
        nth(scratch, 0, m * wide);
        nth(scratch, 1, m * width);
        let [dy, d_qkv, ..] = scratch.as_mut_slice() else {
            return;
        };
        let (dy, d_qkv) = (&mut dy[..m * wide], &mut d_qkv[..m * width]);
        self.out.learn(cx, &mut flat, y, wide, d_out);
        self.out.back(cx, read, d_out, dy, wide, Onto::Fresh);
        let offsets = [0, wide, wide + narrow];
        attention_backward_fused(
            cx,
            &self.dims(),
            pass.lens,
            qkv,
            offsets,
            width,
            y,
            sums,
            dy,
            d_qkv,
        );
        if let Some(table) = &self.rope {
            let positions = pass.positions;
            rope_backward(cx, table, positions, d_qkv, width, d.heads, d.head_dim);
            let dk = &mut d_qkv[wide..];
            rope_backward(cx, table, positions, dk, width, d.kv_heads, d.head_dim);
        }
        self.input.learn(cx, &mut flat, input, pass.d_model, d_qkv);
        self.input
            .back(cx, read, d_qkv, d_input, pass.d_model, Onto::Sum);
    }
}
