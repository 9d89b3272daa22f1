//! Clipping and AdamW (Loshchilov and Hutter 2019) over a model's row of numbers.

use crate::params::Params;
use crate::recipe::TrainRecipe;
use sillage_kernels::Compute;
use sillage_kernels::train::{AdamW, adamw, sum_squares};

/// A model's numbers and what the optimiser remembers of each; rows as [`Params`] lays them out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// Parameters.
    pub params: Vec<f32>,
    /// Running means of gradients.
    pub first: Vec<f32>,
    /// Running means of their squares.
    pub second: Vec<f32>,
}

impl Rows {
    /// At the beginning.
    #[must_use]
    pub fn new(params: Vec<f32>) -> Self {
        let len = params.len();
        Rows {
            params,
            first: vec![0.0; len],
            second: vec![0.0; len],
        }
    }

    /// Step number `step` (from 1) along `grads`, clipped to the recipe's length, at rate `lr`. `norm`
    /// is [`norm`] of the gradient.
    ///
    /// # Panics
    /// If the rows differ in length from the layout.
    pub fn step(
        &mut self,
        cx: &Compute,
        layout: &Params,
        train: &TrainRecipe,
        (step, lr): (u64, f32),
        grads: &[f32],
        norm: f64,
    ) {
        let scale = match train.clip {
            // As PyTorch clips, which keeps a little distance from dividing by zero.
            clip if clip > 0.0 => (f64::from(clip) / (norm + 1e-6)).min(1.0) as f32,
            _ => 1.0,
        };
        for (parameter, range) in layout.iter() {
            let rule = AdamW {
                lr,
                betas: train.betas,
                eps: train.eps,
                weight_decay: match Params::decays(parameter.role) {
                    true => train.weight_decay,
                    false => 0.0,
                },
                step,
            };
            let (params, grads) = (&mut self.params[range.clone()], &grads[range.clone()]);
            let first = &mut self.first[range.clone()];
            adamw(
                cx,
                &rule,
                params,
                grads,
                first,
                &mut self.second[range],
                scale,
            );
        }
    }
}

/// Length of a gradient.
#[must_use]
pub fn norm(cx: &Compute, grads: &[f32]) -> f64 {
    sum_squares(cx, grads).sqrt()
}
