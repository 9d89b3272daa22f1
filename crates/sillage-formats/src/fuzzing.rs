//! What fuzzers and the replay of their corpora do with would-be files. Not part of the interface.
//!
//! Each function may fail in any typed way; it must not panic, hang or allocate without measure.

use std::collections::BTreeMap;

use crate::blocks::{TensorType, decode_f32};
use crate::chat::{ChatTemplate, Message};
use crate::checkpoint::{Checkpoint, Origin, TokenizerSource};
use crate::error::FormatError;
use crate::gguf::Gguf;
use crate::json;
use crate::safetensors_file::read_header;
use crate::source::Source;
use crate::tensors::Tensors;
use crate::tokenizer::Tokenizer;

/// Reads everything of a checkpoint.
fn read_all(checkpoint: &Checkpoint) -> Result<(), FormatError> {
    for (name, tensor) in &checkpoint.tensors {
        checkpoint.f32(name)?;
        if tensor.shape.len() == 2 && tensor.elements() > 0 {
            checkpoint.linear(name)?;
        }
    }
    checkpoint.fingerprint()?;
    if checkpoint.has_tokenizer() {
        let tokenizer = checkpoint.tokenizer()?;
        checkpoint.generation_defaults(Some(&tokenizer));
    }
    Ok(())
}

/// A GGUF file.
pub fn gguf(bytes: &[u8]) {
    if Gguf::parse(bytes).is_ok()
        && let Ok(checkpoint) = Checkpoint::from_vec(bytes.to_vec())
    {
        let _ = read_all(&checkpoint);
    }
}

/// A plain safetensors file, as folders hold them.
pub fn safetensors(bytes: &[u8]) {
    let source = std::sync::Arc::new(Source::from_vec("<fuzz>", bytes.to_vec()));
    let Ok(header) = read_header(&source) else {
        return;
    };
    let mut tensors: Tensors = BTreeMap::new();
    tensors.extend(header.tensors);
    let mut config = serde_json::json!({"model_type": "nemotron_h"});
    if crate::config::normalise("<fuzz>", &mut config, &mut tensors).is_err() {
        return;
    }
    let _ = read_all(&Checkpoint {
        name: "<fuzz>".to_owned(),
        origin: Origin::Folder,
        config,
        tensors,
        tokenizer: TokenizerSource::None,
        tokenizer_config: None,
        generation_config: None,
        chat_template: None,
    });
}

/// A tokenizer.json.
pub fn tokenizer(bytes: &[u8]) {
    let Ok(tokenizer) = Tokenizer::from_json(bytes) else {
        return;
    };
    for text in ["", "Hello, world 123", "<s>é🦀\u{0}  \n"] {
        if let Ok(ids) = tokenizer.encode(text, true) {
            tokenizer.decode(&ids, true);
        }
    }
    tokenizer.decode(&[0, 1, 2, 255, u32::MAX], false);
}

/// A config.json, and the same text as a chat template.
pub fn config(bytes: &[u8]) {
    if let Ok(mut config) = json::parse_object("<fuzz>", bytes) {
        let _ = crate::config::normalise("<fuzz>", &mut config, &mut Tensors::new());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let template = ChatTemplate::new(text.to_owned(), None);
        let _ = template.render(&[Message::new("user", "hi")], true);
    }
}

/// A file written by `quantize`; its first byte also chooses a block type to decode.
pub fn packed(bytes: &[u8]) {
    if let Ok(checkpoint) = Checkpoint::from_vec(bytes.to_vec()) {
        let _ = read_all(&checkpoint);
    }
    if let Some((first, rest)) = bytes.split_first() {
        let ty = TensorType::ALL[usize::from(*first) % TensorType::ALL.len()];
        let blocks = rest.len() / ty.block_bytes();
        let mut out = vec![0f32; blocks * ty.block_len()];
        let _ = decode_f32(ty, &rest[..blocks * ty.block_bytes()], &mut out);
    }
}
