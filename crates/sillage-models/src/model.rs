//! A description with its weights.

use crate::architectures::describe;
use crate::description::Description;
use crate::error::ModelError;
use crate::stack::Stack;
use crate::tensors::Tensors;
use sillage_formats::Checkpoint;
use sillage_kernels::Linear;
use sillage_state::{Fingerprint, Layout, State, StateType};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a model is loaded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadOptions {
    /// How scans keep their state. The default is f32, as published models are run; bf16 halves the
    /// state and rounds it after every token.
    pub state: StateType,
    /// How attention keeps keys and values.
    pub kv: StateType,
    /// Tokens fed through all layers at once, at most. More share each reading of the weights; fewer
    /// need less scratch memory. Results do not depend on it.
    pub piece: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            state: StateType::F32,
            kv: StateType::F32,
            piece: 512,
        }
    }
}

/// A language model, ready to be fed. It is shared freely between threads: everything that changes is
/// in the states.
pub struct Model {
    pub(crate) description: Description,
    pub(crate) embedding: Linear,
    pub(crate) stack: Stack,
    /// `None`: the embedding.
    head: Option<Linear>,
}

/// Matrices of one storage format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightGroup {
    /// Number of matrices.
    pub matrices: usize,
    /// Elements in them.
    pub parameters: u64,
    /// Bytes they occupy in memory.
    pub bytes: u64,
}

impl Model {
    /// Describes and loads a checkpoint.
    ///
    /// # Errors
    /// Architectures and variants that are not supported, tensors that are missing, misshapen or not
    /// finite, and anything that keeps the file from being read.
    pub fn load(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Self, ModelError> {
        let shape = |name: &str| checkpoint.shape(name).map(<[usize]>::to_vec);
        let description = describe(checkpoint.config(), &shape)?;
        let tensors = Tensors::new(checkpoint);
        let d_model = description.d_model;
        let names = &description.names;
        let vocab = description.vocab;
        let embedding = tensors.matrix(&names.embedding, "the embedding", vocab, d_model)?;
        let head = match description.tied {
            true => None,
            false => Some(tensors.matrix(&names.head, "the output projection", vocab, d_model)?),
        };
        let stack = Stack::assemble(
            &description.residuals,
            d_model,
            (&names.final_norm, description.final_norm),
            &tensors,
            options,
            fingerprint(&description, checkpoint)?,
        )?;
        Ok(Model {
            description,
            embedding,
            stack,
            head,
        })
    }

    /// What the model is.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What its states are made of; tells the bytes of a state at any position.
    pub fn layout(&self) -> &Arc<Layout> {
        self.stack.layout()
    }

    /// The state before any token.
    pub fn new_state(&self) -> State {
        self.stack.new_state()
    }

    /// Number of logits, and the bound of token ids.
    pub fn vocab(&self) -> usize {
        self.description.vocab
    }

    /// Elements of all tensors; a tied embedding counts once.
    pub fn parameters(&self) -> u64 {
        let parameters = self.description.parameters();
        parameters.iter().map(|p| p.len() as u64).sum()
    }

    /// Bytes of all weights as they lie in memory.
    pub fn weight_bytes(&self) -> u64 {
        let (matrices, vectors) = self.inventory();
        matrices.iter().map(|m| m.bytes() as u64).sum::<u64>() + 4 * vectors as u64
    }

    /// Bytes of weights that one step must read, however many rows it has (the rows of the embedding
    /// that are looked up aside): all of them but an embedding that is not also the output projection.
    pub fn step_bytes(&self) -> u64 {
        let unread = if self.head.is_some() {
            self.embedding.bytes() as u64
        } else {
            0
        };
        self.weight_bytes() - unread
    }

    /// Floating-point operations that a token costs in matrices with its logits wanted, at two per
    /// multiplication; scans and attention scores come on top.
    pub fn flops_per_token(&self) -> u64 {
        let (matrices, _) = self.inventory();
        let unread = if self.head.is_some() {
            elements(&self.embedding)
        } else {
            0
        };
        2 * (matrices.iter().map(|m| elements(m)).sum::<u64>() - unread)
    }

    /// Matrices by storage format, such as `q8_0`; vectors are always f32 and not listed.
    pub fn weight_types(&self) -> BTreeMap<String, WeightGroup> {
        let mut groups = BTreeMap::new();
        for matrix in self.inventory().0 {
            let group = groups
                .entry(matrix.format_name().to_string())
                .or_insert(WeightGroup {
                    matrices: 0,
                    parameters: 0,
                    bytes: 0,
                });
            group.matrices += 1;
            group.parameters += elements(matrix);
            group.bytes += matrix.bytes() as u64;
        }
        groups
    }

    /// The projection to logits.
    pub(crate) fn head(&self) -> &Linear {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Every matrix, and the number of elements of everything else.
    fn inventory(&self) -> (Vec<&Linear>, usize) {
        let mut matrices: Vec<&Linear> = vec![&self.embedding];
        matrices.extend(&self.head);
        let mut vectors = 0;
        self.stack.inventory(&mut matrices, &mut vectors);
        (matrices, vectors)
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

fn elements(matrix: &Linear) -> u64 {
    matrix.rows() as u64 * matrix.cols() as u64
}

/// States may only meet weights that would have made them. The types in which a state is kept are part
/// of the layout's own identity.
fn fingerprint(
    description: &Description,
    checkpoint: &Checkpoint,
) -> Result<Fingerprint, ModelError> {
    let mut hasher = Fingerprint::hasher();
    hasher.update(
        serde_json::to_string(description)
            .unwrap_or_default()
            .as_bytes(),
    );
    hasher.update(&checkpoint.fingerprint()?);
    Ok(hasher.finish())
}
