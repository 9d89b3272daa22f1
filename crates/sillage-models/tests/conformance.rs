//! Every checkpoint of `conformance/` against its golden: fresh and continuing, alone and in ragged
//! batches, and decoding greedily.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Case, Golden, best, cases, feed};
use sillage_kernels::Compute;
use sillage_models::{Model, Row, Wanted};

const LENGTHS: [usize; 6] = [1, 3, 63, 64, 65, 300];

/// The largest difference of `logits` (those after token `start` and on) from the golden, relative to
/// the golden's scale.
fn difference(golden: &Golden, vocab: usize, start: usize, logits: &[f32]) -> f32 {
    let expected = &golden.logits[start * vocab..][..logits.len()];
    let worst = logits
        .iter()
        .zip(expected)
        .fold(0.0_f32, |worst, (found, expected)| {
            let off = (found - expected).abs();
            // A NaN must not slip through as the smaller of two.
            if off.is_nan() {
                f32::INFINITY
            } else {
                worst.max(off)
            }
        });
    worst / golden.scale
}

/// Each length from a fresh state.
fn fresh(model: &Model, cx: &Compute, golden: &Golden) -> f32 {
    let mut worst = 0.0_f32;
    for n in LENGTHS {
        let logits = feed(model, cx, &mut model.new_state(), &golden.tokens[..n]);
        worst = worst.max(difference(golden, model.vocab(), 0, &logits));
    }
    worst
}

/// Up to each length, then on from there to the end; and token by token.
fn continuing(model: &Model, cx: &Compute, golden: &Golden) -> f32 {
    let mut worst = 0.0_f32;
    for n in LENGTHS {
        let mut state = model.new_state();
        let (before, after) = golden.tokens.split_at(n);
        let mut logits = feed(model, cx, &mut state, before);
        if !after.is_empty() {
            logits.extend(feed(model, cx, &mut state, after));
        }
        worst = worst.max(difference(golden, model.vocab(), 0, &logits));
    }
    let mut state = model.new_state();
    for (i, &token) in golden.tokens.iter().enumerate() {
        let logits = feed(model, cx, &mut state, &[token]);
        worst = worst.max(difference(golden, model.vocab(), i, &logits));
    }
    worst
}

/// All lengths in one batch, then all of them on to the end in another.
fn ragged(model: &Model, cx: &Compute, golden: &Golden) -> f32 {
    let mut worst = 0.0_f32;
    let mut states = LENGTHS.map(|_| model.new_state());
    for later in [false, true] {
        let mut rows = Vec::new();
        let mut starts = Vec::new();
        for (state, n) in states.iter_mut().zip(LENGTHS) {
            let range = if later { n..golden.tokens.len() } else { 0..n };
            if !range.is_empty() {
                starts.push(range.start);
                rows.push(Row {
                    state,
                    tokens: &golden.tokens[range],
                    logits: Wanted::All,
                });
            }
        }
        let logits = model.forward(cx, &mut rows).expect("the rows are fine");
        for (i, start) in starts.into_iter().enumerate() {
            worst = worst.max(difference(golden, model.vocab(), start, logits.row(i)));
        }
    }
    worst
}

fn greedy(model: &Model, cx: &Compute, golden: &Golden) -> Vec<u32> {
    let mut state = model.new_state();
    let mut next = best(&last(model, cx, &mut state, &golden.greedy_prompt));
    let mut out = vec![next];
    while out.len() < golden.greedy.len() {
        next = best(&last(model, cx, &mut state, &[next]));
        out.push(next);
    }
    out
}

fn last(model: &Model, cx: &Compute, state: &mut sillage_state::State, tokens: &[u32]) -> Vec<f32> {
    let row = Row {
        state,
        tokens,
        logits: Wanted::Last,
    };
    model
        .forward(cx, &mut [row])
        .expect("the row is fine")
        .row(0)
        .to_vec()
}

/// Checks a case; what is wrong with it, or the three largest differences.
fn check(case: &Case, cx: &Compute) -> Result<[f32; 3], String> {
    let golden = case.golden();
    let model = case.model();
    assert_eq!(
        golden.logits.len(),
        golden.tokens.len() * model.vocab(),
        "{}: vocabulary",
        case.name
    );
    let worst = [
        fresh(&model, cx, &golden),
        continuing(&model, cx, &golden),
        ragged(&model, cx, &golden),
    ];
    println!(
        "{:32} {:9.1e} {:9.1e} {:9.1e}",
        case.name, worst[0], worst[1], worst[2]
    );
    if worst.iter().any(|w| w.is_nan() || *w > case.tolerance) {
        return Err(format!(
            "{}: logits differ by {worst:?} of their scale",
            case.name
        ));
    }
    let found = greedy(&model, cx, &golden);
    if found != golden.greedy {
        return Err(format!(
            "{}: greedy gave {found:?}, expected {:?}",
            case.name, golden.greedy
        ));
    }
    Ok(worst)
}

fn check_all(kind: &str) {
    let cx = Compute::new(2);
    println!(
        "{:32} {:>9} {:>9} {:>9}",
        "largest difference of scale", "fresh", "continue", "ragged"
    );
    let wrong: Vec<String> = cases(kind)
        .iter()
        .filter_map(|case| {
            let checked =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(case, &cx)));
            match checked {
                Ok(result) => result.err(),
                Err(panic) => {
                    let said = panic.downcast_ref::<String>().cloned();
                    Some(format!(
                        "{}: {}",
                        case.name,
                        said.unwrap_or_else(|| "panicked".to_owned())
                    ))
                }
            }
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} cases fail:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn hugging_face_checkpoints_match_their_goldens() {
    check_all("hf");
}

#[test]
fn gguf_files_match_the_goldens_of_their_sources() {
    check_all("gguf");
}
