//! The settings of each architecture, in the keys of its Hugging Face config.

use serde_json::{Map, Value as Json, json};

use super::names::Family;
use super::settings::{Metadata, Read};

/// All settings but those of the vocabulary.
pub(super) fn config(m: &Metadata<'_>, family: Family) -> Read<Map<String, Json>> {
    let embedding = m
        .tensor("token_embd.weight")
        .ok_or_else(|| m.error("token_embd.weight", "is missing (a tensor)"))?;
    let mut to = Map::new();
    to.insert("hidden_size".into(), m.count("embedding_length")?.into());
    to.insert("num_hidden_layers".into(), m.count("block_count")?.into());
    to.insert("vocab_size".into(), embedding.shape[0].into());
    to.insert(
        "tie_word_embeddings".into(),
        m.tensor("output.weight").is_none().into(),
    );
    let context = m.optional_count("context_length")?;
    to.insert("max_position_embeddings".into(), context.into());
    match family {
        Family::Mamba => mamba(m, &mut to)?,
        Family::Mamba2 => mamba2(m, &mut to)?,
        Family::Llama => llama(m, &mut to)?,
        Family::FalconH1 => falcon_h1(m, &mut to)?,
        Family::Granite | Family::Bamba => granite(m, family, &mut to)?,
        Family::NemotronH => nemotron_h(m, &mut to)?,
    }
    Ok(to)
}

fn set(to: &mut Map<String, Json>, from: Json) {
    if let Json::Object(from) = from {
        to.extend(from);
    }
}

fn epsilon(m: &Metadata<'_>) -> Read<f64> {
    let fallback = m.number("attention.layer_norm_epsilon", 1e-5)?;
    m.number("attention.layer_norm_rms_epsilon", fallback)
}

fn mamba(m: &Metadata<'_>, to: &mut Map<String, Json>) -> Read<()> {
    let model = match m.flag("ssm.dt_b_c_rms").unwrap_or(false) {
        true => "falcon_mamba",
        false => "mamba",
    };
    let (inner, width) = (m.count("ssm.inner_size")?, m.count("embedding_length")?);
    set(
        to,
        json!({
            "model_type": model,
            "state_size": m.count("ssm.state_size")?,
            "conv_kernel": m.count("ssm.conv_kernel")?,
            "intermediate_size": inner,
            "expand": inner / width.max(1),
            "time_step_rank": m.count("ssm.time_step_rank")?,
            "layer_norm_epsilon": epsilon(m)?,
            "use_bias": m.any_layer_has("ssm_in.bias"),
            "use_conv_bias": m.any_layer_has("ssm_conv1d.bias"),
        }),
    );
    Ok(())
}

/// Heads, size of a head, groups: from the inner width.
fn heads(m: &Metadata<'_>) -> Read<(u64, u64, u64)> {
    let (inner, heads) = (m.count("ssm.inner_size")?, m.count("ssm.time_step_rank")?);
    if heads == 0 || !inner.is_multiple_of(heads) {
        return Err(m.error(
            &m.full("ssm.time_step_rank"),
            format!("is {heads}, which does not divide {inner}"),
        ));
    }
    Ok((
        heads,
        inner / heads,
        m.optional_count("ssm.group_count")?.unwrap_or(1),
    ))
}

fn mamba2(m: &Metadata<'_>, to: &mut Map<String, Json>) -> Read<()> {
    let (heads, headdim, groups) = heads(m)?;
    set(
        to,
        json!({
            "model_type": "mamba2",
            "num_heads": heads,
            "head_dim": headdim,
            "n_groups": groups,
            "state_size": m.count("ssm.state_size")?,
            "conv_kernel": m.count("ssm.conv_kernel")?,
            "intermediate_size": heads * headdim,
            "expand": heads * headdim / m.count("embedding_length")?.max(1),
            "layer_norm_epsilon": epsilon(m)?,
            "time_step_limit": [0.0, f64::MAX],
            "use_bias": m.any_layer_has("ssm_in.bias"),
            "use_conv_bias": m.any_layer_has("ssm_conv1d.bias"),
        }),
    );
    Ok(())
}

/// Heads of attention and the rotation.
fn attention(m: &Metadata<'_>, to: &mut Map<String, Json>) -> Read<u64> {
    let heads = m.largest("attention.head_count")?;
    if heads == 0 {
        return Err(m.error(&m.full("attention.head_count"), "is 0"));
    }
    let kv_heads = match m.get("attention.head_count_kv") {
        Some(_) => m.largest("attention.head_count_kv")?,
        None => heads,
    };
    let head_dim = match m.optional_count("attention.key_length")? {
        Some(n) => n,
        None => m.count("embedding_length")? / heads,
    };
    let rotated = m
        .optional_count("rope.dimension_count")?
        .unwrap_or(head_dim);
    set(
        to,
        json!({
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "head_dim": head_dim,
            "rope_theta": m.number("rope.freq_base", 10000.0)?,
            "attention_bias": m.any_layer_has("attn_q.bias"),
            "mlp_bias": m.any_layer_has("ffn_up.bias"),
            "rms_norm_eps": epsilon(m)?,
        }),
    );
    if rotated < head_dim {
        to.insert(
            "partial_rotary_factor".into(),
            (rotated as f64 / head_dim as f64).into(),
        );
    }
    match m.word("rope.scaling.type") {
        None | Some("none") => {}
        Some(kind) => {
            let original = m.optional_count("rope.scaling.original_context_length")?;
            let scaling = json!({
                "rope_type": kind,
                "factor": m.number("rope.scaling.factor", 1.0)?,
                "original_max_position_embeddings": original,
            });
            to.insert("rope_scaling".into(), scaling);
        }
    }
    Ok(head_dim)
}

fn llama(m: &Metadata<'_>, to: &mut Map<String, Json>) -> Read<()> {
    attention(m, to)?;
    to.insert("model_type".into(), m.architecture.into());
    to.insert(
        "intermediate_size".into(),
        m.largest("feed_forward_length")?.into(),
    );
    to.insert("hidden_act".into(), "silu".into());
    if m.architecture == "llama"
        && let Some(window) = m.optional_count("attention.sliding_window")?
    {
        to.insert("sliding_window".into(), window.into());
        to.insert("model_type".into(), "mistral".into());
    }
    Ok(())
}

/// The Mamba-2 settings of the hybrids, in their spelling.
fn hybrid_ssm(m: &Metadata<'_>, to: &mut Map<String, Json>) -> Read<()> {
    let (heads, headdim, groups) = heads(m)?;
    set(
        to,
        json!({
            "mamba_n_heads": heads,
            "mamba_d_head": headdim,
            "mamba_n_groups": groups,
            "mamba_d_state": m.count("ssm.state_size")?,
            "mamba_d_conv": m.count("ssm.conv_kernel")?,
            "mamba_d_ssm": heads * headdim,
            "mamba_expand": heads * headdim / m.count("embedding_length")?.max(1),
            "mamba_conv_bias": m.any_layer_has("ssm_conv1d.bias"),
            "mamba_proj_bias": m.any_layer_has("ssm_in.bias"),
        }),
    );
    Ok(())
}

fn falcon_h1(m: &Metadata<'_>, to: &mut Map<String, Json>) -> Read<()> {
    attention(m, to)?;
    hybrid_ssm(m, to)?;
    let norm = m.any_layer_has("ssm_norm.weight") || m.any_layer_has("ssm_norm");
    set(
        to,
        json!({
            "model_type": "falcon_h1",
            "intermediate_size": m.largest("feed_forward_length")?,
            "projectors_bias": m.any_layer_has("ssm_out.bias"),
            "mamba_rms_norm": norm,
            // The file does not say; every published model and llama.cpp have the gate first.
            "mamba_norm_before_gate": false,
            "embedding_multiplier": 1.0, "lm_head_multiplier": 1.0, "key_multiplier": 1.0,
            "attention_in_multiplier": 1.0, "attention_out_multiplier": 1.0,
            "ssm_in_multiplier": 1.0, "ssm_out_multiplier": 1.0,
            "ssm_multipliers": [1.0, 1.0, 1.0, 1.0, 1.0], "mlp_multipliers": [1.0, 1.0],
        }),
    );
    Ok(())
}

/// For every layer, which of some tensors it has.
fn layer_kinds<'k>(m: &Metadata<'_>, kinds: &[(&str, &'k str)]) -> Read<Vec<&'k str>> {
    (0..m.count("block_count")?)
        .map(|layer| {
            let has = |rest: &str| m.tensor(&format!("blk.{layer}.{rest}")).is_some();
            let kind = kinds
                .iter()
                .find(|(rest, _)| has(rest))
                .map(|(_, kind)| *kind);
            kind.ok_or_else(|| {
                m.error(
                    &format!("blk.{layer}"),
                    "has no mixer (tensors are missing)",
                )
            })
        })
        .collect()
}

fn granite(m: &Metadata<'_>, family: Family, to: &mut Map<String, Json>) -> Read<()> {
    let head_dim = attention(m, to)?;
    hybrid_ssm(m, to)?;
    let kinds = layer_kinds(
        m,
        &[("ssm_in.weight", "mamba"), ("attn_q.weight", "attention")],
    )?;
    if family == Family::Bamba {
        let attention = |(i, kind): (usize, &&str)| (*kind == "attention").then_some(i);
        let indices: Vec<usize> = kinds.iter().enumerate().filter_map(attention).collect();
        set(
            to,
            json!({
                "model_type": "bamba",
                "attn_layer_indices": indices,
                "intermediate_size": m.largest("feed_forward_length")?,
                "time_step_limit": [0.0, f64::MAX],
            }),
        );
        return Ok(());
    }
    let rotates = m.flag("rope.scaling.finetuned").unwrap_or(true);
    let gate = m
        .gguf
        .tensors
        .iter()
        .find(|t| t.name.ends_with(".ffn_gate.weight"));
    let width = match gate {
        Some(gate) => gate.shape[0] as u64,
        None => m.largest("feed_forward_length")?,
    };
    set(
        to,
        json!({
            "model_type": "granitemoehybrid",
            "layer_types": kinds,
            "num_local_experts": 0,
            "shared_intermediate_size": width,
            "intermediate_size": width,
            "position_embedding_type": if rotates { "rope" } else { "nope" },
            "attention_multiplier": m.number("attention.scale", (head_dim.max(1) as f64).powf(-0.5))?,
            "embedding_multiplier": m.number("embedding_scale", 1.0)?,
            "residual_multiplier": m.number("residual_scale", 1.0)?,
            "logits_scaling": m.number("logit_scale", 1.0)?,
            "time_step_limit": [0.0, f64::MAX],
        }),
    );
    Ok(())
}

fn nemotron_h(m: &Metadata<'_>, to: &mut Map<String, Json>) -> Read<()> {
    attention(m, to)?;
    let (heads, headdim, groups) = heads(m)?;
    let kinds = layer_kinds(
        m,
        &[
            ("ssm_in.weight", "M"),
            ("attn_q.weight", "*"),
            ("ffn_up.weight", "-"),
        ],
    )?;
    set(
        to,
        json!({
            "model_type": "nemotron_h",
            "hybrid_override_pattern": kinds.concat(),
            "intermediate_size": m.largest("feed_forward_length")?,
            "mamba_num_heads": heads,
            "mamba_head_dim": headdim,
            "n_groups": groups,
            "ssm_state_size": m.count("ssm.state_size")?,
            "conv_kernel": m.count("ssm.conv_kernel")?,
            "use_bias": m.any_layer_has("ssm_in.bias"),
            "use_conv_bias": m.any_layer_has("ssm_conv1d.bias"),
            "layer_norm_epsilon": epsilon(m)?,
            "time_step_limit": [0.0, f64::MAX],
            "mlp_hidden_act": "relu2",
            "mlp_bias": m.any_layer_has("ffn_up.bias"),
        }),
    );
    Ok(())
}
