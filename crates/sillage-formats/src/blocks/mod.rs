//! Tensor element types and the blocks that quantised weights are stored in.
//!
//! The layouts are those of ggml (and hence of GGUF). A quantised row is a run of blocks; each
//! block decodes to unsigned integers `q`, a scale and perhaps a minimum for every 16 or 32 of
//! them, so that `weight = scale * (q - zero) + min`.

mod decode;
mod encode;

pub use decode::{decode_f32, decode_factors, decode_int, encode_float};
pub use encode::{Q4_BLOCK_BYTES, Q8_BLOCK_BYTES, encode_q4, encode_q8};

use thiserror::Error;

/// How the elements of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TensorType {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// 16-bit brain floats.
    Bf16,
    /// 32 signed bytes and an f16 scale.
    Q8_0,
    /// 32 nibbles and an f16 scale; zero is 8.
    Q4_0,
    /// 32 nibbles, an f16 scale and an f16 minimum.
    Q4_1,
    /// 256 nibbles in eight sub-blocks with 6-bit scales and minima.
    Q4K,
    /// 256 five-bit values in eight sub-blocks with 6-bit scales and minima.
    Q5K,
    /// 256 six-bit values in sixteen sub-blocks with 8-bit scales.
    Q6K,
}

/// What the integers of a block type look like once decoded by [`decode_int`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntLayout {
    /// Bits of each value: four, six or eight (to which the five of Q5_K are rounded up).
    pub bits: u8,
    /// Values that share a scale: 16 or 32.
    pub block: usize,
    /// Subtracted from every value before scaling.
    pub zero: u8,
    /// Whether every block has a minimum.
    pub has_min: bool,
    /// Whether scales and minima are f16 values exactly; else each is a whole multiple, in 8 bits,
    /// of an f16 of its super-block of 256 (`decode_factors`).
    pub f16_scales: bool,
}

impl TensorType {
    /// The supported types, for messages.
    pub const SUPPORTED: &'static str = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q5_K, Q6_K";

    /// All types.
    pub const ALL: [Self; 9] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// The name that ggml and this project print.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// The type with this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// Elements in one block (1 for floats).
    pub fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Bytes of `elements` consecutive elements; `None` when they do not fill whole blocks or the
    /// count overflows.
    pub fn bytes(self, elements: usize) -> Option<usize> {
        if !elements.is_multiple_of(self.block_len()) {
            return None;
        }
        (elements / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Bits stored for each weight, scales included.
    pub fn bits_per_weight(self) -> f64 {
        self.block_bytes() as f64 * 8.0 / self.block_len() as f64
    }

    /// How [`decode_int`] lays this type out; `None` for floats.
    pub fn int_layout(self) -> Option<IntLayout> {
        let layout = |bits, block, zero, has_min, f16_scales| {
            Some(IntLayout {
                bits,
                block,
                zero,
                has_min,
                f16_scales,
            })
        };
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => None,
            Self::Q8_0 => layout(8, 32, 128, false, true),
            Self::Q4_0 => layout(4, 32, 8, false, true),
            Self::Q4_1 => layout(4, 32, 0, true, true),
            Self::Q4K => layout(4, 32, 0, true, false),
            Self::Q5K => layout(8, 32, 0, true, false),
            Self::Q6K => layout(6, 16, 32, false, false),
        }
    }

    /// The type with ggml's number `id`, or the name of the unsupported type.
    pub fn from_ggml(id: u32) -> Result<Self, &'static str> {
        Ok(match id {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            8 => Self::Q8_0,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            30 => Self::Bf16,
            other => return Err(ggml_name(other)),
        })
    }
}

/// Names of the ggml types that are not supported, for messages.
fn ggml_name(id: u32) -> &'static str {
    match id {
        6 => "Q5_0",
        7 => "Q5_1",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        _ => "an unknown ggml type",
    }
}

/// Why blocks could not be decoded or encoded.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum BlockError {
    /// The bytes and the elements do not match.
    #[error("{elements} elements of {} take {expected:?} bytes, {found} were given", ty.name())]
    Length {
        /// The element type.
        ty: TensorType,
        /// Elements asked for.
        elements: usize,
        /// Bytes that they take; `None` when they do not fill whole blocks.
        expected: Option<usize>,
        /// Bytes given.
        found: usize,
    },
    /// The type cannot be used in this way.
    #[error("{} is a float type and has no integer blocks", ty.name())]
    NotInteger {
        /// The element type.
        ty: TensorType,
    },
    /// A value is too large for the f16 scale of a block.
    #[error("{value} is out of the range of {} blocks; keep this tensor in bf16", ty.name())]
    Range {
        /// The element type.
        ty: TensorType,
        /// The value.
        value: f32,
    },
    /// The output slices have the wrong lengths.
    #[error("output for {elements} elements of {} has the wrong length", ty.name())]
    Output {
        /// The element type.
        ty: TensorType,
        /// Elements asked for.
        elements: usize,
    },
}
