//! A model as data.
//!
//! Every architecture here is one list of residuals,
//!
//! ```text
//! x += r * sum_i out_i * f_i(in_i * norm(x))
//! ```
//!
//! where each `f_i` is a mixer or an MLP. A transformer layer is two residuals of one branch, a Mamba
//! layer is one residual of one branch, and a parallel hybrid layer is a residual of two branches that
//! share a norm. What remains (where the tensors are stored and under which names) is kept beside it, so
//! that the loader and the forward pass exist once.

use crate::rope::Rope;
use serde::Serialize;

/// The whole model, without its weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// `model_type` of the configuration, or the name of the family it was recognised as.
    pub architecture: String,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Rows of the embedding, and so the number of logits, including any padding rows.
    pub vocab: usize,
    /// Number of layers as the architecture counts them (a layer may be one residual or two).
    pub layers: usize,
    /// Longest context the model was trained for, in tokens, where the configuration says.
    pub trained_context: Option<usize>,
    /// Embeddings are multiplied by this.
    pub embedding_multiplier: f32,
    /// What is added to the stream, in order.
    pub residuals: Vec<Residual>,
    /// Norm before the output projection.
    pub final_norm: Norm,
    /// Logits are multiplied by this.
    pub logits_multiplier: f32,
    /// The output projection is the embedding.
    pub tied: bool,
    /// Where the tensors outside the residuals are.
    #[serde(skip)]
    pub names: Names,
}

/// One addition to the residual stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Residual {
    /// Layer this belongs to, from 0.
    pub layer: usize,
    /// Norm that every branch reads through.
    pub norm: Norm,
    /// The sum of the branches is multiplied by this.
    pub multiplier: f32,
    /// The branches; one, but for parallel hybrids.
    pub branches: Vec<Branch>,
    /// Prefix of the norm's tensors.
    #[serde(skip)]
    pub norm_at: String,
}

/// One function within a residual.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Branch {
    /// The function.
    pub mixer: Mixer,
    /// Its input is multiplied by this.
    pub in_multiplier: f32,
    /// Its output is multiplied by this.
    pub out_multiplier: f32,
    /// Prefix of its tensors.
    #[serde(skip)]
    pub at: String,
}

/// A normalisation over `d_model` elements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Norm {
    /// Root mean square only, or mean and variance with a bias.
    pub kind: NormKind,
    /// Added to the mean square or the variance.
    pub eps: f32,
}

/// Which normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum NormKind {
    /// `w * x / sqrt(mean(x²) + eps)`
    Rms,
    /// `w * (x - mean) / sqrt(var + eps) + b`
    Layer,
}

/// What a branch computes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Mixer {
    /// Mamba-1: selective scan with a rate per channel and state element.
    Mamba(Mamba),
    /// Mamba-2: SSD, one scalar rate per head.
    Mamba2(Mamba2),
    /// Causal self-attention.
    Attention(Attention),
    /// Two or three linear layers about an activation.
    Mlp(Mlp),
    /// Depthwise causal convolution.
    Conv(Conv),
}

/// Sizes of a Mamba-1 mixer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mamba {
    /// Channels inside the mixer.
    pub d_inner: usize,
    /// State elements per channel.
    pub d_state: usize,
    /// Taps of the causal convolution.
    pub d_conv: usize,
    /// Rank of the projection that makes the step sizes.
    pub dt_rank: usize,
    /// Input and output projections have biases.
    pub bias: bool,
    /// The convolution has a bias.
    pub conv_bias: bool,
    /// FalconMamba: step sizes, B and C pass a weightless RMS norm with this epsilon.
    pub inner_norm_eps: Option<f32>,
    /// The checkpoint stores A itself rather than the logarithm of -A.
    #[serde(skip)]
    pub a_is_final: bool,
}

/// Sizes of a Mamba-2 mixer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mamba2 {
    /// Heads; each has its own rate.
    pub heads: usize,
    /// Channels per head.
    pub headdim: usize,
    /// State elements per channel.
    pub d_state: usize,
    /// Groups of heads that share B and C.
    pub n_groups: usize,
    /// Taps of the causal convolution.
    pub d_conv: usize,
    /// The input projection has a bias.
    pub in_bias: bool,
    /// The output projection has a bias.
    pub out_bias: bool,
    /// The convolution has a bias.
    pub conv_bias: bool,
    /// Step sizes are clamped to this range after the softplus.
    pub dt_limit: (f32, f32),
    /// Norm at the gate; `None`: only `y * silu(z)`.
    pub norm: Option<InnerNorm>,
    /// D has an element per channel rather than per head.
    pub d_per_channel: bool,
    /// The sections z, x, B, C, dt of the input projection are multiplied by these.
    pub multipliers: [f32; 5],
    /// The checkpoint stores A itself rather than the logarithm of -A.
    #[serde(skip)]
    pub a_is_final: bool,
}

/// The gated norm of a Mamba-2 mixer; it works within each of the mixer's groups.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct InnerNorm {
    /// Added to the mean square.
    pub eps: f32,
    /// Norm first and gate after, instead of gate first.
    pub before_gate: bool,
}

/// Sizes of an attention mixer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements per head.
    pub head_dim: usize,
    /// Scores are multiplied by this.
    pub scale: f32,
    /// Positions a query sees, itself included; `None`: all before it.
    pub window: Option<usize>,
    /// Rotary position embedding; `None`: no positions at all.
    pub rope: Option<Rope>,
    /// Query, key and value projections have biases.
    pub qkv_bias: bool,
    /// The output projection has a bias.
    pub out_bias: bool,
    /// Keys are multiplied by this before the rotation.
    pub key_multiplier: f32,
    /// How the three input projections are stored.
    #[serde(skip)]
    pub qkv: Stored,
    /// Name of the output projection.
    #[serde(skip)]
    pub out: &'static str,
}

/// Sizes of an MLP.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mlp {
    /// Width inside.
    pub d_ff: usize,
    /// `down(act(gate(x)) * up(x))` rather than `down(act(up(x)))`.
    pub gated: bool,
    /// The activation.
    pub activation: Activation,
    /// Every projection has a bias.
    pub bias: bool,
    /// The gate is multiplied by this before the activation.
    pub gate_multiplier: f32,
    /// How gate and up (or up alone) are stored.
    #[serde(skip)]
    pub inputs: Stored,
    /// Name of the down projection.
    #[serde(skip)]
    pub down: &'static str,
}

/// Sizes of a convolution: every channel has taps of its own, nothing follows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conv {
    /// Taps.
    pub d_conv: usize,
    /// It has a bias.
    pub bias: bool,
}

/// Activations of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Activation {
    /// `x * sigmoid(x)`
    Silu,
    /// Exact, by the error function.
    Gelu,
    /// The tanh approximation.
    GeluTanh,
    /// `max(x, 0)`
    Relu,
    /// `max(x, 0)²`
    Relu2,
}

/// How projections that share an input lie in the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// A tensor each, in the order of use.
    Apart(&'static [&'static str]),
    /// One tensor, its rows in the order of use.
    Together(&'static str),
}

/// Names of the tensors outside the residuals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The embedding's full name.
    pub embedding: String,
    /// Prefix of the final norm.
    pub final_norm: String,
    /// The output projection's full name; not there if the embedding is tied.
    pub head: String,
}

impl Residual {
    /// A residual of one branch without multipliers, which most are.
    pub(crate) fn plain(
        layer: usize,
        norm: Norm,
        norm_at: String,
        mixer: Mixer,
        at: String,
    ) -> Self {
        let branch = Branch {
            mixer,
            in_multiplier: 1.0,
            out_multiplier: 1.0,
            at,
        };
        Residual {
            layer,
            norm,
            multiplier: 1.0,
            branches: vec![branch],
            norm_at,
        }
    }
}

impl Norm {
    pub(crate) fn rms(eps: f64) -> Self {
        Norm {
            kind: NormKind::Rms,
            eps: eps as f32,
        }
    }
}

impl Mamba2 {
    /// Channels inside the mixer.
    pub fn d_inner(&self) -> usize {
        self.heads * self.headdim
    }

    /// Channels of the convolution: x, B and C.
    pub fn conv_dim(&self) -> usize {
        self.d_inner() + 2 * self.n_groups * self.d_state
    }
}

impl Description {
    /// Every branch of every residual with the layer it belongs to, in order.
    pub fn branches(&self) -> impl Iterator<Item = (usize, &Branch)> {
        self.residuals
            .iter()
            .flat_map(|r| r.branches.iter().map(|b| (r.layer, b)))
    }
}
