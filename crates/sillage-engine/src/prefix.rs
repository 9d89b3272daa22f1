//! Prompts are never read twice: a tree of stored states.
//!
//! Every stored state is the end of a token sequence. A new prompt resumes from
//! its deepest stored ancestor and reads only the rest. States are kept
//!
//! - at a stride, so that a long prompt is never far from an ancestor;
//! - where two prompts first part ways, since a third is likely to part there;
//! - where the caller says (message ends), and at the end of every session.
//!
//! The states lie in a [`StateStore`] with a budget in bytes, which drops the
//! least used first. The tree only says what there is; when the store no longer
//! has a state, the tree forgets it and offers the next. Where other processes
//! write into the store as well, it is asked for what the tree has not heard of.
//!
//! Every state belongs to a realm (an owner), and no prompt resumes from a
//! state of another realm: not even the time that an answer takes tells what
//! others have asked.

use crate::radix::Radix;
use sillage_state::{Key, Meta, Snapshot, State, StateStore, StoreError};
use std::collections::HashMap;
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
pub struct PrefixCache {
    store: Arc<dyn StateStore>,
    /// One tree a realm.
    trees: HashMap<u32, Radix<Key>>,
    stride: usize,
}

impl std::fmt::Debug for PrefixCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrefixCache")
            .field("realms", &self.trees.len())
            .field("stride", &self.stride)
            .finish_non_exhaustive()
    }
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
    pub fn new(store: Arc<dyn StateStore>, stride: usize) -> Self {
        let mut trees: HashMap<u32, Radix<Key>> = HashMap::new();
        for entry in store.entries() {
            if let Some(tokens) = store.tokens(entry.key) {
                let read = usize::try_from(entry.position).unwrap_or(usize::MAX);
                if read <= tokens.len() {
                    let tree = trees.entry(entry.key.realm()).or_default();
                    tree.insert(&tokens[..read], entry.key);
                }
            }
        }
        Self {
            store,
            trees,
            stride,
        }
    }

    /// The store behind this cache.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn StateStore> {
        &self.store
    }

    /// How to read the prompt `tokens`.
    pub fn plan(&mut self, realm: u32, tokens: &[u32]) -> Plan {
        let known = self.trees.get(&realm).map_or(0, |t| t.shared(tokens));
        // One token must be left to read, or there would be nothing to choose
        // the next one by.
        let most = tokens.len().saturating_sub(1);
        let parting = known.min(most);
        let state = self.deepest(realm, &tokens[..most]);
        let from = state.as_ref().map_or(0, |s| s.position() as usize);
        let mut keep = Vec::new();
        if parting > from {
            keep.push(parting);
        }
        if self.stride > 0 {
            keep.extend((self.stride..=tokens.len()).step_by(self.stride));
        }
        Plan { state, keep }
    }

    /// The state that has read exactly `tokens`, or their longest stored
    /// beginning.
    pub fn deepest(&mut self, realm: u32, tokens: &[u32]) -> Option<State> {
        let found = self.deepest_known(realm, tokens);
        if !self.store.is_shared() {
            return found;
        }
        let from = found.as_ref().map_or(0, |s| s.position() as usize);
        let keys = Key::of_beginnings(realm, tokens);
        let elsewhere = self.store.find_last(keys.get(from..)?);
        let Some(depth) = elsewhere.map(|at| from + at + 1) else {
            return found;
        };
        let snapshot = self.store.get(keys[depth - 1]);
        match snapshot.filter(|s| is_state_of(s, &tokens[..depth])) {
            Some(snapshot) => {
                let tree = self.trees.entry(realm).or_default();
                tree.insert(&tokens[..depth], keys[depth - 1]);
                Some(snapshot.resume())
            }
            None => found,
        }
    }

    /// How many first tokens of `tokens` the deepest ancestor that the tree has
    /// heard of has read.
    #[must_use]
    pub fn depth(&self, realm: u32, tokens: &[u32]) -> usize {
        let tree = self.trees.get(&realm);
        let deepest = tree.and_then(|tree| Some(tree.ancestors(tokens).first()?.0));
        deepest.unwrap_or(0)
    }

    /// The deepest ancestor that the tree has heard of.
    fn deepest_known(&mut self, realm: u32, tokens: &[u32]) -> Option<State> {
        let tree = self.trees.get_mut(&realm)?;
        let ancestors: Vec<(usize, Key)> = tree
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
            tree.remove(&tokens[..depth]);
        }
        None
    }

    /// Keeps the state that has read exactly `tokens`; under which key.
    ///
    /// # Errors
    /// If the store cannot take it; the cache is then as before.
    pub fn keep(&mut self, realm: u32, tokens: &[u32], state: &State) -> Result<Key, PrefixError> {
        let key = Key::of_tokens(realm, tokens);
        // Law 1: what is there already is the same state, bit for bit.
        if !self.store.contains(key) {
            let meta = Meta::default().with_tokens(tokens);
            self.store.insert(key, state.snapshot().with_meta(meta))?;
        }
        let tree = self.trees.entry(realm).or_default();
        tree.insert(tokens, key);
        Ok(key)
    }
}

/// Guards against a store that holds something else under the key.
fn is_state_of(snapshot: &Snapshot, tokens: &[u32]) -> bool {
    snapshot.position() == tokens.len() as u64
        && snapshot.tokens().is_none_or(|t| t.starts_with(tokens))
}
