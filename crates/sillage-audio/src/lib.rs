//! Sound in, sound out, and where it came from.
//!
//! - [`decode`]: files of many formats to mono samples, with limits.
//! - [`check`]: whether a clip is fit to clone a voice from.
//! - [`resample`]: changes of sample rate, in a stream.
//! - [`encode`]: samples to WAV, FLAC, Opus, MP3 and raw, in a stream.
//! - [`watermark`]: an inaudible mark and its detector.
//! - [`manifest`]: signed provenance inside files.
//! - [`log`]: an append-only, hash-chained record of consent and use.
#![forbid(unsafe_code)]

pub mod check;
pub mod decode;
pub mod encode;
pub mod log;
pub mod manifest;
pub mod resample;
pub mod watermark;
