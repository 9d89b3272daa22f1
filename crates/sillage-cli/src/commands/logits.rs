//! `sillage logits`: raw logits to a file, to compare engines with.

use crate::console;
use crate::loading::ModelArgs;
use anyhow::{Context, Result};
use safetensors::tensor::{Dtype, TensorView};
use sillage_models::{Row, Wanted};
use std::path::PathBuf;

/// Write the logits of every position of a token sequence (for comparing engines)
#[derive(clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// JSON array of token ids
    #[arg(long, value_name = "FILE")]
    tokens_file: PathBuf,
    /// Safetensors file to write: `logits`, f32, [tokens, vocabulary]
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let text = std::fs::read_to_string(&args.tokens_file)
        .with_context(|| args.tokens_file.display().to_string())?;
    let tokens: Vec<u32> = serde_json::from_str(&text).with_context(|| {
        format!(
            "{}: a JSON array of ids is needed",
            args.tokens_file.display()
        )
    })?;
    let loaded = args.model.load()?;
    let mut state = loaded.model.new_state();
    let bar = console::progress(tokens.len() as u64, "reading");
    let mut bytes = Vec::with_capacity(tokens.len() * loaded.model.vocab() * 4);
    for piece in tokens.chunks(128) {
        let row = Row {
            state: &mut state,
            tokens: piece,
            logits: Wanted::All,
        };
        let logits = loaded.model.forward(&loaded.cx, &mut [row])?;
        bytes.extend(logits.row(0).iter().flat_map(|l| l.to_le_bytes()));
        bar.inc(piece.len() as u64);
    }
    bar.finish_and_clear();
    let view = TensorView::new(Dtype::F32, vec![tokens.len(), loaded.model.vocab()], &bytes)?;
    let file = safetensors::serialize([("logits", view)], None)?;
    std::fs::write(&args.out, file).with_context(|| args.out.display().to_string())?;
    Ok(())
}
