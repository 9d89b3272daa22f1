//! Weights of linear layers, packed for streaming.
//!
//! A matrix `[rows = outputs, cols = inputs]` is cut into panels of
//! [`PANEL_ROWS`] rows. Inside a panel the columns come one after the other and
//! the rows lie side by side, so that a kernel reads one sequential stream and
//! its vector lanes are output rows. The sum of a row therefore runs over
//! ascending columns in one lane, for one token as for a thousand (law 1).
//! Quantised panels keep the scales of a block right before its weights.
//!
//! | format | one step of the stream |
//! |---|---|
//! | f32, f16 | one column: `[row]` |
//! | bf16 | two columns: `[row][2]`, a zero after an odd last column |
//! | 8 bit | 32 columns: scales, mins, `[8][row][4]` bytes |
//! | 4 bit | 32 columns: scales, mins, `[4][row][4]` bytes; low halves hold groups 0 to 3 of four columns, high halves groups 4 to 7 |
//! | 6 bit | 32 columns: scales, the low four bits as above, then `[2][row][4]` bytes with the high two bits of four groups each |
//!
//! Nested scales are bytes, and every eight such steps (256 columns) follow the
//! 16-bit factors of these: `[row]` for scales, then `[row]` for mins.
//! Rows that fill up the last panel are zero.

mod rows;

use crate::memory::Buffer;
use half::{bf16, f16};
pub(crate) use rows::{IntLayout, SUPER_STEPS};
use rows::{RowParts, int_row, read_float};

/// Rows of one panel: two sixteen-lane vectors.
pub(crate) const PANEL_ROWS: usize = 32;
/// Columns that share one scale of quantised activations, and one step of a
/// quantised panel.
pub(crate) const BLOCK: usize = 32;

/// How floating-point weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// 32 bits.
    F32,
    /// IEEE half precision; multiplied in f32.
    F16,
    /// bfloat16; multiplied in f32.
    Bf16,
}

/// Bits of one quantised weight in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bits {
    /// Values 0 to 15, two in a byte.
    Four,
    /// Values 0 to 63, four in three bytes.
    Six,
    /// Values 0 to 255.
    Eight,
}

/// How the scales (and minima) of quantised weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleType {
    /// IEEE half precision.
    F16,
    /// 32 bits.
    F32,
    /// A signed byte, times a half-precision factor shared by 256 columns.
    Nested,
}

/// The shape of quantised weights:
/// `weight = scale * (q - zero) + min`, scale and min shared by `block` columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IntSpec {
    /// Bits of one weight.
    pub bits: Bits,
    /// Columns that share a scale: 32, or 16.
    pub block: usize,
    /// What is subtracted from every `q`.
    pub zero: u8,
    /// Whether every block has a minimum that is added.
    pub has_min: bool,
    /// How scales and minima are stored.
    pub scale: ScaleType,
}

impl IntSpec {
    /// GGUF's `Q8_0`, with 128 added to its signed weights.
    pub const Q8_0: Self = Self {
        bits: Bits::Eight,
        block: 32,
        zero: 128,
        has_min: false,
        scale: ScaleType::F16,
    };
    /// GGUF's `Q4_0`.
    pub const Q4_0: Self = Self {
        bits: Bits::Four,
        block: 32,
        zero: 8,
        has_min: false,
        scale: ScaleType::F16,
    };
    /// GGUF's `Q4_1`.
    pub const Q4_1: Self = Self {
        bits: Bits::Four,
        block: 32,
        zero: 0,
        has_min: true,
        scale: ScaleType::F16,
    };
    /// GGUF's `Q4_K`.
    pub const Q4_K: Self = Self {
        bits: Bits::Four,
        block: 32,
        zero: 0,
        has_min: true,
        scale: ScaleType::Nested,
    };
    /// GGUF's `Q5_K`.
    pub const Q5_K: Self = Self {
        bits: Bits::Eight,
        block: 32,
        zero: 0,
        has_min: true,
        scale: ScaleType::Nested,
    };
    /// GGUF's `Q6_K`.
    pub const Q6_K: Self = Self {
        bits: Bits::Six,
        block: 16,
        zero: 32,
        has_min: false,
        scale: ScaleType::Nested,
    };

    /// What the number of columns must be a multiple of.
    #[must_use]
    pub const fn columns(self) -> usize {
        match self.scale {
            ScaleType::Nested => SUPER_STEPS * BLOCK,
            _ => BLOCK,
        }
    }
}

/// One row of quantised weights, to be filled in by the caller of
/// [`Linear::pack_int`].
#[derive(Debug)]
pub struct IntRow<'a> {
    /// One value per column, within the range of the format's bits.
    pub q: &'a mut [u8],
    /// One scale per block.
    pub scales: &'a mut [f32],
    /// One minimum per block; empty when the format has none.
    pub mins: &'a mut [f32],
    /// For [`ScaleType::Nested`], one value per 256 columns of which every scale
    /// there is a whole multiple (-128 to 127 times); otherwise empty.
    pub super_scales: &'a mut [f32],
    /// The same for minima.
    pub super_mins: &'a mut [f32],
}

/// Why weights cannot be packed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// A matrix without rows or columns.
    #[error("a weight of {rows} rows and {cols} columns is empty; both must be at least 1")]
    Empty {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
    },
    /// The columns do not fill whole blocks.
    #[error(
        "{cols} columns are not a multiple of the quantisation block of {block}; \
         keep this weight in f32, f16 or bf16"
    )]
    Columns {
        /// Columns asked for.
        cols: usize,
        /// Columns must be a multiple of this.
        block: usize,
    },
    /// A quantised format no kernel reads.
    #[error(
        "no kernel reads the quantised format {0:?}; use one of the IntSpec constants \
         (with any zero point), or dequantise to bf16"
    )]
    Unsupported(IntSpec),
    /// A nested scale that is not what its format says.
    #[error(
        "block {block} of row {row} has a scale or minimum that is no 8-bit multiple of its \
         super-block's; the weight is damaged, or its scales need ScaleType::F32"
    )]
    Scale {
        /// Row of the weight.
        row: usize,
        /// Block in the row.
        block: usize,
    },
    /// More bytes than a machine can address.
    #[error("a weight of {rows} rows and {cols} columns exceeds the address space")]
    TooLarge {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
    },
    /// A bias of the wrong length.
    #[error("a bias of {found} values was given to a weight of {rows} rows")]
    Bias {
        /// Rows of the weight.
        rows: usize,
        /// Values of the bias.
        found: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Float(FloatType),
    Int(IntSpec),
}

/// The matrix (and bias) of a linear layer, packed into panels.
#[derive(Clone, Debug)]
pub struct Linear {
    rows: usize,
    cols: usize,
    format: Format,
    panel_bytes: usize,
    data: Buffer<u8>,
    /// Padded with zeros to whole panels.
    bias: Option<Buffer<f32>>,
}

impl Linear {
    /// Packs `rows` x `cols` floating-point weights. `fill(row, values)` writes
    /// the `cols` values of each row, in ascending order of rows; they are
    /// rounded to `ty`.
    ///
    /// # Errors
    /// [`PackError`] for an empty or impossibly large matrix, and whatever
    /// `fill` returns.
    pub fn pack_float<E: From<PackError>>(
        rows: usize,
        cols: usize,
        ty: FloatType,
        mut fill: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let panel_bytes = match ty {
            FloatType::F32 => cols.checked_mul(PANEL_ROWS * 4),
            FloatType::F16 => cols.checked_mul(PANEL_ROWS * 2),
            FloatType::Bf16 => cols.div_ceil(2).checked_mul(PANEL_ROWS * 4),
        };
        let mut linear = Self::empty(rows, cols, Format::Float(ty), panel_bytes)?;
        let mut values = vec![0f32; cols];
        for row in 0..rows {
            fill(row, &mut values)?;
            let (panel, lane) = linear.panel_of_row_mut(row);
            match ty {
                FloatType::F32 => {
                    for (step, v) in panel.chunks_exact_mut(4 * PANEL_ROWS).zip(&values) {
                        step[4 * lane..][..4].copy_from_slice(&v.to_le_bytes());
                    }
                }
                FloatType::F16 => {
                    for (step, &v) in panel.chunks_exact_mut(2 * PANEL_ROWS).zip(&values) {
                        step[2 * lane..][..2].copy_from_slice(&f16::from_f32(v).to_le_bytes());
                    }
                }
                FloatType::Bf16 => {
                    for (step, pair) in panel.chunks_exact_mut(4 * PANEL_ROWS).zip(values.chunks(2))
                    {
                        for (i, &v) in pair.iter().enumerate() {
                            let bytes = bf16::from_f32(v).to_le_bytes();
                            step[4 * lane + 2 * i..][..2].copy_from_slice(&bytes);
                        }
                    }
                }
            }
        }
        Ok(linear)
    }

    /// Packs `rows` x `cols` quantised weights. `fill(row, parts)` writes each
    /// row, in ascending order of rows; `parts` may hold the previous row.
    ///
    /// # Errors
    /// [`PackError`] for an empty or impossibly large matrix, for columns that
    /// are no multiple of the
    /// format's blocks, for a format without a kernel, and whatever `fill`
    /// returns.
    pub fn pack_int<E: From<PackError>>(
        rows: usize,
        cols: usize,
        spec: IntSpec,
        mut fill: impl FnMut(usize, IntRow<'_>) -> Result<(), E>,
    ) -> Result<Self, E> {
        if !crate::linear::supports(spec) {
            return Err(PackError::Unsupported(spec).into());
        }
        let block = spec.columns();
        if !cols.is_multiple_of(block) {
            return Err(PackError::Columns { cols, block }.into());
        }
        let layout = IntLayout::new(spec);
        // All columns are whole blocks, so this cannot be more than `cols * 512`.
        let panel_bytes = cols.checked_mul(512).map(|_| layout.start(cols / BLOCK));
        let mut linear = Self::empty(rows, cols, Format::Int(spec), panel_bytes)?;
        let mut parts = RowParts::new(spec, cols);
        for row in 0..rows {
            fill(row, parts.borrow())?;
            let (panel, lane) = linear.panel_of_row_mut(row);
            parts
                .write(spec, panel, lane)
                .map_err(|block| PackError::Scale { row, block })?;
        }
        Ok(linear)
    }

    fn empty(
        rows: usize,
        cols: usize,
        format: Format,
        panel_bytes: Option<usize>,
    ) -> Result<Self, PackError> {
        if rows == 0 || cols == 0 {
            return Err(PackError::Empty { rows, cols });
        }
        let panel_bytes = panel_bytes.ok_or(PackError::TooLarge { rows, cols })?;
        let bytes = panel_bytes
            .checked_mul(rows.div_ceil(PANEL_ROWS))
            .filter(|&bytes| bytes <= isize::MAX as usize / 2)
            .ok_or(PackError::TooLarge { rows, cols })?;
        Ok(Self {
            rows,
            cols,
            format,
            panel_bytes,
            data: Buffer::pooled(bytes),
            bias: None,
        })
    }

    /// The same weight with `bias` (one value per row) added to its outputs.
    ///
    /// # Errors
    /// [`PackError::Bias`] if the length is not the number of rows.
    pub fn with_bias(mut self, bias: Vec<f32>) -> Result<Self, PackError> {
        if bias.len() != self.rows {
            return Err(PackError::Bias {
                rows: self.rows,
                found: bias.len(),
            });
        }
        let mut padded = Buffer::zeroed(self.panels() * PANEL_ROWS);
        padded[..self.rows].copy_from_slice(&bias);
        self.bias = Some(padded);
        Ok(self)
    }

    /// Outputs.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes in memory, padding and scales included: what one product reads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.data.len() + self.bias.as_ref().map_or(0, |bias| 4 * bias.len())
    }

    /// A short name of the storage, such as `bf16` or `q4_1`.
    #[must_use]
    pub fn format_name(&self) -> &'static str {
        match self.format {
            Format::Float(FloatType::F32) => "f32",
            Format::Float(FloatType::F16) => "f16",
            Format::Float(FloatType::Bf16) => "bf16",
            Format::Int(spec) => match (spec.bits, spec.scale, spec.has_min, spec.block) {
                (Bits::Four, ScaleType::Nested, ..) => "q4_k",
                (Bits::Four, _, true, _) => "q4_1",
                (Bits::Four, _, false, _) => "q4_0",
                (Bits::Six, ..) | (_, _, _, 16) => "q6_k",
                (Bits::Eight, _, true, _) => "q5_k",
                (Bits::Eight, _, false, _) => "q8_0",
            },
        }
    }

    /// Writes row `i`, dequantised, to `out` (`cols` values): an embedding taken
    /// from tied weights. Nothing is written for a row that does not exist.
    ///
    /// # Panics
    /// If `out` is shorter than `cols`.
    pub fn row(&self, i: usize, out: &mut [f32]) {
        if i >= self.rows {
            return;
        }
        let out = &mut out[..self.cols];
        let panel = &self.data[i / PANEL_ROWS * self.panel_bytes..][..self.panel_bytes];
        let lane = i % PANEL_ROWS;
        match self.format {
            Format::Float(FloatType::F32) => {
                for (v, step) in out.iter_mut().zip(panel.chunks_exact(4 * PANEL_ROWS)) {
                    *v = read_float(ScaleType::F32, &step[4 * lane..]);
                }
            }
            Format::Float(FloatType::F16) => {
                for (v, step) in out.iter_mut().zip(panel.chunks_exact(2 * PANEL_ROWS)) {
                    *v = read_float(ScaleType::F16, &step[2 * lane..]);
                }
            }
            Format::Float(FloatType::Bf16) => {
                for (pair, step) in out.chunks_mut(2).zip(panel.chunks_exact(4 * PANEL_ROWS)) {
                    for (i, v) in pair.iter_mut().enumerate() {
                        let at = 4 * lane + 2 * i;
                        *v = bf16::from_le_bytes([step[at], step[at + 1]]).to_f32();
                    }
                }
            }
            Format::Int(spec) => int_row(spec, panel, lane, out),
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL_ROWS)
    }

    pub(crate) fn panel_bytes(&self) -> usize {
        self.panel_bytes
    }

    pub(crate) fn data(&self) -> &[u8] {
        &self.data
    }

    pub(crate) fn bias(&self) -> Option<&[f32]> {
        self.bias.as_deref()
    }

    fn panel_of_row_mut(&mut self, row: usize) -> (&mut [u8], usize) {
        let start = row / PANEL_ROWS * self.panel_bytes;
        (
            &mut self.data[start..][..self.panel_bytes],
            row % PANEL_ROWS,
        )
    }
}
