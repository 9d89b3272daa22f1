//! `sillage run`: a model writes text.

mod chat;
mod turn;

use crate::console;
use crate::loading::{Loaded, ModelArgs};
use anyhow::{Context, Result, bail, ensure};
use sillage_engine::{Limits, PrefixCache, Reason, Request, Sampling, Scheduler};
use sillage_formats::{GenerationDefaults, Tokenizer};
use sillage_models::Model;
use sillage_server::config::parse_bytes;
use sillage_state::{Meta, Precision, Snapshot, Store, StoreOptions};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use turn::{Sink, Turn};

/// Write text that follows a prompt, or chat
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Text to continue; without it, standard input is read
    #[arg(short, long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Chat: one turn with --prompt, otherwise a line per turn from standard input
    #[arg(long)]
    chat: bool,
    /// What the chat's system message says
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    /// Most tokens to write (per turn)
    #[arg(short = 'n', long, default_value_t = 256, value_name = "N")]
    max_tokens: usize,
    /// 0 always takes the likeliest token [default: the model's own, or 0.8]
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Choose among the K likeliest tokens; 0 among all [default: the model's own, or 0]
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Choose among the likeliest tokens that together reach P [default: the model's own, or 0.95]
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Drop tokens less likely than this share of the likeliest
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,
    /// Make recent tokens less likely; 1 is off
    #[arg(long, value_name = "R")]
    repetition_penalty: Option<f32>,
    /// Start of the random sequence; the same seed writes the same text
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// End the text where this appears (may be repeated)
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Most memory the state may grow to, e.g. 2GiB or 500MB [default: 90 % of what is free]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    state_budget: Option<u64>,
    /// Save the state at the end, to go on from later
    #[arg(long, value_name = "FILE")]
    save_state: Option<PathBuf>,
    /// Go on from a saved state; the prompt is what comes next
    #[arg(long, value_name = "FILE")]
    load_state: Option<PathBuf>,
    /// Print one JSON object at the end (per turn) instead of text
    #[arg(long)]
    json: bool,
}

/// Memory for states of earlier turns.
const STORED_BYTES: u64 = 1 << 30;

/// A model at work for this command.
struct Writer<'a> {
    args: &'a Args,
    name: String,
    tokenizer: Arc<Tokenizer>,
    defaults: GenerationDefaults,
    model: Arc<Model>,
    scheduler: Scheduler<Model>,
    interrupted: Arc<AtomicBool>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    // The first Ctrl-C ends the text in good order, a second ends the program.
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .context("cannot watch for Ctrl-C")?;
    let Loaded {
        name,
        checkpoint,
        model,
        cx,
    } = args.model.load()?;
    let tokenizer = Arc::new(checkpoint.tokenizer()?);
    let defaults = checkpoint.generation_defaults(Some(&tokenizer));
    let model = Arc::new(model);
    let options = StoreOptions {
        memory_bytes: STORED_BYTES,
        ..StoreOptions::default()
    };
    let store = Store::open(Arc::clone(model.layout()), options)?;
    let prefix = PrefixCache::new(Arc::new(store), 0);
    // An attention cache that outgrows the memory is better refused than killed.
    let free = || console::available_bytes().map_or(u64::MAX, |bytes| bytes / 10 * 9);
    let limits = Limits {
        state_bytes: args.state_budget.unwrap_or_else(free),
        ..Limits::default()
    };
    let scheduler = Scheduler::new(Arc::clone(&model), Arc::new(cx), limits, Some(prefix));
    let mut writer = Writer {
        args,
        name,
        tokenizer,
        defaults,
        model,
        scheduler,
        interrupted,
    };
    if args.chat {
        let template = checkpoint.chat_template().with_context(|| {
            format!(
                "{} has no chat template: use --prompt without --chat",
                writer.name
            )
        })?;
        return chat::run(&mut writer, &template);
    }
    writer.complete()
}

impl Writer<'_> {
    /// Continues one text.
    fn complete(&mut self) -> Result<()> {
        let loaded = self.load_state()?;
        let text = match &self.args.prompt {
            Some(text) => text.clone(),
            None if loaded.is_some() && std::io::stdin().is_terminal() => String::new(),
            None if std::io::stdin().is_terminal() => {
                bail!("nothing to continue: give --prompt \"...\", or pipe text in")
            }
            None => std::io::read_to_string(std::io::stdin())
                .context("standard input: give UTF-8 text")?,
        };
        let fresh = self.tokenizer.encode(&text, loaded.is_none())?;
        let mut tokens = loaded
            .as_ref()
            .and_then(Snapshot::tokens)
            .unwrap_or_default()
            .to_vec();
        let continues = !tokens.is_empty();
        tokens.extend(fresh);
        ensure!(
            !tokens.is_empty(),
            "the prompt is empty: give at least one character to continue from"
        );
        let echo = if self.args.json {
            None
        } else {
            Some(text.as_str())
        };
        let turn = self.write(tokens, loaded, continues, echo)?;
        turn.check()?;
        self.save_state(&turn, None)?;
        self.report(&turn)
    }

    fn load_state(&self) -> Result<Option<Snapshot>> {
        let Some(path) = &self.args.load_state else {
            return Ok(None);
        };
        let snapshot = Snapshot::load(path, self.model.layout())?;
        ensure!(
            snapshot
                .tokens()
                .is_some_and(|t| t.len() as u64 >= snapshot.position()),
            "{}: this state was saved without its tokens, so it cannot be continued here",
            path.display()
        );
        Ok(Some(snapshot))
    }

    /// Runs one request to its end, printing as it goes (unless `--json`).
    fn write(
        &mut self,
        tokens: Vec<u32>,
        resume: Option<Snapshot>,
        continues: bool,
        echo: Option<&str>,
    ) -> Result<Turn> {
        let request = Request {
            tokens,
            resume,
            sampling: self.sampling(),
            max_tokens: self.args.max_tokens,
            end_tokens: self.defaults.eos.clone(),
            ..Request::default()
        };
        let mut sink = Sink::new(!self.args.json);
        if let Some(text) = echo {
            sink.show(text)?;
        }
        let turn = turn::run(
            &mut self.scheduler,
            request,
            Arc::clone(&self.tokenizer),
            continues,
            &self.args.stop,
            sink,
            &self.interrupted,
        )?;
        if !self.args.json {
            say!("");
        }
        Ok(turn)
    }

    fn sampling(&self) -> Sampling {
        let (args, own, usual) = (self.args, &self.defaults, Sampling::default());
        let own_k = own.top_k.map(|k| k as usize);
        let own_penalty = own.repetition_penalty;
        Sampling {
            temperature: args
                .temperature
                .or(own.temperature)
                .unwrap_or(usual.temperature),
            top_k: args.top_k.or(own_k).unwrap_or(usual.top_k),
            top_p: args.top_p.or(own.top_p).unwrap_or(usual.top_p),
            min_p: args.min_p.or(own.min_p).unwrap_or(usual.min_p),
            repetition_penalty: args
                .repetition_penalty
                .or(own_penalty)
                .unwrap_or(usual.repetition_penalty),
            seed: args.seed,
            ..usual
        }
    }

    /// Saves the state if asked to; `messages` is the chat so far.
    fn save_state(&self, turn: &Turn, messages: Option<String>) -> Result<()> {
        let Some(path) = &self.args.save_state else {
            return Ok(());
        };
        let snapshot = turn
            .finished
            .state
            .clone()
            .context("there is no state to save: nothing was read")?;
        let tokens = snapshot.tokens().unwrap_or_default().to_vec();
        let mut meta = Meta::default()
            .with_tokens(tokens)
            .with("model", self.name.clone());
        if let Some(messages) = messages {
            meta = meta.with(chat::META_MESSAGES, messages);
        }
        let saved = snapshot.with_meta(meta).save(path, Precision::Exact)?;
        eprintln!(
            "state saved: {} ({})",
            path.display(),
            console::bytes(saved.bytes)
        );
        Ok(())
    }

    /// The figures: one line for people, one object for machines.
    fn report(&self, turn: &Turn) -> Result<()> {
        let state = turn.finished.state.as_ref();
        let bytes = state.map_or(0, Snapshot::bytes);
        let f = &turn.finished;
        if self.args.json {
            let report = serde_json::json!({
                "model": self.name,
                "text": turn.text,
                "tokens": turn.written,
                "end": turn.end(),
                "prompt_tokens": f.read + f.reused,
                "prompt_tokens_reused": f.reused,
                "first_token_ms": turn.first_token * 1000.0,
                "prefill_tps": turn.prefill_tps(),
                "decode_tps": turn.decode_tps(),
                "state_bytes": bytes,
                "position": state.map_or(0, Snapshot::position),
            });
            say!("{report}");
        } else {
            eprintln!(
                "[read {} tokens at {:.0}/s{}, wrote {} at {:.0}/s, state {}]",
                f.read,
                turn.prefill_tps(),
                if f.reused > 0 {
                    format!(" (and {} from memory)", f.reused)
                } else {
                    String::new()
                },
                f.written,
                turn.decode_tps(),
                console::bytes(bytes),
            );
        }
        std::io::stdout().flush()?;
        Ok(())
    }
}

impl Turn {
    /// Raises what ended the turn, if that was a failure.
    fn check(&self) -> Result<()> {
        match &self.finished.reason {
            Reason::Failed(error) => Err(error.clone().into()),
            _ => Ok(()),
        }
    }

    /// Why the text ended, in one word.
    fn end(&self) -> &'static str {
        match self.finished.reason {
            Reason::End => "end",
            Reason::Stopped => "stop",
            Reason::Length => "length",
            Reason::Cancelled => "interrupted",
            _ => "error",
        }
    }
}
