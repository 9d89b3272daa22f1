//! The subcommands.

pub(crate) mod bench;
pub(crate) mod clone;
pub(crate) mod detect;
pub(crate) mod info;
pub(crate) mod log;
pub(crate) mod logits;
pub(crate) mod manifest;
pub(crate) mod perplexity;
pub(crate) mod pull;
pub(crate) mod quantize;
pub(crate) mod run;
pub(crate) mod say;
pub(crate) mod state;
pub(crate) mod voices;
