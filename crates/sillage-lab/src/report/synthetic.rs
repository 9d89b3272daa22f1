//! A run with made-up numbers, for tests only: nothing here was measured.

use crate::record::{Better, Machine, Point, Run};
use serde_json::json;

/// A run in the making.
pub(crate) struct Made {
    pub(crate) run: Run,
    wobble: u64,
}

impl Made {
    pub(crate) fn new() -> Self {
        Self {
            run: Run {
                machines: vec![Machine {
                    id: "m1".into(),
                    cpu: "Made-up processor 3000".into(),
                    cores: 2,
                    memory: 8 << 30,
                    isa: "avx512".into(),
                    system: "Linux 6.1".into(),
                    sillage: "0.1.0".into(),
                }],
                points: Vec::new(),
            },
            wobble: 7,
        }
    }

    /// A point; where it lies is filled in afterwards.
    pub(crate) fn add(
        &mut self,
        measure: &str,
        metric: &str,
        series: &str,
        unit: &str,
        better: Better,
        samples: &[f64],
    ) -> &mut Point {
        let mut point = Point::new(measure, metric, series, unit, better)
            .config(json!({"seed": 1, "threads": 2}))
            .samples(samples.to_vec());
        point.machine = "m1".into();
        point.time = "2026-11-26T17:30:00Z".into();
        point.job = format!("{measure}-{metric}");
        point.seconds = 30.0;
        point.busy = Some(0.04);
        self.run.points.push(point);
        let last = self.run.points.len() - 1;
        &mut self.run.points[last]
    }

    /// Seven samples about a value, a few percent apart.
    pub(crate) fn about(&mut self, value: f64, spread: f64) -> Vec<f64> {
        (0..7)
            .map(|_| {
                self.wobble = self
                    .wobble
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let part = (self.wobble >> 40) as f64 / (1 << 24) as f64 - 0.5;
                value * (1.0 + spread * part)
            })
            .collect()
    }
}

/// A run of every measure.
pub(crate) fn run() -> Run {
    let mut made = Made::new();
    scaling(&mut made);
    cost(&mut made);
    voice(&mut made);
    skills(&mut made);
    rest(&mut made);
    made.run
}

const SIDES: [(&str, f64, f64); 5] = [
    ("Mamba-2", 1.0, 0.0),
    ("hybrid", 0.95, 0.12),
    ("transformer", 0.85, 1.0),
    ("transformer, llama.cpp", 0.7, 1.15),
    ("Mamba-2, llama.cpp", 1.6, 0.0),
];

fn scaling(made: &mut Made) {
    for (size, times) in [("130m", 1.0), ("370m", 2.6)] {
        for sessions in [1, 4, 16] {
            if sessions > 1 && size == "130m" {
                continue;
            }
            for power in 8..=20 {
                let length = if power == 20 {
                    1_000_000.0
                } else {
                    f64::from(power).exp2()
                };
                for (series, base, attention) in SIDES {
                    if length > 65_536.0 && series != "Mamba-2" {
                        continue;
                    }
                    side(
                        made,
                        (size, times, sessions),
                        length,
                        (series, base, attention),
                    );
                }
            }
        }
    }
    for length in [1024, 16_384] {
        let point = made.add(
            "scaling",
            "noise",
            "Mamba-2",
            "",
            Better::Lower,
            &[0.012, 0.008],
        );
        point.at.insert("length".into(), length.into());
    }
}

fn side(
    made: &mut Made,
    (size, times, sessions): (&str, f64, i32),
    length: f64,
    (series, base, attention): (&str, f64, f64),
) {
    let n = f64::from(sessions);
    let read = base * times * length * (1.0 / 1500.0) * (1.0 + attention * length / 9000.0);
    let rate = n.sqrt() * 90.0 / times / base / (1.0 + attention * length / 9000.0);
    let state = 4.2e6 * times * n * (1.0 - attention) + attention * length * 9216.0 * 2.0 * n;
    let flops = times * 2.6e8 * (1.0 + attention * length / 40_000.0);
    let figures = [
        ("time to first token", "s", Better::Lower, read, 0.05),
        (
            "prefill rate",
            "tokens/s",
            Better::Higher,
            length / read,
            0.05,
        ),
        ("decode rate", "tokens/s", Better::Higher, rate, 0.06),
        (
            "resident memory",
            "bytes",
            Better::Lower,
            5.2e8 * times + state + length * 8.0,
            0.004,
        ),
        ("state bytes", "bytes", Better::Lower, state, 0.0),
        ("flops per token", "FLOP", Better::Lower, flops, 0.0),
        (
            "flops per token, model",
            "FLOP",
            Better::Lower,
            flops * 1.003,
            0.0,
        ),
    ];
    for (metric, unit, better, value, spread) in figures {
        let samples = if spread > 0.0 {
            made.about(value, spread)
        } else {
            vec![value]
        };
        let point = made.add("scaling", metric, series, unit, better, &samples);
        let at = [
            ("size", json!(size)),
            ("length", json!(length)),
            ("sessions", json!(sessions)),
            ("weights", json!("f32")),
        ];
        point
            .at
            .extend(at.map(|(axis, value)| (axis.to_string(), value)));
        if attention > 0.9 && length > 33_000.0 && sessions == 16 {
            point.outcome = crate::Outcome::Missing {
                reason: "needs 18.0 GiB, 7.1 GiB are free".into(),
            };
        }
        if series == "transformer"
            && length == 65_536.0
            && size == "370m"
            && metric != "state bytes"
        {
            point.outcome = crate::Outcome::Missing {
                reason: "needs more than the 30 minutes that a point may take".into(),
            };
        }
    }
}

fn cost(made: &mut Made) {
    for (answer, token) in [("short", 2.0), ("long", 0.6)] {
        for length in [256, 1024, 4096, 16_384] {
            for (series, times) in [("Mamba-2", 0.9), ("hybrid", 1.0), ("transformer", 1.0)] {
                let grows = if series == "transformer" {
                    f64::from(length) / 8000.0
                } else {
                    0.05
                };
                let head: f64 = if series == "hybrid" { token } else { 1.0 };
                let joules = 0.3 * times * head * (1.0 + grows);
                for (metric, unit, value) in [
                    ("energy per token", "J", joules),
                    ("money per million tokens", "euros", joules * 1.4),
                ] {
                    let samples = made.about(value, 0.05);
                    let point = made.add("cost", metric, series, unit, Better::Lower, &samples);
                    point.at.insert("length".into(), length.into());
                    point.at.insert("sessions".into(), 1.into());
                    point.at.insert("answer".into(), answer.into());
                    point.at.insert("modelled".into(), true.into());
                }
            }
        }
    }
}

fn voice(made: &mut Made) {
    for seconds in [5, 60, 600] {
        for (series, twin) in [("state space", false), ("attention", true)] {
            let long = if twin {
                1.0 + f64::from(seconds) / 300.0
            } else {
                1.0
            };
            for (metric, unit, better, value) in [
                (
                    "word error rate",
                    "",
                    Better::Lower,
                    if twin { 0.061 } else { 0.054 },
                ),
                (
                    "quality",
                    "points",
                    Better::Higher,
                    if twin { 3.31 } else { 3.4 },
                ),
                (
                    "first audio",
                    "s",
                    Better::Lower,
                    0.021 * if twin { 1.25 } else { 1.0 },
                ),
                ("real-time factor", "s/s", Better::Lower, 0.11 * long),
                ("streams", "streams", Better::Higher, (17.0 / long).floor()),
            ] {
                let samples = made.about(value, 0.05);
                let point = made.add("voice", metric, series, unit, better, &samples);
                point.at.insert("seconds".into(), seconds.into());
            }
        }
    }
    for (series, loss) in [("state space", 1.432), ("attention", 1.441)] {
        let samples = made.about(loss, 0.004);
        made.add(
            "voice",
            "validation loss",
            series,
            "nats",
            Better::Lower,
            &samples,
        );
    }
    made.add("voice", "noise", "state space", "", Better::Lower, &[0.047]);
}

fn skills(made: &mut Made) {
    for (length, pairs) in [(64, 4), (128, 8), (256, 16), (512, 64)] {
        for width in [64, 128, 256] {
            for (series, cache) in [
                ("attention", true),
                ("Mamba", false),
                ("Mamba-2", false),
                ("hybrid", false),
            ] {
                let state = match series {
                    "attention" => 2 * width * length,
                    "Mamba" => width * 2 * 16,
                    "hybrid" => width * 128 + width * length / 4,
                    _ => width * 256,
                };
                let eased = (f64::from(state) / 600.0 / f64::from(pairs)).min(30.0);
                let right = if cache || series == "hybrid" {
                    0.998
                } else {
                    1.0 - (-eased / 1.3).exp()
                };
                for seed in 1..=3 {
                    let value = (right - 0.01 * f64::from(seed - 1)).clamp(0.0, 1.0);
                    let point =
                        made.add("recall", "accuracy", series, "", Better::Higher, &[value]);
                    point.at.extend(place(&[
                        ("length", length),
                        ("pairs", pairs),
                        ("width", width),
                        ("state size", state),
                        ("seed", seed),
                    ]));
                }
            }
        }
    }
    tasks(made);
}

fn place(axes: &[(&str, i32)]) -> Vec<(String, serde_json::Value)> {
    axes.iter()
        .map(|(axis, value)| ((*axis).to_string(), json!(value)))
        .collect()
}

fn tasks(made: &mut Made) {
    let copies = [25, 50, 100, 200, 400, 1000];
    let inducing = [64, 256, 1024, 4096, 16_384, 65_536];
    for (task, lengths) in [
        ("copy", copies),
        ("shuffled-copy", copies),
        ("induction", inducing),
    ] {
        for length in lengths {
            for (series, reach) in [("transformer", 600.0), ("Mamba-2", 90.0), ("hybrid", 260.0)] {
                let reach = if task == "induction" && series == "Mamba-2" {
                    1e7
                } else {
                    reach
                };
                let value = 1.0 / (1.0 + (f64::from(length) / reach).powi(3));
                let samples: Vec<f64> =
                    made.about(value, 0.06).iter().map(|x| x.min(1.0)).collect();
                let point = made.add(
                    "copy",
                    "accuracy",
                    series,
                    "",
                    Better::Higher,
                    &samples[..3],
                );
                point.at.insert("task".into(), task.into());
                point.at.insert("length".into(), length.into());
            }
        }
    }
    for depth in 0..=4 {
        for (series, value) in [("transformer", 0.97), ("Mamba-2", 0.45), ("hybrid", 0.93)] {
            let far = if series == "Mamba-2" {
                f64::from(depth) * 0.12
            } else {
                0.0
            };
            let samples = made.about(value + far, 0.05);
            let samples: Vec<f64> = samples.iter().map(|x| x.min(1.0)).collect();
            let point = made.add(
                "copy",
                "accuracy",
                series,
                "",
                Better::Higher,
                &samples[..3],
            );
            point.at.insert("task".into(), "needle".into());
            point.at.insert("length".into(), 4096.into());
            point
                .at
                .insert("depth".into(), (f64::from(depth) / 4.0).into());
        }
    }
    for task in ["parity", "modular", "modular-brackets", "s3", "s5"] {
        for length in [20, 40, 80, 160, 256] {
            for series in ["transformer", "Mamba-2", "hybrid"] {
                let kept = if task == "modular" && series == "Mamba-2" {
                    0.48
                } else {
                    0.01
                };
                let value = if length <= 40 { 0.97 } else { kept };
                let samples = made.about(value, 0.05);
                let point = made.add(
                    "track",
                    "accuracy",
                    series,
                    "",
                    Better::Higher,
                    &samples[..3],
                );
                point.at.insert("task".into(), task.into());
                point.at.insert("length".into(), length.into());
            }
        }
    }
}

fn rest(made: &mut Made) {
    for power in 8..=15 {
        for (series, base) in [("Mamba-2", 1.92), ("hybrid", 1.9), ("transformer", 1.91)] {
            let worse = if series == "transformer" && power > 12 {
                0.02 * f64::from(power - 12)
            } else {
                0.0
            };
            let samples = made.about(base + 4.0 / f64::from(power * power) + worse, 0.004);
            let point = made.add(
                "language",
                "bits per byte",
                series,
                "bits per byte",
                Better::Lower,
                &samples[..3],
            );
            point
                .at
                .insert("position".into(), f64::from(power).exp2().into());
        }
    }
    for (series, worse) in [("Mamba-2", 1.0), ("transformer", 1.6)] {
        for (weights, loss, rate) in [
            ("f32", 0.0, 1.0),
            ("bf16", 0.001, 1.7),
            ("q8", 0.004, 2.6),
            ("q4", 0.03, 3.9),
        ] {
            let samples = made.about(1.9 + loss * worse, 0.002);
            let point = made.add(
                "quant",
                "loss",
                series,
                "bits per byte",
                Better::Lower,
                &samples,
            );
            point.at.insert("weights".into(), weights.into());
            point.at.insert("state".into(), "f32".into());
            let samples = made.about(80.0 * rate, 0.04);
            let point = made.add(
                "quant",
                "decode rate",
                series,
                "tokens/s",
                Better::Higher,
                &samples,
            );
            point.at.insert("weights".into(), weights.into());
            point.at.insert("state".into(), "f32".into());
        }
    }
    for task in [
        "lambada",
        "hellaswag",
        "arc-easy",
        "piqa",
        "winogrande",
        "sciq",
        "boolq",
    ] {
        for series in ["SmolLM2-135M-Instruct", "mamba2-130m"] {
            let value =
                0.3 + 0.05 * task.len() as f64 - if series.starts_with('m') { 0.03 } else { 0.0 };
            let point = made.add("eval", "accuracy", series, "", Better::Higher, &[value]);
            point.at.insert("task".into(), task.into());
        }
    }
    for block in ["mamba2", "mamba", "attention"] {
        for length in [512, 2048, 8192] {
            for (series, rate) in [("Sillage", 4200.0), ("PyTorch", 1700.0)] {
                let samples = made.about(
                    rate / if block == "attention" {
                        1.0 + f64::from(length) / 4000.0
                    } else {
                        1.0
                    },
                    0.05,
                );
                let point = made.add(
                    "train",
                    "tokens per second",
                    series,
                    "tokens/s",
                    Better::Higher,
                    &samples,
                );
                point.at.insert("block".into(), block.into());
                point.at.insert("length".into(), length.into());
            }
        }
    }
}
