//! Checkpoints of state space models and transformers, read from any of the forms they come in.
//!
//! [`Checkpoint`] is the one view of a Hugging Face folder, a GGUF file and the single file that
//! [`quantize`] writes: settings and tensor names are those of the architecture's Hugging Face
//! checkpoint wherever the file came from. Headers are parsed when a checkpoint is opened; tensor
//! data is read, checked and packed when it is asked for, with positioned reads of the file.
//!
//! Every malformed, truncated or mismatched input is a typed error ([`FormatError`]).
#![forbid(unsafe_code)]

pub mod blocks;
pub mod chat;
mod checkpoint;
mod config;
mod defaults;
mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod gguf;
mod huggingface;
mod json;
mod pack;
mod packed;
pub mod quantize;
mod safetensors_file;
mod source;
mod tensors;
pub mod tokenizer;

pub use chat::{ChatError, ChatTemplate, Message};
pub use checkpoint::{Checkpoint, Origin, TypeCount};
pub use defaults::GenerationDefaults;
pub use error::FormatError;
pub use tokenizer::{StreamDecoder, Tokenizer, TokenizerError};
