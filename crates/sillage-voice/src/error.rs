//! What can go wrong, and the cure of each.

use sillage_formats::FormatError;
use sillage_models::{ForwardError, ModelError};
use sillage_state::{LayoutError, StateFileError};

/// A voice model could not be loaded, or could not speak.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VoiceError {
    /// The checkpoint is something else.
    #[error(
        "the checkpoint's model_type is {found}, not sillage-voice; give the file of a voice model"
    )]
    NotAVoiceModel {
        /// `model_type` as the configuration has it.
        found: String,
    },
    /// The configuration asks for what this build does not have.
    #[error(
        "the voice model's '{key}' is {found}, but this build needs {expected}; \
         export the model again with this version's recipe, or use a newer build"
    )]
    Setting {
        /// The key.
        key: String,
        /// Its value, shortened.
        found: String,
        /// What would work.
        expected: String,
    },
    /// Two parts of the configuration do not fit each other.
    #[error("the voice model's {what} is {found} wide, but {expected} is needed; export it again")]
    Width {
        /// The part.
        what: &'static str,
        /// Its width.
        found: usize,
        /// The width that would fit.
        expected: usize,
    },
    /// A part of the model could not be loaded.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The checkpoint could not be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The sizes imply a state that cannot be.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A stack refused what it was fed.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A voice made for another model.
    #[error(
        "voice '{name}' was made for voice space '{found}', but this model's is '{expected}'; \
         clone the voice again with this model"
    )]
    ForeignVoice {
        /// The voice.
        name: String,
        /// Its space.
        found: String,
        /// The model's.
        expected: String,
    },
    /// A voice's numbers are not numbers, or absurdly large.
    #[error("voice '{name}' holds the value {value}, which no voice can have; clone it again")]
    BadVoice {
        /// The voice.
        name: String,
        /// The first such value.
        value: f32,
    },
    /// No voices, or weights that do not add up to anything, were given to be mixed.
    #[error("voices can be mixed with finite weights of at least zero and a sum above zero")]
    BadMix,
    /// A symbol the model does not know.
    #[error(
        "unit {index} of a phrase has symbol number {symbol}, but the model knows {known}; \
         use the symbols of this model's configuration"
    )]
    UnknownSymbol {
        /// Which unit.
        index: usize,
        /// Its symbol.
        symbol: u16,
        /// Symbols are below this.
        known: usize,
    },
    /// A phrase longer than the text encoder was trained for.
    #[error("a phrase of {found} units is longer than {limit}; cut it at a space")]
    LongPhrase {
        /// Its units.
        found: usize,
        /// The most there may be.
        limit: usize,
    },
    /// A setting of a phrase is out of range.
    #[error("a phrase's {what} is {found}; it must be {expected}")]
    BadPhrase {
        /// The setting.
        what: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A phrase came after the end.
    #[error("the utterance was finished; start a new one for more text")]
    Finished,
    /// An utterance of another model.
    #[error(
        "utterance {index} was started with another model's speaker; make the speaker with this model"
    )]
    ForeignUtterance {
        /// Its index in the call.
        index: usize,
    },
    /// The weights made something that is not a number.
    #[error(
        "the {part} made a value that is not finite; the model's weights (or the voice) are damaged: \
         fetch or clone them again"
    )]
    NotFinite {
        /// Which part of the model.
        part: &'static str,
    },
    /// A recording too short to hear a voice in.
    #[error("the recording holds {found:.1} s of speech; a voice needs at least {needed:.1} s")]
    ShortClip {
        /// Seconds of speech found.
        found: f64,
        /// Seconds that are needed.
        needed: f64,
    },
    /// A recording without sound, or with samples that are no numbers.
    #[error("the recording {what}; record it again")]
    BadClip {
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A voice file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VoiceFileError {
    /// It could not be read or written at all.
    #[error("the voice file could not be {doing}: {source}")]
    Io {
        /// `read` or `written`.
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// It does not begin as voice files do.
    #[error("this is no voice file; voices are made with `sillage clone`")]
    NotAVoice,
    /// It is from before voices had tokens.
    #[error(
        "the voice file is of version {found}, this build reads {known}: older voices lack what it \
         speaks with; clone the voice again from its recording"
    )]
    Old {
        /// Its version.
        found: u32,
        /// What this build reads.
        known: u32,
    },
    /// It is of a later version.
    #[error("the voice file is of version {found}, this build reads {known}; use a newer build")]
    Version {
        /// Its version.
        found: u32,
        /// What this build reads.
        known: u32,
    },
    /// It is cut off, or a byte of it changed.
    #[error("the voice file is damaged ({what}); copy it again, or clone the voice again")]
    Damaged {
        /// What was found wrong.
        what: &'static str,
    },
    /// Its description is too long to be one.
    #[error(
        "the voice's description takes {found} bytes, more than the {limit} allowed; shorten it"
    )]
    TooLong {
        /// Bytes of the description.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// A frozen utterance could not be resumed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrozenError {
    /// It does not begin as frozen utterances do.
    #[error("these bytes are no frozen utterance")]
    NotFrozen,
    /// It is of another version.
    #[error(
        "the utterance was frozen by version {found}, this build reads {known}; \
         resume it with the build that froze it, or speak it again"
    )]
    Version {
        /// Its version.
        found: u32,
        /// What this build reads.
        known: u32,
    },
    /// It is cut off, or a byte of it changed.
    #[error("the frozen utterance is damaged ({what}); freeze it again")]
    Damaged {
        /// What was found wrong.
        what: String,
    },
    /// One of its states belongs to another model or is damaged.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// Its voice or its phrases do not fit this model.
    #[error(transparent)]
    Voice(#[from] VoiceError),
    /// Its voice cannot be read.
    #[error(transparent)]
    VoiceFile(#[from] VoiceFileError),
}
