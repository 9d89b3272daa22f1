//! Language models over recurrent and attention mixers.
//!
//! A [`Model`] is a [`Description`] (plain data, made from a checkpoint's configuration) and weights
//! that were loaded by walking it. It does one thing, [`Model::forward`]: feed a ragged batch of rows,
//! each a [`State`](sillage_state::State) and some tokens. Prefill, decode and any mixture of the two
//! are the same call, and the weights are read once for all rows.
//!
//! Feeding `a` and then `b` leaves bit for bit the state and the logits of feeding `a ++ b`, whatever
//! shares the batch and however many threads work on it. Nothing in this crate orders an arithmetic
//! operation by anything but shapes; the kernels promise the same, and `tests/laws.rs` holds both to it.
//!
//! ```no_run
//! use sillage_formats::Checkpoint;
//! use sillage_kernels::Compute;
//! use sillage_models::{LoadOptions, Model, Row, Wanted};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let checkpoint = Checkpoint::open("path/to/mamba2-130m")?;
//! let model = Model::load(&checkpoint, &LoadOptions::default())?;
//! let cx = Compute::new(2);
//! let mut state = model.new_state();
//! let row = Row { state: &mut state, tokens: &[1, 2, 3], logits: Wanted::Last };
//! let logits = model.forward(&cx, &mut [row])?;
//! let best = logits.row(0).iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
//! # let _ = best;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod architectures;
mod config;
pub mod description;
mod display;
mod error;
mod forward;
mod logits;
mod mixers;
mod model;
mod parameters;
pub mod rope;
mod stack;
mod tensors;
mod workspace;

pub use architectures::{SUPPORTED, StackConfig, describe};
pub use description::Description;
pub use error::{ForwardError, ModelError};
pub use forward::Row;
pub use logits::{Logits, Wanted};
pub use model::{LoadOptions, Model, WeightGroup};
pub use parameters::{Parameter, Role};
pub use stack::{Stack, StackRow};
pub use tensors::Tensors;
