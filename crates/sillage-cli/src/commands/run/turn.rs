//! One request from its first step to its last, with what it wrote and how long
//! that took.

use anyhow::{Context, Result};
use sillage_engine::{Finished, Listener, Request, Scheduler, TextStream};
use sillage_formats::Tokenizer;
use sillage_models::Model;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Where text goes as it is written.
pub(super) struct Sink {
    visible: bool,
    text: String,
    broken: Option<std::io::Error>,
}

impl Sink {
    /// `visible` text goes to standard output; all text is remembered.
    pub(super) fn new(visible: bool) -> Self {
        Self {
            visible,
            text: String::new(),
            broken: None,
        }
    }

    /// Shows text that is not part of what was written.
    pub(super) fn show(&mut self, text: &str) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn push(&mut self, text: &str) -> ControlFlow<()> {
        if text.is_empty() {
            return ControlFlow::Continue(());
        }
        self.text.push_str(text);
        if self.visible
            && let Err(error) = self.show(text)
        {
            self.broken = Some(error);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// What is known of a request while it runs and after.
struct Progress {
    sink: Sink,
    written: Vec<u32>,
    first: Option<Instant>,
    last: Option<Instant>,
    finished: Option<Finished>,
}

/// Shows text as it is written.
struct Typist {
    stream: TextStream,
    progress: Arc<Mutex<Progress>>,
}

impl Listener for Typist {
    fn token(&mut self, token: u32) -> ControlFlow<()> {
        let passed = self.stream.push(token);
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        progress.first.get_or_insert(now);
        progress.last = Some(now);
        progress.written.push(token);
        progress.sink.push(&passed.text)?;
        if passed.stopped {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn finished(&mut self, finished: Finished) {
        let rest = self.stream.finish();
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        // An output that fails here failed before, or has nobody left to tell.
        let _ = progress.sink.push(&rest);
        progress.finished = Some(finished);
    }
}

/// A request that has run.
pub(super) struct Turn {
    /// The text written, stop strings cut off.
    pub(super) text: String,
    pub(super) written: Vec<u32>,
    pub(super) finished: Finished,
    /// Seconds until the first token was known.
    pub(super) first_token: f64,
    /// Seconds from the first token to the last.
    writing: f64,
}

impl Turn {
    pub(super) fn prefill_tps(&self) -> f64 {
        self.finished.read as f64 / self.first_token.max(1e-9)
    }

    /// Tokens per second after the first, which belongs to the reading.
    pub(super) fn decode_tps(&self) -> f64 {
        match self.finished.written {
            0 | 1 => 0.0,
            n => (n - 1) as f64 / self.writing.max(1e-9),
        }
    }
}

/// Runs `request` alone on `scheduler` until it ends or `interrupted` is set.
pub(super) fn run(
    scheduler: &mut Scheduler<Model>,
    request: Request,
    tokenizer: Arc<Tokenizer>,
    continues: bool,
    stops: &[String],
    sink: Sink,
    interrupted: &AtomicBool,
) -> Result<Turn> {
    let empty = Progress {
        sink,
        written: Vec::new(),
        first: None,
        last: None,
        finished: None,
    };
    let progress = Arc::new(Mutex::new(empty));
    let typist = Typist {
        stream: TextStream::new(tokenizer, continues, stops.iter().cloned()),
        progress: Arc::clone(&progress),
    };
    let total = request.tokens.len() as u64;
    let bar = if total > 2_000 {
        crate::console::progress(total, "reading")
    } else {
        indicatif::ProgressBar::hidden()
    };
    let start = Instant::now();
    let cancel = scheduler.submit(request, Box::new(typist));
    while !scheduler.is_idle() {
        if interrupted.load(Ordering::Relaxed) {
            cancel.cancel();
        }
        scheduler.step();
        let counters = scheduler.counters();
        bar.set_position(counters.fed + counters.reused);
        if bar.position() >= total {
            bar.finish_and_clear();
        }
    }
    bar.finish_and_clear();
    let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = progress.sink.broken.take() {
        return Err(error.into());
    }
    let finished = progress
        .finished
        .take()
        .context("the scheduler lost a session")?;
    let seconds = |at: Option<Instant>| at.map_or(start.elapsed(), |at| at - start).as_secs_f64();
    let (first_token, last) = (seconds(progress.first), seconds(progress.last));
    Ok(Turn {
        text: std::mem::take(&mut progress.sink.text),
        written: std::mem::take(&mut progress.written),
        finished,
        first_token,
        writing: last - first_token,
    })
}
