//! One safetensors file: its header is parsed, its tensors stay where they are.

use std::collections::HashMap;
use std::sync::Arc;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::blocks::TensorType;
use crate::error::FormatError;
use crate::source::Source;
use crate::tensors::{Stored, Tensor};

/// The format's own limit on its header.
const MAX_HEADER: u64 = 100_000_000;

/// The header of one file.
pub(crate) struct Header {
    /// The `__metadata__` strings.
    pub(crate) metadata: HashMap<String, String>,
    /// Name and place of every tensor, in file order.
    pub(crate) tensors: Vec<(String, Tensor)>,
}

/// Reads and checks the header: its size, its JSON, and that the tensors tile the rest of the file
/// exactly.
pub(crate) fn read_header(source: &Arc<Source>) -> Result<Header, FormatError> {
    let error = |message: String| FormatError::Safetensors {
        file: source.name().to_owned(),
        message,
    };
    if source.len() < 8 {
        return Err(error(format!(
            "it has {} bytes, fewer than a header's length",
            source.len()
        )));
    }
    let mut length = [0u8; 8];
    source.read(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER || length > source.len() - 8 {
        let most = MAX_HEADER.min(source.len() - 8);
        return Err(error(format!(
            "its header claims {length} bytes, at most {most} can be"
        )));
    }
    let bytes = source.read_vec(8, length)?;
    let header: Metadata = serde_json::from_slice(&bytes)
        .map_err(|e| error(format!("its header is not valid: {e}")))?;
    let data = 8 + length;
    if data + header.data_len() as u64 != source.len() {
        return Err(error(format!(
            "its header describes {} bytes, the file has {}",
            data + header.data_len() as u64,
            source.len()
        )));
    }
    let mut tensors = Vec::new();
    for name in header.offset_keys() {
        let Some(info) = header.info(&name) else {
            continue;
        };
        let stored = match info.dtype {
            Dtype::F32 => Stored::Known(TensorType::F32),
            Dtype::F16 => Stored::Known(TensorType::F16),
            Dtype::BF16 => Stored::Known(TensorType::Bf16),
            other => Stored::Other(format!("{other:?}")),
        };
        let offset = data + info.data_offsets.0 as u64;
        tensors.push((
            name,
            Tensor::new(source, offset, info.shape.clone(), stored),
        ));
    }
    let metadata = header.metadata().clone().unwrap_or_default();
    Ok(Header { metadata, tensors })
}
