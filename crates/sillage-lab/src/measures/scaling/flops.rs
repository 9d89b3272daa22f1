//! Operations of a forward pass, from the description alone.
//!
//! What is counted is what the kernels count
//! ([`sillage_kernels::Counters`]): multiplications and additions of matrices,
//! convolutions, recurrences and attention. A test holds the two together.

use sillage_kernels::Counts;
use sillage_models::Description;
use sillage_models::description::Mixer;

/// The work of feeding `tokens` tokens to a state that has read `from`, with
/// the logits of `logits` of them.
#[must_use]
pub fn forward(description: &Description, from: u64, tokens: u64, logits: u64) -> Counts {
    let d_model = description.d_model;
    let mut all = Counts {
        linear: 2 * logits * product(&[description.vocab, d_model]),
        ..Counts::default()
    };
    for (_, branch) in description.branches() {
        let one = mixer(&branch.mixer, d_model, from, tokens);
        all.linear += tokens * one.linear;
        all.conv += tokens * one.conv;
        all.scan += tokens * one.scan;
        // Its cost depends on the position, so that is the sum already.
        all.attention += one.attention;
    }
    all
}

/// Of one token; `attention` of all of them.
fn mixer(mixer: &Mixer, d_model: usize, from: u64, tokens: u64) -> Counts {
    let mut counts = Counts::default();
    match mixer {
        Mixer::Mamba(d) => {
            let (inner, low) = (d.d_inner, d.dt_rank + 2 * d.d_state);
            counts.linear = 2
                * (product(&[3 * inner, d_model])
                    + product(&[low, inner])
                    + product(&[inner, d.dt_rank]));
            counts.conv = 2 * product(&[inner, d.d_conv]);
            // The exponent, B * dtx, and two multiply-adds an element; dt * x
            // and the skip a channel.
            counts.scan = inner as u64 * (6 * d.d_state as u64 + 3);
        }
        Mixer::Mamba2(d) => {
            let (inner, conv) = (d.d_inner(), d.conv_dim());
            counts.linear = 2 * product(&[inner + conv + d.heads + inner, d_model]);
            counts.conv = 2 * product(&[conv, d.d_conv]);
            // As above, but the decay is a head's.
            counts.scan = inner as u64 * (5 * d.d_state as u64 + 3);
        }
        Mixer::Attention(d) => {
            let (wide, narrow) = (d.heads * d.head_dim, d.kv_heads * d.head_dim);
            counts.linear = 2 * product(&[2 * wide + 2 * narrow, d_model]);
            counts.attention = 4 * wide as u64 * seen(d.window, from, tokens);
        }
        Mixer::Mlp(d) => {
            let matrices = if d.gated { 3 } else { 2 };
            counts.linear = 2 * product(&[matrices * d.d_ff, d_model]);
        }
        Mixer::Conv(d) => counts.conv = 2 * product(&[d_model, d.d_conv]),
    }
    counts
}

fn product(factors: &[usize]) -> u64 {
    factors.iter().map(|&n| n as u64).product()
}

/// Keys that the tokens from position `from` on see, in all.
fn seen(window: Option<usize>, from: u64, tokens: u64) -> u64 {
    let window = window.map_or(u64::MAX, |window| window.max(1) as u64);
    (from..from + tokens).map(|at| window.min(at + 1)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::{KINDS, Size, Weights, load};
    use serde_json::{Value, json};
    use sillage_kernels::Compute;
    use sillage_models::{LoadOptions, Model, Row, Wanted};

    /// Feeds in ragged pieces and compares what the kernels counted with the
    /// formula.
    fn agree(model: &Model) {
        let cx = Compute::new(2);
        let (mut one, mut other) = (model.new_state(), model.new_state());
        let tokens: Vec<u32> = (0..150).map(|i| i % 50).collect();
        let mut expected = Counts::default();
        let mut at = [0, 0];
        for (a, b, wanted) in [
            (70, 3, Wanted::Last),
            (1, 1, Wanted::Last),
            (60, 2, Wanted::All),
            (1, 140, Wanted::None),
        ] {
            let mut rows = [(&mut one, a), (&mut other, b)].map(|(state, n)| Row {
                state,
                tokens: &tokens[..n],
                logits: wanted,
            });
            model.forward(&cx, &mut rows).unwrap();
            for (row, n) in [a, b].into_iter().enumerate() {
                let logits = match wanted {
                    Wanted::None => 0,
                    Wanted::Last => 1,
                    Wanted::All => n as u64,
                };
                let more = forward(model.description(), at[row], n as u64, logits);
                expected.linear += more.linear;
                expected.conv += more.conv;
                expected.scan += more.scan;
                expected.attention += more.attention;
                at[row] += n as u64;
            }
        }
        let mut counted = cx.counters.take();
        assert!(counted.weight_bytes > 0);
        counted.weight_bytes = 0;
        assert_eq!(counted, expected, "{}", model.description().architecture);
    }

    #[test]
    fn the_formula_is_what_the_kernels_count() {
        let work = tempfile::tempdir().unwrap();
        for kind in KINDS {
            for weights in [Weights::F32, Weights::Q4] {
                agree(&load(work.path(), Size::Tiny, kind, weights).unwrap());
            }
        }
    }

    #[test]
    fn so_it_is_for_mamba_and_for_a_window() {
        let mamba = json!({
            "model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 2, "state_size": 16,
            "intermediate_size": 128, "time_step_rank": 4, "conv_kernel": 4, "vocab_size": 96,
            "use_bias": false, "use_conv_bias": true, "tie_word_embeddings": true,
            "layer_norm_epsilon": 1e-5, "hidden_act": "silu",
        });
        let window = json!({
            "model_type": "mistral", "hidden_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
            "intermediate_size": 96, "vocab_size": 96, "sliding_window": 40,
            "tie_word_embeddings": false, "rms_norm_eps": 1e-5,
        });
        for config in [mamba, window] {
            agree(&drawn(&config));
        }
    }

    fn drawn(config: &Value) -> Model {
        let folder = tempfile::tempdir().unwrap();
        crate::shapes::draw_for_tests(folder.path(), config);
        let checkpoint = sillage_formats::Checkpoint::open(folder.path()).unwrap();
        Model::load(&checkpoint, &LoadOptions::default()).unwrap()
    }

    #[test]
    fn attention_grows_and_a_window_bounds_it() {
        assert_eq!(seen(None, 0, 4), 10);
        assert_eq!(seen(None, 100, 2), 203);
        assert_eq!(seen(Some(3), 0, 5), 1 + 2 + 3 + 3 + 3);
        assert_eq!(seen(Some(3), 1 << 40, 5), 15);
    }
}
