//! The same speech with and without the watermark, to measure what the mark does to the sound.
//!
//! `with_and_without CHECKPOINT VOICE FOLDER` reads a text a line on standard input and writes
//! `NNN-marked.f32` and `NNN-plain.f32` (24 kHz, 32-bit floats, little-endian) into the folder; on standard
//! output it prints, for each text, the milliseconds of processor time without and with the mark.

#![allow(clippy::print_stdout, clippy::expect_used, clippy::panic)]

use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use sillage_text::{Accent, FrontEnd};
use sillage_voice::{
    Alphabet, CHUNK, Speaker, Speech, SpeechOptions, Utterance, UtteranceOptions, VoiceModel,
};
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Processor time of this thread in milliseconds, which other programs disturb less than the clock.
fn processor_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat
        .split_whitespace()
        .next()
        .and_then(|n| n.parse::<f64>().ok());
    nanoseconds.unwrap_or(0.0) * 1e-6
}

struct Reader {
    model: VoiceModel,
    cx: Compute,
    alphabet: Arc<Alphabet>,
    front: FrontEnd,
    speaker: Arc<Speaker>,
}

impl Reader {
    fn read(&self, text: &str, seed: u32, marked: bool) -> (Vec<f32>, f64) {
        let options = SpeechOptions {
            seed,
            payload: seed.wrapping_mul(0x9e37_79b9),
            ..SpeechOptions::default()
        };
        let mut speech = Speech::new(&self.alphabet, &self.front, &self.speaker, &options);
        if !marked {
            let bare = UtteranceOptions {
                seed,
                reset: options.reset,
                gains: None,
            };
            speech.utterance = Utterance::new(&self.speaker, bare);
        }
        speech.push(text).expect("a text");
        speech.finish().expect("a text");
        let start = processor_ms();
        let mut sound = Vec::new();
        while !speech.utterance.is_done() {
            self.model
                .advance(&self.cx, &mut [&mut speech.utterance], CHUNK)
                .expect("it speaks");
            sound.extend(speech.utterance.take_samples());
        }
        (sound, processor_ms() - start)
    }
}

fn write(path: PathBuf, sound: &[f32]) {
    let bytes: Vec<u8> = sound.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(path, bytes).expect("a folder that can be written to");
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [checkpoint, name, folder] = &args[..] else {
        panic!("usage: with_and_without CHECKPOINT VOICE FOLDER < texts");
    };
    let checkpoint = Checkpoint::open(Path::new(checkpoint)).expect("a checkpoint");
    let model = VoiceModel::load(&checkpoint).expect("a voice model");
    let voice = model.voices().iter().find(|voice| &voice.name == name);
    let voice = voice.expect("a voice of the model").clone();
    let accent = match voice.fields.get("accent").map(String::as_str) {
        Some("en-GB") => Accent::Gb,
        _ => Accent::Us,
    };
    let cx = Compute::new(1);
    let reader = Reader {
        alphabet: Alphabet::of(&model),
        front: FrontEnd::new(accent).expect("a front end"),
        speaker: model.speaker(&cx, &voice).expect("a speaker"),
        model,
        cx,
    };
    for (at, text) in std::io::stdin().lock().lines().enumerate() {
        let text = text.expect("text");
        let seed = at as u32;
        // Once for the caches; then each kind twice, in turns, and the faster run counts.
        reader.read(&text, seed, true);
        let mut best = [f64::INFINITY; 2];
        for _ in 0..2 {
            for (marked, best) in [false, true].into_iter().zip(&mut best) {
                let (sound, time) = reader.read(&text, seed, marked);
                let kind = if marked { "marked" } else { "plain" };
                write(
                    Path::new(folder).join(format!("{at:03}-{kind}.f32")),
                    &sound,
                );
                *best = best.min(time);
            }
        }
        println!("{:.3} {:.3}", best[0], best[1]);
    }
}
