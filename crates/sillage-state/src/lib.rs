//! The state of a running model, as a value.
//!
//! Everything a model remembers is one [`State`]: it can be forked, frozen,
//! saved, sent elsewhere and resumed, and resuming is exact. Prompt caches,
//! chat sessions, rollback and moving a conversation to another machine are
//! all made of the same five verbs.
//!
//! - [`Layout`] says which slots a model's state has (convolution windows,
//!   scan states, attention caches) and which model it belongs to.
//! - [`State`] is live. [`State::fork`] copies nothing: the copy happens slot
//!   by slot (page by page for attention) when one of the two writes.
//! - [`Snapshot`] is frozen and may be shared between threads;
//!   [`Snapshot::resume`] gives a live state again, bit for bit.
//! - [`Snapshot::save`] and [`Snapshot::load`] speak the file format
//!   described in [`codec`]; [`codec::inspect`] and [`codec::verify`] need no
//!   model.
//! - [`Store`] keeps snapshots within a budget of bytes in memory and on disk,
//!   and survives a restart.
//!
//! ```
//! use sillage_state::{Fingerprint, Layout, SlotSpec, State, StateType};
//! use std::sync::Arc;
//!
//! let layout = Arc::new(Layout::new(
//!     Fingerprint::of(b"a model"),
//!     vec![("layers.0.ssm".into(), SlotSpec::Scan { len: 32, ty: StateType::F32 })],
//! )?);
//! let mut state = State::new(layout);
//! state.advance(5);
//! let saved = state.snapshot();
//! let other = saved.resume();
//! assert!(state.bits_eq(&other));
//! # Ok::<(), sillage_state::LayoutError>(())
//! ```
#![forbid(unsafe_code)]

mod bits;
pub mod codec;
#[doc(hidden)]
pub mod fuzzing;
mod kv;
mod layout;
mod snapshot;
mod state;
pub mod store;

pub use codec::{FileInfo, Precision, Saved, StateFileError, write_file};
pub use kv::KvCache;
pub use layout::{Fingerprint, FingerprintHasher, Layout, LayoutError, SlotSpec, StateType};
pub use snapshot::{Meta, Snapshot};
pub use state::{State, Values};
pub use store::{Key, StateStore, Store, StoreError, StoreOptions};
