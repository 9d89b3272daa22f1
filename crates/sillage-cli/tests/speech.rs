//! Speaking, cloning and provenance as people meet them, with the voice that ships.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A user with a home of his own, and a folder to work in.
struct User {
    folder: TempDir,
}

impl User {
    fn new() -> Self {
        User {
            folder: TempDir::new().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sillage(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("COLUMNS", "100")
            .env("SILLAGE_HOME", self.path("home"))
            .env_remove("SILLAGE_RECOGNISER")
            .stdin(Stdio::null());
        command
    }

    /// What a successful command prints and says.
    fn ok(&self, args: &[&str]) -> (String, String) {
        let output = self.sillage(args).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        (text(&output.stdout), said)
    }

    /// What a failing command says.
    fn fails(&self, args: &[&str]) -> String {
        failed(&self.sillage(args).output().unwrap(), args)
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args).0).unwrap()
    }
}

fn failed(output: &Output, args: &[&str]) -> String {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(
        said.starts_with("error: ") && !said.contains("panicked"),
        "{said}"
    );
    said
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn feed(mut command: Command, pieces: &[&[u8]]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for piece in pieces {
        input.write_all(piece).unwrap();
        input.flush().unwrap();
    }
    drop(input);
    child.wait_with_output().unwrap()
}

#[test]
fn help_reads_well() {
    let user = User::new();
    for name in ["say", "clone", "voices", "detect", "manifest", "log"] {
        insta::assert_snapshot!(format!("help-{name}"), user.ok(&[name, "--help"]).0);
    }
}

#[test]
fn what_is_said_is_signed_marked_and_timed() {
    let user = User::new();
    let words = "Hello there! Dr. Smith paid $5 for \u{201c}it\u{201d}, didn't he?";
    let (_, said) = user.ok(&[
        "say",
        words,
        "-o",
        "a.wav",
        "--timestamps",
        "w.json",
        "--payload",
        "c0ffee",
    ]);
    assert!(
        said.contains("first sound after") && said.contains("real-time factor"),
        "{said}"
    );
    let timed: Vec<Value> =
        serde_json::from_slice(&std::fs::read(user.path("w.json")).unwrap()).unwrap();
    let echoed: Vec<&str> = timed
        .iter()
        .map(|word| word["text"].as_str().unwrap())
        .collect();
    assert_eq!(echoed, words.split_whitespace().collect::<Vec<_>>());
    let mut last = 0.0;
    for word in &timed {
        let (start, end) = (
            word["start"].as_f64().unwrap(),
            word["end"].as_f64().unwrap(),
        );
        assert!(start >= last && end > start, "{word}");
        last = start;
        let phonemes = word["phonemes"].as_array().unwrap();
        assert_eq!(phonemes.first().unwrap()["start"], word["start"], "{word}");
        assert_eq!(phonemes.last().unwrap()["end"], word["end"], "{word}");
    }
    let manifest = user.json(&["manifest", "a.wav", "--json"]);
    assert_eq!(manifest["state"], "verified");
    assert_eq!(manifest["manifest"]["payload"], "00c0ffee");
    let found = user.json(&["detect", "a.wav", "--json"]);
    assert_eq!(
        (&found["marked"], &found["payload"]),
        (&Value::Bool(true), &Value::from("00c0ffee"))
    );

    let mut sound = std::fs::read(user.path("a.wav")).unwrap();
    sound[20_000] ^= 1;
    std::fs::write(user.path("b.wav"), sound).unwrap();
    assert!(
        user.fails(&["manifest", "b.wav"])
            .contains("not the one that was signed")
    );
}

#[test]
fn every_format_carries_the_manifest() {
    let user = User::new();
    let endings: &[&str] = if cfg!(feature = "mp3") {
        &["flac", "opus", "mp3"]
    } else {
        &["flac", "opus"]
    };
    for ending in endings {
        let name = format!("a.{ending}");
        user.ok(&["say", "One, two, three, four.", "-o", &name]);
        assert_eq!(
            user.json(&["manifest", &name, "--json"])["state"],
            "verified",
            "{ending}"
        );
        assert_eq!(
            user.json(&["detect", &name, "--json"])["marked"],
            true,
            "{ending}"
        );
    }
}

#[test]
fn the_same_words_give_the_same_samples() {
    let user = User::new();
    let words = "The same words give the same samples. Whatever the pieces, whatever the threads.";
    let raw = |args: &[&str]| user.sillage(args).output().unwrap().stdout;
    let whole = raw(&["say", words, "-o", "raw"]);
    assert!(whole.len() > 48_000);
    assert!(whole == raw(&["say", words, "-o", "raw", "--threads", "2"]));
    assert!(whole != raw(&["say", words, "-o", "raw", "--seed", "1"]));
    let (head, tail) = words.split_at(38);
    let fed = feed(
        user.sillage(&["say", "-o", "raw"]),
        &[head.as_bytes(), tail.as_bytes()],
    );
    assert!(whole == fed.stdout);
    std::fs::write(user.path("t.txt"), words).unwrap();
    assert!(whole == raw(&["say", "--file", "t.txt", "-o", "raw"]));
}

#[test]
fn speed_volume_and_markup_do_what_they_say() {
    let user = User::new();
    let seconds = |args: &[&str]| {
        user.json(&[&["say", "--json", "-o", "s.wav"], args].concat())["seconds"]
            .as_f64()
            .unwrap()
    };
    let plain = seconds(&["Some words to be said at several speeds."]);
    assert!(seconds(&["Some words to be said at several speeds.", "--speed", "1.5"]) < 0.8 * plain);
    let paused = seconds(&["Some words to be said<break time=\"2s\"/> at several speeds."]);
    assert!(paused > plain + 1.5, "{paused} {plain}");
    assert!(seconds(&["<spell>ABCDEFGH</spell>"]) > seconds(&["abc"]));
    assert!(seconds(&["<<h|ə|l|oʊ>>"]) > 0.2);
    let loudest = |volume: &str| {
        let raw = user
            .sillage(&["say", "Loud.", "-o", "raw", "--volume", volume])
            .output()
            .unwrap()
            .stdout;
        raw.chunks_exact(2)
            .map(|b| i16::from_le_bytes([b[0], b[1]]).unsigned_abs())
            .max()
            .unwrap()
    };
    assert!(f64::from(loudest("2")) > 3.0 * f64::from(loudest("0.5")));
    std::fs::write(user.path("d.tsv"), "sillage\tsˈiɑʒ\n").unwrap();
    let said = |args: &[&str]| {
        user.sillage(&[&["say", "sillage", "-o", "raw"], args].concat())
            .output()
            .unwrap()
            .stdout
    };
    assert!(said(&[]) != said(&["--dictionary", "d.tsv"]));
}

#[test]
fn voices_are_listed_mixed_and_removed() {
    let user = User::new();
    let list = |user: &User| -> Vec<Value> {
        user.ok(&["voices", "--json"])
            .0
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let shipped = list(&user);
    assert!(shipped.len() >= 8);
    let with = |accent: &str| shipped.iter().filter(|v| v["accent"] == accent).count();
    assert!(with("en-US") >= 2 && with("en-GB") >= 2);
    user.ok(&["voices", "mix", "heart:0.7", "george:0.3", "--name", "both"]);
    assert_eq!(list(&user).len(), shipped.len() + 1);
    assert!(
        std::fs::metadata(user.path("home/voices/both.voice"))
            .unwrap()
            .len()
            < 8192
    );
    user.ok(&["say", "Hello.", "--voice", "both", "-o", "m.wav"]);
    assert!(
        user.fails(&["voices", "mix", "heart", "--name", "both"])
            .contains("--replace")
    );
    assert!(
        user.fails(&["voices", "mix", "heart", "--name", "../up"])
            .contains("no name for a voice")
    );
    assert!(
        user.fails(&["voices", "mix", "heart", "--name", "george"])
            .contains("built-in")
    );
    assert!(
        user.fails(&["voices", "mix", "heart:-1", "--name", "x"])
            .contains("error")
    );
    assert!(
        user.fails(&["voices", "mix", "heart:x", "--name", "x"])
            .contains("VOICE:SHARE")
    );
    user.ok(&["voices", "remove", "both"]);
    assert_eq!(list(&user).len(), shipped.len());
    assert!(
        user.fails(&["say", "Hi.", "--voice", "both", "-o", "m.wav"])
            .contains("there is no voice 'both'")
    );
    std::fs::create_dir_all(user.path("home/voices")).unwrap();
    std::fs::write(user.path("home/voices/torn.voice"), b"\x89SILVOX\n\x01").unwrap();
    std::fs::write(
        user.path("home/voices/old.voice"),
        b"\x89SILVOX\n\x01\0\0\0",
    )
    .unwrap();
    assert_eq!(list(&user).len(), shipped.len());
    assert!(user.ok(&["voices"]).1.contains("old: the voice file is of"));
    user.fails(&["say", "Hi.", "--voice", "torn", "-o", "m.wav"]);
    assert!(
        user.fails(&["say", "Hi.", "--voice", "old", "-o", "m.wav"])
            .contains("clone the voice again")
    );
}

#[test]
fn cloning_needs_the_same_speakers_consent() {
    let user = User::new();
    let long = "This is a recording of some length, in which one person speaks about nothing in particular.";
    user.ok(&["say", long, "--voice", "lewis", "-o", "clip.wav"]);
    user.ok(&[
        "say",
        long,
        "--voice",
        "lewis",
        "--seed",
        "7",
        "-o",
        "agreed.opus",
    ]);
    user.ok(&["say", long, "--voice", "heart", "-o", "other.flac"]);
    assert!(
        user.ok(&["clone", "--name", "anna"])
            .0
            .contains("I agree that Sillage")
    );
    assert!(
        user.fails(&["clone", "clip.wav", "--name", "anna"])
            .contains("I agree that Sillage")
    );
    let said = user.fails(&[
        "clone",
        "clip.wav",
        "--name",
        "anna",
        "--consent",
        "other.flac",
    ]);
    assert!(said.contains("does not sound like the speaker"), "{said}");
    assert!(!user.path("home/voices/anna.voice").exists());
    let (_, said) = user.ok(&[
        "clone",
        "clip.wav",
        "--name",
        "anna",
        "--consent",
        "agreed.opus",
    ]);
    assert!(
        said.contains("likeness") && said.contains("were not checked"),
        "{said}"
    );
    user.ok(&["say", "Hello.", "--voice", "anna", "-o", "anna.wav"]);
    assert!(user.json(&["manifest", "anna.wav", "--json"])["manifest"]["consent"].is_string());
    assert!(user.ok(&["log", "verify"]).0.contains("all 1 lines hold"));
    let log = user.path("home/consent.log");
    let changed = std::fs::read_to_string(&log)
        .unwrap()
        .replace("anna", "otto");
    std::fs::write(&log, changed).unwrap();
    assert!(
        user.fails(&["log", "verify"])
            .contains("line 1 does not hold")
    );
}

#[cfg(unix)]
#[test]
fn a_recogniser_checks_the_words_of_the_consent() {
    use std::os::unix::fs::PermissionsExt;
    let user = User::new();
    let long = "This is a recording of some length, in which one person speaks about nothing in particular.";
    user.ok(&["say", long, "--voice", "lewis", "-o", "clip.wav"]);
    let hears = |words: &str| {
        let program = user.path("hear");
        std::fs::write(&program, format!("#!/bin/sh\necho '{words}'\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = user.sillage(&[
            "clone",
            "clip.wav",
            "--name",
            "anna",
            "--consent",
            "clip.wav",
        ]);
        command.env("SILLAGE_RECOGNISER", program).output().unwrap()
    };
    let said = failed(&hears("something else entirely"), &["clone"]);
    assert!(
        said.contains("does not hold the consent sentence"),
        "{said}"
    );
    let spoken = "I am the speaker of this recording and I agree that Sillage makes a synthetic copy of my voice with the name Anna";
    assert!(hears(spoken).status.success());
}

#[test]
fn bad_clips_are_refused_with_the_reason() {
    let user = User::new();
    let wav = |name: &str, samples: &[i16]| {
        let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        file[4..8].copy_from_slice(&(36 + bytes.len() as u32).to_le_bytes());
        file.extend([24_000u32, 48_000].map(u32::to_le_bytes).concat());
        file.extend(b"\x02\0\x10\0data");
        file.extend((bytes.len() as u32).to_le_bytes());
        file.extend(bytes);
        std::fs::write(user.path(name), file).unwrap();
    };
    let mut seed = 1u32;
    let noise: Vec<i16> = (0..24_000 * 5)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 18) as i16 - 8192
        })
        .collect();
    wav("silent.wav", &[0; 24_000 * 5]);
    wav("short.wav", &noise[..2400]);
    wav("noise.wav", &noise);
    let square: Vec<i16> = (0..24_000 * 5)
        .map(|n| if n / 60 % 2 == 0 { i16::MAX } else { i16::MIN })
        .collect();
    wav("clipped.wav", &square);
    std::fs::write(user.path("text.wav"), "this is no sound").unwrap();
    std::fs::write(
        user.path("cut.wav"),
        &std::fs::read(user.path("noise.wav")).unwrap()[..30],
    )
    .unwrap();
    let clone = |name: &str| user.fails(&["clone", name, "--name", "x", "--consent", name]);
    assert!(clone("silent.wav").contains("silent"));
    assert!(clone("short.wav").contains("at least 3 s"));
    assert!(clone("noise.wav").contains("no speech"));
    assert!(clone("clipped.wav").contains("overdriven"));
    for name in ["text.wav", "cut.wav", "nowhere.wav"] {
        clone(name);
        user.fails(&["detect", name]);
    }
    assert!(!Path::new(&user.path("home/consent.log")).exists());
}

#[test]
fn bad_words_are_refused_or_read_sensibly() {
    let user = User::new();
    for empty in ["", " \n\t", "...", "?!"] {
        assert!(
            user.fails(&["say", empty, "-o", "a.wav"])
                .contains("nothing to say"),
            "{empty:?}"
        );
    }
    assert!(!user.path("a.wav").exists());
    for wrong in [
        "<break time=",
        "<spell>abc",
        "<<h|9|l>>",
        "<speed ratio=\"9\"/> x",
        "<break time=\"-1s\"/>",
    ] {
        user.fails(&["say", wrong, "-o", "a.wav"]);
        assert!(!user.path("a.wav").exists());
    }
    for odd in [
        "\u{1F642} smile",
        "東京 and Ελλάδα",
        "a\u{7}b\u{200b}c",
        "CAPITALS & 3 < 4",
    ] {
        user.ok(&["say", odd, "-o", "odd.wav"]);
    }
    assert!(
        user.fails(&["say", "x", "-o", "a.xyz"])
            .contains("the ending says the format")
    );
    assert!(
        user.fails(&["say", "x", "-o", "a.wav", "--speed", "3"])
            .contains("0.6 to 1.5")
    );
    assert!(
        user.fails(&["say", "--file", "no.txt", "-o", "a.wav"])
            .contains("cannot read no.txt")
    );
    std::fs::write(user.path("latin.txt"), b"caf\xe9").unwrap();
    assert!(
        user.fails(&["say", "--file", "latin.txt", "-o", "a.wav"])
            .contains("not UTF-8")
    );
    let output = feed(user.sillage(&["say", "-o", "a.wav"]), &[b"caf\xe9!"]);
    assert!(failed(&output, &["say"]).contains("not UTF-8"));
    std::fs::write(user.path("d.tsv"), "word only\n").unwrap();
    assert!(
        user.fails(&["say", "x", "-o", "a.wav", "--dictionary", "d.tsv"])
            .contains("line 1")
    );
    assert!(!user.path("a.wav").exists());
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let user = User::new();
    let mut command = user.sillage(&[
        "say",
        &"A long text that nobody hears to its end. ".repeat(40),
        "-o",
        "-",
    ]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}
