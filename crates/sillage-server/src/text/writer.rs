//! What listens to one session: tokens become text, logits become log
//! probabilities, and biases, penalties and schemas act.

use super::Prompt;
use crate::fault::{Fault, Kind};
use crate::metrics::Metrics;
use sillage_engine::{Finished, Grammar, Listener, Reason, Sampling, StepError, TextStream};
use sillage_formats::Tokenizer;
use sillage_state::Snapshot;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// How a text is to be written.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens to write.
    pub max_tokens: usize,
    /// Strings that end the text.
    pub stops: Vec<String>,
    /// Tell log probabilities, and those of so many likeliest tokens.
    pub logprobs: Option<usize>,
    /// Tell those of the prompt as well.
    pub echo_logprobs: bool,
    /// Write on after tokens that end texts.
    pub ignore_end: bool,
    /// Added to logits.
    pub bias: HashMap<u32, f32>,
    /// Taken from the logits of written tokens, times their number.
    pub frequency_penalty: f32,
    /// Taken from the logits of written tokens.
    pub presence_penalty: f32,
    /// The text must be an instance of this JSON schema.
    pub schema: Option<serde_json::Value>,
}

/// A token's natural log probability, and the likeliest tokens'.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprob {
    /// The token.
    pub token: u32,
    /// Its own.
    pub logprob: f32,
    /// The likeliest tokens, best first, each with its own.
    pub top: Vec<(u32, f32)>,
}

/// Text that was written: possibly none, while something is held back.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// The token, with its log probability if that was asked for.
    pub token: Option<u32>,
    /// See there.
    pub logprob: Option<Logprob>,
}

/// How a session ended.
#[derive(Clone, Debug)]
pub struct Done {
    /// Why.
    pub reason: Reason,
    /// The state, with all tokens noted.
    pub state: Option<Snapshot>,
    /// Prompt tokens that were read.
    pub read: usize,
    /// Prompt tokens that did not have to be.
    pub reused: usize,
    /// Tokens written.
    pub written: usize,
    /// Until the first token was known.
    pub first_token: Duration,
    /// One a token of the prompt; none for the first.
    pub prompt: Vec<Option<Logprob>>,
}

impl Done {
    /// `stop` or `length`, as OpenAI's protocol calls it.
    #[must_use]
    pub fn finish_reason(&self) -> &'static str {
        match self.reason {
            Reason::Length => "length",
            _ => "stop",
        }
    }
}

/// What a session tells.
#[derive(Debug)]
pub enum Event {
    /// Text.
    Piece(Piece),
    /// The end.
    Done(Box<Done>),
    /// The end, for a reason that is none.
    Failed(Fault),
}

pub(super) struct Writer {
    stream: TextStream,
    ask: Ask,
    prompt: Vec<u32>,
    grammar: Option<Grammar>,
    sender: UnboundedSender<Event>,
    metrics: Arc<Metrics>,
    /// Logits as the model gave them, where log probabilities are wanted.
    raw: Vec<f32>,
    counts: HashMap<u32, u32>,
    read: Vec<Option<Logprob>>,
    begun: Instant,
    first: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        tokenizer: Arc<Tokenizer>,
        prompt: &Prompt,
        ask: Ask,
        grammar: Option<Grammar>,
        sender: UnboundedSender<Event>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let tokens = if ask.echo_logprobs {
            prompt.tokens.clone()
        } else {
            Vec::new()
        };
        Self {
            stream: TextStream::new(tokenizer, prompt.continues, ask.stops.iter().cloned()),
            read: if ask.echo_logprobs {
                vec![None]
            } else {
                Vec::new()
            },
            prompt: tokens,
            ask,
            grammar,
            sender,
            metrics,
            raw: Vec::new(),
            counts: HashMap::new(),
            begun: Instant::now(),
            first: None,
        }
    }

    fn penalises(&self) -> bool {
        self.ask.frequency_penalty != 0.0 || self.ask.presence_penalty != 0.0
    }
}

impl Listener for Writer {
    fn token(&mut self, token: u32) -> ControlFlow<()> {
        self.first.get_or_insert_with(Instant::now);
        if self.penalises() {
            *self.counts.entry(token).or_default() += 1;
        }
        let logprob = self.ask.logprobs.map(|top| logprob(token, &self.raw, top));
        let passed = self.stream.push(token);
        let piece = Piece {
            text: passed.text,
            token: Some(token),
            logprob,
        };
        if self.sender.send(Event::Piece(piece)).is_err() || passed.stopped {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn finished(&mut self, finished: Finished) {
        self.metrics.tokens_read.inc_by(finished.read as u64);
        self.metrics.tokens_reused.inc_by(finished.reused as u64);
        self.metrics.tokens_written.inc_by(finished.written as u64);
        let rest = self.stream.finish();
        if !rest.is_empty() {
            let piece = Piece {
                text: rest,
                token: None,
                logprob: None,
            };
            // Whoever listened may have gone; that is no failure here or below.
            let _ = self.sender.send(Event::Piece(piece));
        }
        let event = match finished.reason {
            Reason::Failed(error) => Event::Failed(fault(&error)),
            reason => Event::Done(Box::new(Done {
                reason,
                state: finished.state,
                read: finished.read,
                reused: finished.reused,
                written: finished.written,
                first_token: self.first.unwrap_or_else(Instant::now) - self.begun,
                prompt: std::mem::take(&mut self.read),
            })),
        };
        let _ = self.sender.send(event);
    }

    fn guides(&self) -> bool {
        self.ask.logprobs.is_some()
            || !self.ask.bias.is_empty()
            || self.penalises()
            || self.grammar.is_some()
    }

    fn guide(&mut self, tokens: &[u32], logits: &mut [f32]) {
        if self.ask.logprobs.is_some() {
            self.raw.clear();
            self.raw.extend_from_slice(logits);
        }
        for (&token, bias) in &self.ask.bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        for (&token, &count) in &self.counts {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit -= self.ask.frequency_penalty * count as f32 + self.ask.presence_penalty;
            }
        }
        if let Some(grammar) = &mut self.grammar {
            grammar.mask(tokens, logits);
        }
    }

    fn read(&mut self, position: usize, logits: &[f32]) {
        if let Some(&next) = self.prompt.get(position + 1) {
            let top = self.ask.logprobs.unwrap_or(0);
            self.read.push(Some(logprob(next, logits, top)));
        }
    }
}

/// The log probability of `token`, and of the `top` likeliest. All of them are
/// rounded from the same difference, so that the likeliest token's own is equal
/// to the first of those: clients compare them exactly.
fn logprob(token: u32, logits: &[f32], top: usize) -> Logprob {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - most).exp()).sum();
    let norm = f64::from(most) + sum.ln();
    let of = |logit: f32| (f64::from(logit) - norm) as f32;
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let better = |a: &u32, b: &u32| {
        let (x, y) = (logits[*a as usize], logits[*b as usize]);
        y.total_cmp(&x).then(a.cmp(b))
    };
    if top < order.len() {
        if top > 0 {
            order.select_nth_unstable_by(top - 1, better);
        }
        order.truncate(top);
    }
    order.sort_unstable_by(better);
    let own = logits.get(token as usize).copied();
    Logprob {
        token,
        logprob: own.map_or(f32::NEG_INFINITY, of),
        top: order
            .into_iter()
            .map(|id| (id, of(logits[id as usize])))
            .collect(),
    }
}

/// What a client is told of a session that failed.
fn fault(error: &StepError) -> Fault {
    match error {
        StepError::EmptyPrompt | StepError::UnknownToken { .. } => {
            Fault::bad("prompt", error.to_string())
        }
        StepError::TooLarge { .. } => {
            let mut fault = Fault::new(
                Kind::BadRequest,
                "context_length_exceeded",
                error.to_string(),
            );
            fault.param = Some("prompt".to_owned());
            fault
        }
        StepError::Sampling(inner) => match inner {
            sillage_engine::SamplingError::OutOfRange { name, .. } => {
                Fault::bad(*name, error.to_string())
            }
            _ => Fault::internal(error),
        },
        error => Fault::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_add_up_and_the_best_is_itself() {
        let logits = [0.5f32, 2.0, -1.0, 2.0, 0.0];
        let all: f64 = (0..5)
            .map(|id| f64::from(logprob(id, &logits, 0).logprob).exp())
            .sum();
        assert!((all - 1.0).abs() < 1e-6);
        let best = logprob(1, &logits, 2);
        assert_eq!(best.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(best.top[0].1.to_bits(), best.logprob.to_bits());
        assert_eq!(logprob(0, &logits, 9).top.len(), 5);
    }
}
