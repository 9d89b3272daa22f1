//! From GGUF's tensor names to those of the architecture's Hugging Face checkpoint.

/// Where the published checkpoint of an architecture keeps what GGUF keeps under one scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Mamba,
    Mamba2,
    /// Llama and Qwen2.
    Llama,
    FalconH1,
    Granite,
    Bamba,
    NemotronH,
}

impl Family {
    fn embedding(self) -> &'static str {
        match self {
            Self::Mamba | Self::Mamba2 | Self::NemotronH => "backbone.embeddings.weight",
            _ => "model.embed_tokens.weight",
        }
    }

    fn final_norm(self) -> &'static str {
        match self {
            Self::Mamba | Self::Mamba2 | Self::NemotronH => "backbone.norm_f.weight",
            Self::Llama | Self::Granite => "model.norm.weight",
            Self::FalconH1 | Self::Bamba => "model.final_layernorm.weight",
        }
    }

    /// What stands before the layer's number.
    fn layers(self) -> &'static str {
        match self {
            Self::Mamba | Self::Mamba2 | Self::NemotronH => "backbone.layers",
            _ => "model.layers",
        }
    }

    fn ssm(self) -> &'static str {
        match self {
            Self::Mamba | Self::Mamba2 | Self::NemotronH => "mixer",
            _ => "mamba",
        }
    }

    fn attention(self) -> &'static str {
        if self == Self::NemotronH {
            "mixer"
        } else {
            "self_attn"
        }
    }

    fn mlp(self) -> &'static str {
        match self {
            Self::NemotronH => "mixer",
            Self::FalconH1 | Self::Bamba => "feed_forward",
            _ => "mlp",
        }
    }

    fn first_norm(self) -> &'static str {
        match self {
            Self::Mamba | Self::Mamba2 | Self::NemotronH => "norm",
            _ => "input_layernorm",
        }
    }

    fn second_norm(self) -> &'static str {
        match self {
            Self::FalconH1 | Self::Bamba => "pre_ff_layernorm",
            _ => "post_attention_layernorm",
        }
    }

    /// Whether the halves of every query and key head are interleaved in the file.
    pub(super) fn interleaves_heads(self, architecture: &str) -> bool {
        match self {
            Self::Llama => architecture == "llama",
            Self::Granite | Self::Bamba | Self::NemotronH => true,
            _ => false,
        }
    }

    /// The published name, or `None` for a tensor that has none (it keeps its own).
    pub(super) fn name(self, gguf: &str) -> Option<String> {
        match gguf {
            "token_embd.weight" => return Some(self.embedding().to_owned()),
            "output_norm.weight" => return Some(self.final_norm().to_owned()),
            "output.weight" => return Some("lm_head.weight".to_owned()),
            _ => {}
        }
        let (layer, rest) = split_layer(gguf)?;
        let within = self.within_layer(rest)?;
        Some(format!("{}.{layer}.{within}", self.layers()))
    }

    fn within_layer(self, rest: &str) -> Option<String> {
        // Norms, `A` and `D` are sometimes written without `.weight`.
        let (base, end) = match rest.rsplit_once('.') {
            Some((base, end @ ("weight" | "bias"))) => (base, end),
            Some(_) => return None,
            None => (rest, "weight"),
        };
        let in_ssm = |what: &str| Some(format!("{}.{what}.{end}", self.ssm()));
        match base {
            "attn_norm" => Some(format!("{}.{end}", self.first_norm())),
            "ffn_norm" => Some(format!("{}.{end}", self.second_norm())),
            "ssm_in" => in_ssm("in_proj"),
            "ssm_out" => in_ssm("out_proj"),
            "ssm_conv1d" => in_ssm("conv1d"),
            "ssm_norm" => in_ssm("norm"),
            "ssm_x" => in_ssm("x_proj"),
            "ssm_dt" if self == Self::Mamba => in_ssm("dt_proj"),
            "ssm_dt" if end == "bias" => Some(format!("{}.dt_bias", self.ssm())),
            "ssm_a" => Some(format!("{}.A_log", self.ssm())),
            "ssm_d" => Some(format!("{}.D", self.ssm())),
            "attn_q" | "attn_k" | "attn_v" | "attn_output" => {
                let which = base.as_bytes().get(5).copied().map_or('o', char::from);
                Some(format!("{}.{which}_proj.{end}", self.attention()))
            }
            "ffn_down" if self == Self::Granite => Some(format!("shared_mlp.output_linear.{end}")),
            // Joined into one tensor by the caller.
            "ffn_gate" | "ffn_up" if self == Self::Granite => None,
            "ffn_gate" | "ffn_up" | "ffn_down" => {
                Some(format!("{}.{}_proj.{end}", self.mlp(), &base[4..]))
            }
            _ => None,
        }
    }
}

/// `blk.7.attn_q.weight` is layer 7 and `attn_q.weight`.
pub(super) fn split_layer(gguf: &str) -> Option<(usize, &str)> {
    let (layer, rest) = gguf.strip_prefix("blk.")?.split_once('.')?;
    Some((layer.parse().ok()?, rest))
}
