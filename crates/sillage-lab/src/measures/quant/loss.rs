//! Loss on a text in bits per byte, comparable between vocabularies.

use crate::LabError;
use crate::error::failed;
use crate::plan::Context;
use crate::shapes::in_repository;
use sillage_formats::Checkpoint;
use sillage_models::{Model, Row, Wanted};
use std::path::PathBuf;

/// Names the text.
const TEXT: &str = "SILLAGE_LAB_TEXT";
/// The text that lies in the repository.
const PROSE: &str = "benches/prose.txt";
/// Tokens of one call.
const PIECE: usize = 256;

/// What was predicted.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) name: String,
    pub(super) tokens: usize,
    pub(super) bytes: usize,
}

/// The loss of a model, or why there is none.
pub(super) type Loss = Result<(f64, Text), String>;

/// Bits per byte of the first `most` tokens of the text.
pub(super) fn of(
    context: &Context,
    model: &Model,
    checkpoint: &Checkpoint,
    most: usize,
) -> Result<Loss, LabError> {
    let path = match std::env::var_os(TEXT).filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => match in_repository(PROSE) {
            Some(path) => path,
            None => return Ok(Err(format!("{PROSE} was not found; set {TEXT} to a text"))),
        },
    };
    let text = std::fs::read_to_string(&path).map_err(|e| LabError::io(&path, e))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let tokenizer = match checkpoint.tokenizer() {
        Ok(tokenizer) => tokenizer,
        Err(error) => return Ok(Err(error.to_string())),
    };
    // Words of prose have more than one byte a token: this is enough of it.
    let text: String = text.chars().take(most.saturating_mul(8)).collect();
    let mut tokens = tokenizer.encode(&text, false).map_err(failed)?;
    tokens.truncate(most);
    let first = checkpoint.generation_defaults(Some(&tokenizer)).bos;
    let fed: Vec<u32> = first.iter().chain(&tokens).copied().collect();
    let Some((_, scored)) = fed.split_first().filter(|(_, scored)| !scored.is_empty()) else {
        return Ok(Err(format!("{name} has fewer than two tokens")));
    };
    let bytes = scored
        .iter()
        .filter_map(|&token| tokenizer.token_bytes(token))
        .map(<[u8]>::len)
        .sum::<usize>();
    let nats = surprise(context, model, &fed)?;
    let bits = nats / std::f64::consts::LN_2 / bytes.max(1) as f64;
    let text = Text {
        name: name.into_owned(),
        tokens: scored.len(),
        bytes,
    };
    Ok(Ok((bits, text)))
}

/// Sum of -ln p of every token after the first.
fn surprise(context: &Context, model: &Model, tokens: &[u32]) -> Result<f64, LabError> {
    let mut state = model.new_state();
    let last = tokens.len() - 1;
    let mut nats = 0.0;
    for start in (0..last).step_by(PIECE) {
        let end = (start + PIECE).min(last);
        let row = Row {
            state: &mut state,
            tokens: &tokens[start..end],
            logits: Wanted::All,
        };
        let logits = model.forward(&context.cx, &mut [row]).map_err(failed)?;
        let next = &tokens[start + 1..end + 1];
        for (logits, &token) in logits.row(0).chunks_exact(model.vocab()).zip(next) {
            nats -= log_probability(logits, token);
        }
    }
    Ok(nats)
}

/// ln p of a token.
pub(crate) fn log_probability(logits: &[f32], token: u32) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits
        .iter()
        .map(|&logit| f64::from(logit - largest).exp())
        .sum();
    let logit = logits.get(token as usize).copied();
    f64::from(logit.unwrap_or(f32::NEG_INFINITY) - largest) - sum.ln()
}
