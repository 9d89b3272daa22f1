//! What is counted, for `/metrics` and for the live page: one set of figures.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// First sounds that percentiles are taken of.
const REMEMBERED: usize = 512;

/// Which requests are counted together.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route's pattern, never the path itself.
    pub route: String,
    /// The HTTP status.
    pub status: u16,
}

/// All figures of a server.
pub struct Metrics {
    registry: Registry,
    started: Instant,
    recent: Mutex<VecDeque<f64>>,
    /// Tokens written at moments of the last seconds.
    written: Mutex<VecDeque<(Instant, u64)>>,
    /// Requests answered.
    pub requests: Family<RequestLabels, Counter>,
    /// Text sessions and voice streams now.
    pub sessions: Gauge,
    /// Text sessions being read or written now.
    pub text_sessions: Gauge,
    /// Text sessions in the queue.
    pub text_waiting: Gauge,
    /// Prompt tokens read.
    pub tokens_read: Counter,
    /// Prompt tokens that did not have to be read.
    pub tokens_reused: Counter,
    /// Tokens written.
    pub tokens_written: Counter,
    /// States that could not be stored.
    pub states_unsaved: Counter,
    /// Bytes of states in memory.
    pub state_memory: Gauge,
    /// Bytes of states on disk.
    pub state_disk: Gauge,
    /// Voice streams now.
    pub voice_streams: Gauge,
    /// Seconds of sound made.
    pub voice_seconds: Counter<f64, AtomicU64>,
    /// Streams that ran dry while they were being spoken in real time.
    pub voice_underruns: Counter,
    /// Seconds from text to first sound.
    pub first_audio: Histogram,
    /// Sockets open.
    pub connections: Gauge,
    /// Requests refused for want of room or by a rate limit.
    pub refused: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("sillage");
        let steps = [
            0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.1, 0.128, 0.256, 0.512, 1.0, 2.0,
        ];
        macro_rules! all {
            ($($field:ident: $help:literal = $metric:expr),* $(,)?) => {
                Self {
                    $($field: {
                        let metric = $metric;
                        registry.register(stringify!($field), $help, metric.clone());
                        metric
                    },)*
                    registry,
                    started: Instant::now(),
                    recent: Mutex::default(),
                    written: Mutex::default(),
                }
            };
        }
        all! {
            requests: "Requests answered" = Family::default(),
            sessions: "Text sessions and voice streams now" = Gauge::default(),
            text_sessions: "Text sessions now" = Gauge::default(),
            text_waiting: "Text sessions in the queue" = Gauge::default(),
            tokens_read: "Prompt tokens read" = Counter::default(),
            tokens_reused: "Prompt tokens resumed from stored states" = Counter::default(),
            tokens_written: "Tokens written" = Counter::default(),
            states_unsaved: "States that could not be stored" = Counter::default(),
            state_memory: "Bytes of states in memory" = Gauge::default(),
            state_disk: "Bytes of states on disk" = Gauge::default(),
            voice_streams: "Voice streams now" = Gauge::default(),
            voice_seconds: "Seconds of sound made" = Counter::default(),
            voice_underruns: "Streams that ran dry" = Counter::default(),
            first_audio: "Seconds from text to first sound" = Histogram::new(steps),
            connections: "Sockets open" = Gauge::default(),
            refused: "Requests refused for want of room or by a rate limit" = Counter::default(),
        }
    }
}

/// Percentiles of the latest first sounds, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct FirstAudio {
    /// Half were there by then.
    pub p50: Option<f64>,
    /// 95 of 100 were there by then.
    pub p95: Option<f64>,
    /// The latest.
    pub last: Option<f64>,
}

impl Metrics {
    /// Seconds since the server was started.
    #[must_use]
    pub fn uptime(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Notes when a stream's first sound was there, in seconds after its text.
    pub fn note_first_audio(&self, seconds: f64) {
        self.first_audio.observe(seconds);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(seconds * 1e3);
    }

    /// Percentiles of the latest first sounds.
    #[must_use]
    pub fn recent_first_audio(&self) -> FirstAudio {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<f64> = recent.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (sorted.len() as f64 * share).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied()
        };
        FirstAudio {
            p50: at(0.5),
            p95: at(0.95),
            last: recent.back().copied(),
        }
    }

    /// Notes how many tokens were written by now; called each second.
    pub fn tick(&self) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.push_back((Instant::now(), self.tokens_written.get()));
        if written.len() > 10 {
            written.pop_front();
        }
    }

    /// Tokens a second over the last seconds.
    #[must_use]
    pub fn tokens_per_second(&self) -> f64 {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match (written.front(), written.back()) {
            (Some(first), Some(last)) if last.0 > first.0 => {
                (last.1 - first.1) as f64 / (last.0 - first.0).as_secs_f64()
            }
            _ => 0.0,
        }
    }

    /// The figures in Prometheus' text form.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
