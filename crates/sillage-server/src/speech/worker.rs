//! One thread that moves streams on.

use super::Start;
use super::outbox::{Event, Outbox};
use crate::fault::{Fault, Kind};
use crate::metrics::Metrics;
use sillage_kernels::Compute;
use sillage_voice::{Alphabet, SAMPLE_RATE, Speech, SpeechError, Utterance, VoiceModel};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Streams that are moved on together.
const TOGETHER: usize = 8;
/// A stream without sound gives way to those that would fall silent within so
/// many seconds.
const SILENT_SLACK: f64 = 0.04;
/// How long a thread sleeps that has streams and nothing to do for any of them.
const NAP: Duration = Duration::from_millis(10);

/// What a worker is told.
pub(super) enum Command {
    Begin {
        id: usize,
        start: Box<Start>,
        outbox: Arc<Outbox>,
    },
    Text {
        id: usize,
        text: String,
        at: Instant,
    },
    Flush {
        id: usize,
        number: u32,
        at: Instant,
    },
    Settle {
        id: usize,
        at: Instant,
    },
    Finish {
        id: usize,
        at: Instant,
    },
    Cancel {
        id: usize,
    },
}

/// What a stream has still to read.
enum Piece {
    Text(String),
    Flush(u32),
    Settle,
    Finish,
}

struct Stream {
    id: usize,
    speech: Speech,
    outbox: Arc<Outbox>,
    pieces: VecDeque<Piece>,
    /// Flushes whose sound is not all made.
    flushing: Option<u32>,
    timings: bool,
    /// When it was last told something, until there is sound.
    asked: Option<Instant>,
    /// When its sound would have begun, played without a break to now.
    playing: Option<Instant>,
    ended: bool,
}

pub(super) struct Worker {
    model: Arc<VoiceModel>,
    alphabet: Arc<Alphabet>,
    orders: Receiver<Command>,
    stall: Duration,
    metrics: Arc<Metrics>,
    count: Arc<AtomicUsize>,
    streams: Vec<Stream>,
}

impl Worker {
    pub(super) fn new(
        model: Arc<VoiceModel>,
        alphabet: Arc<Alphabet>,
        orders: Receiver<Command>,
        stall: Duration,
        metrics: Arc<Metrics>,
        count: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            model,
            alphabet,
            orders,
            stall,
            metrics,
            count,
            streams: Vec::new(),
        }
    }

    /// Works until nobody can tell it anything any more.
    pub(super) fn run(mut self) {
        let cx = Compute::new(1);
        while self.listen() {
            self.step(&cx);
            self.sweep();
        }
    }

    /// Takes in all orders; waits for one if there is nothing to do.
    fn listen(&mut self) -> bool {
        let mut wait = !self.streams.iter().any(Stream::can_move);
        loop {
            let order = if wait {
                // Streams whose clients are slow are looked at again soon.
                let patience = if self.streams.is_empty() {
                    Duration::from_secs(3600)
                } else {
                    NAP
                };
                match self.orders.recv_timeout(patience) {
                    Ok(order) => Some(order),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return false,
                }
            } else {
                self.orders.try_recv().ok()
            };
            wait = false;
            match order {
                Some(order) => self.obey(order),
                None => return true,
            }
        }
    }

    fn obey(&mut self, order: Command) {
        match order {
            Command::Begin { id, start, outbox } => {
                let Start {
                    speaker,
                    front,
                    options,
                    timings,
                } = *start;
                self.metrics.voice_streams.inc();
                self.streams.push(Stream {
                    id,
                    speech: Speech::new(&self.alphabet, &front, &speaker, &options),
                    outbox,
                    pieces: VecDeque::new(),
                    flushing: None,
                    timings,
                    asked: None,
                    playing: None,
                    ended: false,
                });
            }
            Command::Text { id, text, at } => self.hand(id, Piece::Text(text), at),
            Command::Flush { id, number, at } => self.hand(id, Piece::Flush(number), at),
            Command::Settle { id, at } => self.hand(id, Piece::Settle, at),
            Command::Finish { id, at } => self.hand(id, Piece::Finish, at),
            Command::Cancel { id } => {
                if let Some(stream) = self.streams.iter_mut().find(|s| s.id == id) {
                    stream.ended = true;
                }
            }
        }
    }

    fn hand(&mut self, id: usize, piece: Piece, at: Instant) {
        // A stream that has failed is no longer there, and its client knows.
        if let Some(stream) = self.streams.iter_mut().find(|s| s.id == id) {
            stream.pieces.push_back(piece);
            if stream.playing.is_none() {
                stream.asked = Some(at);
            }
        }
    }

    /// Moves those on that would fall silent soonest.
    fn step(&mut self, cx: &Compute) {
        let now = Instant::now();
        for stream in &mut self.streams {
            stream.read(now);
        }
        let mut live: Vec<&mut Stream> = self
            .streams
            .iter_mut()
            .filter(|s| !s.ended && s.can_sound() && s.outbox.has_room())
            .collect();
        if live.is_empty() {
            return;
        }
        live.sort_by(|a, b| a.slack(now).total_cmp(&b.slack(now)));
        live.truncate(TOGETHER);
        let steps = live.iter().map(|s| s.speech.utterance.next_chunk()).min();
        let mut moved: Vec<&mut Utterance> =
            live.iter_mut().map(|s| &mut s.speech.utterance).collect();
        let outcome = self.model.advance(cx, &mut moved, steps.unwrap_or(1));
        if let Err(error) = outcome {
            // Whoever it is has no more sound; the others were moved on.
            tracing::error!("speaking failed: {error}");
        }
        let took = now.elapsed();
        for stream in live {
            stream.tell(took, &self.metrics);
        }
    }

    /// Lets go of those that are over.
    fn sweep(&mut self) {
        let (stall, before) = (self.stall, self.streams.len());
        self.streams.retain_mut(|stream| {
            if stream.outbox.stalled().is_some_and(|long| long > stall) {
                stream.fail(Fault::new(
                    Kind::Timeout,
                    "client_stalled",
                    "the sound was not taken in time: read faster, or ask for less at once",
                ));
            }
            !stream.ended && !stream.outbox.is_closed()
        });
        let gone = before - self.streams.len();
        self.count.fetch_sub(gone, Ordering::Relaxed);
        self.metrics.voice_streams.dec_by(gone as i64);
    }
}

impl Stream {
    /// Whether there is sound to be made now.
    fn can_sound(&self) -> bool {
        let utterance = &self.speech.utterance;
        !utterance.is_done() && !utterance.is_waiting()
    }

    /// Whether a step would do something for it.
    fn can_move(&self) -> bool {
        let waits = self.speech.utterance.is_waiting();
        let reads = waits && (!self.pieces.is_empty() || self.flushing.is_some());
        self.ended || reads || (self.can_sound() && self.outbox.has_room())
    }

    /// Seconds until it falls silent.
    fn slack(&self, now: Instant) -> f64 {
        match self.playing {
            Some(began) => self.speech.utterance.seconds() - (now - began).as_secs_f64(),
            None => SILENT_SLACK,
        }
    }

    /// Reads on while it has nothing to say.
    fn read(&mut self, now: Instant) {
        while !self.ended && self.speech.utterance.is_waiting() {
            if let Some(number) = self.flushing.take() {
                self.outbox.put(Event::Flushed(number));
            }
            let Some(piece) = self.pieces.pop_front() else {
                return;
            };
            let read = match piece {
                Piece::Text(text) => self.speech.push(&text),
                Piece::Settle => self.speech.settle(),
                Piece::Finish => self.speech.finish(),
                Piece::Flush(number) => {
                    self.flushing = Some(number);
                    self.speech.settle()
                }
            };
            // Silence for want of text is nobody's fault: the clock starts anew.
            if let Some(playing) = &mut self.playing {
                let seconds = self.speech.utterance.seconds();
                let fresh = now.checked_sub(Duration::from_secs_f64(seconds));
                *playing = (*playing).max(fresh.unwrap_or(*playing));
            }
            if let Err(error) = read {
                self.fail(fault(&error));
            }
        }
        if let Some(number) = self.flushing.filter(|_| self.speech.utterance.is_done()) {
            self.flushing = None;
            self.outbox.put(Event::Flushed(number));
        }
    }

    /// Hands over what a step made.
    fn tell(&mut self, took: Duration, metrics: &Metrics) {
        let words = self.speech.utterance.take_words();
        let phones = self.speech.utterance.take_phones();
        if self.timings {
            if !words.is_empty() {
                self.outbox.put(Event::Words(words));
            }
            if !phones.is_empty() {
                self.outbox.put(Event::Phones(phones));
            }
        }
        let samples = self.speech.utterance.take_samples();
        if !samples.is_empty() {
            let now = Instant::now();
            let made = samples.len() as f64 / f64::from(SAMPLE_RATE);
            metrics.voice_seconds.inc_by(made);
            match self.playing {
                None => {
                    self.playing = Some(now);
                    if let Some(asked) = self.asked.take() {
                        metrics.note_first_audio((now - asked).as_secs_f64());
                    }
                }
                Some(began) => {
                    let had = self.speech.utterance.seconds() - made;
                    let late = (now - began).as_secs_f64() - had;
                    if late > 0.0 {
                        metrics.voice_underruns.inc();
                        self.playing = Some(began + Duration::from_secs_f64(late));
                    }
                }
            }
            self.outbox.put(Event::Audio(samples, took));
        }
        if self.speech.utterance.is_done() {
            if let Some(number) = self.flushing.take() {
                self.outbox.put(Event::Flushed(number));
            }
            self.outbox.put(Event::Done);
            self.ended = true;
        }
    }

    fn fail(&mut self, fault: Fault) {
        self.outbox.put(Event::Failed(fault));
        self.ended = true;
    }
}

/// A mistake in the text is the client's, all else is ours.
fn fault(error: &SpeechError) -> Fault {
    match error {
        SpeechError::Text(error) => {
            let mut fault = Fault::bad("transcript", error.to_string());
            fault.code = "invalid_transcript";
            fault
        }
        error => Fault::internal(error),
    }
}
