//! Replays the fuzzer's corpus, and holds version 1 of the format still:
//! files written once must load for ever.
#![allow(clippy::unwrap_used)]

mod common;

use common::fed;
use sillage_state::{Meta, Precision, Snapshot, fuzzing};
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/state_file")
}

/// Name and contents of every seed.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let layout = fuzzing::layout();
    let tokens: Vec<u32> = (0..70).collect();
    let write = |snapshot: &Snapshot, precision| {
        let mut bytes = Vec::new();
        snapshot.write_to(&mut bytes, precision).unwrap();
        bytes
    };
    let meta = Meta::default()
        .with("model", "fuzz")
        .with_tokens(&tokens[..]);
    let full = fed(&layout, &tokens).freeze().with_meta(meta);
    let exact = write(&full, Precision::Exact);
    let mut flipped = exact.clone();
    flipped[2000] ^= 4;
    let mut newer = exact.clone();
    newer[8] = 9;
    vec![
        (
            "v1-empty.state",
            write(&fed(&layout, &[]).freeze(), Precision::Exact),
        ),
        ("v1-lossy.state", write(&full, Precision::Bf16)),
        ("truncated.state", exact[..exact.len() / 2].to_vec()),
        ("flipped.state", flipped),
        ("newer.state", newer),
        ("v1-exact.state", exact),
    ]
}

#[test]
fn the_corpus_is_survived() {
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        fuzzing::check(&bytes);
        count += 1;
    }
    assert!(
        count >= seeds().len(),
        "run `cargo test -p sillage-state -- --ignored write_the_seeds`"
    );
}

#[test]
fn version_1_files_load_as_they_were_written() {
    let layout = fuzzing::layout();
    for (name, fresh) in seeds()
        .into_iter()
        .filter(|(name, _)| name.starts_with("v1-"))
    {
        let kept = std::fs::read(folder().join(name)).unwrap();
        let (kept, fresh) = (
            Snapshot::read_from(&kept[..], &layout),
            Snapshot::read_from(&fresh[..], &layout),
        );
        let (kept, fresh) = (kept.unwrap(), fresh.unwrap());
        assert!(
            kept.state().bits_eq(fresh.state()),
            "{name}: the format, or a kernel's order of a slot, has changed"
        );
        assert_eq!(kept.meta(), fresh.meta());
    }
}

#[test]
#[ignore = "writes the seeds anew; only for a new version of the format"]
fn write_the_seeds() {
    for (name, bytes) in seeds() {
        std::fs::write(folder().join(name), bytes).unwrap();
    }
}
