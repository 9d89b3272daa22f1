//! Jobs, and the order in which they are done.

use crate::machine;
use crate::record::{Machine, Point};
use std::sync::Arc;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Ten minutes in all on two cores.
    Quick,
    /// Everything.
    Full,
}

impl Scale {
    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }
}

/// Who is told how far a job is, from 0 to 1, and what it does.
pub type Progress = Box<dyn Fn(f64, &str) + Send + Sync>;

/// What every job is given.
pub struct Context {
    /// Code path and threads.
    pub cx: Arc<sillage_kernels::Compute>,
    /// Quick or full.
    pub scale: Scale,
    /// Base seed; jobs derive their own.
    pub seed: u64,
    /// Folder for models and data that jobs make and may find again.
    pub work: std::path::PathBuf,
    /// The machine.
    pub machine: Machine,
    /// As [`Options::program`](crate::Options::program) says.
    pub program: Option<std::path::PathBuf>,
    /// Tells a person how far a job is: fraction done, and a few words.
    pub progress: Progress,
}

impl Context {
    /// Whether so many bytes can be had beside what this process holds already,
    /// with some left for the system.
    ///
    /// # Errors
    /// The reason for a marked gap: "needs 9.4 GiB, 7.1 GiB are free".
    pub fn fits(&self, bytes: u64) -> Result<(), String> {
        match machine::free_memory() {
            Some(free) => fits(bytes, free, machine::total_memory().unwrap_or(free)),
            // Where the system does not tell, it may be tried.
            None => Ok(()),
        }
    }

    /// [`seed_for`] this run's base seed.
    #[must_use]
    pub fn seed_for(&self, name: &str) -> u64 {
        seed_for(self.seed, name)
    }
}

/// A seed of its own for whatever is called `name`: the same in every run with the same base seed,
/// whatever else is run.
#[must_use]
pub fn seed_for(base: u64, name: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&base.to_le_bytes());
    hasher.update(name.as_bytes());
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}

/// A twentieth of the machine, a gibibyte at most, stays free.
fn fits(bytes: u64, free: u64, total: u64) -> Result<(), String> {
    let reserve = (total / 20).min(1 << 30);
    if bytes.saturating_add(reserve) <= free {
        return Ok(());
    }
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    Err(format!(
        "needs {:.1} GiB, {:.1} GiB are free",
        gib(bytes.saturating_add(reserve)),
        gib(free)
    ))
}

/// What a job does.
pub type Run = Box<dyn Fn(&Context) -> Result<Vec<Point>, crate::LabError> + Send + Sync>;

/// A piece of a measure that is done as a whole or not at all.
pub struct Job {
    /// Unique within the measure and stable between versions while the
    /// job's configuration is the same; a finished job is not done again.
    pub id: String,
    /// Seconds it takes on two cores of a common laptop, roughly.
    pub estimate: f64,
    /// Does it.
    pub run: Run,
}

/// A measure: what it asks, and its jobs.
pub trait Measure {
    /// The subcommand, such as `recall`.
    fn name(&self) -> &'static str;
    /// What it asks, in one sentence.
    fn question(&self) -> &'static str;
    /// Its jobs, in the order in which they are best done.
    ///
    /// # Errors
    /// A mismatch between sides that are to be compared, and anything missing.
    fn jobs(&self, scale: Scale) -> Result<Vec<Job>, crate::LabError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_not_there_is_a_gap() {
        let gib = 1 << 30;
        assert_eq!(fits(7 * gib, 8 * gib, 16 * gib), Ok(()));
        let reason = fits(9 * gib, 8 * gib, 16 * gib).unwrap_err();
        assert_eq!(reason, "needs 9.8 GiB, 8.0 GiB are free");
        assert!(fits(u64::MAX, 8 * gib, 16 * gib).is_err());
    }
}
