//! What is wrong is named, with its cure; what comes from outside cannot do harm.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::reversed_empty_ranges,
    reason = "a test fails by panicking, and hostile ranges are the point"
)]

#[path = "common/random.rs"]
mod random;

use serde_json::{Value, json};
use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use sillage_voice::{
    FrozenError, Phrase, Tokens, Unit, Utterance, UtteranceOptions, VOICE_DIM, VOICE_TOKENS, Voice,
    VoiceError, VoiceFileError, VoiceModel, WordSpan,
};
use xxhash_rust::xxh3::xxh3_128;

fn model() -> VoiceModel {
    let checkpoint = random::checkpoint(random::TINY, false, false);
    VoiceModel::load(&checkpoint).expect("a voice model")
}

fn phrase(symbols: &[u16]) -> Phrase {
    let unit = |&symbol: &u16| Unit { symbol, stress: 0 };
    Phrase {
        units: symbols.iter().map(unit).collect(),
        ..Phrase::default()
    }
}

/// Loads a random model with its configuration and its tensors changed.
fn altered(
    config: impl FnOnce(&mut Value),
    tensors: impl Fn(&str, &mut [f32]),
) -> Result<VoiceModel, VoiceError> {
    let folder = tempfile::tempdir().expect("a folder");
    random::write(folder.path(), random::TINY, false, tensors);
    let path = folder.path().join("config.json");
    let text = std::fs::read_to_string(&path).expect("it is read");
    let mut value = serde_json::from_str(&text).expect("it is JSON");
    config(&mut value);
    std::fs::write(&path, value.to_string()).expect("it is written");
    VoiceModel::load(&Checkpoint::open(folder.path()).expect("it opens"))
}

#[test]
fn models_that_do_not_fit_say_why() {
    let says = |config: fn(&mut Value), words: &[&str]| {
        let error = altered(config, |_, _| ())
            .expect_err("it must not load")
            .to_string();
        for word in words {
            assert!(error.contains(word), "{error:?} does not mention {word:?}");
        }
    };
    says(
        |c| c["model_type"] = json!("mamba2"),
        &["mamba2", "sillage-voice"],
    );
    says(|c| c["version"] = json!(2), &["version", "2"]);
    says(|c| c["hop"] = json!(256), &["hop", "256", "300"]);
    says(
        |c| c["voice_tokens"] = json!(null),
        &["voice_tokens", "null", "24", "export the model again"],
    );
    says(|c| c["voice_tokens"] = json!(32), &["voice_tokens", "32"]);
    says(
        |c| c["text"]["attend"] = json!(null),
        &["text.attend", "d_model"],
    );
    says(
        |c| c["text"]["attend"]["d_model"] = json!(192),
        &["text.attend", "192", "64"],
    );
    says(|c| c["symbols"] = json!([]), &["symbols"]);
    says(|c| c["symbols"] = json!("a b c"), &["symbols"]);
    says(
        |c| c["symbols"] = json!(["a", "b"]),
        &["text.embedding.weight"],
    );
    says(|c| c["speaker_bands"] = json!(101), &["speaker_bands"]);
    says(|c| c["acoustic"] = json!(null), &["acoustic", "d_model"]);
    says(|c| c["vocoder"]["d_model"] = json!(65), &["vocoder.trunk"]);
    says(
        |c| c["text"]["backward"]["d_model"] = json!(128),
        &["text.backward", "128"],
    );
    let flat = |name: &str, values: &mut [f32]| {
        if name == "mel.std" {
            values[3] = 0.0;
        }
    };
    let error = altered(|_| (), flat)
        .expect_err("it must not load")
        .to_string();
    assert!(error.contains("mel.std"), "{error}");
    let loud = |name: &str, values: &mut [f32]| {
        if name == "voices.tokens" {
            values[24 * 128 + 5] = 16.0;
        }
    };
    let error = altered(|_| (), loud)
        .expect_err("it must not load")
        .to_string();
    assert!(
        error.contains("voices.tokens") && error.contains("'two'"),
        "{error}"
    );
}

#[test]
fn bad_phrases_are_refused_and_change_nothing() {
    let (model, cx) = (model(), Compute::new(1));
    let speaker = model.speaker(&cx, &model.voices()[0]).expect("a speaker");
    let mut utterance = Utterance::new(&speaker, UtteranceOptions::default());
    let mut refuse = |change: fn(&mut Phrase), word: &str| {
        let mut phrase = phrase(&[0, 2, 3]);
        change(&mut phrase);
        let error = utterance
            .push_phrase(phrase)
            .expect_err("it is refused")
            .to_string();
        assert!(error.contains(word), "{error:?} does not mention {word:?}");
        assert!(utterance.is_waiting());
    };
    refuse(|p| p.units[1].symbol = 10, "symbol number 10");
    refuse(|p| p.units[1].stress = 3, "stress");
    refuse(|p| p.units = vec![p.units[0]; 99], "99");
    refuse(|p| p.speed = 0.0, "speed");
    refuse(|p| p.speed = f32::NAN, "speed");
    refuse(|p| p.volume = -1.0, "volume");
    refuse(|p| p.volume = f32::INFINITY, "volume");
    refuse(|p| p.pause = u32::MAX, "pause");
    let word = |units| WordSpan {
        text: "word".to_owned(),
        units,
    };
    let mut bad = phrase(&[0, 2, 3]);
    for words in [
        vec![word(1..4)],
        vec![word(1..3), word(2..3)],
        vec![word(2..1)],
    ] {
        bad.words = words;
        let error = utterance
            .push_phrase(bad.clone())
            .expect_err("it is refused");
        assert!(error.to_string().contains("word"), "{error}");
    }
    utterance.finish();
    let error = utterance.push_phrase(phrase(&[2])).expect_err("it is over");
    assert!(matches!(error, VoiceError::Finished));
}

#[test]
fn an_utterance_without_words_ends_without_sound() {
    let (model, cx) = (model(), Compute::new(1));
    let speaker = model.speaker(&cx, &model.voices()[0]).expect("a speaker");
    let mut utterance = Utterance::new(&speaker, UtteranceOptions::default());
    model
        .advance(&cx, &mut [&mut utterance], 8)
        .expect("nothing happens");
    assert!(utterance.is_waiting() && !utterance.is_done());
    utterance
        .push_phrase(Phrase::default())
        .expect("an empty phrase");
    utterance.finish();
    model
        .advance(&cx, &mut [&mut utterance], 8)
        .expect("it ends");
    assert!(utterance.is_done() && utterance.take_samples().is_empty());
    model
        .advance(&cx, &mut [&mut utterance], 8)
        .expect("it stays ended");
    model.advance(&cx, &mut [], 8).expect("nobody speaks");
}

#[test]
fn weights_that_overflow_are_named_and_spare_the_others() {
    // Symbol 4 with secondary stress is more than a number can be.
    let huge = |name: &str, values: &mut [f32]| match name {
        "text.stress.weight" => values[2 * 64..].fill(f32::MAX),
        "text.embedding.weight" => values[4 * 64..5 * 64].fill(f32::MAX),
        _ => {}
    };
    let cx = Compute::new(1);
    let model = altered(|_| (), huge).expect("finite weights load");
    let speaker = model.speaker(&cx, &model.voices()[0]).expect("a speaker");
    let mut sick = Utterance::new(&speaker, UtteranceOptions::default());
    let mut well = sick.fork();
    let mut stressed = phrase(&[0, 2, 3, 4, 2, 3]);
    well.push_phrase(stressed.clone()).expect("a phrase");
    stressed.units[3].stress = 2;
    sick.push_phrase(stressed).expect("a phrase");
    well.finish();
    let mut alone = well.fork();
    let mut failed = false;
    while !well.is_done() {
        let result = model.advance(&cx, &mut [&mut sick, &mut well], 3);
        if let Err(error) = result {
            assert!(matches!(error, VoiceError::NotFinite { .. }), "{error}");
            failed = true;
        }
        model.advance(&cx, &mut [&mut alone], 3).expect("it speaks");
    }
    assert!(failed && sick.is_done());
    assert!(sick.take_samples().iter().all(|v| v.is_finite()));
    let well = well.take_samples();
    assert!(!well.is_empty() && well == alone.take_samples());
}

#[test]
fn utterances_of_other_models_are_refused() {
    let cx = Compute::new(1);
    let model = model();
    let other = altered(
        |_| (),
        |name, v| {
            if name == "vocoder.head.bias" {
                v[0] += 1.0;
            }
        },
    );
    let other = other.expect("it loads");
    let speaker = other.speaker(&cx, &other.voices()[0]).expect("a speaker");
    let mut utterance = Utterance::new(&speaker, UtteranceOptions::default());
    let error = model
        .advance(&cx, &mut [&mut utterance], 1)
        .expect_err("it is foreign");
    assert!(
        matches!(error, VoiceError::ForeignUtterance { index: 0 }),
        "{error}"
    );
    let bytes = utterance.to_bytes().expect("it is frozen");
    let error = Utterance::from_bytes(&model, &cx, &bytes, None).expect_err("it is foreign");
    assert!(matches!(error, FrozenError::State(_)), "{error}");
}

fn voice() -> Voice {
    let mut vector = [0.0; VOICE_DIM];
    vector.copy_from_slice(&random::numbers(4, VOICE_DIM));
    let tokens = random::numbers(5, VOICE_TOKENS * VOICE_DIM);
    let tokens = Tokens::new(&tokens).expect("tokens");
    let mut voice =
        Voice::new("Ada \u{1F600}", "", vector, tokens, 5.2).with_field("about", "clear");
    voice.equaliser[7] = -0.25;
    voice
}

#[test]
fn voices_keep_every_bit_and_damage_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ada.voice");
    let voice = voice();
    voice.save(&path).expect("it is saved");
    assert_eq!(Voice::load(&path).expect("it is read"), voice);
    let bytes = voice.to_bytes().expect("bytes");
    assert!(bytes.len() < 7400, "{} bytes", bytes.len());
    for len in 0..bytes.len() {
        let cut = Voice::from_bytes(&bytes[..len]).expect_err("it is cut off");
        let expected = matches!(
            cut,
            VoiceFileError::NotAVoice | VoiceFileError::Damaged { .. }
        );
        assert!(expected, "{cut}");
    }
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        assert!(Voice::from_bytes(&bytes).is_err(), "byte {at}");
    }
    let mut more = bytes.clone();
    more.push(0);
    assert!(Voice::from_bytes(&more).is_err());
    let mut other = bytes;
    other[8] = 3;
    let error = Voice::from_bytes(&other).expect_err("it is of a later version");
    assert!(
        matches!(error, VoiceFileError::Version { found: 3, .. }),
        "{error}"
    );
    other[8] = 1;
    let error = Voice::from_bytes(&other).expect_err("it is of an earlier version");
    assert!(
        matches!(error, VoiceFileError::Old { found: 1, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("clone the voice again"));
    let error = Voice::load(folder.path().join("nobody")).expect_err("nothing is there");
    assert!(matches!(error, VoiceFileError::Io { .. }), "{error}");
    let long = voice.with_field("about", &"x".repeat(70_000));
    assert!(matches!(
        long.to_bytes(),
        Err(VoiceFileError::TooLong { .. })
    ));
}

#[test]
fn voices_that_cannot_be_are_refused() {
    let (model, cx) = (model(), Compute::new(1));
    let mut bad = voice();
    bad.vector[5] = f32::NAN;
    assert!(matches!(
        model.speaker(&cx, &bad),
        Err(VoiceError::BadVoice { .. })
    ));
    bad.vector[5] = 1e9;
    assert!(matches!(
        model.speaker(&cx, &bad),
        Err(VoiceError::BadVoice { .. })
    ));
    let mut bad = voice();
    bad.mu = 90.0;
    assert!(matches!(
        model.speaker(&cx, &bad),
        Err(VoiceError::BadVoice { .. })
    ));
    let mut bad = voice();
    bad.space = "another".to_owned();
    let error = model
        .speaker(&cx, &bad)
        .expect_err("it is foreign")
        .to_string();
    assert!(
        error.contains("another") && error.contains("clone the voice again"),
        "{error}"
    );
    assert!(model.check_voice(&bad).is_err());
}

#[test]
fn mixing_blends_and_refuses_nonsense() {
    let (a, mut b) = (voice(), voice());
    b.vector.reverse();
    let mut tokens = b.tokens.values();
    tokens.reverse();
    b.tokens = Tokens::new(&tokens).expect("tokens");
    b.mu = 4.8;
    let mixed = Voice::mix("both", &[(&a, 3.0), (&b, 1.0)]).expect("they mix");
    assert!((mixed.mu - (0.75 * 5.2 + 0.25 * 4.8)).abs() < 1e-6);
    let length: f32 = mixed.vector.iter().map(|v| v * v).sum();
    assert!((length - VOICE_DIM as f32).abs() < 1e-2, "{length}");
    for (i, token) in mixed.tokens.values().chunks(VOICE_DIM).enumerate() {
        let length: f32 = token.iter().map(|v| v * v).sum();
        assert!((length - VOICE_DIM as f32).abs() < 0.1, "{length}");
        let (x, y) = (a.tokens.values(), b.tokens.values());
        let at = i * VOICE_DIM;
        let sum = |j: usize| 0.75 * x[at + j] + 0.25 * y[at + j];
        let scale = token[7] / sum(7);
        for (j, v) in token.iter().enumerate() {
            assert!((v - scale * sum(j)).abs() < 0.05, "{v} in token {i}");
        }
    }
    let alone = Voice::mix("one", &[(&a, 0.5), (&b, 0.0)]).expect("they mix");
    let cosine: f32 = alone.vector.iter().zip(&a.vector).map(|(x, y)| x * y).sum();
    let scale: f32 = a.vector.iter().map(|v| v * v).sum::<f32>() * VOICE_DIM as f32;
    assert!((cosine / scale.sqrt() - 1.0).abs() < 1e-4);
    for weights in [
        [0.0, 0.0],
        [-1.0, 2.0],
        [f32::NAN, 1.0],
        [f32::INFINITY, 1.0],
    ] {
        let parts = [(&a, weights[0]), (&b, weights[1])];
        assert!(
            matches!(Voice::mix("x", &parts), Err(VoiceError::BadMix)),
            "{weights:?}"
        );
    }
    assert!(matches!(Voice::mix("x", &[]), Err(VoiceError::BadMix)));
    b.vector = a.vector.map(|v| -v);
    assert!(matches!(
        Voice::mix("x", &[(&a, 1.0), (&b, 1.0)]),
        Err(VoiceError::BadMix)
    ));
    b.vector = a.vector;
    let against: Vec<f32> = a.tokens.values().iter().map(|v| -v).collect();
    b.tokens = Tokens::new(&against).expect("tokens");
    assert!(matches!(
        Voice::mix("x", &[(&a, 1.0), (&b, 1.0)]),
        Err(VoiceError::BadMix)
    ));
    b.space = "another".to_owned();
    assert!(Voice::mix("x", &[(&a, 1.0), (&b, 1.0)]).is_err());
}

/// A frozen utterance with its checksum made right again after a change.
fn reseal(bytes: &mut [u8]) {
    let end = bytes.len() - 16;
    let sum = xxh3_128(&bytes[..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&sum);
}

#[test]
fn damaged_and_forged_utterances_are_refused() {
    let (model, cx) = (model(), Compute::new(1));
    let speaker = model.speaker(&cx, &model.voices()[0]).expect("a speaker");
    let mut utterance = Utterance::new(&speaker, UtteranceOptions::default());
    utterance
        .push_phrase(phrase(&[0, 2, 3, 4, 5]))
        .expect("a phrase");
    model
        .advance(&cx, &mut [&mut utterance], 4)
        .expect("it speaks");
    let bytes = utterance.to_bytes().expect("it is frozen");
    let resume = |bytes: &[u8]| Utterance::from_bytes(&model, &cx, bytes, None);
    assert!(resume(&bytes).is_ok());
    for len in (0..bytes.len()).step_by(97) {
        assert!(resume(&bytes[..len]).is_err(), "cut at {len}");
    }
    for at in (0..bytes.len()).step_by(31) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 4;
        assert!(resume(&bytes).is_err(), "byte {at}");
    }
    // Forged headers: the same text but for one setting.
    let len = u32::from_le_bytes(bytes[12..16].try_into().expect("four")) as usize;
    let header: Value = serde_json::from_slice(&bytes[16..16 + len]).expect("JSON");
    for (pointer, value) in [
        ("/place/unit", json!(99)),
        ("/place/step", json!(4_000_000)),
        ("/place/pause", json!(1)),
        ("/queue/0/counts", json!([1])),
        ("/queue/0/units", json!([[60_000, 0]])),
        ("/queue/0/speed", json!(f32::NAN.to_bits())),
        ("/clock", json!([f64::INFINITY.to_bits(), 0])),
        ("/samples", json!(u64::MAX)),
        ("/samples", json!(1_u64 << 40)),
        ("/voice_bytes", json!(0)),
        ("/queue", json!([])),
        ("/queue", json!("much")),
    ] {
        let mut header = header.clone();
        *header.pointer_mut(pointer).expect(pointer) = value.clone();
        let text = header.to_string().into_bytes();
        let mut forged = bytes[..12].to_vec();
        forged.extend((text.len() as u32).to_le_bytes());
        forged.extend(&text);
        forged.extend(&bytes[16 + len..]);
        reseal(&mut forged);
        assert!(resume(&forged).is_err(), "{pointer} = {value}");
    }
    // The header rewritten as it was is as good as the original.
    let mut forged = bytes.clone();
    reseal(&mut forged);
    assert!(resume(&forged).is_ok());
    assert!(matches!(resume(b"RIFF"), Err(FrozenError::NotFrozen)));
}

#[test]
fn clips_without_speech_are_refused() {
    let (model, cx) = (model(), Compute::new(1));
    let hear = |samples: &[f32]| model.clone_voice(&cx, "x", samples);
    assert!(matches!(hear(&[]), Err(VoiceError::BadClip { .. })));
    assert!(matches!(
        hear(&[0.0; 48_000]),
        Err(VoiceError::BadClip { .. })
    ));
    let mut samples: Vec<f32> = (0..72_000).map(|i| (i as f32 * 0.05).sin() * 0.3).collect();
    assert!(matches!(
        hear(&samples[..2400]),
        Err(VoiceError::ShortClip { .. })
    ));
    samples[500] = f32::NAN;
    assert!(matches!(hear(&samples), Err(VoiceError::BadClip { .. })));
    samples[500] = 0.0;
    let voice = hear(&samples).expect("a voice");
    let length: f32 = voice.vector.iter().map(|v| v * v).sum();
    assert!((length - VOICE_DIM as f32).abs() < 1e-2);
    // Loudness and silence around the speech do not matter much; length does not at all.
    let mut framed = vec![0.0; 30 * 300];
    framed.extend(samples.iter().map(|v| v * 0.2));
    framed.extend([0.0; 30 * 300]);
    let again = hear(&framed).expect("a voice");
    let cosine: f32 = again
        .vector
        .iter()
        .zip(&voice.vector)
        .map(|(a, b)| a * b)
        .sum();
    assert!(cosine / VOICE_DIM as f32 > 0.9, "{cosine}");
    let long: Vec<f32> = samples.iter().cycle().take(24_000 * 40).copied().collect();
    let long = hear(&long).expect("a voice");
    for tokens in [&voice.tokens, &long.tokens] {
        for token in tokens.values().chunks(VOICE_DIM) {
            let length: f32 = token.iter().map(|v| v * v).sum();
            assert!((length - VOICE_DIM as f32).abs() < 0.1, "{length}");
        }
    }
    assert!(model.encode_mel(&cx, "x", &[]).is_err());
}
