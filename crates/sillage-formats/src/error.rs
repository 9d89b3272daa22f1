//! The errors of this crate. Every message names what was found and what to do about it.

use std::path::PathBuf;

use thiserror::Error;

use crate::blocks::TensorType;

/// Any reason for which a checkpoint cannot be opened, read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The operating system refused a read or a write.
    #[error("{path}: {source}")]
    Io {
        /// The file concerned.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The path exists but holds nothing this crate can read.
    #[error(
        "{path}: {found}; give a folder with config.json and *.safetensors, a .gguf file, or a .safetensors file written by `sillage quantize`"
    )]
    NotAModel {
        /// The path given.
        path: String,
        /// What was found there.
        found: String,
    },
    /// A file that the folder needs is absent.
    #[error("{folder}: {file} is missing; {cure}")]
    MissingFile {
        /// The folder looked in.
        folder: String,
        /// The file looked for.
        file: String,
        /// What to do.
        cure: &'static str,
    },
    /// A JSON file is malformed or has the wrong structure.
    #[error("{file}: {message}; the file is damaged or is not what its name says, fetch it again")]
    Json {
        /// The file concerned.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// A safetensors file is malformed.
    #[error("{file}: {message}; the file is truncated or damaged, fetch it again")]
    Safetensors {
        /// The file concerned.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// A GGUF file is malformed or of an unknown version.
    #[error("{file}: {source}")]
    Gguf {
        /// The file concerned.
        file: String,
        /// What is wrong.
        source: crate::gguf::GgufError,
    },
    /// A file ended before the bytes that its header promised.
    #[error(
        "{file}: bytes {offset}..{end} are wanted but the file has {len}; it is truncated, fetch it again"
    )]
    Truncated {
        /// The file concerned.
        file: String,
        /// First byte wanted.
        offset: u64,
        /// End of the bytes wanted.
        end: u64,
        /// Length of the file.
        len: u64,
    },
    /// The shard index and the shards disagree.
    #[error(
        "{index}: tensor '{tensor}' should be in {shard}, which {problem}; fetch the whole folder again"
    )]
    Shard {
        /// The index file.
        index: String,
        /// The tensor concerned.
        tensor: String,
        /// The shard named by the index.
        shard: String,
        /// `does not exist` or `does not hold it`.
        problem: &'static str,
    },
    /// Two tensors have one name.
    #[error("tensor '{tensor}' appears twice ({first} and {second}); remove one of the files")]
    DuplicateTensor {
        /// The name.
        tensor: String,
        /// Where it was seen first.
        first: String,
        /// Where it was seen again.
        second: String,
    },
    /// A tensor that the architecture needs is absent.
    #[error(
        "{file}: tensor '{tensor}' is missing; the checkpoint is incomplete or of another architecture than its config says"
    )]
    MissingTensor {
        /// The checkpoint.
        file: String,
        /// The tensor wanted.
        tensor: String,
    },
    /// A tensor is stored in a type that cannot be computed with.
    #[error(
        "tensor '{tensor}' has type {found}; supported are {}; convert the checkpoint to one of them",
        TensorType::SUPPORTED
    )]
    UnsupportedType {
        /// The tensor concerned.
        tensor: String,
        /// The type found.
        found: String,
    },
    /// A tensor has another shape than was expected.
    #[error(
        "tensor '{tensor}' has shape {found:?}, expected {expected}; the checkpoint and its config do not belong together"
    )]
    Shape {
        /// The tensor concerned.
        tensor: String,
        /// The shape found.
        found: Vec<usize>,
        /// What was expected, in words.
        expected: String,
    },
    /// Rows outside a tensor were asked for.
    #[error(
        "tensor '{tensor}' has {rows} rows, rows {start}..{end} were asked for; the config does not fit the weights"
    )]
    Rows {
        /// The tensor concerned.
        tensor: String,
        /// How many rows it has.
        rows: usize,
        /// First row wanted.
        start: usize,
        /// End of the rows wanted.
        end: usize,
    },
    /// A weight is NaN or infinite.
    #[error(
        "tensor '{tensor}' holds {value} in row {row}; the checkpoint is damaged, fetch it again"
    )]
    NotFinite {
        /// The tensor concerned.
        tensor: String,
        /// The row in which it stands.
        row: usize,
        /// The value (NaN, inf or -inf).
        value: f32,
    },
    /// The architecture is not one of those described.
    #[error("architecture '{found}' is not supported; supported here are {supported}")]
    UnsupportedArchitecture {
        /// The architecture found.
        found: String,
        /// The supported ones.
        supported: String,
    },
    /// A feature of the architecture is not supported.
    #[error("{what} is not supported; {cure}")]
    Unsupported {
        /// What was found.
        what: String,
        /// What to do.
        cure: &'static str,
    },
    /// A setting is absent or has the wrong type.
    #[error(
        "{file}: setting '{key}' {problem}; the checkpoint's description is incomplete or damaged"
    )]
    Setting {
        /// Where it was looked for.
        file: String,
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The weights could not be packed for the kernels.
    #[error("tensor '{tensor}' cannot be packed: {message}")]
    Pack {
        /// The tensor concerned.
        tensor: String,
        /// What the kernels said.
        message: String,
    },
    /// The kernels refused some weights; [`FormatError::Pack`] without the tensor's name.
    #[error(transparent)]
    Kernels(#[from] sillage_kernels::PackError),
    /// A block of weights has the wrong number of bytes.
    #[error(transparent)]
    Blocks(#[from] crate::blocks::BlockError),
    /// The tokenizer could not be built.
    #[error(transparent)]
    Tokenizer(#[from] crate::tokenizer::TokenizerError),
    /// The output could not be put in its place.
    #[error("{}: cannot write: {source}; free some space or choose another path with -o", path.display())]
    Write {
        /// The file that was to be written.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The caller asked to stop.
    #[error("stopped as asked; nothing was written")]
    Cancelled,
}

impl FormatError {
    pub(crate) fn io(path: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }
}
