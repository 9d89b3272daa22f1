//! What can go wrong in the lab.

/// An error that names its cure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// Sides that are to be compared differ in what must be the same.
    #[error("{left} and {right} are not matched: {what}; make them the same or measure them apart")]
    Mismatch {
        /// One side.
        left: String,
        /// The other.
        right: String,
        /// What differs, with both values.
        what: String,
    },
    /// Something of the work could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A run's file is of another version.
    #[error(
        "{path}: written in version {found} of the lab's lines, this program reads {}; read it with the Sillage that wrote it, or measure again into another folder",
        crate::record::VERSION
    )]
    Version {
        /// The file.
        path: std::path::PathBuf,
        /// Its version.
        found: String,
    },
    /// A line of a run's file means nothing.
    #[error("{path}, line {line}: {what}; remove the line, or measure again into another file")]
    Damaged {
        /// The file.
        path: std::path::PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A run cannot go on in this file.
    #[error(
        "{path} was begun {what}; a run must stay as it was begun: give another --out, and lay the two side by side with `sillage lab compare`"
    )]
    Another {
        /// The file.
        path: std::path::PathBuf,
        /// What is different: "on another machine (...)".
        what: String,
    },
    /// A part that a measure needs failed.
    #[error("{0}")]
    Failed(String),
}

impl LabError {
    /// An [`Io`](Self::Io) error at `path`.
    pub fn io(path: impl Into<std::path::PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }
}

/// A part of a measure that failed, for what it says itself.
pub(crate) fn failed(error: impl std::fmt::Display) -> LabError {
    LabError::Failed(error.to_string())
}
