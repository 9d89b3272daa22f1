//! `sillage perplexity`: how well a model predicts a text.

use crate::console;
use crate::loading::{Loaded, ModelArgs};
use anyhow::{Context, Result, ensure};
use sillage_models::{Row, Wanted};
use std::path::PathBuf;

/// Measure how well a model predicts a text: bits per byte and perplexity per token
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Text to predict, UTF-8 (`-` reads standard input)
    text: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// Begin afresh every N tokens, for models trained on short contexts [default: never]
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Measure only the first N tokens
    #[arg(long, value_name = "N")]
    tokens: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Tokens per call: enough to share each reading of the weights.
const PIECE: usize = 256;

pub(crate) fn run(args: &Args) -> Result<()> {
    let text = if args.text.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).context("standard input")?
    } else {
        std::fs::read_to_string(&args.text)
            .with_context(|| format!("{}: give a UTF-8 text file", args.text.display()))?
    };
    let loaded = args.model.load()?;
    let tokenizer = loaded.checkpoint.tokenizer()?;
    let mut tokens = tokenizer.encode(&text, false)?;
    tokens.truncate(args.tokens.unwrap_or(usize::MAX));
    ensure!(
        tokens.len() >= 2,
        "the text has {} tokens; at least 2 are needed",
        tokens.len()
    );
    let context = args.context.unwrap_or(usize::MAX);
    ensure!(context >= 2, "--context {context}: give at least 2");
    let bos = loaded.checkpoint.generation_defaults(Some(&tokenizer)).bos;

    let bar = console::progress(tokens.len() as u64, "reading");
    let (mut nats, mut predicted, mut bytes) = (0.0, 0usize, 0usize);
    let stretch = context.saturating_sub(usize::from(bos.is_some())).max(1);
    for chunk in tokens.chunks(stretch) {
        // With a token to begin with, the first of the chunk is predicted too.
        let fed: Vec<u32> = bos.iter().chain(chunk).copied().collect();
        nats += loaded.surprise(&fed, &mut |n| bar.inc(n))?;
        let scored = &fed[1..];
        predicted += scored.len();
        bytes += scored
            .iter()
            .filter_map(|&t| tokenizer.token_bytes(t))
            .map(<[u8]>::len)
            .sum::<usize>();
    }
    bar.finish_and_clear();
    let bits_per_byte = nats / std::f64::consts::LN_2 / bytes.max(1) as f64;
    let perplexity = (nats / predicted.max(1) as f64).exp();
    if args.json {
        let report = serde_json::json!({
            "model": loaded.name, "tokens": predicted, "bytes": bytes,
            "bits_per_byte": bits_per_byte, "perplexity": perplexity,
        });
        say!("{report}");
    } else {
        say!(
            "{bits_per_byte:.4} bits per byte, perplexity {perplexity:.3} per token ({} tokens, {} bytes)",
            console::count(predicted as u64),
            console::count(bytes as u64)
        );
    }
    Ok(())
}

impl Loaded {
    /// Sum of -ln p of every token after the first.
    fn surprise(&self, tokens: &[u32], progress: &mut dyn FnMut(u64)) -> Result<f64> {
        let mut state = self.model.new_state();
        let vocab = self.model.vocab();
        let mut nats = 0.0;
        for start in (0..tokens.len()).step_by(PIECE) {
            let end = (start + PIECE).min(tokens.len());
            let row = Row {
                state: &mut state,
                tokens: &tokens[start..end],
                logits: Wanted::All,
            };
            let logits = self.model.forward(&self.cx, &mut [row])?;
            for (logits, &next) in logits.row(0).chunks(vocab).zip(&tokens[start + 1..]) {
                nats += surprise(logits, next);
            }
            progress((end - start) as u64);
        }
        ensure!(
            nats.is_finite(),
            "the model gave logits that are not numbers; its weights are damaged"
        );
        Ok(nats)
    }
}

/// -ln of the probability that `logits` give to `token`.
fn surprise(logits: &[f32], token: u32) -> f64 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from(l - top).exp()).sum();
    sum.ln() - f64::from(logits[token as usize] - top)
}

#[cfg(test)]
mod tests {
    #[test]
    fn surprise_is_minus_log_probability() {
        let logits = [0.0, 1.0, -1.0];
        let total: f64 = [0f64, 1.0, -1.0].iter().map(|l| l.exp()).sum();
        for (token, logit) in [(0u32, 0f64), (1, 1.0), (2, -1.0)] {
            let expected = -(logit.exp() / total).ln();
            assert!((super::surprise(&logits, token) - expected).abs() < 1e-12);
        }
    }
}
