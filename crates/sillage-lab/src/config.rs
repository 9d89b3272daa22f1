//! What a run is asked for.

use crate::error::LabError;
use crate::plan::Scale;
use crate::record::Start;
use std::path::PathBuf;

/// The options of a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Quick or full.
    pub scale: Scale,
    /// Base seed of all jobs.
    pub seed: u64,
    /// Threads that compute.
    pub threads: usize,
    /// Folder for models and data that jobs make and may find again.
    pub work: PathBuf,
    /// Folder of the runs' files.
    pub out: PathBuf,
    /// Ends the names of new files, after the date; such as `recall`.
    pub name: Option<String>,
    /// What is measured, in the order of the report, and of what; a run with
    /// another list is another run.
    pub measures: Vec<String>,
    /// Begin a new file although an unfinished one could be gone on with.
    pub fresh: bool,
    /// Do jobs that failed in the newest run once more.
    pub retry: bool,
    /// The program that answers `lab probe WORDS` with
    /// [`probe`](crate::measures::scaling::probe), if there is one: memory is that of a
    /// process of its own.
    pub program: Option<PathBuf>,
}

impl Options {
    /// Looks for values that make no sense.
    ///
    /// # Errors
    /// What is wrong, and what is right.
    pub fn check(&self) -> Result<(), LabError> {
        if !(1..=1024).contains(&self.threads) {
            return Err(LabError::Failed(format!(
                "{} threads: give a number from 1 to 1024",
                self.threads
            )));
        }
        if self.fresh && self.retry {
            return Err(LabError::Failed(
                "a fresh run has nothing to try again: give either --fresh or --retry".into(),
            ));
        }
        Ok(())
    }

    /// How a run with these options is started.
    pub(crate) fn start(&self) -> Start {
        Start {
            seed: self.seed,
            threads: self.threads,
            scale: self.scale.name().into(),
            measures: self.measures.clone(),
            time: crate::machine::now(),
            load: crate::machine::load_average(),
        }
    }
}
