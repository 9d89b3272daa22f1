//! The one view of every kind of checkpoint.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use xxhash_rust::xxh3::Xxh3Default;

use crate::blocks::TensorType;
use crate::chat::ChatTemplate;
use crate::defaults::GenerationDefaults;
use crate::error::FormatError;
use crate::huggingface;
use crate::source::Source;
use crate::tensors::{RowReader, Tensor, Tensors};
use crate::tokenizer::{Tokenizer, Vocabulary, from_vocabulary};

/// Where a checkpoint came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A folder with config.json and safetensors.
    Folder,
    /// A GGUF file.
    Gguf,
    /// A single file written by `quantize`.
    Packed,
}

/// An opened checkpoint: its settings and the place of every tensor. Tensor data is read when it
/// is asked for.
///
/// Settings and names are those of the Hugging Face checkpoint of the same architecture, wherever
/// the file came from; `config()["sillage"]` holds what has no key there:
///
/// | key | meaning |
/// |---|---|
/// | `a_is_negative_exp` | tensors named `A_log` hold `-exp(A_log)` already |
/// | `gated_norm` | false: a Mamba-2 mixer without a norm after its scan |
/// | `norm_before_gate` | true: that norm comes before the gate |
/// | `rope_divisors` | one divisor for each rotary frequency |
#[derive(Debug)]
pub struct Checkpoint {
    pub(crate) name: String,
    pub(crate) origin: Origin,
    pub(crate) config: Value,
    pub(crate) tensors: Tensors,
    pub(crate) tokenizer: TokenizerSource,
    pub(crate) tokenizer_config: Option<Value>,
    pub(crate) generation_config: Option<Value>,
    pub(crate) chat_template: Option<String>,
}

/// Where the tokenizer comes from. What is wrong with it is said when it is asked for: weights
/// can be inspected without it.
#[derive(Debug)]
pub(crate) enum TokenizerSource {
    None,
    Json(Vec<u8>),
    Vocabulary(Box<Vocabulary>),
}

/// How much of a checkpoint is stored in one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeCount {
    /// Tensors of the type.
    pub tensors: usize,
    /// Their elements.
    pub parameters: u64,
    /// Their stored bytes.
    pub bytes: u64,
}

impl Checkpoint {
    /// Opens a folder, a `.gguf` file, or a `.safetensors` file written by `quantize`.
    ///
    /// # Errors
    /// [`FormatError`], naming the file and what to do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        if path.is_dir() {
            return Self::from_folder(path, name);
        }
        if !path.exists() {
            return Err(FormatError::NotAModel {
                path: name,
                found: "nothing is there".to_owned(),
            });
        }
        Self::from_source(Source::open(path)?)
    }

    /// Opens a checkpoint embedded in the binary (a single file, as `quantize` writes or GGUF).
    ///
    /// # Errors
    /// [`FormatError`], as for [`open`](Self::open).
    pub fn from_bytes(bytes: &'static [u8]) -> Result<Self, FormatError> {
        Self::from_source(Source::from_static("<embedded>", bytes))
    }

    /// Opens a checkpoint held in memory.
    ///
    /// # Errors
    /// [`FormatError`], as for [`open`](Self::open).
    pub fn from_vec(bytes: Vec<u8>) -> Result<Self, FormatError> {
        Self::from_source(Source::from_vec("<memory>", bytes))
    }

    fn from_source(source: Source) -> Result<Self, FormatError> {
        let source = Arc::new(source);
        let mut magic = [0u8; 4];
        if source.len() >= 4 {
            source.read(0, &mut magic)?;
        }
        if &magic == b"GGUF" {
            return crate::gguf::open_checkpoint(&source);
        }
        crate::packed::open(&source)
    }

    fn from_folder(path: &Path, name: String) -> Result<Self, FormatError> {
        let folder = huggingface::open(path)?;
        let (mut config, mut tensors) = (folder.config, folder.tensors);
        crate::config::normalise(&name, &mut config, &mut tensors)?;
        Ok(Self {
            name,
            origin: Origin::Folder,
            config,
            tensors,
            tokenizer: folder
                .tokenizer
                .map_or(TokenizerSource::None, TokenizerSource::Json),
            tokenizer_config: folder.tokenizer_config,
            generation_config: folder.generation_config,
            chat_template: folder.chat_template,
        })
    }

    /// The path (or `<embedded>`), for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it came from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The settings, in the keys of the architecture's Hugging Face config.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether a tensor exists.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Shape of a tensor, slowest dimension first.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|t| t.shape.as_slice())
    }

    /// Type of a tensor; `None` when it does not exist, is stored in several types, or in one that
    /// is not supported.
    pub fn tensor_type(&self, name: &str) -> Option<TensorType> {
        self.tensors.get(name)?.common_type(name).ok().flatten()
    }

    pub(crate) fn tensor(&self, name: &str) -> Result<&Tensor, FormatError> {
        self.tensors
            .get(name)
            .ok_or_else(|| FormatError::MissingTensor {
                file: self.name.clone(),
                tensor: name.to_owned(),
            })
    }

    /// A whole tensor as f32, row after row, every value finite.
    ///
    /// # Errors
    /// [`FormatError`] when the tensor is absent, truncated, of an unsupported type or not finite.
    pub fn f32(&self, name: &str) -> Result<Vec<f32>, FormatError> {
        self.tensor(name)?.to_f32(name)
    }

    /// How the weights are stored, by type name.
    pub fn describe_types(&self) -> BTreeMap<&'static str, TypeCount> {
        let mut types: BTreeMap<&'static str, TypeCount> = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            for part in &tensor.parts {
                let count = types
                    .entry(part.ty(name).map_or("other", TensorType::name))
                    .or_default();
                count.tensors += 1;
                count.parameters += part.rows as u64 * tensor.cols() as u64;
                count.bytes += part.row_bytes(tensor.cols()) as u64 * part.rows as u64;
            }
        }
        types
    }

    /// Number of weights. A tied output layer that is stored twice counts twice.
    pub fn parameters(&self) -> u64 {
        self.tensors.values().map(|t| t.elements() as u64).sum()
    }

    /// A 128-bit hash over the settings and over name, shape, type and raw bytes of every tensor:
    /// two checkpoints with one fingerprint compute the same.
    ///
    /// # Errors
    /// [`FormatError`] when the weights cannot be read.
    pub fn fingerprint(&self) -> Result<[u8; 16], FormatError> {
        let mut hash = Xxh3Default::new();
        hash.update(self.config.to_string().as_bytes());
        for (name, tensor) in &self.tensors {
            hash.update(name.as_bytes());
            hash.update(&[0]);
            hash.update(format!("{:?}", tensor.shape).as_bytes());
            for (part, rows) in tensor.split(0..tensor.rows()) {
                hash.update(part.ty(name).map_or("other", TensorType::name).as_bytes());
                let mut reader = RowReader::new(part, tensor.cols());
                for row in rows {
                    hash.update(reader.row(row)?);
                }
            }
        }
        Ok(hash.digest128().to_le_bytes())
    }

    /// The tokenizer as the bytes of a tokenizer.json (made from the vocabulary of a GGUF file).
    ///
    /// # Errors
    /// [`FormatError`] when there is none or it is of an unsupported kind.
    pub fn tokenizer_json(&self) -> Result<Cow<'_, [u8]>, FormatError> {
        match &self.tokenizer {
            TokenizerSource::Json(json) => Ok(Cow::Borrowed(json)),
            TokenizerSource::Vocabulary(vocabulary) => Ok(Cow::Owned(from_vocabulary(vocabulary)?)),
            TokenizerSource::None => Err(FormatError::MissingFile {
                folder: self.name.clone(),
                file: "tokenizer.json".to_owned(),
                cure: "fetch it with the weights, or save the tokenizer with transformers' save_pretrained",
            }),
        }
    }

    /// Whether there is a tokenizer.
    pub fn has_tokenizer(&self) -> bool {
        !matches!(self.tokenizer, TokenizerSource::None)
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// [`FormatError`] when there is none, it is damaged or of an unsupported kind.
    pub fn tokenizer(&self) -> Result<Tokenizer, FormatError> {
        Ok(Tokenizer::from_json(&self.tokenizer_json()?)?)
    }

    /// The chat template, if the checkpoint has one, with the special tokens it may name.
    pub fn chat_template(&self) -> Option<ChatTemplate> {
        let template = self.chat_template.as_ref()?;
        Some(ChatTemplate::new(
            template.clone(),
            self.tokenizer_config.as_ref(),
        ))
    }

    /// Which tokens end a text, and the sampling that the model's authors suggest.
    pub fn generation_defaults(&self, tokenizer: Option<&Tokenizer>) -> GenerationDefaults {
        GenerationDefaults::read(
            &self.config,
            self.generation_config.as_ref(),
            self.tokenizer_config.as_ref(),
            tokenizer,
        )
    }
}
