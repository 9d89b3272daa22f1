//! Checkpoints wide enough that kernels divide their work among threads, which the tiny ones of
//! `conformance/` are not; made of random weights on the spot.

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A configuration and the shapes of its tensors.
type Plan = (Value, Vec<(String, Vec<usize>)>);

const D: usize = 192;
const VOCAB: usize = 800;
const LAYERS: usize = 2;

/// Writes the named checkpoint (`mamba` or `falcon_h1`) into a new folder within `folder`.
pub(crate) fn checkpoint(name: &str, folder: &Path) -> PathBuf {
    let (config, shapes) = if name == "mamba" {
        mamba()
    } else {
        falcon_h1()
    };
    let folder = folder.join(format!("random-{name}"));
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("config.json"), config.to_string()).expect("config.json is written");
    let tensors: Vec<_> = shapes
        .into_iter()
        .enumerate()
        .map(|(i, (name, shape))| {
            let data = values(i as u64, &name, &shape);
            (name, shape, data)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, data)| {
        (
            name,
            TensorView::new(Dtype::F32, shape.clone(), data).expect("it fits"),
        )
    });
    serialize_to_file(views, None, &folder.join("model.safetensors")).expect("weights are written");
    folder
}

/// Weights of a size that keeps activations near one.
fn values(seed: u64, name: &str, shape: &[usize]) -> Vec<u8> {
    let fan_in = if shape.len() > 1 {
        shape[shape.len() - 1]
    } else {
        1
    };
    let scale = if shape.len() > 1 {
        (3.0 / fan_in as f32).sqrt()
    } else {
        0.5
    };
    let shift = if name.contains("norm") { 1.0 } else { 0.0 };
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        x = x
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (x >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..shape.iter().product())
        .flat_map(|_| (shift + scale * next()).to_le_bytes())
        .collect()
}

fn mamba() -> Plan {
    let (inner, states, rank) = (2 * D, 16, 32);
    let config = json!({
        "model_type": "mamba", "hidden_size": D, "num_hidden_layers": LAYERS, "vocab_size": VOCAB,
        "state_size": states, "time_step_rank": rank, "tie_word_embeddings": true,
    });
    let mut shapes = vec![
        ("backbone.embeddings.weight".to_owned(), vec![VOCAB, D]),
        ("backbone.norm_f.weight".to_owned(), vec![D]),
    ];
    for i in 0..LAYERS {
        let mut add = |name: &str, shape: &[usize]| {
            shapes.push((format!("backbone.layers.{i}.{name}"), shape.to_vec()));
        };
        add("norm.weight", &[D]);
        add("mixer.in_proj.weight", &[2 * inner, D]);
        add("mixer.conv1d.weight", &[inner, 1, 4]);
        add("mixer.conv1d.bias", &[inner]);
        add("mixer.x_proj.weight", &[rank + 2 * states, inner]);
        add("mixer.dt_proj.weight", &[inner, rank]);
        add("mixer.dt_proj.bias", &[inner]);
        add("mixer.A_log", &[inner, states]);
        add("mixer.D", &[inner]);
        add("mixer.out_proj.weight", &[D, inner]);
    }
    (config, shapes)
}

/// Mamba-2, attention and an MLP in every layer.
fn falcon_h1() -> Plan {
    let (inner, heads, states, groups) = (2 * D, 12, 64, 2);
    let (wide, narrow, d_ff) = (D, D / 3, 512);
    let conv = inner + 2 * groups * states;
    let config = json!({
        "model_type": "falcon_h1", "hidden_size": D, "num_hidden_layers": LAYERS, "vocab_size": VOCAB,
        "intermediate_size": d_ff, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 32,
        "mamba_d_ssm": inner, "mamba_n_heads": heads, "mamba_d_head": 32, "mamba_n_groups": groups,
        "mamba_d_state": states, "mamba_rms_norm": true, "mamba_norm_before_gate": false,
        "tie_word_embeddings": false, "rope_theta": 10000.0,
    });
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, D]),
        ("model.final_layernorm.weight".to_owned(), vec![D]),
        ("lm_head.weight".to_owned(), vec![VOCAB, D]),
    ];
    for i in 0..LAYERS {
        let mut add = |name: &str, shape: &[usize]| {
            shapes.push((format!("model.layers.{i}.{name}"), shape.to_vec()));
        };
        add("input_layernorm.weight", &[D]);
        add("pre_ff_layernorm.weight", &[D]);
        add("mamba.in_proj.weight", &[inner + conv + heads, D]);
        add("mamba.conv1d.weight", &[conv, 1, 4]);
        add("mamba.conv1d.bias", &[conv]);
        add("mamba.dt_bias", &[heads]);
        add("mamba.A_log", &[heads]);
        add("mamba.D", &[heads]);
        add("mamba.norm.weight", &[inner]);
        add("mamba.out_proj.weight", &[D, inner]);
        add("self_attn.q_proj.weight", &[wide, D]);
        add("self_attn.k_proj.weight", &[narrow, D]);
        add("self_attn.v_proj.weight", &[narrow, D]);
        add("self_attn.o_proj.weight", &[D, wide]);
        add("feed_forward.gate_proj.weight", &[d_ff, D]);
        add("feed_forward.up_proj.weight", &[d_ff, D]);
        add("feed_forward.down_proj.weight", &[D, d_ff]);
    }
    (config, shapes)
}
