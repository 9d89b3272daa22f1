//! Training of small state space models, hybrids and transformers on the CPU.
//!
//! A [`Recipe`] says what is trained, on what and how. A [`Trainer`] runs it; a run that is stopped or
//! killed goes on bit for bit where its last checkpoint was. The model is the runtime's own
//! [`Description`](sillage_models::Description) with a backward pass for each of its blocks
//! ([`net`]), over the kernels of [`sillage_kernels::train`]; results are the same bits for any number
//! of threads. What comes out is a Hugging Face folder.
#![forbid(unsafe_code)]

pub mod architecture;
pub mod bench;
mod checkpoint;
pub mod cost;
mod curve;
mod error;
mod export;
pub mod files;
pub mod net;
mod optimiser;
mod params;
pub mod recipe;
mod source;
pub mod tasks;
mod text;
mod tokens;
mod trainer;

pub use error::TrainError;
pub use export::export;
pub use net::{Batch, Net, Scores, Workspace};
pub use optimiser::{Rows, norm};
pub use params::Params;
pub use recipe::Recipe;
pub use source::{Source, Split, TaskSource, TextSource};
pub use text::{Corpus, documents};
pub use tokens::Vocabulary;
pub use trainer::{Event, Progress, Step, Then, Trainer, Validation};
