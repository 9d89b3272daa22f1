//! From messages to tokens, without reading anything twice.

use super::{Conversation, TextModel};
use crate::fault::{Fault, Kind};
use sillage_formats::Message;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::PoisonError;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Conversations whose tokens are remembered by their text.
const REMEMBERED: usize = 4096;

/// What is to be read.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// All tokens.
    pub tokens: Vec<u32>,
    /// Positions whose states are worth keeping.
    pub marks: Vec<usize>,
    /// Whether what is written goes on from text.
    pub continues: bool,
    /// The text, if the tokens came from one.
    pub text: String,
}

/// The tokens of texts that were read and written here. Encoding a text afresh
/// could cut it differently, and its state would not be found.
#[derive(Default)]
pub(super) struct Told {
    tokens: HashMap<u128, Vec<u32>>,
    order: VecDeque<(u128, usize)>,
    /// How many texts there are of each length in bytes.
    lengths: BTreeMap<usize, usize>,
}

impl Told {
    /// The longest text known that `text` begins with: its bytes and its tokens.
    fn longest(&self, text: &str) -> Option<(usize, &Vec<u32>)> {
        let (mut hash, mut hashed, mut best) = (Xxh3::new(), 0, None);
        for (&length, _) in self.lengths.range(..=text.len()) {
            if text.is_char_boundary(length) {
                hash.update(&text.as_bytes()[hashed..length]);
                hashed = length;
                let found = self.tokens.get(&hash.digest128());
                best = found.map(|tokens| (length, tokens)).or(best);
            }
        }
        best
    }

    pub(super) fn put(&mut self, text: &str, tokens: Vec<u32>) {
        let key = xxh3_128(text.as_bytes());
        if self.tokens.insert(key, tokens).is_some() {
            return;
        }
        self.order.push_back((key, text.len()));
        *self.lengths.entry(text.len()).or_default() += 1;
        if self.order.len() > REMEMBERED
            && let Some((oldest, length)) = self.order.pop_front()
        {
            self.tokens.remove(&oldest);
            if let Some(count) = self.lengths.get_mut(&length) {
                *count -= 1;
                if *count == 0 {
                    self.lengths.remove(&length);
                }
            }
        }
    }
}

impl TextModel {
    /// A prompt of plain text.
    ///
    /// # Errors
    /// If the text cannot be encoded.
    pub fn plain(&self, text: &str) -> Result<Prompt, Fault> {
        let tokens = self.encode(text, true)?;
        Ok(Prompt {
            continues: !tokens.is_empty(),
            tokens,
            marks: Vec::new(),
            text: text.to_owned(),
        })
    }

    /// Text that goes on from a stored conversation's tokens.
    ///
    /// # Errors
    /// If the text cannot be encoded.
    pub fn plain_after(&self, before: &Conversation, text: &str) -> Result<Prompt, Fault> {
        let mut tokens = before.tokens.clone();
        tokens.extend(self.encode(text, false)?);
        Ok(Prompt {
            tokens,
            marks: Vec::new(),
            continues: true,
            text: text.to_owned(),
        })
    }

    /// A conversation as the model's template puts it, the assistant to speak
    /// next. `variables` are further ones of the template, such as `tools`.
    /// `stored` is the part that was answered before, if that is known.
    ///
    /// # Errors
    /// If the template refuses the messages, or they cannot be encoded.
    pub fn chat(
        &self,
        messages: &[Message],
        variables: &serde_json::Value,
        stored: Option<&Conversation>,
    ) -> Result<Prompt, Fault> {
        let text = self.render(messages, variables)?;
        let known = match stored.filter(|s| s.exact) {
            Some(stored) => self.known(messages, variables, &text, stored)?,
            None => None,
        };
        let known = known.or_else(|| {
            let told = self.told();
            let (length, tokens) = told.longest(&text)?;
            Some((length, tokens.clone()))
        });
        let known = match known {
            Some(known) => Some(known),
            None => self.told_elsewhere(messages, variables, &text)?,
        };
        let tokens = match known {
            Some((length, mut tokens)) => {
                tokens.extend(self.encode(&text[length..], false)?);
                tokens
            }
            None => self.encode(&text, self.template.is_none())?,
        };
        Ok(Prompt {
            marks: self.marks(messages, variables, &tokens)?,
            continues: !tokens.is_empty(),
            tokens,
            text,
        })
    }

    /// The tokens of a stored conversation, if `text` begins with it.
    fn known(
        &self,
        messages: &[Message],
        variables: &serde_json::Value,
        text: &str,
        stored: &Conversation,
    ) -> Result<Option<(usize, Vec<u32>)>, Fault> {
        let said = messages.get(..stored.messages.len());
        let Some((answer, asked)) = said.and_then(<[_]>::split_last) else {
            return Ok(None);
        };
        let told = self.render(asked, variables)? + &answer.content;
        let begins = text.starts_with(&told);
        Ok(begins.then(|| (told.len(), stored.tokens.clone())))
    }

    /// The tokens of the part that another replica answered.
    fn told_elsewhere(
        &self,
        messages: &[Message],
        variables: &serde_json::Value,
        text: &str,
    ) -> Result<Option<(usize, Vec<u32>)>, Fault> {
        let answered = messages.iter().rposition(|m| m.role == "assistant");
        let (Some(shared), Some(answered)) = (&self.shared, answered) else {
            return Ok(None);
        };
        let told = self.render(&messages[..answered], variables)? + &messages[answered].content;
        if !text.starts_with(&told) {
            return Ok(None);
        }
        let tokens = shared.told(xxh3_128(told.as_bytes()));
        Ok(tokens.map(|tokens| (told.len(), tokens)))
    }

    /// Remembers which tokens a prompt and its answer are.
    pub fn remember(&self, prompt: &Prompt, answer: &str, tokens: &[u32]) {
        let text = format!("{}{answer}", prompt.text);
        if let Some(shared) = &self.shared {
            shared.tell(xxh3_128(text.as_bytes()), tokens.to_vec());
        }
        self.told().put(&text, tokens.to_vec());
    }

    /// Remembers what the store's states have read, after a restart.
    pub(super) fn recall(&self) {
        let mut told = self.told();
        for entry in self.store.entries().into_iter().take(REMEMBERED) {
            if let Some(tokens) = self.store.tokens(entry.key) {
                let text = self.tokenizer.decode(&tokens, true);
                // A text that ends within a character is no beginning of any.
                if !text.ends_with('\u{fffd}') {
                    told.put(&text, tokens.to_vec());
                }
            }
        }
    }

    /// Where the system's message ends: what many conversations share.
    fn marks(
        &self,
        messages: &[Message],
        variables: &serde_json::Value,
        tokens: &[u32],
    ) -> Result<Vec<usize>, Fault> {
        let Some((first, _)) = messages.split_first().filter(|(m, _)| m.role == "system") else {
            return Ok(Vec::new());
        };
        // Templates may refuse a system's message alone: then there is no mark.
        let Ok(text) = self.put(std::slice::from_ref(first), variables, false) else {
            return Ok(Vec::new());
        };
        let head = self.encode(&text, self.template.is_none())?;
        let same = head.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        Ok(if same > 8 { vec![same] } else { Vec::new() })
    }

    fn render(&self, messages: &[Message], variables: &serde_json::Value) -> Result<String, Fault> {
        self.put(messages, variables, true)
    }

    fn put(
        &self,
        messages: &[Message],
        variables: &serde_json::Value,
        ask: bool,
    ) -> Result<String, Fault> {
        let Some(template) = &self.template else {
            return Ok(prose(messages));
        };
        let text = template.render_with(messages, ask, variables);
        text.map_err(|error| {
            let mut fault = Fault::new(Kind::BadRequest, "chat_template", error.to_string());
            fault.param = Some("messages".to_owned());
            fault
        })
    }

    /// Encodes a text.
    ///
    /// # Errors
    /// If the tokenizer cannot.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, Fault> {
        if text.len() > self.longest {
            let (found, most) = (text.len(), self.longest);
            let message = format!(
                "the text has {found} bytes and {most} are taken: send less, or raise limits.prompt_bytes"
            );
            return Err(Fault::bad("prompt", message));
        }
        let lock = || self.long.lock().unwrap_or_else(PoisonError::into_inner);
        let _alone = (text.len() > super::LONG).then(lock);
        let tokens = self.tokenizer.encode(text, special);
        tokens.map_err(|error| Fault::bad("prompt", error.to_string()))
    }
}

/// A conversation with a model that knows no conversations, only texts: the
/// messages are paragraphs, and an answer goes on from what was said.
fn prose(messages: &[Message]) -> String {
    let mut text = String::new();
    let mut answered = false;
    for message in messages {
        let answer = message.role == "assistant";
        if !text.is_empty() && (answered || !answer) {
            text.push_str("\n\n");
        }
        text.push_str(&message.content);
        answered = answer;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_goes_on_from_what_was_said() {
        let said = [
            Message::new("system", "A tale."),
            Message::new("user", "It was night"),
            Message::new("assistant", " and cold."),
            Message::new("user", "Then"),
        ];
        assert_eq!(prose(&said), "A tale.\n\nIt was night and cold.\n\nThen");
        // What was told is a beginning of what is told next.
        let told = prose(&said[..2]) + &said[2].content;
        assert!(prose(&said).starts_with(&told));
    }

    #[test]
    fn the_longest_beginning_is_found_and_the_oldest_forgotten() {
        let mut told = Told::default();
        for n in 0..=REMEMBERED {
            told.put(&format!("text {n}."), vec![n as u32]);
        }
        assert_eq!(told.longest("text 0. And on."), None);
        assert_eq!(told.longest("text 1. And on."), Some((7, &vec![1])));
        told.put("text 1. And ö", vec![1, 2]);
        assert_eq!(told.longest("text 1. And ön."), Some((14, &vec![1, 2])));
        assert_eq!(told.longest("text 1. And o"), None);
        assert_eq!(told.longest(""), None);
        assert_eq!(told.order.len(), told.tokens.len());
        assert_eq!(told.lengths.values().sum::<usize>(), told.tokens.len());
    }
}
