//! Truncated, damaged and hostile files: an error that names the cause, never a panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test should panic"
)]

mod common;

use std::fs;
use std::path::Path;

use common::{Noise, conformance, f32_bytes, safetensors};
use serde_json::json;
use sillage_formats::gguf::Gguf;
use sillage_formats::quantize::{Policy, Target, quantize};
use sillage_formats::{Checkpoint, FormatError};

/// Opens and reads everything; what comes out does not matter.
fn exercise(bytes: &[u8]) -> Result<(), FormatError> {
    let checkpoint = Checkpoint::from_vec(bytes.to_vec())?;
    for name in checkpoint.names().map(str::to_owned).collect::<Vec<_>>() {
        checkpoint.f32(&name)?;
        if checkpoint.shape(&name).is_some_and(|s| s.len() == 2) {
            checkpoint.linear(&name)?;
        }
    }
    if checkpoint.has_tokenizer() {
        checkpoint.tokenizer()?;
    }
    Ok(())
}

/// A small GGUF file: metadata of every kind, one plain and one quantised tensor.
fn small_gguf() -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    let text = |out: &mut Vec<u8>, s: &str| {
        out.extend((s.len() as u64).to_le_bytes());
        out.extend(s.as_bytes());
    };
    out.extend(3u32.to_le_bytes());
    out.extend(2u64.to_le_bytes());
    let numbers = [
        ("block_count", 1u32),
        ("embedding_length", 32),
        ("ssm.inner_size", 64),
        ("ssm.state_size", 16),
        ("ssm.conv_kernel", 4),
        ("ssm.time_step_rank", 2),
    ];
    out.extend((numbers.len() as u64 + 4).to_le_bytes());
    text(&mut out, "general.architecture");
    out.extend(8u32.to_le_bytes());
    text(&mut out, "mamba");
    for (key, n) in numbers {
        text(&mut out, &format!("mamba.{key}"));
        out.extend(4u32.to_le_bytes());
        out.extend(n.to_le_bytes());
    }
    text(&mut out, "tokenizer.ggml.model");
    out.extend(8u32.to_le_bytes());
    text(&mut out, "gpt2");
    text(&mut out, "tokenizer.ggml.tokens");
    out.extend(9u32.to_le_bytes());
    out.extend(8u32.to_le_bytes());
    out.extend(3u64.to_le_bytes());
    for token in ["a", "b", "ab"] {
        text(&mut out, token);
    }
    text(&mut out, "tokenizer.ggml.merges");
    out.extend(9u32.to_le_bytes());
    out.extend(8u32.to_le_bytes());
    out.extend(1u64.to_le_bytes());
    text(&mut out, "a b");
    for (name, shape, ty, offset) in [
        ("token_embd.weight", vec![32u64, 3], 8u32, 0u64),
        ("output_norm.weight", vec![32], 0, 128),
    ] {
        text(&mut out, name);
        out.extend((shape.len() as u32).to_le_bytes());
        shape.iter().for_each(|n| out.extend(n.to_le_bytes()));
        out.extend(ty.to_le_bytes());
        out.extend(offset.to_le_bytes());
    }
    out.resize(out.len().next_multiple_of(32), 0);
    let mut blocks = vec![0u8; 3 * 34];
    blocks
        .iter_mut()
        .enumerate()
        .for_each(|(i, b)| *b = (i % 34 > 1) as u8 * i as u8);
    out.extend(&blocks);
    out.resize(out.len() + 128 - blocks.len(), 0);
    out.extend(f32_bytes(&[1.0; 32]));
    out
}

fn small_packed() -> Vec<u8> {
    let config = json!({"model_type": "mamba", "hidden_size": 32});
    let metadata = json!({
        "format": "sillage", "sillage.version": "1", "config": config.to_string(),
        "tensors": json!({"a.weight": ["Q8_0", 2, 32]}).to_string(),
    });
    let tokenizer = br#"{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}"#;
    safetensors(
        &metadata,
        &[
            ("a.weight", "U8", vec![2, 34], vec![1; 68]),
            ("b", "F32", vec![4], f32_bytes(&[1.0, 2.0, 3.0, 4.0])),
            (
                "tokenizer.json",
                "U8",
                vec![tokenizer.len()],
                tokenizer.to_vec(),
            ),
        ],
    )
}

#[test]
fn the_small_files_themselves_are_fine() {
    exercise(&small_gguf()).unwrap();
    exercise(&small_packed()).unwrap();
    assert_eq!(Gguf::parse(&small_gguf()).unwrap().tensors.len(), 2);
}

#[test]
fn every_truncation_is_an_error() {
    for file in [small_gguf(), small_packed()] {
        for len in 0..file.len() {
            let error = exercise(&file[..len]).expect_err(&format!("cut to {len} bytes"));
            assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn no_bit_flip_and_no_noise_panics() {
    for file in [small_gguf(), small_packed()] {
        let mut errors = 0;
        for at in 0..file.len() {
            for bit in [0, 3, 7] {
                let mut broken = file.clone();
                broken[at] ^= 1 << bit;
                errors += usize::from(exercise(&broken).is_err());
            }
        }
        assert!(errors > file.len() / 2, "{errors}");
        let mut noise = Noise(3);
        for _ in 0..500 {
            let mut broken = file.clone();
            for _ in 0..4 {
                let at = (noise.bits() % file.len() as u64) as usize;
                broken[at] = [0, 0xff, 0x7f, noise.bits() as u8][(noise.bits() % 4) as usize];
            }
            let _ = exercise(&broken);
        }
    }
}

fn gguf_error(patch: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut file = small_gguf();
    patch(&mut file);
    exercise(&file).unwrap_err().to_string()
}

fn find(file: &[u8], what: &str) -> usize {
    file.windows(what.len())
        .position(|w| w == what.as_bytes())
        .unwrap()
}

#[test]
fn gguf_errors_name_the_cause() {
    assert!(gguf_error(|f| f[4] = 1).contains("version 1"));
    assert!(gguf_error(|f| f[4..8].copy_from_slice(&[0, 0, 0, 3])).contains("big-endian"));
    assert!(gguf_error(|f| f[8..16].fill(0xff)).contains("list of tensors"));
    assert!(gguf_error(|f| f[16..24].fill(0xff)).contains("metadata"));
    let error = gguf_error(|f| {
        let at = find(f, "token_embd.weight") + 17 + 4 + 16;
        f[at] = 11;
    });
    assert!(
        error.contains("token_embd.weight") && error.contains("Q3_K") && error.contains("Q6_K"),
        "{error}"
    );
    let error = gguf_error(|f| {
        let at = find(f, "output_norm.weight") + 18 + 4 + 8 + 4;
        f[at] = 64;
    });
    assert!(error.contains("overlaps"), "{error}");
    let error = gguf_error(|f| {
        let at = find(f, "output_norm.weight") + 18 + 4;
        f[at] = 33;
    });
    assert!(error.contains("after the end"), "{error}");
    let error = gguf_error(|f| {
        let at = find(f, "mamba.ssm.state_size") + 10;
        f[at..at + 10].copy_from_slice(b"inner_size");
    });
    assert!(
        error.contains("twice") || error.contains("is missing"),
        "{error}"
    );
    let error = gguf_error(|f| {
        let at = find(f, "mamba");
        f[at..at + 5].copy_from_slice(b"rwkv7");
    });
    assert!(
        error.contains("rwkv7") && error.contains("mamba2"),
        "{error}"
    );
    let error = gguf_error(|f| {
        let n = f.len();
        f[n - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    assert!(
        error.contains("backbone.norm_f.weight") && error.contains("NaN"),
        "{error}"
    );
    // A scale that is not finite in a quantised row.
    let mut file = small_gguf();
    let at = file.len() - 128 - 128;
    file[at..at + 2].copy_from_slice(&[0, 0x7c]);
    let checkpoint = Checkpoint::from_vec(file).unwrap();
    let error = checkpoint.linear("backbone.embeddings.weight").unwrap_err();
    assert!(matches!(error, FormatError::NotFinite { .. }), "{error}");
}

#[test]
fn hostile_safetensors_headers() {
    let mut file = 90_000_000u64.to_le_bytes().to_vec();
    file.extend(b"{}");
    assert!(
        exercise(&file)
            .unwrap_err()
            .to_string()
            .contains("at most 2")
    );
    let headers = [
        r#"{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}"#,
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}}"#,
        r#"{"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}"#,
        r#"[]"#,
        r#"{"a":1}"#,
        "\u{0}",
        "{",
    ];
    for header in headers {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend([0; 8]);
        let error = exercise(&file).unwrap_err();
        assert!(
            matches!(error, FormatError::Safetensors { .. }),
            "{header}: {error}"
        );
    }
    // An empty dimension beside a huge one takes no time.
    let header = r#"{"a":{"dtype":"F32","shape":[9223372036854775807,0],"data_offsets":[0,0]}}"#;
    let folder = model_folder();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    fs::write(folder.path().join("model.safetensors"), file).unwrap();
    assert_eq!(
        Checkpoint::open(folder.path()).unwrap().f32("a").unwrap(),
        Vec::<f32>::new()
    );
}

fn model_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("config.json"),
        r#"{"model_type":"mamba"}"#,
    )
    .unwrap();
    folder
}

fn open_error(path: &Path) -> String {
    Checkpoint::open(path).unwrap_err().to_string()
}

#[test]
fn folders_that_lack_something() {
    let empty = tempfile::tempdir().unwrap();
    assert!(open_error(empty.path()).contains("config.json is missing"));
    assert!(open_error(&empty.path().join("nothing")).contains("nothing is there"));
    let folder = model_folder();
    assert!(open_error(folder.path()).contains("model.safetensors"));
    fs::write(folder.path().join("pytorch_model.bin"), "x").unwrap();
    assert!(open_error(folder.path()).contains("convert it to safetensors"));
    fs::write(folder.path().join("config.json"), "{").unwrap();
    assert!(open_error(folder.path()).contains("config.json"));
    let plain = folder.path().join("plain.safetensors");
    fs::write(
        &plain,
        safetensors(&json!(null), &[("a", "F32", vec![1], vec![0; 4])]),
    )
    .unwrap();
    assert!(open_error(&plain).contains("without settings"));
}

#[test]
fn shards_and_their_index_must_agree() {
    let folder = model_folder();
    let at = |name: &str| folder.path().join(name);
    let shard = |names: &[&str]| {
        let tensors: Vec<_> = names
            .iter()
            .map(|n| (*n, "F32", vec![2], f32_bytes(&[1.0, 2.0])))
            .collect();
        safetensors(&json!(null), &tensors)
    };
    let index = |map: serde_json::Value| {
        fs::write(
            at("model.safetensors.index.json"),
            json!({ "weight_map": map }).to_string(),
        )
        .unwrap();
    };
    fs::write(at("one.safetensors"), shard(&["a"])).unwrap();
    index(json!({"a": "one.safetensors", "b": "two.safetensors"}));
    assert!(
        open_error(folder.path())
            .contains("'b' should be in two.safetensors, which does not exist")
    );
    fs::write(at("two.safetensors"), shard(&["c"])).unwrap();
    assert!(
        open_error(folder.path())
            .contains("'b' should be in two.safetensors, which does not hold it")
    );
    fs::write(at("two.safetensors"), shard(&["b", "c"])).unwrap();
    assert!(open_error(folder.path()).contains("holds tensor 'c'"));
    fs::write(at("two.safetensors"), shard(&["b"])).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.f32("b").unwrap(), [1.0, 2.0]);
    index(json!({"a": "../one.safetensors"}));
    assert!(open_error(folder.path()).contains("not a plain file name"));
    index(json!([1]));
    assert!(open_error(folder.path()).contains("weight_map"));
}

#[test]
fn weights_that_cannot_be_used_are_named() {
    let folder = model_folder();
    let bad = f32_bytes(&[1.0, f32::INFINITY]);
    let file = safetensors(
        &json!(null),
        &[
            ("fine.weight", "F32", vec![1, 2], f32_bytes(&[1.0, 2.0])),
            ("inf.weight", "F32", vec![1, 2], bad),
            ("ints", "I64", vec![1], vec![0; 8]),
        ],
    );
    fs::write(folder.path().join("model.safetensors"), file).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    checkpoint.linear("fine.weight").unwrap();
    let error = checkpoint.linear("inf.weight").unwrap_err().to_string();
    assert!(
        error.contains("inf.weight") && error.contains("row 0"),
        "{error}"
    );
    assert!(
        checkpoint
            .f32("ints")
            .unwrap_err()
            .to_string()
            .contains("I64")
    );
    assert!(
        checkpoint
            .f32("gone")
            .unwrap_err()
            .to_string()
            .contains("'gone' is missing")
    );
    assert!(matches!(
        checkpoint.linear("ints").unwrap_err(),
        FormatError::Shape { .. }
    ));
}

/// The file shrinks after it was opened.
#[test]
fn a_file_cut_while_open_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let source = Checkpoint::open(conformance().join("hf/llama")).unwrap();
    quantize(&source, &Policy::uniform(Target::Bf16), &path, &mut |_| {
        true
    })
    .unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let len = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(len / 2)
        .unwrap();
    let failed = checkpoint
        .names()
        .filter(|n| checkpoint.f32(n).is_err())
        .count();
    assert!(failed > 0);
}

#[test]
fn python_json_is_read() {
    let folder = model_folder();
    let config = r#"{"model_type": "mamba2", "time_step_limit": [0.0, Infinity], "x": NaN,
        "y": {"__float__": "Infinity"}, "text": "Infinity \" NaN"}"#;
    fs::write(folder.path().join("config.json"), config).unwrap();
    let file = safetensors(&json!(null), &[("a", "F32", vec![1], vec![0; 4])]);
    fs::write(folder.path().join("model.safetensors"), file).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let config = checkpoint.config();
    assert_eq!(
        config["time_step_limit"][1].as_f64().unwrap() as f32,
        f32::INFINITY
    );
    assert_eq!(config["y"].as_f64().unwrap() as f32, f32::INFINITY);
    assert!(config["x"].is_null());
    assert_eq!(config["text"], "Infinity \" NaN");
}
