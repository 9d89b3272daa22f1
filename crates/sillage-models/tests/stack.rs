//! Bare stacks: the laws that models obey hold for them, their convolutions and MLPs are what plain
//! arithmetic says, and what is wrong is named. (Mamba-2 and attention within stacks are held to goldens
//! by the crates that use stacks, and everywhere else by this crate's `conformance` test.)
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::{Value, json};
use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use sillage_models::{ForwardError, LoadOptions, ModelError, Stack, StackConfig, StackRow};
use sillage_state::{Precision, Snapshot};

const D: usize = 192;
const AT: &str = "some.where";

/// Numbers near one, the same for a seed.
fn random(seed: u64, len: usize, scale: f32) -> Vec<f32> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        x = x
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (x >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| scale * next()).collect()
}

/// The tensors of a block by their names and shapes.
fn shapes(block: &Value) -> Vec<(&'static str, Vec<usize>)> {
    let size = |key: &str| block[key].as_u64().expect(key) as usize;
    match block["type"].as_str().expect("a type") {
        "mamba2" => {
            let (inner, states, taps) = (2 * D, size("d_state"), size("d_conv"));
            let (conv, heads) = (inner + 2 * states, inner / size("headdim"));
            vec![
                ("in_proj.weight", vec![inner + conv + heads, D]),
                ("conv1d.weight", vec![conv, 1, taps]),
                ("conv1d.bias", vec![conv]),
                ("dt_bias", vec![heads]),
                ("A_log", vec![heads]),
                ("D", vec![heads]),
                ("norm.weight", vec![inner]),
                ("out_proj.weight", vec![D, inner]),
            ]
        }
        "attention" => {
            let wide = size("heads") * size("head_dim");
            vec![
                ("q_proj.weight", vec![wide, D]),
                ("k_proj.weight", vec![wide, D]),
                ("v_proj.weight", vec![wide, D]),
                ("o_proj.weight", vec![D, wide]),
            ]
        }
        "mlp" => vec![
            ("up.weight", vec![size("d_ff"), D]),
            ("up.bias", vec![size("d_ff")]),
            ("down.weight", vec![D, size("d_ff")]),
            ("down.bias", vec![D]),
        ],
        _ => vec![
            ("conv1d.weight", vec![D, 1, size("d_conv")]),
            ("conv1d.bias", vec![D]),
        ],
    }
}

/// Every tensor of a stack by name, with its values.
fn weights(config: &Value) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let mut all = vec![(format!("{AT}.norm.weight"), vec![D])];
    for (i, block) in config["blocks"]
        .as_array()
        .expect("blocks")
        .iter()
        .enumerate()
    {
        all.push((format!("{AT}.blocks.{i}.norm.weight"), vec![D]));
        let named = |(name, shape)| (format!("{AT}.blocks.{i}.mixer.{name}"), shape);
        all.extend(shapes(block).into_iter().map(named));
    }
    let value = |(i, (name, shape)): (usize, (String, Vec<usize>))| {
        let len = shape.iter().product();
        let fan_in = shape.last().copied().unwrap_or(1) as f32;
        let scale = if shape.len() > 1 {
            (3.0 / fan_in).sqrt()
        } else {
            0.4
        };
        let mut values = random(i as u64, len, scale);
        if name.contains("norm") {
            values.iter_mut().for_each(|v| *v += 1.0);
        }
        (name, shape, values)
    };
    all.into_iter().enumerate().map(value).collect()
}

fn checkpoint(config: &Value, tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Checkpoint {
    let folder = tempfile::tempdir().expect("a folder");
    let text = json!({"model_type": "sillage-voice", "stack": config}).to_string();
    std::fs::write(folder.path().join("config.json"), text).expect("it is written");
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(.., values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&data).map(|((name, shape, _), data)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), data).expect("it fits");
        (name, view)
    });
    serialize_to_file(views, None, &folder.path().join("model.safetensors")).expect("written");
    let checkpoint = Checkpoint::open(folder.path()).expect("it opens");
    // An open file outlives its name.
    drop(folder);
    checkpoint
}

fn load(config: &Value, options: &LoadOptions) -> Result<Stack, ModelError> {
    let described = StackConfig::read(AT, config)?;
    Stack::load(
        &checkpoint(config, &weights(config)),
        AT,
        &described,
        options,
    )
}

fn everything() -> Value {
    json!({"d_model": D, "blocks": [
        {"type": "conv", "d_conv": 7},
        {"type": "mamba2", "d_state": 32, "headdim": 32, "d_conv": 4},
        {"type": "mlp", "d_ff": 256, "activation": "gelu"},
        {"type": "attention", "heads": 3, "head_dim": 32, "rope_theta": 10000.0},
    ]})
}

fn feed(stack: &Stack, cx: &Compute, state: &mut sillage_state::State, inputs: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; inputs.len()];
    let mut rows = [StackRow { state, inputs }];
    stack
        .forward(cx, &mut rows, &mut out)
        .expect("the row is fine");
    out
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Feeds `inputs` cut at random among companions of random lengths, through freezing and saving.
fn divided(
    stacks: [&Stack; 2],
    cx: &Compute,
    inputs: &[f32],
    cuts: &[(usize, usize)],
    place: usize,
) -> (Vec<f32>, sillage_state::State) {
    let mut state = stacks[0].new_state();
    let mut mates = [stacks[0].new_state(), stacks[0].new_state()];
    let mut found = Vec::new();
    let mut cuts = cuts.iter();
    let mut at = 0;
    while at < inputs.len() {
        let (own, other) = cuts.next().copied().unwrap_or((inputs.len(), 1));
        let end = inputs.len().min(at + own * D);
        let mate = random(other as u64, other * D, 1.0);
        let mut rows: Vec<_> = mates
            .iter_mut()
            .map(|state| StackRow {
                state,
                inputs: &mate,
            })
            .collect();
        let own = StackRow {
            state: &mut state,
            inputs: &inputs[at..end],
        };
        rows.insert(place, own);
        let mut out = vec![0.0; 2 * mate.len() + end - at];
        stacks[own_turn(at)]
            .forward(cx, &mut rows, &mut out)
            .expect("the rows are fine");
        found.extend_from_slice(&out[place * mate.len()..][..end - at]);
        at = end;
        let mut file = Vec::new();
        state
            .snapshot()
            .write_to(&mut file, Precision::Exact)
            .expect("it is saved");
        let loaded = Snapshot::read_from(&file[..], stacks[0].layout()).expect("it is read");
        state = loaded.resume();
    }
    (found, state)
}

/// Odd calls go through the stack that is set to small pieces.
fn own_turn(at: usize) -> usize {
    at / D % 2
}

#[test]
fn one_result_for_every_split_batch_and_thread_count() {
    let config = everything();
    let whole = load(&config, &LoadOptions::default()).expect("it loads");
    let mut options = LoadOptions::default();
    options.piece = 5;
    let pieces = load(&config, &options).expect("it loads");
    let all = [1, 2, 5].map(Compute::new);
    let cut = prop::collection::vec((1..20_usize, 1..9_usize), 0..6);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let plan = (any::<u64>(), 1..80_usize, cut, 0..3_usize, 0..3_usize);
    let result = runner.run(&plan, |(seed, n, cuts, place, threads)| {
        let inputs = random(seed, n * D, 1.5);
        let mut state = whole.new_state();
        let expected = feed(&whole, &all[0], &mut state, &inputs);
        let stacks = [&whole, &pieces];
        let (found, other) = divided(stacks, &all[threads], &inputs, &cuts, place);
        prop_assert!(bits(&found) == bits(&expected), "outputs differ");
        prop_assert!(other.bits_eq(&state), "states differ");
        Ok(())
    });
    result.expect("the law holds");
}

#[test]
fn convolution_and_mlp_are_plain_arithmetic() {
    let config = json!({"d_model": D, "blocks": [
        {"type": "conv", "d_conv": 7}, {"type": "mlp", "d_ff": 96, "activation": "gelu"}]});
    let stack = load(&config, &LoadOptions::default()).expect("it loads");
    let tensors = weights(&config);
    let tensor = |name: &str| -> Vec<f64> {
        let name = format!("{AT}.{name}");
        let (.., values) = tensors.iter().find(|(n, ..)| *n == name).expect("a tensor");
        values.iter().map(|v| f64::from(*v)).collect()
    };
    let n = 11;
    let inputs = random(9, n * D, 1.0);
    let found = feed(&stack, &Compute::new(1), &mut stack.new_state(), &inputs);

    let norm = |x: &[f64], weight: &str| -> Vec<f64> {
        let weight = tensor(weight);
        let root = (x.iter().map(|v| v * v).sum::<f64>() / D as f64 + 1e-5).sqrt();
        x.iter().zip(weight).map(|(v, w)| v / root * w).collect()
    };
    let mut x: Vec<Vec<f64>> = inputs
        .chunks(D)
        .map(|row| row.iter().map(|v| f64::from(*v)).collect())
        .collect();
    let normed: Vec<_> = x
        .iter()
        .map(|row| norm(row, "blocks.0.norm.weight"))
        .collect();
    let (taps, bias) = (
        tensor("blocks.0.mixer.conv1d.weight"),
        tensor("blocks.0.mixer.conv1d.bias"),
    );
    for t in 0..n {
        for c in 0..D {
            let past = (0..7).filter(|k| t + k >= 6);
            x[t][c] += bias[c]
                + past
                    .map(|k| taps[c * 7 + k] * normed[t + k - 6][c])
                    .sum::<f64>();
        }
    }
    let product = |weight: &str, bias: &str, x: &[f64]| -> Vec<f64> {
        let (weight, bias) = (tensor(weight), tensor(bias));
        let row = |(w, b): (&[f64], &f64)| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b;
        weight.chunks(x.len()).zip(&bias).map(row).collect()
    };
    for (t, row) in x.iter_mut().enumerate() {
        let inner = norm(row, "blocks.1.norm.weight");
        let mut up = product("blocks.1.mixer.up.weight", "blocks.1.mixer.up.bias", &inner);
        let gelu = |u: f64| {
            0.5 * u * (1.0 + (0.797_884_560_802_865_4 * (u + 0.044_715 * u * u * u)).tanh())
        };
        up.iter_mut().for_each(|u| *u = gelu(*u));
        let down = product(
            "blocks.1.mixer.down.weight",
            "blocks.1.mixer.down.bias",
            &up,
        );
        row.iter_mut().zip(down).for_each(|(x, d)| *x += d);
        for (c, expected) in norm(row, "norm.weight").into_iter().enumerate() {
            let off = (f64::from(found[t * D + c]) - expected).abs();
            assert!(off < 2e-5, "step {t}, channel {c}: off by {off}");
        }
    }
}

#[test]
fn bad_rows_leave_every_state_as_it_was() {
    let stack = load(&everything(), &LoadOptions::default()).expect("it loads");
    let other = json!({"d_model": D, "blocks": [{"type": "conv", "d_conv": 7}]});
    let other = load(&other, &LoadOptions::default()).expect("it loads");
    let cx = Compute::new(1);
    let (mut good, mut foreign) = (stack.new_state(), other.new_state());
    let inputs = random(1, 3 * D, 1.0);
    feed(&stack, &cx, &mut good, &inputs);
    let before = good.digest();
    let mut out = vec![0.0; 6 * D];
    let mut call = |second: &[f32], foreign: &mut sillage_state::State, len: usize| {
        let mut rows = [
            StackRow {
                state: &mut good,
                inputs: &inputs,
            },
            StackRow {
                state: foreign,
                inputs: second,
            },
        ];
        stack
            .forward(&cx, &mut rows, &mut out[..len])
            .expect_err("it must not run")
    };
    let mut fits = stack.new_state();
    let error = call(&inputs, &mut foreign, 6 * D);
    assert!(
        matches!(error, ForwardError::ForeignState { row: 1, .. }),
        "{error}"
    );
    let error = call(&[], &mut fits, 3 * D);
    assert!(
        matches!(error, ForwardError::NoTokens { row: 1 }),
        "{error}"
    );
    let error = call(&inputs[1..], &mut fits, 6 * D - 1);
    assert!(
        matches!(error, ForwardError::BadInputs { row: 1, .. }),
        "{error}"
    );
    let error = call(&inputs, &mut fits, 6 * D - 1);
    assert!(matches!(error, ForwardError::BadOutput { .. }), "{error}");
    assert!(matches!(
        stack.forward(&cx, &mut [], &mut []),
        Err(ForwardError::NoRows)
    ));
    assert_eq!(good.digest(), before);
}

#[test]
fn senseless_stacks_are_named() {
    let says = |config: Value, words: &[&str]| {
        let error = load_error(&config);
        for word in words {
            assert!(error.contains(word), "{error:?} does not mention {word:?}");
        }
    };
    says(json!({"d_model": D}), &["blocks", AT]);
    says(json!({"d_model": D, "blocks": []}), &["blocks"]);
    says(
        json!({"d_model": 0, "blocks": [{"type": "conv", "d_conv": 7}]}),
        &["d_model"],
    );
    says(
        json!({"d_model": D, "blocks": [{"type": "lstm"}]}),
        &["block 0", "lstm", "mamba2"],
    );
    says(
        json!({"d_model": D, "blocks": [{"type": "conv"}]}),
        &["block 0", "d_conv"],
    );
    let odd = json!({"type": "mamba2", "d_state": 32, "headdim": 50, "d_conv": 4});
    says(json!({"d_model": D, "blocks": [odd]}), &["headdim"]);
    let full = everything();
    let described = StackConfig::read(AT, &full).expect("it reads");
    let mut tensors = weights(&full);
    tensors.retain(|(name, ..)| !name.ends_with("blocks.0.mixer.conv1d.bias"));
    let error = Stack::load(
        &checkpoint(&full, &tensors),
        AT,
        &described,
        &LoadOptions::default(),
    );
    let error = error.expect_err("a tensor is missing").to_string();
    assert!(error.contains("blocks.0.mixer.conv1d.bias"), "{error}");
}

fn load_error(config: &Value) -> String {
    StackConfig::read(AT, config)
        .expect_err("it must not read")
        .to_string()
}
