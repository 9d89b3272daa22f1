//! One result: the same bits for any number of threads, after any stop, and in the runtime.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use sillage_models::{LoadOptions, Model, Row, Wanted};
use sillage_train::{Batch, Event, Net, Recipe, Then, Trainer, Workspace};
use std::path::Path;
use std::sync::Arc;

/// Rows of blocks and what they export as.
const MODELS: [(&str, &str); 8] = [
    ("MM", "mamba2"),
    ("mm", "mamba"),
    ("*-*-", "llama"),
    ("w-w-", "mistral"),
    ("M*M-", "nemotron_h"),
    ("Mm*w-", "sillage"),
    ("*", "sillage"),
    ("cMc*-", "sillage"),
];

fn recipe(blocks: &str, kind: &str) -> Recipe {
    let rope = if kind == "nemotron_h" { 0.0 } else { 100.0 };
    let gated = kind != "nemotron_h";
    Recipe::parse(&format!(
        r#"
name = "tiny"
seed = 7
[model]
d_model = 32
blocks = "{blocks}"
mamba2 = {{ headdim = 16, d_state = 8, n_groups = 2 }}
mamba = {{ d_state = 4 }}
attention = {{ heads = 4, kv_heads = 2, rope_theta = {rope:.1}, window = 5 }}
mlp = {{ gated = {gated}, d_ff = 40 }}
[data]
text = ["text.txt"]
length = 24
reset = true
[train]
steps = 8
batch = 4
micro_batch = 2
lr = 1e-2
warmup = 2
valid_every = 4
valid_batches = 2
"#
    ))
    .unwrap()
}

/// A folder with a text, and the recipe that reads it.
fn prepared(blocks: &str, kind: &str) -> (tempfile::TempDir, Recipe) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.jsonl");
    let line = |i: usize| format!("{{\"text\": \"Wake {i}: {} and {}.\"}}\n", i * i, i % 7);
    std::fs::write(&path, (0..120).map(line).collect::<String>()).unwrap();
    let mut recipe = recipe(blocks, kind);
    recipe.data.text = vec![path];
    (folder, recipe)
}

fn go_on(_: &Event<'_>) -> Then {
    Then::GoOn
}

fn trained(recipe: &Recipe, threads: usize, folder: Option<&Path>) -> Trainer {
    let cx = Arc::new(Compute::new(threads));
    let mut trainer = Trainer::new(cx, recipe.clone(), folder).unwrap();
    trainer.run(&mut go_on).unwrap();
    trainer
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for (blocks, kind) in MODELS {
        let (_folder, recipe) = prepared(blocks, kind);
        let one = trained(&recipe, 1, None);
        let losses =
            |t: &Trainer| -> Vec<f64> { t.progress().steps.iter().map(|s| s.loss).collect() };
        assert!(
            losses(&one)[7] < losses(&one)[0],
            "{blocks}: {:?}",
            losses(&one)
        );
        for threads in [2, 3] {
            let more = trained(&recipe, threads, None);
            assert_eq!(one.params(), more.params(), "{blocks}, {threads} threads");
            assert_eq!(losses(&one), losses(&more));
        }
    }
}

#[test]
fn a_run_that_was_stopped_goes_on_bit_for_bit() {
    let (folder, recipe) = prepared("M*M-", "nemotron_h");
    let whole = trained(&recipe, 2, None);
    for stop in [1, 4, 7] {
        let out = folder.path().join(format!("run-{stop}"));
        let cx = Arc::new(Compute::new(2));
        let mut first = Trainer::new(Arc::clone(&cx), recipe.clone(), Some(&out)).unwrap();
        let mut on = |event: &Event<'_>| match event {
            Event::Step(step, _) if step.step == stop => Then::Stop,
            _ => Then::GoOn,
        };
        first.run(&mut on).unwrap();
        assert_eq!(first.progress().step, stop);
        drop(first);
        let rest = trained(&recipe, 1, Some(&out));
        assert_eq!(rest.params(), whole.params(), "stopped after {stop}");
        assert_eq!(rest.best(), whole.best());
        let said = |t: &Trainer| t.progress().validations.clone();
        assert_eq!(said(&rest), said(&whole));
        // Finished is finished.
        assert_eq!(trained(&recipe, 2, Some(&out)).progress().step, 8);
        for file in ["log.jsonl", "loss.svg", "run.json", "tokenizer.json"] {
            assert!(out.join(file).exists(), "{file}");
        }
    }
}

#[test]
fn another_recipe_or_a_torn_file_is_refused() {
    let (folder, mut recipe) = prepared("MM", "mamba2");
    recipe.train.steps = 2;
    recipe.train.warmup = 0;
    let out = folder.path().join("run");
    trained(&recipe, 1, Some(&out));
    let open =
        |recipe: &Recipe| Trainer::new(Arc::new(Compute::new(1)), recipe.clone(), Some(&out));
    let mut other = recipe.clone();
    other.train.lr = 2e-2;
    let error = open(&other).err().unwrap().to_string();
    assert!(
        error.contains("another recipe") && error.contains("--out"),
        "{error}"
    );
    let path = out.join("checkpoint.safetensors");
    let file = std::fs::read(&path).unwrap();
    for len in [0, 7, 100, file.len() - 1] {
        std::fs::write(&path, &file[..len]).unwrap();
        let error = open(&recipe).err().unwrap().to_string();
        assert!(error.contains("checkpoint"), "{error}");
    }
}

#[test]
fn what_is_exported_runs_to_the_same_logits() {
    for (blocks, kind) in MODELS {
        let (folder, mut recipe) = prepared(blocks, kind);
        recipe.train.steps = 2;
        recipe.train.warmup = 0;
        let trainer = trained(&recipe, 2, None);
        let out = folder.path().join("model");
        trainer.export(&out).unwrap();
        let checkpoint = Checkpoint::open(&out).unwrap();
        assert_eq!(checkpoint.config()["model_type"], kind, "{blocks}");
        let model = Model::load(&checkpoint, &LoadOptions::default()).unwrap();
        assert_eq!(model.parameters(), trainer.net().params().len() as u64);
        let cx = Compute::new(2);
        let tokens: Vec<u32> = (0..75).map(|i| i * 37 % 257).collect();
        let mut state = model.new_state();
        let row = Row {
            state: &mut state,
            tokens: &tokens,
            logits: Wanted::All,
        };
        let logits = model.forward(&cx, &mut [row]).unwrap();
        let mut batch = Batch::default();
        batch.push(&tokens, &tokens);
        let mut space = Workspace::default();
        let ours = trainer
            .net()
            .logits(&cx, trainer.best(), &batch, &mut space);
        let scale = ours.iter().fold(0f32, |m, v| m.max(v.abs()));
        assert_eq!(ours.len(), logits.row(0).len());
        for (i, (a, b)) in ours.iter().zip(logits.row(0)).enumerate() {
            let off = (a - b).abs();
            assert!(off < 1e-4 * scale, "{blocks}, logit {i}: {a} {b}");
        }
        // And can be trained on.
        let cx = Arc::new(cx);
        let again = Trainer::finetune(cx, recipe.clone(), &out, None).unwrap();
        assert_eq!(again.params(), trainer.best());
    }
}

/// The gradient of every tensor against differences of the loss.
#[test]
fn gradients_are_differences() {
    let (_folder, recipe) = prepared("Mm*w-", "sillage");
    let trainer = Trainer::new(Arc::new(Compute::new(2)), recipe, None).unwrap();
    let net: &Net = trainer.net();
    let cx = Compute::new(2);
    let mut batch = Batch::default();
    for len in [13, 70, 1] {
        let tokens: Vec<u32> = (0..len).map(|i| (i * 91 + len) % 257).collect();
        let targets: Vec<u32> = (0..len).map(|i| (i * 53 + 7) % 257).collect();
        batch.push(&tokens, &targets);
    }
    let mut params = trainer.params().to_vec();
    // Larger embeddings, so that differences rise above rounding.
    for (parameter, range) in net.params().iter() {
        if parameter.name.contains("embedding") {
            params[range].iter_mut().for_each(|v| *v *= 20.0);
        }
    }
    let mut space = Workspace::default();
    let mut grads = vec![0.0; params.len()];
    net.learn(&cx, &params, &batch, 1.0, &mut grads, &mut space);
    let mut loss = |params: &[f32]| -> f64 {
        let scores = net.score(&cx, params, &batch, &mut space);
        scores.losses.iter().map(|&l| f64::from(l)).sum()
    };
    let mut held = 0;
    for (parameter, range) in net.params().iter() {
        // Along the gradient itself, where the difference is largest.
        let grad = &grads[range.clone()];
        let square: f64 = grad.iter().map(|&g| f64::from(g).powi(2)).sum();
        // A long step where it is flat, but none so long that the curve bends.
        let step = (2e-2 / square).min(0.2 / square.sqrt()) as f32;
        if f64::from(step) * square < 1e-3 {
            // Lost in the rounding of the loss; the goldens hold these.
            continue;
        }
        held += 1;
        let moved = |sign: f32| {
            let mut moved = params.clone();
            for (p, g) in moved[range.clone()].iter_mut().zip(grad) {
                *p += sign * step * g;
            }
            moved
        };
        let slope = (loss(&moved(1.0)) - loss(&moved(-1.0))) / f64::from(2.0 * step);
        let off = (slope - square).abs() / square;
        assert!(
            off < 0.02,
            "{}: slope {slope}, gradient {square}",
            parameter.name
        );
    }
    assert!(held >= 20, "{held}");
}
