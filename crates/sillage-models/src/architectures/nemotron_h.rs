//! Nemotron-H: every layer is one mixer, which of three a pattern says: Mamba-2, attention without
//! positions, or an MLP with squared ReLU.

use super::attention::heads;
use super::mamba2::check;
use super::{Evidence, Outside, a_is_final, activation};
use crate::config::Config;
use crate::description::{
    Activation, Description, InnerNorm, Mamba2, Mixer, Mlp, Names, Norm, Residual, Stored,
};
use crate::error::ModelError;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Mamba,
    Attention,
    Mlp,
}

pub(super) fn describe(evidence: &Evidence<'_>) -> Result<Description, ModelError> {
    let config = &evidence.config;
    let d_model = config.size("hidden_size")?;
    let kinds = kinds(config)?;
    let eps_key = if config.has("layer_norm_epsilon") {
        "layer_norm_epsilon"
    } else {
        "rms_norm_eps"
    };
    let eps = config.positive_or(eps_key, 1e-5)?;
    let norm = Norm::rms(eps);
    let mut residuals = Vec::with_capacity(kinds.len());
    for (i, kind) in kinds.iter().enumerate() {
        let at = format!("backbone.layers.{i}");
        let mixer = match kind {
            Kind::Mamba => Mixer::Mamba2(mamba(config, eps)?),
            Kind::Attention => {
                let mut attention = heads(config, d_model)?;
                (attention.qkv_bias, attention.out_bias) = (false, false);
                Mixer::Attention(attention)
            }
            Kind::Mlp => Mixer::Mlp(mlp(config)?),
        };
        residuals.push(Residual::plain(
            i,
            norm,
            format!("{at}.norm"),
            mixer,
            format!("{at}.mixer"),
        ));
    }
    let names = Names {
        embedding: "backbone.embeddings.weight".to_owned(),
        final_norm: "backbone.norm_f".to_owned(),
        head: "lm_head.weight".to_owned(),
    };
    let vocab = config.size("vocab_size")?;
    let outside = Outside::read(evidence, names, vocab, false)?;
    Ok(outside.around(config.architecture(), d_model, kinds.len(), norm, residuals))
}

fn mamba(config: &Config<'_>, eps: f64) -> Result<Mamba2, ModelError> {
    config.require_silu("mamba_hidden_act")?;
    let bias = config.flag_or("use_bias", config.flag_or("mamba_proj_bias", false)?)?;
    let mixer = Mamba2 {
        heads: config.size_or("mamba_num_heads", 128)?,
        headdim: config.size_or("mamba_head_dim", 64)?,
        d_state: config.size_or("ssm_state_size", 128)?,
        n_groups: config.size_or("n_groups", 8)?,
        d_conv: config.size_or("conv_kernel", 4)?,
        in_bias: bias,
        out_bias: bias,
        conv_bias: config.flag_or("use_conv_bias", true)?,
        dt_limit: config.limits_or("time_step_limit", (0.0, f32::INFINITY))?,
        norm: Some(InnerNorm {
            eps: eps as f32,
            before_gate: false,
        }),
        d_per_channel: false,
        multipliers: [1.0; 5],
        a_is_final: a_is_final(config)?,
    };
    check(config, &mixer)?;
    Ok(mixer)
}

fn mlp(config: &Config<'_>) -> Result<Mlp, ModelError> {
    Ok(Mlp {
        d_ff: config.size("intermediate_size")?,
        gated: false,
        activation: activation(config, "mlp_hidden_act", Activation::Relu2)?,
        bias: config.flag_or("mlp_bias", false)?,
        gate_multiplier: 1.0,
        inputs: Stored::Apart(&["up_proj"]),
        down: "down_proj",
    })
}

/// The kind of each layer, from either key in use.
fn kinds(config: &Config<'_>) -> Result<Vec<Kind>, ModelError> {
    const SUPPORTED: &str = "mamba (M), attention (*), mlp (-)";
    let (key, kinds): (_, Result<Vec<Kind>, ModelError>) =
        if let Some(words) = config.words("layers_block_type")? {
            let key = "layers_block_type";
            let kind = |word: &str| match word {
                "mamba" | "mamba2" | "linear_attention" => Ok(Kind::Mamba),
                "attention" | "full_attention" => Ok(Kind::Attention),
                "mlp" => Ok(Kind::Mlp),
                other => Err(config.unsupported(key, format!("'{other}'"), SUPPORTED)),
            };
            (key, words.into_iter().map(kind).collect())
        } else {
            let key = "hybrid_override_pattern";
            let pattern = config
                .word(key)?
                .ok_or_else(|| config.bad(key, "a pattern such as M-M*-"))?;
            let kind = |letter: char| match letter {
                'M' => Ok(Kind::Mamba),
                '*' => Ok(Kind::Attention),
                '-' => Ok(Kind::Mlp),
                other => Err(config.unsupported(key, format!("'{other}'"), SUPPORTED)),
            };
            (key, pattern.chars().map(kind).collect())
        };
    let kinds = kinds?;
    let layers = match config.has("num_hidden_layers") {
        true => config.layers("num_hidden_layers")?,
        false => kinds.len(),
    };
    if kinds.is_empty() || kinds.len() != layers {
        return Err(config.bad(key, format!("one entry for each of {layers} layers")));
    }
    Ok(kinds)
}
