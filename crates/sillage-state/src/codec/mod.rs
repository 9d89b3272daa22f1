//! The file format of a saved state, version 1.
//!
//! All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic: `\x89SILSTA\n` |
//! | 4 | version, 1 |
//! | 4 | bytes of the header, at most [`HEADER_LIMIT`] |
//! | 8 | bytes of the payload |
//! | 8 | xxh3-64 of the 24 bytes above and the header |
//! | … | the header: JSON with the model's fingerprint, position, precision, metadata, every slot's name and size |
//! | … | the payload: the token history, if kept, then every slot in order |
//! | 16 | xxh3-128 of everything above |
//!
//! A slot of fixed size is its numbers in the order of its kernel. A KV cache
//! is its live pages (those that a further query can see), oldest first. With
//! [`Precision::Bf16`] numbers kept in f32 are stored as bf16, which loses
//! bits; the header then says so, and so does every state resumed from it.
//!
//! A reader trusts nothing: sizes are checked against the model's own layout
//! and the file's length before memory is asked for, and no state is returned
//! before the checksum of the whole was found right. The checksums find
//! accidents; they are no signature.

mod error;
mod file;
mod header;
mod read;
mod write;

pub use error::StateFileError;
pub use file::write_file;
pub(crate) use file::{Durability, is_partial};
pub use header::{FileInfo, Precision, SlotInfo, SlotKind};
pub use read::{inspect, inspect_from, read_tokens, verify, verify_from};
pub(crate) use read::{load, read_from};
pub use write::Saved;
pub(crate) use write::{file_bytes, save, write_to};

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// The first bytes of every state file. The high bit and the newline betray
/// transfers that treat it as text.
pub const MAGIC: [u8; 8] = *b"\x89SILSTA\n";
/// The version that this library writes, and the newest it reads.
pub const VERSION: u32 = 1;
/// A longer header is refused before it is read.
pub const HEADER_LIMIT: u32 = 1 << 20;

/// Bytes before the header.
pub(crate) const PREAMBLE: usize = 32;
/// Bytes of the preamble that its checksum covers.
pub(crate) const PREAMBLE_HASHED: usize = 24;
/// Bytes after the payload.
pub(crate) const TRAILER: usize = 16;

/// Makes both checksums of a (damaged or forged) file right again, so that
/// tests and fuzzers reach what lies behind them. Does nothing to bytes that
/// are too short.
#[doc(hidden)]
pub fn reseal(bytes: &mut [u8]) {
    let Some(len) = bytes
        .get(12..16)
        .and_then(|b| b.try_into().ok())
        .map(u32::from_le_bytes)
    else {
        return;
    };
    let header_end = PREAMBLE.saturating_add(len as usize);
    let Some(payload_end) = bytes
        .len()
        .checked_sub(TRAILER)
        .filter(|&end| end >= header_end)
    else {
        return;
    };
    let mut hashed = bytes[..PREAMBLE_HASHED].to_vec();
    hashed.extend_from_slice(&bytes[PREAMBLE..header_end]);
    bytes[PREAMBLE_HASHED..PREAMBLE].copy_from_slice(&xxh3_64(&hashed).to_le_bytes());
    let sum = xxh3_128(&bytes[..payload_end]);
    bytes[payload_end..].copy_from_slice(&sum.to_le_bytes());
}
