//! Falcon-H1: in every layer a Mamba-2 mixer and attention read the same norm side by side, then a
//! gated MLP; multipliers (from maximal-update parametrisation) nearly everywhere.

use super::attention::{gated_mlp, names, rotary};
use super::mamba2::hybrid_mixer;
use super::{Evidence, Outside};
use crate::description::{Branch, Description, InnerNorm, Mixer, Norm, Residual};
use crate::error::ModelError;

pub(super) fn describe(evidence: &Evidence<'_>) -> Result<Description, ModelError> {
    let config = &evidence.config;
    let d_model = config.size("hidden_size")?;
    let layers = config.layers("num_hidden_layers")?;
    let eps = config.positive_or("rms_norm_eps", 1e-5)?;
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
    let mut attention = rotary(config, d_model, 10000.0, 1.0)?;
    attention.key_multiplier = config.factor_or("key_multiplier", 1.0)?;
    let mut mlp = gated_mlp(config, config.size("intermediate_size")?)?;
    let [gate, down] = config.factors_or("mlp_multipliers", 1.0)?;
    mlp.gate_multiplier = gate;
    let norm = Norm::rms(eps);
    let [ssm_in, ssm_out, attention_in, attention_out] = [
        config.factor_or("ssm_in_multiplier", 1.0)?,
        config.factor_or("ssm_out_multiplier", 1.0)?,
        config.factor_or("attention_in_multiplier", 1.0)?,
        config.factor_or("attention_out_multiplier", 1.0)?,
    ];
    let branch = |mixer, in_multiplier, out_multiplier, at| Branch {
        mixer,
        in_multiplier,
        out_multiplier,
        at,
    };
    let mut residuals = Vec::with_capacity(2 * layers);
    for i in 0..layers {
        let at = format!("model.layers.{i}");
        residuals.push(Residual {
            layer: i,
            norm,
            multiplier: 1.0,
            branches: vec![
                branch(
                    Mixer::Mamba2(mamba.clone()),
                    ssm_in,
                    ssm_out,
                    format!("{at}.mamba"),
                ),
                branch(
                    Mixer::Attention(attention.clone()),
                    attention_in,
                    attention_out,
                    format!("{at}.self_attn"),
                ),
            ],
            norm_at: format!("{at}.input_layernorm"),
        });
        residuals.push(Residual {
            layer: i,
            norm,
            multiplier: 1.0,
            branches: vec![branch(
                Mixer::Mlp(mlp.clone()),
                1.0,
                down,
                format!("{at}.feed_forward"),
            )],
            norm_at: format!("{at}.pre_ff_layernorm"),
        });
    }
    let vocab = config.size("vocab_size")?;
    let names = names("model.final_layernorm");
    let outside = Outside::read(evidence, names, vocab, false)?;
    Ok(Description {
        architecture: config.architecture().to_owned(),
        d_model,
        vocab: outside.vocab,
        layers,
        trained_context: outside.trained_context,
        embedding_multiplier: config.factor_or("embedding_multiplier", 1.0)?,
        residuals,
        final_norm: norm,
        logits_multiplier: config.factor_or("lm_head_multiplier", 1.0)?,
        tied: outside.tied,
        names: outside.names,
    })
}
