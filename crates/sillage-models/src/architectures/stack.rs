//! A bare stack: blocks that a configuration lists one by one, for models of other things than tokens;
//! and `sillage`, the architecture of language models that are an embedding, a stack and a projection.

use super::{Evidence, Outside};
use crate::config::Config;
use crate::description::{
    Activation, Attention, Conv, Description, InnerNorm, Mamba, Mamba2, Mixer, Mlp, Names, Norm,
    Residual, Stored,
};
use crate::error::ModelError;
use crate::rope::Rope;
use serde::Serialize;
use serde_json::Value;

/// All norms of a bare stack.
const EPS: f64 = 1e-5;
/// More blocks than any stack has use for.
const MAX_BLOCKS: usize = 1024;

/// What a [`Stack`](crate::Stack) is made of.
///
/// ```json
/// {"d_model": 320, "blocks": [
///   {"type": "mamba2", "d_state": 64, "headdim": 64, "d_conv": 4},
///   {"type": "attention", "heads": 5, "head_dim": 64, "rope_theta": 10000.0},
///   {"type": "mlp", "d_ff": 512, "activation": "gelu"},
///   {"type": "conv", "d_conv": 7}]}
/// ```
/// Every block is preceded by an RMS norm, and one more follows the last. Also `mamba` (`d_state`,
/// `d_conv`). Optional keys: `expand` (2) and `n_groups` (1) of `mamba2`, `expand` and `dt_rank` (a
/// sixteenth of `d_model`) of `mamba`; `kv_heads` (as `heads`), `window` and `rope` (true) of
/// `attention`; `gated` (false) and `bias` (true) of `mlp`. `gelu` is the tanh approximation, and may be
/// called `gelu_tanh`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StackConfig {
    /// Width of the residual stream.
    pub d_model: usize,
    /// The blocks in order.
    pub blocks: Vec<Mixer>,
}

impl StackConfig {
    /// Reads a stack's entry of a configuration; `of` names it in messages, such as
    /// `acoustic.backbone`.
    ///
    /// # Errors
    /// Keys that are missing or senseless, and unknown types of blocks.
    pub fn read(of: &str, value: &Value) -> Result<Self, ModelError> {
        let config = Config::new(of, value);
        let d_model = config.size("d_model")?;
        let blocks = match config.get("blocks").and_then(Value::as_array) {
            Some(list) if (1..=MAX_BLOCKS).contains(&list.len()) => list,
            _ => return Err(config.bad("blocks", format!("a list of 1 to {MAX_BLOCKS} blocks"))),
        };
        let blocks = blocks
            .iter()
            .enumerate()
            .map(|(i, block)| mixer(&Config::new(&format!("{of}, block {i}"), block), d_model))
            .collect::<Result<_, _>>()?;
        Ok(StackConfig { d_model, blocks })
    }

    pub(super) fn describe(evidence: &Evidence<'_>) -> Result<Description, ModelError> {
        let config = &evidence.config;
        let Some(stack) = config.get("stack") else {
            return Err(config.bad("stack", "an object with d_model and blocks"));
        };
        let stack = StackConfig::read("stack", stack)?;
        let names = Names {
            embedding: "embedding.weight".to_owned(),
            final_norm: "stack.norm".to_owned(),
            head: "head.weight".to_owned(),
        };
        let outside = Outside::read(evidence, names, config.size("vocab_size")?, true)?;
        let (layers, norm) = (stack.blocks.len(), stack.norm());
        let residuals = stack.residuals("stack");
        let architecture = config.architecture();
        Ok(outside.around(architecture, stack.d_model, layers, norm, residuals))
    }

    pub(crate) fn norm(&self) -> Norm {
        Norm::rms(EPS)
    }

    pub(crate) fn residuals(&self, prefix: &str) -> Vec<Residual> {
        let residual = |(i, mixer): (usize, &Mixer)| {
            let at = format!("{prefix}.blocks.{i}");
            let (norm, inside) = (format!("{at}.norm"), format!("{at}.mixer"));
            Residual::plain(i, self.norm(), norm, mixer.clone(), inside)
        };
        self.blocks.iter().enumerate().map(residual).collect()
    }
}

fn mixer(config: &Config<'_>, d_model: usize) -> Result<Mixer, ModelError> {
    Ok(match config.word("type")? {
        Some("mamba2") => Mixer::Mamba2(mamba2(config, d_model)?),
        Some("attention") => Mixer::Attention(attention(config)?),
        Some("mamba") => Mixer::Mamba(mamba(config, d_model)?),
        Some("mlp") => Mixer::Mlp(mlp(config)?),
        Some("conv") => Mixer::Conv(Conv {
            d_conv: config.size("d_conv")?,
            bias: true,
        }),
        _ => return Err(config.bad("type", "one of mamba, mamba2, attention, mlp, conv")),
    })
}

fn mamba(config: &Config<'_>, d_model: usize) -> Result<Mamba, ModelError> {
    Ok(Mamba {
        d_inner: config.size_or("expand", 2)? * d_model,
        d_state: config.size("d_state")?,
        d_conv: config.size("d_conv")?,
        dt_rank: config.size_or("dt_rank", d_model.div_ceil(16))?,
        bias: false,
        conv_bias: true,
        inner_norm_eps: None,
        a_is_final: false,
    })
}

fn mlp(config: &Config<'_>) -> Result<Mlp, ModelError> {
    let gated = config.flag_or("gated", false)?;
    Ok(Mlp {
        d_ff: config.size("d_ff")?,
        gated,
        activation: activation(config)?,
        bias: config.flag_or("bias", true)?,
        gate_multiplier: 1.0,
        inputs: Stored::Apart(if gated { &["gate", "up"] } else { &["up"] }),
        down: "down",
    })
}

fn mamba2(config: &Config<'_>, d_model: usize) -> Result<Mamba2, ModelError> {
    let headdim = config.size("headdim")?;
    let d_inner = config.size_or("expand", 2)? * d_model;
    super::require_multiple(config, "channels over headdim", d_inner, headdim)?;
    let mixer = Mamba2 {
        heads: d_inner / headdim,
        headdim,
        d_state: config.size("d_state")?,
        n_groups: config.size_or("n_groups", 1)?,
        d_conv: config.size("d_conv")?,
        in_bias: false,
        out_bias: false,
        conv_bias: true,
        dt_limit: (0.0, f32::INFINITY),
        norm: Some(InnerNorm {
            eps: EPS as f32,
            before_gate: false,
        }),
        d_per_channel: false,
        multipliers: [1.0; 5],
        a_is_final: false,
    };
    super::mamba2::check(config, &mixer)?;
    Ok(mixer)
}

fn attention(config: &Config<'_>) -> Result<Attention, ModelError> {
    let (heads, head_dim) = (config.size("heads")?, config.size("head_dim")?);
    let kv_heads = config.size_or("kv_heads", heads)?;
    super::require_multiple(config, "attention heads over KV heads", heads, kv_heads)?;
    Ok(Attention {
        heads,
        kv_heads,
        head_dim,
        scale: (head_dim as f64).powf(-0.5) as f32,
        window: config.optional_size("window")?,
        rope: match config.flag_or("rope", true)? {
            true => Some(Rope::from_config(config, head_dim, 10_000.0, 1.0)?),
            false => None,
        },
        qkv_bias: false,
        out_bias: false,
        key_multiplier: 1.0,
        qkv: Stored::Apart(&["q_proj", "k_proj", "v_proj"]),
        out: "o_proj",
    })
}

/// In these configurations `gelu` means the tanh approximation, which may also be named.
fn activation(config: &Config<'_>) -> Result<Activation, ModelError> {
    match config.word("activation")? {
        None | Some("gelu" | "gelu_tanh") => Ok(Activation::GeluTanh),
        Some(_) => super::activation(config, "activation", Activation::GeluTanh),
    }
}
