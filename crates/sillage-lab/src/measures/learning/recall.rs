//! Multi-query associative recall by the recipe of Zoology (Arora and others 2023): how many of a
//! sequence's key-value pairs a model can give back, against the size of its state.
//!
//! The published recipe (vocabulary of 8,192, tied embeddings, two layers, a short convolution before
//! attention without positions, sizes mixed in training, several learning rates) sees 180,000 examples
//! 32 times, which two cores do not do in a night. The full form here keeps the recipe and trains on
//! fewer examples, each seen once, ending where a side is right 996 times in 1,000; the quick form has a
//! vocabulary of 128 and four pairs as well. Every point carries what it was trained on, and only points
//! of the published vocabulary are set beside published figures.

use super::{Budget, Exam, Kind, Lesson, Shape};
use crate::error::LabError;
use crate::plan::{Job, Measure, Scale};
use crate::record::{Better, Point};
use sillage_train::tasks::{MqarConfig, TaskConfig};

/// The measure.
pub struct Recall;

/// Attention has no positions here, as in the recipe.
const KINDS: [Kind; 4] = [Kind::Bare, Kind::Mamba2, Kind::Hybrid, Kind::Mamba];
/// What sides are trained on: length, pairs, and how many samples for one of the last.
const TRAINED: [[usize; 3]; 5] = [
    [64, 4, 5],
    [128, 8, 1],
    [256, 16, 1],
    [256, 32, 1],
    [256, 64, 1],
];
/// Lengths and pairs that are tested, each by itself: those of the first recipe and of the later one.
const TESTED: [(usize, usize); 10] = [
    (64, 4),
    (64, 8),
    (64, 16),
    (128, 8),
    (128, 32),
    (256, 16),
    (256, 64),
    (512, 64),
    (512, 128),
    (1024, 256),
];

/// One cell of the plan.
#[derive(Debug, Clone)]
struct Cell {
    kind: Kind,
    shape: Shape,
    /// Sizes trained on.
    trained: &'static [[usize; 3]],
    /// Sizes tested.
    tested: &'static [(usize, usize)],
    vocab: usize,
    seed: u64,
    budget: Budget,
}

impl Measure for Recall {
    fn name(&self) -> &'static str {
        "recall"
    }

    fn question(&self) -> &'static str {
        "How much of what it has read can a model give back, and does a larger state help?"
    }

    fn jobs(&self, scale: Scale) -> Result<Vec<Job>, LabError> {
        let lessons = lessons(scale)?;
        Ok(lessons.into_iter().map(Lesson::job).collect())
    }
}

/// All sides' lessons.
///
/// # Errors
/// Sides that cannot be matched.
pub fn lessons(scale: Scale) -> Result<Vec<Lesson>, LabError> {
    cells(scale).iter().map(Cell::lesson).collect()
}

fn cells(scale: Scale) -> Vec<Cell> {
    let mut cells = Vec::new();
    let cell = |kind, width, d_state, seed| Cell {
        kind,
        shape: Shape {
            width,
            layers: 2,
            d_state,
            head: 32,
            conv: true,
        },
        trained: &TRAINED,
        tested: &TESTED,
        vocab: 8192,
        seed,
        budget: Budget {
            steps: if width > 64 { 1000 } else { 1500 },
            batch: 64,
            rates: vec![1e-2, 3e-3],
            enough: 0.996,
        },
    };
    if scale == Scale::Quick {
        for kind in KINDS {
            let mut quick = cell(kind, 64, 32, 0);
            quick.trained = &TRAINED[..1];
            quick.tested = &TESTED[..1];
            quick.vocab = 128;
            quick.budget.steps = 600;
            quick.budget.rates = vec![5e-3];
            cells.push(quick);
        }
        return cells;
    }
    for seed in 0..3 {
        cells.extend(KINDS.map(|kind| cell(kind, 64, 64, seed)));
        // The same model with states of 8, 33 and 65 thousand numbers; the one of 16 is above.
        for d_state in [32, 128, 256] {
            cells.push(cell(Kind::Mamba2, 64, d_state, seed));
        }
        let mut without = cell(Kind::Attention, 64, 64, seed);
        without.shape.conv = false;
        cells.push(without);
        for width in [128, 256] {
            cells.extend(KINDS.map(|kind| cell(kind, width, 64, seed)));
        }
    }
    cells
}

impl Cell {
    fn id(&self) -> String {
        format!(
            "{} width {} state {} vocabulary {} seed {}",
            self.series(),
            self.shape.width,
            self.shape.d_state,
            self.vocab,
            self.seed
        )
    }

    fn series(&self) -> &'static str {
        match (self.kind, self.shape.conv) {
            (Kind::Bare, true) => "attention",
            (Kind::Attention, false) => "attention, no convolution",
            (kind, _) => kind.series(),
        }
    }

    fn task(&self, (length, pairs): (usize, usize), mixture: &[[usize; 3]]) -> TaskConfig {
        TaskConfig::Mqar(MqarConfig {
            length,
            pairs,
            vocab: self.vocab,
            power_a: 0.01,
            random_non_queries: false,
            mixture: mixture.to_vec(),
        })
    }

    fn estimate(&self) -> f64 {
        let shares: usize = self.trained.iter().map(|size| size[2]).sum();
        let tokens: usize = self.trained.iter().map(|size| size[0] * size[2]).sum();
        let length = tokens as f64 / shares as f64;
        let tokens = self.budget.steps as f64 * self.budget.batch as f64 * length;
        let work = (self.shape.width as f64 / 64.0).powf(1.3);
        let rate = if self.vocab > 1024 { 90e3 } else { 200e3 };
        tokens * work / rate
    }

    fn lesson(&self) -> Result<Lesson, LabError> {
        let model = self.shape.model(self.kind, self.vocab)?;
        let (last, others) = match self.trained.split_last() {
            Some((&[length, pairs, _], others)) => ((length, pairs), others),
            None => ((0, 0), &[][..]),
        };
        let exam = |&(length, pairs): &(usize, usize)| Exam {
            task: self.task((length, pairs), &[]),
            samples: 256,
            name: format!("recall {length}/{pairs}"),
            point: Point::new("recall", "accuracy", self.series(), "", Better::Higher)
                .at("length", length)
                .at("pairs", pairs)
                .at("width", self.shape.width)
                .at("vocabulary", self.vocab)
                .at("state size", self.shape.state(&model, length)),
            scaled: false,
        };
        Ok(Lesson {
            measure: "recall",
            id: self.id(),
            estimate: self.estimate(),
            seed: self.seed,
            task: self.task(last, others),
            budget: self.budget.clone(),
            trained: serde_json::json!(self.trained),
            exams: self.tested.iter().map(exam).collect(),
            model,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_matched_and_named_once() {
        for scale in [Scale::Quick, Scale::Full] {
            let jobs = Recall.jobs(scale).unwrap();
            let ids: std::collections::BTreeSet<_> = jobs.iter().map(|j| &j.id).collect();
            assert_eq!(ids.len(), jobs.len());
        }
        assert_eq!(cells(Scale::Full).len(), 3 * (3 * 4 + 3 + 1));
    }
}
