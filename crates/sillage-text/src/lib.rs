//! English text to phrases of phonemes, for American and British voices.
//!
//! A [`FrontEnd`] holds the tables of one accent; a [`Reader`] takes text in pieces and gives
//! [`Phrase`]s as soon as they are certain. On the way a text is cut at its marks, its numbers,
//! dates, abbreviations and signs become words, words get parts of speech where their reading
//! depends on it, and readings come from a dictionary, from its inflections, or letter by letter
//! from a small network. Every sound knows the word it comes from, as it was written.
//!
//! ```
//! use sillage_text::{Accent, FrontEnd};
//!
//! let front = FrontEnd::new(Accent::Us)?;
//! assert_eq!(front.normalise("Dr. Lee paid $5.20.")?, "doctor lee paid five dollars and twenty cents");
//! let mut reader = front.reader();
//! let early = reader.push("Hello there, my fr")?;
//! assert_eq!(early[0].phonemes(), "həlˈO ðˈɛɹ, ");
//! let rest = reader.push("iend.")?;
//! assert!(rest.is_empty());
//! assert_eq!(reader.finish()?[0].words[1].text, "friend.");
//! # Ok::<(), sillage_text::TextError>(())
//! ```
//!
//! Nothing here is under a licence that asks more than to be named: see the crate's README.
#![forbid(unsafe_code)]

mod dictionary;
mod error;
mod freeze;
#[doc(hidden)]
pub mod fuzzing;
mod heteronyms;
mod letters;
mod lexicon;
mod markup;
mod normalise;
mod phones;
mod phrase;
mod pronounce;
mod reader;
mod say;
mod split;
mod tagger;
mod tags;

pub use dictionary::Dictionary;
pub use error::TextError;
pub use phones::{inventory, parse as parse_phonemes};
pub use phrase::{LONGEST_PHRASE, Phrase, Unit, Word};
pub use reader::{FrontEnd, Reader};

/// Whose English.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Accent {
    /// American.
    #[default]
    Us,
    /// British.
    Gb,
}
