//! A trained model as a Hugging Face folder.

use crate::checkpoint::bytes;
use crate::error::TrainError;
use crate::files;
use crate::params::Params;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

/// Writes `config.json`, `model.safetensors` and, if there is one, `tokenizer.json` into `folder`.
///
/// # Errors
/// If the folder cannot be made or written.
pub fn export(
    folder: &Path,
    config: &Value,
    layout: &Params,
    params: &[f32],
    tokenizer: Option<&str>,
) -> Result<(), TrainError> {
    std::fs::create_dir_all(folder).map_err(TrainError::io(folder))?;
    let path = folder.join("model.safetensors");
    let fail = |message: String| TrainError::Checkpoint {
        path: path.clone(),
        message,
    };
    let stored: Vec<_> = layout
        .iter()
        .map(|(parameter, range)| (parameter, bytes(&params[range])))
        .collect();
    let mut views = Vec::new();
    for (parameter, bytes) in &stored {
        let view = TensorView::new(Dtype::F32, parameter.shape.clone(), bytes);
        views.push((
            parameter.name.clone(),
            view.map_err(|e| fail(e.to_string()))?,
        ));
    }
    let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let file = safetensors::serialize(views, Some(about)).map_err(|e| fail(e.to_string()))?;
    files::write(&path, &file)?;
    let mut config = config.clone();
    if let (Some(tokenizer), Some(config)) = (tokenizer, config.as_object_mut()) {
        files::write(&folder.join("tokenizer.json"), tokenizer.as_bytes())?;
        let about = serde_json::json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>",
        });
        let about = format!("{about:#}\n");
        files::write(&folder.join("tokenizer_config.json"), about.as_bytes())?;
        if let Some(end) = end_token(tokenizer) {
            config.insert("eos_token_id".to_owned(), end.into());
        }
    }
    // Last, since a folder counts as a model by its configuration.
    let config = format!("{config:#}\n");
    files::write(&folder.join("config.json"), config.as_bytes())
}

fn end_token(tokenizer: &str) -> Option<u64> {
    let tokenizer: Value = serde_json::from_str(tokenizer).ok()?;
    let added = tokenizer.get("added_tokens")?.as_array()?;
    let end = added.iter().find(|t| t["content"] == "<|endoftext|>")?;
    end["id"].as_u64()
}
