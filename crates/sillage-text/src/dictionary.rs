//! Pronunciations of the user's own.

use std::collections::HashMap;

use crate::{Accent, TextError, phones};

/// Words and how they are to be said; they come before everything built in.
///
/// A word is looked up as written, then in lower case; an entry with capitals is for that
/// spelling only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dictionary {
    entries: HashMap<String, String>,
}

impl Dictionary {
    /// Reads a dictionary file: on each line a word, a tab and its phonemes, or a JSON object
    /// `{"word": "...", "phonemes": "..."}`. Phonemes are IPA or the voices' own. Empty lines and
    /// lines that start with `#` are passed over; of two entries for a word the later holds.
    ///
    /// # Errors
    /// The number of the first line that cannot be used, and why.
    pub fn parse(text: &str, accent: Accent) -> Result<Self, TextError> {
        let mut dictionary = Self::default();
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |reason: String| TextError::Dictionary {
                line: at + 1,
                reason,
            };
            let (word, phonemes) = if line.starts_with('{') {
                json(line)
            } else {
                columns(line)
            }
            .map_err(wrong)?;
            let phonemes = phones::parse(&phonemes, accent).map_err(|found| {
                wrong(format!(
                    "`{found}` is not a phoneme of English (IPA such as h|ə|l|oʊ is understood)"
                ))
            })?;
            dictionary.entries.insert(word, phonemes);
        }
        Ok(dictionary)
    }

    /// How many words it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn get(&self, word: &str) -> Option<String> {
        if self.entries.is_empty() {
            return None;
        }
        self.entries
            .get(word)
            .or_else(|| self.entries.get(&word.to_lowercase()))
            .cloned()
    }
}

fn columns(line: &str) -> Result<(String, String), String> {
    let (word, phonemes) = line.split_once('\t').ok_or("there is no tab".to_owned())?;
    word_of(word).map(|word| (word, phonemes.to_owned()))
}

fn word_of(word: &str) -> Result<String, String> {
    let word = word.trim();
    if word.is_empty() {
        return Err("the word is empty".to_owned());
    }
    if word.chars().any(char::is_whitespace) {
        return Err(format!("`{word}` is more than one word"));
    }
    Ok(word.replace('’', "'"))
}

/// The two strings of a flat JSON object.
fn json(line: &str) -> Result<(String, String), String> {
    let mut rest = line.strip_prefix('{').unwrap_or(line).trim_start();
    let (mut word, mut phonemes) = (None, None);
    loop {
        let (key, tail) = string(rest)?;
        let tail = tail
            .trim_start()
            .strip_prefix(':')
            .ok_or("a colon is missing")?;
        let (value, tail) = string(tail.trim_start())?;
        match key.as_str() {
            "word" => word = Some(value),
            "phonemes" => phonemes = Some(value),
            _ => return Err(format!("`{key}` is not known here")),
        }
        let tail = tail.trim_start();
        match tail.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None if tail == "}" => break,
            None => return Err("the object does not end with }".to_owned()),
        }
    }
    let word = word_of(&word.ok_or("\"word\" is missing")?)?;
    Ok((word, phonemes.ok_or("\"phonemes\" is missing")?))
}

/// The JSON string at the start of `text`, and what follows it.
fn string(text: &str) -> Result<(String, &str), String> {
    let body = text
        .strip_prefix('"')
        .ok_or("a string in double quotes is missing")?;
    let mut out = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((out, &body[at + 1..])),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('u') => out.push(unicode(&mut chars)?),
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(c @ ('"' | '\\' | '/')) => out.push(c),
                _ => return Err("a backslash is followed by an unknown letter".to_owned()),
            },
            _ => out.push(c),
        }
    }
    Err("a string is not closed".to_owned())
}

fn unicode(chars: &mut std::str::CharIndices<'_>) -> Result<char, String> {
    let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
    u32::from_str_radix(&digits, 16)
        .ok()
        .and_then(char::from_u32)
        .ok_or(format!("\\u{digits} is not a character"))
}
