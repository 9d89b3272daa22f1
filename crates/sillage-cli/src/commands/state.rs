//! `sillage state`: what is in a state file, and is it whole.

use crate::console;
use anyhow::Result;
use clap::Subcommand;
use sillage_state::{FileInfo, codec};
use std::path::PathBuf;

/// Look at saved states
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what a state file says about itself
    Inspect(FileArgs),
    /// Read a state file to the end and check its checksum
    Verify(FileArgs),
}

#[derive(clap::Args)]
struct FileArgs {
    /// The state file
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Inspect(args) => show(args, &codec::inspect(&args.file)?),
        Command::Verify(args) => {
            let info = codec::verify(&args.file)?;
            if args.json {
                return show(args, &info);
            }
            say!(
                "{} is whole: {} read, checksum right",
                args.file.display(),
                console::bytes(info.file_bytes)
            );
            Ok(())
        }
    }
}

fn show(args: &FileArgs, info: &FileInfo) -> Result<()> {
    if args.json {
        say!("{}", serde_json::to_string(info)?);
        return Ok(());
    }
    say!(
        "{}: state file, version {}",
        args.file.display(),
        info.version
    );
    say!("model fingerprint: {}", info.model);
    say!("tokens read: {}", console::count(info.position));
    match info.tokens {
        Some(n) => say!("history: {} tokens noted", console::count(n)),
        None => say!("history: not noted"),
    }
    let precision = if info.lossy {
        "lossy (stored as bf16)"
    } else {
        "exact"
    };
    say!("precision: {precision}");
    say!(
        "size: {} ({} slots, {})",
        console::bytes(info.file_bytes),
        info.slots.len(),
        console::bytes(info.payload_bytes)
    );
    // Messages of a chat may hold line breaks and more; show them as one line.
    for (name, value) in &info.meta {
        say!("{name}: {}", value.escape_debug());
    }
    Ok(())
}
