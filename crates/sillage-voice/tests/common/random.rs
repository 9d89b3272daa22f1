//! Voice models of random weights, of any size, for tests and for measuring speed.

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::{Value, json};
use sillage_formats::Checkpoint;
use sillage_formats::quantize::{Policy, Target, quantize};
use std::path::Path;

/// Symbols of the random models: two ends, some letters, two marks and the space.
pub(crate) const SYMBOLS: [&str; 10] = ["<bos>", "<eos>", "a", "e", "i", "k", "s", ",", ".", " "];

/// Widths and numbers of blocks.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) text: (usize, usize),
    /// Pairs of attention and MLP that look at the voice's tokens.
    pub(crate) attend: usize,
    pub(crate) acoustic: (usize, usize),
    pub(crate) vocoder: (usize, usize, usize),
    pub(crate) speaker: (usize, usize),
}

/// What ships.
#[allow(dead_code, reason = "not every target measures speed")]
pub(crate) const FULL: Size = Size {
    text: (256, 2),
    attend: 2,
    acoustic: (320, 6),
    vocoder: (256, 6, 768),
    speaker: (256, 3),
};

/// What tests run.
#[allow(dead_code, reason = "not every target tests")]
pub(crate) const TINY: Size = Size {
    text: (64, 1),
    attend: 1,
    acoustic: (64, 2),
    vocoder: (64, 2, 96),
    speaker: (64, 1),
};

fn mamba2(count: usize) -> Vec<Value> {
    vec![json!({"type": "mamba2", "d_state": 64, "headdim": 64, "d_conv": 4}); count]
}

fn transformer(count: usize, d: usize, d_ff: usize) -> Vec<Value> {
    let pair = |_| {
        [
            json!({"type": "attention", "heads": d / 64, "head_dim": 64}),
            json!({"type": "mlp", "d_ff": d_ff, "activation": "gelu_tanh"}),
        ]
    };
    (0..count).flat_map(pair).collect()
}

/// The configuration of a model; `attention` instead of a state space model as its backbone.
pub(crate) fn config(size: Size, attention: bool) -> Value {
    let stack = |d: usize, blocks: Vec<Value>| json!({"d_model": d, "blocks": blocks});
    let (d, count) = size.acoustic;
    let backbone = match attention {
        false => mamba2(count),
        true => transformer(count, d, 3 * d / 2),
    };
    let (width, pairs, d_ff) = size.vocoder;
    let trunk = (0..pairs)
        .flat_map(|_| {
            [
                json!({"type": "conv", "d_conv": 7}),
                json!({"type": "mlp", "d_ff": d_ff, "activation": "gelu_tanh"}),
            ]
        })
        .collect();
    let text = || stack(size.text.0, mamba2(size.text.1));
    let attend = transformer(size.attend, size.text.0, 2 * size.text.0);
    json!({
        "model_type": "sillage-voice", "version": 1, "sample_rate": 24_000, "hop": 300, "n_fft": 1024,
        "frames_per_step": 2, "mels": 100, "voice_dim": 128, "voice_tokens": 24, "speaker_bands": 84,
        "near": 16, "noise_bands": 64, "symbols": SYMBOLS, "voices": [{"name": "one"}, {"name": "two"}],
        "text": {"forward": text(), "backward": text(), "attend": stack(size.text.0, attend)},
        "acoustic": stack(d, backbone),
        "vocoder": stack(width, trunk),
        "speaker": stack(size.speaker.0, mamba2(size.speaker.1)),
    })
}

/// The tensors of a stack.
fn stack(at: &str, config: &Value, out: &mut Vec<(String, Vec<usize>)>) {
    let d = config["d_model"].as_u64().expect("a width") as usize;
    let mut add = |name: String, shape: Vec<usize>| out.push((format!("{at}.{name}"), shape));
    add("norm.weight".to_owned(), vec![d]);
    for (i, block) in config["blocks"]
        .as_array()
        .expect("blocks")
        .iter()
        .enumerate()
    {
        let size = |key: &str| block[key].as_u64().expect(key) as usize;
        add(format!("blocks.{i}.norm.weight"), vec![d]);
        let mut mix = |name: &str, shape: &[usize]| {
            add(format!("blocks.{i}.mixer.{name}"), shape.to_vec());
        };
        match block["type"].as_str().expect("a type") {
            "mamba2" => {
                let (inner, states) = (2 * d, size("d_state"));
                let (conv, heads) = (inner + 2 * states, inner / size("headdim"));
                mix("in_proj.weight", &[inner + conv + heads, d]);
                mix("conv1d.weight", &[conv, 1, size("d_conv")]);
                mix("conv1d.bias", &[conv]);
                mix("dt_bias", &[heads]);
                mix("A_log", &[heads]);
                mix("D", &[heads]);
                mix("norm.weight", &[inner]);
                mix("out_proj.weight", &[d, inner]);
            }
            "attention" => {
                let wide = size("heads") * size("head_dim");
                for name in ["q_proj", "k_proj", "v_proj"] {
                    mix(&format!("{name}.weight"), &[wide, d]);
                }
                mix("o_proj.weight", &[d, wide]);
            }
            "mlp" => {
                mix("up.weight", &[size("d_ff"), d]);
                mix("up.bias", &[size("d_ff")]);
                mix("down.weight", &[d, size("d_ff")]);
                mix("down.bias", &[d]);
            }
            _ => {
                mix("conv1d.weight", &[d, 1, size("d_conv")]);
                mix("conv1d.bias", &[d]);
            }
        }
    }
}

/// Every tensor of a model.
fn shapes(size: Size, config: &Value) -> Vec<(String, Vec<usize>)> {
    let (text, d, width) = (size.text.0, size.acoustic.0, size.vocoder.0);
    let speaker = size.speaker.0;
    let mut out = Vec::new();
    let mut add = |name: &str, shape: &[usize]| out.push((name.to_owned(), shape.to_vec()));
    add("text.embedding.weight", &[SYMBOLS.len(), text]);
    add("text.stress.weight", &[3, text]);
    add("text.first.weight", &[2, text]);
    add("text.voice.weight", &[text, 128]);
    for (at, rows, cols) in [
        ("text.join", text, 2 * text),
        ("text.token", text, 128),
        ("duration.up", text, text),
        ("duration.down", 1, text),
        ("acoustic.join", d, text),
        ("acoustic.head", 204, d),
        ("vocoder.input", width, 306),
        ("vocoder.head", 1090, width),
        ("speaker.input", speaker, 100),
        ("speaker.gate", 1, speaker),
        ("speaker.out", 129, 2 * speaker),
        ("speaker.token", 128, speaker),
    ] {
        add(&format!("{at}.weight"), &[rows, cols]);
        add(&format!("{at}.bias"), &[rows]);
    }
    add("speaker.query.weight", &[24, speaker]);
    add("acoustic.voice.weight", &[d, 128]);
    add("acoustic.prompt_voice.weight", &[d, 128]);
    add("acoustic.prompt", &[d]);
    add("acoustic.from_start.weight", &[16, d]);
    add("acoustic.to_end.weight", &[16, d]);
    add("mel.mean", &[100]);
    add("mel.std", &[100]);
    add("voices.vectors", &[1, 2, 128]);
    add("voices.tokens", &[1, 2 * 24, 128]);
    add("voices.mu", &[2]);
    stack("text.forward", &config["text"]["forward"], &mut out);
    stack("text.backward", &config["text"]["backward"], &mut out);
    stack("text.attend", &config["text"]["attend"], &mut out);
    stack("acoustic.backbone", &config["acoustic"], &mut out);
    stack("vocoder.trunk", &config["vocoder"], &mut out);
    stack("speaker.trunk", &config["speaker"], &mut out);
    out
}

/// Numbers in ±1, the same for a seed.
pub(crate) fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        x = x
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (x >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Values that keep activations near one, durations near three steps, and the sound between silence and
/// full scale.
fn values(seed: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    let len = shape.iter().product();
    let fan_in = shape.last().copied().unwrap_or(1) as f32;
    let (scale, shift) = match name {
        "duration.down.bias" => (0.0, 1.4),
        "duration.down.weight" => (0.05, 0.0),
        "mel.mean" => (0.5, -5.0),
        "mel.std" => (0.1, 1.5),
        "voices.mu" => (0.2, 5.0),
        "voices.vectors" | "voices.tokens" => (1.0, 0.0),
        "acoustic.head.bias" => (0.3, 0.3),
        "vocoder.head.bias" => (1.0, -3.0),
        _ if name.contains("norm") => (0.3, 1.0),
        _ if name.ends_with("dt_bias") => (1.0, -3.0),
        _ if name.ends_with("A_log") => (1.0, 1.0),
        _ if shape.len() > 1 => ((3.0 / fan_in).sqrt(), 0.0),
        _ => (0.3, 0.0),
    };
    let values = numbers(seed, len);
    values.into_iter().map(|v| shift + scale * v).collect()
}

/// Writes a random model's folder.
pub(crate) fn write(folder: &Path, size: Size, attention: bool, change: impl Fn(&str, &mut [f32])) {
    let config = config(size, attention);
    std::fs::write(folder.join("config.json"), config.to_string()).expect("it is written");
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes(size, &config)
        .into_iter()
        .enumerate()
        .map(|(i, (name, shape))| {
            let mut values = values(i as u64, &name, &shape);
            change(&name, &mut values);
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("it fits");
        (name, view)
    });
    serialize_to_file(views, None, &folder.join("model.safetensors")).expect("it is written");
}

/// A random model's checkpoint, with matrices of eight bits if asked for.
#[allow(dead_code, reason = "not every target asks for it")]
pub(crate) fn checkpoint(size: Size, attention: bool, eight_bits: bool) -> Checkpoint {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), size, attention, |_, _| ());
    let open = |path: &Path| Checkpoint::open(path).expect("it opens");
    let plain = open(folder.path());
    if !eight_bits {
        // An open file outlives its name.
        return plain;
    }
    let path = folder.path().join("packed.safetensors");
    quantize(&plain, &Policy::uniform(Target::Q8), &path, &mut |_| true).expect("it is quantised");
    open(&path)
}
