//! Prose as token ids.

use super::TaskError;
use std::path::Path;
use std::sync::Arc;

/// The token ids of a corpus, shared by the tasks that read it.
pub type Corpus = Arc<[u32]>;

/// Reads a file of little-endian 16-bit token ids.
pub(super) fn read(path: &Path) -> Result<Corpus, TaskError> {
    let bytes = std::fs::read(path).map_err(|source| TaskError::Corpus {
        path: path.to_owned(),
        source,
    })?;
    if !bytes.len().is_multiple_of(2) {
        return Err(TaskError::CorpusShape {
            path: path.to_owned(),
            bytes: bytes.len(),
        });
    }
    let (pairs, _) = bytes.as_chunks::<2>();
    let token = |pair: &[u8; 2]| u32::from(u16::from_le_bytes(*pair));
    Ok(pairs.iter().map(token).collect())
}

/// Holds a corpus to the length that is read of it and to a vocabulary.
pub(super) fn check(
    task: &'static str,
    prose: &[u32],
    vocab: usize,
    needs: usize,
) -> Result<(), TaskError> {
    if prose.len() < needs {
        return Err(TaskError::CorpusTooShort {
            task,
            found: prose.len(),
            needs,
        });
    }
    check_tokens(task, "corpus", prose, vocab)
}

/// Holds tokens of a setting to a vocabulary.
pub(super) fn check_tokens(
    task: &'static str,
    field: &'static str,
    tokens: &[u32],
    vocab: usize,
) -> Result<(), TaskError> {
    match tokens.iter().find(|&&token| token as usize >= vocab) {
        Some(&token) => Err(TaskError::TokenOutsideVocabulary {
            task,
            field,
            token,
            vocab,
        }),
        None => Ok(()),
    }
}
