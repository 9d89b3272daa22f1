//! Copying and look-up, trained on short sequences and tested on longer ones: strings and shuffled
//! strings (Jelassi and others 2024), a phonebook, selective copying and induction heads (Gu and Dao
//! 2023), and a needle in prose by its depth.

use super::{Best, Budget, Kind, Shape, answers, best, recipe};
use crate::error::LabError;
use crate::plan::{Context, Job, Measure, Scale};
use crate::record::{Better, Point};
use sillage_train::TrainError;
use sillage_train::recipe::task as parsed;
use sillage_train::tasks::TaskConfig;
use std::path::Path;

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
        let quick = [Kind::Attention, Kind::Mamba2];
        let (plans, kinds, seeds): (&[Plan], &[Kind], u64) = match scale {
            Scale::Quick => (&PLANS[..1], &quick, 1),
            Scale::Full => (&PLANS, &KINDS, 3),
        };
        let mut jobs = Vec::new();
        for seed in 0..seeds {
            for plan in plans {
                for &kind in kinds {
                    jobs.push(job(plan, kind, seed, scale));
                }
            }
        }
        Ok(jobs)
    }
}

/// Needles: "the key is" and digits in the bytes of prose, asked for at the end.
fn needle(corpus: &Path, length: usize, depths: (f64, f64)) -> Result<TaskConfig, LabError> {
    let bytes = |text: &str| serde_json::json!(text.bytes().collect::<Vec<_>>()).to_string();
    let text = format!(
        "name = \"needle\"\ncorpus = {:?}\nvocab = 256\nlength = {length}\nbefore = {}\nafter = {}\n\
         question = {}\nsymbols = {}\ndigits = 4\nmin_depth = {:.2}\nmax_depth = {:.2}\n",
        corpus.display().to_string(),
        bytes(" [the key is "),
        bytes("] "),
        bytes(" [the key is "),
        bytes("0123456789"),
        depths.0,
        depths.1
    );
    Ok(parsed(&text)?)
}

/// The prose as the file of 16-bit numbers that the task reads.
fn corpus(ctx: &Context) -> Result<std::path::PathBuf, LabError> {
    let path = ctx.work.join("prose.u16");
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

fn job(plan: &'static Plan, kind: Kind, seed: u64, scale: Scale) -> Job {
    let quick = scale == Scale::Quick;
    let shape = shape(scale);
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
    Job {
        id: format!("{} {} seed {seed}", plan.name, kind.series()),
        estimate: budget.rates.len() as f64 * tokens / rate + if quick { 3.0 } else { 20.0 },
        run: Box::new(move |ctx| run(ctx, plan, kind, seed, shape, &budget)),
    }
}

fn run(
    ctx: &Context,
    plan: &Plan,
    kind: Kind,
    seed: u64,
    shape: Shape,
    budget: &Budget,
) -> Result<Vec<Point>, LabError> {
    let is_needle = plan.name == "needle";
    let train = match is_needle {
        true => needle(&corpus(ctx)?, plan.trained, (0.0, 1.0))?,
        false => parsed(plan.settings)?,
    };
    let vocab = train.build().map_err(TrainError::from)?.vocab();
    let model = shape.model(kind, vocab)?;
    let label = format!("{} {}", plan.name, kind.series());
    let from = ctx.seed.wrapping_add(seed);
    let make = |lr| recipe(&label, from, model.clone(), &train, budget, lr);
    let Best { trainer, tried, .. } = best(ctx, budget, &make)?;
    let config = serde_json::json!({
        "trained": plan.trained, "seed": from, "recipe": trainer.recipe(), "rates": tried, "steps": trainer.progress().step,
        "used": trainer.progress().used,
    });
    let point = |length: usize| {
        Point::new("copy", "accuracy", kind.series(), "", Better::Higher)
            .at("task", plan.name)
            .at("length", length)
            .at("seed", from)
            .config(config.clone())
    };
    let mut points = Vec::new();
    for &length in plan.tested {
        // A long test costs as much as many short ones.
        let samples = (262_144 / length.max(64)).clamp(8, 128);
        if !is_needle {
            let test = train.at_length(length);
            let seed = ctx.seed_for(&format!("{} {length}", plan.name));
            let right = answers(&ctx.cx, &trainer, &test, samples, seed)?;
            points.push(point(length).samples(right));
            continue;
        }
        for depth in DEPTHS {
            let test = needle(&corpus(ctx)?, length, (depth, depth))?;
            let seed = ctx.seed_for(&format!("needle {length} {depth}"));
            let right = answers(&ctx.cx, &trainer, &test, samples.min(32), seed)?;
            points.push(point(length).at("depth", depth).samples(right));
        }
    }
    Ok(points)
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
