//! The bytes of every token.

use serde_json::Value;

use super::TokenizerError;

/// Ids above this are refused: the table has an entry for every id below the largest.
const MAX_ID: u64 = 1 << 24;

const MODELS: &str =
    "BPE, Unigram and WordLevel models with byte-level, Metaspace or byte-fallback decoders";

/// How vocabulary strings stand for bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Spelling {
    /// GPT-2's table: every byte has a printable character.
    byte_level: bool,
    /// `▁` stands for a space.
    metaspace: bool,
    /// `<0x0A>` stands for a byte.
    byte_fallback: bool,
    /// One space at the very beginning of a text is not part of it.
    strips_first_space: bool,
}

/// Bytes of all tokens, end to end.
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// End of each token's bytes; `ends[id - 1]` is its beginning.
    ends: Vec<u32>,
    special: Vec<bool>,
    present: Vec<bool>,
    spelling: Spelling,
}

/// Refuses what `tokenizers` would accept but cannot be served, before it is built.
pub(super) fn check(json: &Value) -> Result<(), TokenizerError> {
    let model = json
        .get("model")
        .ok_or_else(|| TokenizerError::Invalid("it has no model".into()))?;
    let kind = model.get("type").and_then(Value::as_str).unwrap_or("BPE");
    if !matches!(kind, "BPE" | "Unigram" | "WordLevel") {
        return unsupported(format!("a {kind} model"));
    }
    for kind in decoder_kinds(json) {
        if matches!(kind, "WordPiece" | "CTC" | "BPEDecoder") {
            return unsupported(format!("a {kind} decoder"));
        }
    }
    let too_large = |id: &Value| id.as_u64().is_none_or(|id| id >= MAX_ID);
    if let Some(vocab) = model.get("vocab").and_then(Value::as_object)
        && let Some((token, id)) = vocab.iter().find(|(_, id)| too_large(id))
    {
        return Err(TokenizerError::Invalid(format!(
            "token '{token}' has the id {id}"
        )));
    }
    // Added tokens that the model's vocabulary lacks get the next free id, so every later id
    // stays small when these are.
    let added = json
        .get("added_tokens")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    for token in added {
        if token.get("id").is_none_or(too_large) {
            return Err(TokenizerError::Invalid(format!(
                "an added token has no valid id: {token}"
            )));
        }
        if token
            .get("content")
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
        {
            return Err(TokenizerError::Invalid(format!(
                "an added token has no text: {token}"
            )));
        }
    }
    Ok(())
}

fn unsupported(found: String) -> Result<(), TokenizerError> {
    Err(TokenizerError::Unsupported {
        found,
        supported: MODELS,
    })
}

fn decoders(json: &Value) -> Vec<&Value> {
    let Some(decoder) = json.get("decoder").filter(|d| d.is_object()) else {
        return Vec::new();
    };
    match decoder.get("decoders").and_then(Value::as_array) {
        Some(list) => list.iter().collect(),
        None => vec![decoder],
    }
}

fn decoder_kinds(json: &Value) -> impl Iterator<Item = &str> {
    decoders(json)
        .into_iter()
        .filter_map(|d| d.get("type")?.as_str())
}

impl Spelling {
    fn of(json: &Value) -> Self {
        let mut spelling = Self::default();
        for decoder in decoders(json) {
            let text = |key: &str| decoder.get(key).and_then(Value::as_str);
            match text("type") {
                Some("ByteLevel") => spelling.byte_level = true,
                Some("ByteFallback") => spelling.byte_fallback = true,
                Some("Metaspace") => {
                    spelling.metaspace = true;
                    spelling.strips_first_space |= text("prepend_scheme") != Some("never");
                }
                Some("Replace") => {
                    let pattern = decoder.get("pattern").and_then(|p| p.get("String"));
                    let from_metaspace = pattern.and_then(Value::as_str) == Some("▁");
                    spelling.metaspace |= from_metaspace && text("content") == Some(" ");
                }
                Some("Strip") => {
                    let start = decoder.get("start").and_then(Value::as_u64).unwrap_or(0);
                    spelling.strips_first_space |= start > 0 && text("content") == Some(" ");
                }
                _ => {}
            }
        }
        if json.get("decoder").is_none_or(Value::is_null) {
            // Some byte-level tokenizers were saved without their decoder.
            let pre = json
                .get("pre_tokenizer")
                .map(Value::to_string)
                .unwrap_or_default();
            spelling.byte_level = pre.contains("\"ByteLevel\"");
        }
        spelling
    }

    fn bytes(self, token: &str, out: &mut Vec<u8>) {
        if self.byte_level {
            let start = out.len();
            for c in token.chars() {
                match byte_of(c) {
                    Some(b) => out.push(b),
                    None => {
                        // An added token, written as plain text.
                        out.truncate(start);
                        out.extend(token.as_bytes());
                        return;
                    }
                }
            }
        } else if let Some(byte) = self.byte_fallback.then(|| fallback_byte(token)).flatten() {
            out.push(byte);
        } else if self.metaspace {
            out.extend(token.replace('▁', " ").as_bytes());
        } else {
            out.extend(token.as_bytes());
        }
    }
}

fn fallback_byte(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if hex.len() != 2 {
        None
    } else {
        u8::from_str_radix(hex, 16).ok()
    }
}

/// GPT-2's table: the bytes that print as themselves do, the others are numbered from U+0100 on.
fn byte_of(c: char) -> Option<u8> {
    match c as u32 {
        b @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(b as u8),
        n @ 0x100..=0x120 => Some((n - 0x100) as u8),
        n @ 0x121..=0x142 => Some((n - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

impl Pieces {
    pub(super) fn new(json: &Value, inner: &tokenizers::Tokenizer) -> Result<Self, TokenizerError> {
        let spelling = Spelling::of(json);
        let vocab = inner.get_vocab(true);
        let largest = vocab.values().copied().max().unwrap_or(0);
        if u64::from(largest) >= MAX_ID {
            return Err(TokenizerError::Invalid(format!(
                "the largest id is {largest}"
            )));
        }
        let len = if vocab.is_empty() {
            0
        } else {
            largest as usize + 1
        };
        let mut names: Vec<Option<&str>> = vec![None; len];
        for (token, &id) in &vocab {
            names[id as usize] = Some(token);
        }
        let mut special = vec![false; len];
        for (&id, token) in inner.get_added_vocabulary().get_added_tokens_decoder() {
            if let Some(flag) = special.get_mut(id as usize) {
                *flag = token.special;
                // A token of the model may have another name under the same id.
                names[id as usize] = Some(&token.content);
            }
        }
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(len);
        for name in &names {
            if let Some(name) = name {
                spelling.bytes(name, &mut bytes);
            }
            let end = u32::try_from(bytes.len())
                .map_err(|_| TokenizerError::Invalid("its vocabulary exceeds 4 GiB".into()))?;
            ends.push(end);
        }
        let present = names.iter().map(Option::is_some).collect();
        Ok(Self {
            bytes,
            ends,
            special,
            present,
            spelling,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn bytes(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        if !*self.present.get(id)? {
            return None;
        }
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        Some(&self.bytes[start as usize..self.ends[id] as usize])
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        self.special.get(id as usize).copied().unwrap_or(false)
    }

    pub(super) fn strips_first_space(&self) -> bool {
        self.spelling.strips_first_space
    }
}
