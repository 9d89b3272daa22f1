//! Every tensor that a description asks for: what a trainer learns, and what a checkpoint must hold.

use crate::description::{Branch, Description, Mixer, Norm, NormKind, Stored};

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in a checkpoint.
    pub name: String,
    /// Its shape as stored.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
}

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Rows looked up by token.
    Embedding,
    /// The projection to logits.
    Head,
    /// A projection of activations, `[out, in]`.
    Projection,
    /// A projection whose output is added to the residual stream.
    OutProjection,
    /// What is added after a projection.
    Bias,
    /// Scale of a norm.
    NormWeight,
    /// Shift of a norm.
    NormBias,
    /// Taps of a depthwise convolution, `[channels, 1, d_conv]`.
    ConvWeight,
    /// Shift of a convolution.
    ConvBias,
    /// Projection from the low rank to step sizes (Mamba-1).
    DtProjection,
    /// What is added to step sizes before the softplus.
    DtBias,
    /// Logarithms of the negated rates of a scan, or the rates themselves
    /// (`a_is_final`).
    Rates,
    /// D, by which the input passes a scan by.
    Skip,
}

impl Parameter {
    fn new(name: String, shape: &[usize], role: Role) -> Self {
        Parameter {
            name,
            shape: shape.to_vec(),
            role,
        }
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// No elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Description {
    /// All tensors in the order of use, each once.
    pub fn parameters(&self) -> Vec<Parameter> {
        let names = &self.names;
        let shape = [self.vocab, self.d_model];
        let mut list = List(vec![]);
        list.push(names.embedding.clone(), &shape, Role::Embedding);
        for residual in &self.residuals {
            list.norm(&residual.norm_at, residual.norm, self.d_model);
            for branch in &residual.branches {
                list.branch(branch, self.d_model);
            }
        }
        list.norm(&names.final_norm, self.final_norm, self.d_model);
        if !self.tied {
            list.push(names.head.clone(), &shape, Role::Head);
        }
        list.0
    }
}

struct List(Vec<Parameter>);

impl List {
    fn push(&mut self, name: String, shape: &[usize], role: Role) {
        self.0.push(Parameter::new(name, shape, role));
    }

    fn norm(&mut self, at: &str, norm: Norm, d: usize) {
        self.push(format!("{at}.weight"), &[d], Role::NormWeight);
        if norm.kind == NormKind::Layer {
            self.push(format!("{at}.bias"), &[d], Role::NormBias);
        }
    }

    fn projection(&mut self, at: &str, rows: usize, cols: usize, bias: bool, role: Role) {
        self.push(format!("{at}.weight"), &[rows, cols], role);
        if bias {
            self.push(format!("{at}.bias"), &[rows], Role::Bias);
        }
    }

    fn stored(&mut self, at: &str, stored: Stored, parts: &[usize], cols: usize, bias: bool) {
        match stored {
            Stored::Together(name) => {
                let rows = parts.iter().sum();
                self.projection(&format!("{at}.{name}"), rows, cols, bias, Role::Projection);
            }
            Stored::Apart(names) => {
                for (name, &rows) in names.iter().zip(parts) {
                    let at = format!("{at}.{name}");
                    self.projection(&at, rows, cols, bias, Role::Projection);
                }
            }
        }
    }

    fn conv(&mut self, at: &str, channels: usize, taps: usize, bias: bool) {
        let weight = format!("{at}.conv1d.weight");
        self.push(weight, &[channels, 1, taps], Role::ConvWeight);
        if bias {
            self.push(format!("{at}.conv1d.bias"), &[channels], Role::ConvBias);
        }
    }

    fn branch(&mut self, branch: &Branch, d_model: usize) {
        let at = &branch.at;
        let out = Role::OutProjection;
        match &branch.mixer {
            Mixer::Mamba(d) => {
                let (inner, states) = (d.d_inner, d.d_state);
                let fused = Stored::Together("in_proj");
                self.stored(at, fused, &[inner; 2], d_model, d.bias);
                self.conv(at, inner, d.d_conv, d.conv_bias);
                let fused = Stored::Together("x_proj");
                self.stored(at, fused, &[d.dt_rank + 2 * states], inner, false);
                let dt = format!("{at}.dt_proj");
                let shape = [inner, d.dt_rank];
                self.push(format!("{dt}.weight"), &shape, Role::DtProjection);
                self.push(format!("{dt}.bias"), &[inner], Role::DtBias);
                self.push(format!("{at}.A_log"), &[inner, states], Role::Rates);
                self.push(format!("{at}.D"), &[inner], Role::Skip);
                self.projection(&format!("{at}.out_proj"), d_model, inner, d.bias, out);
            }
            Mixer::Mamba2(d) => {
                let (inner, conv_dim) = (d.d_inner(), d.conv_dim());
                let parts = [inner, conv_dim, d.heads];
                self.stored(at, Stored::Together("in_proj"), &parts, d_model, d.in_bias);
                self.conv(at, conv_dim, d.d_conv, d.conv_bias);
                self.push(format!("{at}.dt_bias"), &[d.heads], Role::DtBias);
                self.push(format!("{at}.A_log"), &[d.heads], Role::Rates);
                let skip = if d.d_per_channel { inner } else { d.heads };
                self.push(format!("{at}.D"), &[skip], Role::Skip);
                if d.norm.is_some() {
                    self.push(format!("{at}.norm.weight"), &[inner], Role::NormWeight);
                }
                let name = format!("{at}.out_proj");
                self.projection(&name, d_model, inner, d.out_bias, out);
            }
            Mixer::Attention(d) => {
                let (wide, narrow) = (d.heads * d.head_dim, d.kv_heads * d.head_dim);
                self.stored(at, d.qkv, &[wide, narrow, narrow], d_model, d.qkv_bias);
                let name = format!("{at}.{}", d.out);
                self.projection(&name, d_model, wide, d.out_bias, out);
            }
            Mixer::Mlp(d) => {
                let parts = &[d.d_ff; 2][..if d.gated { 2 } else { 1 }];
                self.stored(at, d.inputs, parts, d_model, d.bias);
                let name = format!("{at}.{}", d.down);
                self.projection(&name, d_model, d.d_ff, d.bias, out);
            }
            Mixer::Conv(d) => self.conv(at, d_model, d.d_conv, d.bias),
        }
    }
}
