//! Every claim on runs in which it holds, fails, is mixed and is open.

use super::{Evidence, Ruling, Verdict, verdicts};
use crate::record::{Better, Outcome, Point, Run};
use crate::report::synthetic::Made;
use serde_json::{Value, json};

/// Samples about a value, half a percent apart.
fn about(value: f64) -> Vec<f64> {
    [0.998, 1.0, 1.002, 0.999, 1.001]
        .map(|part| part * value)
        .to_vec()
}

type Place<'a> = &'a [(&'a str, Value)];

fn put(made: &mut Made, measure: &str, metric: &str, series: &str, at: Place<'_>, value: f64) {
    let unit = match metric {
        "validation loss" => "nats",
        _ => "",
    };
    let point = made.add(measure, metric, series, unit, Better::Lower, &about(value));
    point.at.extend(
        at.iter()
            .map(|(axis, value)| ((*axis).to_string(), value.clone())),
    );
}

/// Two series along an axis: position, first value, second value.
fn pair(
    (measure, metric): (&str, &str),
    sides: [&str; 2],
    axis: &str,
    at: Place<'_>,
    values: &[(f64, f64, f64)],
) -> Run {
    let mut made = Made::new();
    for &(x, first, second) in values {
        let mut place = at.to_vec();
        place.push((axis, json!(x)));
        for (series, value) in sides.into_iter().zip([first, second]) {
            put(&mut made, measure, metric, series, &place, value);
        }
    }
    made.run
}

fn of(run: &Run, id: &str) -> Verdict {
    verdicts(run)
        .into_iter()
        .find(|verdict| verdict.id == id)
        .unwrap()
}

/// Holds, fails, is mixed.
#[track_caller]
fn three(id: &str, holds: &Run, fails: &Run, mixed: &Run) {
    for (run, ruling) in [
        (holds, Ruling::Holds),
        (fails, Ruling::Fails),
        (mixed, Ruling::Mixed),
        (&Run::default(), Ruling::Open),
    ] {
        let verdict = of(run, id);
        assert_eq!(verdict.verdict, ruling, "{id}: {verdict:?}");
        assert_eq!(
            verdict.figure.is_some(),
            ruling != Ruling::Open,
            "{verdict:?}"
        );
        assert!(!verdict.where_it_holds.is_empty());
    }
}

const SCALED: [&str; 2] = ["Mamba-2", "transformer"];

#[test]
fn linear_time() {
    let times = |power: f64, size: &str, run: Run| {
        let lengths = [1024.0, 4096.0, 16_384.0];
        let values = lengths.map(|n: f64| (n, n.powf(power), n.powi(2)));
        let at = [("size", json!(size))];
        let mut run = run;
        run.points.extend(
            pair(
                ("scaling", "time to first token"),
                SCALED,
                "length",
                &at,
                &values,
            )
            .points,
        );
        run
    };
    let mixed = times(1.4, "130m", times(1.0, "370m", Run::default()));
    three(
        "linear-time",
        &times(1.0, "370m", Run::default()),
        &times(1.5, "370m", Run::default()),
        &mixed,
    );
    let verdict = of(&times(1.0, "370m", Run::default()), "linear-time");
    assert!(
        verdict.remarks[0].contains("as the power 2.00"),
        "{verdict:?}"
    );
}

#[test]
fn growth_with_length() {
    for (id, metric, worse) in [
        ("constant-state", "state bytes", 2.0),
        ("constant-memory", "resident memory", 2.0),
        ("constant-decode", "decode rate", 0.5),
    ] {
        let run = |late: f64, last: f64| {
            let values = [
                (256.0, 8.0, 8.0),
                (1024.0, 8.0 * late, 32.0),
                (4096.0, 8.0 * last, 128.0),
            ];
            pair(("scaling", metric), SCALED, "length", &[], &values)
        };
        three(id, &run(1.0, 1.0), &run(worse, worse), &run(1.0, worse));
    }
}

#[test]
fn five_times() {
    let run = |near: f64, far: f64| {
        let values = [(256.0, near, 1.0), (4096.0, far, 1.0)];
        pair(("scaling", "decode rate"), SCALED, "length", &[], &values)
    };
    three("five-times", &run(5.0, 6.0), &run(0.8, 2.0), &run(0.8, 6.0));
    assert_eq!(
        of(&run(0.8, 6.0), "five-times").where_it_holds,
        "at 4,096 (measured from 256 to 4,096 tokens)"
    );
    let mut other = run(5.0, 6.0);
    for length in [256.0, 4096.0] {
        let mut made = Made::new();
        let at = [("length", json!(length))];
        put(
            &mut made,
            "scaling",
            "decode rate",
            "transformer, llama.cpp",
            &at,
            4.0,
        );
        other.points.extend(made.run.points);
    }
    let verdict = of(&other, "five-times");
    assert_eq!(verdict.verdict, Ruling::Mixed);
    assert!(
        verdict
            .remarks
            .iter()
            .any(|remark| remark.contains("llama.cpp"))
    );
}

#[test]
fn crossover() {
    let run = |level: f64| {
        let values =
            [512.0, 1024.0, 2048.0, 4096.0, 8192.0].map(|n: f64| (n, n, n * (n / level).powf(0.5)));
        pair(
            ("scaling", "time to first token"),
            SCALED,
            "length",
            &[],
            &values,
        )
    };
    let both = |a: Run, b: Run| {
        let mut run = a;
        run.points = run
            .points
            .into_iter()
            .map(|point| point.at("sessions", 1))
            .collect();
        run.points
            .extend(b.points.into_iter().map(|point| point.at("sessions", 4)));
        run
    };
    three(
        "crossover-2k",
        &run(1500.0),
        &run(6000.0),
        &both(run(1500.0), run(6000.0)),
    );
    let figure = of(&run(1500.0), "crossover-2k").figure.unwrap();
    assert!((figure.value / 1500.0 - 1.0).abs() < 0.05, "{figure:?}");
    let always = of(&run(100.0), "crossover-2k");
    assert_eq!((always.verdict, always.figure), (Ruling::Holds, None));
    assert_eq!(of(&run(1e6), "crossover-2k").verdict, Ruling::Fails);
}

#[test]
fn energy() {
    let run = |answer: &str, near: f64, far: f64| {
        let at = [("answer", json!(answer)), ("modelled", json!(true))];
        let values = [(256.0, near, 1.0), (1024.0, far, 1.0)];
        pair(
            ("cost", "energy per token"),
            ["hybrid", "transformer"],
            "length",
            &at,
            &values,
        )
    };
    let short = |near, far| run("short", near, far);
    three(
        "energy-short",
        &short(2.0, 2.1),
        &short(0.9, 0.8),
        &short(1.3, 1.3),
    );
    let long = |near: f64, far: f64| run("long", 1.0 / near, 1.0 / far);
    three(
        "energy-long",
        &long(1.66, 2.0),
        &long(0.9, 0.8),
        &long(1.2, 2.0),
    );
    let verdict = of(&short(2.0, 2.1), "energy-short");
    assert!(
        verdict
            .remarks
            .iter()
            .any(|remark| remark.contains("not metered"))
    );
    assert_eq!(of(&short(2.0, 2.1), "energy-long").verdict, Ruling::Open);
}

#[test]
fn speech() {
    let run = |metric: &str, near: (f64, f64), far: (f64, f64)| {
        let values = [(5.0, near.0, near.1), (600.0, far.0, far.1)];
        pair(
            ("voice", metric),
            ["state space", "attention"],
            "seconds",
            &[],
            &values,
        )
    };
    for (id, metric, good, bad) in [
        ("factor-four", "first audio", (1.0, 4.0), (1.0, 1.4)),
        ("sonic-wer", "word error rate", (0.05, 0.1), (0.05, 0.06)),
        ("sonic-quality", "quality", (4.5, 3.2), (3.2, 3.3)),
        ("sonic-first-audio", "first audio", (1.0, 1.6), (1.0, 1.2)),
        (
            "sonic-real-time",
            "real-time factor",
            (0.1, 0.2),
            (0.1, 0.1),
        ),
        ("sonic-streams", "streams", (80.0, 20.0), (30.0, 20.0)),
        (
            "sonic-perplexity",
            "validation loss",
            (1.0, 1.4),
            (1.4, 1.4),
        ),
    ] {
        three(
            id,
            &run(metric, good, good),
            &run(metric, bad, bad),
            &run(metric, bad, good),
        );
    }
}

#[test]
fn a_loss_that_has_no_perplexity_says_so() {
    let mut made = Made::new();
    for (series, value) in [("state space", 0.7), ("attention", 1.0)] {
        made.add(
            "voice",
            "validation loss",
            series,
            "mean absolute error",
            Better::Lower,
            &about(value),
        );
    }
    let verdict = of(&made.run, "sonic-perplexity");
    assert_eq!(verdict.verdict, Ruling::Holds);
    assert_eq!(verdict.where_it_holds, "on the held-out speech");
    assert!(
        verdict
            .remarks
            .iter()
            .any(|remark| remark.contains("no perplexity"))
    );
}

fn recalled(rows: &[(&str, f64, f64, f64)]) -> Run {
    let mut made = Made::new();
    for &(series, width, state, right) in rows {
        let at = [
            ("length", json!(512)),
            ("pairs", json!(64)),
            ("width", json!(width)),
            ("state size", json!(state)),
        ];
        put(&mut made, "recall", "accuracy", series, &at, right);
    }
    made.run
}

#[test]
fn recall() {
    let attention =
        |a: f64, b: f64| recalled(&[("attention", 64.0, 1.0, a), ("attention", 128.0, 2.0, b)]);
    three(
        "recall-attention",
        &attention(0.997, 0.997),
        &attention(0.5, 0.6),
        &attention(0.5, 0.997),
    );
    let growing = |a: f64, b: f64| {
        let mut run = recalled(&[
            ("Mamba-2", 64.0, 1000.0, 0.5),
            ("Mamba-2", 128.0, 2000.0, a),
        ]);
        let more = recalled(&[
            ("Mamba-2", 64.0, 1000.0, 0.5),
            ("Mamba-2", 128.0, 2000.0, b),
        ]);
        let shorter = |point: Point| point.at("length", 256).at("pairs", 16);
        run.points.extend(more.points.into_iter().map(shorter));
        run
    };
    three(
        "recall-state",
        &growing(0.7, 0.8),
        &growing(0.5, 0.4),
        &growing(0.7, 0.5),
    );
    let published = |a: f64, b: f64| {
        let mut all = Made::new().run;
        let sizes = [
            (64, 4),
            (64, 8),
            (64, 16),
            (128, 32),
            (256, 64),
            (512, 128),
            (1024, 256),
        ];
        for (length, pairs) in sizes {
            let run = recalled(&[
                ("Mamba-2", 64.0, 8192.0, a),
                ("Mamba-2", 128.0, 16_384.0, b),
            ]);
            let put = |point: Point| point.at("length", length).at("pairs", pairs);
            all.points.extend(run.points.into_iter().map(put));
        }
        all
    };
    three(
        "recall-published",
        &published(0.52, 0.70),
        &published(0.9, 0.95),
        &published(0.52, 0.9),
    );
    let hybrid = |a: f64, b: f64| {
        recalled(&[
            ("attention", 64.0, 1000.0, 0.98),
            ("hybrid", 64.0, 600.0, a),
            ("attention", 128.0, 2000.0, 0.98),
            ("hybrid", 128.0, 1200.0, b),
        ])
    };
    three(
        "recall-hybrid",
        &hybrid(0.98, 0.98),
        &hybrid(0.6, 0.7),
        &hybrid(0.6, 0.98),
    );
}

fn tasks(measure: &str, task: &str, sides: [&str; 2], values: &[(f64, f64, f64)]) -> Run {
    pair(
        (measure, "accuracy"),
        sides,
        "length",
        &[("task", json!(task))],
        values,
    )
}

#[test]
fn skills() {
    let copy = |a: f64, b: f64| {
        let values = [(50.0, 0.99, 0.99), (200.0, 0.95, a), (1000.0, 0.95, b)];
        tasks("copy", "copy", ["transformer", "Mamba-2"], &values)
    };
    three(
        "copy",
        &copy(0.1, 0.05),
        &copy(0.95, 0.94),
        &copy(0.95, 0.05),
    );
    let phonebook = |a: f64, b: f64| {
        let values = [(200.0, 0.95, a), (1000.0, 0.95, b)];
        tasks("copy", "phonebook", ["transformer", "Mamba-2"], &values)
    };
    three(
        "phonebook",
        &phonebook(0.5, 0.4),
        &phonebook(0.95, 0.95),
        &phonebook(0.95, 0.4),
    );
    let induction = |a: f64, b: f64| {
        let values = [(256.0, 0.99, 0.99), (1024.0, a, 0.3), (65_536.0, b, 0.01)];
        tasks("copy", "induction", ["Mamba", "transformer"], &values)
    };
    three(
        "induction",
        &induction(0.98, 0.98),
        &induction(0.5, 0.1),
        &induction(0.98, 0.1),
    );
    let tracking = |a: f64, b: f64| {
        let values = [(40.0, 0.99, 0.99), (160.0, a, 0.0), (256.0, b, 0.0)];
        tasks("track", "parity", ["Mamba-2", "transformer"], &values)
    };
    three(
        "tracking",
        &tracking(0.01, 0.01),
        &tracking(0.9, 0.8),
        &tracking(0.9, 0.01),
    );
    let language = |a: f64, b: f64| {
        let values = [(256.0, a, 2.0), (32_768.0, b, 2.0)];
        pair(
            ("language", "bits per byte"),
            SCALED,
            "position",
            &[],
            &values,
        )
    };
    three(
        "language",
        &language(1.98, 1.97),
        &language(2.2, 2.3),
        &language(1.98, 2.3),
    );
}

#[test]
fn noise_unmakes_a_verdict_and_is_named() {
    let values = [(256.0, 5.0, 1.0)];
    let mut run = pair(("scaling", "decode rate"), SCALED, "length", &[], &values);
    assert_eq!(of(&run, "five-times").verdict, Ruling::Holds);
    let mut made = Made::new();
    made.add("scaling", "noise", "Mamba-2", "", Better::Lower, &[0.2])
        .at
        .insert("of".into(), json!("decode rate"));
    run.points.extend(made.run.points);
    let verdict = of(&run, "five-times");
    assert_eq!(verdict.verdict, Ruling::Mixed);
    assert!(
        verdict
            .remarks
            .iter()
            .any(|remark| remark.contains("too noisy for this figure"))
    );
}

#[test]
fn sides_of_different_machines_are_never_compared() {
    let values = [(256.0, 5.0, 1.0)];
    let mut run = pair(("scaling", "decode rate"), SCALED, "length", &[], &values);
    run.points[0].machine = "another".into();
    assert_eq!(of(&run, "five-times").verdict, Ruling::Open);
}

#[test]
fn measures_may_come_from_different_machines() {
    let values = [(256.0, 5.0, 1.0)];
    let mut run = pair(("scaling", "decode rate"), SCALED, "length", &[], &values);
    let before = of(&run, "five-times");
    let mut other = run.points[0].clone();
    (other.measure, other.machine) = ("recall".into(), "another".into());
    run.points.extend([other.clone(), other.clone(), other]);
    assert_eq!(of(&run, "five-times"), before);
    let evidence = Evidence::new(&run);
    assert_eq!(evidence.elsewhere, 0);
    assert!(evidence.is_from("recall", "another"));
}

/// Accuracy of a side in a task that attention must solve.
fn remembered(made: &mut Made, series: &str, value: f64) {
    let point = made.add("recall", "accuracy", series, "", Better::Higher, &[value]);
    point.at.insert("length".into(), json!(64));
    point.at.insert("pairs".into(), json!(4));
}

#[test]
fn sides_that_were_all_taught_longer_are_judged_by_that() {
    let mut made = Made::new();
    remembered(&mut made, "attention", 0.4);
    remembered(&mut made, "Mamba-2", 0.3);
    remembered(&mut made, "attention, taught longer", 0.999);
    // One side was not: what its twin learned in more steps is no comparison.
    assert_eq!(of(&made.run, "recall-attention").verdict, Ruling::Fails);
    remembered(&mut made, "Mamba-2, taught longer", 0.5);
    // Steps are steps on any machine.
    made.run.points[3].machine = "another".into();
    assert_eq!(of(&made.run, "recall-attention").verdict, Ruling::Holds);
    let evidence = Evidence::new(&made.run);
    let names: Vec<_> = evidence
        .cells()
        .iter()
        .map(|cell| cell.series.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "attention, taught less",
            "Mamba-2, taught less",
            "attention",
            "Mamba-2"
        ]
    );
    assert_eq!(evidence.elsewhere, 0);
}

#[test]
fn missing_points_leave_a_claim_open() {
    let values = [(256.0, 5.0, 1.0)];
    let mut run = pair(("scaling", "decode rate"), SCALED, "length", &[], &values);
    run.points[1].outcome = Outcome::Missing {
        reason: "too large".into(),
    };
    assert_eq!(of(&run, "five-times").verdict, Ruling::Open);
}

#[test]
fn seeds_are_put_together_and_repeats_replace() {
    let mut made = Made::new();
    for (seed, value) in [(1, 0.2), (1, 0.997), (2, 0.999), (3, 0.998)] {
        let point: &mut Point = made.add(
            "recall",
            "accuracy",
            "attention",
            "",
            Better::Higher,
            &[value],
        );
        point.at.insert("length".into(), json!(64));
        point.at.insert("pairs".into(), json!(4));
        point.at.insert("seed".into(), json!(seed));
    }
    let verdict = of(&made.run, "recall-attention");
    let figure = verdict.figure.unwrap();
    assert_eq!(figure.samples, 3);
    assert!((figure.value - 0.998).abs() < 1e-9);
    assert_eq!(verdict.verdict, Ruling::Holds);
}

#[test]
fn identifiers_are_unique_and_verdicts_repeat() {
    let run = crate::report::synthetic::run();
    let all = verdicts(&run);
    let mut ids: Vec<_> = all.iter().map(|verdict| verdict.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all.len());
    assert_eq!(all, verdicts(&run));
    let text = serde_json::to_string(&all[0]).unwrap();
    assert!(text.contains("\"verdict\":\"holds\""), "{text}");
    assert!(all[0].to_string().starts_with("holds  Reading"));
}
