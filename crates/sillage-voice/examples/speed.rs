//! How fast a voice model speaks: time to first audio and real-time factor.
//!
//! `cargo run --release -p sillage-voice --example speed [threads] [streams] [checkpoint]`
//!
//! Without a checkpoint, weights are random but of the shipped sizes and in eight bits. Time to first
//! audio is measured from the moment a phrase is handed over to the first 20 ms of sound.

#![allow(clippy::print_stdout, clippy::expect_used, clippy::panic)]

#[path = "../tests/common/random.rs"]
mod random;

use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use sillage_voice::{
    CHUNK, FIRST_CHUNK, Phrase, SAMPLE_RATE, Speaker, Unit, Utterance, UtteranceOptions, VoiceModel,
};
use std::sync::Arc;
use std::time::Instant;

/// A phrase of `units` units, words of five letters.
fn phrase(model: &VoiceModel, units: usize, first: bool) -> Phrase {
    let find = |wanted: &str| model.symbols().iter().position(|s| s == wanted);
    let letters: Vec<usize> = (0..model.symbols().len())
        .filter(|&i| {
            let symbol = &model.symbols()[i];
            symbol.chars().count() == 1 && symbol.chars().all(char::is_alphabetic)
        })
        .collect();
    let space = find(" ").unwrap_or(0);
    let unit = |i: usize| Unit {
        symbol: if i % 6 == 5 {
            space
        } else {
            letters[i * 7 % letters.len()]
        } as u16,
        stress: u8::from(i % 6 == 1),
    };
    Phrase {
        units: (0..units).map(unit).collect(),
        first,
        sentence_end: true,
        ..Phrase::default()
    }
}

/// CPU time of this thread, in seconds, which other processes disturb less than the clock on the wall.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat
        .split_whitespace()
        .next()
        .and_then(|n| n.parse::<f64>().ok());
    nanoseconds.unwrap_or(0.0) * 1e-9
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

fn first_audio(model: &VoiceModel, cx: &Compute, speaker: &Arc<Speaker>, units: usize) {
    let mut times = Vec::new();
    for _ in 0..200 {
        let start = Instant::now();
        let mut utterance = Utterance::new(speaker, UtteranceOptions::default());
        utterance
            .push_phrase(phrase(model, units, true))
            .expect("a phrase");
        let mut samples = 0;
        while samples < SAMPLE_RATE as usize / 50 {
            model
                .advance(cx, &mut [&mut utterance], FIRST_CHUNK)
                .expect("it speaks");
            samples += utterance.take_samples().len();
        }
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "first 20 ms, phrase of {units:2} units: p50 {:.2} ms, p95 {:.2} ms",
        quantile(&times, 0.5),
        quantile(&times, 0.95)
    );
}

fn factor(model: &VoiceModel, cx: &Compute, speaker: &Arc<Speaker>, streams: usize, chunk: usize) {
    let mut all: Vec<Utterance> = (0..streams)
        .map(|_| Utterance::new(speaker, UtteranceOptions::default()))
        .collect();
    let phrases = (400 / streams).max(4);
    for utterance in &mut all {
        for i in 0..phrases {
            utterance
                .push_phrase(phrase(model, 30 + i % 30, true))
                .expect("a phrase");
        }
        utterance.finish();
    }
    let (start, cpu) = (Instant::now(), cpu_seconds());
    while all.iter().any(|u| !u.is_done()) {
        let mut rows: Vec<&mut Utterance> = all.iter_mut().filter(|u| !u.is_done()).collect();
        model.advance(cx, &mut rows, chunk).expect("it speaks");
        for row in rows {
            row.take_samples();
        }
    }
    let (took, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let sound: f64 = all.iter().map(Utterance::seconds).sum();
    println!(
        "{streams:3} streams, {chunk:2} steps a chunk: {sound:.0} s of sound in {took:.2} s, real-time factor {:.5} ({:.5} in CPU time of one thread)",
        took / sound,
        cpu / sound
    );
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default: usize| {
        args.next()
            .map_or(default, |a| a.parse().expect("a number"))
    };
    let (threads, streams) = (number(1), number(1));
    let checkpoint = match args.next() {
        Some(path) => Checkpoint::open(path).expect("a checkpoint"),
        None => random::checkpoint(random::FULL, false, true),
    };
    let start = Instant::now();
    let model = VoiceModel::load(&checkpoint).expect("a voice model");
    println!("loaded in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    let cx = Compute::new(threads);
    println!("{} on {threads} threads", cx.isa.name());
    let start = Instant::now();
    let speaker = model.speaker(&cx, &model.voices()[0]).expect("a speaker");
    println!(
        "speaker ready in {:.2} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    for units in [10, 40, 96] {
        first_audio(&model, &cx, &speaker, units);
    }
    for chunk in [3, 6, CHUNK, 12, 24, 48] {
        factor(&model, &cx, &speaker, streams, chunk);
    }
}
