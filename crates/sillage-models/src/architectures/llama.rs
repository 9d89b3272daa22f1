//! Llama and its line: Llama 1 to 3, SmolLM2, Mistral (sliding window), Qwen2 (biases on q, k, v).

use super::attention::{gated_mlp, names, rotary};
use super::{Evidence, Outside};
use crate::config::Config;
use crate::description::{Description, Mixer, Norm, Residual};
use crate::error::ModelError;

pub(super) fn describe(evidence: &Evidence<'_>) -> Result<Description, ModelError> {
    let config = &evidence.config;
    let d_model = config.size("hidden_size")?;
    let layers = config.layers("num_hidden_layers")?;
    let mut attention = rotary(config, d_model, 10000.0, 1.0)?;
    if config.architecture() == "qwen2" {
        (attention.qkv_bias, attention.out_bias) = (true, false);
    }
    let windows = windows(config, layers)?;
    let mlp = gated_mlp(config, config.size("intermediate_size")?)?;
    let norm = Norm::rms(config.positive_or("rms_norm_eps", 1e-6)?);
    let mut residuals = Vec::with_capacity(2 * layers);
    for (i, window) in windows.into_iter().enumerate() {
        let at = format!("model.layers.{i}");
        let mut attention = attention.clone();
        attention.window = window;
        let (mixer, prefix) = (Mixer::Attention(attention), format!("{at}.self_attn"));
        residuals.push(Residual::plain(
            i,
            norm,
            format!("{at}.input_layernorm"),
            mixer,
            prefix,
        ));
        let (mixer, prefix) = (Mixer::Mlp(mlp.clone()), format!("{at}.mlp"));
        residuals.push(Residual::plain(
            i,
            norm,
            format!("{at}.post_attention_layernorm"),
            mixer,
            prefix,
        ));
    }
    let vocab = config.size("vocab_size")?;
    let outside = Outside::read(evidence, names("model.norm"), vocab, false)?;
    Ok(outside.around(config.architecture(), d_model, layers, norm, residuals))
}

/// The window of each layer. Mistral's `sliding_window` holds everywhere; Qwen2's only when switched
/// on, and from layer `max_window_layers` or where `layer_types` says so.
fn windows(config: &Config<'_>, layers: usize) -> Result<Vec<Option<usize>>, ModelError> {
    let window = config.optional_size("sliding_window")?;
    let on = match config.architecture() {
        "mistral" => true,
        "qwen2" => config.flag_or("use_sliding_window", false)?,
        _ => false,
    };
    if !on || window.is_none() {
        return Ok(vec![None; layers]);
    }
    if let Some(types) = config.words("layer_types")? {
        if types.len() != layers {
            return Err(config.bad("layer_types", format!("a list of {layers} words")));
        }
        return types
            .iter()
            .map(|kind| match *kind {
                "sliding_attention" => Ok(window),
                "full_attention" | "attention" => Ok(None),
                other => Err(config.unsupported(
                    "layer_types",
                    format!("'{other}'"),
                    "full_attention, sliding_attention",
                )),
            })
            .collect();
    }
    let from = if config.architecture() == "qwen2" {
        config.count_or("max_window_layers", 28)?
    } else {
        0
    };
    Ok((0..layers)
        .map(|i| if i >= from { window } else { None })
        .collect())
}
