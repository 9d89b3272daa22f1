//! Text to tokens and back.
//!
//! Encoding is done by the `tokenizers` crate from a tokenizer.json (GGUF vocabularies are turned
//! into one, see [`from_vocabulary`]). Decoding is done here, from a table of the bytes of every
//! token, so that decoding a whole text and streaming it token by token give the same string and
//! neither ever emits a broken character.

mod pieces;
mod stream;
mod vocabulary;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;
use thiserror::Error;

pub use stream::StreamDecoder;
pub use vocabulary::{Vocabulary, from_vocabulary};

use pieces::Pieces;

/// Why a tokenizer could not be built or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The JSON is malformed or describes something impossible.
    #[error("tokenizer: {0}; the file is damaged or is not a tokenizer.json, fetch it again")]
    Invalid(String),
    /// It describes a kind of tokenizer that language models here do not use.
    #[error("tokenizer: {found} is not supported; supported are {supported}")]
    Unsupported {
        /// What was found.
        found: String,
        /// What is supported.
        supported: &'static str,
    },
    /// A text could not be encoded.
    #[error("tokenizer: this text cannot be encoded: {0}")]
    Encode(String),
}

/// A tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    pieces: Pieces,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("tokens", &self.pieces.len())
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Builds a tokenizer from the bytes of a tokenizer.json.
    ///
    /// # Errors
    /// [`TokenizerError`] when the JSON is malformed or of an unsupported kind.
    pub fn from_json(json: &[u8]) -> Result<Self, TokenizerError> {
        let value: Value =
            serde_json::from_slice(json).map_err(|e| TokenizerError::Invalid(e.to_string()))?;
        pieces::check(&value)?;
        let built = guarded(|| tokenizers::Tokenizer::from_bytes(json));
        let mut inner = built
            .map_err(TokenizerError::Invalid)?
            .map_err(|e| TokenizerError::Invalid(e.to_string()))?;
        // A tokenizer saved with truncation or padding would silently cut or fill prompts.
        let _ = inner.with_truncation(None);
        inner.with_padding(None);
        let pieces = Pieces::new(&value, &inner)?;
        Ok(Self { inner, pieces })
    }

    /// Encodes a text. Special tokens written in the text are recognised; `special` adds those
    /// that the model expects around every text (usually one at its beginning, or none).
    ///
    /// # Errors
    /// [`TokenizerError::Encode`], for instance when a character is not in a vocabulary that has
    /// no token for unknown ones.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoded = guarded(|| self.inner.encode_fast(text, special));
        let encoding = encoded
            .map_err(TokenizerError::Encode)?
            .map_err(|e| TokenizerError::Encode(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Decodes tokens to text. Special tokens are left out unless `keep_special`; ids that are not
    /// in the vocabulary are left out; bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32], keep_special: bool) -> String {
        let mut stream = StreamDecoder::new(false, keep_special);
        let mut text = String::new();
        for &id in ids {
            text.push_str(&stream.push(self, id));
        }
        text + &stream.finish()
    }

    /// Decodes token by token. `continues` says that the text goes on from an earlier one, so that
    /// a space before its first word is kept.
    pub fn stream(&self, continues: bool) -> StreamDecoder {
        StreamDecoder::new(continues, false)
    }

    /// The bytes that a token stands for; `None` when the id is not in the vocabulary. They need
    /// not be UTF-8 by themselves.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.pieces.bytes(id)
    }

    /// Whether a token is special (a mark, not text).
    pub fn is_special(&self, id: u32) -> bool {
        self.pieces.is_special(id)
    }

    /// The id of a token given as it stands in the vocabulary, `<|im_end|>` for instance.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// One more than the largest id.
    pub fn size(&self) -> usize {
        self.pieces.len()
    }

    pub(crate) fn strips_first_space(&self) -> bool {
        self.pieces.strips_first_space()
    }
}

/// Runs code of the `tokenizers` crate, which still has panics that a hostile file can reach.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        format!(
            "inconsistent description ({})",
            text.unwrap_or("no details")
        )
    })
}
