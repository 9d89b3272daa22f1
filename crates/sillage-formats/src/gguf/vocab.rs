//! The vocabulary and the token settings of a GGUF file.

use serde_json::{Map, Value as Json, json};

use super::Gguf;
use super::value::{Array, Value};
use crate::tokenizer::Vocabulary;

fn get<'a>(gguf: &'a Gguf, key: &str) -> Option<&'a Value> {
    gguf.metadata.get(&format!("tokenizer.ggml.{key}"))
}

fn id(gguf: &Gguf, key: &str) -> Option<u32> {
    get(gguf, key)?
        .as_u64()
        .and_then(|id| u32::try_from(id).ok())
}

pub(super) fn text<'a>(gguf: &'a Gguf, key: &str) -> Option<&'a str> {
    gguf.metadata.get(key).and_then(Value::as_str)
}

fn strings(gguf: &Gguf, key: &str) -> Vec<String> {
    match get(gguf, key) {
        Some(Value::Array(Array::Strings(list))) => list.clone(),
        _ => Vec::new(),
    }
}

/// The vocabulary, if the file has one.
pub(super) fn vocabulary(gguf: &Gguf) -> Option<Vocabulary> {
    Some(Vocabulary {
        model: get(gguf, "model")?.as_str()?.to_owned(),
        pre: get(gguf, "pre").and_then(Value::as_str).map(str::to_owned),
        tokens: strings(gguf, "tokens"),
        kinds: match get(gguf, "token_type") {
            Some(Value::Array(Array::Integers(list))) => list.clone(),
            _ => Vec::new(),
        },
        scores: match get(gguf, "scores") {
            Some(Value::Array(Array::Floats(list))) => list.clone(),
            _ => Vec::new(),
        },
        merges: strings(gguf, "merges"),
        bos: id(gguf, "bos_token_id"),
        eos: id(gguf, "eos_token_id"),
        add_bos: get(gguf, "add_bos_token").and_then(Value::as_bool),
        add_eos: get(gguf, "add_eos_token")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        add_space_prefix: get(gguf, "add_space_prefix").and_then(Value::as_bool),
    })
}

/// Adds the ids that begin and end texts to the settings. A chat model's turn ends with another
/// token than a document; both end an answer.
pub(super) fn add_token_ids(gguf: &Gguf, config: &mut Map<String, Json>) {
    if let Some(bos) = id(gguf, "bos_token_id") {
        config.insert("bos_token_id".into(), bos.into());
    }
    let ends = ["eos_token_id", "eot_token_id", "eom_token_id"];
    let mut ends: Vec<u32> = ends.iter().filter_map(|key| id(gguf, key)).collect();
    ends.dedup();
    if !ends.is_empty() {
        config.insert("eos_token_id".into(), ends.into());
    }
}

/// The special tokens by name, as a tokenizer_config.json has them.
pub(super) fn tokenizer_config(gguf: &Gguf) -> Json {
    let mut config = json!({});
    let Some(Value::Array(Array::Strings(tokens))) = get(gguf, "tokens") else {
        return config;
    };
    let names = [
        ("bos_token", "bos_token_id"),
        ("eos_token", "eos_token_id"),
        ("unk_token", "unknown_token_id"),
        ("pad_token", "padding_token_id"),
    ];
    for (name, key) in names {
        if let Some(token) = id(gguf, key).and_then(|id| tokens.get(id as usize)) {
            config[name] = token.clone().into();
        }
    }
    config
}
