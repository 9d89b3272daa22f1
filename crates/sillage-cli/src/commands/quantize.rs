//! `sillage quantize`: a model as one smaller file.

use crate::console;
use crate::loading;
use anyhow::{Context, Result, ensure};
use sillage_formats::quantize::{Policy, Target, quantize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Write a model as one file with its matrices in 16, 8 or 4 bits
///
/// What it costs is measured by `sillage perplexity` on the model before and after.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Hugging Face folder, .gguf or .safetensors file
    model: PathBuf,
    /// bf16, q8 (8.5 bits per weight) or q4 (5 bits per weight)
    #[arg(long, value_name = "TYPE")]
    to: Target,
    /// Give matrices whose name contains PART another type, e.g. embed=q8 (may be repeated)
    #[arg(long, value_name = "PART=TYPE", value_parser = parse_override)]
    keep: Vec<(String, Target)>,
    /// The file to write, e.g. model.q4.safetensors
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn parse_override(text: &str) -> Result<(String, Target), String> {
    let (part, target) = text
        .split_once('=')
        .ok_or("give PART=TYPE, e.g. embed=q8")?;
    let target = target
        .parse()
        .map_err(|e: sillage_formats::quantize::UnknownTarget| e.to_string())?;
    Ok((part.to_owned(), target))
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(
        args.out.extension().is_some_and(|e| e == "safetensors"),
        "{}: the file is a safetensors file; give it a name that ends in .safetensors",
        args.out.display()
    );
    let checkpoint = loading::open(Some(&args.model))?;
    let policy = Policy {
        target: args.to,
        overrides: args.keep.clone(),
    };
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))
        .context("cannot watch for Ctrl-C")?;
    let bar = console::progress(0, "quantising");
    let report = quantize(&checkpoint, &policy, &args.out, &mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        !interrupted.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    let report = report?;
    if args.json {
        let report = serde_json::json!({
            "file": args.out, "tensors": report.tensors,
            "source_bytes": report.source_bytes, "file_bytes": report.file_bytes,
        });
        say!("{report}");
    } else {
        say!(
            "{}: {} tensors, {} from {}",
            args.out.display(),
            report.tensors,
            console::bytes(report.file_bytes),
            console::bytes(report.source_bytes)
        );
    }
    Ok(())
}
