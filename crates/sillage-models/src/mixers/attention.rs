//! Causal self-attention with grouped queries, optionally rotary and windowed.

use super::{Pass, Slots, add, store};
use crate::description;
use crate::error::ModelError;
use crate::model::LoadOptions;
use crate::tensors::Tensors;
use sillage_kernels::{
    AttendSegment, AttendShape, KvShape, Linear, RopeTable, attend, linear, rope, scale_columns,
};
use sillage_state::SlotSpec;

pub(crate) struct Attention {
    d: description::Attention,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    rope: Option<RopeTable>,
    shape: AttendShape,
    slot: usize,
}

impl Attention {
    pub(crate) fn load(
        d: &description::Attention,
        at: &str,
        layer: &str,
        d_model: usize,
        tensors: &Tensors<'_>,
        options: &LoadOptions,
        slots: &mut Slots,
    ) -> Result<Self, ModelError> {
        let (wide, narrow) = (d.heads * d.head_dim, d.kv_heads * d.head_dim);
        let role = "an attention input projection";
        let [q, k, v] =
            tensors.projections(at, d.qkv, role, [wide, narrow, narrow], d_model, d.qkv_bias)?;
        let role = "an attention output projection";
        let out =
            tensors.projection(&format!("{at}.{}", d.out), role, d_model, wide, d.out_bias)?;
        let kv = KvShape {
            kv_heads: d.kv_heads,
            head_dim: d.head_dim,
        };
        let shape = AttendShape {
            heads: d.heads,
            kv,
            scale: d.scale,
            window: d.window,
            softcap: None,
        };
        let slot = SlotSpec::Kv {
            shape: kv,
            ty: options.kv,
            window: d.window,
        };
        slots.push((format!("{layer}.kv"), slot));
        let rope = d.rope.as_ref().map(crate::rope::Rope::table);
        Ok(Attention {
            d: d.clone(),
            q,
            k,
            v,
            out,
            rope,
            shape,
            slot: slots.len() - 1,
        })
    }

    /// Widths of: q, k, v, y.
    pub(crate) fn widths(&self) -> [usize; 4] {
        let (wide, narrow) = (
            self.d.heads * self.d.head_dim,
            self.d.kv_heads * self.d.head_dim,
        );
        [wide, narrow, narrow, wide]
    }

    pub(crate) fn forward(&self, pass: &mut Pass<'_, '_>, input: &[f32], factor: f32) {
        let (cx, m, d) = (pass.cx, pass.m, &self.d);
        let [wide, narrow, ..] = self.widths();
        let [q, k, v, y] = pass.scratch.split(m, self.widths());
        linear(
            cx,
            input,
            m,
            &mut [store(&self.q, q), store(&self.k, k), store(&self.v, v)],
        );
        if d.key_multiplier != 1.0 {
            scale_columns(cx, k, m, narrow, 0..narrow, d.key_multiplier);
        }
        if let Some(table) = &self.rope {
            rope(
                cx,
                q,
                m,
                wide,
                0,
                d.heads,
                d.head_dim,
                pass.positions,
                table,
            );
            rope(
                cx,
                k,
                m,
                narrow,
                0,
                d.kv_heads,
                d.head_dim,
                pass.positions,
                table,
            );
        }
        for span in pass.spans.iter_mut() {
            let rows = span.tokens.start * narrow..span.tokens.end * narrow;
            span.state
                .kv_mut(self.slot)
                .append(span.tokens.len(), &k[rows.clone()], &v[rows]);
        }
        let segments: Vec<_> = pass
            .spans
            .iter()
            .map(|span| {
                let (first_page, pages) = span.state.kv(self.slot).pages();
                AttendSegment {
                    tokens: span.tokens.clone(),
                    start: span.start,
                    first_page,
                    pages: pages.collect(),
                }
            })
            .collect();
        attend(cx, &self.shape, q, &segments, y);
        drop(segments);
        add(cx, &self.out, y, m, pass.stream, pass.d_model, factor);
    }

    pub(crate) fn inventory<'a>(&'a self, matrices: &mut Vec<&'a Linear>) {
        matrices.extend([&self.q, &self.k, &self.v, &self.out]);
    }
}
