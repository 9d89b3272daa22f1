//! Sessions on a model: who is fed when, from which state, and what they write.
//!
//! - [`Session`] is a state with its history, moved by hand: feed, fork,
//!   freeze, rewind.
//! - [`Scheduler`] runs many requests on one model, all of them in one ragged
//!   `forward` a step.
//! - [`PrefixCache`] finds the deepest stored ancestor of a prompt, in memory
//!   or on disk, so that nothing is read twice.
//! - [`Sampler`] chooses tokens, [`StopStrings`] cuts text.
#![forbid(unsafe_code)]

mod prefix;
mod radix;
mod sampler;
mod scheduler;
mod session;
mod text;

pub use prefix::{Plan, PrefixCache, PrefixError};
pub use sampler::{Sampler, Sampling, SamplingError};
pub use scheduler::{
    Cancel, Counters, Finished, Limits, Listener, Reason, Request, Scheduler, StepError, Steps,
};
pub use session::{Session, SessionError};
pub use text::{Passed, StopStrings};
