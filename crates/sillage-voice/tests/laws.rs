//! One result: what an utterance sounds like does not depend on chunks, companions, threads, freezing,
//! forking, or on when its phrases come.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "common/random.rs"]
mod random;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sillage_kernels::Compute;
use sillage_voice::{
    BINS, FrameGains, Phrase, Reset, Speaker, Unit, Utterance, UtteranceOptions, VoiceModel,
    WordSpan,
};
use std::sync::Arc;

/// Gains that differ from frame to frame and from bin to bin.
struct Ripple;

impl FrameGains for Ripple {
    fn gains(&self, frame: u64, out: &mut [f32; BINS]) {
        for (bin, gain) in out.iter_mut().enumerate() {
            *gain = if (bin as u64 / 8 + frame / 3).is_multiple_of(2) {
                1.2
            } else {
                0.8
            };
        }
    }
}

struct Bench {
    model: VoiceModel,
    speakers: [Arc<Speaker>; 2],
    computes: [Compute; 3],
}

impl Bench {
    fn new(attention: bool, eight_bits: bool) -> Self {
        let checkpoint = random::checkpoint(random::TINY, attention, eight_bits);
        let model = VoiceModel::load(&checkpoint).expect("a voice model");
        let computes = [1, 2, 5].map(Compute::new);
        let speaker = |i: usize| {
            let mut voice = model.voices()[i].clone();
            voice.equaliser[..40].fill(0.3 * i as f32);
            model.speaker(&computes[0], &voice).expect("a speaker")
        };
        Bench {
            speakers: [speaker(0), speaker(1)],
            model,
            computes,
        }
    }

    fn start(&self, seed: u32, reset: Reset) -> Utterance {
        let options = UtteranceOptions {
            seed,
            reset,
            gains: Some(Arc::new(Ripple)),
        };
        Utterance::new(&self.speakers[seed as usize % 2], options)
    }
}

/// A text of a few phrases with everything in them that a front end may set.
fn text(seed: u64, count: usize) -> Vec<Phrase> {
    let phrase = |i: usize| {
        let units = 3 + (seed as usize + 5 * i) % 9;
        let pick = random::numbers(seed + i as u64, units);
        let unit = |(k, x): (usize, &f32)| Unit {
            symbol: ((x.abs() * 999.0) as u16) % random::SYMBOLS.len() as u16,
            stress: (k % 3) as u8,
        };
        Phrase {
            units: pick.iter().enumerate().map(unit).collect(),
            words: vec![WordSpan {
                text: format!("word {i}"),
                units: 1..units,
            }],
            first: i == 0,
            sentence_end: i % 2 == 1,
            speed: if i % 3 == 2 { 1.3 } else { 1.0 },
            volume: if i % 4 == 3 { 0.5 } else { 1.0 },
            pause: (i % 3 * 2) as u32,
        }
    };
    let mut text: Vec<Phrase> = (0..count).map(phrase).collect();
    // A mere pause.
    text.push(Phrase {
        pause: 3,
        ..Phrase::default()
    });
    text
}

/// The sound of a text made alone, at once, on one thread.
fn whole(bench: &Bench, seed: u32, reset: Reset, text: &[Phrase]) -> (Vec<f32>, Utterance) {
    let mut utterance = bench.start(seed, reset);
    for phrase in text {
        utterance.push_phrase(phrase.clone()).expect("a phrase");
    }
    utterance.finish();
    let mut sound = Vec::new();
    while !utterance.is_done() {
        bench
            .model
            .advance(&bench.computes[0], &mut [&mut utterance], 1000)
            .expect("it speaks");
        sound.extend(utterance.take_samples());
    }
    (sound, utterance)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// What happens between two calls.
#[derive(Debug, Clone, Copy)]
enum Verb {
    Go,
    /// A fork says something else.
    Diverge,
    /// Frozen to bytes and resumed.
    Freeze,
}

#[derive(Debug, Clone)]
struct Plan {
    seed: u64,
    phrases: usize,
    never: bool,
    /// Steps of each call, what happens after it, and how many companions take part.
    calls: Vec<(usize, Verb, usize)>,
    threads: usize,
    /// Phrases are handed over as late as can be.
    late: bool,
}

fn plan() -> impl Strategy<Value = Plan> {
    let verb = prop_oneof![3 => Just(Verb::Go), 1 => Just(Verb::Diverge), 2 => Just(Verb::Freeze)];
    let call = (
        prop_oneof![Just(1_usize), 2..5_usize, Just(40)],
        verb,
        0..3_usize,
    );
    (
        0..1000_u64,
        1..6_usize,
        any::<bool>(),
        prop::collection::vec(call, 1..12),
        0..3_usize,
        any::<bool>(),
    )
        .prop_map(|(seed, phrases, never, calls, threads, late)| Plan {
            seed,
            phrases,
            never,
            calls,
            threads,
            late,
        })
}

fn follow(bench: &Bench, plan: &Plan) -> Result<(), TestCaseError> {
    let text = text(plan.seed, plan.phrases);
    let reset = if plan.never {
        Reset::Never
    } else {
        Reset::SentenceEnd
    };
    let (expected, mut other) = whole(bench, plan.seed as u32, reset, &text);
    prop_assert!(expected.iter().any(|v| v.abs() > 1e-3), "it says nothing");
    let cx = &bench.computes[plan.threads];
    let mut utterance = bench.start(plan.seed as u32, reset);
    let mut mates = [bench.start(1, reset), bench.start(2, reset)];
    let mut coming = text.iter();
    let mut sound = Vec::new();
    let mut calls = plan.calls.iter().cycle();
    if !plan.late {
        coming
            .by_ref()
            .for_each(|p| utterance.push_phrase(p.clone()).expect("a phrase"));
        utterance.finish();
    }
    while !utterance.is_done() {
        if utterance.is_waiting() {
            match coming.next() {
                Some(phrase) => utterance.push_phrase(phrase.clone()).expect("a phrase"),
                None => utterance.finish(),
            }
        }
        let (steps, verb, company) = *calls.next().expect("a cycle");
        let mut rows: Vec<&mut Utterance> = Vec::new();
        for mate in mates.iter_mut().take(company) {
            mate.push_phrase(text[0].clone()).expect("a phrase");
            rows.push(mate);
        }
        rows.insert(company / 2, &mut utterance);
        bench
            .model
            .advance(cx, &mut rows, steps)
            .expect("they speak");
        apply(bench, cx, verb, &mut utterance, &text[0]);
        // Samples may also wait through a freeze.
        if steps != 2 {
            sound.extend(utterance.take_samples());
        }
    }
    sound.extend(utterance.take_samples());
    prop_assert_eq!(sound.len(), expected.len());
    prop_assert_eq!(sound.len() as u64, utterance.samples_made());
    prop_assert!(bits(&sound) == bits(&expected), "the sound differs");
    prop_assert_eq!(utterance.take_words(), other.take_words());
    prop_assert_eq!(utterance.take_phones(), other.take_phones());
    Ok(())
}

fn apply(bench: &Bench, cx: &Compute, verb: Verb, utterance: &mut Utterance, phrase: &Phrase) {
    match verb {
        Verb::Go => {}
        Verb::Diverge => {
            let mut fork = utterance.fork();
            if fork.push_phrase(phrase.clone()).is_ok() {
                bench
                    .model
                    .advance(cx, &mut [&mut fork], 5)
                    .expect("it speaks");
            }
        }
        Verb::Freeze => {
            let bytes = utterance.to_bytes().expect("it is frozen");
            let gains: Arc<dyn FrameGains> = Arc::new(Ripple);
            *utterance = Utterance::from_bytes(&bench.model, cx, &bytes, Some(gains))
                .expect("it is resumed");
        }
    }
}

fn check(attention: bool, eight_bits: bool, cases: u32) {
    let bench = Bench::new(attention, eight_bits);
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&plan(), |plan| follow(&bench, &plan));
    result.expect("the law holds");
}

#[test]
fn one_sound_however_it_is_made() {
    check(false, true, 40);
}

#[test]
fn one_sound_with_attention() {
    check(true, false, 16);
}

#[test]
fn resets_and_everything_else_matter() {
    let bench = Bench::new(false, false);
    let text = text(3, 4);
    let sound = |seed, reset, text: &[Phrase]| bits(&whole(&bench, seed, reset, text).0);
    let plain = sound(0, Reset::SentenceEnd, &text);
    assert!(plain != sound(0, Reset::Never, &text), "resets do nothing");
    assert!(
        plain != sound(2, Reset::SentenceEnd, &text),
        "seeds do nothing"
    );
    assert!(
        plain != sound(1, Reset::SentenceEnd, &text),
        "voices do nothing"
    );
    let tokens = {
        let mut voice = bench.speakers[0].voice().clone();
        voice.tokens = bench.model.voices()[1].tokens.clone();
        let speaker = bench.model.speaker(&bench.computes[0], &voice);
        let speakers = [speaker.expect("a speaker"), bench.speakers[1].clone()];
        Bench {
            speakers,
            ..Bench::new(false, false)
        }
    };
    assert!(
        plain != bits(&whole(&tokens, 0, Reset::SentenceEnd, &text).0),
        "tokens do nothing"
    );
    let mut louder = text.clone();
    louder[0].volume = 2.0;
    assert!(
        plain != sound(0, Reset::SentenceEnd, &louder),
        "volume does nothing"
    );
    let mut slower = text.clone();
    slower[1].speed = 0.5;
    let slower = sound(0, Reset::SentenceEnd, &slower);
    assert!(slower.len() > plain.len(), "speed does nothing");
    // What comes later does not change what was said before, but for the window in which they meet.
    let part = sound(0, Reset::SentenceEnd, &text[..2]);
    let same = part.len() - 1024 - 2 * 300;
    assert_eq!(part[..same], plain[..same]);
}

#[test]
fn pauses_are_silent_and_words_lie_where_they_are_said() {
    let bench = Bench::new(false, false);
    let mut text = text(5, 2);
    text.pop();
    for phrase in &mut text {
        (phrase.speed, phrase.pause) = (1.0, 40);
    }
    // One more pause, in a phrase of its own, delays what follows.
    text.insert(
        1,
        Phrase {
            pause: 8,
            ..Phrase::default()
        },
    );
    let (sound, mut utterance) = whole(&bench, 0, Reset::Never, &text);
    let words = utterance.take_words();
    let phones = utterance.take_phones();
    assert_eq!(words.len(), 2);
    assert_eq!(
        (words[0].text.as_str(), words[1].text.as_str()),
        ("word 0", "word 1")
    );
    let last = phones[text[0].units.len() - 1];
    assert_eq!(words[0].end, last.end);
    assert!((phones[text[0].units.len()].start - last.end - 1.2).abs() < 1e-9);
    assert_eq!(phones[0].start, 1.0);
    assert!(sound[..24_000 - 700].iter().all(|v| *v == 0.0));
    // The pause of a second is silent but for the windows that reach into it, and has no clicks.
    let start = (last.end * 24_000.0) as usize;
    let pause = &sound[start + 700..start + 24_000 - 700];
    assert!(pause.iter().all(|v| *v == 0.0));
    let edge = &sound[start..start + 700];
    let step = edge
        .windows(2)
        .map(|w| (w[1] - w[0]).abs())
        .fold(0.0, f32::max);
    let loud = sound[..start]
        .windows(2)
        .map(|w| (w[1] - w[0]).abs())
        .fold(0.0, f32::max);
    assert!(step < loud, "{step} within a fade, {loud} within speech");
}
