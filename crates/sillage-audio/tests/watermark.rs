//! The mark is found after what happens to sound, in one second of it, and not
//! where it is not. The figures on real speech are in `benches/results/voice`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use sillage_audio::encode::{Encoder, Format, Settings};
use sillage_audio::resample::resample;
use sillage_audio::watermark::{BINS, Key, SAMPLE_RATE, Watermark, apply, detect};

const RATE: usize = SAMPLE_RATE as usize;

/// Something with the statistics of speech as far as they matter: harmonics and
/// hiss under moving resonances, in syllables.
fn speech(seconds: f64, seed: u32) -> Vec<f32> {
    let n = (RATE as f64 * seconds) as usize;
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f64::from(state) / 2f64.powi(31) - 1.0
    };
    let (mut phase, mut y) = (0f64, [[0f64; 2]; 3]);
    (0..n)
        .map(|i| {
            let t = i as f64 / RATE as f64 + f64::from(seed);
            phase += (130.0 + 40.0 * (2.1 * t).sin() + 10.0 * (7.3 * t).sin()) / RATE as f64;
            let pulse = if phase >= 1.0 {
                phase -= 1.0;
                12.0
            } else {
                0.0
            };
            let mut sum = 0.0;
            for (k, y) in y.iter_mut().enumerate() {
                let centre =
                    [500.0, 1500.0, 2900.0][k] * (1.0 + 0.25 * ((3.0 + k as f64) * t).sin());
                let step = std::f64::consts::TAU * centre / RATE as f64;
                let next = pulse + 0.5 * noise() + 1.94 * step.cos() * y[0] - 0.941 * y[1];
                (y[1], y[0]) = (y[0], next);
                sum += next / (1.0 + k as f64);
            }
            let level = 0.15 + (0.5 + 0.5 * (std::f64::consts::TAU * 3.7 * t).sin()).powi(2);
            (0.01 * level * sum) as f32
        })
        .collect()
}

#[test]
fn one_second_is_enough_and_none_is_called_marked_without() {
    let plain = speech(20.0, 1);
    let marked = apply(&plain, &Key::PUBLIC, 7);
    let count = |sound: &[f32]| {
        sound
            .chunks_exact(RATE)
            .filter(|s| detect(s, None).marked)
            .count()
    };
    assert!(count(&marked) >= 19, "{}", count(&marked));
    assert_eq!(count(&plain), 0);
}

#[test]
fn ten_seconds_tell_the_payload_and_where() {
    let key = Key::from_text("correct horse");
    let (payload, plain) = (0xdead_beef, speech(30.0, 2));
    let mut sound = plain.clone();
    // Only the middle third is marked, and nothing starts at a round place.
    sound[10 * RATE..20 * RATE].copy_from_slice(&apply(
        &plain[10 * RATE..20 * RATE],
        &key,
        payload,
    ));
    let found = detect(&sound[777..], Some(&key));
    assert!(found.marked && found.confidence > 0.999);
    let read = found.payload.unwrap();
    assert_eq!(read.value, payload);
    assert!(read.confidence > 0.99);
    for second in &found.seconds {
        let inside = (10.2..18.8).contains(&second.start);
        let outside = second.start < 8.8 || second.start > 20.2;
        assert!(second.marked || !inside, "{second:?}");
        assert!(!second.marked || !outside, "{second:?}");
    }
    // The mark is for all to see; what it says is not.
    let without = detect(&sound, None);
    assert!(without.marked);
    assert!(without.payload.unwrap().confidence < 0.9);
}

#[test]
fn speed_pitch_filters_codecs_and_gain() {
    let marked = apply(&speech(10.0, 3), &Key::PUBLIC, 42);
    let check = |name: &str, sound: &[f32]| {
        let found = detect(sound, None);
        assert!(found.marked, "{name}: {}", found.score);
        let payload = found.payload.unwrap();
        assert_eq!(payload.value, 42, "{name}");
        found.track.unwrap()
    };
    for factor in [0.9, 1.1] {
        let other = (24_000.0 / factor) as u32;
        let track = check("speed", &resample(&marked, SAMPLE_RATE, other).unwrap());
        assert!((track.speed - factor).abs() < 0.01 && (track.pitch - factor).abs() < 0.03);
    }
    let down = resample(&marked, SAMPLE_RATE, 8_000).unwrap();
    check("8 kHz", &resample(&down, 8_000, SAMPLE_RATE).unwrap());
    check(
        "quiet",
        &marked
            .iter()
            .map(|v| (v * 3276.8).round() / 32_768.0)
            .collect::<Vec<_>>(),
    );
    check("late", &marked[12_345..]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.opus");
    let mut encoder =
        Encoder::to_path(&path, Settings::new(Format::Opus, SAMPLE_RATE), None).unwrap();
    encoder.push(&marked).unwrap();
    encoder.finish().unwrap();
    let limits = sillage_audio::decode::Limits::default();
    let clip = sillage_audio::decode::decode_file(&path, SAMPLE_RATE, &limits).unwrap();
    check("Opus", &clip.samples);
}

#[test]
fn a_second_is_enough_at_any_speed_in_range() {
    let marked = apply(&speech(12.0, 4), &Key::PUBLIC, 42);
    for percent in [89, 90, 91, 95, 105, 109, 110, 111] {
        let other = 24_000 * 100 / percent;
        let sound = resample(&marked, SAMPLE_RATE, other).unwrap();
        let pieces = sound.chunks_exact(RATE);
        let (all, found) = (
            pieces.len(),
            pieces.filter(|s| detect(s, None).marked).count(),
        );
        assert!(found + 1 >= all, "{percent} %: {found} of {all}");
    }
}

#[test]
fn the_pattern_never_changes() {
    // Sound that is marked today must be found by every later version.
    let hash = |key: &Key, payload: u32| {
        let mark = Watermark::with_strength(key, payload, 1.5);
        let mut hasher = blake3::Hasher::new();
        for frame in 0..512 {
            // Which way each bin goes, not the last bit of a power of ten.
            let ways = mark
                .gains(frame)
                .map(|gain| (gain > 1.0001) as u8 * 2 + (gain < 0.9999) as u8);
            hasher.update(&ways);
        }
        hasher.finalize().to_hex()[..16].to_owned()
    };
    assert_eq!(hash(&Key::PUBLIC, 0), "ee076cd2fb910973");
    assert_eq!(
        hash(&Key::from_text("a key"), 0x1234_5678),
        "dcab0fc2826a2a42"
    );
    let mark = Watermark::new(&Key::PUBLIC, 5);
    assert_eq!(mark.gains(3), mark.gains(3 + 512));
    let outside = mark.gains(0);
    assert!(
        outside[..12]
            .iter()
            .chain(&outside[238..])
            .all(|&gain| gain == 1.0)
    );
    assert_eq!(outside.len(), BINS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn any_samples_are_heard_without_harm(samples in prop::collection::vec(any::<f32>(), 0..9000)) {
        let found = detect(&samples, None);
        prop_assert!((0.0..=1.0).contains(&found.confidence) && found.score.is_finite());
    }
}
