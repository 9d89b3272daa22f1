//! Decoding token by token.

use super::Tokenizer;

/// Turns tokens into text as they come; characters that are spread over several tokens are held
/// back until they are whole.
#[derive(Clone, Debug)]
pub struct StreamDecoder {
    /// At most three bytes between calls: the beginning of a character.
    pending: Vec<u8>,
    /// Whether the next text is the very first.
    first: bool,
    keep_special: bool,
}

impl StreamDecoder {
    pub(super) fn new(continues: bool, keep_special: bool) -> Self {
        Self {
            pending: Vec::new(),
            first: !continues,
            keep_special,
        }
    }

    /// Adds a token and gives the text that is certain now, possibly none. Special tokens and ids
    /// outside the vocabulary give none.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        if !self.keep_special && tokenizer.is_special(id) {
            return String::new();
        }
        let mut bytes = tokenizer.token_bytes(id).unwrap_or_default();
        if self.first && !bytes.is_empty() {
            if tokenizer.strips_first_space() && bytes[0] == b' ' {
                bytes = &bytes[1..];
            }
            self.first = false;
        }
        self.pending.extend(bytes);
        self.take_whole()
    }

    /// What is left at the end: an unfinished character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }

    fn take_whole(&mut self) -> String {
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        let kept = loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    break 0;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    match error.error_len() {
                        // These bytes can never become a character.
                        Some(len) => {
                            text.push('\u{fffd}');
                            rest = &after[len..];
                        }
                        // These may, with what comes next.
                        None => break after.len(),
                    }
                }
            }
        };
        self.pending.drain(..self.pending.len() - kept);
        text
    }
}
