//! `sillage train`, `finetune` and `lab` from end to end, on a few lines of text.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const RECIPE: &str = r#"
name = "tiny"
[model]
d_model = 32
blocks = "M*-"
mamba2 = { headdim = 16, d_state = 8 }
attention = { heads = 2, rope_theta = 0.0 }
mlp = { gated = false, d_ff = 48 }
[data]
text = ["wake.txt"]
length = 32
[train]
steps = 6
batch = 4
lr = 1e-2
valid_every = 3
"#;

fn sillage(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
    command.args(args).current_dir(folder).stdin(Stdio::null());
    command.output().unwrap()
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn succeed(folder: &Path, args: &[&str]) -> String {
    let output = sillage(folder, args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        said(&output.stderr)
    );
    said(&output.stdout)
}

fn fail(folder: &Path, args: &[&str]) -> String {
    let output = sillage(folder, args);
    let said = said(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..200)
        .map(|i| format!("The wake of ship {i} is {} long.\n", i * 3))
        .collect();
    std::fs::write(folder.path().join("wake.txt"), text).unwrap();
    std::fs::write(folder.path().join("tiny.toml"), RECIPE).unwrap();
    folder
}

#[test]
fn a_recipe_becomes_a_model_that_runs_and_can_be_trained_on() {
    let folder = prepared();
    let folder = folder.path();
    // Stopped after its first step, then brought to its end.
    succeed(folder, &["train", "tiny.toml", "--seconds", "0"]);
    assert!(!folder.join("runs/tiny/model").exists());
    let lines = succeed(folder, &["train", "tiny.toml", "--json"]);
    let record: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(record["steps"], 6);
    assert!(record["used"]["tokens"].as_u64().unwrap() >= 6 * 4 * 32);
    assert!(record["money"]["amount"].as_f64().unwrap() > 0.0);
    assert!(record["validation"]["bits_per_byte"].as_f64().unwrap() > 0.0);
    // Five steps and two validations came before the record.
    assert_eq!(lines.lines().count(), 5 + 2 + 1);
    let model = "runs/tiny/model";
    let info: Value = serde_json::from_str(&succeed(folder, &["info", model, "--json"])).unwrap();
    assert_eq!(info["architecture"], "nemotron_h", "{info}");
    let run = ["run", model, "--prompt", "The wake", "-n", "8"];
    succeed(folder, &run);
    succeed(
        folder,
        &["finetune", model, "tiny.toml", "--out", "further"],
    );
    assert!(folder.join("further/model/model.safetensors").exists());
}

#[test]
fn what_cannot_be_trained_is_told() {
    let folder = prepared();
    let folder = folder.path();
    let write = |from: &str, to: &str| {
        std::fs::write(folder.join("bad.toml"), RECIPE.replace(from, to)).unwrap();
    };
    for (from, to, word) in [
        ("M*-", "Mx-", "'x' is no block"),
        ("wake.txt", "gone.txt", "gone.txt"),
        ("length = 32", "length = 100000", "data.length"),
        ("lr = 1e-2", "lr = \"fast\"", "lr"),
        ("headdim = 16", "headdim = 15", "headdim"),
    ] {
        write(from, to);
        let error = fail(folder, &["train", "bad.toml", "--out", "bad"]);
        assert!(error.contains(word), "{to}: {error}");
    }
    assert!(fail(folder, &["train", "nowhere.toml"]).contains("nowhere.toml"));
}

#[test]
fn the_lab_plans_and_refuses_what_is_no_run() {
    let folder = prepared();
    let folder = folder.path();
    let plan = succeed(folder, &["lab", "plan"]);
    for measure in [
        "scaling", "cost", "voice", "recall", "copy", "track", "language", "quant",
    ] {
        assert!(plan.contains(measure), "{measure}: {plan}");
    }
    let error = fail(folder, &["lab", "report", "wake.txt", "-o", "page.html"]);
    assert!(error.contains("wake.txt"), "{error}");
    assert!(!folder.join("page.html").exists());
}
