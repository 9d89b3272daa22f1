//! Loss, gradients and steps against PyTorch's, on the tiny models of `conformance/train`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use safetensors::SafeTensors;
use serde_json::Value;
use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use sillage_models::describe;
use sillage_train::{Batch, Net, Recipe, Rows, Workspace, norm};
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/train");
    goldens.join(name)
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let float = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    bytes.chunks_exact(4).map(float).collect()
}

fn opened(name: &str) -> (Net, Vec<f32>) {
    let checkpoint = Checkpoint::open(folder(name)).unwrap();
    let shape = |name: &str| checkpoint.shape(name).map(<[usize]>::to_vec);
    let net = Net::new(describe(checkpoint.config(), &shape).unwrap()).unwrap();
    let params = net.params().load(&checkpoint).unwrap();
    (net, params)
}

/// Every token is to be followed by the next; nothing follows the last.
fn batch(sequences: &Value) -> Batch {
    let mut batch = Batch::default();
    for sequence in sequences.as_array().unwrap() {
        let tokens = sequence.as_array().unwrap().iter();
        let tokens: Vec<u32> = tokens.map(|t| t.as_u64().unwrap() as u32).collect();
        let mut targets = tokens[1..].to_vec();
        targets.push(sillage_train::tasks::UNSCORED);
        batch.push(&tokens, &targets);
    }
    batch
}

fn sum(losses: &[f32]) -> f64 {
    losses.iter().map(|&l| f64::from(l)).sum()
}

#[test]
fn losses_and_gradients_are_pytorchs() {
    let manifest = json(folder("manifest.json"));
    let cases = manifest["cases"].as_array().unwrap();
    assert!(cases.len() >= 10);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let (net, params) = opened(name);
        let golden = json(folder(name).join("loss.json"));
        let batch = batch(&golden["tokens"]);
        let scored = batch.scored();
        assert_eq!(scored as u64, golden["scored"].as_u64().unwrap());
        let file = std::fs::read(folder(name).join("grads.safetensors")).unwrap();
        let expected = SafeTensors::deserialize(&file).unwrap();
        assert_eq!(expected.len(), net.params().iter().count(), "{name}");
        for isa in sillage_kernels::Isa::available() {
            let cx = Compute::with_isa(isa, 2);
            let (mut grads, mut space) = (vec![0.0; params.len()], Workspace::default());
            let scale = 1.0 / scored as f32;
            let scores = net.learn(&cx, &params, &batch, scale, &mut grads, &mut space);
            let loss = sum(&scores.losses) / scored as f64;
            let off = loss / golden["loss"].as_f64().unwrap() - 1.0;
            assert!(off.abs() < 2e-6, "{name}, {}: {off}", isa.name());
            let again = net.score(&cx, &params, &batch, &mut space);
            assert_eq!(again.losses, scores.losses);
            for (parameter, range) in net.params().iter() {
                let expected = floats(expected.tensor(&parameter.name).unwrap().data());
                let scale = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
                for (ours, theirs) in grads[range].iter().zip(&expected) {
                    assert!(
                        (ours - theirs).abs() <= 3e-5 * scale + 1e-9,
                        "{name}, {}, {}: {ours} for {theirs}, the largest is {scale}",
                        isa.name(),
                        parameter.name
                    );
                }
            }
        }
    }
}

#[test]
fn steps_are_pytorchs() {
    let golden = json(folder("adamw").join("steps.json"));
    let (net, params) = opened(golden["model"].as_str().unwrap());
    let number = |key: &str| golden[key].as_f64().unwrap() as f32;
    let mut recipe = Recipe::parse(
        "name = \"steps\"\n[model]\nd_model = 1\nblocks = \"M\"\n[data]\ntext = [\"x\"]\n\
         [train]\nsteps = 5\nlr = 4e-3\nwarmup = 2\nfloor = 0.1\n",
    )
    .unwrap();
    recipe.train.weight_decay = number("weight_decay");
    recipe.train.clip = number("clip");
    recipe.train.eps = number("eps");
    let beta = |i: usize| golden["betas"][i].as_f64().unwrap() as f32;
    recipe.train.betas = (beta(0), beta(1));
    let decayed: Vec<_> = golden["decay"].as_array().unwrap().iter().collect();
    for (parameter, _) in net.params().iter() {
        let decays = sillage_train::Params::decays(parameter.role);
        assert_eq!(
            decays,
            decayed.iter().any(|d| **d == parameter.name),
            "{}",
            parameter.name
        );
    }
    let cx = Compute::new(2);
    let mut rows = Rows::new(params);
    let mut space = Workspace::default();
    for (i, step) in (0..).zip(golden["steps"].as_array().unwrap()) {
        let batch = batch(&step["tokens"]);
        let scored = batch.scored() as f64;
        let mut grads = vec![0.0; rows.params.len()];
        let scale = (1.0 / scored) as f32;
        let scores = net.learn(&cx, &rows.params, &batch, scale, &mut grads, &mut space);
        let near = |ours: f64, key: &str, within: f64| {
            let theirs = step[key].as_f64().unwrap();
            assert!(
                (ours / theirs - 1.0).abs() < within,
                "step {i}, {key}: {ours} {theirs}"
            );
        };
        near(sum(&scores.losses) / scored, "loss", 1e-5);
        let norm = norm(&cx, &grads);
        near(norm, "norm", 1e-4);
        let lr = step["lr"].as_f64().unwrap() as f32;
        near(f64::from(recipe.train.rate(i)), "lr", 1e-5);
        rows.step(&cx, net.params(), &recipe.train, (i + 1, lr), &grads, norm);
    }
    let file = std::fs::read(folder("adamw").join("final.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&file).unwrap();
    for (parameter, range) in net.params().iter() {
        let expected = floats(expected.tensor(&parameter.name).unwrap().data());
        // A first step is the sign of a gradient times the rate, whatever rounding left of it.
        let far = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-4;
        let off = rows.params[range]
            .iter()
            .zip(&expected)
            .filter(|&(a, b)| far((a, b)))
            .count();
        assert!(
            off * 500 <= expected.len(),
            "{}: {off} of {}",
            parameter.name,
            expected.len()
        );
    }
}
