//! The shipped model, and what is said of models that are not there.

use super::*;
use crate::measures::scaling::tests::context;

const BUDGET: Budget = Budget {
    tokens: 300,
    rounds: 2,
    seconds: 0.01,
    estimate: 1.0,
};

#[test]
fn booklet_in_8_and_4_bits_with_both_states() {
    let (context, _work) = context();
    let (_, booklet) = GROUPS[0];
    let mut losses = Vec::new();
    for state in [StateType::F32, StateType::Bf16] {
        let points = run(&context, booklet, state, BUDGET).unwrap();
        assert_eq!(points.len(), 2 * WEIGHTS.len() + 1, "{points:#?}");
        for point in points {
            let weights = point.at["weights"].as_str().unwrap().to_owned();
            match weights.as_str() {
                // Bits that the file does not hold are not made up.
                "f32" | "bf16" => assert!(point.measured().is_none()),
                _ => assert!(point.measured().is_some(), "{point:?}"),
            }
            if point.metric == "loss" && weights == "q8" {
                losses.push(point.measured().unwrap()[0]);
            }
        }
    }
    assert!(
        losses.iter().all(|bits| (1.0..3.5).contains(bits)),
        "{losses:?}"
    );
    assert!((losses[0] - losses[1]).abs() < 0.02);
}

#[test]
fn twins_that_were_not_trained_are_missing_and_say_who_trains_them() {
    let (context, _work) = context();
    let (_, twins) = GROUPS[1];
    let points = run(&context, twins, StateType::F32, BUDGET).unwrap();
    assert_eq!(points.len(), 16);
    for point in points {
        let Outcome::Missing { reason } = point.outcome else {
            panic!("measured");
        };
        assert!(reason.contains("`language`"), "{reason}");
    }
}

#[test]
fn trained_twins_are_measured_and_must_be_matched() {
    use crate::shapes::{Kind, Size, config, draw_for_tests};
    let (context, work) = context();
    let (_, twins) = GROUPS[1];
    let transformer = work.path().join("language-transformer");
    for (folder, kind) in [
        ("language-ssm", Kind::Mamba2),
        ("language-transformer", Kind::Transformer),
    ] {
        let folder = work.path().join(folder);
        std::fs::create_dir(&folder).unwrap();
        draw_for_tests(&folder, &config(Size::Tiny, kind));
    }
    let points = run(&context, twins, StateType::Bf16, BUDGET).unwrap();
    // Without a tokenizer there is no loss, but there is speed.
    let measured = |metric: &str| {
        let of = points.iter().filter(|p| p.metric == metric);
        of.filter(|p| p.measured().is_some()).count()
    };
    assert_eq!((measured("decode rate"), measured("loss")), (8, 0));
    let mut wider = config(Size::Tiny, Kind::Transformer);
    wider["intermediate_size"] = 1024.into();
    draw_for_tests(&transformer, &wider);
    let refused = run(&context, twins, StateType::F32, BUDGET);
    assert!(
        matches!(refused, Err(LabError::Mismatch { .. })),
        "{refused:?}"
    );
}
