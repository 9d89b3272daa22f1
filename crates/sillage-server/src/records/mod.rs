//! Small things that must not be lost: voices, consents, responses, names of
//! states, dictionaries.
//!
//! A [`Records`] keeps bytes by kind and id, and does not come back from
//! [`put`](Records::put) before they would survive the process. It is the one
//! place that replicas share; what computes is elsewhere and can be rebuilt.

mod folder;
mod memory;
mod redis;

pub use folder::Folder;
pub use memory::Memory;
pub use redis::{Redis, RedisStates};

use crate::fault::{self, Fault};
use std::io;

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A voice of a user.
    Voice,
    /// A recorded consent.
    Consent,
    /// A stored answer, with its conversation.
    Response,
    /// A named state.
    State,
    /// A pronunciation dictionary.
    Dictionary,
    /// A saved sound.
    File,
    /// The server's own secrets.
    Secret,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Voice,
        Self::Consent,
        Self::Response,
        Self::State,
        Self::Dictionary,
        Self::File,
        Self::Secret,
    ];

    /// Its name in folders and keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Voice => "voices",
            Self::Consent => "consents",
            Self::Response => "responses",
            Self::State => "states",
            Self::Dictionary => "dictionaries",
            Self::File => "files",
            Self::Secret => "secrets",
        }
    }
}

/// Why a record could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The id could lead elsewhere.
    #[error("'{0}' is no id: ids have 1 to 80 letters, digits, - and _")]
    BadId(String),
    /// The disk refused.
    #[error("records in {place}: {source}; check the disk's space and permissions")]
    Io {
        /// Where.
        place: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The shared server refused or is away.
    #[error(
        "the Redis server does not answer as it should: {0}; check its address and that it runs"
    )]
    Redis(#[from] ::redis::RedisError),
}

impl From<RecordError> for Fault {
    /// A store that is away comes back; a disk that refuses does not by itself.
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::BadId(_) => Fault::bad("id", error.to_string()),
            RecordError::Io { .. } => Fault::internal(error),
            RecordError::Redis(_) => {
                tracing::error!("{error}");
                let message =
                    "what this server keeps cannot be reached at the moment: try again soon";
                Fault::new(fault::Kind::Busy, "store_unavailable", message).retry_after(2)
            }
        }
    }
}

/// Bytes by kind and id, safe once put.
pub trait Records: Send + Sync {
    /// Keeps `bytes`, in place of what was there.
    ///
    /// # Errors
    /// If they are not safe; what was there is then still there.
    fn put(&self, kind: Kind, id: &str, bytes: &[u8]) -> Result<(), RecordError>;
    /// Keeps `bytes` unless something is there; whether it did.
    ///
    /// # Errors
    /// As [`Records::put`].
    fn put_new(&self, kind: Kind, id: &str, bytes: &[u8]) -> Result<bool, RecordError>;
    /// What is kept.
    ///
    /// # Errors
    /// If that cannot be known at the moment.
    fn get(&self, kind: Kind, id: &str) -> Result<Option<Vec<u8>>, RecordError>;
    /// Forgets it; whether it was there.
    ///
    /// # Errors
    /// If it may still be there.
    fn remove(&self, kind: Kind, id: &str) -> Result<bool, RecordError>;
    /// The ids of a kind, in order.
    ///
    /// # Errors
    /// If they cannot be known at the moment.
    fn list(&self, kind: Kind) -> Result<Vec<String>, RecordError>;
    /// Whether records can be read and written now.
    ///
    /// # Errors
    /// Why not.
    fn check(&self) -> Result<(), RecordError>;
}

/// Ids become file names and parts of keys, so none may lead elsewhere.
pub(crate) fn check_id(id: &str) -> Result<(), RecordError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if id.is_empty() || id.len() > 80 || !id.chars().all(plain) {
        let shown = crate::fault::shown(id, 80);
        return Err(RecordError::BadId(shown));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every backend must do.
    fn behaves(records: &dyn Records) {
        let kind = Kind::Dictionary;
        records.check().unwrap();
        assert_eq!(records.get(kind, "a").unwrap(), None);
        records.put(kind, "a", b"one").unwrap();
        records.put(kind, "b-2_X", b"").unwrap();
        assert!(!records.put_new(kind, "a", b"other").unwrap());
        assert!(records.put_new(kind, "c", b"new").unwrap());
        assert_eq!(records.get(kind, "a").unwrap().unwrap(), b"one");
        records.put(kind, "a", b"two").unwrap();
        assert_eq!(records.get(kind, "a").unwrap().unwrap(), b"two");
        assert_eq!(records.get(Kind::Voice, "a").unwrap(), None);
        assert_eq!(records.list(kind).unwrap(), ["a", "b-2_X", "c"]);
        assert!(records.remove(kind, "a").unwrap());
        assert!(!records.remove(kind, "a").unwrap());
        assert_eq!(records.list(kind).unwrap(), ["b-2_X", "c"]);
        for bad in ["", "../a", "a/b", "a\0", ".", "ä", &"x".repeat(81)] {
            assert!(matches!(
                records.put(kind, bad, b""),
                Err(RecordError::BadId(_))
            ));
            assert!(matches!(records.get(kind, bad), Err(RecordError::BadId(_))));
            assert!(matches!(
                records.remove(kind, bad),
                Err(RecordError::BadId(_))
            ));
        }
    }

    #[test]
    fn memory_behaves() {
        behaves(&Memory::default());
    }

    #[test]
    fn a_folder_behaves_and_survives() {
        let folder = tempfile::tempdir().unwrap();
        behaves(&Folder::open(folder.path()).unwrap());
        let partial = folder.path().join("voices/.a.1-0.partial");
        std::fs::write(&partial, b"half").unwrap();
        let again = Folder::open(folder.path()).unwrap();
        assert!(!partial.exists());
        assert_eq!(again.list(Kind::Dictionary).unwrap(), ["b-2_X", "c"]);
        assert_eq!(again.get(Kind::Dictionary, "c").unwrap().unwrap(), b"new");
    }
}
