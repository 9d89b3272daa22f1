//! What is wrong is named, with its cure, and leaves states as they were.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::{cases, feed};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};
use serde_json::{Value, json};
use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use sillage_models::description::Mixer;
use sillage_models::{ForwardError, LoadOptions, Model, ModelError, Row, Wanted};
use std::path::Path;

type Tensor = (String, Dtype, Vec<usize>, Vec<u8>);

/// Copies a case with its configuration and its tensors changed, and loads the copy.
fn altered(
    name: &str,
    config: impl FnOnce(&mut Value),
    tensors: impl FnOnce(&mut Vec<Tensor>),
) -> Result<Model, ModelError> {
    let folder = tempfile::tempdir().expect("a folder");
    let case = cases("hf")
        .into_iter()
        .find(|c| c.name == name)
        .expect("a case of that name");
    let text = std::fs::read_to_string(case.path.join("config.json")).expect("a configuration");
    let mut value: Value =
        serde_json::from_str(&text.replace("Infinity", "1e300")).expect("it is JSON");
    config(&mut value);
    std::fs::write(folder.path().join("config.json"), value.to_string()).expect("it is written");
    let bytes = std::fs::read(case.path.join("model.safetensors")).expect("weights");
    let mut list: Vec<Tensor> = SafeTensors::deserialize(&bytes)
        .expect("safetensors")
        .iter()
        .map(|(n, v)| {
            (
                n.to_owned(),
                v.dtype(),
                v.shape().to_vec(),
                v.data().to_vec(),
            )
        })
        .collect();
    tensors(&mut list);
    let views = list.iter().map(|(name, ty, shape, data)| {
        (
            name,
            TensorView::new(*ty, shape.clone(), data).expect("it fits"),
        )
    });
    serialize_to_file(views, None, &folder.path().join("model.safetensors"))
        .expect("it is written");
    open(folder.path())
}

fn open(path: &Path) -> Result<Model, ModelError> {
    Model::load(&Checkpoint::open(path)?, &LoadOptions::default())
}

fn says(result: Result<Model, ModelError>, words: &[&str]) {
    let text = result.expect_err("it must not load").to_string();
    for word in words {
        assert!(text.contains(word), "{text:?} does not mention {word:?}");
    }
}

#[test]
fn unknown_architectures_list_the_known() {
    says(
        altered("llama", |c| c["model_type"] = json!("gpt_neox"), |_| ()),
        &["gpt_neox", "mamba2"],
    );
}

#[test]
fn unsupported_variants_say_what_would_work() {
    let scaling = |c: &mut Value| c["rope_scaling"] = json!({"type": "dynamic", "factor": 2.0});
    says(
        altered("llama-linear-rope", scaling, |_| ()),
        &["dynamic", "llama3"],
    );
    says(
        altered(
            "granite-nope",
            |c| c["num_local_experts"] = json!(8),
            |_| (),
        ),
        &["num_local_experts", "8"],
    );
    let moe = |c: &mut Value| c["hybrid_override_pattern"] = json!("M-*EM");
    says(altered("nemotron-h", moe, |_| ()), &["'E'", "mamba (M)"]);
    says(
        altered("mamba2-g1", |c| c["hidden_act"] = json!("gelu"), |_| ()),
        &["gelu", "silu"],
    );
    says(
        altered("rene", |c| c["rms_norm"] = json!(false), |_| ()),
        &["rms_norm"],
    );
}

#[test]
fn senseless_settings_are_named() {
    says(
        altered("mamba", |c| c["hidden_size"] = json!(1_u64 << 50), |_| ()),
        &["hidden_size"],
    );
    says(
        altered("mamba", |c| c["num_hidden_layers"] = json!(-1), |_| ()),
        &["num_hidden_layers", "-1"],
    );
    says(
        altered("llama", |c| c["num_key_value_heads"] = json!(3), |_| ()),
        &["heads"],
    );
    says(
        altered("mamba2-g1", |c| c["n_groups"] = json!(3), |_| ()),
        &["groups"],
    );
    let missing = |c: &mut Value| {
        c.as_object_mut().expect("an object").remove("vocab_size");
    };
    says(altered("mamba", missing, |_| ()), &["vocab_size"]);
}

#[test]
fn missing_and_misshapen_tensors_are_named() {
    let name = "backbone.layers.1.mixer.D";
    let drop = |t: &mut Vec<Tensor>| t.retain(|(n, ..)| n != name);
    says(altered("mamba", |_| (), drop), &[name, "shard"]);
    let shorten = |t: &mut Vec<Tensor>| {
        for (n, _, shape, data) in t.iter_mut().filter(|(n, ..)| n == name) {
            assert_eq!(n, name);
            shape[0] -= 1;
            data.truncate(4 * shape[0]);
        }
    };
    says(
        altered("mamba", |_| (), shorten),
        &[name, "shape", "implies"],
    );
    // A vocabulary that would need terabytes must fail on the shape, not on memory.
    says(
        altered("llama", |c| c["vocab_size"] = json!(16_000_000), |_| ()),
        &["embed_tokens", "16000000"],
    );
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    for name in [
        "backbone.layers.0.mixer.in_proj.weight",
        "backbone.layers.1.mixer.A_log",
        "backbone.norm_f.weight",
    ] {
        for bad in [f32::NAN, f32::INFINITY] {
            let poison = |t: &mut Vec<Tensor>| {
                for (.., data) in t.iter_mut().filter(|(n, ..)| n == name) {
                    data[8..12].copy_from_slice(&bad.to_le_bytes());
                }
            };
            says(altered("mamba", |_| (), poison), &[name]);
        }
    }
}

#[test]
fn bad_batches_leave_every_state_as_it_was() {
    let all = cases("hf");
    let [mamba, llama] =
        ["mamba", "llama"].map(|n| all.iter().find(|c| c.name == n).expect("a case").model());
    let cx = Compute::new(2);
    let mut good = mamba.new_state();
    feed(&mamba, &cx, &mut good, &[1, 2, 3]);
    let before = good.digest();
    let mut other = mamba.new_state();
    let mut foreign = llama.new_state();
    let wanted = Wanted::Last;

    assert!(matches!(
        mamba.forward(&cx, &mut []),
        Err(ForwardError::NoRows)
    ));
    let mut rows = [
        Row {
            state: &mut good,
            tokens: &[4, 5],
            logits: wanted,
        },
        Row {
            state: &mut other,
            tokens: &[],
            logits: wanted,
        },
    ];
    assert!(matches!(
        mamba.forward(&cx, &mut rows),
        Err(ForwardError::NoTokens { row: 1 })
    ));
    let vocab = mamba.vocab();
    let outside = [7, vocab as u32];
    rows[1].tokens = &outside;
    let error = mamba
        .forward(&cx, &mut rows)
        .expect_err("the token is out of range");
    assert!(
        matches!(
            error,
            ForwardError::TokenOutOfRange {
                row: 1,
                index: 1,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains(&vocab.to_string()), "{error}");
    rows[1] = Row {
        state: &mut foreign,
        tokens: &[1],
        logits: wanted,
    };
    let error = mamba
        .forward(&cx, &mut rows)
        .expect_err("the state is another model's");
    assert!(
        matches!(error, ForwardError::ForeignState { row: 1, .. }),
        "{error}"
    );
    assert_eq!(good.digest(), before);
    assert_eq!(good.position(), 3);
}

#[test]
fn logits_come_only_where_wanted() {
    let model = cases("hf")
        .into_iter()
        .find(|c| c.name == "mamba2-g1")
        .expect("a case")
        .model();
    let cx = Compute::new(1);
    let tokens = [3, 1, 4, 1, 5];
    let mut states = [model.new_state(), model.new_state(), model.new_state()];
    let [a, b, c] = &mut states;
    let mut rows = [
        Row {
            state: a,
            tokens: &tokens,
            logits: Wanted::None,
        },
        Row {
            state: b,
            tokens: &tokens,
            logits: Wanted::All,
        },
        Row {
            state: c,
            tokens: &tokens,
            logits: Wanted::Last,
        },
    ];
    let logits = model.forward(&cx, &mut rows).expect("the rows are fine");
    let vocab = model.vocab();
    assert_eq!([0, 1, 2].map(|i| logits.row(i).len() / vocab), [0, 5, 1]);
    assert_eq!(logits.last(1), logits.row(2));
    assert!(logits.last(0).is_empty());
}

#[test]
fn a_model_describes_itself() {
    let case = cases("hf")
        .into_iter()
        .find(|c| c.name == "falcon-h1")
        .expect("a case");
    let model = case.model();
    let text = model.description().to_string();
    for word in [
        "falcon_h1",
        "2 layers",
        "Mamba-2 mixer, 6 heads of 8",
        "beside attention, 4 heads",
    ] {
        assert!(text.contains(word), "{text}");
    }
    let checkpoint = Checkpoint::open(&case.path).expect("it opens");
    assert_eq!(model.parameters(), checkpoint.parameters());
    let groups = model.weight_types();
    assert_eq!(groups.len(), 1);
    let llama = cases("hf")
        .into_iter()
        .find(|c| c.name == "llama")
        .expect("a case")
        .model();
    // Keys and values in f32, heads perhaps padded.
    let kv: usize = llama
        .description()
        .branches()
        .map(|(_, branch)| match &branch.mixer {
            Mixer::Attention(a) => 2 * 4 * a.kv_heads * a.head_dim,
            _ => 0,
        })
        .sum();
    assert!(kv > 0 && llama.layout().bytes_per_token() >= kv as u64);
    assert_eq!(llama.layout().fixed_bytes(), 0);
}
