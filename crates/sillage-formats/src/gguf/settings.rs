//! From GGUF metadata to the settings of the architecture's Hugging Face config, and from its
//! tensors to the published ones.
//!
//! llama.cpp's converter changes some tensors on the way in; what it did is undone here, or
//! marked under `sillage` where undoing would lose bits:
//! - query and key rows of Llama-like models are interleaved for pairwise rotation: undone while
//!   reading, so that rotation works on half-split heads everywhere;
//! - `A_log` is stored as `-exp(A_log)`: marked `a_is_negative_exp`;
//! - Llama-3's frequency scaling is stored as divisors: `rope_divisors`;
//! - Falcon-H1's multipliers are folded into the weights: all are 1 here;
//! - unit dimensions are dropped or added: shapes are restored.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::names::{Family, split_layer};
use super::value::{Array, Value};
use super::vocab;
use super::{Gguf, GgufError, TensorInfo};
use crate::checkpoint::{Checkpoint, Origin, TokenizerSource};
use crate::error::FormatError;
use crate::source::Source;
use crate::tensors::{RowOrder, Stored, Tensor, Tensors};

const ARCHITECTURES: &str = "mamba, mamba2, llama, qwen2, falcon-h1, granitehybrid, nemotron_h";

/// More than any published model has.
const MAX_LAYERS: u64 = 1 << 14;

/// Typed access to the metadata.
pub(super) struct Metadata<'a> {
    file: &'a str,
    gguf: &'a Gguf,
    architecture: &'a str,
    by_name: HashMap<&'a str, &'a TensorInfo>,
}

type Read<T> = Result<T, FormatError>;

impl<'a> Metadata<'a> {
    pub(super) fn error(&self, key: &str, problem: impl Into<String>) -> FormatError {
        let source = GgufError::Key {
            key: key.to_owned(),
            problem: problem.into(),
        };
        FormatError::Gguf {
            file: self.file.to_owned(),
            source,
        }
    }

    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.gguf.metadata.get(&self.full(key))
    }

    pub(super) fn count(&self, key: &str) -> Read<u64> {
        self.optional_count(key)?
            .ok_or_else(|| self.error(&self.full(key), "is missing"))
    }

    fn optional_count(&self, key: &str) -> Read<Option<u64>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        // Sizes beyond this are damage, and products of two of them cannot overflow.
        match value.as_u64().filter(|n| *n < 1 << 31) {
            Some(n) => Ok(Some(n)),
            None => Err(self.error(&self.full(key), format!("is {}", value.describe()))),
        }
    }

    /// A count written once, or a list with one for every layer: its largest.
    fn largest(&self, key: &str) -> Read<u64> {
        if let Some(Value::Array(Array::Integers(list))) = self.get(key) {
            let largest = list.iter().copied().max().unwrap_or(0);
            return u64::try_from(largest)
                .ok()
                .filter(|n| *n < 1 << 31)
                .ok_or_else(|| self.error(&self.full(key), format!("holds {largest}")));
        }
        self.count(key)
    }

    pub(super) fn number(&self, key: &str, default: f64) -> Read<f64> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        match value.as_f64().filter(|n| n.is_finite()) {
            Some(n) => Ok(n),
            None => Err(self.error(&self.full(key), format!("is {}", value.describe()))),
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Value::as_bool)
    }

    fn word(&self, key: &str) -> Option<&'a str> {
        self.get(key).and_then(Value::as_str)
    }

    fn tensor(&self, name: &str) -> Option<&'a TensorInfo> {
        self.by_name.get(name).copied()
    }

    /// Whether any layer has this tensor.
    fn any_layer_has(&self, rest: &str) -> bool {
        self.gguf
            .tensors
            .iter()
            .any(|t| split_layer(&t.name).is_some_and(|(_, r)| r == rest))
    }
}

/// Builds the checkpoint.
pub(super) fn checkpoint(source: &Arc<Source>, gguf: &Gguf) -> Read<Checkpoint> {
    let file = source.name();
    let architecture = gguf
        .metadata
        .get("general.architecture")
        .and_then(Value::as_str);
    let by_name = gguf.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
    let metadata = Metadata {
        file,
        gguf,
        architecture: architecture.unwrap_or_default(),
        by_name,
    };
    let architecture =
        architecture.ok_or_else(|| metadata.error("general.architecture", "is missing"))?;
    let family = match architecture {
        "mamba" => Family::Mamba,
        "mamba2" => Family::Mamba2,
        "llama" | "qwen2" => Family::Llama,
        "falcon-h1" => Family::FalconH1,
        // Bamba shares this architecture's name; only it rotates and has no multipliers.
        "granitehybrid" => {
            let rotates = metadata.flag("rope.scaling.finetuned").unwrap_or(true);
            match rotates && metadata.get("embedding_scale").is_none() {
                true => Family::Bamba,
                false => Family::Granite,
            }
        }
        "nemotron_h" => Family::NemotronH,
        other => {
            return Err(FormatError::UnsupportedArchitecture {
                found: other.to_owned(),
                supported: ARCHITECTURES.to_owned(),
            });
        }
    };
    let layers = metadata.count("block_count")?;
    if layers > MAX_LAYERS {
        return Err(metadata.error(&metadata.full("block_count"), format!("is {layers}")));
    }
    if metadata.optional_count("expert_count")?.unwrap_or(0) > 0 {
        return Err(FormatError::Unsupported {
            what: format!("{file}: a mixture of experts"),
            cure: "only dense models are: choose one without experts",
        });
    }
    let tensors = translate(source, &metadata, family)?;
    let mut config = config(&metadata, family)?;
    let mut ours = json!({ "a_is_negative_exp": true });
    if let Some(divisors) = rope_divisors(source, &metadata)? {
        ours["rope_divisors"] = divisors;
    }
    if family == Family::Mamba2 {
        ours["gated_norm"] = metadata.any_layer_has("ssm_norm.weight").into();
    }
    config.insert("sillage".into(), ours);
    vocab::add_token_ids(gguf, &mut config);
    Ok(Checkpoint {
        name: file.to_owned(),
        origin: Origin::Gguf,
        config: Json::Object(config),
        tensors,
        tokenizer: match vocab::vocabulary(gguf) {
            Some(vocabulary) => TokenizerSource::Vocabulary(Box::new(vocabulary)),
            None => TokenizerSource::None,
        },
        tokenizer_config: Some(vocab::tokenizer_config(gguf)),
        generation_config: None,
        chat_template: vocab::text(gguf, "tokenizer.chat_template").map(str::to_owned),
    })
}

/// Published names, shapes and row orders.
fn translate(source: &Arc<Source>, metadata: &Metadata<'_>, family: Family) -> Read<Tensors> {
    let mut tensors = Tensors::new();
    for info in &metadata.gguf.tensors {
        let name = family.name(&info.name).unwrap_or_else(|| info.name.clone());
        let shape = published_shape(family, &name, &info.shape);
        let mut tensor = Tensor::new(source, info.offset, shape, Stored::Known(info.ty));
        if family.interleaves_heads(metadata.architecture) {
            set_order(metadata, info, &mut tensor)?;
        }
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(metadata.error(&info.name, format!("is a second tensor for '{name}'")));
        }
    }
    if family == Family::Granite {
        join_gate_and_up(&mut tensors, metadata)?;
    }
    Ok(tensors)
}

fn published_shape(family: Family, name: &str, shape: &[usize]) -> Vec<usize> {
    if name.ends_with("conv1d.weight")
        && let [channels, taps] = *shape
    {
        return vec![channels, 1, taps];
    }
    let flat = name.ends_with(".A_log") || name.ends_with(".D") || name.ends_with(".norm.weight");
    match flat && family != Family::Mamba {
        true => vec![shape.iter().product()],
        false => shape.to_vec(),
    }
}

fn set_order(metadata: &Metadata<'_>, info: &TensorInfo, tensor: &mut Tensor) -> Read<()> {
    let Some((layer, rest)) = split_layer(&info.name) else {
        return Ok(());
    };
    let key = match rest.split('.').next() {
        Some("attn_q") => "attention.head_count",
        Some("attn_k") => "attention.head_count_kv",
        _ => return Ok(()),
    };
    let heads = match metadata.get(key) {
        Some(Value::Array(Array::Integers(list))) => list
            .get(layer)
            .and_then(|n| usize::try_from(*n).ok())
            .unwrap_or(0),
        Some(_) => metadata.count(key)? as usize,
        // Without grouped queries the second key may be left out.
        None => metadata.count("attention.head_count")? as usize,
    };
    let rows = info.shape[0];
    if heads == 0 || !rows.is_multiple_of(2 * heads) {
        return Err(FormatError::Shape {
            tensor: info.name.clone(),
            found: info.shape.clone(),
            expected: format!("rows for {heads} heads of an even size"),
        });
    }
    for part in &mut tensor.parts {
        part.order = RowOrder::Interleaved(rows / heads);
    }
    Ok(())
}

/// Granite publishes gate and up projection as one matrix.
fn join_gate_and_up(tensors: &mut Tensors, metadata: &Metadata<'_>) -> Read<()> {
    for layer in 0..metadata.count("block_count")? {
        let gate = tensors.remove(&format!("blk.{layer}.ffn_gate.weight"));
        let up = tensors.remove(&format!("blk.{layer}.ffn_up.weight"));
        let (Some(mut gate), Some(up)) = (gate, up) else {
            continue;
        };
        if gate.shape != up.shape || gate.shape.len() != 2 {
            return Err(FormatError::Shape {
                tensor: format!("blk.{layer}.ffn_up.weight"),
                found: up.shape,
                expected: format!("the shape of ffn_gate, {:?}", gate.shape),
            });
        }
        gate.shape[0] *= 2;
        gate.parts.extend(up.parts);
        tensors.insert(
            format!("model.layers.{layer}.shared_mlp.input_linear.weight"),
            gate,
        );
    }
    Ok(())
}

fn rope_divisors(source: &Arc<Source>, metadata: &Metadata<'_>) -> Read<Option<Json>> {
    let Some(info) = metadata.tensor("rope_freqs.weight") else {
        return Ok(None);
    };
    let elements: usize = info.shape.iter().product();
    if elements > 1 << 16 {
        return Err(metadata.error(&info.name, format!("has {elements} divisors")));
    }
    let tensor = Tensor::new(source, info.offset, vec![elements], Stored::Known(info.ty));
    Ok(Some(tensor.to_f32(&info.name)?.into()))
}

fn config(m: &Metadata<'_>, family: Family) -> Read<Map<String, Json>> {
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
