//! Taking tensors out of a checkpoint, with their shapes checked against the description first, so
//! that nothing is allocated for a tensor of the wrong size.

use crate::description::{Norm, NormKind, Stored};
use crate::error::ModelError;
use sillage_formats::Checkpoint;
use sillage_kernels::Linear;
use std::ops::Range;

/// The tensors of a checkpoint, for models that add layers of their own to a [`Stack`](crate::Stack).
///
/// `role` says in messages what a tensor is for. Dimensions of 1 do not count when shapes are compared.
#[derive(Debug, Clone, Copy)]
pub struct Tensors<'a> {
    checkpoint: &'a Checkpoint,
}

/// A norm's weights.
pub(crate) struct NormWeights {
    pub(crate) norm: Norm,
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Option<Vec<f32>>,
}

impl<'a> Tensors<'a> {
    /// Those of `checkpoint`.
    pub fn new(checkpoint: &'a Checkpoint) -> Self {
        Tensors { checkpoint }
    }

    /// Fails unless the tensor is there and, but for dimensions of 1, has this shape. Files differ in
    /// whether they keep those dimensions.
    fn check(&self, name: &str, role: &'static str, expected: &[usize]) -> Result<(), ModelError> {
        let Some(found) = self.checkpoint.shape(name) else {
            return Err(ModelError::MissingTensor {
                name: name.to_owned(),
                role,
            });
        };
        let essence =
            |shape: &[usize]| -> Vec<usize> { shape.iter().copied().filter(|&n| n != 1).collect() };
        if essence(found) == essence(expected) {
            return Ok(());
        }
        Err(ModelError::WrongShape {
            name: name.to_owned(),
            expected: expected.to_vec(),
            found: found.to_vec(),
        })
    }

    /// All values of a tensor that is used in f32, in storage order.
    ///
    /// # Errors
    /// If it is missing, of another shape, not finite, or cannot be read.
    pub fn values(
        &self,
        name: &str,
        role: &'static str,
        shape: &[usize],
    ) -> Result<Vec<f32>, ModelError> {
        self.check(name, role, shape)?;
        let values = self.checkpoint.f32(name)?;
        match values.iter().position(|v| !v.is_finite()) {
            None => Ok(values),
            Some(index) => Err(ModelError::NotFinite {
                name: name.to_owned(),
                index,
                value: values[index],
            }),
        }
    }

    /// A whole matrix in its own type.
    pub(crate) fn matrix(
        &self,
        name: &str,
        role: &'static str,
        rows: usize,
        cols: usize,
    ) -> Result<Linear, ModelError> {
        self.check(name, role, &[rows, cols])?;
        Ok(self.checkpoint.linear(name)?)
    }

    /// A projection: `{at}.weight`, `[rows, cols]`, in its own type, and `{at}.bias` if there is to be
    /// one.
    ///
    /// # Errors
    /// As [`Tensors::values`], for either tensor.
    pub fn projection(
        &self,
        at: &str,
        role: &'static str,
        rows: usize,
        cols: usize,
        bias: bool,
    ) -> Result<Linear, ModelError> {
        let linear = self.matrix(&format!("{at}.weight"), role, rows, cols)?;
        if !bias {
            return Ok(linear);
        }
        let bias = self.values(&format!("{at}.bias"), role, &[rows])?;
        Ok(linear.with_bias(bias)?)
    }

    /// Projections of one input, `parts` rows each, that may be stored apart or as one.
    pub(crate) fn projections<const N: usize>(
        &self,
        at: &str,
        stored: Stored,
        role: &'static str,
        parts: [usize; N],
        cols: usize,
        bias: bool,
    ) -> Result<[Linear; N], ModelError> {
        let mut out = Vec::with_capacity(N);
        match stored {
            Stored::Apart(names) => {
                for (name, rows) in names.iter().zip(parts) {
                    out.push(self.projection(&format!("{at}.{name}"), role, rows, cols, bias)?);
                }
            }
            Stored::Together(name) => {
                let (weight, bias_name) =
                    (format!("{at}.{name}.weight"), format!("{at}.{name}.bias"));
                let total = parts.iter().sum();
                self.check(&weight, role, &[total, cols])?;
                let bias = if bias {
                    Some(self.values(&bias_name, role, &[total])?)
                } else {
                    None
                };
                let mut start = 0;
                for rows in parts {
                    let linear = self.rows(&weight, start..start + rows)?;
                    out.push(match &bias {
                        Some(bias) => linear.with_bias(bias[start..start + rows].to_vec())?,
                        None => linear,
                    });
                    start += rows;
                }
            }
        }
        // A `Stored::Apart` of the wrong length would be this crate's own mistake; no file can cause it.
        out.try_into().map_err(|_| ModelError::MissingTensor {
            name: at.to_owned(),
            role,
        })
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> Result<Linear, ModelError> {
        Ok(self.checkpoint.linear_rows(name, rows)?)
    }

    /// `{at}.weight`, and `{at}.bias` for a layer norm.
    pub(crate) fn norm(&self, at: &str, norm: Norm, d: usize) -> Result<NormWeights, ModelError> {
        let weight = self.values(&format!("{at}.weight"), "a norm", &[d])?;
        let bias = match norm.kind {
            NormKind::Rms => None,
            NormKind::Layer => Some(self.values(&format!("{at}.bias"), "a norm", &[d])?),
        };
        Ok(NormWeights { norm, weight, bias })
    }

    /// The weight of a causal convolution with its taps outermost, `[d_conv, channels]`; stored as
    /// `[channels, 1, d_conv]`.
    pub(crate) fn conv(
        &self,
        at: &str,
        channels: usize,
        d_conv: usize,
    ) -> Result<Vec<f32>, ModelError> {
        let name = format!("{at}.weight");
        let stored = self.values(&name, "the convolution", &[channels, 1, d_conv])?;
        Ok(transpose(&stored, channels, d_conv))
    }

    /// A of a scan, negative: stored as the logarithm of its negation, or as itself.
    pub(crate) fn a(
        &self,
        at: &str,
        shape: &[usize],
        is_final: bool,
    ) -> Result<Vec<f32>, ModelError> {
        let name = format!("{at}.A_log");
        let mut a = self.values(&name, "the rates of the scan", shape)?;
        if !is_final {
            // In f64, so that every platform's library rounds to the same f32.
            a.iter_mut().for_each(|a| *a = -f64::from(*a).exp() as f32);
        }
        // A rate of zero or above would make a state that never forgets or that grows without bound.
        match a.iter().position(|a| !a.is_finite() || *a > 0.0) {
            None => Ok(a),
            Some(index) => Err(ModelError::NotFinite {
                name,
                index,
                value: a[index],
            }),
        }
    }
}

/// `[rows, cols]` to `[cols, rows]`.
pub(crate) fn transpose(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    for (r, row) in values.chunks_exact(cols).enumerate() {
        for (c, &v) in row.iter().enumerate() {
            out[c * rows + r] = v;
        }
    }
    out
}
