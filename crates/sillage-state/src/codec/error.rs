//! What can be wrong with a state file.

use super::{HEADER_LIMIT, VERSION};
use crate::layout::Fingerprint;
use std::io;

/// Why a state could not be saved or loaded. The caller knows the path, so
/// messages do not repeat it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateFileError {
    /// Reading failed.
    #[error("the state file cannot be read: {0}; check that it exists and may be read")]
    Read(#[source] io::Error),
    /// Writing failed.
    #[error(
        "the state file cannot be written: {0}; check that its folder exists and may be written"
    )]
    Write(#[source] io::Error),
    /// No room is left.
    #[error(
        "no room for the state file of {needed} bytes ({source}); free some or save elsewhere \
         (an earlier file of that name is unharmed)"
    )]
    DiskFull {
        /// Bytes of the whole file.
        needed: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The magic bytes are missing.
    #[error("this is not a Sillage state file; name a file written with --save-state")]
    NotAStateFile,
    /// Written by a later version of the format.
    #[error(
        "the state file has version {found}, this program reads up to {VERSION}; update the program"
    )]
    NewerVersion {
        /// The file's version.
        found: u32,
    },
    /// The file ends too early.
    #[error(
        "the state file is cut off: {found} of {expected} bytes are there; copy it again or use a backup"
    )]
    Truncated {
        /// Bytes that the file should have, as far as it says.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// Something follows the end.
    #[error(
        "the state file has {found} bytes, {expected} were written; copy it again or use a backup"
    )]
    Excess {
        /// Bytes that the file should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// The header claims to be too long.
    #[error(
        "the state file claims a header of {found} bytes, {HEADER_LIMIT} is the limit; it is damaged or forged"
    )]
    HeaderTooLong {
        /// Bytes claimed.
        found: u64,
    },
    /// The header contradicts itself.
    #[error("the state file's header makes no sense ({0}); it is damaged or forged: use a backup")]
    Header(String),
    /// A checksum differs.
    #[error(
        "the state file is damaged: the checksum of its {part} is wrong; copy it again or use a backup"
    )]
    Checksum {
        /// `header`, `token history` or `contents`.
        part: &'static str,
    },
    /// Made by another model.
    #[error(
        "the state belongs to another model (fingerprint {file}, this model has {model}){hint}; load it with the model that made it"
    )]
    OtherModel {
        /// The file's fingerprint.
        file: Fingerprint,
        /// The model's.
        model: Fingerprint,
        /// What the file says about its model, or nothing.
        hint: String,
    },
    /// Made by the same weights set up differently.
    #[error(
        "the state does not fit the model as loaded: {difference}; load the model with the options it had when the state was saved"
    )]
    OtherLayout {
        /// The first difference.
        difference: String,
    },
    /// The metadata does not fit.
    #[error(
        "the header would take {found} bytes, {HEADER_LIMIT} is the limit; shorten the metadata"
    )]
    MetaTooLong {
        /// Bytes it would take.
        found: u64,
    },
}

impl StateFileError {
    /// Whether the file itself is bad: no state file, or a damaged one.
    /// (A file of a newer version or of another model is not.)
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(
            self,
            Self::NotAStateFile
                | Self::Truncated { .. }
                | Self::Excess { .. }
                | Self::HeaderTooLong { .. }
                | Self::Header(_)
                | Self::Checksum { .. }
        )
    }

    /// Sorts a failed write by its cause.
    pub(crate) fn write(source: io::Error, needed: u64) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::DiskFull { needed, source },
            _ => Self::Write(source),
        }
    }
}
