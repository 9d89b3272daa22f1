//! State tracking: parity, modular arithmetic with and without brackets, and the word problems of S3
//! and S5, trained on short sequences and tested on longer ones (Delétang and others 2022; Merrill and
//! others 2024; Grazzi and others 2024, whose Mamba-2 reached .9, 47.8 and .9 % on the first three).

use super::{Budget, Exam, Kind, Lesson, Shape};
use crate::error::LabError;
use crate::plan::{Job, Measure, Scale};
use crate::record::{Better, Point};
use sillage_train::TrainError;
use sillage_train::tasks::TaskConfig;

/// The measure.
pub struct Track;

/// Longest sequence in training.
pub const TRAINED: usize = 40;

const KINDS: [Kind; 4] = [Kind::Attention, Kind::Mamba, Kind::Mamba2, Kind::Hybrid];

/// The tasks by their names in points.
const TASKS: [&str; 5] = ["parity", "modular", "modular-brackets", "s3", "s5"];

impl Measure for Track {
    fn name(&self) -> &'static str {
        "track"
    }

    fn question(&self) -> &'static str {
        "Can a model keep count of a changing state, and further than it was trained?"
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
    let (tasks, kinds, seeds): (&[&str], &[Kind], u64) = match scale {
        Scale::Quick => (&["parity", "s3"], &[Kind::Attention, Kind::Mamba2], 1),
        Scale::Full => (&TASKS, &KINDS, 3),
    };
    let mut lessons = Vec::new();
    for seed in 0..seeds {
        for &task in tasks {
            for &kind in kinds {
                lessons.push(lesson(task, kind, seed, scale)?);
            }
        }
    }
    Ok(lessons)
}

/// A task with sequences from 3 up to `longest`.
fn task(name: &str, shortest: usize, longest: usize) -> Result<TaskConfig, LabError> {
    let text = match name {
        "parity" => "name = \"parity\"".to_owned(),
        "modular" => "name = \"modular-arithmetic\"\nbrackets = false".to_owned(),
        "modular-brackets" => "name = \"modular-arithmetic\"\nbrackets = true".to_owned(),
        "s3" => "name = \"symmetric-group\"\nn = 3".to_owned(),
        _ => "name = \"symmetric-group\"\nn = 5".to_owned(),
    };
    let text = format!("{text}\nmin_length = {shortest}\nmax_length = {longest}\n");
    Ok(sillage_train::recipe::task(&text)?)
}

fn shape(scale: Scale) -> (Shape, Budget, Vec<usize>) {
    let shape = Shape {
        width: 64,
        layers: 2,
        d_state: 32,
        head: 32,
        conv: true,
    };
    let (steps, batch) = match scale {
        Scale::Quick => (300, 64),
        Scale::Full => (2000, 128),
    };
    let budget = Budget {
        steps,
        batch,
        rates: match scale {
            Scale::Quick => vec![5e-3],
            Scale::Full => vec![3e-3, 1e-3],
        },
        enough: 0.999,
    };
    let lengths = match scale {
        Scale::Quick => vec![40, 128],
        Scale::Full => vec![20, 40, 64, 96, 128, 192, 256],
    };
    (shape, budget, lengths)
}

fn lesson(name: &str, kind: Kind, seed: u64, scale: Scale) -> Result<Lesson, LabError> {
    let (shape, budget, lengths) = shape(scale);
    let shortest = if name == "modular-brackets" { 5 } else { 3 };
    let train = task(name, shortest, TRAINED)?;
    let vocab = train.build().map_err(TrainError::from)?.vocab();
    let tokens = budget.steps as f64 * budget.batch as f64 * (TRAINED / 2) as f64;
    let exam = |&length: &usize| {
        // Expressions have odd lengths where they have no brackets.
        let exact = length - usize::from(name == "modular" && length.is_multiple_of(2));
        let point = Point::new("track", "accuracy", kind.series(), "", Better::Higher);
        Ok(Exam {
            task: task(name, exact, exact)?,
            samples: 256,
            name: format!("{name} {length}"),
            point: point.at("task", name).at("length", length),
            scaled: true,
        })
    };
    Ok(Lesson {
        measure: "track",
        id: format!("{name} {} seed {seed}", kind.series()),
        estimate: budget.rates.len() as f64 * tokens / 120e3,
        seed,
        model: shape.model(kind, vocab)?,
        task: train,
        exams: lengths.iter().map(exam).collect::<Result<_, LabError>>()?,
        budget,
        trained: TRAINED.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_jobs_can_be_planned() {
        assert_eq!(Track.jobs(Scale::Quick).unwrap().len(), 4);
        assert_eq!(Track.jobs(Scale::Full).unwrap().len(), 3 * 5 * 4);
    }
}
