//! What can be wrong with a text, and how to put it right.

/// A mistake in the markup of a text or in a dictionary file.
///
/// Plain text cannot be wrong: whatever is not markup is read aloud or passed over. Offsets are
/// bytes from the start of everything that the reader was given.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A tag that is not one of ours.
    #[error(
        "byte {offset}: <{name}/> is not a tag that can be spoken; use <break time=\"1s\"/>, <spell>...</spell>, <speed ratio=\"1.2\"/>, <volume ratio=\"0.8\"/> or <<h|ə|l|oʊ>>, or write \"&lt;\" for a plain <"
    )]
    UnknownTag {
        /// Where the tag starts.
        offset: usize,
        /// The name found.
        name: String,
    },
    /// A tag that starts and does not end.
    #[error("byte {offset}: {what} is not closed; end it with {cure}")]
    Unclosed {
        /// Where the tag starts.
        offset: usize,
        /// The tag.
        what: &'static str,
        /// What was expected.
        cure: &'static str,
    },
    /// A closing tag without its opening.
    #[error("byte {offset}: </{name}> closes nothing; remove it or open it with <{name}>")]
    Unopened {
        /// Where the tag starts.
        offset: usize,
        /// The name of the tag.
        name: String,
    },
    /// An attribute that is missing, misspelt or not a number.
    #[error("byte {offset}: <{name}> needs {cure}, found `{found}`")]
    Attribute {
        /// Where the tag starts.
        offset: usize,
        /// The name of the tag.
        name: &'static str,
        /// What stands there.
        found: String,
        /// The right form.
        cure: &'static str,
    },
    /// A value outside its range.
    #[error("byte {offset}: {name} {found} is out of range; give a value from {from} to {to}")]
    Range {
        /// Where the tag starts.
        offset: usize,
        /// What the value is.
        name: &'static str,
        /// The value found.
        found: String,
        /// The least value allowed.
        from: &'static str,
        /// The greatest value allowed.
        to: &'static str,
    },
    /// Phonemes that no voice knows.
    #[error(
        "byte {offset}: `{found}` is not a phoneme of English; use IPA such as h|ə|l|oʊ, stress as ˈ or ˌ before its vowel"
    )]
    UnknownPhoneme {
        /// Where the markup starts.
        offset: usize,
        /// What was not understood.
        found: String,
    },
    /// `<<>>` or a spelling of nothing.
    #[error("byte {offset}: {what} is empty; put something between its marks or remove it")]
    Empty {
        /// Where the tag starts.
        offset: usize,
        /// The tag.
        what: &'static str,
    },
    /// A line of a dictionary file that cannot be used.
    #[error(
        "dictionary line {line}: {reason}; write a word, a tab and its phonemes, or {{\"word\": ..., \"phonemes\": ...}}"
    )]
    Dictionary {
        /// Counted from one.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Bytes that hold no frozen reader.
    #[error(
        "these bytes are not a frozen reader of text; give those that freeze returned, unchanged"
    )]
    Frozen,
    /// The tables inside this library are damaged.
    #[error("the built-in table `{0}` is damaged; rebuild the library from a clean checkout")]
    Table(&'static str),
}
