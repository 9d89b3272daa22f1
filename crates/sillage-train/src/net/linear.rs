//! Linear layers over the flat row of parameters.

use crate::params::Params;
use sillage_kernels::Compute;
use sillage_kernels::train::{Onto, View, gemm, sum_rows};
use sillage_models::description::Stored;
use std::ops::Range;

/// Parameters, to be read.
#[derive(Clone, Copy)]
pub(super) struct Flat<'a> {
    pub(super) params: &'a [f32],
}

/// Parameters and their gradients.
pub(super) struct FlatMut<'a> {
    pub(super) params: &'a [f32],
    pub(super) grads: &'a mut [f32],
}

type ConvValues<'a> = (&'a [f32], Option<&'a [f32]>);

impl FlatMut<'_> {
    /// Again, for a part of a pass.
    pub(super) fn again(&mut self) -> FlatMut<'_> {
        FlatMut {
            params: self.params,
            grads: self.grads,
        }
    }

    /// A convolution's values, and the gradients of its weight and of its bias, which lies right
    /// behind.
    pub(super) fn conv(
        &mut self,
        weight: &Range<usize>,
        bias: Option<&Range<usize>>,
    ) -> (ConvValues<'_>, &mut [f32], Option<&mut [f32]>) {
        let values = (
            &self.params[weight.clone()],
            bias.map(|bias| &self.params[bias.clone()]),
        );
        let end = bias.map_or(weight.end, |bias| bias.end);
        let (dweight, rest) = self.grads[weight.start..end].split_at_mut(weight.len());
        (values, dweight, bias.is_some().then_some(rest))
    }
}

/// Projections of one input into the columns of one output.
#[derive(Debug, Clone)]
pub(super) struct Projection {
    parts: Vec<Part>,
    /// Columns of the input.
    cols: usize,
    /// Columns of the output, of all parts.
    rows: usize,
}

#[derive(Debug, Clone)]
struct Part {
    weight: Range<usize>,
    bias: Option<Range<usize>>,
    rows: usize,
    at: usize,
}

impl Projection {
    /// The tensors `{at}.weight` and perhaps `{at}.bias`.
    pub(super) fn one(params: &Params, at: &str, rows: usize, cols: usize, bias: bool) -> Self {
        let mut projection = Projection {
            parts: vec![],
            cols,
            rows: 0,
        };
        projection.push(params, at, rows, bias);
        projection
    }

    /// As a description stores them.
    pub(super) fn stored(
        params: &Params,
        at: &str,
        stored: Stored,
        parts: &[usize],
        cols: usize,
        bias: bool,
    ) -> Self {
        match stored {
            Stored::Together(name) => {
                let rows = parts.iter().sum();
                Self::one(params, &format!("{at}.{name}"), rows, cols, bias)
            }
            Stored::Apart(names) => {
                let mut projection = Projection {
                    parts: vec![],
                    cols,
                    rows: 0,
                };
                for (name, &rows) in names.iter().zip(parts) {
                    projection.push(params, &format!("{at}.{name}"), rows, bias);
                }
                projection
            }
        }
    }

    fn push(&mut self, params: &Params, at: &str, rows: usize, bias: bool) {
        self.parts.push(Part {
            weight: params.at(&format!("{at}.weight")),
            bias: bias.then(|| params.at(&format!("{at}.bias"))),
            rows,
            at: self.rows,
        });
        self.rows += rows;
    }

    /// Columns of the output.
    pub(super) fn width(&self) -> usize {
        self.rows
    }

    /// `out = x W^T + b` or `out += ...`, for the rows of `x`, which begin every `stride` elements.
    pub(super) fn forward(
        &self,
        cx: &Compute,
        flat: Flat<'_>,
        x: &[f32],
        stride: usize,
        out: &mut [f32],
        onto: Onto,
    ) {
        let tokens = out.len() / self.rows;
        let x = View::strided(x, tokens, self.cols, stride);
        for part in &self.parts {
            let weight = View::new(&flat.params[part.weight.clone()], part.rows, self.cols);
            let out = &mut out[part.at..];
            gemm(cx, x, weight.t(), out, self.rows, onto);
            if let Some(bias) = &part.bias {
                let bias = &flat.params[bias.clone()];
                for row in out.chunks_mut(self.rows) {
                    for (out, bias) in row.iter_mut().zip(bias) {
                        *out += bias;
                    }
                }
            }
        }
    }

    /// Adds the gradients of weights and biases.
    pub(super) fn learn(
        &self,
        cx: &Compute,
        flat: &mut FlatMut<'_>,
        x: &[f32],
        stride: usize,
        d_out: &[f32],
    ) {
        let tokens = d_out.len() / self.rows;
        let x = View::strided(x, tokens, self.cols, stride);
        for part in &self.parts {
            let d_out = &d_out[part.at..];
            let d = View::strided(d_out, tokens, part.rows, self.rows);
            let grad = &mut flat.grads[part.weight.clone()];
            gemm(cx, d.t(), x, grad, self.cols, Onto::Sum);
            if let Some(bias) = &part.bias {
                let grad = &mut flat.grads[bias.clone()];
                sum_rows(cx, d_out, tokens, part.rows, self.rows, grad);
            }
        }
    }

    /// The gradient of the input; rows of `dx` begin every `stride` elements.
    pub(super) fn back(
        &self,
        cx: &Compute,
        flat: Flat<'_>,
        d_out: &[f32],
        dx: &mut [f32],
        stride: usize,
        onto: Onto,
    ) {
        let tokens = d_out.len() / self.rows;
        for (i, part) in self.parts.iter().enumerate() {
            let d = View::strided(&d_out[part.at..], tokens, part.rows, self.rows);
            let weight = View::new(&flat.params[part.weight.clone()], part.rows, self.cols);
            let onto = if i == 0 { onto } else { Onto::Sum };
            gemm(cx, d, weight, dx, stride, onto);
        }
    }
}
