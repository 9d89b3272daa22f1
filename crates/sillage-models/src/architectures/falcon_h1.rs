//! Falcon-H1: in every layer a Mamba-2 mixer and attention read the same norm side by side, then a
//! gated MLP; multipliers (from maximal-update parametrisation) nearly everywhere.

use super::attention::{gated_mlp, names, rotary};
use super::mamba2::hybrid_mixer;
use super::{Evidence, Outside};
use crate::config::Config;
use crate::description::{Branch, Description, InnerNorm, Mamba2, Mixer, Norm, Residual};
use crate::error::ModelError;

pub(super) fn describe(evidence: &Evidence<'_>) -> Result<Description, ModelError> {
    let config = &evidence.config;
    let d_model = config.size("hidden_size")?;
    let layers = config.layers("num_hidden_layers")?;
    let eps = config.positive_or("rms_norm_eps", 1e-5)?;
    let mamba = mamba(config, d_model, eps)?;
    let mut attention = rotary(config, d_model, 10000.0, 1.0)?;
    attention.key_multiplier = config.factor_or("key_multiplier", 1.0)?;
    let mut mlp = gated_mlp(config, config.size("intermediate_size")?)?;
    let [gate, down] = config.factors_or("mlp_multipliers", 1.0)?;
    mlp.gate_multiplier = gate;
    let norm = Norm::rms(eps);
    let branch = |kind: &str, mixer, at| -> Result<Branch, ModelError> {
        Ok(Branch {
            mixer,
            in_multiplier: config.factor_or(&format!("{kind}_in_multiplier"), 1.0)?,
            out_multiplier: config.factor_or(&format!("{kind}_out_multiplier"), 1.0)?,
            at,
        })
    };
    let mut residuals = Vec::with_capacity(2 * layers);
    for i in 0..layers {
        let at = format!("model.layers.{i}");
        let attention = Mixer::Attention(attention.clone());
        let both = Residual {
            layer: i,
            norm,
            multiplier: 1.0,
            branches: vec![
                branch("ssm", Mixer::Mamba2(mamba.clone()), format!("{at}.mamba"))?,
                branch("attention", attention, format!("{at}.self_attn"))?,
            ],
            norm_at: format!("{at}.input_layernorm"),
        };
        residuals.push(both);
        let (mixer, prefix) = (Mixer::Mlp(mlp.clone()), format!("{at}.feed_forward"));
        let mut mlp = Residual::plain(i, norm, format!("{at}.pre_ff_layernorm"), mixer, prefix);
        mlp.multiplier = down;
        residuals.push(mlp);
    }
    let vocab = config.size("vocab_size")?;
    let names = names("model.final_layernorm");
    let outside = Outside::read(evidence, names, vocab, false)?;
    let mut description = outside.around(config.architecture(), d_model, layers, norm, residuals);
    description.embedding_multiplier = config.factor_or("embedding_multiplier", 1.0)?;
    description.logits_multiplier = config.factor_or("lm_head_multiplier", 1.0)?;
    Ok(description)
}

fn mamba(config: &Config<'_>, d_model: usize, eps: f64) -> Result<Mamba2, ModelError> {
    let d_inner = match config.optional_size("mamba_d_ssm")? {
        Some(d_ssm) => d_ssm,
        None => config.size_or("mamba_expand", 2)? * d_model,
    };
    let mut mamba = hybrid_mixer(config, d_inner)?;
    mamba.out_bias = config.flag_or("projectors_bias", false)?;
    mamba.multipliers = config.factors_or("ssm_multipliers", 1.0)?;
    let norm = InnerNorm {
        eps: eps as f32,
        before_gate: config.flag_or("mamba_norm_before_gate", true)?,
    };
    mamba.norm = config.flag_or("mamba_rms_norm", false)?.then_some(norm);
    Ok(mamba)
}
