//! A description in words, as `sillage info` prints it.

use crate::description::{
    Activation, Attention, Conv, Description, Mamba, Mamba2, Mixer, Mlp, NormKind, Residual,
};
use std::fmt;

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = if self.tied {
            "output tied to the embedding"
        } else {
            "separate output"
        };
        writeln!(
            f,
            "{}: {} layers, d_model {}, vocabulary {}, {head}",
            self.architecture, self.layers, self.d_model, self.vocab
        )?;
        if let Some(context) = self.trained_context {
            writeln!(f, "trained for contexts up to {context} tokens")?;
        }
        for (names, value) in [
            ("embeddings times", self.embedding_multiplier),
            ("logits times", self.logits_multiplier),
        ] {
            if value != 1.0 {
                writeln!(f, "{names} {value}")?;
            }
        }
        // Kinds of residual in order of first use, with how often each occurs: a deep model of one
        // kind of layer is one line.
        let mut kinds: Vec<(String, Vec<usize>)> = Vec::new();
        for residual in &self.residuals {
            let text = residual.to_string();
            match kinds.iter_mut().find(|(kind, _)| *kind == text) {
                Some((_, layers)) => layers.push(residual.layer),
                None => kinds.push((text, vec![residual.layer])),
            }
        }
        for (kind, layers) in &kinds {
            if layers.len() == self.layers {
                writeln!(f, "  every layer: {kind}")?;
            } else {
                writeln!(f, "  {} layers ({}): {kind}", layers.len(), ranges(layers))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Residual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, branch) in self.branches.iter().enumerate() {
            if i > 0 {
                f.write_str(" beside ")?;
            }
            write!(f, "{}", branch.mixer)?;
            if branch.in_multiplier != 1.0 {
                write!(f, ", input times {}", branch.in_multiplier)?;
            }
            if branch.out_multiplier != 1.0 {
                write!(f, ", output times {}", branch.out_multiplier)?;
            }
        }
        if self.multiplier != 1.0 {
            write!(f, ", residual times {}", self.multiplier)?;
        }
        match self.norm.kind {
            NormKind::Rms => Ok(()),
            NormKind::Layer => f.write_str(", layer norm"),
        }
    }
}

impl fmt::Display for Mixer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mixer::Mamba(m) => m.fmt(f),
            Mixer::Mamba2(m) => m.fmt(f),
            Mixer::Attention(m) => m.fmt(f),
            Mixer::Mlp(m) => m.fmt(f),
            Mixer::Conv(c) => c.fmt(f),
        }
    }
}

impl fmt::Display for Mamba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Mamba mixer, d_inner {}, d_state {}, d_conv {}, dt_rank {}",
            self.d_inner, self.d_state, self.d_conv, self.dt_rank
        )?;
        if self.inner_norm_eps.is_some() {
            f.write_str(", norms on dt, B and C")?;
        }
        Ok(())
    }
}

impl fmt::Display for Mamba2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Mamba-2 mixer, {} heads of {}, d_state {}, n_groups {}, d_conv {}",
            self.heads, self.headdim, self.d_state, self.n_groups, self.d_conv
        )?;
        f.write_str(match self.norm {
            None => ", gate without norm",
            Some(n) if n.before_gate => ", norm then gate",
            Some(_) => ", gate then norm",
        })?;
        if self.multipliers != [1.0; 5] {
            write!(f, ", z x B C dt times {:?}", self.multipliers)?;
        }
        Ok(())
    }
}

impl fmt::Display for Attention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "attention, {} heads of {}, {} KV heads",
            self.heads, self.head_dim, self.kv_heads
        )?;
        match &self.rope {
            Some(rope) => write!(f, ", {rope}")?,
            None => f.write_str(", no positions")?,
        }
        if let Some(window) = self.window {
            write!(f, ", window {window}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Mlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gated = if self.gated { "gated " } else { "" };
        write!(f, "{gated}MLP, width {}, {}", self.d_ff, self.activation)
    }
}

impl fmt::Display for Conv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "depthwise convolution, d_conv {}", self.d_conv)
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Activation::Silu => "SiLU",
            Activation::Gelu => "GELU",
            Activation::GeluTanh => "GELU (tanh)",
            Activation::Relu => "ReLU",
            Activation::Relu2 => "squared ReLU",
        })
    }
}

/// `0-4, 6, 8-9`
fn ranges(sorted: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &layer in sorted {
        match parts.last_mut() {
            Some((_, end)) if *end + 1 == layer || *end == layer => *end = layer,
            _ => parts.push((layer, layer)),
        }
    }
    let words: Vec<String> = parts
        .iter()
        .map(|&(a, b)| {
            if a == b {
                a.to_string()
            } else {
                format!("{a}-{b}")
            }
        })
        .collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn ranges_join_neighbours() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2, 5, 7-8");
        assert_eq!(ranges(&[]), "");
    }
}
