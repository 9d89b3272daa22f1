//! Opening a model for a subcommand.

use anyhow::{Context, Result};
use clap::ValueEnum;
use sillage_formats::Checkpoint;
use sillage_kernels::{Compute, Isa};
use sillage_models::{LoadOptions, Model};
use sillage_state::StateType;
use std::path::{Path, PathBuf};

/// The model that ships with the program.
static BOOKLET: &[u8] = include_bytes!("../../../models/booklet/booklet.safetensors");

/// What it is called.
pub(crate) const BUILT_IN: &str = "booklet";

/// Which model, and how it computes.
#[derive(clap::Args)]
pub(crate) struct ModelArgs {
    /// Hugging Face folder, .gguf or .safetensors file [default: the built-in booklet]
    pub(crate) model: Option<PathBuf>,
    /// Threads to compute on [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// How scan states and attention caches are kept; bf16 halves them at a small loss
    #[arg(long, value_enum, default_value = "f32", value_name = "TYPE")]
    pub(crate) state: StateTypeArg,
    /// Code path to use (scalar, avx2, avx512, neon, ...) [default: the fastest]
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) isa: Option<String>,
}

/// The state types by name.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum StateTypeArg {
    F32,
    Bf16,
}

/// A model ready to run.
pub(crate) struct Loaded {
    /// What to call it: its path, or `booklet`.
    pub(crate) name: String,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) model: Model,
    pub(crate) cx: Compute,
}

impl ModelArgs {
    /// Opens the checkpoint without packing weights.
    pub(crate) fn checkpoint(&self) -> Result<Checkpoint> {
        open(self.model.as_deref())
    }

    /// Opens and packs.
    pub(crate) fn load(&self) -> Result<Loaded> {
        let cx = self.compute()?;
        let checkpoint = self.checkpoint()?;
        let state = match self.state {
            StateTypeArg::F32 => StateType::F32,
            StateTypeArg::Bf16 => StateType::Bf16,
        };
        let mut options = LoadOptions::default();
        (options.state, options.kv) = (state, state);
        let model = Model::load(&checkpoint, &options)?;
        let name = match self.model {
            Some(_) => checkpoint.name().to_owned(),
            None => BUILT_IN.to_owned(),
        };
        Ok(Loaded {
            name,
            checkpoint,
            model,
            cx,
        })
    }

    fn compute(&self) -> Result<Compute> {
        let threads = self.threads.unwrap_or_else(default_threads);
        anyhow::ensure!(
            (1..=1024).contains(&threads),
            "--threads {threads}: give a number from 1 to 1024"
        );
        let isa = match &self.isa {
            None => Isa::best(),
            Some(name) => Isa::named(name).with_context(|| {
                let names: Vec<_> = Isa::available().into_iter().map(Isa::name).collect();
                format!("--isa {name}: this CPU has {}", names.join(", "))
            })?,
        };
        Ok(Compute::with_isa(isa, threads))
    }
}

fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Opens the checkpoint at `path`, or the one that ships with the program.
pub(crate) fn open(path: Option<&Path>) -> Result<Checkpoint> {
    Ok(match path {
        Some(path) => Checkpoint::open(path)?,
        None => Checkpoint::from_bytes(BOOKLET).context("the built-in model")?,
    })
}
