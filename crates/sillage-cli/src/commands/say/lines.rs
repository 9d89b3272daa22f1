//! `sillage say --lines`: requests as JSON lines in, figures as JSON lines out, for benchmarks and scripts.

use super::source::{Piece, Source};
use crate::console;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sillage_audio::encode::{Encoder, Format, Settings};
use sillage_kernels::Compute;
use sillage_text::FrontEnd;
use sillage_voice::{Alphabet, SAMPLE_RATE, Speaker, Speech, SpeechOptions, Utterance, VoiceModel};
use std::collections::VecDeque;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// The first sound is there when this much of it is, in seconds.
const FIRST: f64 = 0.02;
/// Streams that are moved on together.
const TOGETHER: usize = 8;
/// A stream without sound gives way to those that would fall silent within so many seconds.
const SILENT_SLACK: f64 = 0.04;
/// Texts that each of many streams reads, one after the other.
const TEXTS_A_STREAM: usize = 2;
/// More streams than this are a mistake.
const MOST_STREAMS: usize = 4096;

/// What a line may ask for: one text, or many streams.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    text: Option<String>,
    wav: Option<PathBuf>,
    /// Say how far it is after every so many seconds of sound.
    progress: Option<f64>,
    streams: Option<usize>,
    #[serde(default)]
    texts: Vec<String>,
}

/// Figures of one text.
#[derive(Serialize)]
struct Answer {
    first_ms: f64,
    total_ms: f64,
    cpu_ms: Option<f64>,
    seconds: f64,
    rate: u32,
}

/// One stream among many.
struct Stream {
    speech: Speech,
    /// What it has still to read.
    texts: VecDeque<String>,
    first: Option<f64>,
    last: f64,
    late: bool,
}

/// All that answering takes.
pub(super) struct Server<'a> {
    pub(super) model: &'a VoiceModel,
    pub(super) cx: &'a Compute,
    pub(super) alphabet: &'a Arc<Alphabet>,
    pub(super) front: &'a FrontEnd,
    pub(super) speaker: &'a Arc<Speaker>,
    pub(super) options: &'a SpeechOptions,
}

impl Server<'_> {
    /// Answers until the requests end.
    pub(super) fn serve(&self) -> Result<()> {
        // Memory is mapped and caches are filled before the first request counts.
        self.one("Warm, and ready to speak.", None, None)?;
        let voice = &self.speaker.voice().name;
        say!(
            "{}",
            json!({ "ready": "sillage", "version": env!("CARGO_PKG_VERSION"), "voice": voice })
        );
        for line in std::io::stdin().lock().lines() {
            let line = line.context("cannot read requests")?;
            if line.trim().is_empty() {
                continue;
            }
            match self.answer(&line) {
                Ok(answer) => say!("{answer}"),
                Err(error) if console::is_broken_pipe(&error) => return Err(error),
                Err(error) => say!("{}", json!({ "error": console::explain(&error) })),
            }
        }
        Ok(())
    }

    fn answer(&self, line: &str) -> Result<serde_json::Value> {
        let request: Request = serde_json::from_str(line)
            .context("a request is a JSON object with text or streams")?;
        if let Some(count) = request.streams {
            return self.many(count, &request.texts);
        }
        let text = request
            .text
            .context("a request needs a text, or streams and texts")?;
        Ok(serde_json::to_value(self.one(
            &text,
            request.wav.as_deref(),
            request.progress,
        )?)?)
    }

    fn one(&self, text: &str, wav: Option<&Path>, progress: Option<f64>) -> Result<Answer> {
        let (began, cpu) = (Instant::now(), cpu_ms());
        let mut speech = Speech::new(self.alphabet, self.front, self.speaker, self.options);
        // A long text is read while it is spoken, as `say` itself does.
        let mut source = Source::whole(text.to_owned());
        let (mut first_ms, mut samples, mut told) = (0.0, Vec::new(), 0.0);
        while !speech.utterance.is_done() {
            if speech.utterance.is_waiting() {
                match source.next(true)? {
                    Piece::Text(piece) => speech.push(&piece)?,
                    Piece::End => speech.finish()?,
                    Piece::None => {}
                }
                continue;
            }
            let steps = speech.utterance.next_chunk();
            self.model
                .advance(self.cx, &mut [&mut speech.utterance], steps)?;
            speech.utterance.take_words();
            speech.utterance.take_phones();
            let made = speech.utterance.take_samples();
            if wav.is_some() {
                samples.extend(made);
            }
            let seconds = speech.utterance.seconds();
            let elapsed = began.elapsed().as_secs_f64() * 1e3;
            if first_ms == 0.0 && seconds >= FIRST {
                first_ms = elapsed;
            }
            if progress.is_some_and(|every| every > 0.0 && seconds - told >= every) {
                told = seconds;
                say!(
                    "{}",
                    json!({ "progress_s": seconds, "elapsed_ms": elapsed })
                );
            }
        }
        let total_ms = began.elapsed().as_secs_f64() * 1e3;
        let cpu_ms = cpu.zip(cpu_ms()).map(|(before, after)| after - before);
        if let Some(path) = wav {
            let mut encoder =
                Encoder::to_path(path, Settings::new(Format::Wav, SAMPLE_RATE), None)?;
            encoder.push(&samples)?;
            encoder.finish()?;
        }
        let seconds = speech.utterance.seconds();
        Ok(Answer {
            first_ms,
            total_ms,
            cpu_ms,
            seconds,
            rate: SAMPLE_RATE,
        })
    }

    /// Many streams, all asked for at once. Those whose sound will run out soonest go first; one that has no
    /// sound yet waits behind those that would fall silent.
    fn many(&self, count: usize, texts: &[String]) -> Result<serde_json::Value> {
        anyhow::ensure!(
            (1..=MOST_STREAMS).contains(&count),
            "streams: give a number from 1 to {MOST_STREAMS}"
        );
        anyhow::ensure!(!texts.is_empty(), "streams need texts");
        let began = Instant::now();
        let stream = |number: usize| Stream {
            speech: Speech::new(self.alphabet, self.front, self.speaker, self.options),
            texts: (0..TEXTS_A_STREAM)
                .map(|turn| texts[(number + turn * count) % texts.len()].clone())
                .collect(),
            first: None,
            last: 0.0,
            late: false,
        };
        let mut streams: Vec<Stream> = (0..count).map(stream).collect();
        // Streams have nothing to do with one another: a thread each for a part of them beats sharing every
        // small product among all threads.
        let part = count.div_ceil(self.cx.pool.threads());
        std::thread::scope(|scope| {
            let work = |part| scope.spawn(move || self.play(part, began));
            let working: Vec<_> = streams.chunks_mut(part).map(work).collect();
            working.into_iter().try_for_each(|thread| {
                thread
                    .join()
                    .map_err(|_| anyhow::anyhow!("a stream's thread failed"))?
            })
        })?;
        let seconds: f64 = streams.iter().map(|s| s.speech.utterance.seconds()).sum();
        let first_ms: Vec<f64> = streams
            .iter()
            .filter_map(|s| Some(s.first? * 1e3))
            .collect();
        let rtf: Vec<f64> = streams
            .iter()
            .map(|s| s.last / s.speech.utterance.seconds().max(FIRST))
            .collect();
        let late = streams.iter().filter(|s| s.late).count();
        let total_ms = began.elapsed().as_secs_f64() * 1e3;
        Ok(
            json!({ "first_ms": first_ms, "rtf": rtf, "late": late, "seconds": seconds, "total_ms": total_ms }),
        )
    }

    /// Plays some streams to their ends, on this thread.
    fn play(&self, streams: &mut [Stream], began: Instant) -> Result<()> {
        let cx = Compute::new(1);
        loop {
            let now = began.elapsed().as_secs_f64();
            let mut live: Vec<&mut Stream> = streams
                .iter_mut()
                .filter(|s| !s.speech.utterance.is_done())
                .collect();
            if live.is_empty() {
                return Ok(());
            }
            live.sort_by(|a, b| a.slack(now).total_cmp(&b.slack(now)));
            live.truncate(TOGETHER);
            for stream in &mut live {
                stream.read()?;
            }
            let steps = live
                .iter()
                .map(|s| s.speech.utterance.next_chunk())
                .min()
                .unwrap_or(1);
            let mut moved: Vec<&mut Utterance> =
                live.iter_mut().map(|s| &mut s.speech.utterance).collect();
            self.model.advance(&cx, &mut moved, steps)?;
            let now = began.elapsed().as_secs_f64();
            live.iter_mut().for_each(|stream| stream.note(now));
        }
    }
}

impl Stream {
    /// Seconds until it falls silent, played from its first sound on.
    fn slack(&self, now: f64) -> f64 {
        match self.first {
            Some(first) => first + self.speech.utterance.seconds() - now,
            None => SILENT_SLACK,
        }
    }

    /// Hands over its next text when it has nothing left to say.
    fn read(&mut self) -> Result<()> {
        while self.speech.utterance.is_waiting() {
            match self.texts.pop_front() {
                Some(text) => {
                    self.speech.push(&text)?;
                    self.speech.push("\n\n")?;
                }
                None => return Ok(self.speech.finish()?),
            }
        }
        Ok(())
    }

    /// Notes what was made by `now`, in seconds since all began.
    fn note(&mut self, now: f64) {
        let seconds = self.speech.utterance.seconds();
        let made = self.speech.utterance.take_samples().len() as f64 / f64::from(SAMPLE_RATE);
        // Played from its first sound on, it was silent if all that it had was used up by now.
        self.late |= made > 0.0 && self.first.is_some_and(|first| now - first > seconds - made);
        if self.first.is_none() && seconds >= FIRST {
            self.first = Some(now);
        }
        self.last = now;
    }
}

/// Processor time of all threads so far, where the system tells.
fn cpu_ms() -> Option<f64> {
    let mut nanoseconds = 0u64;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(nanoseconds as f64 / 1e6)
}
