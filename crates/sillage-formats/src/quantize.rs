//! Writing a checkpoint as one file, its matrices in 16, 8 or 4 bits.
//!
//! The file is a safetensors file (see the crate's `packed` module for its metadata). Matrices of
//! linear layers and embeddings are stored as [`Policy`] says; everything else (norms,
//! convolutions, `A`, `D`, biases) is small and sensitive and stays in f32.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::blocks::{TensorType, decode_f32, encode_float, encode_q4, encode_q8};
use crate::checkpoint::Checkpoint;
use crate::error::FormatError;
use crate::packed::{TOKENIZER, VERSION};
use crate::tensors::{RowReader, Tensor, check_finite};

/// How many bits a matrix gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// As it is in the source.
    Keep,
    /// 32-bit floats.
    F32,
    /// 16-bit brain floats.
    Bf16,
    /// 8 bits, 8.5 with the scale (Q8_0).
    Q8,
    /// 4 bits, 5 with scale and minimum (Q4_1 blocks, fitted by least squares).
    Q4,
}

/// A target that is not one of `bf16`, `q8`, `q4`.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a weight type; choose bf16, q8 or q4")]
pub struct UnknownTarget(String);

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(text: &str) -> Result<Self, UnknownTarget> {
        match text {
            "keep" => Ok(Self::Keep),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "q8" => Ok(Self::Q8),
            "q4" => Ok(Self::Q4),
            other => Err(UnknownTarget(other.to_owned())),
        }
    }
}

/// Which matrix gets how many bits.
#[derive(Clone, Debug)]
pub struct Policy {
    /// For every matrix without an override.
    pub target: Target,
    /// Parts of names and what the matrices with that part get; the last that fits decides.
    pub overrides: Vec<(String, Target)>,
}

impl Policy {
    /// All matrices alike.
    pub fn uniform(target: Target) -> Self {
        Self {
            target,
            overrides: Vec::new(),
        }
    }

    /// What the matrix `name` gets.
    pub fn target_for(&self, name: &str) -> Target {
        let fits = self
            .overrides
            .iter()
            .rev()
            .find(|(part, _)| name.contains(part.as_str()));
        fits.map_or(self.target, |(_, target)| *target)
    }
}

/// How far the work is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Weights written.
    pub done: u64,
    /// Weights in all.
    pub total: u64,
    /// The tensor being written.
    pub tensor: &'a str,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Tensors written.
    pub tensors: usize,
    /// Their bytes in the source.
    pub source_bytes: u64,
    /// Bytes of the new file.
    pub file_bytes: u64,
}

/// One tensor of the new file.
struct Planned<'a> {
    name: &'a str,
    tensor: &'a Tensor,
    ty: TensorType,
    /// The stored rows are copied as they are.
    copy: bool,
    bytes: u64,
}

/// Writes `checkpoint` to `path`. The file appears only when it is complete. `progress` is called
/// after every piece and stops the work by returning false.
///
/// # Errors
/// [`FormatError`] when the source cannot be read, the file cannot be written, or the work was
/// stopped.
pub fn quantize(
    checkpoint: &Checkpoint,
    policy: &Policy,
    path: &Path,
    progress: &mut dyn FnMut(Progress<'_>) -> bool,
) -> Result<Report, FormatError> {
    let tokenizer = match checkpoint.has_tokenizer() {
        true => compact_tokenizer(&checkpoint.tokenizer_json()?)?,
        false => Vec::new(),
    };
    let plan = plan(checkpoint, policy)?;
    let header = header(checkpoint, &plan, tokenizer.len() as u64);
    let write_error = |source| FormatError::Write {
        path: path.to_owned(),
        source,
    };
    let unfinished = Unfinished::create(path).map_err(write_error)?;
    let mut out = BufWriter::with_capacity(1 << 20, &unfinished.file);
    out.write_all(&header).map_err(write_error)?;
    let total = plan.iter().map(|p| p.tensor.elements() as u64).sum();
    let mut done = 0;
    for planned in &plan {
        let mut write = |bytes: &[u8], weights: u64| -> Result<(), FormatError> {
            out.write_all(bytes).map_err(write_error)?;
            done += weights;
            match progress(Progress {
                done,
                total,
                tensor: planned.name,
            }) {
                true => Ok(()),
                false => Err(FormatError::Cancelled),
            }
        };
        write_tensor(planned, &mut write)?;
    }
    out.write_all(&tokenizer).map_err(write_error)?;
    out.flush().map_err(write_error)?;
    drop(out);
    unfinished.finish(path).map_err(write_error)?;
    let bytes = plan.iter().map(|p| p.bytes).sum::<u64>() + tokenizer.len() as u64;
    Ok(Report {
        tensors: plan.len(),
        source_bytes: plan.iter().map(|p| p.tensor.bytes()).sum(),
        file_bytes: header.len() as u64 + bytes,
    })
}

/// A file beside its final place; removed unless finished.
struct Unfinished {
    file: File,
    path: PathBuf,
    finished: bool,
}

impl Unfinished {
    fn create(path: &Path) -> std::io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let path = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
        Ok(Self {
            file: File::create(&path)?,
            path,
            finished: false,
        })
    }

    fn finish(mut self, to: &Path) -> std::io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, to)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: the error that brought us here is the one to report.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn plan<'a>(checkpoint: &'a Checkpoint, policy: &Policy) -> Result<Vec<Planned<'a>>, FormatError> {
    let config = checkpoint.config();
    let tied = config.get("tie_word_embeddings").and_then(Value::as_bool);
    // `transformers` ties Mamba's embeddings unless told otherwise.
    let mamba = config.get("model_type").and_then(Value::as_str) == Some("mamba");
    let tied = tied.unwrap_or(mamba);
    let mut plan = Vec::new();
    for (name, tensor) in &checkpoint.tensors {
        // A tied output layer that is stored again would only take space.
        if tied && name == "lm_head.weight" {
            continue;
        }
        let (ty, copy) = stored_type(name, tensor, policy)?;
        let cols = tensor.cols();
        let bytes = ty.bytes(cols).unwrap_or(0) as u64 * tensor.rows() as u64;
        plan.push(Planned {
            name,
            tensor,
            ty,
            copy,
            bytes,
        });
    }
    Ok(plan)
}

fn stored_type(
    name: &str,
    tensor: &Tensor,
    policy: &Policy,
) -> Result<(TensorType, bool), FormatError> {
    let source = tensor.common_type(name)?;
    let matrix = tensor.shape.len() == 2
        && name.ends_with(".weight")
        && tensor.rows() > 1
        && tensor.cols() > 1;
    if !matrix {
        return Ok((TensorType::F32, false));
    }
    let wanted = match policy.target_for(name) {
        Target::Keep => return Ok(source.map_or((TensorType::F32, false), |ty| (ty, true))),
        Target::F32 => TensorType::F32,
        Target::Bf16 => TensorType::Bf16,
        Target::Q8 => TensorType::Q8_0,
        Target::Q4 => TensorType::Q4_1,
    };
    match source {
        // Coarser already: more bits would not bring anything back.
        Some(ty)
            if ty.int_layout().is_some() && ty.bits_per_weight() <= wanted.bits_per_weight() =>
        {
            Ok((ty, true))
        }
        // Rows that do not fill blocks stay floats.
        _ if !tensor.cols().is_multiple_of(wanted.block_len()) => Ok((
            source
                .filter(|ty| ty.int_layout().is_none())
                .unwrap_or(TensorType::F32),
            false,
        )),
        _ => Ok((wanted, false)),
    }
}

/// Compact JSON, merges as `left right` where that is unambiguous.
fn compact_tokenizer(json: &[u8]) -> Result<Vec<u8>, FormatError> {
    let file = TOKENIZER;
    let mut value = crate::json::parse_object(file, json)?;
    if let Some(merges) = value
        .pointer_mut("/model/merges")
        .and_then(Value::as_array_mut)
    {
        let joined: Option<Vec<Value>> = merges
            .iter()
            .map(|merge| match merge.as_array().map(Vec::as_slice) {
                Some([Value::String(l), Value::String(r)])
                    if !l.contains(' ') && !r.contains(' ') =>
                {
                    Some(format!("{l} {r}").into())
                }
                None if merge.is_string() => Some(merge.clone()),
                _ => None,
            })
            .collect();
        if let Some(joined) = joined {
            *merges = joined;
        }
    }
    Ok(value.to_string().into_bytes())
}

fn header(checkpoint: &Checkpoint, plan: &[Planned<'_>], tokenizer_bytes: u64) -> Vec<u8> {
    let mut blocks = Map::new();
    let mut entries = Map::new();
    let mut offset = 0;
    for planned in plan {
        let shape = &planned.tensor.shape;
        let (dtype, stored_shape) = match planned.ty {
            TensorType::F32 => ("F32", shape.clone()),
            TensorType::F16 => ("F16", shape.clone()),
            TensorType::Bf16 => ("BF16", shape.clone()),
            ty => {
                let mut entry = vec![Value::from(ty.name())];
                entry.extend(shape.iter().map(|n| Value::from(*n)));
                blocks.insert(planned.name.to_owned(), entry.into());
                let rows = planned.tensor.rows() as u64;
                (
                    "U8",
                    vec![rows as usize, (planned.bytes / rows.max(1)) as usize],
                )
            }
        };
        let end = offset + planned.bytes;
        let entry = json!({"dtype": dtype, "shape": stored_shape, "data_offsets": [offset, end]});
        entries.insert(planned.name.to_owned(), entry);
        offset = end;
    }
    let mut metadata = json!({
        "format": "sillage",
        "sillage.version": VERSION,
        "config": checkpoint.config().to_string(),
        "tensors": Value::Object(blocks).to_string(),
    });
    if let Some(config) = &checkpoint.tokenizer_config {
        // The template has its own key.
        let mut config = config.clone();
        if let Some(map) = config.as_object_mut() {
            map.remove("chat_template");
        }
        metadata["tokenizer_config"] = config.to_string().into();
    }
    if let Some(config) = &checkpoint.generation_config {
        metadata["generation_config"] = config.to_string().into();
    }
    if let Some(template) = &checkpoint.chat_template {
        metadata["chat_template"] = template.clone().into();
    }
    let mut all = Map::new();
    all.insert("__metadata__".to_owned(), metadata);
    all.extend(entries);
    if tokenizer_bytes > 0 {
        let offsets = [offset, offset + tokenizer_bytes];
        let entry = json!({"dtype": "U8", "shape": [tokenizer_bytes], "data_offsets": offsets});
        all.insert(TOKENIZER.to_owned(), entry);
    }
    let mut text = Value::Object(all).to_string().into_bytes();
    // The data begins at a multiple of eight, as other readers of the format like it.
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.extend(text);
    header
}

/// Weights converted between two reports of progress.
const PIECE: usize = 1 << 20;

/// Takes the bytes of some rows and the number of their weights.
type WriteRows<'a> = dyn FnMut(&[u8], u64) -> Result<(), FormatError> + 'a;

fn write_tensor(planned: &Planned<'_>, write: &mut WriteRows<'_>) -> Result<(), FormatError> {
    let (tensor, name) = (planned.tensor, planned.name);
    let cols = tensor.cols();
    if !planned.copy && tensor.shape.len() == 1 {
        // Vectors may have to be put in order.
        let mut bytes = Vec::new();
        encode_float(planned.ty, &tensor.to_f32(name)?, &mut bytes)?;
        return write(&bytes, tensor.elements() as u64);
    }
    let per_piece = (PIECE / cols.max(1)).max(1);
    let mut at = 0;
    for (part, rows) in tensor.split(0..tensor.rows()) {
        let mut reader = RowReader::new(part, cols);
        let ty = part.ty(name)?;
        let mut values = vec![0f32; per_piece * cols];
        let mut start = rows.start;
        while start < rows.end {
            let end = (start + per_piece).min(rows.end);
            let mut bytes = Vec::new();
            for (i, row) in (start..end).enumerate() {
                let raw = reader.row(row)?;
                let out = &mut values[i * cols..(i + 1) * cols];
                decode_f32(ty, raw, out)?;
                check_finite(name, at + i, out)?;
                if planned.copy {
                    bytes.extend(raw);
                }
            }
            if !planned.copy {
                bytes = encode(planned.ty, &values[..(end - start) * cols])?;
            }
            write(&bytes, ((end - start) * cols) as u64)?;
            at += end - start;
            start = end;
        }
    }
    Ok(())
}

/// Encodes values (whole blocks) on all cores; blocks are independent, so the result does not
/// depend on how many there are.
fn encode(ty: TensorType, values: &[f32]) -> Result<Vec<u8>, FormatError> {
    let one = |values: &[f32]| {
        let mut bytes = Vec::new();
        match ty {
            TensorType::Q8_0 => encode_q8(values, &mut bytes)?,
            TensorType::Q4_1 => encode_q4(values, &mut bytes)?,
            float => encode_float(float, values, &mut bytes)?,
        }
        Ok::<_, FormatError>(bytes)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    if ty != TensorType::Q4_1 || threads == 1 {
        return one(values);
    }
    let each = values.len().div_ceil(threads).next_multiple_of(32);
    let pieces: Vec<Result<Vec<u8>, FormatError>> = std::thread::scope(|scope| {
        let running: Vec<_> = values
            .chunks(each.max(32))
            .map(|piece| scope.spawn(move || one(piece)))
            .collect();
        running
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let mut bytes = Vec::new();
    for piece in pieces {
        bytes.extend(piece?);
    }
    Ok(bytes)
}
