//! A frozen state, to share and to save.

use crate::codec::{self, Precision, Saved, StateFileError};
use crate::layout::Layout;
use crate::state::State;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

/// What a snapshot says about itself beside the numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Free text by name, e.g. the model's name or when the state was made.
    /// It is part of the bounded header: keep it short.
    pub entries: BTreeMap<String, String>,
    /// The tokens that led here, if whoever froze the state wants a session
    /// to be continued with its history, or rewound.
    pub tokens: Option<Arc<[u32]>>,
}

impl Meta {
    /// Adds an entry.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.entries.insert(name.into(), value.into());
        self
    }

    /// Adds the token history.
    #[must_use]
    pub fn with_tokens(mut self, tokens: impl Into<Arc<[u32]>>) -> Self {
        self.tokens = Some(tokens.into());
        self
    }
}

struct Inner {
    state: State,
    meta: Meta,
}

/// A frozen state: cheap to clone, shareable between threads, never changed
/// by the states resumed from it.
#[derive(Clone)]
pub struct Snapshot(Arc<Inner>);

impl Snapshot {
    pub(crate) fn new(state: State) -> Self {
        Self(Arc::new(Inner {
            state,
            meta: Meta::default(),
        }))
    }

    /// A live state that goes on from here, bit for bit.
    #[must_use]
    pub fn resume(&self) -> State {
        self.0.state.fork()
    }

    /// The frozen state, to read.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.0.state
    }

    /// The same state with other words beside it.
    #[must_use]
    pub fn with_meta(self, meta: Meta) -> Self {
        Self(Arc::new(Inner {
            state: self.0.state.clone(),
            meta,
        }))
    }

    /// What was noted beside the state.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.0.meta
    }

    /// The tokens that led here, if they were noted.
    #[must_use]
    pub fn tokens(&self) -> Option<&[u32]> {
        self.0.meta.tokens.as_deref()
    }

    /// Tokens consumed.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.0.state.position()
    }

    /// Bytes of all slots, whether shared or not.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.state.bytes()
    }

    /// See [`State::is_lossy`].
    #[must_use]
    pub fn is_lossy(&self) -> bool {
        self.0.state.is_lossy()
    }

    /// Whether both are the same frozen moment, not merely equal.
    pub(crate) fn is(&self, other: &Snapshot) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Address and bytes of every allocation this snapshot keeps alive.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (usize, u64)> {
        // What the bookkeeping of a snapshot costs, roughly but never zero.
        let state = &self.0.state;
        let words: usize = self
            .0
            .meta
            .entries
            .iter()
            .map(|(k, v)| k.len() + v.len() + 64)
            .sum();
        let held = 256 + 48 * state.slots.len() + words;
        let own = (Arc::as_ptr(&self.0).addr(), held as u64);
        let tokens = self.0.meta.tokens.as_ref();
        let tokens = tokens.map(|tokens| (tokens.as_ptr().addr(), 4 * tokens.len() as u64));
        let slots = state.blocks().map(|(address, bytes, _)| (address, bytes));
        // Slots of no bytes have no address of their own.
        std::iter::once(own)
            .chain(tokens)
            .chain(slots)
            .filter(|&(_, bytes)| bytes > 0)
    }

    /// Bytes of the file that [`Snapshot::save`] would write.
    ///
    /// # Errors
    /// If the metadata does not fit the header.
    pub fn file_bytes(&self, precision: Precision) -> Result<u64, StateFileError> {
        codec::file_bytes(self, precision)
    }

    /// Saves to a file, atomically: the bytes are written beside it, brought
    /// to the disk, and only then take the file's name. If anything fails,
    /// a full disk included, an earlier file of that name is left as it was.
    ///
    /// # Errors
    /// If the file cannot be written, or the metadata is too long.
    pub fn save(
        &self,
        path: impl AsRef<Path>,
        precision: Precision,
    ) -> Result<Saved, StateFileError> {
        codec::save(self, path.as_ref(), precision, codec::Durability::Synced)
    }

    /// Writes the file format to `out`.
    ///
    /// # Errors
    /// If `out` fails, or the metadata is too long.
    pub fn write_to(&self, out: impl Write, precision: Precision) -> Result<Saved, StateFileError> {
        codec::write_to(self, out, precision)
    }

    /// Loads a file saved by the model whose layout is `layout`.
    ///
    /// # Errors
    /// If it is no state file, damaged, of a newer version, or belongs to
    /// another model or another layout.
    pub fn load(path: impl AsRef<Path>, layout: &Arc<Layout>) -> Result<Self, StateFileError> {
        codec::load(path.as_ref(), layout)
    }

    /// Reads the file format from `input`, and not a byte further.
    ///
    /// # Errors
    /// As [`Snapshot::load`].
    pub fn read_from(input: impl Read, layout: &Arc<Layout>) -> Result<Self, StateFileError> {
        codec::read_from(input, layout)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("state", &self.0.state)
            .field("meta", &self.0.meta)
            .finish()
    }
}
