//! Writing checkpoints as one file, and block encoders.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test should panic"
)]

mod common;

use std::path::Path;

use common::{Noise, conformance, f32_bytes, safetensors};
use sillage_formats::blocks::{TensorType, decode_f32, encode_q4, encode_q8};
use sillage_formats::quantize::{Policy, Report, Target, quantize};
use sillage_formats::{Checkpoint, FormatError, Origin};

fn write(source: &Checkpoint, target: Target, path: &Path) -> Report {
    quantize(source, &Policy::uniform(target), path, &mut |_| true).unwrap()
}

fn error_of(values: &[f32], decoded: &[f32]) -> f64 {
    values
        .iter()
        .zip(decoded)
        .map(|(a, b)| f64::from(a - b).powi(2))
        .sum()
}

#[test]
fn q8_is_within_half_a_step() {
    let mut noise = Noise(1);
    let values: Vec<f32> = (0..32 * 64).map(|_| noise.normal()).collect();
    let mut raw = Vec::new();
    encode_q8(&values, &mut raw).unwrap();
    let mut decoded = vec![0f32; values.len()];
    decode_f32(TensorType::Q8_0, &raw, &mut decoded).unwrap();
    for (block, decoded) in values.chunks(32).zip(decoded.chunks(32)) {
        let amax = block.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (v, d) in block.iter().zip(decoded) {
            assert!(
                (v - d).abs() <= amax / 127.0 * 0.51 + amax * 1e-3,
                "{v} {d}"
            );
        }
    }
}

/// The search must beat the plain grid from minimum to maximum, clearly.
#[test]
fn q4_search_beats_minimum_and_maximum() {
    let mut noise = Noise(2);
    let values: Vec<f32> = (0..32 * 512).map(|_| noise.normal() * 0.05).collect();
    let mut raw = Vec::new();
    encode_q4(&values, &mut raw).unwrap();
    let mut decoded = vec![0f32; values.len()];
    decode_f32(TensorType::Q4_1, &raw, &mut decoded).unwrap();
    let mut plain = Vec::new();
    for block in values.chunks(32) {
        let low = block.iter().copied().fold(f32::INFINITY, f32::min);
        let high = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let scale = (high - low) / 15.0;
        plain.extend(
            block
                .iter()
                .map(|v| ((v - low) / scale).round() * scale + low),
        );
    }
    let ratio = error_of(&values, &decoded) / error_of(&values, &plain);
    println!("squared error against min/max: {ratio:.3}");
    assert!(ratio < 0.92, "{ratio}");
    // Constant, zero and tiny blocks.
    for value in [0.0f32, 0.7, -3.0, 1e-30, -1e-9] {
        let mut raw = Vec::new();
        encode_q4(&[value; 32], &mut raw).unwrap();
        let mut back = [0f32; 32];
        decode_f32(TensorType::Q4_1, &raw, &mut back).unwrap();
        assert!(
            (back[0] - value).abs() <= value.abs() * 1e-3 + 1e-7,
            "{value} {}",
            back[0]
        );
    }
    assert!(encode_q4(&[1e9; 32], &mut Vec::new()).is_err());
    assert!(encode_q8(&[1e9; 32], &mut Vec::new()).is_err());
    assert!(encode_q8(&[1.0; 31], &mut Vec::new()).is_err());
}

#[test]
fn a_file_holds_the_model_in_fewer_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let sources = [
        "hf/llama",
        "gguf/llama.gguf",
        "hf/mamba",
        "hf/granite-nope",
        "gguf/granitehybrid.gguf",
    ];
    for source in sources {
        let source = Checkpoint::open(conformance().join(source)).unwrap();
        for target in [Target::F32, Target::Bf16, Target::Q8, Target::Q4] {
            let path = folder.path().join(format!("{target:?}.safetensors"));
            let report = write(&source, target, &path);
            assert_eq!(report.file_bytes, std::fs::metadata(&path).unwrap().len());
            let packed = Checkpoint::open(&path).unwrap();
            assert_eq!(packed.origin(), Origin::Packed);
            assert_eq!(packed.config(), source.config());
            for name in packed.names() {
                assert_eq!(packed.shape(name), source.shape(name), "{name}");
                let (want, got) = (source.f32(name).unwrap(), packed.f32(name).unwrap());
                let worst = want
                    .iter()
                    .zip(&got)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0f32, f32::max);
                let scale = want.iter().fold(0f32, |m, v| m.max(v.abs()));
                let allowed = match packed.tensor_type(name) {
                    Some(TensorType::F32) => 0.0,
                    Some(TensorType::Bf16) => 1.0 / 256.0,
                    Some(TensorType::Q8_0) => 1.0 / 200.0,
                    _ => 0.12,
                };
                assert!(
                    worst <= scale * allowed,
                    "{target:?} {name}: {worst} of {scale}"
                );
                if source.shape(name).unwrap().len() == 2 && name.ends_with(".weight") {
                    packed.linear(name).unwrap();
                }
            }
            // The same bytes embedded, and written again as they are.
            let bytes = std::fs::read(&path).unwrap();
            let embedded = Checkpoint::from_vec(bytes.clone()).unwrap();
            assert_eq!(
                embedded.fingerprint().unwrap(),
                packed.fingerprint().unwrap()
            );
            let again = folder.path().join("again.safetensors");
            write(&embedded, Target::Keep, &again);
            assert_eq!(std::fs::read(&again).unwrap(), bytes, "{target:?}");
        }
        // Fewer bits are not taken for more.
        let q4 = Checkpoint::open(folder.path().join("Q4.safetensors")).unwrap();
        let q8 = folder.path().join("q8.safetensors");
        write(&q4, Target::Q8, &q8);
        assert_eq!(
            Checkpoint::open(&q8).unwrap().describe_types(),
            q4.describe_types()
        );
    }
}

/// A folder whose matrices have rows of 64 and of 48 weights.
fn wide_model() -> tempfile::TempDir {
    let mut noise = Noise(5);
    let mut tensor = |name: &'static str, shape: Vec<usize>| {
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| noise.normal())
            .collect();
        (name, "F32", shape, f32_bytes(&values))
    };
    let tensors = [
        tensor("model.embed_tokens.weight", vec![40, 64]),
        tensor("model.layers.0.self_attn.q_proj.weight", vec![64, 64]),
        tensor("model.layers.1.self_attn.q_proj.weight", vec![64, 64]),
        tensor("model.layers.1.narrow.weight", vec![64, 48]),
        tensor("model.norm.weight", vec![64]),
    ];
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("config.json"),
        r#"{"model_type":"llama"}"#,
    )
    .unwrap();
    let file = safetensors(&serde_json::Value::Null, &tensors);
    std::fs::write(folder.path().join("model.safetensors"), file).unwrap();
    folder
}

#[test]
fn fewer_bits_take_fewer_bytes() {
    let folder = wide_model();
    let source = Checkpoint::open(folder.path()).unwrap();
    let path = folder.path().join("m.safetensors");
    let mut before = u64::MAX;
    for (target, bits) in [
        (Target::F32, 32.0),
        (Target::Bf16, 16.0),
        (Target::Q8, 8.5),
        (Target::Q4, 5.0),
    ] {
        let report = write(&source, target, &path);
        assert!(report.file_bytes < before);
        before = report.file_bytes;
        let packed = Checkpoint::open(&path).unwrap();
        let ty = packed
            .tensor_type("model.layers.0.self_attn.q_proj.weight")
            .unwrap();
        assert_eq!(ty.bits_per_weight(), bits);
        // Rows that do not fill blocks stay as they were.
        let narrow = packed.tensor_type("model.layers.1.narrow.weight").unwrap();
        assert_eq!(
            narrow,
            if bits == 16.0 {
                TensorType::Bf16
            } else {
                TensorType::F32
            }
        );
    }
}

#[test]
fn tokenizer_and_template_travel() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    for source in ["hf/llama", "gguf/llama.gguf"] {
        let source = Checkpoint::open(conformance().join(source)).unwrap();
        write(&source, Target::Q4, &path);
        let packed = Checkpoint::open(&path).unwrap();
        let text = "singing <|im_start|>another thing";
        let encode = |c: &Checkpoint| c.tokenizer().unwrap().encode(text, true).unwrap();
        assert_eq!(encode(&packed), encode(&source));
        assert_eq!(
            packed.chat_template().unwrap().source(),
            source.chat_template().unwrap().source()
        );
        let tokenizer = packed.tokenizer().unwrap();
        let defaults = packed.generation_defaults(Some(&tokenizer));
        assert!(defaults.eos.contains(&tokenizer.id("<|im_end|>").unwrap()));
    }
}

#[test]
fn overrides_decide() {
    let mut policy = Policy::uniform(Target::Q4);
    policy.overrides.push(("embed".into(), Target::Q8));
    policy.overrides.push(("layers.0.".into(), Target::Bf16));
    let folder = wide_model();
    let source = Checkpoint::open(folder.path()).unwrap();
    let path = folder.path().join("m.safetensors");
    quantize(&source, &policy, &path, &mut |_| true).unwrap();
    let packed = Checkpoint::open(&path).unwrap();
    let ty = |name: &str| packed.tensor_type(name).unwrap();
    assert_eq!(ty("model.embed_tokens.weight"), TensorType::Q8_0);
    assert_eq!(
        ty("model.layers.0.self_attn.q_proj.weight"),
        TensorType::Bf16
    );
    assert_eq!(
        ty("model.layers.1.self_attn.q_proj.weight"),
        TensorType::Q4_1
    );
    assert_eq!(ty("model.norm.weight"), TensorType::F32);
}

#[test]
fn a_stopped_or_failed_write_leaves_nothing() {
    let source = Checkpoint::open(conformance().join("hf/llama")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let policy = Policy::uniform(Target::Q8);
    let mut calls = 0;
    let mut stop = |progress: sillage_formats::quantize::Progress<'_>| {
        calls += 1;
        assert!(progress.done <= progress.total);
        calls < 3
    };
    let error = quantize(&source, &policy, &path, &mut stop).unwrap_err();
    assert!(matches!(error, FormatError::Cancelled));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let nowhere = folder.path().join("missing/m.safetensors");
    let error = quantize(&source, &policy, &nowhere, &mut |_| true).unwrap_err();
    assert!(matches!(error, FormatError::Write { .. }), "{error}");
}
