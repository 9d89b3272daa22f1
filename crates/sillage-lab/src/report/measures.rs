//! What the report knows of each measure: its question and its pictures.

use super::chart::{Chart, Scale};
use super::pictures::{BARS, BY_LENGTH, BY_TASK, Spec, charts, unknown};
use crate::claims::{Cell, Evidence, NOISE, is_drawn};
use crate::record::FAILED;

/// A measure in the report.
pub(super) struct About {
    /// The subcommand.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) question: &'static str,
    specs: &'static [Spec],
}

const fn by_length(metric: &'static str, title: &'static str) -> Spec {
    Spec {
        metric,
        title,
        ..BY_LENGTH
    }
}

const fn bars(
    metric: &'static str,
    title: &'static str,
    axis: &'static str,
    over: (&'static str, &'static str),
) -> Spec {
    Spec {
        metric,
        title,
        axis,
        over,
        ..BARS
    }
}

/// One picture for each way to end a sentence.
const fn carried(metric: &'static str, title: &'static str) -> Spec {
    Spec {
        facet: Some("carry"),
        ..bars(metric, title, "seconds", ("speech", "s"))
    }
}

/// All measures, in the order of the report.
pub(super) const ALL: &[About] = &[
    About {
        name: "scaling",
        title: "Time and memory by length",
        question: "How do time and memory grow with the length of the text?",
        specs: &[
            by_length("time to first token", "time to first token"),
            by_length("decode rate", "decode rate"),
            by_length("prefill rate", "prefill rate"),
            by_length("resident memory", "memory of the whole process"),
            by_length("state bytes", "state or cache of one session"),
            by_length("flops per token", "operations per token, counted"),
            Spec {
                axis: "sessions",
                over: ("sessions at once", "sessions"),
                ..by_length("decode rate", "decode rate by sessions")
            },
        ],
    },
    About {
        name: "cost",
        title: "Energy and money",
        question: "What does a token cost, and when is a hybrid cheaper?",
        specs: &[
            Spec {
                facet: Some("answer"),
                ..by_length("energy per token", "energy per token")
            },
            by_length("money per million tokens", "money per million tokens"),
            by_length("money per hour of speech", "money per hour of speech"),
        ],
    },
    About {
        name: "voice",
        title: "Speech",
        question: "What does a state space model change for speech, against its attention twin?",
        specs: &[
            carried("first audio", "wait for the first sound"),
            carried("real-time factor", "time to make a second of speech"),
            carried(
                "real-time factor at the end",
                "time to make a second of speech, by the end",
            ),
            carried("streams", "streams at once"),
            Spec {
                y: Scale::Log10,
                show: &[],
                ..carried("state bytes", "what is remembered")
            },
            carried("word error rate", "word errors"),
            Spec {
                show: &[],
                ..carried("quality", "quality (DNSMOS, 1 to 5)")
            },
            Spec {
                show: &[],
                ..carried("validation loss", "loss on held-out speech")
            },
        ],
    },
    About {
        name: "recall",
        title: "Recall",
        question: "How much of what it has read can a model find again, and what does the size of its state do to that?",
        specs: &[Spec {
            metric: "accuracy",
            axis: "state size",
            over: ("numbers in the state or cache", "numbers"),
            facet: Some("length"),
            free: &["width"],
            ..BY_TASK
        }],
    },
    About {
        name: "copy",
        title: "Copying and looking up",
        question: "Can it repeat what it has read, beyond the length it was trained to?",
        specs: &[
            BY_TASK,
            Spec {
                metric: "accuracy",
                title: "by depth",
                axis: "depth",
                over: ("depth of the needle (0 is the beginning)", ""),
                scale: Some(Scale::Linear),
                ..BY_TASK
            },
        ],
    },
    About {
        name: "track",
        title: "Keeping track",
        question: "Can it follow something that changes at every step?",
        specs: &[BY_TASK],
    },
    About {
        name: "language",
        title: "Language",
        question: "How well does it predict books, and what does learning that cost?",
        specs: &[
            Spec {
                axis: "position",
                over: ("tokens into the text", "tokens"),
                y: Scale::Linear,
                ..by_length("bits per byte", "bits per byte by place in the text")
            },
            Spec {
                axis: "flops",
                over: ("training operations", "FLOP"),
                scale: Some(Scale::Log10),
                y: Scale::Linear,
                ..by_length("loss by FLOPs", "loss by operations spent")
            },
            Spec {
                axis: "cpu-seconds",
                over: ("CPU-seconds of training", "CPU-seconds"),
                scale: Some(Scale::Log10),
                y: Scale::Linear,
                ..by_length("loss by CPU-seconds", "loss by time spent")
            },
        ],
    },
    About {
        name: "quant",
        title: "Smaller numbers",
        question: "What do weights and states of fewer bits cost, and what do they gain?",
        specs: &[
            Spec {
                facet: Some("state"),
                show: &[],
                ..bars("loss", "loss", "weights", ("weights", ""))
            },
            Spec {
                facet: Some("state"),
                ..bars("decode rate", "decode rate", "weights", ("weights", ""))
            },
        ],
    },
    About {
        name: "eval",
        title: "Common benchmarks",
        question: "What do published checkpoints score?",
        specs: &[Spec {
            show: &[0.0, 1.0],
            ..bars("accuracy", "accuracy", "task", ("task", ""))
        }],
    },
    About {
        name: "train",
        title: "Training",
        question: "How fast does Sillage train, beside PyTorch?",
        specs: &[
            Spec {
                facet: Some("block"),
                ..by_length("tokens per second", "tokens per second")
            },
            Spec {
                facet: Some("block"),
                ..by_length("memory per token", "memory per token")
            },
        ],
    },
];

/// All pictures of a measure.
pub(super) fn pictures(evidence: &Evidence, name: &str, number: &mut usize) -> Vec<Chart> {
    let about = ALL.iter().find(|about| about.name == name);
    let specs = about.map_or(&[][..], |about| about.specs);
    let mut all = Vec::new();
    for spec in specs {
        let cells = evidence.of(name, spec.metric);
        let drawn = |cell: &&Cell| {
            fits(cell, spec) && (name != "recall" || is_drawn(cell)) && !cell.taught_less()
        };
        let cells: Vec<&Cell> = cells.filter(drawn).collect();
        let mut drawn = charts(name, &cells, spec, number);
        if drawn.is_empty() && spec.axis != "depth" && spec.axis != "sessions" {
            drawn = unknown(name, &cells, spec.metric, number);
        }
        // One value of sessions is no picture by sessions.
        let lone = |chart: &Chart| chart.lines().iter().all(|line| line.dots.len() < 2);
        all.extend(
            drawn
                .into_iter()
                .filter(|chart| spec.axis != "sessions" || !lone(chart)),
        );
    }
    for metric in unlisted(evidence, name, specs) {
        let cells: Vec<&Cell> = evidence.of(name, &metric).collect();
        all.extend(unknown(name, &cells, &metric, number));
    }
    all
}

/// The needle has a depth and a picture by it; other tasks have none.
fn fits(cell: &Cell, spec: &Spec) -> bool {
    let needle = cell.measure == "copy" && cell.number("depth").is_some();
    !(spec.metric == "accuracy" && spec.axis == "length" && needle)
}

/// Metrics without a picture of their own, but for those that are read
/// together with others or are no result.
fn unlisted(evidence: &Evidence, name: &str, specs: &[Spec]) -> Vec<String> {
    let mut metrics: Vec<String> = Vec::new();
    for cell in evidence.cells().iter().filter(|cell| cell.measure == name) {
        let metric = cell.metric.as_str();
        let known = specs.iter().any(|spec| spec.metric == metric)
            || matches!(metric, NOISE | FAILED | "flops per token, model");
        if !known && !metrics.iter().any(|known| known == metric) {
            metrics.push(metric.into());
        }
    }
    metrics
}
