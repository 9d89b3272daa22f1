//! From stored rows to the panels that the kernels multiply with.

use std::ops::Range;

use sillage_kernels::{Bits, FloatType, IntRow, IntSpec, Linear, ScaleType};

use crate::blocks::{IntLayout, TensorType, decode_f32, decode_factors, decode_int};
use crate::checkpoint::Checkpoint;
use crate::error::FormatError;
use crate::tensors::{Part, RowReader, Tensor, check_finite};

impl Checkpoint {
    /// Packs a matrix `[out, in]`, keeping its type.
    ///
    /// # Errors
    /// [`FormatError`] when the tensor is absent, not a matrix, truncated, of an unsupported type
    /// or not finite.
    pub fn linear(&self, name: &str) -> Result<Linear, FormatError> {
        let rows = self.tensor(name)?.rows();
        self.linear_rows(name, 0..rows)
    }

    /// Packs some rows of a matrix: one of several projections that are stored as one.
    ///
    /// Rows that lie in parts of different types are packed as f32.
    ///
    /// # Errors
    /// As for [`linear`](Self::linear), and when the rows are not all there.
    pub fn linear_rows(&self, name: &str, rows: Range<usize>) -> Result<Linear, FormatError> {
        let tensor = self.tensor(name)?;
        if tensor.shape.len() != 2 {
            return Err(FormatError::Shape {
                tensor: name.to_owned(),
                found: tensor.shape.clone(),
                expected: "a matrix".to_owned(),
            });
        }
        tensor.check_rows(name, &rows)?;
        let mut types = Vec::new();
        for (part, _) in tensor.split(rows.clone()) {
            types.push(part.ty(name)?);
        }
        let ty = match types.as_slice() {
            [] => TensorType::F32,
            [first, rest @ ..] if rest.iter().all(|t| t == first) => *first,
            _ => TensorType::F32,
        };
        let packed = match ty.int_layout() {
            Some(layout) => pack_int(name, tensor, rows, ty, layout),
            None => pack_float(name, tensor, rows, ty),
        };
        packed.map_err(|error| match error {
            // The kernels do not know names.
            FormatError::Kernels(error) => FormatError::Pack {
                tensor: name.to_owned(),
                message: error.to_string(),
            },
            other => other,
        })
    }
}

/// Walks the rows of a range in ascending order, whatever parts they lie in.
struct Walk<'a> {
    pieces: std::vec::IntoIter<(&'a Part, Range<usize>)>,
    current: Option<(RowReader<'a>, TensorType, Range<usize>)>,
    name: &'a str,
    cols: usize,
}

impl<'a> Walk<'a> {
    fn new(name: &'a str, tensor: &'a Tensor, rows: Range<usize>) -> Self {
        let pieces = tensor.split(rows).into_iter();
        Self {
            pieces,
            current: None,
            name,
            cols: tensor.cols(),
        }
    }

    fn next(&mut self) -> Result<(TensorType, &[u8]), FormatError> {
        if self
            .current
            .as_ref()
            .is_none_or(|(_, _, rows)| rows.is_empty())
        {
            let Some((part, rows)) = self.pieces.next() else {
                return Err(FormatError::Pack {
                    tensor: self.name.to_owned(),
                    message: "more rows were asked for than there are".to_owned(),
                });
            };
            self.current = Some((RowReader::new(part, self.cols), part.ty(self.name)?, rows));
        }
        match &mut self.current {
            Some((reader, ty, rows)) => {
                let row = rows.start;
                rows.start += 1;
                Ok((*ty, reader.row(row)?))
            }
            None => Ok((TensorType::F32, &[])),
        }
    }
}

fn pack_float(
    name: &str,
    tensor: &Tensor,
    rows: Range<usize>,
    ty: TensorType,
) -> Result<Linear, FormatError> {
    let float = match ty {
        TensorType::F16 => FloatType::F16,
        TensorType::Bf16 => FloatType::Bf16,
        _ => FloatType::F32,
    };
    let mut walk = Walk::new(name, tensor, rows.clone());
    Linear::pack_float(rows.len(), tensor.cols(), float, |row, out: &mut [f32]| {
        let (ty, raw) = walk.next()?;
        decode_f32(ty, raw, out)?;
        check_finite(name, rows.start + row, out)
    })
}

fn pack_int(
    name: &str,
    tensor: &Tensor,
    rows: Range<usize>,
    ty: TensorType,
    layout: IntLayout,
) -> Result<Linear, FormatError> {
    let spec = IntSpec {
        bits: match layout.bits {
            4 => Bits::Four,
            6 => Bits::Six,
            _ => Bits::Eight,
        },
        block: layout.block,
        zero: layout.zero,
        has_min: layout.has_min,
        scale: if layout.f16_scales {
            ScaleType::F16
        } else {
            ScaleType::Nested
        },
    };
    let mut walk = Walk::new(name, tensor, rows.clone());
    Linear::pack_int(rows.len(), tensor.cols(), spec, |row, out: IntRow<'_>| {
        let (_, raw) = walk.next()?;
        decode_int(ty, raw, out.q, out.scales, out.mins)?;
        decode_factors(ty, raw, out.super_scales, out.super_mins);
        check_finite(name, rows.start + row, out.scales)?;
        check_finite(name, rows.start + row, out.mins)
    })
}
