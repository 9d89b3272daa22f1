//! Manifests travel with their sound, and nothing passes that was changed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use sillage_audio::encode::{Encoder, Format, Settings};
use sillage_audio::log::{Fault, Log, LogError};
use sillage_audio::manifest::{Claim, Draft, SigningKey, Verdict, manifest_of, read_manifest};

fn claim() -> Claim {
    Claim {
        tool: "sillage".into(),
        version: "0.1.0".into(),
        model: "0123456789abcdef".into(),
        voice: "Zoë \"the second\"".into(),
        time: "2026-01-31T12:34:56Z".into(),
        payload: Some("0000002a".into()),
        consent: None,
    }
}

fn formats() -> Vec<Format> {
    let mut formats = vec![Format::Wav, Format::Flac, Format::Opus];
    if cfg!(feature = "mp3") {
        formats.push(Format::Mp3);
    }
    formats
}

fn write(folder: &Path, format: Format, frequency: f32) -> PathBuf {
    let path = folder.join(format!("{format:?}{frequency}"));
    let draft = Draft::new(claim(), SigningKey::from_bytes([3; 32])).unwrap();
    let mut encoder = Encoder::to_path(&path, Settings::new(format, 24_000), Some(draft)).unwrap();
    let sound: Vec<f32> = (0..12_345)
        .map(|i| 0.3 * (i as f32 * frequency).sin())
        .collect();
    encoder.push(&sound).unwrap();
    assert!(encoder.finish().unwrap().manifest, "{format:?}");
    path
}

#[test]
fn a_manifest_comes_back_verified() {
    let folder = tempfile::tempdir().unwrap();
    for format in formats() {
        let path = write(folder.path(), format, 0.05);
        let verdict = read_manifest(&path).unwrap();
        let Verdict::Verified { manifest, key } = verdict else {
            panic!("{format:?}: {verdict:?}");
        };
        assert_eq!(manifest.claim, claim());
        assert_eq!(key, SigningKey::from_bytes([3; 32]).public());
        assert_eq!(
            (manifest.sound.samples, manifest.sound.rate),
            (12_345, 24_000)
        );
        // And the sound still decodes.
        let limits = sillage_audio::decode::Limits::default();
        let clip = sillage_audio::decode::decode_file(&path, 24_000, &limits).unwrap();
        assert_eq!(clip.samples.len(), 12_345, "{format:?}");
    }
}

#[test]
fn no_changed_byte_of_the_sound_verifies() {
    let folder = tempfile::tempdir().unwrap();
    for format in formats() {
        let path = write(folder.path(), format, 0.05);
        let whole = std::fs::read(&path).unwrap();
        // From the middle of the sound to before what may follow it.
        for step in 0..20 {
            let mut bytes = whole.clone();
            let at = whole.len() / 2 + step * whole.len() / 100;
            bytes[at] ^= 0x10;
            let verdict = manifest_of(&bytes);
            assert!(
                !matches!(verdict, Ok(Verdict::Verified { .. })),
                "{format:?} byte {at}"
            );
        }
    }
}

#[test]
fn a_manifest_moved_to_another_sound_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    // The block of one WAV put after the sound of another of the same length.
    let (a, b) = (
        write(folder.path(), Format::Wav, 0.05),
        write(folder.path(), Format::Wav, 0.06),
    );
    let (a, b) = (std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
    let sound = 44 + 2 * 12_345;
    let moved = [&b[..sound], &a[sound..]].concat();
    assert!(matches!(
        manifest_of(&moved).unwrap(),
        Verdict::AlteredSound { .. }
    ));
    // Nor may the sound's header say that it runs faster.
    let mut faster = a.clone();
    faster[24..28].copy_from_slice(&48_000u32.to_le_bytes());
    assert!(matches!(
        manifest_of(&faster).unwrap(),
        Verdict::AlteredSound { .. }
    ));
}

#[test]
fn a_changed_claim_is_a_bad_signature() {
    let folder = tempfile::tempdir().unwrap();
    for format in formats() {
        let mut bytes = std::fs::read(write(folder.path(), format, 0.05)).unwrap();
        let (old, new): (Vec<u8>, Vec<u8>) = match format {
            // Comments hold hexadecimal.
            Format::Opus => (b"2032303236".to_vec(), Vec::new()),
            _ => (b"2026-01-31".to_vec(), b"2025-01-31".to_vec()),
        };
        let (old, new) = match format {
            Format::Opus => (hex(b"2026-01-31"), hex(b"2025-01-31")),
            _ => (old, new),
        };
        let at = bytes.windows(old.len()).position(|w| w == old).unwrap();
        bytes[at..at + new.len()].copy_from_slice(&new);
        let verdict = manifest_of(&bytes).unwrap();
        // An Ogg page that was changed fails its own checksum first.
        assert!(
            matches!(verdict, Verdict::BadSignature | Verdict::None),
            "{format:?}: {verdict:?}"
        );
        assert!(format == Format::Opus || verdict == Verdict::BadSignature);
    }
}

fn hex(text: &[u8]) -> Vec<u8> {
    text.iter()
        .flat_map(|b| format!("{b:02x}").into_bytes())
        .collect()
}

#[test]
fn other_files_have_none() {
    for bytes in [
        &b""[..],
        b"RIFF",
        b"fLaC",
        b"OggS",
        b"ID3",
        b"text",
        &[0xff; 64],
    ] {
        assert_eq!(manifest_of(bytes).unwrap(), Verdict::None);
    }
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_log_holds_until_a_line_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/log.jsonl");
    let log = Log::new(&path);
    assert_eq!(log.verify().unwrap().lines, 0);
    for i in 0..5 {
        let done = log
            .append("use", &serde_json::json!({ "voice": "ä", "n": i }))
            .unwrap();
        assert_eq!((done.number, done.repaired), (i + 1, 0));
    }
    let check = log.verify().unwrap();
    assert_eq!((check.lines, check.broken), (5, None));
    assert_eq!(log.entries().unwrap()[4].data["n"], 4);
    let whole = lines(&path);
    assert!(whole[4].contains(check.head.as_deref().unwrap()));

    let broken = |lines: Vec<String>| {
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        log.verify().unwrap().broken
    };
    let mut changed = whole.clone();
    changed[2] = changed[2].replace("\"n\":2", "\"n\":7");
    assert_eq!(broken(changed), Some((3, Fault::Changed)));
    let mut removed = whole.clone();
    removed.remove(1);
    assert_eq!(broken(removed), Some((2, Fault::Chain)));
    let mut swapped = whole.clone();
    swapped.swap(3, 4);
    assert_eq!(broken(swapped), Some((4, Fault::Chain)));
    let mut foreign = whole.clone();
    foreign[0] = "{}".into();
    assert_eq!(broken(foreign), Some((1, Fault::Form)));
    let mut last = whole;
    last[4] = last[4].replace("use", "abc");
    assert_eq!(broken(last), Some((5, Fault::Changed)));
    assert!(matches!(log.append("use", &()), Err(LogError::Broken(_))));
}

#[test]
fn a_torn_line_is_reported_and_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = Log::new(&path);
    log.append("a", &1).unwrap();
    log.append("b", &2).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let first = whole.iter().position(|&b| b == b'\n').unwrap() + 1;
    for cut in first + 1..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(log.verify().unwrap().broken, Some((2, Fault::Torn)));
        let done = log.append("c", &3).unwrap();
        assert_eq!((done.number, done.repaired), (2, cut - first));
        let check = log.verify().unwrap();
        assert_eq!((check.lines, check.broken), (2, None));
    }
}

#[test]
fn many_may_write_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = Log::new(&path);
            scope
                .spawn(move || (0..8).for_each(|i| drop(log.append("use", &(thread, i)).unwrap())));
        }
    });
    let check = Log::new(&path).verify().unwrap();
    assert_eq!((check.lines, check.broken), (32, None));
}

#[test]
fn a_huge_entry_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::new(folder.path().join("log"));
    assert!(matches!(
        log.append("x", &"y".repeat(70_000)),
        Err(LogError::TooLong(_))
    ));
    assert_eq!(log.verify().unwrap().lines, 0);
}
