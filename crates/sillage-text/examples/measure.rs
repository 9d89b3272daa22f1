//! Start-up time, speed and memory: `measure FILE` reads a file of plain text, or JSON lines with
//! `text`, one sentence a line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Instant;

use sillage_text::{Accent, FrontEnd};

fn main() {
    let path = std::env::args().nth(1).expect("a file of text");
    let content = std::fs::read_to_string(path).expect("text");
    let sentences: Vec<String> = content
        .lines()
        .map(
            |line| match serde_json::from_str::<serde_json::Value>(line) {
                Ok(row) if row["text"].is_string() => row["text"].as_str().unwrap().to_owned(),
                _ => line.to_owned(),
            },
        )
        .filter(|line| !line.is_empty())
        .collect();
    let before = resident();
    for accent in [Accent::Us, Accent::Gb] {
        let start = Instant::now();
        let front = FrontEnd::new(accent).unwrap();
        println!(
            "{accent:?}: start {:.1} ms",
            start.elapsed().as_secs_f64() * 1e3
        );
        if accent == Accent::Us {
            println!(
                "memory of one front end: {:.1} MB",
                (resident() - before) as f64 / 1e6
            );
            measure(&front, &sentences);
            println!(
                "memory after all text: {:.1} MB",
                (resident() - before) as f64 / 1e6
            );
        }
    }
}

fn measure(front: &FrontEnd, sentences: &[String]) {
    let mut times: Vec<f64> = Vec::new();
    for sentence in sentences {
        let start = Instant::now();
        let phrases = front.phrases(sentence).unwrap_or_default();
        times.push(start.elapsed().as_secs_f64() * 1e3);
        std::hint::black_box(phrases);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{} sentences: p50 {:.3} ms, p95 {:.3} ms, longest {:.3} ms",
        times.len(),
        at(0.5),
        at(0.95),
        at(1.0)
    );
    let text = sentences.join("\n");
    let start = Instant::now();
    let phrases = front.phrases(&text).unwrap_or_default().len();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{:.2} MB as one text: {:.2} MB/s, {phrases} phrases",
        text.len() as f64 / 1e6,
        text.len() as f64 / 1e6 / seconds
    );
}

/// Bytes of memory in use, where the system tells.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok())
        .unwrap_or(0)
        * 4096
}
