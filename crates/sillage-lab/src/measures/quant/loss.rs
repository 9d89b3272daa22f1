//! Loss on texts in bits per byte, comparable between vocabularies.

use crate::LabError;
use crate::error::failed;
use crate::measures::learning::{books, longest};
use crate::plan::Context;
use crate::shapes::in_repository;
use sillage_formats::Checkpoint;
use sillage_models::{Model, Row, Wanted};
use std::path::PathBuf;

/// Names the text.
const TEXT: &str = "SILLAGE_LAB_TEXT";
/// The text that lies in the repository.
const PROSE: &str = "benches/prose.txt";
/// Books of which the beginnings are read.
const DOCUMENTS: usize = 12;
/// Tokens of one call.
const PIECE: usize = 256;

/// What was predicted.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) name: String,
    pub(super) tokens: usize,
    pub(super) bytes: usize,
}

/// Bits per byte of a model, text by text, or why there are none.
pub(super) type Loss = Result<(Vec<f64>, Text), String>;

/// What is read, and its file.
pub(super) type Texts = (Vec<String>, PathBuf);

/// The text that [`TEXT`] names, else books that nobody trained on, else what lies in the repository; or
/// why there is none.
pub(super) fn texts() -> Result<Result<Texts, String>, LabError> {
    let named = std::env::var_os(TEXT).filter(|path| !path.is_empty());
    if let (None, Some(file)) = (&named, books("valid")) {
        return Ok(Ok((longest(std::slice::from_ref(&file), DOCUMENTS)?, file)));
    }
    let Some(path) = named.map(PathBuf::from).or_else(|| in_repository(PROSE)) else {
        return Ok(Err(format!("{PROSE} was not found; set {TEXT} to a text")));
    };
    let text = std::fs::read_to_string(&path).map_err(|e| LabError::io(&path, e))?;
    Ok(Ok((vec![text], path)))
}

/// Bits per byte of the beginnings of the texts, `most` tokens in all.
pub(super) fn of(
    context: &Context,
    model: &Model,
    checkpoint: &Checkpoint,
    (texts, path): &Texts,
    most: usize,
) -> Result<Loss, LabError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let tokenizer = match checkpoint.tokenizer() {
        Ok(tokenizer) => tokenizer,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let first = checkpoint.generation_defaults(Some(&tokenizer)).bos;
    let most = most / texts.len().max(1);
    let (mut samples, mut tokens, mut bytes) = (Vec::new(), 0, 0);
    for text in texts {
        // Words of prose have more than one byte a token: this is enough of it.
        let text: String = text.chars().take(most.saturating_mul(8)).collect();
        let mut own = tokenizer.encode(&text, false).map_err(failed)?;
        own.truncate(most);
        let fed: Vec<u32> = first.iter().chain(&own).copied().collect();
        let Some((_, scored)) = fed.split_first().filter(|(_, scored)| !scored.is_empty()) else {
            continue;
        };
        let long = scored
            .iter()
            .filter_map(|&token| tokenizer.token_bytes(token));
        let long = long.map(<[u8]>::len).sum::<usize>().max(1);
        let nats = surprise(context, model, &fed)?;
        samples.push(nats / std::f64::consts::LN_2 / long as f64);
        (tokens, bytes) = (tokens + scored.len(), bytes + long);
    }
    if samples.is_empty() {
        return Ok(Err(format!("{name} has fewer than two tokens")));
    }
    let name = match texts.len() {
        1 => name.into_owned(),
        count => format!("{name}, {count} documents"),
    };
    let text = Text {
        name,
        tokens,
        bytes,
    };
    Ok(Ok((samples, text)))
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
