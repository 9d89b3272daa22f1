//! GGUF files, versions 2 and 3, little-endian.
//!
//! The header is read with every count checked against the bytes that are left, so that a hostile
//! file cannot make the reader allocate much more than its own size; tensors stay in the file.

mod architectures;
mod cursor;
mod names;
mod settings;
mod value;
mod vocab;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use thiserror::Error;

use crate::blocks::TensorType;
use crate::checkpoint::Checkpoint;
use crate::error::FormatError;
use crate::source::Source;
use cursor::Cursor;

pub use value::{Array, Value};

/// What is wrong with a GGUF file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GgufError {
    /// It does not begin with the magic number.
    #[error("this is not a GGUF file (it begins with {0:02x?}); give a .gguf file or a folder")]
    Magic([u8; 4]),
    /// A version that is not read.
    #[error("GGUF version {0} is not supported (2 and 3 are); convert the model again")]
    Version(u32),
    /// The file was written for a big-endian machine.
    #[error("this is a big-endian GGUF file; convert the model to little-endian")]
    BigEndian,
    /// A header field does not fit into the file.
    #[error(
        "{what} at byte {at} does not fit into the file; it is truncated or damaged, fetch it again"
    )]
    Overrun {
        /// What was being read.
        what: &'static str,
        /// Where it begins.
        at: u64,
    },
    /// A field has an impossible value.
    #[error("{what} ({found}) is not valid; the file is damaged, fetch it again")]
    Invalid {
        /// The field.
        what: String,
        /// Its value.
        found: String,
    },
    /// A name occurs twice.
    #[error("{what} '{name}' occurs twice; the file is damaged, convert the model again")]
    Duplicate {
        /// `metadata key` or `tensor`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A tensor's type is not supported.
    #[error(
        "tensor '{tensor}' has type {found}; supported are {}; quantize the model to one of them",
        TensorType::SUPPORTED
    )]
    Type {
        /// The tensor.
        tensor: String,
        /// Name of the type.
        found: String,
    },
    /// A tensor lies outside the file or upon another one.
    #[error(
        "tensor '{tensor}' at bytes {start}..{end} {problem}; the file is truncated or damaged, fetch it again"
    )]
    Place {
        /// The tensor.
        tensor: String,
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// A metadata key is missing or has another type than expected.
    #[error("metadata key '{key}' {problem}; the file is incomplete, convert the model again")]
    Key {
        /// The key.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

/// One tensor as the file describes it.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// The name in the file.
    pub name: String,
    /// Its shape, slowest dimension first (the reverse of the file's order).
    pub shape: Vec<usize>,
    /// Its type.
    pub ty: TensorType,
    /// Where its data begins, from the start of the file.
    pub offset: u64,
}

/// The header of a GGUF file.
#[derive(Clone, Debug)]
pub struct Gguf {
    /// 2 or 3.
    pub version: u32,
    /// All metadata.
    pub metadata: BTreeMap<String, Value>,
    /// All tensors, in file order.
    pub tensors: Vec<TensorInfo>,
}

const MAX_KEY: u64 = 65_535;
const MAX_TENSOR_NAME: u64 = 1024;
/// Shortest possible metadata entry: a length, an empty key, a type and one byte.
const MIN_ENTRY: u64 = 13;
/// Shortest possible tensor description: a length, no name, a dimension count, type and offset.
const MIN_TENSOR: u64 = 24;

impl Gguf {
    /// Parses the header in `bytes`, which are a whole file.
    ///
    /// # Errors
    /// [`FormatError::Gguf`] naming what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        Self::read(&Source::from_vec("<memory>", bytes.to_vec()))
    }

    pub(crate) fn read(source: &Source) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(source);
        let magic = cursor.array::<4>("the magic number")?;
        if &magic != b"GGUF" {
            return Err(cursor.error(GgufError::Magic(magic)));
        }
        let version = cursor.u32("the version")?;
        match version {
            2 | 3 => {}
            v if v.swap_bytes() <= 3 => return Err(cursor.error(GgufError::BigEndian)),
            v => return Err(cursor.error(GgufError::Version(v))),
        }
        let tensor_count = cursor.u64("the number of tensors")?;
        let entry_count = cursor.u64("the number of metadata entries")?;
        cursor.fits("the metadata", entry_count, MIN_ENTRY)?;
        cursor.fits("the list of tensors", tensor_count, MIN_TENSOR)?;
        let metadata = read_metadata(&mut cursor, entry_count)?;
        let mut tensors = read_tensors(&mut cursor, tensor_count)?;
        let alignment = alignment(&metadata).map_err(|e| cursor.error(e))?;
        let data = cursor.position().next_multiple_of(alignment);
        place(&mut tensors, data, alignment, source.len()).map_err(|e| cursor.error(e))?;
        Ok(Self {
            version,
            metadata,
            tensors,
        })
    }
}

fn read_metadata(
    cursor: &mut Cursor<'_>,
    count: u64,
) -> Result<BTreeMap<String, Value>, FormatError> {
    let mut metadata = BTreeMap::new();
    for _ in 0..count {
        let key = cursor.string("a metadata key", MAX_KEY)?;
        let value = Value::read(cursor, &key)?;
        if metadata.contains_key(&key) {
            let what = "metadata key";
            return Err(cursor.error(GgufError::Duplicate { what, name: key }));
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn read_tensors(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<TensorInfo>, FormatError> {
    let mut tensors = Vec::new();
    let mut seen = HashSet::new();
    for _ in 0..count {
        let name = cursor.string("a tensor name", MAX_TENSOR_NAME)?;
        let dimensions = cursor.u32("a tensor's dimensions")?;
        let invalid = |what: &str, found: String| GgufError::Invalid {
            what: format!("{what} of tensor '{name}'"),
            found,
        };
        if !(1..=4).contains(&dimensions) {
            return Err(cursor.error(invalid("the number of dimensions", dimensions.to_string())));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let n = cursor.u64("a tensor's shape")?;
            let n = usize::try_from(n).ok().filter(|n| *n > 0);
            shape.push(n.ok_or_else(|| cursor.error(invalid("a dimension", "0 or huge".into())))?);
        }
        shape.reverse();
        let ty = TensorType::from_ggml(cursor.u32("a tensor's type")?).map_err(|found| {
            cursor.error(GgufError::Type {
                tensor: name.clone(),
                found: found.to_owned(),
            })
        })?;
        let offset = cursor.u64("a tensor's offset")?;
        if !seen.insert(name.clone()) {
            return Err(cursor.error(GgufError::Duplicate {
                what: "tensor",
                name,
            }));
        }
        tensors.push(TensorInfo {
            name,
            shape,
            ty,
            offset,
        });
    }
    Ok(tensors)
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, GgufError> {
    let Some(value) = metadata.get("general.alignment") else {
        return Ok(32);
    };
    let valid = value
        .as_u64()
        .filter(|a| a.is_power_of_two() && (8..=1 << 20).contains(a));
    valid.ok_or_else(|| GgufError::Invalid {
        what: "general.alignment".to_owned(),
        found: value.describe(),
    })
}

impl TensorInfo {
    /// Bytes of the data, if they can be counted and rows fill whole blocks.
    fn bytes(&self) -> Option<u64> {
        let (cols, rows) = self.shape.split_last()?;
        let row = self.ty.bytes(*cols)? as u64;
        rows.iter()
            .try_fold(row, |bytes, n| bytes.checked_mul(*n as u64))
    }
}

/// Makes offsets absolute and checks that every tensor lies in the file and upon no other.
fn place(tensors: &mut [TensorInfo], data: u64, alignment: u64, len: u64) -> Result<(), GgufError> {
    let mut ranges = Vec::with_capacity(tensors.len());
    for (i, tensor) in tensors.iter_mut().enumerate() {
        let problem = |start, end, problem| GgufError::Place {
            tensor: tensor.name.clone(),
            start,
            end,
            problem,
        };
        let bytes = tensor.bytes().ok_or_else(|| GgufError::Invalid {
            what: format!(
                "the shape of tensor '{}' for {}",
                tensor.name,
                tensor.ty.name()
            ),
            found: format!("{:?}", tensor.shape),
        })?;
        let start = data.saturating_add(tensor.offset);
        let end = start.saturating_add(bytes);
        if tensor.offset % alignment != 0 {
            return Err(problem(start, end, "is not aligned"));
        }
        if end > len {
            return Err(problem(start, end, "ends after the end of the file"));
        }
        tensor.offset = start;
        ranges.push((start, end, i));
    }
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        if let [(_, before, _), (start, end, i)] = *pair
            && start < before
        {
            return Err(GgufError::Place {
                tensor: tensors[i].name.clone(),
                start,
                end,
                problem: "overlaps another tensor",
            });
        }
    }
    Ok(())
}

/// Opens a GGUF file as a checkpoint.
pub(crate) fn open_checkpoint(source: &Arc<Source>) -> Result<Checkpoint, FormatError> {
    let gguf = Gguf::read(source)?;
    settings::checkpoint(source, &gguf)
}
