//! Copying and look-up, trained on short sequences and tested on longer ones: strings and shuffled
//! strings (Jelassi and others 2024), a phonebook, selective copying and induction heads (Gu and Dao
//! 2023), and a needle in prose by its depth.

use super::{Budget, Exam, Kind, Lesson, Shape};
use crate::error::LabError;
use crate::plan::{Job, Measure, Scale};
use crate::record::{Better, Point};
use sillage_train::TrainError;
use sillage_train::recipe::task as parsed;
use sillage_train::tasks::{NeedleConfig, TaskConfig};
use std::path::{Path, PathBuf};

/// The measure.
pub struct Copy;

/// Bytes of prose in which needles hide; what ships with the program, so that nothing is downloaded.
const PROSE: &str = include_str!("../../../../../benches/prose.txt");

/// A task: its name in points, its settings, the length it is trained at and those it is tested at.
struct Plan {
    name: &'static str,
    settings: &'static str,
    trained: usize,
    tested: &'static [usize],
    batch: usize,
}

/// Steps in the full form.
const STEPS: u64 = 1500;

const PLANS: [Plan; 6] = [
    Plan {
        name: "copy",
        settings: "name = \"copy\"\nmax_length = 50\nscore_end = false\n",
        trained: 50,
        tested: &[25, 50, 75, 100, 200, 400, 1000],
        batch: 64,
    },
    Plan {
        name: "shuffled-copy",
        settings: "name = \"shuffled-copy\"\nvariant = \"permutation\"\nletters = 1000\nmin_length = 1\n\
                   max_length = 50\nscore_end = false\n",
        trained: 50,
        tested: &[25, 50, 75, 100, 200, 400, 1000],
        batch: 64,
    },
    Plan {
        name: "phonebook",
        settings: "name = \"phonebook\"\nmin_entries = 4\nmax_entries = 20\n",
        trained: 20,
        tested: &[5, 10, 20, 40, 80],
        batch: 32,
    },
    Plan {
        name: "selective-copy",
        settings: "name = \"selective-copy\"\nlength = 256\n",
        trained: 256,
        tested: &[256, 512, 1024, 4096],
        batch: 32,
    },
    Plan {
        name: "induction",
        settings: "name = \"induction\"\nlength = 256\n",
        trained: 256,
        tested: &[64, 256, 1024, 4096, 16_384, 65_536],
        batch: 32,
    },
    Plan {
        name: "needle",
        settings: "",
        trained: 256,
        tested: &[128, 256, 512, 1024, 4096],
        batch: 32,
    },
];

const KINDS: [Kind; 5] = [
    Kind::Attention,
    Kind::Bare,
    Kind::Mamba,
    Kind::Mamba2,
    Kind::Hybrid,
];
/// Places in the prose at which needles are hidden in tests.
const DEPTHS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

impl Measure for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn question(&self) -> &'static str {
        "Can a model repeat and look up what it has read, and further than it was trained?"
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
    let quick = [Kind::Attention, Kind::Mamba2];
    let (plans, kinds, seeds): (&[Plan], &[Kind], u64) = match scale {
        Scale::Quick => (&PLANS[..1], &quick, 1),
        Scale::Full => (&PLANS, &KINDS, 3),
    };
    let mut lessons = Vec::new();
    for seed in 0..seeds {
        for plan in plans {
            for &kind in kinds {
                lessons.push(lesson(plan, kind, seed, scale)?);
            }
        }
    }
    Ok(lessons)
}

/// Needles: "the key is" and digits in the bytes of prose, asked for at the end.
fn needle(length: usize, (min_depth, max_depth): (f64, f64)) -> TaskConfig {
    let bytes = |text: &str| text.bytes().map(u32::from).collect::<Vec<_>>();
    TaskConfig::Needle(NeedleConfig {
        corpus: CORPUS.into(),
        vocab: 256,
        length,
        before: bytes(" [the key is "),
        after: bytes("] "),
        question: bytes(" [the key is "),
        symbols: bytes("0123456789"),
        digits: 4,
        min_depth,
        max_depth,
    })
}

/// What the prose is called as the file of 16-bit numbers that the task reads.
const CORPUS: &str = "prose.u16";

/// A task whose corpus, if it reads one, lies in `work`; it is written if it does not.
///
/// # Errors
/// If it cannot be written.
pub fn settled(task: &TaskConfig, work: &Path) -> Result<TaskConfig, LabError> {
    let mut task = task.clone();
    let TaskConfig::Needle(needle) = &mut task else {
        return Ok(task);
    };
    if needle.corpus == Path::new(CORPUS) {
        needle.corpus = corpus(work)?;
    }
    Ok(task)
}

fn corpus(work: &Path) -> Result<PathBuf, LabError> {
    let path = work.join(CORPUS);
    if !path.exists() {
        let bytes: Vec<u8> = PROSE
            .bytes()
            .flat_map(|b| u16::from(b).to_le_bytes())
            .collect();
        sillage_train::files::write(&path, &bytes)?;
    }
    Ok(path)
}

fn shape(scale: Scale) -> Shape {
    Shape {
        width: 64,
        layers: 2,
        d_state: if scale == Scale::Quick { 32 } else { 64 },
        head: 32,
        conv: true,
    }
}

fn lesson(plan: &Plan, kind: Kind, seed: u64, scale: Scale) -> Result<Lesson, LabError> {
    let quick = scale == Scale::Quick;
    let budget = Budget {
        steps: if quick { 400 } else { STEPS },
        batch: if quick { 32 } else { plan.batch },
        rates: if quick { vec![5e-3] } else { vec![5e-3, 2e-3] },
        enough: 0.999,
    };
    let length = if plan.trained < 64 {
        2 * plan.trained
    } else {
        plan.trained
    };
    let tokens = budget.steps as f64 * (budget.batch * length) as f64;
    let rate = if quick { 90e3 } else { 130e3 };
    let (task, vocab) = match plan.name {
        "needle" => (needle(plan.trained, (0.0, 1.0)), 256),
        _ => {
            let task = parsed(plan.settings)?;
            let vocab = task.build().map_err(TrainError::from)?.vocab();
            (task, vocab)
        }
    };
    Ok(Lesson {
        measure: "copy",
        id: format!("{} {} seed {seed}", plan.name, kind.series()),
        estimate: budget.rates.len() as f64 * tokens / rate + if quick { 3.0 } else { 20.0 },
        seed,
        model: shape(scale).model(kind, vocab)?,
        exams: exams(plan, kind, &task),
        task,
        budget,
        trained: plan.trained.into(),
    })
}

fn exams(plan: &Plan, kind: Kind, task: &TaskConfig) -> Vec<Exam> {
    let mut exams = Vec::new();
    for &length in plan.tested {
        // A long test costs as much as many short ones.
        let samples = (262_144 / length.max(64)).clamp(8, 128);
        let point = Point::new("copy", "accuracy", kind.series(), "", Better::Higher)
            .at("task", plan.name)
            .at("length", length);
        let exam = |name: String, task, samples, point| Exam {
            task,
            samples,
            name,
            point,
            scaled: false,
        };
        if plan.name != "needle" {
            let name = format!("{} {length}", plan.name);
            exams.push(exam(name, task.at_length(length), samples, point));
            continue;
        }
        for depth in DEPTHS {
            let (task, name) = (
                needle(length, (depth, depth)),
                format!("needle {length} {depth}"),
            );
            exams.push(exam(
                name,
                task,
                samples.min(32),
                point.clone().at("depth", depth),
            ));
        }
    }
    exams
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_settings_are_tasks_and_can_be_tested_longer() {
        for plan in PLANS.iter().filter(|plan| plan.name != "needle") {
            let task = parsed(plan.settings).unwrap();
            let vocab = task.build().unwrap().vocab();
            for kind in KINDS {
                let model = shape(Scale::Full).model(kind, vocab);
                assert!(model.is_ok(), "{} {}", plan.name, kind.series());
            }
            for &length in plan.tested {
                let test = task.at_length(length).build().unwrap();
                assert_eq!(test.vocab(), task.build().unwrap().vocab(), "{}", plan.name);
                assert!(test.sample(1, 2).tokens.len() >= length);
            }
        }
        assert_eq!(Copy.jobs(Scale::Full).unwrap().len(), 3 * 6 * 5);
    }
}
