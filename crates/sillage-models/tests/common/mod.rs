//! The conformance suite as the tests see it: cases, and what they should give.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod random;

use serde_json::Value;
use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use sillage_models::{LoadOptions, Model, Row, Wanted};
use sillage_state::State;
use std::path::{Path, PathBuf};

/// One checkpoint of the suite.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) path: PathBuf,
    /// Largest difference of a logit, relative to the largest golden logit.
    pub(crate) tolerance: f32,
    golden: PathBuf,
}

/// What a case should give.
pub(crate) struct Golden {
    pub(crate) tokens: Vec<u32>,
    /// `[tokens, vocab]`
    pub(crate) logits: Vec<f32>,
    pub(crate) greedy_prompt: Vec<u32>,
    pub(crate) greedy: Vec<u32>,
    /// The largest golden logit.
    pub(crate) scale: f32,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance")
}

/// Every case of a kind, `hf` or `gguf`; `SILLAGE_CASE` picks those whose name contains it.
pub(crate) fn cases(kind: &str) -> Vec<Case> {
    let root = root();
    let text =
        std::fs::read_to_string(root.join("manifest.json")).expect("conformance/manifest.json");
    let manifest: Value = serde_json::from_str(&text).expect("the manifest is JSON");
    let only = std::env::var("SILLAGE_CASE").unwrap_or_default();
    let text = |entry: &Value, key: &str| entry[key].as_str().expect(key).to_owned();
    let cases: Vec<Case> = manifest["cases"]
        .as_array()
        .expect("a list of cases")
        .iter()
        .map(|entry| Case {
            name: text(entry, "name"),
            kind: text(entry, "kind"),
            path: root.join(text(entry, "path")),
            tolerance: entry["tolerances"]["logits"].as_f64().expect("a tolerance") as f32,
            golden: root.join(text(entry, "golden")),
        })
        .filter(|case| case.kind == kind && case.name.contains(&only))
        .collect();
    assert!(
        !cases.is_empty() || !only.is_empty(),
        "no case of kind {kind}"
    );
    cases
}

impl Case {
    pub(crate) fn golden(&self) -> Golden {
        let bytes = std::fs::read(&self.golden).expect("the golden");
        let tensors =
            safetensors::SafeTensors::deserialize(&bytes).expect("the golden is safetensors");
        let data = |name: &str| tensors.tensor(name).expect(name).data().to_vec();
        let words = |name: &str| -> Vec<[u8; 4]> { data(name).as_chunks::<4>().0.to_vec() };
        let tokens = |name: &str| words(name).into_iter().map(u32::from_le_bytes).collect();
        let logits: Vec<f32> = words("logits")
            .into_iter()
            .map(f32::from_le_bytes)
            .collect();
        Golden {
            tokens: tokens("tokens"),
            scale: logits.iter().fold(0.0, |max, v| v.abs().max(max)),
            logits,
            greedy_prompt: tokens("greedy_prompt"),
            greedy: tokens("greedy"),
        }
    }

    pub(crate) fn model(&self) -> Model {
        load(&self.path, &LoadOptions::default())
    }
}

pub(crate) fn load(path: &Path, options: &LoadOptions) -> Model {
    let checkpoint = Checkpoint::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Model::load(&checkpoint, options).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Feeds one row and returns the logits of all its tokens.
pub(crate) fn feed(model: &Model, cx: &Compute, state: &mut State, tokens: &[u32]) -> Vec<f32> {
    let row = Row {
        state,
        tokens,
        logits: Wanted::All,
    };
    model
        .forward(cx, &mut [row])
        .expect("the row is fine")
        .row(0)
        .to_vec()
}

/// The index of the largest value.
pub(crate) fn best(logits: &[f32]) -> u32 {
    let best = logits
        .iter()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    best.expect("there are logits").0 as u32
}

pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}
