//! A conversation as a record: what was said, the tokens it became, and where
//! its state is found.

use crate::keys::Owner;
use crate::records;
use serde::{Deserialize, Serialize};
use sillage_formats::Message;
use sillage_state::Snapshot;

/// A stored answer or a named state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// Its id: `resp_…` or `state_…`.
    pub id: String,
    /// Whose it is.
    pub owner: Owner,
    /// Which model.
    pub model: String,
    /// Seconds since 1970.
    pub created: u64,
    /// What it goes on from.
    pub parent: Option<String>,
    /// A name for people.
    pub name: Option<String>,
    /// All that was said; empty for plain text.
    pub messages: Vec<Message>,
    /// All tokens.
    pub tokens: Vec<u32>,
    /// How many of them the state has read.
    pub read: usize,
    /// Bytes of the state.
    pub bytes: u64,
    /// Whether the messages, as the template puts them, are these tokens. A stop
    /// string that was cut off makes them differ.
    pub exact: bool,
    /// For answers: the object as it was sent.
    #[serde(default)]
    pub answer: Option<serde_json::Value>,
}

impl Conversation {
    /// A record before anything is read: its id begins with `prefix`.
    #[must_use]
    pub fn new(prefix: &str, owner: Owner, model: &str) -> Self {
        Self {
            id: format!("{prefix}_{}", uuid::Uuid::new_v4().simple()),
            owner,
            model: model.to_owned(),
            created: crate::now(),
            parent: None,
            name: None,
            messages: Vec::new(),
            tokens: Vec::new(),
            read: 0,
            bytes: 0,
            exact: false,
            answer: None,
        }
    }

    /// Where records of such an id are kept; none are, if it is no such id.
    #[must_use]
    pub fn kind(id: &str) -> Option<records::Kind> {
        match id.split_once('_')?.0 {
            "resp" => Some(records::Kind::Response),
            "state" => Some(records::Kind::State),
            _ => None,
        }
    }

    /// Notes where the state is.
    pub fn note(&mut self, snapshot: &Snapshot) {
        self.tokens = snapshot.tokens().unwrap_or_default().to_vec();
        self.read = usize::try_from(snapshot.position()).unwrap_or(usize::MAX);
        self.bytes = snapshot.bytes();
    }

    /// The tokens that the state has read.
    #[must_use]
    pub fn tokens_read(&self) -> &[u32] {
        &self.tokens[..self.read.min(self.tokens.len())]
    }
}
