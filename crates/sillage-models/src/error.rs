//! What can go wrong when a model is described, loaded or run, and the cure of each.

use sillage_formats::FormatError;
use sillage_kernels::PackError;
use sillage_state::LayoutError;

/// A checkpoint could not be turned into a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No description exists for this architecture.
    #[error(
        "the checkpoint's architecture is '{found}', which is not supported; supported are: {supported}"
    )]
    UnknownArchitecture {
        /// `model_type` as the configuration has it, or what stood in its place.
        found: String,
        /// Names of every architecture that can be loaded.
        supported: String,
    },
    /// The architecture is known, but this checkpoint uses a part of it that is not built.
    #[error("{architecture}: {what} is {found}, which is not supported; supported: {supported}")]
    Unsupported {
        /// Architecture being described.
        architecture: String,
        /// The configuration key or the feature.
        what: String,
        /// Its value here.
        found: String,
        /// Values that would work.
        supported: String,
    },
    /// A key that the architecture cannot do without is absent.
    #[error(
        "{architecture}: the configuration has no '{key}'; take config.json from the same place as the weights"
    )]
    MissingKey {
        /// Architecture being described.
        architecture: String,
        /// The absent key.
        key: String,
    },
    /// A key holds something that makes no sense.
    #[error("{architecture}: the configuration's '{key}' is {found}; expected {expected}")]
    BadValue {
        /// Architecture being described.
        architecture: String,
        /// The key.
        key: String,
        /// Its value, shortened.
        found: String,
        /// What it should have been.
        expected: String,
    },
    /// A tensor that the description calls for is not in the checkpoint.
    #[error(
        "the checkpoint has no tensor '{name}' ({role}); it may be incomplete (is a shard missing?) or its \
         configuration may belong to another model"
    )]
    MissingTensor {
        /// Name that was looked for.
        name: String,
        /// What it is for.
        role: &'static str,
    },
    /// A tensor's shape is not what the configuration implies.
    #[error(
        "tensor '{name}' has shape {found:?}, but the configuration implies {expected:?}; \
         the weights and the configuration are of different models"
    )]
    WrongShape {
        /// Name of the tensor.
        name: String,
        /// Shape the description implies.
        expected: Vec<usize>,
        /// Shape in the checkpoint.
        found: Vec<usize>,
    },
    /// A tensor holds NaN or infinite values.
    #[error(
        "tensor '{name}' holds the value {value} at element {index}; the file is damaged or training diverged: \
         fetch it again or use another checkpoint"
    )]
    NotFinite {
        /// Name of the tensor.
        name: String,
        /// Index of the first offending element.
        index: usize,
        /// The offending value.
        value: f32,
    },
    /// The checkpoint could not be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A matrix could not be laid out for the kernels.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The sizes imply a state that cannot be.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// A batch could not be fed. The states of every row are exactly as they were before the call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// There are no rows.
    #[error("the batch has no rows; give at least one")]
    NoRows,
    /// A row has no tokens, so there is nothing to feed and no position to read logits at.
    #[error(
        "row {row} has no tokens; give at least one token, for instance the beginning-of-text token"
    )]
    NoTokens {
        /// Index of the row.
        row: usize,
    },
    /// A token is outside the vocabulary.
    #[error(
        "row {row}, token {index}: id {token} is outside the model's vocabulary of {vocab}; \
         was the text encoded with another model's tokenizer?"
    )]
    TokenOutOfRange {
        /// Index of the row.
        row: usize,
        /// Index of the token in the row.
        index: usize,
        /// The offending id.
        token: u32,
        /// Ids must be below this.
        vocab: usize,
    },
    /// A state was made for another model or other state types.
    #[error(
        "row {row}: the state belongs to model {found}, but this model is {expected}; \
         make the state with this model's new_state"
    )]
    ForeignState {
        /// Index of the row.
        row: usize,
        /// This model's fingerprint.
        expected: String,
        /// The state's fingerprint.
        found: String,
    },
    /// A row's vectors are not of the stack's width.
    #[error("row {row}: {found} numbers are no whole vectors of {d_model}; give `[n, {d_model}]`")]
    BadInputs {
        /// Index of the row.
        row: usize,
        /// Width of the stack.
        d_model: usize,
        /// Numbers in the row.
        found: usize,
    },
    /// The buffer for the outputs is not as long as the inputs together.
    #[error(
        "the inputs make {expected} outputs, but there is room for {found}; give a buffer of that length"
    )]
    BadOutput {
        /// Outputs of all rows.
        expected: usize,
        /// Length of the buffer.
        found: usize,
    },
    /// The row would run past the last position that can be counted.
    #[error(
        "row {row}: position {position} plus {tokens} tokens passes the limit of {limit}; start a new state"
    )]
    TooLong {
        /// Index of the row.
        row: usize,
        /// Tokens the state has already consumed.
        position: u64,
        /// Tokens in the row.
        tokens: usize,
        /// The largest position allowed.
        limit: u64,
    },
}
