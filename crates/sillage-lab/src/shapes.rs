//! Models of published sizes with random weights, matched to each other.
//!
//! Speed does not depend on what the weights say, so random ones will do, drawn
//! as the authors initialise them. What is compared is matched: the same width,
//! number of residuals, vocabulary and precision, and parameters within 2 %.
//!
//! | size | residuals x width | Mamba-2 | transformer | hybrid |
//! |---|---|---|---|---|
//! | tiny | 8 x 256 | 16 heads of 32 | 4 heads, MLP of 768 | 17 heads, 1 attention in 8 |
//! | 130m | 24 x 768 | 24 heads of 64 | 12 heads, MLP of 2,240 | 25 heads, 3 of 24 |
//! | 370m | 48 x 1024 | 32 heads of 64 | 16 heads, MLP of 2,944 | 34 heads, 6 of 48 |
//!
//! Mamba-2 is that of `state-spaces/mamba2-130m` and `-370m`. A transformer's
//! layer is two residuals. An attention block is smaller than a Mamba-2 block,
//! so the hybrid's Mamba-2 blocks have a head or two more; its attention has
//! the heads of the transformer and no positions, as in Nemotron-H.

mod draw;

use crate::LabError;
use crate::error::failed;
use serde_json::{Value, json};
use sillage_formats::Checkpoint;
use sillage_formats::quantize::{Policy, Target, quantize};
use sillage_models::description::Mixer;
use sillage_models::{Description, LoadOptions, Model, describe};
use sillage_state::StateType;
use std::path::{Path, PathBuf};

/// Sides may differ in their parameters by this share.
pub const TOLERANCE: f64 = 0.02;

/// How large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// 4.5 million parameters, for a quick look and for tests.
    Tiny,
    /// 130 million.
    M130,
    /// 370 million.
    M370,
}

/// Which of the sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A state space model.
    Mamba2,
    /// One attention block in eight.
    Hybrid,
    /// Attention and SwiGLU, as Llama.
    Transformer,
}

/// What the matrices are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// 32-bit floats.
    F32,
    /// 16-bit brain floats.
    Bf16,
    /// 8 bits and a scale for 32.
    Q8,
    /// 4 bits, a scale and a minimum for 32.
    Q4,
}

/// All sides, in the order of the report.
pub const KINDS: [Kind; 3] = [Kind::Mamba2, Kind::Hybrid, Kind::Transformer];
/// All weight types, the largest first.
pub const WEIGHTS: [Weights; 4] = [Weights::F32, Weights::Bf16, Weights::Q8, Weights::Q4];

impl Size {
    /// As points name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::M130 => "130m",
            Self::M370 => "370m",
        }
    }

    fn sizes(self) -> Sizes {
        match self {
            Self::Tiny => Sizes {
                d_model: 256,
                blocks: 8,
                vocab: 4096,
                d_state: 64,
                headdim: 32,
                d_ff: 768,
                hybrid_heads: 17,
            },
            Self::M130 => Sizes {
                d_model: 768,
                blocks: 24,
                vocab: 50_288,
                d_state: 128,
                headdim: 64,
                d_ff: 2240,
                hybrid_heads: 25,
            },
            Self::M370 => Sizes {
                d_model: 1024,
                blocks: 48,
                vocab: 50_288,
                d_state: 128,
                headdim: 64,
                d_ff: 2944,
                hybrid_heads: 34,
            },
        }
    }
}

impl Kind {
    /// The series of its points.
    #[must_use]
    pub fn series(self) -> &'static str {
        match self {
            Self::Mamba2 => "Mamba-2",
            Self::Hybrid => "hybrid",
            Self::Transformer => "transformer",
        }
    }

    /// In names of files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mamba2 => "mamba2",
            Self::Hybrid => "hybrid",
            Self::Transformer => "transformer",
        }
    }
}

impl Weights {
    /// As points name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }

    /// The same for `sillage quantize`.
    #[must_use]
    pub fn target(self) -> Target {
        match self {
            Self::F32 => Target::F32,
            Self::Bf16 => Target::Bf16,
            Self::Q8 => Target::Q8,
            Self::Q4 => Target::Q4,
        }
    }
}

/// The numbers behind a size.
struct Sizes {
    d_model: usize,
    /// Residuals.
    blocks: usize,
    vocab: usize,
    d_state: usize,
    headdim: usize,
    d_ff: usize,
    /// Mamba-2 heads of the hybrid.
    hybrid_heads: usize,
}

/// Head width of attention.
const HEAD_DIM: usize = 64;
/// The hybrid has one attention block in so many.
const ONE_IN: usize = 8;

/// The configuration of a side, as Hugging Face has it.
#[must_use]
pub fn config(size: Size, kind: Kind) -> Value {
    let s = size.sizes();
    let mut config = match kind {
        Kind::Mamba2 => mamba2(&s),
        Kind::Transformer => transformer(&s),
        Kind::Hybrid => hybrid(&s),
    };
    let shared = json!({
        "hidden_size": s.d_model, "vocab_size": s.vocab, "tie_word_embeddings": true,
        "torch_dtype": "bfloat16", "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
        "use_cache": true,
    });
    if let (Some(config), Value::Object(shared)) = (config.as_object_mut(), shared) {
        config.extend(shared);
    }
    config
}

fn mamba2(s: &Sizes) -> Value {
    let d_inner = 2 * s.d_model;
    json!({
        "architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2",
        "num_hidden_layers": s.blocks, "state_size": s.d_state, "head_dim": s.headdim,
        "num_heads": d_inner / s.headdim, "n_groups": 1, "conv_kernel": 4, "expand": 2,
        "intermediate_size": d_inner, "hidden_act": "silu", "layer_norm_epsilon": 1e-5,
        "rms_norm": true, "use_bias": false, "use_conv_bias": true, "chunk_size": 256,
        "residual_in_fp32": true, "norm_before_gate": true,
        "time_step_rank": s.d_model.div_ceil(16), "time_step_min": 0.001,
        "time_step_max": 0.1, "time_step_floor": 1e-4,
    })
}

fn transformer(s: &Sizes) -> Value {
    let heads = s.d_model / HEAD_DIM;
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "num_hidden_layers": s.blocks / 2, "num_attention_heads": heads,
        "num_key_value_heads": heads, "head_dim": HEAD_DIM, "intermediate_size": s.d_ff,
        "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
        "max_position_embeddings": 131_072, "attention_bias": false, "mlp_bias": false,
    })
}

fn hybrid(s: &Sizes) -> Value {
    let heads = s.d_model / HEAD_DIM;
    // The fourth of every eight, so that neither end is attention.
    let pattern: String = (0..s.blocks)
        .map(|i| if i % ONE_IN == ONE_IN / 2 { '*' } else { 'M' })
        .collect();
    json!({
        "architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h",
        "num_hidden_layers": s.blocks, "hybrid_override_pattern": pattern,
        "mamba_num_heads": s.hybrid_heads, "mamba_head_dim": s.headdim,
        "ssm_state_size": s.d_state, "n_groups": 1, "conv_kernel": 4, "use_conv_bias": true,
        "use_bias": false, "mamba_hidden_act": "silu", "layer_norm_epsilon": 1e-5,
        "num_attention_heads": heads, "num_key_value_heads": heads, "head_dim": HEAD_DIM,
        "attention_bias": false, "intermediate_size": s.d_ff, "chunk_size": 256,
    })
}

/// What a side is.
///
/// # Errors
/// None for the sizes here; those of [`describe`] if they were changed badly.
pub fn description(size: Size, kind: Kind) -> Result<Description, LabError> {
    describe(&config(size, kind), &|_| None).map_err(failed)
}

/// What must be the same between sides that are compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// What it is called.
    pub name: String,
    /// Elements of all tensors.
    pub parameters: u64,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of residuals.
    pub residuals: usize,
    /// Number of those that mix tokens over any distance.
    pub mixers: usize,
    /// Number of logits.
    pub vocab: usize,
    /// Weight type.
    pub weights: String,
}

impl Side {
    /// A side by its description.
    #[must_use]
    pub fn of(name: &str, description: &Description, weights: &str) -> Self {
        Self {
            name: name.to_owned(),
            parameters: description
                .parameters()
                .iter()
                .map(|p| p.len() as u64)
                .sum(),
            d_model: description.d_model,
            residuals: description.residuals.len(),
            mixers: description
                .branches()
                .filter(|(_, branch)| !matches!(branch.mixer, Mixer::Mlp(_) | Mixer::Conv(_)))
                .count(),
            vocab: description.vocab,
            weights: weights.to_owned(),
        }
    }
}

/// Refuses sides that are not matched.
///
/// # Errors
/// [`LabError::Mismatch`] with both values of the first thing that differs.
pub fn matched(sides: &[Side]) -> Result<(), LabError> {
    for (i, one) in sides.iter().enumerate() {
        for other in &sides[i + 1..] {
            if let Some(what) = difference(one, other) {
                return Err(LabError::Mismatch {
                    left: one.name.clone(),
                    right: other.name.clone(),
                    what,
                });
            }
        }
    }
    Ok(())
}

/// The first thing that differs, with both values.
fn difference(one: &Side, other: &Side) -> Option<String> {
    if one.weights != other.weights {
        return Some(format!("weights in {} and {}", one.weights, other.weights));
    }
    // A layer of a transformer is one that mixes and an MLP: sides are as deep by either count.
    let depth = match one.mixers == other.mixers {
        true => ("mixers", one.mixers, other.mixers),
        false => ("residuals", one.residuals, other.residuals),
    };
    let numbers = [
        ("width", one.d_model, other.d_model),
        depth,
        ("vocabulary", one.vocab, other.vocab),
    ];
    if let Some((what, a, b)) = numbers.iter().find(|(_, a, b)| a != b) {
        return Some(format!("{what} of {a} and {b}"));
    }
    let (a, b) = (one.parameters, other.parameters);
    let apart = a.abs_diff(b) as f64 > TOLERANCE * a.min(b) as f64;
    apart.then(|| format!("{a} and {b} parameters, more than 2 % apart"))
}

/// Refuses a size whose sides are not matched.
///
/// # Errors
/// As [`matched`].
pub fn check(size: Size, weights: Weights) -> Result<(), LabError> {
    let side = |kind: Kind| -> Result<Side, LabError> {
        let description = description(size, kind)?;
        Ok(Side::of(kind.series(), &description, weights.name()))
    };
    matched(&KINDS.into_iter().map(side).collect::<Result<Vec<_>, _>>()?)
}

/// The Hugging Face folder of a side in the work folder, drawn if it is not
/// there yet.
///
/// # Errors
/// Whatever keeps it from being written.
pub fn folder(work: &Path, size: Size, kind: Kind) -> Result<PathBuf, LabError> {
    let folder = work.join("shapes").join(name(size, kind));
    let config = config(size, kind);
    let text = format!("{config:#}\n");
    let known = std::fs::read_to_string(folder.join("config.json"));
    // Folders drawn from an older configuration are drawn again.
    if known.is_ok_and(|known| known == text) && folder.join(draw::FILE).is_file() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&folder).map_err(|e| LabError::io(&folder, e))?;
    for weights in WEIGHTS {
        let stale = packed(work, size, kind, weights);
        if stale.exists() {
            std::fs::remove_file(&stale).map_err(|e| LabError::io(&stale, e))?;
        }
    }
    draw::folder(&folder, &description(size, kind)?, &text)?;
    Ok(folder)
}

fn name(size: Size, kind: Kind) -> String {
    format!("{}-{}", kind.name(), size.name())
}

fn packed(work: &Path, size: Size, kind: Kind, weights: Weights) -> PathBuf {
    let file = format!("{}.{}.safetensors", name(size, kind), weights.name());
    work.join("shapes").join(file)
}

/// The file of a side with its matrices in `weights`, as `sillage quantize`
/// writes it; made if it is not there yet.
///
/// # Errors
/// Whatever keeps it from being written.
pub fn file(work: &Path, size: Size, kind: Kind, weights: Weights) -> Result<PathBuf, LabError> {
    let folder = folder(work, size, kind)?;
    let path = packed(work, size, kind, weights);
    if !path.is_file() {
        let source = Checkpoint::open(&folder).map_err(failed)?;
        let policy = Policy::uniform(weights.target());
        quantize(&source, &policy, &path, &mut |_| true).map_err(failed)?;
    }
    Ok(path)
}

/// A side, loaded: scan states in f32, as published models are run, and keys
/// and values in bf16, as transformers are.
///
/// # Errors
/// Whatever keeps it from being made or read.
pub fn load(work: &Path, size: Size, kind: Kind, weights: Weights) -> Result<Model, LabError> {
    let checkpoint = Checkpoint::open(file(work, size, kind, weights)?).map_err(failed)?;
    let mut options = LoadOptions::default();
    (options.state, options.kv) = (StateType::F32, StateType::Bf16);
    Model::load(&checkpoint, &options).map_err(failed)
}

/// A folder of any configuration with drawn weights.
#[cfg(test)]
pub(crate) fn draw_for_tests(folder: &Path, config: &Value) {
    let description = describe(config, &|_| None).unwrap();
    draw::folder(folder, &description, &config.to_string()).unwrap();
}

/// A file of the repository: beside the working folder or the program, or where
/// this was built.
pub(crate) fn in_repository(file: &str) -> Option<PathBuf> {
    let here = std::env::current_dir().ok();
    let program = std::env::current_exe().ok();
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).to_owned();
    [here, program, Some(built)]
        .iter()
        .flatten()
        .flat_map(|path| path.ancestors())
        .map(|root| root.join(file))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sillage_kernels::Compute;
    use sillage_models::{Row, Wanted};

    #[test]
    fn the_sides_of_every_size_are_matched() {
        for size in [Size::Tiny, Size::M130, Size::M370] {
            check(size, Weights::Q8).unwrap();
        }
        let published = description(Size::M130, Kind::Mamba2).unwrap();
        assert_eq!(Side::of("", &published, "").parameters, 128_989_632);
    }

    #[test]
    fn what_differs_is_refused() {
        let side = |kind, weights| {
            let description = description(Size::Tiny, kind).unwrap();
            Side::of(kind_name(kind), &description, weights)
        };
        fn kind_name(kind: Kind) -> &'static str {
            kind.series()
        }
        let refused = |other: &Side| {
            let first = side(Kind::Mamba2, "q8");
            match matched(&[first, other.clone()]) {
                Err(LabError::Mismatch { what, .. }) => what,
                other => panic!("{other:?}"),
            }
        };
        let right = side(Kind::Transformer, "q8");
        let wrong = |change: fn(&mut Side)| {
            let mut side = right.clone();
            change(&mut side);
            refused(&side)
        };
        assert!(wrong(|s| s.weights = "q4".into()).contains("q8 and q4"));
        assert!(wrong(|s| s.d_model = 128).contains("width of 256 and 128"));
        assert!(wrong(|s| s.vocab += 1).contains("vocabulary"));
        let deeper = wrong(|s| {
            s.residuals += 2;
            s.mixers += 1;
        });
        assert!(deeper.contains("residuals"));
        assert!(wrong(|s| s.parameters = s.parameters * 104 / 100).contains("2 %"));
    }

    #[test]
    fn drawn_models_run_and_neither_vanish_nor_explode() {
        let work = tempfile::tempdir().unwrap();
        let cx = Compute::new(1);
        for kind in KINDS {
            for weights in WEIGHTS {
                let model = load(work.path(), Size::Tiny, kind, weights).unwrap();
                let mut state = model.new_state();
                let tokens: Vec<u32> = (0..300).map(|i| i * 37 % 4096).collect();
                let row = Row {
                    state: &mut state,
                    tokens: &tokens,
                    logits: Wanted::Last,
                };
                let logits = model.forward(&cx, &mut [row]).unwrap();
                let square: f32 = logits.last(0).iter().map(|x| x * x).sum();
                let spread = (square / 4096.0).sqrt();
                assert!(
                    (0.01..10.0).contains(&spread),
                    "{kind:?} {weights:?} {spread}"
                );
            }
            // Nothing is drawn twice, and the draw is the same for ever.
            let path = folder(work.path(), Size::Tiny, kind)
                .unwrap()
                .join(draw::FILE);
            let before = std::fs::read(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            folder(work.path(), Size::Tiny, kind).unwrap();
            assert!(before == std::fs::read(&path).unwrap());
        }
    }
}
