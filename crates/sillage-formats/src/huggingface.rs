//! Folders as published on the Hugging Face hub: config.json, one or several safetensors files,
//! tokenizer.json and what goes with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::error::FormatError;
use crate::json;
use crate::safetensors_file::read_header;
use crate::source::{Source, read_small};
use crate::tensors::Tensors;

/// Largest tokenizer.json that is read (the largest published ones have about 35 MB).
const TOKENIZER_LIMIT: u64 = 512 << 20;

const INDEX: &str = "model.safetensors.index.json";

/// What a folder holds, before names and settings are made uniform.
pub(crate) struct Folder {
    pub(crate) config: Value,
    pub(crate) tensors: Tensors,
    pub(crate) tokenizer: Option<Vec<u8>>,
    pub(crate) tokenizer_config: Option<Value>,
    pub(crate) generation_config: Option<Value>,
    pub(crate) chat_template: Option<String>,
}

/// Reads the descriptions and headers of a folder; no tensor yet.
pub(crate) fn open(folder: &Path) -> Result<Folder, FormatError> {
    let config_path = folder.join("config.json");
    if !config_path.is_file() {
        return Err(FormatError::MissingFile {
            folder: folder.display().to_string(),
            file: "config.json".to_owned(),
            cure: "point at a folder downloaded from the hub, or at a .gguf file",
        });
    }
    let config = required_json(&config_path)?;
    let tensors = open_weights(folder)?;
    let tokenizer = match folder.join("tokenizer.json") {
        path if path.is_file() => Some(read_small(&path, TOKENIZER_LIMIT)?),
        _ => None,
    };
    let tokenizer_config = optional_json(&folder.join("tokenizer_config.json"))?;
    let generation_config = optional_json(&folder.join("generation_config.json"))?;
    let chat_template = match folder.join("chat_template.jinja") {
        path if path.is_file() => {
            let bytes = read_small(&path, json::SMALL_JSON)?;
            Some(String::from_utf8(bytes).map_err(|e| FormatError::Json {
                file: path.display().to_string(),
                message: format!("not UTF-8: {e}"),
            })?)
        }
        _ => tokenizer_config.as_ref().and_then(template_in),
    };
    Ok(Folder {
        config,
        tensors,
        tokenizer,
        tokenizer_config,
        generation_config,
        chat_template,
    })
}

/// The template in a tokenizer_config.json: one string, or several by name of which "default" is
/// meant for chats.
fn template_in(config: &Value) -> Option<String> {
    match config.get("chat_template")? {
        Value::String(template) => Some(template.clone()),
        Value::Array(named) => named
            .iter()
            .find(|t| t.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|t| t.get("template"))
            .and_then(Value::as_str)
            .map(str::to_owned),
        _ => None,
    }
}

fn required_json(path: &Path) -> Result<Value, FormatError> {
    let bytes = read_small(path, json::SMALL_JSON)?;
    json::parse_object(&path.display().to_string(), &bytes)
}

fn optional_json(path: &Path) -> Result<Option<Value>, FormatError> {
    if path.is_file() {
        required_json(path).map(Some)
    } else {
        Ok(None)
    }
}

fn open_weights(folder: &Path) -> Result<Tensors, FormatError> {
    let index = folder.join(INDEX);
    if index.is_file() {
        return open_sharded(folder, &index);
    }
    let single = folder.join("model.safetensors");
    if single.is_file() {
        let mut tensors = Tensors::new();
        add_file(&single, &mut tensors)?;
        return Ok(tensors);
    }
    let pickled = folder.join("pytorch_model.bin").is_file();
    Err(FormatError::MissingFile {
        folder: folder.display().to_string(),
        file: format!("model.safetensors (or {INDEX})"),
        cure: match pickled {
            true => "pytorch_model.bin is a pickle, which is not read: convert it to safetensors",
            false => "the download is incomplete, fetch the weights too",
        },
    })
}

fn add_file(path: &Path, tensors: &mut Tensors) -> Result<(), FormatError> {
    let source = Arc::new(Source::open(path)?);
    for (name, tensor) in read_header(&source)?.tensors {
        if let Some(first) = tensors.get(&name) {
            return Err(FormatError::DuplicateTensor {
                first: first
                    .parts
                    .first()
                    .map_or("?", |p| p.source.name())
                    .to_owned(),
                second: source.name().to_owned(),
                tensor: name,
            });
        }
        tensors.insert(name, tensor);
    }
    Ok(())
}

/// Opens every shard that the index names and checks that the two agree, in both directions.
fn open_sharded(folder: &Path, index_path: &Path) -> Result<Tensors, FormatError> {
    let index_name = index_path.display().to_string();
    let index = required_json(index_path)?;
    let map = index
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| FormatError::Json {
            file: index_name.clone(),
            message: "it has no object 'weight_map'".to_owned(),
        })?;
    let mut by_shard: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, shard) in map {
        let shard = shard
            .as_str()
            .filter(|s| plain_file_name(s))
            .ok_or_else(|| FormatError::Json {
                file: index_name.clone(),
                message: format!("the shard of '{tensor}' is not a plain file name: {shard}"),
            })?;
        by_shard.entry(shard).or_default().push(tensor);
    }
    let mut tensors = Tensors::new();
    for (shard, names) in by_shard {
        let problem = |tensor: &str, problem| FormatError::Shard {
            index: index_name.clone(),
            tensor: tensor.to_owned(),
            shard: shard.to_owned(),
            problem,
        };
        let path = folder.join(shard);
        if !path.is_file() {
            return Err(problem(
                names.first().copied().unwrap_or("?"),
                "does not exist",
            ));
        }
        let mut found = Tensors::new();
        add_file(&path, &mut found)?;
        for name in names {
            let tensor = found
                .remove(name)
                .ok_or_else(|| problem(name, "does not hold it"))?;
            tensors.insert(name.to_owned(), tensor);
        }
        // What is left was not promised for this shard; if another shard has it, one is stale.
        if let Some(name) = found.keys().next() {
            return Err(FormatError::Safetensors {
                file: path.display().to_string(),
                message: format!("it holds tensor '{name}', which {INDEX} does not place there"),
            });
        }
    }
    Ok(tensors)
}

/// A shard is a file beside the index: no folders, no way out of the folder.
fn plain_file_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
}
