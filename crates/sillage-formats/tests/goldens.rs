//! Against the goldens: block types as the `gguf` package decodes them, and every architecture's
//! GGUF file against the folder it was converted from.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test should panic"
)]

mod common;

use common::{cases, conformance};
use safetensors::SafeTensors;
use sillage_formats::blocks::{TensorType, decode_f32, decode_int};
use sillage_formats::{Checkpoint, Origin};

#[test]
fn block_types_decode_exactly_as_the_reference() {
    for ty in TensorType::ALL
        .into_iter()
        .filter(|t| *t != TensorType::F32)
    {
        let path = conformance().join(format!("gguf/types/{}.safetensors", ty.name()));
        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let blocks = file.tensor("blocks").unwrap();
        let values = file.tensor("values").unwrap();
        let expected: Vec<f32> = values
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        let mut found = vec![0f32; expected.len()];
        decode_f32(ty, blocks.data(), &mut found).unwrap();
        assert_eq!(found, expected, "{}", ty.name());
        if let Some(layout) = ty.int_layout() {
            let n = expected.len();
            let mut q = vec![0u8; n];
            let mut scales = vec![0f32; n / layout.block];
            let mut mins = vec![0f32; if layout.has_min { n / layout.block } else { 0 }];
            decode_int(ty, blocks.data(), &mut q, &mut scales, &mut mins).unwrap();
            for (i, want) in expected.iter().enumerate() {
                let b = i / layout.block;
                let min = mins.get(b).copied().unwrap_or(0.0);
                let got = scales[b] * f32::from(i16::from(q[i]) - i16::from(layout.zero)) + min;
                assert_eq!(got, *want, "{} element {i}", ty.name());
                assert!(layout.bits == 8 || q[i] >> layout.bits == 0);
            }
        }
    }
}

#[test]
fn every_folder_opens_and_every_tensor_reads() {
    for case in cases("hf") {
        let path = conformance().join(case["path"].as_str().unwrap());
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.origin(), Origin::Folder);
        assert!(checkpoint.config()["model_type"].is_string(), "{path:?}");
        for name in checkpoint.names() {
            let values = checkpoint.f32(name).unwrap();
            assert_eq!(
                values.len(),
                checkpoint.shape(name).unwrap().iter().product::<usize>()
            );
        }
        assert_eq!(
            checkpoint.fingerprint().unwrap(),
            checkpoint.fingerprint().unwrap()
        );
    }
}

/// Names and values of a converted file are those of the folder, the converter's changes undone.
#[test]
fn gguf_files_hold_the_folders_tensors() {
    let mut compared = 0;
    for case in cases("gguf") {
        let gguf = Checkpoint::open(conformance().join(case["path"].as_str().unwrap())).unwrap();
        let golden = conformance().join(case["golden"].as_str().unwrap());
        let folder = Checkpoint::open(golden.parent().unwrap()).unwrap();
        let label = case["name"].as_str().unwrap();
        assert_eq!(
            gguf.config()["model_type"],
            folder.config()["model_type"],
            "{label}"
        );
        let multiplied = gguf.config()["model_type"] == "falcon_h1";
        for name in folder.names() {
            // A tied output layer may be stored in one of the two only.
            if name == "lm_head.weight" && !gguf.has(name) {
                continue;
            }
            assert!(
                gguf.has(name),
                "{label} has no {name}; it has {:?}",
                gguf.names().collect::<Vec<_>>()
            );
            assert_eq!(gguf.shape(name), folder.shape(name), "{label} {name}");
            let matrix = folder.shape(name).unwrap().len() > 1;
            if multiplied && matrix && !name.contains("conv1d") && !name.contains("up_proj") {
                continue; // The converter multiplies these.
            }
            let mut want = folder.f32(name).unwrap();
            let got = gguf.f32(name).unwrap();
            if name.ends_with("A_log") {
                want.iter_mut().for_each(|v| *v = -v.exp());
                for (g, w) in got.iter().zip(&want) {
                    assert!((g - w).abs() <= 1e-6 * w.abs(), "{label} {name}: {g} {w}");
                }
            } else {
                assert!(got == want, "{label} {name} differs");
            }
            compared += 1;
        }
    }
    assert!(compared > 150, "{compared}");
}

#[test]
fn gguf_settings_agree_with_the_folders() {
    for case in cases("gguf") {
        let gguf = Checkpoint::open(conformance().join(case["path"].as_str().unwrap())).unwrap();
        let golden = conformance().join(case["golden"].as_str().unwrap());
        let folder = Checkpoint::open(golden.parent().unwrap()).unwrap();
        let label = case["name"].as_str().unwrap();
        for (key, value) in gguf.config().as_object().unwrap() {
            let Some(other) = folder.config().get(key).filter(|v| !v.is_null()) else {
                continue;
            };
            let folded = key.ends_with("multiplier") || key.ends_with("multipliers");
            let loose = [
                "max_position_embeddings",
                "expand",
                "mamba_expand",
                "rope_parameters",
            ];
            let ids = key.ends_with("_token_id");
            let falcon = folded && gguf.config()["model_type"] == "falcon_h1";
            if falcon || ids || loose.contains(&key.as_str()) {
                continue;
            }
            let same = match (value.as_f64(), other.as_f64()) {
                (Some(a), Some(b)) => (a - b).abs() <= 1e-6 * b.abs(),
                _ => value == other,
            };
            assert!(
                same,
                "{label} {key}: {value} in the file, {other} in the folder"
            );
        }
    }
}

/// Packing keeps every row, in the wanted order.
#[test]
fn linear_layers_hold_the_tensors_rows() {
    let gguf = Checkpoint::open(conformance().join("gguf/granitehybrid.gguf")).unwrap();
    let mut packed = 0;
    for name in gguf
        .names()
        .filter(|n| n.ends_with("_proj.weight") || n.contains("_linear."))
    {
        let shape = gguf.shape(name).unwrap().to_vec();
        let want = gguf.f32(name).unwrap();
        let linear = gguf.linear(name).unwrap();
        assert_eq!([linear.rows(), linear.cols()], [shape[0], shape[1]]);
        let half = gguf.linear_rows(name, shape[0] / 2..shape[0]).unwrap();
        let mut row = vec![0f32; shape[1]];
        for (i, want) in want.chunks_exact(shape[1]).enumerate() {
            linear.row(i, &mut row);
            assert_eq!(row, want, "{name} row {i}");
            if i >= shape[0] / 2 {
                half.row(i - shape[0] / 2, &mut row);
                assert_eq!(row, want, "{name} row {i}");
            }
        }
        packed += 1;
    }
    assert!(packed > 4);
    let error = gguf
        .linear_rows("model.embed_tokens.weight", 0..1 << 20)
        .unwrap_err()
        .to_string();
    assert!(error.contains("model.embed_tokens.weight"), "{error}");
}
