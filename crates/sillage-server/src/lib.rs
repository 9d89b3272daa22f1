//! One process that serves text and voice to clients that exist already.
//!
//! Protocols are rooms of their own, [`openai`], [`cartesia`], [`wyoming`] and
//! [`native`]; each turns its clients' words into the same few calls:
//!
//! - [`text::TextModel::begin`]: read a prompt, write tokens, on the thread that
//!   steps that model's scheduler;
//! - [`speech::SpeechService::begin`]: a stream that is given text and gives sound;
//! - [`voices::Voices`]: who can speak, cloning with consent;
//! - [`records::Records`]: what must survive, on disk or on a Redis server that
//!   replicas share.
//!
//! What goes wrong is a [`Fault`] until the last moment, when it takes the form
//! of the protocol that was spoken.
#![forbid(unsafe_code)]

mod app;
pub mod cartesia;
pub mod config;
mod fault;
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
mod keys;
mod listen;
pub mod metrics;
mod multipart;
pub mod native;
pub mod openai;
mod playground;
pub mod records;
mod sound;
pub mod speech;
#[cfg(test)]
mod testing;
pub mod text;
mod tls;
pub mod voices;
pub mod wyoming;

pub use app::{App, Parts, Permit};
pub use config::{Config, ConfigError};
pub use fault::{Fault, Kind};
pub use keys::{Caller, Keyring, Owner};
pub use listen::{Addresses, Server};

/// Seconds since 1970.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs())
}
