//! Every stage against what PyTorch makes of the same weights (`conformance/voice`), for both backbones.

use crate::advance::Plan;
use crate::config::{FRAME, MELS, VOICE_DIM};
use crate::features::log_mel;
use crate::vocoder::{Memory, RECORD};
use crate::{Phrase, Unit, Utterance, UtteranceOptions, VoiceModel};
use safetensors::SafeTensors;
use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use std::path::PathBuf;

const SEED: u32 = 7;

struct Golden {
    name: &'static str,
    bytes: Vec<u8>,
    model: VoiceModel,
    cx: Compute,
}

impl Golden {
    fn all() -> [Golden; 2] {
        ["ssm", "attention"].map(|name| {
            let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../conformance/voice");
            let folder = root.join(name);
            let checkpoint = Checkpoint::open(&folder).unwrap();
            Golden {
                name,
                bytes: std::fs::read(folder.join("golden.safetensors")).unwrap(),
                model: VoiceModel::load(&checkpoint).unwrap(),
                cx: Compute::new(2),
            }
        })
    }

    fn words(&self, name: &str) -> Vec<[u8; 4]> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        tensors
            .tensor(name)
            .unwrap()
            .data()
            .as_chunks::<4>()
            .0
            .to_vec()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.words(name)
            .into_iter()
            .map(f32::from_le_bytes)
            .collect()
    }

    fn whole(&self, name: &str) -> Vec<u32> {
        self.words(name)
            .into_iter()
            .map(u32::from_le_bytes)
            .collect()
    }

    fn phrases(&self) -> Vec<Phrase> {
        let (symbols, stresses) = (self.whole("symbols"), self.whole("stresses"));
        let mut phrases: Vec<Phrase> = Vec::new();
        for (i, number) in self.whole("phrase").into_iter().enumerate() {
            if phrases.len() == number as usize {
                phrases.push(Phrase {
                    first: number == 0,
                    ..Phrase::default()
                });
            }
            phrases.last_mut().unwrap().units.push(Unit {
                symbol: symbols[i] as u16,
                stress: stresses[i] as u8,
            });
        }
        phrases
    }

    fn utterance(&self) -> Utterance {
        let speaker = self
            .model
            .speaker(&self.cx, &self.model.voices()[0])
            .unwrap();
        let options = UtteranceOptions {
            seed: SEED,
            ..UtteranceOptions::default()
        };
        let mut utterance = Utterance::new(&speaker, options);
        for phrase in self.phrases() {
            utterance.push_phrase(phrase).unwrap();
        }
        utterance.finish();
        utterance
    }

    /// Requires `found` to be the golden within `tolerance` of its largest value.
    fn close(&self, what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
        assert_eq!(found.len(), expected.len(), "{}: {what}", self.name);
        let scale = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let off = |(f, e): (&f32, &f32)| {
            let off = (f - e).abs() / scale;
            if off.is_nan() { f32::INFINITY } else { off }
        };
        let worst = found.iter().zip(expected).map(off).fold(0.0, f32::max);
        println!(
            "{:10} {what:10} off by {worst:.1e} of {scale:.3}",
            self.name
        );
        assert!(
            worst <= tolerance,
            "{}: {what} is off by {worst}",
            self.name
        );
    }
}

#[test]
fn text_vectors_and_durations() {
    for golden in Golden::all() {
        let tokens = golden.model.voices()[0].tokens.values();
        assert_eq!(tokens, golden.floats("tokens"), "{}", golden.name);
        let speaker = golden
            .model
            .speaker(&golden.cx, &golden.model.voices()[0])
            .unwrap();
        let phrases = golden.phrases();
        let rows: Vec<_> = phrases.iter().map(|p| (p, &speaker.text)).collect();
        let encoded = golden.model.text.encode(&golden.cx, &rows).unwrap();
        let encoded: Vec<_> = encoded.into_iter().map(Option::unwrap).collect();
        let h: Vec<f32> = encoded.iter().flat_map(|e| e.h.clone()).collect();
        let steps: Vec<f32> = encoded.iter().flat_map(|e| e.steps.clone()).collect();
        golden.close("h", &h, &golden.floats("h"), 1e-5);
        golden.close("steps", &steps, &golden.floats("steps"), 1e-5);
        let mut utterance = golden.utterance();
        while !utterance.is_done() {
            golden
                .model
                .advance(&golden.cx, &mut [&mut utterance], 100)
                .unwrap();
        }
        let phones = utterance.take_phones();
        let steps = |seconds: f64| (seconds / 0.025).round() as u32;
        let found: Vec<u32> = phones
            .iter()
            .map(|p| steps(p.end) - steps(p.start))
            .collect();
        assert_eq!(found, golden.whole("durations"), "{}", golden.name);
    }
}

#[test]
fn frames() {
    for golden in Golden::all() {
        let expected = golden.floats("frames");
        let mut utterance = golden.utterance();
        // The end is held back, so that frames wait and can be looked at.
        utterance.finished = false;
        let mut found = Vec::new();
        for _ in 0..expected.len() / (2 * FRAME) {
            golden
                .model
                .advance(&golden.cx, &mut [&mut utterance], 1)
                .unwrap();
            found.extend_from_slice(Memory::of(&mut utterance.memory).unwrap().waiting());
        }
        let mu = golden.floats("mu")[0];
        for (i, (found, expected)) in found.chunks(RECORD).zip(expected.chunks(FRAME)).enumerate() {
            let what = format!("frame {i}");
            golden.close(&what, &found[..MELS], &expected[..MELS], 1e-4);
            assert!((found[MELS] - (mu + 0.25 * expected[MELS])).abs() < 1e-4);
            let voiced = expected[MELS + 1] > 0.0;
            assert_eq!(found[MELS + 1], f32::from(u8::from(voiced)), "{what}");
        }
    }
}

#[test]
fn sound_of_given_frames() {
    for golden in Golden::all() {
        let mut utterance = golden.utterance();
        utterance.queue.clear();
        let frames = golden.floats("frames");
        let mut plan = Plan::default();
        for (frame, log_f0) in frames.chunks(FRAME).zip(golden.floats("log_f0")) {
            plan.records.extend_from_slice(&frame[..MELS]);
            let voiced = frame[MELS + 1] > 0.0;
            plan.records
                .extend([log_f0, f32::from(u8::from(voiced)), 1.0]);
        }
        let model = &golden.model;
        model
            .sound(&golden.cx, &mut [&mut utterance], &mut [plan])
            .unwrap();
        let found = utterance.take_samples();
        golden.close("samples", &found, &golden.floats("samples"), 1e-4);
    }
}

#[test]
fn sound_of_text() {
    for golden in Golden::all() {
        let mut utterance = golden.utterance();
        let mut found = Vec::new();
        while !utterance.is_done() {
            golden
                .model
                .advance(&golden.cx, &mut [&mut utterance], 3)
                .unwrap();
            found.extend(utterance.take_samples());
        }
        // The phases of two computations part in time, as they add up how pitches were rounded.
        let expected = golden.floats("samples");
        golden.close("beginning", &found[..2400], &expected[..2400], 1e-3);
        let (found, expected) = (log_mel(&found), log_mel(&expected));
        let off = found.iter().zip(&expected).map(|(f, e)| (f - e).abs());
        let mean = off.sum::<f32>() / expected.len() as f32;
        assert!(mean < 0.01, "{}: bands are off by {mean}", golden.name);
    }
}

#[test]
fn spectrogram_and_speaker() {
    for golden in Golden::all() {
        let mel = golden.floats("mel");
        golden.close("mel", &log_mel(&golden.floats("clip")), &mel, 1e-5);
        let voice = golden.model.encode_mel(&golden.cx, "heard", &mel).unwrap();
        golden.close("vector", &voice.vector, &golden.floats("heard"), 1e-4);
        golden.close("mu", &[voice.mu], &golden.floats("heard_mu"), 1e-5);
        let tokens = golden.floats("heard_tokens");
        // A step in which they are stored is 1e-4 of the largest.
        golden.close("tokens", &voice.tokens.values(), &tokens, 2e-4);
        let first = tokens.chunks(VOICE_DIM).next().unwrap();
        let same = |row: &[f32]| row.iter().zip(first).all(|(a, b)| (a - b).abs() < 1e-3);
        assert!(
            !tokens.chunks(VOICE_DIM).skip(1).any(same),
            "tokens are alike"
        );
    }
}
