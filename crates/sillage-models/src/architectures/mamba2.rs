//! Mamba-2 (Dao and Gu 2024), and its mixer by the three sets of keys in use: those of `transformers`'
//! `mamba2`, those of the hybrids, and those of the original `mamba_ssm` code.

use super::mamba::names;
use super::{Evidence, Outside, a_is_final, require_multiple};
use crate::config::Config;
use crate::description::{Description, InnerNorm, Mamba2, Mixer, Norm, Residual};
use crate::error::ModelError;

const UNLIMITED: (f32, f32) = (0.0, f32::INFINITY);

pub(super) fn describe(evidence: &Evidence<'_>) -> Result<Description, ModelError> {
    let config = &evidence.config;
    config.require_silu("hidden_act")?;
    let d_model = config.size("hidden_size")?;
    let expand = config.size_or("expand", 2)?;
    let headdim = config.size_or("head_dim", 64)?;
    let heads = match config.optional_size("num_heads")? {
        Some(heads) => heads,
        None => (expand * d_model) / headdim,
    };
    let eps = config.positive_or("layer_norm_epsilon", 1e-5)?;
    let ours = config.section("sillage", "sillage.");
    let norm = InnerNorm {
        eps: eps as f32,
        before_gate: ours.flag_or("norm_before_gate", false)?,
    };
    let gated = ours.flag_or("gated_norm", true)?;
    let bias = config.flag_or("use_bias", false)?;
    let mixer = Mamba2 {
        heads,
        headdim,
        d_state: config.size_or("state_size", 128)?,
        n_groups: config.size_or("n_groups", 8)?,
        d_conv: config.size_or("conv_kernel", 4)?,
        in_bias: bias,
        out_bias: bias,
        conv_bias: config.flag_or("use_conv_bias", true)?,
        dt_limit: config.limits_or("time_step_limit", UNLIMITED)?,
        norm: gated.then_some(norm),
        // An option of the original code that has left no trace in the configuration.
        d_per_channel: (evidence.rows)("backbone.layers.0.mixer.D") == Some(heads * headdim)
            && headdim > 1,
        multipliers: [1.0; 5],
        a_is_final: a_is_final(config)?,
    };
    check(config, &mixer)?;
    let outside = Outside::read(
        evidence,
        names("embeddings"),
        config.size("vocab_size")?,
        false,
    )?;
    let layers = config.layers("num_hidden_layers")?;
    Ok(assemble(d_model, layers, mixer, Norm::rms(eps), outside))
}

/// The mixer that the keyword arguments of `mamba_ssm`'s `Mamba2` describe.
pub(super) fn original_mixer(
    config: &Config<'_>,
    ssm: &Config<'_>,
    d_model: usize,
) -> Result<Mamba2, ModelError> {
    let d_inner = ssm.size_or("expand", 2)? * d_model;
    if ssm.optional_size("d_ssm")?.is_some_and(|d| d != d_inner) {
        // The channels outside d_ssm would form an MLP inside the mixer.
        return Err(ssm.unsupported("ssm_cfg.d_ssm", "smaller than the mixer", "null"));
    }
    let headdim = ssm.size_or("headdim", 64)?;
    require_multiple(config, "d_inner over headdim", d_inner, headdim)?;
    let bias = ssm.flag_or("bias", false)?;
    let norm = InnerNorm {
        eps: 1e-5,
        before_gate: ssm.flag_or("norm_before_gate", false)?,
    };
    let mixer = Mamba2 {
        heads: d_inner / headdim,
        headdim,
        d_state: ssm.size_or("d_state", 128)?,
        n_groups: ssm.size_or("ngroups", 1)?,
        d_conv: ssm.size_or("d_conv", 4)?,
        in_bias: bias,
        out_bias: bias,
        conv_bias: ssm.flag_or("conv_bias", true)?,
        dt_limit: ssm.limits_or("dt_limit", UNLIMITED)?,
        norm: ssm.flag_or("rmsnorm", true)?.then_some(norm),
        d_per_channel: ssm.flag_or("D_has_hdim", false)?,
        multipliers: [1.0; 5],
        a_is_final: false,
    };
    check(config, &mixer)?;
    Ok(mixer)
}

/// The keys `mamba_*` that Bamba, Granite and Falcon-H1 share; `d_inner` is the mixer's width.
pub(super) fn hybrid_mixer(config: &Config<'_>, d_inner: usize) -> Result<Mamba2, ModelError> {
    config.require_silu("hidden_act")?;
    let heads = config.size_or("mamba_n_heads", 128)?;
    let headdim = config.size_or_auto("mamba_d_head", d_inner / heads)?;
    if heads * headdim != d_inner {
        return Err(config.bad(
            "mamba_d_head",
            format!("{d_inner} channels over {heads} heads"),
        ));
    }
    let bias = config.flag_or("mamba_proj_bias", false)?;
    let mixer = Mamba2 {
        heads,
        headdim,
        d_state: config.size_or("mamba_d_state", 256)?,
        n_groups: config.size_or("mamba_n_groups", 1)?,
        d_conv: config.size_or("mamba_d_conv", 4)?,
        in_bias: bias,
        out_bias: bias,
        conv_bias: config.flag_or("mamba_conv_bias", true)?,
        dt_limit: config.limits_or("time_step_limit", UNLIMITED)?,
        norm: Some(InnerNorm {
            eps: config.positive_or("rms_norm_eps", 1e-5)? as f32,
            before_gate: false,
        }),
        d_per_channel: false,
        multipliers: [1.0; 5],
        a_is_final: a_is_final(config)?,
    };
    check(config, &mixer)?;
    Ok(mixer)
}

/// What must hold between the sizes of any Mamba-2 mixer.
pub(super) fn check(config: &Config<'_>, mixer: &Mamba2) -> Result<(), ModelError> {
    require_multiple(
        config,
        "Mamba-2 heads over groups",
        mixer.heads,
        mixer.n_groups,
    )?;
    require_multiple(
        config,
        "Mamba-2 channels over groups",
        mixer.d_inner(),
        mixer.n_groups,
    )
}

fn assemble(
    d_model: usize,
    layers: usize,
    mixer: Mamba2,
    norm: Norm,
    outside: Outside,
) -> Description {
    let residual = |i: usize| {
        let at = format!("backbone.layers.{i}");
        let mixer = Mixer::Mamba2(mixer.clone());
        Residual::plain(i, norm, format!("{at}.norm"), mixer, format!("{at}.mixer"))
    };
    outside.around(
        "mamba2",
        d_model,
        layers,
        norm,
        (0..layers).map(residual).collect(),
    )
}
