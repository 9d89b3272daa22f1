//! `sillage log`: the record of consent and of clones.

use crate::speaking::Home;
use anyhow::{Result, bail};
use sillage_audio::log::Log;

/// Show or verify the record of consent: append-only, every line sealed with the hash of the one before
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Check that no line was changed, removed or put in
    Verify,
    /// Print the entries, one JSON object a line
    Show,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let path = Home::find()?.log();
    let log = Log::new(&path);
    match args.command {
        Command::Verify => {
            let check = log.verify()?;
            if let Some((line, fault)) = check.broken {
                bail!(
                    "{}: line {line} does not hold: {fault}; {} lines before it do",
                    path.display(),
                    check.lines
                );
            }
            let head = check.head.unwrap_or_else(|| "none".to_owned());
            say!(
                "{}: all {} lines hold; the last hash is {head}",
                path.display(),
                check.lines
            );
        }
        Command::Show => {
            for entry in log.entries()? {
                say!("{}", serde_json::to_string(&entry)?);
            }
        }
    }
    Ok(())
}
