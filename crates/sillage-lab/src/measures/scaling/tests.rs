//! All kinds of jobs at a scale of seconds.

use super::decode::{self, Sampling};
use super::subject::{Subject, at_depth, read, step};
use super::*;
use crate::record::Machine;
use crate::shapes::KINDS;
use sillage_kernels::Compute;
use std::sync::Arc;

/// A context with a work folder of its own.
pub(crate) fn context() -> (Context, tempfile::TempDir) {
    let work = tempfile::tempdir().unwrap();
    let cx = Arc::new(Compute::new(2));
    let context = Context {
        machine: Machine::here(&cx),
        program: None,
        cx,
        scale: Scale::Quick,
        seed: 1,
        work: work.path().to_owned(),
        progress: Box::new(|share, _| assert!((0.0..=1.0).contains(&share))),
    };
    (context, work)
}

/// The smallest size after so many tokens.
pub(crate) fn spot(length: u64) -> Spot {
    Spot {
        size: Size::Tiny,
        weights: Weights::Q8,
        length,
        sessions: 1,
    }
}

#[test]
fn reading_gives_two_metrics_of_every_side_and_the_noise() {
    let (context, _work) = context();
    let points = prefill::run(&context, spot(256), 2).unwrap();
    assert_eq!(points.len(), 7);
    for point in &points[..6] {
        assert_eq!(point.measured().unwrap().len(), 2, "{point:?}");
        assert_eq!(point.number("length"), Some(256.0));
    }
    let times = |i: usize| points[i].measured().unwrap()[0] * points[i + 1].measured().unwrap()[0];
    assert!((times(0) - 256.0).abs() < 1e-6);
    assert_eq!(points[6].metric, "noise");
}

#[test]
fn writing_gives_rates_state_and_operations() {
    let (context, _work) = context();
    let sampling = Sampling {
        rounds: 2,
        seconds: 0.01,
        most: 3,
    };
    let points = decode::run(&context, spot(500), &[1, 3], sampling).unwrap();
    let of = |metric: &str| points.iter().filter(|p| p.metric == metric).count();
    assert_eq!(of("decode rate"), 6);
    assert_eq!(of("state bytes"), 3);
    assert_eq!(of("noise"), 2);
    let value = |metric: &str, series: &str| {
        let point = points
            .iter()
            .find(|p| p.metric == metric && p.series == series);
        point.unwrap().measured().unwrap()[0]
    };
    for kind in KINDS {
        let counted = value("flops per token", kind.series());
        assert_eq!(counted, value("flops per token, model", kind.series()));
    }
    assert!(value("state bytes", "transformer") > value("state bytes", "hybrid"));
    assert!(
        points
            .iter()
            .filter(|p| p.metric == "decode rate")
            .all(|p| p.measured().is_some())
    );
}

#[test]
fn a_filled_state_costs_what_a_read_one_does() {
    let (context, _work) = context();
    for kind in KINDS {
        let subject = Subject::load(&context, Size::Tiny, kind, Weights::Q8).unwrap();
        let (cx, model) = (&context.cx, &subject.model);
        let filled = at_depth(cx, model, 1000).unwrap();
        let mut real = model.new_state();
        read(cx, model, &mut real, 1000, &|_| {}).unwrap();
        assert_eq!(filled.position(), real.position());
        assert_eq!(filled.bytes(), real.bytes());
        let count = |state: &sillage_state::State| {
            let _ = cx.counters.take();
            step(cx, model, &mut [state.fork()], 5).unwrap();
            cx.counters.take()
        };
        assert_eq!(count(&filled), count(&real));
    }
}

#[test]
fn what_does_not_fit_is_missing_with_its_reason() {
    let (context, _work) = context();
    let subjects = Subject::all(&context, Size::Tiny, Weights::Q8).unwrap();
    let transformer = &subjects[2];
    // A cache of terabytes.
    let full = decode::Ready::new(&context, transformer, 1 << 32, &[1]).unwrap();
    assert!(full.states.is_empty());
    assert!(full.full.unwrap().contains("GiB are free"));
}
