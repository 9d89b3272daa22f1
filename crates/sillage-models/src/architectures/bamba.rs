//! Bamba: Mamba-2 layers with a few attention layers among them, and a gated MLP in every layer.

use super::attention::{gated_mlp, names, rotary};
use super::mamba2::hybrid_mixer;
use super::{Evidence, Outside};
use crate::description::{Description, Mixer, Norm, Residual};
use crate::error::ModelError;

/// Bamba rotates half of each head; its configuration does not say so.
const ROTATED: f64 = 0.5;

pub(super) fn describe(evidence: &Evidence<'_>) -> Result<Description, ModelError> {
    let config = &evidence.config;
    let d_model = config.size("hidden_size")?;
    let layers = config.layers("num_hidden_layers")?;
    let mamba = hybrid_mixer(config, config.size_or("mamba_expand", 2)? * d_model)?;
    let attends = config.layer_mask("attn_layer_indices", layers)?;
    let attention = match attends.contains(&true) {
        true => Some(rotary(config, d_model, 10000.0, ROTATED)?),
        false => None,
    };
    let mlp = gated_mlp(config, config.size("intermediate_size")?)?;
    let norm = Norm::rms(config.positive_or("rms_norm_eps", 1e-5)?);
    let mut residuals = Vec::with_capacity(2 * layers);
    for (i, attends) in attends.into_iter().enumerate() {
        let at = format!("model.layers.{i}");
        let (mixer, prefix) = match &attention {
            Some(attention) if attends => (
                Mixer::Attention(attention.clone()),
                format!("{at}.self_attn"),
            ),
            _ => (Mixer::Mamba2(mamba.clone()), format!("{at}.mamba")),
        };
        residuals.push(Residual::plain(
            i,
            norm,
            format!("{at}.input_layernorm"),
            mixer,
            prefix,
        ));
        let (mixer, prefix) = (Mixer::Mlp(mlp.clone()), format!("{at}.feed_forward"));
        residuals.push(Residual::plain(
            i,
            norm,
            format!("{at}.pre_ff_layernorm"),
            mixer,
            prefix,
        ));
    }
    let vocab = config.size("vocab_size")?;
    let names = names("model.final_layernorm");
    let outside = Outside::read(evidence, names, vocab, false)?;
    Ok(outside.around(config.architecture(), d_model, layers, norm, residuals))
}
