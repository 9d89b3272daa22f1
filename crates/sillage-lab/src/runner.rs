//! Runs jobs, one after the other, and keeps what they give.
//!
//! A job's points reach the disk in one write before the next job begins, so a
//! kill costs the job that was running and nothing else. A job that fails or
//! panics leaves a marked gap, and the run goes on; a file that cannot be
//! written ends it, since going on would measure for nothing.

use crate::config::Options;
use crate::error::LabError;
use crate::files::RunFile;
use crate::machine::{self, Others};
use crate::plan::{Context, Job, Measure, Scale};
use crate::record::{Better, FAILED, Machine, Outcome, PLAN, Point};
use sillage_kernels::Compute;
use std::any::Any;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// A job in the middle of which the program ended this often is not begun again:
/// most likely the system kills it for the memory that it takes.
const BROKEN_OFF: usize = 3;

/// Multiply-adds a second of [`speed`]'s loop on the two laptop cores that
/// estimates are for: four at once, three billion times a second, on each.
const REFERENCE: f64 = 2.4e10;

/// What a run tells while it goes on.
#[derive(Debug)]
pub enum Event<'a> {
    /// Before anything is measured.
    Planned {
        /// Where points are written.
        file: &'a Path,
        /// Whether the file was begun earlier.
        resumed: bool,
        /// Jobs in all.
        jobs: usize,
        /// Those whose points are in the file already.
        finished: usize,
        /// How long the others will take, in seconds.
        left: f64,
    },
    /// A measure cannot be done.
    Refused {
        /// The measure.
        measure: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// A job begins.
    Begin {
        /// Its measure.
        measure: &'a str,
        /// Its name.
        job: &'a str,
        /// Its place, from 1.
        number: usize,
        /// Jobs in all.
        jobs: usize,
        /// Seconds until the end of the run.
        left: f64,
    },
    /// How far the job is.
    Progress {
        /// From 0 to 1.
        fraction: f64,
        /// What it is doing.
        words: &'a str,
    },
    /// A job is done and its points are safe.
    End {
        /// Its measure.
        measure: &'a str,
        /// Its name.
        job: &'a str,
        /// Points measured.
        points: usize,
        /// Points that are gaps.
        gaps: usize,
        /// Seconds that it took.
        seconds: f64,
    },
    /// A job failed; the gap is marked and the run goes on.
    Failed {
        /// Its measure.
        measure: &'a str,
        /// Its name.
        job: &'a str,
        /// Why.
        reason: &'a str,
    },
}

/// Who is told; from any thread.
pub type Watch = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// What became of a run.
#[derive(Debug, Default)]
pub struct Summary {
    /// The file.
    pub file: PathBuf,
    /// Jobs done now.
    pub done: usize,
    /// Jobs found done.
    pub skipped: usize,
    /// Measure, job and reason of what failed now.
    pub failed: Vec<(String, String, String)>,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

/// A job of a measure.
pub struct Planned {
    /// The measure.
    pub measure: &'static str,
    /// The job.
    pub job: Job,
}

/// What is to be done.
#[derive(Default)]
pub struct Plan {
    /// The jobs, in order.
    pub jobs: Vec<Planned>,
    /// Measures that cannot be done, and why.
    pub refused: Vec<(&'static str, String)>,
}

impl Plan {
    /// Asks measures for their jobs.
    ///
    /// # Errors
    /// None of the measures can be done, or two jobs of one have the same name.
    pub fn of(measures: &[Box<dyn Measure>], scale: Scale) -> Result<Self, LabError> {
        let mut plan = Self::default();
        let mut last_refusal = None;
        for measure in measures {
            let jobs = match measure.jobs(scale) {
                Ok(jobs) => jobs,
                Err(error) => {
                    plan.refused.push((measure.name(), error.to_string()));
                    last_refusal = Some(error);
                    continue;
                }
            };
            let mut names = HashSet::new();
            for job in jobs {
                if !names.insert(job.id.clone()) || job.id == PLAN || job.id.is_empty() {
                    return Err(LabError::Failed(format!(
                        "{} plans a job `{}` twice, or under a name that is taken; this is a fault of Sillage",
                        measure.name(),
                        job.id
                    )));
                }
                plan.jobs.push(Planned {
                    measure: measure.name(),
                    job,
                });
            }
        }
        match last_refusal {
            Some(error) if plan.jobs.is_empty() => Err(error),
            _ => Ok(plan),
        }
    }
}

/// Runs the measures' jobs at the options' scale, without those that the run's
/// file has already. `stop` ends it after the job that is running.
///
/// `named` is a file to go on in; without it, one is found or begun in
/// [`Options::out`].
///
/// # Errors
/// Options that make no sense, a file that cannot be written or is of another
/// run, or a full disk. What was finished before is in the file.
pub fn run(
    options: &Options,
    named: Option<&Path>,
    measures: &[Box<dyn Measure>],
    stop: &AtomicBool,
    watch: Watch,
) -> Result<Summary, LabError> {
    options.check()?;
    let plan = Plan::of(measures, options.scale)?;
    std::fs::create_dir_all(&options.work).map_err(|e| LabError::io(&options.work, e))?;
    let cx = Arc::new(Compute::new(options.threads));
    let machine = Machine::here(&cx);
    let mut file = RunFile::open(options, named, &machine)?;
    let todo: Vec<bool> = plan
        .jobs
        .iter()
        .map(
            |planned| match file.finished(planned.measure, &planned.job.id) {
                None => true,
                Some(failed) => failed && options.retry,
            },
        )
        .collect();
    let mut clock = Clock::new(&plan, &todo, &cx);
    let mut summary = Summary {
        file: file.path().into(),
        skipped: todo.iter().filter(|todo| !**todo).count(),
        ..Summary::default()
    };
    watch(&Event::Planned {
        file: file.path(),
        resumed: file.resumed,
        jobs: plan.jobs.len(),
        finished: summary.skipped,
        left: clock.left(),
    });
    let told = Arc::clone(&watch);
    let context = Context {
        cx,
        scale: options.scale,
        seed: options.seed,
        work: options.work.clone(),
        machine,
        program: options.program.clone(),
        progress: Box::new(move |fraction, words| {
            let fraction = fraction.clamp(0.0, 1.0);
            told(&Event::Progress { fraction, words });
        }),
    };
    refuse(&plan, &mut file, &context, &mut summary, &watch)?;
    for (index, planned) in plan.jobs.iter().enumerate().filter(|(i, _)| todo[*i]) {
        if stop.load(Ordering::SeqCst) {
            summary.stopped = true;
            return Ok(summary);
        }
        watch(&Event::Begin {
            measure: planned.measure,
            job: &planned.job.id,
            number: index + 1,
            jobs: plan.jobs.len(),
            left: clock.left(),
        });
        let start = Instant::now();
        one(planned, options, &mut file, &context, &mut summary, &watch)?;
        clock.took(planned.job.estimate, start.elapsed().as_secs_f64());
    }
    file.end()?;
    Ok(summary)
}

/// Marks the measures that could not be planned.
fn refuse(
    plan: &Plan,
    file: &mut RunFile,
    context: &Context,
    summary: &mut Summary,
    watch: &Watch,
) -> Result<(), LabError> {
    for (measure, reason) in &plan.refused {
        watch(&Event::Refused { measure, reason });
        if file.finished(measure, PLAN).is_none() {
            let mut points = vec![gap(measure, measure, reason)];
            stamp(&mut points, measure, PLAN, &context.machine, 0.0, None);
            file.finish(measure, PLAN, points)?;
        }
        let failure = ((*measure).to_owned(), PLAN.to_owned(), reason.clone());
        summary.failed.push(failure);
    }
    Ok(())
}

/// Does one job and writes what it gave.
fn one(
    planned: &Planned,
    options: &Options,
    file: &mut RunFile,
    context: &Context,
    summary: &mut Summary,
    watch: &Watch,
) -> Result<(), LabError> {
    let (measure, job) = (planned.measure, planned.job.id.as_str());
    let broken_off = file.broken_off(measure, job);
    let others = Others::watch();
    let start = Instant::now();
    let given = if broken_off >= BROKEN_OFF && !options.retry {
        Err(format!(
            "the program was ended {broken_off} times in the middle of this job (killed, or out of memory); --retry begins it once more"
        ))
    } else {
        file.begin(measure, job)?;
        attempt(&planned.job, context)?
    };
    let seconds = start.elapsed().as_secs_f64();
    let busy = others.and_then(|others| others.cores());
    let mut points = match &given {
        Ok(points) => points.clone(),
        Err(reason) => vec![gap(measure, job, reason)],
    };
    stamp(&mut points, measure, job, &context.machine, seconds, busy);
    let gaps = points.iter().filter(|p| p.measured().is_none()).count();
    let measured = points.len() - gaps;
    file.finish(measure, job, points)?;
    match given {
        Ok(_) => {
            summary.done += 1;
            watch(&Event::End {
                measure,
                job,
                points: measured,
                gaps,
                seconds,
            });
        }
        Err(reason) => {
            watch(&Event::Failed {
                measure,
                job,
                reason: &reason,
            });
            let failure = (measure.to_owned(), job.to_owned(), reason);
            summary.failed.push(failure);
        }
    }
    Ok(())
}

/// The points of a job, or why there are none. An error only where every other
/// job would meet it too.
fn attempt(job: &Job, context: &Context) -> Result<Result<Vec<Point>, String>, LabError> {
    Ok(
        match catch_unwind(AssertUnwindSafe(|| (job.run)(context))) {
            Ok(Ok(points)) if points.is_empty() => Err("it gave no points".into()),
            Ok(Ok(points)) => Ok(points),
            Ok(Err(LabError::Io { path, source })) if is_full(&source) => {
                return Err(LabError::Io { path, source });
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(format!("it panicked: {}", panic_words(&*panic))),
        },
    )
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem
    )
}

fn panic_words(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}

/// The point that stands for a job that failed.
fn gap(measure: &str, series: &str, reason: &str) -> Point {
    Point::new(measure, FAILED, series, "", Better::Higher).missing(reason)
}

/// Fills in what the runner knows, and turns samples that are no figures into
/// marked gaps.
fn stamp(
    points: &mut [Point],
    measure: &str,
    job: &str,
    machine: &Machine,
    seconds: f64,
    busy: Option<f64>,
) {
    let time = machine::now();
    for point in points {
        measure.clone_into(&mut point.measure);
        job.clone_into(&mut point.job);
        point.machine.clone_from(&machine.id);
        point.time.clone_from(&time);
        (point.seconds, point.busy) = (seconds, busy);
        let fault = match point.measured() {
            Some([]) => Some("no samples were taken".to_owned()),
            Some(samples) => samples
                .iter()
                .find(|x| !x.is_finite())
                .map(|x| format!("a sample is {x}, which is no figure")),
            None => None,
        };
        if let Some(reason) = fault {
            point.outcome = Outcome::Missing { reason };
        }
    }
}

/// How long is left: estimates, scaled by a look at this machine's speed, and
/// more and more by what jobs really took.
struct Clock {
    /// Estimates of what is not done yet, in seconds of the reference.
    left: f64,
    /// Seconds here for a second of an estimate, before any job is done.
    first_guess: f64,
    estimated: f64,
    taken: f64,
}

impl Clock {
    /// Seconds of estimates that the first guess weighs.
    const WEIGHT: f64 = 30.0;

    fn new(plan: &Plan, todo: &[bool], cx: &Compute) -> Self {
        let estimates = plan.jobs.iter().zip(todo).filter(|(_, todo)| **todo);
        let left = estimates.map(|(planned, _)| planned.job.estimate).sum();
        Self {
            left,
            // Nothing to do needs no look; little to do is not worth a second.
            first_guess: if left > 5.0 {
                REFERENCE / speed(cx)
            } else {
                1.0
            },
            estimated: 0.0,
            taken: 0.0,
        }
    }

    fn took(&mut self, estimate: f64, seconds: f64) {
        self.left = (self.left - estimate).max(0.0);
        self.estimated += estimate;
        self.taken += seconds;
    }

    fn left(&self) -> f64 {
        let scale =
            (Self::WEIGHT * self.first_guess + self.taken) / (Self::WEIGHT + self.estimated);
        self.left * scale
    }
}

/// Seconds that jobs of these estimates would take here, from one second of
/// multiply-adds on all threads.
#[must_use]
pub fn foretell(plan: &Plan, cx: &Compute) -> f64 {
    Clock::new(plan, &vec![true; plan.jobs.len()], cx).left()
}

/// Multiply-adds a second over all threads, measured for one second.
fn speed(cx: &Compute) -> f64 {
    const SIZE: usize = 4_096;
    let start = Instant::now();
    let done = AtomicU64::new(0);
    cx.pool.run(cx.pool.threads(), &|_| {
        let mut values = vec![1.0_f32; SIZE];
        let factors = vec![0.999_f32; SIZE];
        while start.elapsed().as_secs_f64() < 1.0 {
            for _ in 0..64 {
                for (value, factor) in values.iter_mut().zip(&factors) {
                    *value = *value * factor + 0.001;
                }
                std::hint::black_box(&mut values);
            }
            done.fetch_add(64 * SIZE as u64, Ordering::Relaxed);
        }
    });
    let rate = done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    rate.clamp(REFERENCE / 100.0, REFERENCE * 100.0)
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
