//! The single-file checkpoint that `quantize` writes: a safetensors file whose `__metadata__`
//! carries the settings, and whose quantised matrices are raw blocks (U8) with their type and
//! shape recorded.
//!
//! Metadata keys, all strings: `format` = `sillage`, `sillage.version` = `1`, `config` (JSON),
//! `tensors` (JSON: name -> [type, shape...], for those stored as raw blocks), and optionally
//! `tokenizer_config`, `generation_config` (JSON) and `chat_template`. The tokenizer's JSON is a U8
//! tensor named `tokenizer.json`: as a string in the header every quote would cost two bytes.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::blocks::TensorType;
use crate::checkpoint::{Checkpoint, Origin, TokenizerSource};
use crate::error::FormatError;
use crate::json;
use crate::safetensors_file::read_header;
use crate::source::Source;
use crate::tensors::{Stored, Tensor, Tensors};

pub(crate) const VERSION: &str = "1";
pub(crate) const TOKENIZER: &str = "tokenizer.json";

/// Opens such a file.
pub(crate) fn open(source: &Arc<Source>) -> Result<Checkpoint, FormatError> {
    let header = read_header(source)?;
    let file = source.name().to_owned();
    let metadata = header.metadata;
    match (
        metadata.get("format").map(String::as_str),
        metadata.get("sillage.version"),
    ) {
        (Some("sillage"), Some(version)) if version == VERSION => {}
        (Some("sillage"), version) => {
            let version = version.map_or("none", String::as_str);
            return Err(FormatError::Unsupported {
                what: format!("{file}: version {version} of the packed format"),
                cure: "this build reads version 1: use a newer build, or quantize the model again",
            });
        }
        _ => {
            let found = "a safetensors file without settings".to_owned();
            return Err(FormatError::NotAModel { path: file, found });
        }
    }
    let config = metadata
        .get("config")
        .ok_or_else(|| missing(&file, "config"))?;
    let config = json::parse_object(&format!("{file} (config)"), config.as_bytes())?;
    let types = metadata
        .get("tensors")
        .ok_or_else(|| missing(&file, "tensors"))?;
    let types = json::parse_object(&format!("{file} (tensors)"), types.as_bytes())?;
    let mut tensors = Tensors::new();
    let mut tokenizer = TokenizerSource::None;
    for (name, tensor) in header.tensors {
        if name == TOKENIZER {
            tokenizer = TokenizerSource::Json(raw_bytes(source, &tensor)?);
        } else {
            let tensor = match types.get(&name) {
                Some(entry) => typed(&file, &name, &tensor, entry, source)?,
                None => tensor,
            };
            tensors.insert(name, tensor);
        }
    }
    let part = |key: &str| optional(&metadata, key, &file);
    Ok(Checkpoint {
        origin: Origin::Packed,
        config,
        tensors,
        tokenizer,
        tokenizer_config: part("tokenizer_config")?,
        generation_config: part("generation_config")?,
        chat_template: metadata.get("chat_template").cloned(),
        name: file,
    })
}

fn missing(file: &str, key: &str) -> FormatError {
    FormatError::Setting {
        file: file.to_owned(),
        key: key.to_owned(),
        problem: "is missing".to_owned(),
    }
}

fn optional(
    metadata: &HashMap<String, String>,
    key: &str,
    file: &str,
) -> Result<Option<Value>, FormatError> {
    let Some(text) = metadata.get(key) else {
        return Ok(None);
    };
    json::parse_object(&format!("{file} ({key})"), text.as_bytes()).map(Some)
}

fn raw_bytes(source: &Source, tensor: &Tensor) -> Result<Vec<u8>, FormatError> {
    let offset = tensor.parts.first().map_or(0, |p| p.offset);
    source.read_vec(offset, tensor.elements() as u64)
}

/// A U8 tensor seen as the blocks it holds.
fn typed(
    file: &str,
    name: &str,
    raw: &Tensor,
    entry: &Value,
    source: &Arc<Source>,
) -> Result<Tensor, FormatError> {
    let bad = |problem: String| FormatError::Setting {
        file: file.to_owned(),
        key: format!("tensors.{name}"),
        problem,
    };
    let list = entry
        .as_array()
        .ok_or_else(|| bad(format!("is {entry}, not a list")))?;
    let (ty, shape) = list
        .split_first()
        .ok_or_else(|| bad("is empty".to_owned()))?;
    let ty = ty.as_str().unwrap_or_default();
    let ty = TensorType::from_name(ty).ok_or_else(|| FormatError::UnsupportedType {
        tensor: name.to_owned(),
        found: ty.to_owned(),
    })?;
    let shape: Option<Vec<usize>> = shape
        .iter()
        .map(|n| {
            n.as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| *n > 0)
        })
        .collect();
    let shape = shape
        .filter(|s| !s.is_empty())
        .ok_or_else(|| bad("has no valid shape".to_owned()))?;
    let cols = shape.last().copied().unwrap_or(1);
    let rows = shape[..shape.len() - 1]
        .iter()
        .try_fold(1usize, |a, n| a.checked_mul(*n));
    let bytes = rows
        .zip(ty.bytes(cols))
        .and_then(|(rows, row)| rows.checked_mul(row));
    let stored = raw.parts.first().map(|p| &p.stored);
    if stored != Some(&Stored::Other("U8".to_owned())) || bytes != Some(raw.elements()) {
        return Err(bad(format!(
            "says {} {shape:?}, but {} bytes are stored",
            ty.name(),
            raw.elements()
        )));
    }
    let offset = raw.parts.first().map_or(0, |p| p.offset);
    Ok(Tensor::new(source, offset, shape, Stored::Known(ty)))
}
