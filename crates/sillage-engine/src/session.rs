//! A session: a state with its history, moved by hand.
//!
//! The scheduler runs many sessions; this is the direct way for a program that
//! runs one, and the place where rewinding lives.

use crate::prefix::PrefixCache;
use crate::request::LOCAL;
use sillage_kernels::Compute;
use sillage_models::{ForwardError, Model, Row, Wanted};
use sillage_state::{Meta, Snapshot, State};

/// A live state and the tokens it has read.
#[derive(Clone)]
pub struct Session {
    state: State,
    tokens: Vec<u32>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({} tokens)", self.tokens.len())
    }
}

/// What a session cannot do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The snapshot has no history, or not that of its own state.
    #[error(
        "the saved state has read {position} tokens but notes {noted}: it cannot become a session; save it with its tokens"
    )]
    NoHistory {
        /// Tokens the state has read.
        position: u64,
        /// Tokens noted beside it.
        noted: usize,
    },
    /// The model of the saved state is another.
    #[error("the saved state belongs to another model than this one")]
    OtherModel,
    /// Rewinding forward.
    #[error("cannot rewind to position {to}: the session has read {position} tokens")]
    Ahead {
        /// Where to.
        to: usize,
        /// Where it is.
        position: usize,
    },
    /// The model refused.
    #[error(transparent)]
    Forward(#[from] ForwardError),
}

impl Session {
    /// A session before its first token.
    #[must_use]
    pub fn new(model: &Model) -> Self {
        Self {
            state: model.new_state(),
            tokens: Vec::new(),
        }
    }

    /// A session that goes on from a snapshot with its noted tokens.
    ///
    /// # Errors
    /// If the snapshot is another model's, or its tokens were not noted.
    pub fn resume(model: &Model, snapshot: &Snapshot) -> Result<Self, SessionError> {
        if !snapshot.state().fits(model.layout()) {
            return Err(SessionError::OtherModel);
        }
        let noted = snapshot.tokens().unwrap_or_default();
        let position = snapshot.position();
        match usize::try_from(position)
            .ok()
            .and_then(|read| noted.get(..read))
        {
            Some(read) => Ok(Self {
                state: snapshot.resume(),
                tokens: read.to_vec(),
            }),
            None => Err(SessionError::NoHistory {
                position,
                noted: noted.len(),
            }),
        }
    }

    /// The tokens read so far.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The live state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// A second session that goes on from here.
    #[must_use]
    pub fn fork(&self) -> Self {
        self.clone()
    }

    /// The frozen moment, its tokens noted.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.state
            .snapshot()
            .with_meta(Meta::default().with_tokens(self.tokens.clone()))
    }

    /// Reads `tokens`; the logits (`[vocab]`) after the last of them.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn feed(
        &mut self,
        model: &Model,
        cx: &Compute,
        tokens: &[u32],
    ) -> Result<Vec<f32>, ForwardError> {
        let row = Row {
            state: &mut self.state,
            tokens,
            logits: Wanted::Last,
        };
        let logits = model.forward(cx, &mut [row])?;
        self.tokens.extend_from_slice(tokens);
        Ok(logits.row(0).to_vec())
    }

    /// Goes back to the moment when `to` tokens were read, exactly: from the
    /// deepest stored state before it, reading the rest again.
    ///
    /// # Errors
    /// If `to` lies ahead, or the model refuses; the session is then unchanged.
    pub fn rewind(
        &mut self,
        model: &Model,
        cx: &Compute,
        stored: Option<&mut PrefixCache>,
        to: usize,
    ) -> Result<(), SessionError> {
        let position = self.tokens.len();
        if to > position {
            return Err(SessionError::Ahead { to, position });
        }
        if to == position {
            return Ok(());
        }
        let found = stored.and_then(|cache| cache.deepest(LOCAL, &self.tokens[..to]));
        let mut state = found.unwrap_or_else(|| model.new_state());
        let from = state.position() as usize;
        if from < to {
            let tokens = &self.tokens[from..to];
            let row = Row {
                state: &mut state,
                tokens,
                logits: Wanted::None,
            };
            model.forward(cx, &mut [row])?;
        }
        self.state = state;
        self.tokens.truncate(to);
        Ok(())
    }
}
