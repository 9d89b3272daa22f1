//! Granite 4 hybrid, dense: Mamba-2 and attention layers, each with a gated MLP, and multipliers on
//! embeddings, residuals, attention scores and logits.

use super::attention::{gated_mlp, heads, names, rotary};
use super::mamba2::hybrid_mixer;
use super::{Evidence, Outside};
use crate::config::Config;
use crate::description::{Attention, Description, Mixer, Mlp, Norm, Residual, Stored};
use crate::error::ModelError;

pub(super) fn describe(evidence: &Evidence<'_>) -> Result<Description, ModelError> {
    let config = &evidence.config;
    require_dense(config)?;
    let d_model = config.size("hidden_size")?;
    let layers = config.layers("num_hidden_layers")?;
    let attends = attention_layers(config, layers)?;
    let mamba = match attends.contains(&false) {
        true => Some(hybrid_mixer(
            config,
            config.size_or("mamba_expand", 2)? * d_model,
        )?),
        false => None,
    };
    let attention = match attends.contains(&true) {
        true => Some(attention(config, d_model)?),
        false => None,
    };
    let mlp = mlp(evidence)?;
    let norm = Norm::rms(config.positive_or("rms_norm_eps", 1e-6)?);
    let multiplier = config.factor_or("residual_multiplier", 1.0)?;
    let mut residuals = Vec::with_capacity(2 * layers);
    for (i, attends) in attends.into_iter().enumerate() {
        let at = format!("model.layers.{i}");
        let (mixer, prefix) = match (&attention, &mamba) {
            (Some(attention), _) if attends => (
                Mixer::Attention(attention.clone()),
                format!("{at}.self_attn"),
            ),
            (_, Some(mamba)) => (Mixer::Mamba2(mamba.clone()), format!("{at}.mamba")),
            _ => continue,
        };
        residuals.push(Residual::plain(
            i,
            norm,
            format!("{at}.input_layernorm"),
            mixer,
            prefix,
        ));
        let (mixer, prefix) = (Mixer::Mlp(mlp.clone()), format!("{at}.shared_mlp"));
        residuals.push(Residual::plain(
            i,
            norm,
            format!("{at}.post_attention_layernorm"),
            mixer,
            prefix,
        ));
    }
    for residual in &mut residuals {
        residual.multiplier = multiplier;
    }
    let vocab = config.size("vocab_size")?;
    let outside = Outside::read(evidence, names("model.norm"), vocab, false)?;
    let mut description = outside.around(config.architecture(), d_model, layers, norm, residuals);
    description.embedding_multiplier = config.factor_or("embedding_multiplier", 1.0)?;
    description.logits_multiplier = (1.0 / config.positive_or("logits_scaling", 1.0)?) as f32;
    Ok(description)
}

fn require_dense(config: &Config<'_>) -> Result<(), ModelError> {
    if config.count_or("num_local_experts", 8)? > 0 {
        return Err(config.unsupported(
            "num_local_experts",
            config
                .get("num_local_experts")
                .map_or("absent (8)".to_owned(), ToString::to_string),
            "0 (the dense models of the family, such as Granite 4 H 1B and Micro)",
        ));
    }
    Ok(())
}

fn mlp(evidence: &Evidence<'_>) -> Result<Mlp, ModelError> {
    let config = &evidence.config;
    let mut mlp = gated_mlp(config, config.size("shared_intermediate_size")?)?;
    mlp.bias = false;
    if (evidence.has_tensor)("model.layers.0.shared_mlp.input_linear.weight") {
        mlp.inputs = Stored::Together("input_linear");
    }
    mlp.down = "output_linear";
    Ok(mlp)
}

fn attention(config: &Config<'_>, d_model: usize) -> Result<Attention, ModelError> {
    let mut attention = match config.word("position_embedding_type")? {
        None | Some("nope") => heads(config, d_model)?,
        Some("rope") => rotary(config, d_model, 10000.0, 1.0)?,
        Some(other) => {
            return Err(config.unsupported(
                "position_embedding_type",
                format!("'{other}'"),
                "rope, nope",
            ));
        }
    };
    attention.scale = config.factor_or("attention_multiplier", 1.0)?;
    Ok(attention)
}

fn attention_layers(config: &Config<'_>, layers: usize) -> Result<Vec<bool>, ModelError> {
    let key = if config.has("layer_types") {
        "layer_types"
    } else {
        "layers_block_type"
    };
    let kinds = config.words(key)?.unwrap_or_else(|| vec!["mamba"; layers]);
    if kinds.len() != layers {
        return Err(config.bad(key, format!("a list of {layers} words")));
    }
    kinds
        .into_iter()
        .map(|kind| match kind {
            "mamba" | "linear_attention" => Ok(false),
            "attention" | "full_attention" => Ok(true),
            other => Err(config.unsupported(key, format!("'{other}'"), "mamba, attention")),
        })
        .collect()
}
