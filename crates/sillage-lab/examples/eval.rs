//! Evaluates a checkpoint and prints its scores as JSON, every question's
//! included.
//!
//! ```text
//! cargo run --release -p sillage-lab --example eval -- MODEL REQUESTS LIMIT [TASK ...]
//! ```

use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use sillage_lab::LabError;
use sillage_lab::measures::eval::{Scorer, Wanted, evaluate};
use sillage_models::{LoadOptions, Model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [model, requests, limit, tasks @ ..] = words.as_slice() else {
        let usage =
            "give a model, the folder of the requests, a limit (0: none), and perhaps tasks";
        return Err(LabError::Failed(usage.into()).into());
    };
    let limit: usize = limit.parse()?;
    let wanted = Wanted {
        model: model.into(),
        requests: requests.into(),
        tasks: tasks.to_vec(),
        limit: Some(limit).filter(|limit| *limit > 0),
    };
    let cx = Compute::new(std::thread::available_parallelism()?.get());
    let checkpoint = Checkpoint::open(&wanted.model)?;
    let model = Model::load(&checkpoint, &LoadOptions::default())?;
    let scorer = Scorer::new(&cx, &model, &checkpoint)?;
    let mut scores = Vec::new();
    for task in wanted.tasks()? {
        let said = |share: f64| eprint!("\r{} {:3.0} % ", task.name, 100.0 * share);
        scores.push(evaluate(&scorer, &wanted, task, &said)?);
    }
    println!("{}", serde_json::to_string(&scores)?);
    Ok(())
}
