//! Rene: Mamba-2, sliding-window attention without positions, and plain MLPs, one per layer, which of
//! them two lists of layer numbers say.

use super::mamba::names;
use super::mamba2::original_mixer;
use super::{Evidence, Outside, padded_vocab, require_multiple, require_rms};
use crate::config::Config;
use crate::description::{Activation, Attention, Description, Mixer, Mlp, Norm, Residual, Stored};
use crate::error::ModelError;

pub(super) fn describe(evidence: &Evidence<'_>) -> Result<Description, ModelError> {
    let config = &evidence.config;
    require_rms(config)?;
    let d_model = config.size("d_model")?;
    let layers = config.layers("n_layer")?;
    let attends = config.layer_mask("attn_layer_idx", layers)?;
    let is_mlp = config.layer_mask("mlp_layer_idx", layers)?;
    let norm = Norm::rms(1e-5);
    let mut residuals = Vec::with_capacity(layers);
    for (i, kind) in attends.into_iter().zip(is_mlp).enumerate() {
        let mixer = match kind {
            (true, true) => {
                return Err(
                    config.bad("mlp_layer_idx", format!("no layer of attn_layer_idx ({i})"))
                );
            }
            (true, false) => Mixer::Attention(attention(config, d_model)?),
            (false, true) => Mixer::Mlp(mlp(config, d_model)?),
            (false, false) => Mixer::Mamba2(original_mixer(
                config,
                &config.section("ssm_cfg", "ssm_cfg."),
                d_model,
            )?),
        };
        let at = format!("backbone.layers.{i}");
        residuals.push(Residual::plain(
            i,
            norm,
            format!("{at}.norm"),
            mixer,
            format!("{at}.mixer"),
        ));
    }
    let names = names("embedding");
    let vocab = padded_vocab(evidence, &names.embedding, 16)?;
    let outside = Outside::read(evidence, names, vocab, true)?;
    Ok(outside.around(config.architecture(), d_model, layers, norm, residuals))
}

fn attention(config: &Config<'_>, d_model: usize) -> Result<Attention, ModelError> {
    let cfg = config.section("attn_cfg", "attn_cfg.");
    let heads = cfg.size("num_heads")?;
    let kv_heads = cfg.size_or("num_heads_kv", heads)?;
    require_multiple(config, "attention heads over KV heads", heads, kv_heads)?;
    let head_dim = match cfg.optional_size("head_dim")? {
        Some(head_dim) => head_dim,
        None => {
            require_multiple(config, "d_model over attention heads", d_model, heads)?;
            d_model / heads
        }
    };
    if !cfg.flag_or("causal", true)? {
        return Err(cfg.unsupported("attn_cfg.causal", "false", "true"));
    }
    Ok(Attention {
        heads,
        kv_heads,
        head_dim,
        scale: cfg.number_or("softmax_scale", (head_dim as f64).powf(-0.5))? as f32,
        window: cfg.optional_size("sliding_window_length")?,
        rope: None,
        qkv_bias: cfg.flag_or("qkv_proj_bias", true)?,
        out_bias: cfg.flag_or("out_proj_bias", true)?,
        key_multiplier: 1.0,
        qkv: Stored::Together("in_proj"),
        out: "out_proj",
    })
}

fn mlp(config: &Config<'_>, d_model: usize) -> Result<Mlp, ModelError> {
    let cfg = config.section("mlp_cfg", "mlp_cfg.");
    let expand = cfg.positive_or("expand", 3.0)?;
    // Rounded half to even, as Python rounds.
    let d_ff = (expand * d_model as f64).round_ties_even();
    if !(1.0..=f64::from(1 << 24)).contains(&d_ff) {
        return Err(cfg.bad(
            "expand",
            "an MLP of at least 1 and at most 16,777,216 channels",
        ));
    }
    Ok(Mlp {
        d_ff: d_ff as usize,
        gated: false,
        activation: Activation::Gelu,
        bias: cfg.flag_or("bias", true)?,
        gate_multiplier: 1.0,
        inputs: Stored::Together("in_proj"),
        down: "out_proj",
    })
}
