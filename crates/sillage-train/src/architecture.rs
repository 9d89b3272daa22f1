//! From a recipe's letters to a configuration in Hugging Face's form.
//!
//! Where an architecture that `transformers` knows can say the same, it is chosen, so that what is
//! trained here can be loaded there: `mamba`, `mamba2`, `llama` and `mistral`, `nemotron_h`. Any other
//! row of blocks becomes `sillage`, which this runtime alone reads.

use crate::error::TrainError;
use crate::recipe::ModelRecipe;
use serde_json::{Value, json};

/// More blocks than there is use for.
const MAX_BLOCKS: usize = 1024;
const EPS: f64 = 1e-5;
/// Taps of a convolution that is a block of its own: as many as inside Mamba.
const CONV_TAPS: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Mamba2,
    Mamba,
    Attention,
    Windowed,
    Mlp,
    Conv,
}

/// The configuration of a recipe's model with `vocab` tokens, trained on sequences of `length`.
///
/// # Errors
/// Letters that are none, and sizes that do not go together.
pub fn config(model: &ModelRecipe, vocab: usize, length: usize) -> Result<Value, TrainError> {
    let blocks = blocks(model)?;
    check(model, &blocks)?;
    let sizes = Sizes { model };
    let all = |kinds: &[Block]| blocks.iter().all(|block| kinds.contains(block));
    let mut config = if all(&[Block::Mamba2]) {
        sizes.mamba2(blocks.len())
    } else if all(&[Block::Mamba]) {
        sizes.mamba(blocks.len())
    } else if let Some(window) = sizes.is_llama(&blocks) {
        sizes.llama(blocks.len() / 2, window, length)
    } else if all(&[Block::Mamba2, Block::Attention, Block::Mlp]) && sizes.fits_nemotron(&blocks) {
        sizes.nemotron(&blocks, length)
    } else {
        sizes.stack(&blocks)
    };
    let common = json!({
        "vocab_size": vocab,
        "tie_word_embeddings": model.tied,
        "torch_dtype": "float32",
    });
    if let (Some(config), Some(common)) = (config.as_object_mut(), common.as_object()) {
        config.extend(common.clone());
    }
    Ok(config)
}

fn blocks(model: &ModelRecipe) -> Result<Vec<Block>, TrainError> {
    let letter = |letter: char| match letter {
        'M' => Ok(Block::Mamba2),
        'm' => Ok(Block::Mamba),
        '*' => Ok(Block::Attention),
        'w' => Ok(Block::Windowed),
        '-' => Ok(Block::Mlp),
        'c' => Ok(Block::Conv),
        other => Err(TrainError::value(
            "model.blocks",
            format!(
                "'{other}' is no block: M Mamba-2, m Mamba-1, * attention, w attention with a window, - MLP, \
                 c short convolution"
            ),
        )),
    };
    let letters = model.blocks.chars().filter(|c| !c.is_whitespace());
    let row = letters.map(letter).collect::<Result<Vec<_>, _>>()?;
    let count = row.len().saturating_mul(model.repeat);
    if !(1..=MAX_BLOCKS).contains(&count) {
        let message = format!("{count} blocks: give 1 to {MAX_BLOCKS}");
        return Err(TrainError::value("model.blocks", message));
    }
    Ok(row.repeat(model.repeat))
}

fn check(model: &ModelRecipe, blocks: &[Block]) -> Result<(), TrainError> {
    let bad = |key, message: String| Err(TrainError::value(key, message));
    let d = model.d_model;
    if !(1..=1 << 16).contains(&d) {
        return bad("model.d_model", format!("{d}: give 1 to 65,536"));
    }
    let sizes = Sizes { model };
    if blocks.contains(&Block::Mamba2) {
        let m = &model.mamba2;
        let inner = m.expand.saturating_mul(d);
        if m.headdim == 0 || inner == 0 || !inner.is_multiple_of(m.headdim) {
            return bad(
                "model.mamba2.headdim",
                format!("{} does not divide {inner}", m.headdim),
            );
        }
        let heads = inner / m.headdim;
        if m.n_groups == 0 || !heads.is_multiple_of(m.n_groups) {
            return bad(
                "model.mamba2.n_groups",
                format!("{} does not divide {heads} heads", m.n_groups),
            );
        }
        if m.d_state == 0 || m.d_conv < 2 {
            return bad(
                "model.mamba2",
                "d_state at least 1, d_conv at least 2".to_owned(),
            );
        }
    }
    if blocks.contains(&Block::Mamba) {
        let m = &model.mamba;
        if m.expand == 0 || m.d_state == 0 || m.d_conv < 2 {
            return bad(
                "model.mamba",
                "expand and d_state at least 1, d_conv at least 2".to_owned(),
            );
        }
    }
    if blocks.contains(&Block::Attention) || blocks.contains(&Block::Windowed) {
        let (heads, kv) = sizes.heads();
        if !d.is_multiple_of(heads) || !heads.is_multiple_of(kv) {
            return bad(
                "model.attention.heads",
                format!(
                    "{heads} heads of {d} channels, {kv} of them keys: each must divide the one before"
                ),
            );
        }
        if model.attention.rope_theta > 0.0 && !(d / heads).is_multiple_of(2) {
            return bad(
                "model.attention.heads",
                format!(
                    "heads of {} channels cannot rotate: give an even number",
                    d / heads
                ),
            );
        }
        if blocks.contains(&Block::Windowed) && model.attention.window == 0 {
            return bad("model.attention.window", "at least 1".to_owned());
        }
    }
    Ok(())
}

struct Sizes<'a> {
    model: &'a ModelRecipe,
}

impl Sizes<'_> {
    fn heads(&self) -> (usize, usize) {
        let a = &self.model.attention;
        let heads = match a.heads {
            0 => (self.model.d_model / 64).max(1),
            heads => heads,
        };
        (heads, if a.kv_heads == 0 { heads } else { a.kv_heads })
    }

    fn d_ff(&self) -> usize {
        match (self.model.mlp.d_ff, self.model.mlp.gated) {
            (0, true) => (self.model.d_model * 8 / 3).next_multiple_of(8),
            (0, false) => self.model.d_model * 4,
            (d_ff, _) => d_ff,
        }
    }

    fn dt_rank(&self) -> usize {
        match self.model.mamba.dt_rank {
            0 => self.model.d_model.div_ceil(16),
            rank => rank,
        }
    }

    fn mamba2(&self, layers: usize) -> Value {
        let (d, m) = (self.model.d_model, &self.model.mamba2);
        json!({
            "model_type": "mamba2", "architectures": ["Mamba2ForCausalLM"],
            "hidden_size": d, "num_hidden_layers": layers, "expand": m.expand,
            "num_heads": m.expand * d / m.headdim, "head_dim": m.headdim, "state_size": m.d_state,
            "n_groups": m.n_groups, "conv_kernel": m.d_conv, "use_bias": false, "use_conv_bias": true,
            "hidden_act": "silu", "layer_norm_epsilon": EPS, "rms_norm": true, "chunk_size": 64,
            "residual_in_fp32": true,
        })
    }

    fn mamba(&self, layers: usize) -> Value {
        let (d, m) = (self.model.d_model, &self.model.mamba);
        json!({
            "model_type": "mamba", "architectures": ["MambaForCausalLM"],
            "hidden_size": d, "intermediate_size": m.expand * d, "expand": m.expand,
            "num_hidden_layers": layers, "state_size": m.d_state, "conv_kernel": m.d_conv,
            "time_step_rank": self.dt_rank(), "use_bias": false, "use_conv_bias": true,
            "hidden_act": "silu", "layer_norm_epsilon": EPS, "residual_in_fp32": true,
        })
    }

    /// Whether the blocks are Llama's: attention with positions, then a gated MLP, all with one window
    /// or without.
    fn is_llama(&self, blocks: &[Block]) -> Option<Option<usize>> {
        let first = *blocks.first()?;
        let window = match first {
            Block::Attention => None,
            Block::Windowed => Some(self.model.attention.window),
            _ => return None,
        };
        let pairs = blocks.chunks(2).all(|pair| pair == [first, Block::Mlp]);
        (pairs && self.model.mlp.gated && self.model.attention.rope_theta > 0.0).then_some(window)
    }

    fn llama(&self, layers: usize, window: Option<usize>, length: usize) -> Value {
        let (heads, kv_heads) = self.heads();
        let d = self.model.d_model;
        let (kind, class) = match window {
            None => ("llama", "LlamaForCausalLM"),
            Some(_) => ("mistral", "MistralForCausalLM"),
        };
        json!({
            "model_type": kind, "architectures": [class],
            "hidden_size": d, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv_heads, "head_dim": d / heads, "intermediate_size": self.d_ff(),
            "hidden_act": "silu", "rms_norm_eps": EPS, "rope_theta": self.model.attention.rope_theta,
            "max_position_embeddings": length, "attention_bias": false, "mlp_bias": false,
            "sliding_window": window,
        })
    }

    /// Nemotron-H's attention has no positions, its MLP no gate.
    fn fits_nemotron(&self, blocks: &[Block]) -> bool {
        let plain_attention =
            !blocks.contains(&Block::Attention) || self.model.attention.rope_theta == 0.0;
        let plain_mlp = !blocks.contains(&Block::Mlp) || !self.model.mlp.gated;
        plain_attention && plain_mlp && blocks.contains(&Block::Mamba2)
    }

    fn nemotron(&self, blocks: &[Block], length: usize) -> Value {
        let (heads, kv_heads) = self.heads();
        let (d, m) = (self.model.d_model, &self.model.mamba2);
        let pattern: String = blocks
            .iter()
            .map(|block| match block {
                Block::Mamba2 => 'M',
                Block::Mlp => '-',
                _ => '*',
            })
            .collect();
        json!({
            "model_type": "nemotron_h", "architectures": ["NemotronHForCausalLM"],
            "hidden_size": d, "num_hidden_layers": blocks.len(), "hybrid_override_pattern": pattern,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": d / heads,
            "intermediate_size": self.d_ff(), "mlp_hidden_act": "relu2", "mlp_bias": false,
            "attention_bias": false, "mamba_num_heads": m.expand * d / m.headdim,
            "mamba_head_dim": m.headdim, "ssm_state_size": m.d_state, "n_groups": m.n_groups,
            "conv_kernel": m.d_conv, "expand": m.expand, "use_bias": false, "use_conv_bias": true,
            "mamba_proj_bias": false, "mamba_hidden_act": "silu", "layer_norm_epsilon": EPS,
            "chunk_size": 64, "max_position_embeddings": length,
            "residual_in_fp32": true,
        })
    }

    fn stack(&self, blocks: &[Block]) -> Value {
        let (heads, kv_heads) = self.heads();
        let model = self.model;
        let attention = |window: Option<usize>| {
            let rope = model.attention.rope_theta > 0.0;
            let mut block = json!({
                "type": "attention", "heads": heads, "kv_heads": kv_heads,
                "head_dim": model.d_model / heads, "window": window, "rope": rope,
            });
            if rope {
                block["rope_theta"] = json!(model.attention.rope_theta);
            }
            block
        };
        let block = |block: &Block| match block {
            Block::Conv => json!({"type": "conv", "d_conv": CONV_TAPS}),
            Block::Mamba2 => {
                let m = &model.mamba2;
                json!({"type": "mamba2", "expand": m.expand, "headdim": m.headdim,
                       "d_state": m.d_state, "n_groups": m.n_groups, "d_conv": m.d_conv})
            }
            Block::Mamba => {
                let m = &model.mamba;
                json!({"type": "mamba", "expand": m.expand, "d_state": m.d_state,
                       "d_conv": m.d_conv, "dt_rank": self.dt_rank()})
            }
            Block::Attention => attention(None),
            Block::Windowed => attention(Some(model.attention.window)),
            Block::Mlp => {
                let activation = if model.mlp.gated { "silu" } else { "relu2" };
                json!({"type": "mlp", "d_ff": self.d_ff(), "gated": model.mlp.gated, "bias": false,
                       "activation": activation})
            }
        };
        json!({
            "model_type": "sillage",
            "stack": {"d_model": model.d_model, "blocks": blocks.iter().map(block).collect::<Vec<_>>()},
        })
    }
}
