//! From a configuration to a [`Description`]: one small file per family.
//!
//! Adding an architecture means adding a function here that lists its residuals. It must not need a
//! new loader or a new forward pass; at most a new mixer.

mod attention;
mod bamba;
mod falcon_h1;
mod granite;
mod llama;
mod mamba;
mod mamba2;
mod nemotron_h;
mod rene;
mod stack;

pub use stack::StackConfig;

use crate::config::Config;
use crate::description::{Activation, Description, Names, Norm, Residual};
use crate::error::ModelError;
use serde_json::Value;

/// Every `model_type` that can be described.
pub const SUPPORTED: [&str; 13] = [
    "mamba",
    "falcon_mamba",
    "mamba2",
    "llama",
    "mistral",
    "qwen2",
    "smollm2",
    "bamba",
    "granitemoehybrid",
    "falcon_h1",
    "nemotron_h",
    "rene",
    "sillage",
];

/// What a description is made from: the configuration, and which tensors exist where several names
/// are in use.
pub(crate) struct Evidence<'a> {
    pub(crate) config: Config<'a>,
    pub(crate) has_tensor: &'a dyn Fn(&str) -> bool,
    /// Number of rows of the embedding, given its name.
    pub(crate) rows: &'a dyn Fn(&str) -> Option<usize>,
}

/// Describes the model that `config` (in Hugging Face's form) configures.
///
/// `shape` gives the shape of a tensor of the checkpoint, `None` where there is no such tensor.
///
/// # Errors
/// Unknown architectures, unsupported variants, and keys that are missing or senseless.
pub fn describe(
    config: &Value,
    shape: &dyn Fn(&str) -> Option<Vec<usize>>,
) -> Result<Description, ModelError> {
    let kind = config.get("model_type").and_then(Value::as_str);
    let kind = kind.ok_or_else(|| unknown("not named (the configuration has no model_type)"))?;
    let has_tensor = |name: &str| shape(name).is_some();
    let rows = |name: &str| shape(name).and_then(|s| s.first().copied());
    let evidence = Evidence {
        config: Config::new(kind, config),
        has_tensor: &has_tensor,
        rows: &rows,
    };
    match kind {
        "mamba" | "falcon_mamba" => mamba::describe(&evidence),
        "mamba2" => mamba2::describe(&evidence),
        "llama" | "smollm2" | "mistral" | "qwen2" => llama::describe(&evidence),
        "bamba" => bamba::describe(&evidence),
        "granitemoehybrid" => granite::describe(&evidence),
        "falcon_h1" => falcon_h1::describe(&evidence),
        "nemotron_h" => nemotron_h::describe(&evidence),
        "rene" => rene::describe(&evidence),
        "sillage" => StackConfig::describe(&evidence),
        other => Err(unknown(other)),
    }
}

fn unknown(found: &str) -> ModelError {
    let found = found.chars().take(80).collect();
    ModelError::UnknownArchitecture {
        found,
        supported: SUPPORTED.join(", "),
    }
}

/// What stands outside the layers, as most architectures have it.
pub(crate) struct Outside {
    pub(crate) names: Names,
    pub(crate) vocab: usize,
    pub(crate) tied: bool,
    pub(crate) trained_context: Option<usize>,
}

impl Outside {
    /// `tied_default` holds where the configuration does not say and the checkpoint has both tensors
    /// or neither.
    pub(crate) fn read(
        evidence: &Evidence<'_>,
        names: Names,
        vocab: usize,
        tied_default: bool,
    ) -> Result<Outside, ModelError> {
        let config = &evidence.config;
        let stored_apart = (evidence.has_tensor)(&names.head);
        let tied = config.flag_or("tie_word_embeddings", tied_default || !stored_apart)?;
        let trained_context = config.optional_size("max_position_embeddings")?;
        Ok(Outside {
            names,
            vocab,
            tied,
            trained_context,
        })
    }
}

impl Outside {
    /// The whole description, without multipliers.
    pub(crate) fn around(
        self,
        architecture: &str,
        d_model: usize,
        layers: usize,
        final_norm: Norm,
        residuals: Vec<Residual>,
    ) -> Description {
        Description {
            architecture: architecture.to_owned(),
            d_model,
            vocab: self.vocab,
            layers,
            trained_context: self.trained_context,
            embedding_multiplier: 1.0,
            residuals,
            final_norm,
            logits_multiplier: 1.0,
            tied: self.tied,
            names: self.names,
        }
    }
}

/// Rene rounds the vocabulary up to a multiple; the tensor itself is the authority
/// where it lies between the two.
pub(crate) fn padded_vocab(
    evidence: &Evidence<'_>,
    embedding: &str,
    multiple: usize,
) -> Result<usize, ModelError> {
    let vocab = evidence.config.size("vocab_size")?;
    let padded = vocab.next_multiple_of(
        evidence
            .config
            .size_or("pad_vocab_size_multiple", multiple)?,
    );
    Ok(match (evidence.rows)(embedding) {
        Some(rows) if (vocab..=padded).contains(&rows) => rows,
        _ => padded,
    })
}

/// Rene has RMS norms unless it says otherwise.
pub(crate) fn require_rms(config: &Config<'_>) -> Result<(), ModelError> {
    if config.flag_or("rms_norm", true)? {
        Ok(())
    } else {
        Err(config.unsupported("rms_norm", "false", "true"))
    }
}

pub(crate) fn activation(
    config: &Config<'_>,
    key: &str,
    default: Activation,
) -> Result<Activation, ModelError> {
    Ok(match config.word(key)? {
        None => default,
        Some("silu" | "swish") => Activation::Silu,
        Some("gelu") => Activation::Gelu,
        Some("gelu_pytorch_tanh" | "gelu_new" | "gelu_fast") => Activation::GeluTanh,
        Some("relu") => Activation::Relu,
        Some("relu2") => Activation::Relu2,
        Some(other) => {
            return Err(config.unsupported(
                key,
                format!("'{other}'"),
                "silu, gelu, gelu_pytorch_tanh, relu, relu2",
            ));
        }
    })
}

/// Fails unless `groups` divides `heads` and so on: `whole` must be a multiple of `part`.
pub(crate) fn require_multiple(
    config: &Config<'_>,
    what: &str,
    whole: usize,
    part: usize,
) -> Result<(), ModelError> {
    if part > 0 && whole.is_multiple_of(part) {
        Ok(())
    } else {
        Err(config.unsupported(what, format!("{whole} over {part}"), "a whole multiple"))
    }
}

/// Whether A is stored as itself (GGUF) rather than as the logarithm of -A.
pub(crate) fn a_is_final(config: &Config<'_>) -> Result<bool, ModelError> {
    config
        .section("sillage", "sillage.")
        .flag_or("a_is_negative_exp", false)
}
