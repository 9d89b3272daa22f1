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

use serde_json::{Value as Json, json};

use super::architectures;
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
    pub(super) gguf: &'a Gguf,
    pub(super) architecture: &'a str,
    by_name: HashMap<&'a str, &'a TensorInfo>,
}

pub(super) type Read<T> = Result<T, FormatError>;

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

    pub(super) fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.gguf.metadata.get(&self.full(key))
    }

    pub(super) fn count(&self, key: &str) -> Read<u64> {
        self.optional_count(key)?
            .ok_or_else(|| self.error(&self.full(key), "is missing"))
    }

    pub(super) fn optional_count(&self, key: &str) -> Read<Option<u64>> {
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
    pub(super) fn largest(&self, key: &str) -> Read<u64> {
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

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Value::as_bool)
    }

    pub(super) fn word(&self, key: &str) -> Option<&'a str> {
        self.get(key).and_then(Value::as_str)
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&'a TensorInfo> {
        self.by_name.get(name).copied()
    }

    /// Whether any layer has this tensor.
    pub(super) fn any_layer_has(&self, rest: &str) -> bool {
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
    let mut config = architectures::config(&metadata, family)?;
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
