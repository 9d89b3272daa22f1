//! The subcommands.

pub(crate) mod bench;
pub(crate) mod info;
pub(crate) mod logits;
pub(crate) mod perplexity;
pub(crate) mod pull;
pub(crate) mod quantize;
pub(crate) mod run;
pub(crate) mod state;
