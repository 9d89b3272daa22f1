//! The attention of Llama's line, which the hybrids share but for positions and scale.

use super::{activation, require_multiple};
use crate::config::Config;
use crate::description::{Activation, Attention, Mlp, Names, Stored};
use crate::error::ModelError;
use crate::rope::Rope;

/// Heads and sizes by the usual keys, without positions; scale `head_dim^-0.5`.
pub(super) fn heads(config: &Config<'_>, d_model: usize) -> Result<Attention, ModelError> {
    let heads = config.size("num_attention_heads")?;
    let kv_heads = config.size_or("num_key_value_heads", heads)?;
    require_multiple(config, "attention heads over KV heads", heads, kv_heads)?;
    let head_dim = match config.optional_size("head_dim")? {
        Some(head_dim) => head_dim,
        None => {
            require_multiple(config, "hidden_size over attention heads", d_model, heads)?;
            d_model / heads
        }
    };
    let bias = config.flag_or("attention_bias", false)?;
    Ok(Attention {
        heads,
        kv_heads,
        head_dim,
        scale: (head_dim as f64).powf(-0.5) as f32,
        window: None,
        rope: None,
        qkv_bias: bias,
        out_bias: bias,
        key_multiplier: 1.0,
        qkv: Stored::Apart(&["q_proj", "k_proj", "v_proj"]),
        out: "o_proj",
    })
}

/// As [`heads`], with rotary positions over `fraction` of each head.
pub(super) fn rotary(
    config: &Config<'_>,
    d_model: usize,
    theta: f64,
    fraction: f64,
) -> Result<Attention, ModelError> {
    let mut attention = heads(config, d_model)?;
    attention.rope = Some(Rope::from_config(
        config,
        attention.head_dim,
        theta,
        fraction,
    )?);
    Ok(attention)
}

/// `down(act(gate(x)) * up(x))`
pub(super) fn gated_mlp(config: &Config<'_>, d_ff: usize) -> Result<Mlp, ModelError> {
    Ok(Mlp {
        d_ff,
        gated: true,
        activation: activation(config, "hidden_act", Activation::Silu)?,
        bias: config.flag_or("mlp_bias", false)?,
        gate_multiplier: 1.0,
        inputs: Stored::Apart(&["gate_proj", "up_proj"]),
        down: "down_proj",
    })
}

/// Names outside the layers in Llama's line.
pub(super) fn names(final_norm: &str) -> Names {
    Names {
        embedding: "model.embed_tokens.weight".to_owned(),
        final_norm: final_norm.to_owned(),
        head: "lm_head.weight".to_owned(),
    }
}
