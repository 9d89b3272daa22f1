//! The tensors of a checkpoint: where each lies, in which type, and in which order its rows are.
//!
//! A tensor is a run of *parts* along its first dimension (one, except where a file stores apart
//! what the architecture's published names keep together), and a part may store its rows in
//! another order than the architecture wants.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::blocks::{TensorType, decode_f32};
use crate::error::FormatError;
use crate::source::Source;

/// The order in which the rows of a part are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// As wanted.
    Plain,
    /// Within each head of so many rows, the two halves are interleaved (llama.cpp stores the
    /// query and key projections so, for its pairwise rotation); reading undoes it.
    Interleaved(usize),
}

impl RowOrder {
    /// The stored row that holds the wanted row `row`.
    pub(crate) fn stored(self, row: usize) -> usize {
        match self {
            Self::Plain => row,
            Self::Interleaved(head) => {
                let (base, within) = (row - row % head, row % head);
                let half = head / 2;
                base + 2 * (within % half) + within / half
            }
        }
    }

    /// Rows are only ever moved within a window of so many.
    fn window(self) -> usize {
        match self {
            Self::Plain => 1,
            Self::Interleaved(head) => head,
        }
    }
}

/// How elements are stored: in a type that can be computed with, or in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Known(TensorType),
    Other(String),
}

/// Consecutive rows of a tensor, in one place.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) source: Arc<Source>,
    pub(crate) offset: u64,
    pub(crate) rows: usize,
    pub(crate) stored: Stored,
    pub(crate) order: RowOrder,
}

/// One tensor.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) parts: Vec<Part>,
}

/// All tensors by their published names.
pub(crate) type Tensors = BTreeMap<String, Tensor>;

/// Rows are read in pieces of about this many bytes.
const WINDOW_BYTES: usize = 1 << 20;

impl Tensor {
    /// A tensor in one part, stored as wanted.
    pub(crate) fn new(
        source: &Arc<Source>,
        offset: u64,
        shape: Vec<usize>,
        stored: Stored,
    ) -> Self {
        let rows = rows_of(&shape);
        let part = Part {
            source: source.clone(),
            offset,
            rows,
            stored,
            order: RowOrder::Plain,
        };
        Self {
            shape,
            parts: vec![part],
        }
    }

    /// Rows: all dimensions but the last; a vector is one row.
    pub(crate) fn rows(&self) -> usize {
        rows_of(&self.shape)
    }

    /// Elements of one row: the last dimension.
    pub(crate) fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    pub(crate) fn elements(&self) -> usize {
        self.rows().saturating_mul(self.cols())
    }

    /// The one type of all parts, if they agree.
    pub(crate) fn common_type(&self, name: &str) -> Result<Option<TensorType>, FormatError> {
        let mut common = None;
        for part in &self.parts {
            let ty = part.ty(name)?;
            if common.is_some_and(|c| c != ty) {
                return Ok(None);
            }
            common = Some(ty);
        }
        Ok(common)
    }

    /// Stored bytes of all parts.
    pub(crate) fn bytes(&self) -> u64 {
        self.parts
            .iter()
            .map(|p| p.row_bytes(self.cols()) as u64 * p.rows as u64)
            .sum()
    }

    /// The parts that hold `range`, each with its own range of rows.
    pub(crate) fn split(&self, range: Range<usize>) -> Vec<(&Part, Range<usize>)> {
        let mut start = 0;
        let mut found = Vec::new();
        for part in &self.parts {
            let end = start + part.rows;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                found.push((part, from - start..to - start));
            }
            start = end;
        }
        found
    }

    pub(crate) fn check_rows(&self, name: &str, range: &Range<usize>) -> Result<(), FormatError> {
        if range.start <= range.end && range.end <= self.rows() {
            return Ok(());
        }
        Err(FormatError::Rows {
            tensor: name.to_owned(),
            rows: self.rows(),
            start: range.start,
            end: range.end,
        })
    }

    /// Decodes the whole tensor to f32, checking that every value is finite.
    pub(crate) fn to_f32(&self, name: &str) -> Result<Vec<f32>, FormatError> {
        // Nothing is allocated for a tensor whose bytes are not there.
        for part in &self.parts {
            part.check_extent(self.cols())?;
        }
        let cols = self.cols();
        let mut out = vec![0f32; self.elements()];
        let mut done = 0;
        for (part, rows) in self.split(0..self.rows()) {
            let mut reader = RowReader::new(part, cols);
            let ty = part.ty(name)?;
            for row in rows {
                let out = &mut out[done * cols..(done + 1) * cols];
                decode_f32(ty, reader.row(row)?, out)?;
                check_finite(name, done, out)?;
                done += 1;
            }
        }
        self.reorder_vector(&mut out);
        Ok(out)
    }

    /// A vector (a bias) is one row, so its elements take the place of rows.
    fn reorder_vector(&self, values: &mut [f32]) {
        let [part] = self.parts.as_slice() else {
            return;
        };
        if self.shape.len() == 1 && part.order != RowOrder::Plain {
            let stored = values.to_vec();
            for (i, v) in values.iter_mut().enumerate() {
                *v = stored[part.order.stored(i)];
            }
        }
    }
}

fn rows_of(shape: &[usize]) -> usize {
    match shape {
        // An empty tensor has no rows, however many its other dimensions claim.
        _ if shape.contains(&0) => 0,
        [] | [_] => 1,
        [rows @ .., _] => rows.iter().product(),
    }
}

impl Part {
    pub(crate) fn ty(&self, name: &str) -> Result<TensorType, FormatError> {
        match &self.stored {
            Stored::Known(ty) => Ok(*ty),
            Stored::Other(found) => Err(FormatError::UnsupportedType {
                tensor: name.to_owned(),
                found: found.clone(),
            }),
        }
    }

    pub(crate) fn row_bytes(&self, cols: usize) -> usize {
        match &self.stored {
            Stored::Known(ty) => ty.bytes(cols).unwrap_or(0),
            Stored::Other(_) => 0,
        }
    }

    fn check_extent(&self, cols: usize) -> Result<(), FormatError> {
        let end = (self.row_bytes(cols) as u64)
            .checked_mul(self.rows as u64)
            .and_then(|bytes| bytes.checked_add(self.offset));
        match end {
            Some(end) if end <= self.source.len() => Ok(()),
            _ => Err(FormatError::Truncated {
                file: self.source.name().to_owned(),
                offset: self.offset,
                end: end.unwrap_or(u64::MAX),
                len: self.source.len(),
            }),
        }
    }
}

/// Reads the rows of one part in the wanted order, a window of many rows at a time.
pub(crate) struct RowReader<'a> {
    part: &'a Part,
    row_bytes: usize,
    window: Range<usize>,
    bytes: Vec<u8>,
    per_window: usize,
}

impl<'a> RowReader<'a> {
    pub(crate) fn new(part: &'a Part, cols: usize) -> Self {
        let row_bytes = part.row_bytes(cols);
        let unit = part.order.window();
        // Whole heads, so that a permuted row's companions are read with it.
        let units = (WINDOW_BYTES / row_bytes.saturating_mul(unit).max(1)).max(1);
        Self {
            part,
            row_bytes,
            window: 0..0,
            bytes: Vec::new(),
            per_window: units * unit,
        }
    }

    /// The bytes of the wanted row `row` (less than the part's rows).
    pub(crate) fn row(&mut self, row: usize) -> Result<&[u8], FormatError> {
        // A vector's elements are put in order after decoding (`reorder_vector`).
        let stored = if self.part.rows == 1 {
            row
        } else {
            self.part.order.stored(row)
        };
        if !self.window.contains(&stored) {
            let start = stored - stored % self.per_window;
            let end = (start + self.per_window).min(self.part.rows);
            let from = self.part.offset + start as u64 * self.row_bytes as u64;
            self.bytes.resize((end - start) * self.row_bytes, 0);
            self.window = 0..0;
            self.part.source.read(from, &mut self.bytes)?;
            self.window = start..end;
        }
        let at = (stored - self.window.start) * self.row_bytes;
        Ok(&self.bytes[at..at + self.row_bytes])
    }
}

/// Refuses NaN and infinities: one such weight turns every later state into NaN.
pub(crate) fn check_finite(tensor: &str, row: usize, values: &[f32]) -> Result<(), FormatError> {
    // A sum of zeros unless something is not finite (inf * 0 and NaN * 0 are NaN): one pass that
    // vectorises, where a search with an early exit does not.
    let sum: f32 = values.iter().map(|v| v * 0.0).sum();
    if sum == 0.0 {
        return Ok(());
    }
    let value = values
        .iter()
        .copied()
        .find(|v| !v.is_finite())
        .unwrap_or(f32::NAN);
    Err(FormatError::NotFinite {
        tensor: tensor.to_owned(),
        row,
        value,
    })
}
