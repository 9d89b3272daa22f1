//! The `sillage` command line: one file a subcommand.
#![forbid(unsafe_code)]

#[macro_use]
mod console;
mod commands;
mod loading;
mod speaking;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Runs state space models, hybrids and transformers on the CPU.
///
/// A MODEL is a Hugging Face folder, a .gguf file, or a .safetensors file made
/// by `sillage quantize`. Where none is named, `booklet` answers: a small
/// Mamba-2 model inside this program.
#[derive(Parser)]
#[command(name = "sillage", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Say(commands::say::Args),
    Clone(commands::clone::Args),
    Voices(commands::voices::Args),
    Detect(commands::detect::Args),
    Manifest(commands::manifest::Args),
    Log(commands::log::Args),
    Run(commands::run::Args),
    Serve(commands::serve::Args),
    Info(commands::info::Args),
    Quantize(commands::quantize::Args),
    Perplexity(commands::perplexity::Args),
    State(commands::state::Args),
    Bench(commands::bench::Args),
    Pull(commands::pull::Args),
    Logits(commands::logits::Args),
    Lab(Box<commands::lab::Args>),
    Train(commands::train::Args),
    Finetune(commands::train::FinetuneArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Say(args) => commands::say::run(&args),
        Command::Clone(args) => commands::clone::run(&args),
        Command::Detect(args) => commands::detect::run(&args),
        Command::Manifest(args) => commands::manifest::run(&args),
        Command::Log(args) => commands::log::run(&args),
        Command::Voices(args) => commands::voices::run(&args),
        Command::Run(args) => commands::run::run(&args),
        Command::Serve(args) => commands::serve::run(&args),
        Command::Info(args) => commands::info::run(&args),
        Command::Quantize(args) => commands::quantize::run(&args),
        Command::Perplexity(args) => commands::perplexity::run(&args),
        Command::State(args) => commands::state::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Pull(args) => commands::pull::run(&args),
        Command::Logits(args) => commands::logits::run(&args),
        Command::Lab(args) => commands::lab::run(&args),
        Command::Train(args) => commands::train::run(&args),
        Command::Finetune(args) => commands::train::finetune(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that has seen enough (`sillage run | head`) is no failure.
        Err(error) if console::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", console::explain(&error));
            ExitCode::FAILURE
        }
    }
}
