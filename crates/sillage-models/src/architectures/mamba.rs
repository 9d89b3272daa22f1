//! Mamba (Gu and Dao 2023) and FalconMamba, which adds weightless norms on dt, B and C.

use super::{Evidence, Outside, a_is_final};
use crate::description::{Description, Mamba, Mixer, Names, Norm, Residual};
use crate::error::ModelError;

pub(super) fn describe(evidence: &Evidence<'_>) -> Result<Description, ModelError> {
    let config = &evidence.config;
    config.require_silu("hidden_act")?;
    let d_model = config.size("hidden_size")?;
    let d_inner = match config.optional_size("intermediate_size")? {
        Some(size) => size,
        None => config.size_or("expand", 2)? * d_model,
    };
    let falcon = config.architecture() == "falcon_mamba";
    let mixer = Mamba {
        d_inner,
        d_state: config.size_or("state_size", 16)?,
        d_conv: config.size_or("conv_kernel", 4)?,
        dt_rank: config.size_or_auto("time_step_rank", d_model.div_ceil(16))?,
        bias: config.flag_or("use_bias", false)?,
        conv_bias: config.flag_or("use_conv_bias", true)?,
        inner_norm_eps: if falcon {
            Some(config.positive_or("mixer_rms_eps", 1e-6)? as f32)
        } else {
            None
        },
        a_is_final: a_is_final(config)?,
    };
    let norm = Norm::rms(config.positive_or("layer_norm_epsilon", 1e-5)?);
    let layers = config.layers("num_hidden_layers")?;
    let outside = Outside::read(
        evidence,
        names("embeddings"),
        config.size("vocab_size")?,
        true,
    )?;
    Ok(assemble(
        config.architecture(),
        d_model,
        layers,
        mixer,
        norm,
        outside,
    ))
}

pub(super) fn names(embedding: &str) -> Names {
    Names {
        embedding: format!("backbone.{embedding}.weight"),
        final_norm: "backbone.norm_f".to_owned(),
        head: "lm_head.weight".to_owned(),
    }
}

fn assemble(
    architecture: &str,
    d_model: usize,
    layers: usize,
    mixer: Mamba,
    norm: Norm,
    outside: Outside,
) -> Description {
    let residual = |i: usize| {
        let at = format!("backbone.layers.{i}");
        let mixer = Mixer::Mamba(mixer.clone());
        Residual::plain(i, norm, format!("{at}.norm"), mixer, format!("{at}.mixer"))
    };
    outside.around(
        architecture,
        d_model,
        layers,
        norm,
        (0..layers).map(residual).collect(),
    )
}
