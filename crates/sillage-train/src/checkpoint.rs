//! What is needed to go on: parameters, moments, and how far it is.

use crate::error::TrainError;
use crate::files;
use crate::optimiser::Rows;
use crate::params::Params;
use crate::trainer::Progress;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use std::path::Path;

const PROGRESS: &str = "progress";
const PRINT: &str = "recipe";

/// Writes a checkpoint as one file. `print` tells recipes apart that must not be mixed.
pub(crate) fn save(
    path: &Path,
    rows: &Rows,
    progress: &Progress,
    print: &str,
) -> Result<(), TrainError> {
    let fail = |message: String| TrainError::Checkpoint {
        path: path.to_owned(),
        message,
    };
    let all = [
        ("params", bytes(&rows.params)),
        ("first", bytes(&rows.first)),
        ("second", bytes(&rows.second)),
    ];
    let mut views = Vec::new();
    for (name, bytes) in &all {
        let view = TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes);
        views.push((*name, view.map_err(|e| fail(e.to_string()))?));
    }
    let progress = serde_json::to_string(progress).map_err(|e| fail(e.to_string()))?;
    let about = HashMap::from([
        (PROGRESS.to_owned(), progress),
        (PRINT.to_owned(), print.to_owned()),
    ]);
    let file = safetensors::serialize(views, Some(about)).map_err(|e| fail(e.to_string()))?;
    files::write(path, &file)
}

/// Reads what [`save`] wrote.
pub(crate) fn load(
    path: &Path,
    params: &Params,
    print: &str,
) -> Result<(Rows, Progress), TrainError> {
    let bad = |message: &str| TrainError::Checkpoint {
        path: path.to_owned(),
        message: format!(
            "{message}; delete the folder to begin afresh, or name another with --out"
        ),
    };
    let file = std::fs::read(path).map_err(TrainError::io(path))?;
    let (_, about) = SafeTensors::read_metadata(&file).map_err(|_| bad("no whole checkpoint"))?;
    let about = about
        .metadata()
        .as_ref()
        .ok_or_else(|| bad("no checkpoint of a run"))?;
    if about.get(PRINT).map(String::as_str) != Some(print) {
        return Err(bad("a checkpoint of another recipe"));
    }
    let progress = about
        .get(PROGRESS)
        .and_then(|p| serde_json::from_str(p).ok());
    let progress = progress.ok_or_else(|| bad("a checkpoint of another version"))?;
    let tensors = SafeTensors::deserialize(&file).map_err(|_| bad("no whole checkpoint"))?;
    let row = |name: &str| {
        let tensor = tensors
            .tensor(name)
            .map_err(|_| bad("no checkpoint of a run"))?;
        let values = floats(tensor.data());
        match tensor.dtype() == Dtype::F32 && values.len() == params.len() {
            true => Ok(values),
            false => Err(bad("a checkpoint of another model")),
        }
    };
    let rows = Rows {
        params: row("params")?,
        first: row("first")?,
        second: row("second")?,
    };
    Ok((rows, progress))
}

pub(crate) fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let float = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    bytes.chunks_exact(4).map(float).collect()
}
