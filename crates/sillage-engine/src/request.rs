//! What is asked of a scheduler, and what it tells.

use crate::sampler::{Sampling, SamplingError};
use sillage_state::Snapshot;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Limits of a scheduler.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most sessions running at once.
    pub sessions: usize,
    /// Bytes that the states of running sessions may take together.
    pub state_bytes: u64,
    /// Prompt tokens read in one step, by all sessions together.
    pub piece: usize,
    /// A state is kept at the end of a prompt of which so many tokens had to be
    /// read; after fewer, reading them again costs less than keeping it.
    pub worth_keeping: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 64,
            state_bytes: 4 << 30,
            piece: 256,
            worth_keeping: 0,
        }
    }
}

/// The realm of a program that serves nobody but its user.
pub const LOCAL: u32 = 0;

/// One thing to do: read tokens, then write some.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Whose states may be resumed from, and whose the new ones are: see
    /// [`PrefixCache`](crate::PrefixCache).
    pub realm: u32,
    /// All tokens of the session so far, from its beginning.
    pub tokens: Vec<u32>,
    /// A state to go on from; it must have read a beginning of `tokens`. With
    /// `None` the deepest stored ancestor is used, or an empty state.
    pub resume: Option<Snapshot>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens to write.
    pub max_tokens: usize,
    /// Tokens that end the text; they are not passed on.
    pub end_tokens: Vec<u32>,
    /// Positions whose states are worth keeping, such as message ends.
    pub marks: Vec<usize>,
    /// Tell the listener the logits after every token of the prompt. All of
    /// the prompt is then read, whatever states are stored.
    pub prompt_logits: bool,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// The model wrote an end token.
    End,
    /// The listener asked for no more.
    Stopped,
    /// `max_tokens` were written.
    Length,
    /// It was cancelled.
    Cancelled,
    /// Something failed; the state is what it was before.
    Failed(StepError),
}

/// What is left when a session ends.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Why.
    pub reason: Reason,
    /// The state, with all known tokens noted in it. The last token written is
    /// known but not yet read: the state's position is one less than the tokens.
    /// `None` if the session never began.
    pub state: Option<Snapshot>,
    /// Prompt tokens that did not have to be read, thanks to a stored state.
    pub reused: usize,
    /// Tokens read, the prompt's remainder.
    pub read: usize,
    /// Tokens written.
    pub written: usize,
}

/// Receives what a session writes, as it is written.
pub trait Listener: Send {
    /// A token was written; `Break` ends the session.
    fn token(&mut self, token: u32) -> ControlFlow<()>;
    /// The session is over.
    fn finished(&mut self, finished: Finished);
    /// Whether [`guide`](Self::guide) has something to do.
    fn guides(&self) -> bool {
        false
    }
    /// Sees the logits (`[vocab]`) after `tokens`, before a token is chosen by
    /// them, and may change them: that is how grammars and biases act.
    fn guide(&mut self, tokens: &[u32], logits: &mut [f32]) {
        let _ = (tokens, logits);
    }
    /// The logits (`[vocab]`) after token number `position` of the prompt, if
    /// [`Request::prompt_logits`] asked for them.
    fn read(&mut self, position: usize, logits: &[f32]) {
        let _ = (position, logits);
    }
}

/// Cancels a session from any thread.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends the session before its next step.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What can fail in a step or before the first.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// There was nothing to read.
    #[error("the prompt is empty: give at least one token (or text) to continue from")]
    EmptyPrompt,
    /// A token the model does not have.
    #[error(
        "token {token} is not among the model's {vocab}: was the text encoded with another model's tokenizer?"
    )]
    UnknownToken {
        /// The token.
        token: u32,
        /// Tokens of the model.
        vocab: usize,
    },
    /// One session alone exceeds the budget.
    #[error(
        "this session's state would take {needed} bytes and all sessions together may take {budget}: raise the state budget or shorten the prompt and max tokens"
    )]
    TooLarge {
        /// Bytes of this session's state at its longest.
        needed: u64,
        /// The budget.
        budget: u64,
    },
    /// The state given does not belong here.
    #[error(
        "the state to resume from has read {position} tokens, which are not a beginning of the {given} tokens of this session, or it belongs to another model"
    )]
    ForeignState {
        /// The state's position.
        position: u64,
        /// Tokens in the request.
        given: usize,
    },
    /// The model refused.
    #[error("{0}")]
    Forward(String),
    /// No token could be chosen.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
}
