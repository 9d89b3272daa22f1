//! Final norm, projection to logits, and the loss, in groups of rows so that the logits of a long
//! batch never lie in memory at once.

use super::linear::{Flat, FlatMut, Projection};
use super::{Batch, NormNet, Scores, sized};
use crate::params::Params;
use crate::tasks::UNSCORED;
use sillage_kernels::Compute;
use sillage_kernels::train::{Onto, cross_entropy, cross_entropy_forward};
use sillage_models::Description;

/// Logits that are in memory at once.
const LOGITS: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Head {
    norm: NormNet,
    projection: Projection,
    multiplier: f32,
    d_model: usize,
}

#[derive(Debug, Default)]
pub(super) struct HeadSpace {
    rows: Vec<f32>,
    normed: Vec<f32>,
    d_normed: Vec<f32>,
    d_rows: Vec<f32>,
    logits: Vec<f32>,
}

impl Head {
    pub(super) fn new(description: &Description, params: &Params) -> Self {
        let names = &description.names;
        let name = if description.tied {
            &names.embedding
        } else {
            &names.head
        };
        let at = name.strip_suffix(".weight").unwrap_or(name);
        let d_model = description.d_model;
        Head {
            norm: NormNet::new(description.final_norm, &names.final_norm, params),
            projection: Projection::one(params, at, description.vocab, d_model, false),
            multiplier: description.logits_multiplier,
            d_model,
        }
    }

    /// Which rows are scored, in groups.
    fn groups(&self, batch: &Batch) -> Vec<Vec<usize>> {
        let scored: Vec<usize> = (0..batch.targets.len())
            .filter(|&i| batch.targets[i] != UNSCORED)
            .collect();
        let size = (LOGITS / self.projection.width()).max(1);
        scored.chunks(size).map(<[usize]>::to_vec).collect()
    }

    pub(super) fn logits(&self, cx: &Compute, params: &[f32], stream: &[f32]) -> Vec<f32> {
        let d = self.d_model;
        let mut normed = vec![0.0; stream.len()];
        self.norm.forward(cx, params, stream, d, &mut normed);
        let mut logits = vec![0.0; stream.len() / d * self.projection.width()];
        let flat = Flat { params };
        self.projection
            .forward(cx, flat, &normed, d, &mut logits, Onto::Fresh);
        logits.iter_mut().for_each(|v| *v *= self.multiplier);
        logits
    }

    pub(super) fn score(
        &self,
        cx: &Compute,
        params: &[f32],
        batch: &Batch,
        stream: &[f32],
        space: &mut HeadSpace,
    ) -> Scores {
        let mut scores = Scores::default();
        for group in self.groups(batch) {
            let targets = self.fill(cx, params, batch, stream, &group, space);
            let (mut losses, mut correct) = (vec![0.0; group.len()], vec![false; group.len()]);
            let vocab = self.projection.width();
            let logits = &space.logits[..group.len() * vocab];
            cross_entropy_forward(cx, logits, vocab, &targets, &mut losses, &mut correct);
            scores.losses.extend(losses);
            scores.correct.extend(correct);
        }
        scores
    }

    /// Writes the gradient of the stream and adds those of the weights.
    pub(super) fn learn(
        &self,
        cx: &Compute,
        mut flat: FlatMut<'_>,
        batch: &Batch,
        scale: f32,
        stream: &[f32],
        d_stream: &mut [f32],
        space: &mut HeadSpace,
    ) -> Scores {
        let (d, vocab) = (self.d_model, self.projection.width());
        let mut scores = Scores::default();
        d_stream.fill(0.0);
        for group in self.groups(batch) {
            let targets = self.fill(cx, flat.params, batch, stream, &group, space);
            let len = group.len();
            let logits = &mut space.logits[..len * vocab];
            let mut losses = vec![0.0; len];
            cross_entropy(cx, logits, vocab, &targets, scale, &mut losses);
            scores.losses.extend(losses);
            if self.multiplier != 1.0 {
                logits.iter_mut().for_each(|v| *v *= self.multiplier);
            }
            let normed = &space.normed[..len * d];
            self.projection.learn(cx, &mut flat, normed, d, logits);
            let d_normed = sized(&mut space.d_normed, len * d);
            let params = Flat {
                params: flat.params,
            };
            self.projection
                .back(cx, params, logits, d_normed, d, Onto::Fresh);
            let d_rows = sized(&mut space.d_rows, len * d);
            d_rows.fill(0.0);
            let rows = &space.rows[..len * d];
            self.norm
                .backward(cx, flat.again(), rows, d, d_normed, d_rows);
            for (row, &i) in d_rows.chunks_exact(d).zip(&group) {
                d_stream[i * d..][..d].copy_from_slice(row);
            }
        }
        scores
    }

    /// Gathers the group's rows, norms them and makes their logits; gives their targets.
    fn fill(
        &self,
        cx: &Compute,
        params: &[f32],
        batch: &Batch,
        stream: &[f32],
        group: &[usize],
        space: &mut HeadSpace,
    ) -> Vec<u32> {
        let (d, len) = (self.d_model, group.len());
        let rows = sized(&mut space.rows, len * d);
        for (row, &i) in rows.chunks_exact_mut(d).zip(group) {
            row.copy_from_slice(&stream[i * d..][..d]);
        }
        let normed = sized(&mut space.normed, len * d);
        self.norm.forward(cx, params, rows, d, normed);
        let logits = sized(&mut space.logits, len * self.projection.width());
        let flat = Flat { params };
        self.projection
            .forward(cx, flat, normed, d, logits, Onto::Fresh);
        if self.multiplier != 1.0 {
            logits.iter_mut().for_each(|v| *v *= self.multiplier);
        }
        group.iter().map(|&i| batch.targets[i]).collect()
    }
}
