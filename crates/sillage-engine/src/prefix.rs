//! Prompts are never read twice: a tree of stored states.
//!
//! Every stored state is the end of a token sequence. A new prompt resumes from
//! its deepest stored ancestor and reads only the rest. States are kept
//!
//! - at a stride, so that a long prompt is never far from an ancestor;
//! - where two prompts first part ways, since a third is likely to part there;
//! - where the caller says (message ends), and at the end of every session.
//!
//! The states lie in a [`Store`] with a budget in bytes for memory and disk,
//! which drops the least used first. The tree only says what there is; when the
//! store no longer has a state, the tree forgets it and offers the next.

use crate::radix::Radix;
use sillage_state::{Key, Meta, Snapshot, State, StateStore, Store, StoreError};
use std::sync::Arc;

/// What can fail when a state is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrefixError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The stored states of one model, found by the tokens they have read.
#[derive(Debug)]
pub struct PrefixCache {
    store: Arc<Store>,
    tree: Radix<Key>,
    stride: usize,
}

/// How a prompt is best read.
#[derive(Debug)]
pub struct Plan {
    /// The deepest stored ancestor, ready to go on; it leaves at least one
    /// token of the prompt to read.
    pub state: Option<State>,
    /// Positions whose states are worth keeping on the way.
    pub keep: Vec<usize>,
}

impl PrefixCache {
    /// A cache over `store`, which may hold states from an earlier run: those
    /// that note their tokens are found again. A state is kept every `stride`
    /// tokens of a prompt; 0 keeps none at a stride.
    #[must_use]
    pub fn new(store: Arc<Store>, stride: usize) -> Self {
        let mut tree = Radix::default();
        for entry in store.entries() {
            if let Some(tokens) = store.tokens(entry.key) {
                let read = usize::try_from(entry.position).unwrap_or(usize::MAX);
                if read <= tokens.len() {
                    tree.insert(&tokens[..read], entry.key);
                }
            }
        }
        Self {
            store,
            tree,
            stride,
        }
    }

    /// The store behind this cache.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// How to read the prompt `tokens`.
    pub fn plan(&mut self, tokens: &[u32]) -> Plan {
        let parting = self.tree.shared(tokens);
        let state = self.deepest(&tokens[..tokens.len().saturating_sub(1)]);
        let from = state.as_ref().map_or(0, |s| s.position() as usize);
        let mut keep = Vec::new();
        if parting > from && parting < tokens.len() {
            keep.push(parting);
        }
        if self.stride > 0 {
            keep.extend((self.stride..=tokens.len()).step_by(self.stride));
        }
        Plan { state, keep }
    }

    /// The state that has read exactly `tokens`, or their longest stored
    /// beginning.
    pub fn deepest(&mut self, tokens: &[u32]) -> Option<State> {
        let ancestors: Vec<(usize, Key)> = self
            .tree
            .ancestors(tokens)
            .into_iter()
            .map(|(depth, &key)| (depth, key))
            .collect();
        for (depth, key) in ancestors {
            let found = self
                .store
                .get(key)
                .filter(|s| is_state_of(s, &tokens[..depth]));
            if let Some(snapshot) = found {
                return Some(snapshot.resume());
            }
            self.tree.remove(&tokens[..depth]);
        }
        None
    }

    /// Keeps the state that has read exactly `tokens`.
    ///
    /// # Errors
    /// If the store cannot take it; the cache is then as before.
    pub fn keep(&mut self, tokens: &[u32], state: &State) -> Result<(), PrefixError> {
        let key = Key::of_tokens(tokens);
        if self.store.contains(key) {
            // Law 1: it is the same state, bit for bit.
            self.tree.insert(tokens, key);
            return Ok(());
        }
        let meta = Meta::default().with_tokens(tokens);
        self.store.insert(key, state.snapshot().with_meta(meta))?;
        self.tree.insert(tokens, key);
        Ok(())
    }
}

/// Guards against a store that holds something else under the key.
fn is_state_of(snapshot: &Snapshot, tokens: &[u32]) -> bool {
    snapshot.position() == tokens.len() as u64
        && snapshot.tokens().is_none_or(|t| t.starts_with(tokens))
}
