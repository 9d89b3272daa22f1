//! Text to train on where there are no books: what booklet, the model that ships, makes up.
//!
//! It is plainer than any book, so its losses are lower and say nothing beside those of books; sides
//! that are trained on it can still be compared with each other. The points name it.

use crate::error::LabError;
use crate::error::failed;
use crate::measures::quant;
use crate::plan::Context;
use sillage_engine::{Sampler, Sampling};
use sillage_formats::Checkpoint;
use sillage_models::{LoadOptions, Model, Row, Wanted};
use sillage_state::State;
use std::fmt::Write;
use std::path::PathBuf;

/// Texts that are written at once, and how many of them are kept for tests.
const TEXTS: (usize, usize) = (36, 4);
/// Tokens of each.
const TOKENS: usize = 3072;

/// Files with the texts to train on and to test on, written where they are not there yet.
///
/// # Errors
/// If booklet is not found, or the work folder cannot be written.
pub(super) fn texts(ctx: &Context) -> Result<[Vec<PathBuf>; 2], LabError> {
    let file = |part: &str| ctx.work.join(format!("written.{part}.jsonl"));
    let (train, valid) = (file("train"), file("valid"));
    if !(train.is_file() && valid.is_file()) {
        let texts = write(ctx, TEXTS.0, TOKENS)?;
        let (first, last) = texts.split_at(TEXTS.0 - TEXTS.1);
        for (path, texts) in [(&train, first), (&valid, last)] {
            let lines = texts.iter().fold(String::new(), |mut lines, text| {
                let _ = writeln!(lines, "{}", serde_json::json!({ "text": text }));
                lines
            });
            sillage_train::files::write(path, lines.as_bytes())?;
        }
    }
    Ok([vec![train], vec![valid]])
}

/// `count` texts of `tokens` tokens each.
fn write(ctx: &Context, count: usize, tokens: usize) -> Result<Vec<String>, LabError> {
    let path = quant::booklet().map_err(failed)?;
    let checkpoint = Checkpoint::open(&path).map_err(failed)?;
    let model = Model::load(&checkpoint, &LoadOptions::default()).map_err(failed)?;
    let tokenizer = checkpoint.tokenizer().map_err(failed)?;
    let defaults = checkpoint.generation_defaults(Some(&tokenizer));
    let begin = tokenizer.encode("The ", false).map_err(failed)?;
    let begin: Vec<u32> = defaults.bos.into_iter().chain(begin).collect();
    let mut samplers = Vec::with_capacity(count);
    for i in 0..count {
        let sampling = Sampling {
            temperature: 1.0,
            top_p: 1.0,
            seed: ctx.seed_for(&format!("written {i}")),
            ..Sampling::default()
        };
        samplers.push(Sampler::new(sampling).map_err(failed)?);
    }
    let mut states: Vec<State> = samplers.iter().map(|_| model.new_state()).collect();
    let mut texts = vec![begin; count];
    let mut fed = 0;
    while texts[0].len() < tokens {
        (ctx.progress)(
            texts[0].len() as f64 / tokens as f64,
            "booklet writes a text to learn from",
        );
        let mut rows: Vec<Row<'_>> = states
            .iter_mut()
            .zip(&texts)
            .map(|(state, text)| Row {
                state,
                tokens: &text[fed..],
                logits: Wanted::Last,
            })
            .collect();
        let logits = model.forward(&ctx.cx, &mut rows).map_err(failed)?;
        fed = texts[0].len();
        for (row, (text, sampler)) in texts.iter_mut().zip(&mut samplers).enumerate() {
            let mut logits = logits.last(row).to_vec();
            for &end in &defaults.eos {
                logits[end as usize] = f32::NEG_INFINITY;
            }
            let next = sampler.sample(&logits, text).map_err(failed)?;
            text.push(next);
        }
    }
    Ok(texts
        .iter()
        .map(|text| tokenizer.decode(text, false))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measures::scaling::tests::context;

    #[test]
    fn texts_are_words_each_its_own_and_the_same_again() {
        let (context, _work) = context();
        let texts = write(&context, 3, 40).unwrap();
        assert_eq!(texts, write(&context, 3, 40).unwrap());
        assert!(texts[0] != texts[1] && texts[1] != texts[2]);
        for text in texts {
            assert!(text.starts_with("The ") && text.split_whitespace().count() > 10);
        }
    }
}
