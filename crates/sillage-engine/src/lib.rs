//! Sessions on a model: who is fed when, from which state, and what they write.
//!
//! - [`Session`] is a state with its history, moved by hand: feed, fork,
//!   freeze, rewind.
//! - [`Scheduler`] runs many requests on one model, all of them in one ragged
//!   `forward` a step.
//! - [`PrefixCache`] finds the deepest stored ancestor of a prompt, in memory
//!   or on disk, so that nothing is read twice.
//! - [`Sampler`] chooses tokens, [`StopStrings`] cuts text, [`Grammar`] lets
//!   only what fits a JSON schema be written.
#![forbid(unsafe_code)]

mod grammar;
mod prefix;
mod radix;
mod request;
mod sampler;
mod scheduler;
mod session;
mod text;

pub use grammar::{Grammar, GrammarError, Vocabulary};
pub use prefix::{Plan, PrefixCache, PrefixError};
pub use request::{Cancel, Finished, LOCAL, Limits, Listener, Reason, Request, StepError};
pub use sampler::{Sampler, Sampling, SamplingError};
pub use scheduler::{Counters, Scheduler, Steps};
pub use session::{Session, SessionError};
pub use text::{Passed, StopStrings, TextStream};
