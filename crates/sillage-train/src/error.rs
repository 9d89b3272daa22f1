//! What can go wrong in training.

use std::path::PathBuf;

/// An error that names its cure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A recipe that cannot be read.
    #[error("{path}: {message}")]
    Recipe {
        /// Where.
        path: PathBuf,
        /// What is wrong and what is right.
        message: String,
    },
    /// A recipe whose values do not go together.
    #[error("{key}: {message}")]
    Value {
        /// Which, such as `train.batch`.
        key: &'static str,
        /// What is wrong and what is right.
        message: String,
    },
    /// A part of the architecture that can be run but not trained.
    #[error(
        "{0} cannot be trained yet; the trainer knows Mamba, Mamba-2, attention, MLP and convolution blocks without per-section multipliers"
    )]
    Untrainable(String),
    /// A file or folder that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Text that cannot be read.
    #[error("{path}: {message}")]
    Data {
        /// Where.
        path: PathBuf,
        /// What is wrong and what is right.
        message: String,
    },
    /// A checkpoint that is not this run's.
    #[error("{path}: {message}")]
    Checkpoint {
        /// Where.
        path: PathBuf,
        /// What is wrong and what is right.
        message: String,
    },
    /// The loss is not a number any more.
    #[error(
        "step {step}: the loss is {loss}; lower train.lr, or lengthen train.warmup (the last checkpoint is whole)"
    )]
    Diverged {
        /// At which step.
        step: u64,
        /// What it became.
        loss: f64,
    },
    /// A task whose values do not go together.
    #[error(transparent)]
    Task(#[from] crate::tasks::TaskError),
    /// The model cannot be described or loaded.
    #[error(transparent)]
    Model(#[from] sillage_models::ModelError),
    /// A checkpoint's files cannot be read.
    #[error(transparent)]
    Format(#[from] sillage_formats::FormatError),
}

impl TrainError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| TrainError::Io { path, source }
    }

    pub(crate) fn value(key: &'static str, message: impl Into<String>) -> Self {
        TrainError::Value {
            key,
            message: message.into(),
        }
    }
}
