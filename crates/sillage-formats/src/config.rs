//! One spelling for the settings and tensor names of checkpoints that write the same model in
//! different ways, so that `sillage-models` has one description per architecture.
//!
//! What is made uniform here:
//! - the original state-spaces configs (`d_model`, `n_layer`, `ssm_cfg`, no `model_type`) get the
//!   keys that `transformers` gives the same model (`mamba` or `mamba2`), and
//!   `backbone.embedding.weight` becomes `backbone.embeddings.weight`. Two settings have no key
//!   there: `sillage.gated_norm` (false: no norm after the scan) and `sillage.norm_before_gate`;
//! - Mamba-Codestral's `model.` before `backbone.` and `lm_head.` is dropped;
//! - Nemotron-H tensors named `model.*` (as `transformers` 5 saves them) become `backbone.*`;
//! - layer kinds `linear_attention` and `full_attention` become `mamba` and `attention` in the
//!   hybrids, whose published configs say so.
//!
//! Rene keeps its own published spelling: `transformers` has none for it.

use serde_json::{Map, Value, json};

use crate::error::FormatError;
use crate::tensors::Tensors;

/// Makes settings and names of a folder's checkpoint uniform.
pub(crate) fn normalise(
    file: &str,
    config: &mut Value,
    tensors: &mut Tensors,
) -> Result<(), FormatError> {
    if config.get("model_type").is_none() && config.get("ssm_cfg").is_some_and(Value::is_object) {
        *config = Value::Object(original(file, config)?);
        rename(
            tensors,
            "backbone.embedding.weight",
            "backbone.embeddings.weight",
        );
    }
    let model_type = config
        .get("model_type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    match model_type.as_str() {
        "mamba" | "falcon_mamba" | "mamba2" => {
            rename(tensors, "model.backbone.", "backbone.");
            rename(tensors, "model.lm_head.", "lm_head.");
        }
        "nemotron_h" => {
            rename(tensors, "model.", "backbone.");
            published_layer_kinds(config);
        }
        "bamba" | "granitemoehybrid" | "falcon_h1" => published_layer_kinds(config),
        _ => {}
    }
    Ok(())
}

/// Renames every tensor that starts with `from`, unless the new name is taken.
fn rename(tensors: &mut Tensors, from: &str, to: &str) {
    let names: Vec<String> = tensors
        .keys()
        .filter(|n| n.starts_with(from))
        .cloned()
        .collect();
    for name in names {
        let new = format!("{to}{}", &name[from.len()..]);
        if !tensors.contains_key(&new)
            && let Some(tensor) = tensors.remove(&name)
        {
            tensors.insert(new, tensor);
        }
    }
}

fn published_layer_kinds(config: &mut Value) {
    for key in ["layer_types", "layers_block_type"] {
        let Some(kinds) = config.get_mut(key).and_then(Value::as_array_mut) else {
            continue;
        };
        for kind in kinds {
            match kind.as_str() {
                Some("linear_attention") => *kind = "mamba".into(),
                Some("full_attention") => *kind = "attention".into(),
                _ => {}
            }
        }
    }
}

/// A setting of the original config: absent, null or a whole number.
fn whole(file: &str, from: &Value, key: &str) -> Result<Option<u64>, FormatError> {
    match from.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .filter(|n| *n < 1 << 32)
            .map(Some)
            .ok_or_else(|| {
                setting(
                    file,
                    key,
                    format!("is {value}, a whole number below 2^32 is expected"),
                )
            }),
    }
}

fn setting(file: &str, key: &str, problem: String) -> FormatError {
    FormatError::Setting {
        file: file.to_owned(),
        key: key.to_owned(),
        problem,
    }
}

fn required(file: &str, from: &Value, key: &str) -> Result<u64, FormatError> {
    whole(file, from, key)?.ok_or_else(|| setting(file, key, "is missing".to_owned()))
}

fn flag(from: &Value, key: &str, default: bool) -> bool {
    from.get(key).and_then(Value::as_bool).unwrap_or(default)
}

/// The original config of `mamba_ssm`'s models in `transformers`' keys.
fn original(file: &str, from: &Value) -> Result<Map<String, Value>, FormatError> {
    let none = json!({});
    let ssm = from.get("ssm_cfg").unwrap_or(&none);
    refuse_unsupported(from)?;
    let second = match ssm.get("layer").and_then(Value::as_str) {
        None | Some("Mamba1") => false,
        Some("Mamba2") => true,
        Some(other) => {
            return Err(FormatError::UnsupportedArchitecture {
                found: format!("ssm_cfg.layer = {other}"),
                supported: "Mamba1, Mamba2".to_owned(),
            });
        }
    };
    let d_model = required(file, from, "d_model")?;
    let vocab = required(file, from, "vocab_size")?;
    let multiple = whole(file, from, "pad_vocab_size_multiple")?
        .unwrap_or(1)
        .max(1);
    let expand = whole(file, ssm, "expand")?.unwrap_or(2);
    let mut to = Map::new();
    to.insert(
        "model_type".into(),
        if second { "mamba2" } else { "mamba" }.into(),
    );
    to.insert("hidden_size".into(), d_model.into());
    to.insert(
        "num_hidden_layers".into(),
        required(file, from, "n_layer")?.into(),
    );
    // The embedding has the padded number of rows, and so have the logits.
    to.insert(
        "vocab_size".into(),
        (vocab.div_ceil(multiple) * multiple).into(),
    );
    to.insert("expand".into(), expand.into());
    to.insert(
        "state_size".into(),
        whole(file, ssm, "d_state")?
            .unwrap_or(if second { 128 } else { 16 })
            .into(),
    );
    to.insert(
        "conv_kernel".into(),
        whole(file, ssm, "d_conv")?.unwrap_or(4).into(),
    );
    to.insert("use_bias".into(), flag(ssm, "bias", false).into());
    to.insert("use_conv_bias".into(), flag(ssm, "conv_bias", true).into());
    to.insert("layer_norm_epsilon".into(), json!(1e-5));
    let tied = flag(
        from,
        "tie_embeddings",
        flag(from, "tie_word_embeddings", true),
    );
    to.insert("tie_word_embeddings".into(), tied.into());
    let d_inner = expand * d_model;
    if second {
        let d_inner = whole(file, ssm, "d_ssm")?.unwrap_or(d_inner);
        let headdim = whole(file, ssm, "headdim")?.unwrap_or(64).max(1);
        to.insert("intermediate_size".into(), d_inner.into());
        to.insert("head_dim".into(), headdim.into());
        to.insert("num_heads".into(), (d_inner / headdim).into());
        to.insert(
            "n_groups".into(),
            whole(file, ssm, "ngroups")?.unwrap_or(1).into(),
        );
        let limit = ssm
            .get("dt_limit")
            .cloned()
            .unwrap_or_else(|| json!([0.0, f64::MAX]));
        to.insert("time_step_limit".into(), limit);
        let ours = json!({
            "gated_norm": flag(ssm, "rmsnorm", true),
            "norm_before_gate": flag(ssm, "norm_before_gate", false),
        });
        to.insert("sillage".into(), ours);
    } else {
        to.insert("intermediate_size".into(), d_inner.into());
        let rank = match ssm.get("dt_rank").and_then(Value::as_u64) {
            Some(rank) => rank,
            None => d_model.div_ceil(16),
        };
        to.insert("time_step_rank".into(), rank.into());
    }
    for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        if let Some(id) = from.get(key) {
            to.insert(key.into(), id.clone());
        }
    }
    Ok(to)
}

fn refuse_unsupported(from: &Value) -> Result<(), FormatError> {
    let cure = "only pure Mamba and Mamba-2 stacks with RMS norms are described in this spelling";
    let unsupported = |what: &str| {
        Err(FormatError::Unsupported {
            what: what.to_owned(),
            cure,
        })
    };
    if !flag(from, "rms_norm", true) {
        return unsupported("a state-spaces checkpoint with LayerNorm (rms_norm = false)");
    }
    if from
        .get("attn_layer_idx")
        .and_then(Value::as_array)
        .is_some_and(|l| !l.is_empty())
    {
        return unsupported("a state-spaces checkpoint with attention layers (attn_layer_idx)");
    }
    if from
        .get("d_intermediate")
        .and_then(Value::as_u64)
        .is_some_and(|d| d > 0)
    {
        return unsupported("a state-spaces checkpoint with MLP blocks (d_intermediate)");
    }
    Ok(())
}
