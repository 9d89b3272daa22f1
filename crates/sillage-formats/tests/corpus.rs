//! Replays the fuzzers' corpora: seeds, and every input that once broke something.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test should panic"
)]

use std::fs;
use std::path::PathBuf;

use sillage_formats::fuzzing;

fn replay(folder: &str, target: fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(folder);
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        target(&fs::read(entry.unwrap().path()).unwrap());
        seen += 1;
    }
    assert!(seen > 0, "{} is empty", folder.display());
}

#[test]
fn gguf() {
    replay("gguf", fuzzing::gguf);
}

#[test]
fn safetensors_folder() {
    replay("safetensors_folder", fuzzing::safetensors);
}

#[test]
fn tokenizer() {
    replay("tokenizer", fuzzing::tokenizer);
}

#[test]
fn config_json() {
    replay("config_json", fuzzing::config);
}

#[test]
fn quant_file() {
    replay("quant_file", fuzzing::packed);
}
