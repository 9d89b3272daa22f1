//! Probabilities of continuations, many questions at once.

use super::Detail;
use super::requests::Question;
use crate::LabError;
use crate::error::failed;
use crate::measures::quant::log_probability;
use sillage_formats::{Checkpoint, Tokenizer};
use sillage_kernels::Compute;
use sillage_models::{Model, Row, Wanted};
use sillage_state::State;
use std::ops::Range;

/// Tokens of contexts that are read in one call, about.
const READ: usize = 2048;
/// Tokens of continuations in one call, about; each has logits.
const SCORED: usize = 256;

/// Scores continuations by a model.
pub struct Scorer<'a> {
    cx: &'a Compute,
    model: &'a Model,
    tokenizer: Tokenizer,
    /// What the tokenizer puts before every text: one token, or nothing.
    first: Vec<u32>,
    /// What a text without tokens begins with.
    bos: Option<u32>,
}

/// A question's scores, and the tokens of its right answer.
pub(super) struct Scored {
    pub(super) detail: Detail,
    pub(super) right_tokens: u32,
}

/// A context that is read once.
struct Read {
    tokens: Vec<u32>,
    state: State,
    /// Logits after it.
    logits: Vec<f32>,
}

/// A continuation.
struct Write {
    question: usize,
    choice: usize,
    /// Which context it follows.
    read: usize,
    tokens: Vec<u32>,
}

impl<'a> Scorer<'a> {
    /// Needs the checkpoint for its tokenizer.
    ///
    /// # Errors
    /// None, or one that is damaged.
    pub fn new(
        cx: &'a Compute,
        model: &'a Model,
        checkpoint: &Checkpoint,
    ) -> Result<Self, LabError> {
        let tokenizer = checkpoint.tokenizer().map_err(failed)?;
        let bos = checkpoint.generation_defaults(Some(&tokenizer)).bos;
        let first = first(&tokenizer)?;
        Ok(Self {
            cx,
            model,
            tokenizer,
            first,
            bos,
        })
    }

    /// Scores all choices of all questions.
    pub(super) fn score(
        &self,
        questions: &[Question],
        progress: &dyn Fn(f64),
    ) -> Result<Vec<Scored>, LabError> {
        let mut scored = Vec::with_capacity(questions.len());
        let mut at = 0;
        while at < questions.len() {
            progress(at as f64 / questions.len() as f64);
            let (reads, writes, end) = self.batch(questions, at)?;
            scored.extend(self.score_batch(&questions[at..end], reads, &writes)?);
            at = end;
        }
        Ok(scored)
    }

    /// As many questions from `at` on as fit into a call, at least one.
    fn batch(
        &self,
        questions: &[Question],
        at: usize,
    ) -> Result<(Vec<Read>, Vec<Write>, usize), LabError> {
        let (mut reads, mut writes): (Vec<Read>, Vec<Write>) = (Vec::new(), Vec::new());
        let (mut tokens, mut end) = (0, at);
        while end < questions.len() && (end == at || tokens < READ) {
            let question = &questions[end];
            // Contexts that repeat within a question follow each other.
            let mut last: Option<&str> = None;
            for (choice, asked) in question.choices.iter().enumerate() {
                if last != Some(asked.context.as_str()) {
                    let read = self.context(question.id, &asked.context)?;
                    tokens += read.tokens.len();
                    reads.push(read);
                    last = Some(&asked.context);
                }
                let tokens = self
                    .tokenizer
                    .encode(&asked.continuation, false)
                    .map_err(failed)?;
                if tokens.is_empty() {
                    return Err(failed(format!(
                        "a continuation of question {} has no token in this vocabulary",
                        question.id
                    )));
                }
                writes.push(Write {
                    question: end - at,
                    choice,
                    read: reads.len() - 1,
                    tokens,
                });
            }
            end += 1;
        }
        Ok((reads, writes, end))
    }

    fn context(&self, question: u64, text: &str) -> Result<Read, LabError> {
        let read = self.tokenizer.encode(text, false).map_err(failed)?;
        let mut tokens = self.first.clone();
        tokens.extend(read);
        if tokens.is_empty() {
            tokens.extend(self.bos);
        }
        if tokens.is_empty() {
            return Err(failed(format!(
                "question {question} has an empty context, and the model has no token to begin with"
            )));
        }
        Ok(Read {
            tokens,
            state: self.model.new_state(),
            logits: Vec::new(),
        })
    }

    fn score_batch(
        &self,
        questions: &[Question],
        mut reads: Vec<Read>,
        writes: &[Write],
    ) -> Result<Vec<Scored>, LabError> {
        self.read(&mut reads)?;
        let mut scored: Vec<Scored> = questions
            .iter()
            .map(|question| Scored {
                detail: Detail {
                    id: question.id,
                    right: question.right,
                    scores: vec![0.0; question.choices.len()],
                    greedy: false,
                },
                right_tokens: 0,
            })
            .collect();
        let mut start = 0;
        while start < writes.len() {
            let call = call(writes, start);
            start = call.end;
            let call = &writes[call];
            for (write, (score, greedy)) in call.iter().zip(self.write(&reads, call)?) {
                let scored = &mut scored[write.question];
                scored.detail.scores[write.choice] = score;
                if write.choice == 0 {
                    scored.detail.greedy = greedy;
                }
                if write.choice == scored.detail.right {
                    scored.right_tokens = write.tokens.len() as u32;
                }
            }
        }
        Ok(scored)
    }

    fn read(&self, reads: &mut [Read]) -> Result<(), LabError> {
        let mut rows: Vec<Row<'_>> = reads
            .iter_mut()
            .map(|read| Row {
                state: &mut read.state,
                tokens: &read.tokens,
                logits: Wanted::Last,
            })
            .collect();
        let logits = self.model.forward(self.cx, &mut rows).map_err(failed)?;
        for (row, read) in reads.iter_mut().enumerate() {
            read.logits = logits.last(row).to_vec();
        }
        Ok(())
    }

    /// ln p of each continuation, and whether all of it was the likeliest. Its
    /// first token is judged by the context's logits, the last is not fed.
    fn write(&self, reads: &[Read], call: &[Write]) -> Result<Vec<(f64, bool)>, LabError> {
        let longer: Vec<&Write> = call.iter().filter(|write| write.tokens.len() > 1).collect();
        let mut states: Vec<State> = longer
            .iter()
            .map(|write| reads[write.read].state.fork())
            .collect();
        let mut rows: Vec<Row<'_>> = states
            .iter_mut()
            .zip(&longer)
            .map(|(state, write)| Row {
                state,
                tokens: &write.tokens[..write.tokens.len() - 1],
                logits: Wanted::All,
            })
            .collect();
        let found = match rows.is_empty() {
            true => None,
            false => Some(self.model.forward(self.cx, &mut rows).map_err(failed)?),
        };
        let mut row = 0;
        let mut scores = Vec::with_capacity(call.len());
        for write in call {
            let mut logits: Vec<&[f32]> = vec![&reads[write.read].logits];
            if let (Some(found), true) = (&found, write.tokens.len() > 1) {
                logits.extend(found.row(row).chunks_exact(self.model.vocab()));
                row += 1;
            }
            let (mut score, mut greedy) = (0.0, true);
            for (&token, logits) in write.tokens.iter().zip(logits) {
                score += log_probability(logits, token);
                greedy &= likeliest(logits) == Some(token as usize);
            }
            scores.push((score, greedy));
        }
        Ok(scores)
    }
}

/// What a tokenizer puts before a text where special tokens are wanted.
fn first(tokenizer: &Tokenizer) -> Result<Vec<u32>, LabError> {
    let bare = tokenizer.encode("a", false).map_err(failed)?;
    let marked = tokenizer.encode("a", true).map_err(failed)?;
    let at = marked
        .windows(bare.len().max(1))
        .position(|part| part == bare);
    Ok(marked[..at.unwrap_or(0)].to_vec())
}

/// Continuations from `start` on that go into one call, at least one.
fn call(writes: &[Write], start: usize) -> Range<usize> {
    let (mut tokens, mut end) = (0, start);
    while end < writes.len() && (end == start || tokens < SCORED) {
        tokens += writes[end].tokens.len();
        end += 1;
    }
    start..end
}

/// The first of the largest.
fn likeliest(logits: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (i, &logit) in logits.iter().enumerate() {
        if best.is_none_or(|(_, other)| logit > other) {
            best = Some((i, logit));
        }
    }
    best.map(|(i, _)| i)
}
