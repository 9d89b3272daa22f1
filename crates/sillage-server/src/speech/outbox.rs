//! What a stream has made and its client has not taken yet.

use crate::fault::Fault;
use sillage_voice::{PhoneTiming, SAMPLE_RATE, WordTiming};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Samples that may wait for the client: ten seconds of sound, 1 MB.
const ROOM: usize = 10 * SAMPLE_RATE as usize;

/// What a stream tells.
#[derive(Debug)]
pub enum Event {
    /// The next samples, mono, 24 kHz, and how long they took.
    Audio(Vec<f32>, Duration),
    /// When words are said that come soon.
    Words(Vec<WordTiming>),
    /// The same for phonemes.
    Phones(Vec<PhoneTiming>),
    /// All text up to that flush is spoken.
    Flushed(u32),
    /// All is spoken.
    Done,
    /// It ends here.
    Failed(Fault),
}

/// A queue with room for some seconds of sound.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    inner: Mutex<Inner>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Event>,
    samples: usize,
    /// Since when it is full.
    full: Option<Instant>,
    /// Nobody will take anything any more.
    closed: bool,
    /// Nothing more will be put.
    ended: bool,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an event, room or not: whoever makes sound asks for room first.
    pub(super) fn put(&self, event: Event) {
        let mut inner = self.lock();
        if inner.ended || inner.closed {
            return;
        }
        match &event {
            Event::Audio(samples, _) => inner.samples += samples.len(),
            Event::Done | Event::Failed(_) => inner.ended = true,
            _ => {}
        }
        inner.events.push_back(event);
        drop(inner);
        self.notify.notify_one();
    }

    /// Whether there is room for more sound.
    pub(super) fn has_room(&self) -> bool {
        let mut inner = self.lock();
        if inner.samples < ROOM {
            inner.full = None;
            return true;
        }
        inner.full.get_or_insert_with(Instant::now);
        false
    }

    /// How long it has been full without anything having been taken.
    pub(super) fn stalled(&self) -> Option<Duration> {
        self.lock().full.map(|since| since.elapsed())
    }

    pub(super) async fn take(&self) -> Option<Event> {
        loop {
            {
                let mut inner = self.lock();
                if let Some(event) = inner.events.pop_front() {
                    if let Event::Audio(samples, _) = &event {
                        inner.samples -= samples.len();
                    }
                    inner.full = None;
                    return Some(event);
                }
                if inner.ended || inner.closed {
                    return None;
                }
            }
            self.notify.notified().await;
        }
    }

    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.events.clear();
        inner.samples = 0;
        drop(inner);
        self.notify.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }
}
