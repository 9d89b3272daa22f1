//! A lesson: what a side is taught, with which budget, and what it is asked afterwards.
//!
//! The tasks of `recall`, `copy` and `track` are lessons. A lesson says all there is to say, so that
//! somebody else can teach it as well: `examples/lessons.rs` writes lessons out, and
//! `benches/lab/teach.py` teaches them to the same models with PyTorch on a GPU.

use super::{Best, Budget, GOOD, answers, best, copy, recipe};
use crate::error::LabError;
use crate::plan::{Context, Job};
use crate::record::Point;
use sillage_train::recipe::{ModelRecipe, Recipe};
use sillage_train::tasks::TaskConfig;
use sillage_train::{TrainError, Trainer, Validation};
use std::path::Path;
use std::sync::Arc;

/// One side's lesson.
#[derive(Debug, Clone)]
pub struct Lesson {
    /// Of which measure.
    pub measure: &'static str,
    /// The job's name, once in its measure.
    pub id: String,
    /// Seconds it takes on two cores, roughly.
    pub estimate: f64,
    /// Added to the run's base seed.
    pub seed: u64,
    /// Who learns.
    pub model: ModelRecipe,
    /// What.
    pub task: TaskConfig,
    /// How long.
    pub budget: Budget,
    /// The sizes trained on, as points tell them.
    pub trained: serde_json::Value,
    /// What is asked.
    pub exams: Vec<Exam>,
}

/// One question after a lesson, asked many times.
#[derive(Debug, Clone)]
pub struct Exam {
    /// What is asked.
    pub task: TaskConfig,
    /// How many samples.
    pub samples: usize,
    /// The samples' seed is drawn from this: sides that are compared are asked the same.
    pub name: String,
    /// Where the answers go.
    pub point: Point,
    /// Whether accuracy counts from what guessing gives.
    pub scaled: bool,
}

impl Lesson {
    /// Its model and task as a recipe at one learning rate. What the task reads lies in `work`.
    ///
    /// # Errors
    /// If it cannot be written there.
    pub fn recipe(&self, base: u64, work: &Path, lr: f32) -> Result<Recipe, LabError> {
        let (seed, task) = (
            base.wrapping_add(self.seed),
            copy::settled(&self.task, work)?,
        );
        Ok(recipe(
            &self.id,
            seed,
            self.model.clone(),
            &task,
            &self.budget,
            lr,
        ))
    }

    /// As a job.
    #[must_use]
    pub fn job(self) -> Job {
        Job {
            id: self.id.clone(),
            estimate: self.estimate,
            run: Box::new(move |ctx| self.run(ctx)),
        }
    }

    fn run(&self, ctx: &Context) -> Result<Vec<Point>, LabError> {
        let first = self.budget.rates.first().copied().unwrap_or_default();
        let at_first = self.recipe(ctx.seed, &ctx.work, first)?;
        let open = |lr| {
            let mut recipe = at_first.clone();
            recipe.train.lr = lr;
            Trainer::new(Arc::clone(&ctx.cx), recipe, None)
        };
        let accuracy = |said: &[Validation]| said.iter().map(|v| v.accuracy).fold(0.0, f64::max);
        let Best { trainer, tried } = best(ctx, &self.budget.rates, GOOD, &open, &accuracy)?;
        // One that diverged gets nothing right.
        let tried: Vec<_> = tried.iter().map(|(lr, a)| (lr, a.max(0.0))).collect();
        let config = serde_json::json!({
            "trained": self.trained, "seed": at_first.seed, "recipe": trainer.recipe(),
            "rates": tried, "steps": trainer.progress().step, "used": trainer.progress().used,
        });
        let asked = |exam: &Exam| {
            let task = copy::settled(&exam.task, &ctx.work)?;
            let seed = ctx.seed_for(&exam.name);
            let right = answers(&ctx.cx, &trainer, &task, exam.samples, seed)?;
            let samples = match exam.chance()? {
                Some(chance) => right
                    .iter()
                    .map(|a| (a - chance) / (1.0 - chance))
                    .collect(),
                None => right,
            };
            let point = exam.point.clone().at("seed", at_first.seed);
            Ok(point.samples(samples).config(config.clone()))
        };
        self.exams.iter().map(asked).collect()
    }
}

impl Exam {
    /// What guessing gives, where accuracy counts from it.
    ///
    /// # Errors
    /// If the task's values do not go together.
    pub fn chance(&self) -> Result<Option<f64>, LabError> {
        if !self.scaled {
            return Ok(None);
        }
        Ok(Some(self.task.build().map_err(TrainError::from)?.chance()))
    }
}

#[cfg(test)]
mod tests {
    use crate::measures::learning::{copy, lessons};
    use crate::measures::scaling::tests::context;
    use crate::plan::Scale;
    use std::collections::HashMap;

    #[test]
    fn a_lesson_is_taught_and_its_points_say_how() {
        let (context, _work) = context();
        let mut lesson = copy::lessons(Scale::Quick).unwrap().swap_remove(0);
        (lesson.budget.steps, lesson.budget.batch) = (2, 2);
        lesson.exams.truncate(1);
        lesson.exams[0].samples = 3;
        let points = (lesson.job().run)(&context).unwrap();
        assert_eq!(points.len(), 1);
        assert_eq!(points[0].measured().unwrap().len(), 3);
        assert_eq!(points[0].number("seed"), Some(context.seed as f64));
        assert_eq!(points[0].config["steps"], 2);
        assert_eq!(points[0].config["recipe"]["train"]["batch"], 2);
    }

    #[test]
    fn sides_are_taught_and_asked_the_same() {
        let mut known = HashMap::new();
        for lesson in lessons(Scale::Full).unwrap() {
            let asked = lesson.exams.iter().map(|exam| (&exam.name, &exam.task));
            let same = format!("{:?} {:?}", lesson.task, asked.collect::<Vec<_>>());
            // A task of one seed is the same for all its sides.
            let task = serde_json::to_value(&lesson.task).unwrap()["name"].to_string();
            let first = known
                .entry((lesson.measure, task, lesson.trained.to_string()))
                .or_insert_with(|| vec![same.clone()]);
            if !first.contains(&same) {
                first.push(same);
            }
        }
        assert!(known.len() >= 10);
        // Arithmetic has two forms, with and without brackets.
        for ((_, task, _), forms) in known {
            assert_eq!(
                forms.len(),
                1 + usize::from(task.contains("arithmetic") || task.contains("group")),
                "{task}"
            );
        }
    }
}
