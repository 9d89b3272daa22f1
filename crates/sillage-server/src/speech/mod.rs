//! Speech for many at once: threads that move streams on, and the handles that
//! protocols hold.
//!
//! A stream is given text in pieces and gives sound in pieces. Each worker
//! thread moves some of its streams on together, those that would fall silent
//! soonest first; by law 1 nobody hears who else is speaking. What a slow client
//! has not taken yet is bounded: a full `Outbox` stops its stream, not the
//! others.

mod outbox;
mod worker;

pub use outbox::Event;

use crate::metrics::Metrics;
use outbox::Outbox;
use sillage_text::FrontEnd;
use sillage_voice::{Alphabet, Speaker, SpeechOptions, VoiceModel};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};
use worker::{Command, Worker};

/// Text is read in pieces of about this many bytes, so that a long one does not
/// hold up the other streams.
const PIECE: usize = 512;

/// What a new stream needs.
pub struct Start {
    /// Who speaks.
    pub speaker: Arc<Speaker>,
    /// How text is read.
    pub front: FrontEnd,
    /// How it is spoken.
    pub options: SpeechOptions,
    /// Whether times of words and phonemes are told.
    pub timings: bool,
}

/// The speaking threads.
pub struct SpeechService {
    workers: Vec<Handle>,
    model: Arc<VoiceModel>,
}

struct Handle {
    commands: Sender<Command>,
    /// Streams that it has.
    streams: Arc<AtomicUsize>,
}

impl SpeechService {
    /// Starts `threads` threads that speak with `model`. A stream whose sound
    /// nobody takes for `stall` is ended.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn start(
        model: Arc<VoiceModel>,
        threads: usize,
        stall: Duration,
        metrics: &Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let alphabet = Alphabet::of(&model);
        let mut workers = Vec::new();
        for number in 0..threads.max(1) {
            let (commands, orders) = channel();
            let streams = Arc::new(AtomicUsize::new(0));
            let worker = Worker::new(
                Arc::clone(&model),
                Arc::clone(&alphabet),
                orders,
                stall,
                Arc::clone(metrics),
                Arc::clone(&streams),
            );
            std::thread::Builder::new()
                .name(format!("speech-{number}"))
                .spawn(move || worker.run())?;
            workers.push(Handle { commands, streams });
        }
        Ok(Self { workers, model })
    }

    /// The voice model.
    #[must_use]
    pub fn model(&self) -> &Arc<VoiceModel> {
        &self.model
    }

    /// A stream without text yet, on the thread that has the fewest.
    #[must_use]
    pub fn begin(&self, start: Start) -> Stream {
        static IDS: AtomicUsize = AtomicUsize::new(1);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let outbox = Arc::new(Outbox::default());
        let least = |h: &&Handle| h.streams.load(Ordering::Relaxed);
        // There is at least one worker, made above.
        let worker = self.workers.iter().min_by_key(least);
        let commands = worker.map(|worker| {
            worker.streams.fetch_add(1, Ordering::Relaxed);
            worker.commands.clone()
        });
        let stream = Stream {
            id,
            commands,
            outbox: Arc::clone(&outbox),
        };
        stream.send(Command::Begin {
            id,
            start: Box::new(start),
            outbox,
        });
        stream
    }

    /// Streams now.
    #[must_use]
    pub fn streams(&self) -> usize {
        let count = |h: &Handle| h.streams.load(Ordering::Relaxed);
        self.workers.iter().map(count).sum()
    }
}

/// A stream of speech. Dropping it cancels what is not yet spoken.
pub struct Stream {
    id: usize,
    commands: Option<Sender<Command>>,
    outbox: Arc<Outbox>,
}

impl Stream {
    fn send(&self, command: Command) {
        let sent = self.commands.as_ref().map(|c| c.send(command).is_ok());
        if sent != Some(true) {
            self.outbox.put(Event::Failed(crate::Fault::internal(
                "a speaking thread has ended",
            )));
        }
    }

    /// Adds text.
    pub fn push(&self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let mut end = rest.len().min(PIECE);
            while !rest.is_char_boundary(end) {
                end += 1;
            }
            let (head, tail) = rest.split_at(end);
            self.send(Command::Text {
                id: self.id,
                text: head.to_owned(),
                at: Instant::now(),
            });
            rest = tail;
        }
    }

    /// Has all text so far spoken as if it ended here, and [`Event::Flushed`]
    /// told when it is.
    pub fn flush(&self, number: u32) {
        self.send(Command::Flush {
            id: self.id,
            number,
            at: Instant::now(),
        });
    }

    /// Has text that waits for its sentence's end spoken as it is.
    pub fn settle(&self) {
        self.send(Command::Settle {
            id: self.id,
            at: Instant::now(),
        });
    }

    /// Says that no more text will come.
    pub fn finish(&self) {
        self.send(Command::Finish {
            id: self.id,
            at: Instant::now(),
        });
    }

    /// What comes next; `None` after [`Event::Done`] or [`Event::Failed`].
    pub async fn next(&self) -> Option<Event> {
        self.outbox.take().await
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.outbox.close();
        self.send(Command::Cancel { id: self.id });
    }
}
