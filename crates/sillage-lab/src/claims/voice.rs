//! Claims on speech: the six ratios of Sonic's launch, and the one that the lab
//! set out from.

use super::evidence::Evidence;
use super::rules::{Judgement, NEARLY, Words, at_least, at_most, judge, pairs, spot};
use super::spread::{Estimate, How, between};
use super::{Claim, Ruling};

const GROUP: &str = "Speech, against an attention twin";
const LAUNCH: &str = "Cartesia, Sonic's launch, 2024";

/// Latency of the twin over ours.
const FACTOR_FOUR: f64 = 4.0;
/// Perplexity over the twin's: 20 % less.
const PERPLEXITY: f64 = 0.8;
/// A fifth less counts as met from this much over it.
const PERPLEXITY_NEARLY: f64 = 0.82;
/// Word errors of the twin over ours.
const WORD_ERRORS: f64 = 2.0;
/// Points of quality above the twin, of 5.
const QUALITY: f64 = 1.0;
/// First audio of the twin over ours.
const FIRST_AUDIO: f64 = 1.5;
/// Real-time factor of the twin over ours.
const REAL_TIME: f64 = 2.0;
/// Streams at once over the twin's.
const STREAMS: f64 = 4.0;

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        id: "factor-four",
        group: GROUP,
        claim: "Sound begins four times as soon",
        source: "the seed claim: \u{201c}a factor of four in latency\u{201d}",
        judge: factor_four,
    },
    Claim {
        id: "sonic-perplexity",
        group: GROUP,
        claim: "Perplexity on held-out speech is 20 % lower",
        source: LAUNCH,
        judge: perplexity,
    },
    Claim {
        id: "sonic-wer",
        group: GROUP,
        claim: "Half the word errors",
        source: LAUNCH,
        judge: word_errors,
    },
    Claim {
        id: "sonic-quality",
        group: GROUP,
        claim: "Quality is a point of five higher",
        source: LAUNCH,
        judge: quality,
    },
    Claim {
        id: "sonic-first-audio",
        group: GROUP,
        claim: "Sound begins 1.5 times as soon",
        source: LAUNCH,
        judge: first_audio,
    },
    Claim {
        id: "sonic-real-time",
        group: GROUP,
        claim: "A second of speech takes half the time to make",
        source: LAUNCH,
        judge: real_time,
    },
    Claim {
        id: "sonic-streams",
        group: GROUP,
        claim: "Four times as much speech from one machine",
        source: LAUNCH,
        judge: streams,
    },
];

/// A comparison of the two sides: the metric, how they are put together, the
/// rule, and the words.
struct Side<'a> {
    metric: &'a str,
    /// Whether ours comes first.
    ours_first: bool,
    how: How,
    rule: fn(&Estimate) -> Ruling,
    unit: &'a str,
    of: &'a str,
}

fn compare(evidence: &Evidence, side: &Side<'_>) -> Judgement {
    let pairs = pairs(
        evidence,
        "voice",
        side.metric,
        &["state space"],
        &["attention"],
    );
    let spots = pairs.into_iter().filter_map(|(ours, twin)| {
        let value = if side.ours_first {
            between(ours, twin, side.how)?
        } else {
            between(twin, ours, side.how)?
        };
        spot(evidence, ours, "seconds", value, side.rule).or_else(|| {
            // A loss is of a model and has no length of speech.
            let mut at = ours.clone();
            at.at.insert("seconds".into(), 0.into());
            spot(evidence, &at, "seconds", value, side.rule)
        })
    });
    let mut judged = judge(
        spots.collect(),
        &Words {
            axis: "s of speech",
            unit: side.unit,
            of: side.of,
        },
    );
    if let Some(figure) = &mut judged.figure
        && let Some(of) = figure.of.strip_suffix(" at 0 s of speech")
    {
        figure.of = of.into();
        judged.place = match judged.ruling {
            Ruling::Holds => "on the held-out speech".into(),
            Ruling::Mixed => "undecided on the held-out speech".into(),
            _ => "not on the held-out speech".into(),
        };
    }
    judged
}

fn factor_four(evidence: &Evidence) -> Judgement {
    compare(
        evidence,
        &Side {
            metric: "first audio",
            ours_first: false,
            how: How::Ratio,
            rule: |value| at_least(value, FACTOR_FOUR * NEARLY),
            unit: "times",
            of: "wait for the first sound, attention over state space",
        },
    )
}

fn perplexity(evidence: &Evidence) -> Judgement {
    const { assert!(PERPLEXITY < PERPLEXITY_NEARLY) };
    // Only a loss in nats has a perplexity; of others the ratio stands in.
    let unit = evidence
        .measured("voice", "validation loss", &["state space"])
        .first()
        .map(|cell| cell.unit.clone());
    let nats = unit.as_deref().is_none_or(|unit| unit.starts_with("nat"));
    let judged = compare(
        evidence,
        &Side {
            metric: "validation loss",
            ours_first: true,
            how: if nats { How::Perplexity } else { How::Ratio },
            rule: |value| at_most(value, PERPLEXITY_NEARLY),
            unit: "times",
            of: if nats {
                "perplexity, state space over attention"
            } else {
                "validation loss, state space over attention"
            },
        },
    );
    match unit {
        Some(unit) if !nats => judged.remark(format!(
            "this voice's loss is a {unit}, which has no perplexity: the ratio of the losses stands in"
        )),
        _ => judged,
    }
}

fn word_errors(evidence: &Evidence) -> Judgement {
    compare(
        evidence,
        &Side {
            metric: "word error rate",
            ours_first: false,
            how: How::Ratio,
            rule: |value| at_least(value, WORD_ERRORS * NEARLY),
            unit: "times",
            of: "word errors, attention over state space",
        },
    )
}

fn quality(evidence: &Evidence) -> Judgement {
    compare(
        evidence,
        &Side {
            metric: "quality",
            ours_first: true,
            how: How::Difference,
            rule: |value| at_least(value, QUALITY * NEARLY),
            unit: "points of 5",
            of: "quality, state space less attention",
        },
    )
}

fn first_audio(evidence: &Evidence) -> Judgement {
    compare(
        evidence,
        &Side {
            metric: "first audio",
            ours_first: false,
            how: How::Ratio,
            rule: |value| at_least(value, FIRST_AUDIO * NEARLY),
            unit: "times",
            of: "wait for the first sound, attention over state space",
        },
    )
}

fn real_time(evidence: &Evidence) -> Judgement {
    compare(
        evidence,
        &Side {
            metric: "real-time factor",
            ours_first: false,
            how: How::Ratio,
            rule: |value| at_least(value, REAL_TIME * NEARLY),
            unit: "times",
            of: "real-time factor, attention over state space",
        },
    )
}

fn streams(evidence: &Evidence) -> Judgement {
    compare(
        evidence,
        &Side {
            metric: "streams",
            ours_first: true,
            how: How::Ratio,
            rule: |value| at_least(value, STREAMS * NEARLY),
            unit: "times",
            of: "streams at once, state space over attention",
        },
    )
}
