//! Where each tensor lies in one long row of numbers, and what it begins as.
//!
//! Parameters, gradients and the optimiser's moments are rows of the same layout, so that clipping,
//! saving and stepping are walks over slices.

use crate::error::TrainError;
use rand_pcg::Pcg64;
use rand_pcg::rand_core::Rng;
use sillage_formats::Checkpoint;
use sillage_models::{Description, Parameter, Role};
use std::collections::HashMap;
use std::ops::Range;

/// The layout.
#[derive(Debug)]
pub struct Params {
    list: Vec<(Parameter, Range<usize>)>,
    by_name: HashMap<String, usize>,
    len: usize,
}

impl Params {
    /// Of all tensors that `description` asks for.
    #[must_use]
    pub fn new(description: &Description) -> Self {
        let mut len = 0;
        let mut list = Vec::new();
        let mut by_name = HashMap::new();
        for parameter in description.parameters() {
            let range = len..len + parameter.len();
            len = range.end;
            by_name.insert(parameter.name.clone(), list.len());
            list.push((parameter, range));
        }
        Params { list, by_name, len }
    }

    /// Numbers in all tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// No tensors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every tensor and where it lies.
    pub fn iter(&self) -> impl Iterator<Item = (&Parameter, Range<usize>)> {
        self.list
            .iter()
            .map(|(parameter, range)| (parameter, range.clone()))
    }

    /// Where the tensor of this name lies.
    pub(crate) fn at(&self, name: &str) -> Range<usize> {
        match self.by_name.get(name) {
            Some(&i) => self.list[i].1.clone(),
            // Names come from the same description as the layout; an empty range fails a shape
            // check at the first use.
            None => 0..0,
        }
    }

    /// Whether weight decay applies: to matrices of projections and embeddings.
    #[must_use]
    pub fn decays(role: Role) -> bool {
        matches!(
            role,
            Role::Embedding
                | Role::Head
                | Role::Projection
                | Role::OutProjection
                | Role::DtProjection
        )
    }

    /// First values, from `seed`. The draws of a tensor depend on the seed and its place alone.
    #[must_use]
    pub fn initial(&self, description: &Description, seed: u64) -> Vec<f32> {
        let residuals = description.residuals.len().max(1) as f64;
        let mut values = vec![0.0; self.len];
        for (i, (parameter, range)) in self.list.iter().enumerate() {
            let mut draw = Draw::new(seed, i as u64);
            init(parameter, residuals, &mut values[range.clone()], &mut draw);
        }
        values
    }

    /// The values of a checkpoint.
    ///
    /// # Errors
    /// Tensors that are missing or misshapen, and anything that keeps the file from being read.
    pub fn load(&self, checkpoint: &Checkpoint) -> Result<Vec<f32>, TrainError> {
        let tensors = sillage_models::Tensors::new(checkpoint);
        let mut values = Vec::with_capacity(self.len);
        for (parameter, _) in &self.list {
            let role = "training";
            values.extend(tensors.values(&parameter.name, role, &parameter.shape)?);
        }
        Ok(values)
    }
}

/// What the blocks' authors begin with: projections uniform within one over the root of their width,
/// those onto the residual stream divided by the root of the number of residuals; step sizes between
/// a thousandth and a tenth (Gu and Dao 2023); rates from 1 to 16 per head (Mamba-2) or 1, 2, ...
/// per state (Mamba-1).
fn init(parameter: &Parameter, residuals: f64, values: &mut [f32], draw: &mut Draw) {
    let cols = parameter.shape.last().copied().unwrap_or(1).max(1);
    let bound = 1.0 / (cols as f64).sqrt();
    match parameter.role {
        Role::Embedding | Role::Head => draw.fill(values, |d| 0.02 * d.normal()),
        Role::Projection | Role::ConvWeight | Role::DtProjection => {
            draw.fill(values, |d| d.within(-bound, bound));
        }
        Role::OutProjection => {
            let bound = bound / residuals.sqrt();
            draw.fill(values, |d| d.within(-bound, bound));
        }
        Role::Bias | Role::NormBias | Role::ConvBias => values.fill(0.0),
        Role::NormWeight | Role::Skip => values.fill(1.0),
        Role::DtBias => draw.fill(values, |d| {
            let dt = d.within(1e-3f64.ln(), 0.1f64.ln()).exp().max(1e-4);
            // The softplus of this is dt.
            dt + (-(-dt).exp_m1()).ln()
        }),
        Role::Rates if parameter.shape.len() > 1 => {
            for (i, value) in values.iter_mut().enumerate() {
                *value = ((i % cols + 1) as f64).ln() as f32;
            }
        }
        Role::Rates => draw.fill(values, |d| d.within(1.0, 16.0).ln()),
    }
}

/// Numbers drawn for one tensor.
struct Draw(Pcg64);

impl Draw {
    fn new(seed: u64, stream: u64) -> Self {
        Draw(Pcg64::new(
            u128::from(seed) << 64 | 0x5117_a6e0,
            u128::from(stream),
        ))
    }

    fn fill(&mut self, values: &mut [f32], mut next: impl FnMut(&mut Self) -> f64) {
        for value in values {
            *value = next(self) as f32;
        }
    }

    /// From 0 up to, not with, 1.
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// By Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}
