//! Claims on what is remembered and learned.

use super::evidence::{Cell, Evidence, without};
use super::rules::{Judgement, NOT_MEASURED, STATE, Spot, Words, at_least, at_most, judge, pairs};
use super::spread::{Estimate, How, between, mean_of};
use super::{Claim, Ruling};
use crate::record::Place;
use crate::report::numbers::quantity;

const GROUP: &str = "Recall, copying, tracking, language";

/// From here a task counts as solved.
const SOLVED: f64 = 0.99;
/// More accuracy with the largest state than with the smallest, at least.
const GROWS: f64 = 0.05;
/// Mamba-2's published accuracy by numbers of state (Zoology's recipe).
const PUBLISHED: [(f64, f64); 4] = [
    (8192.0, 0.52),
    (16_384.0, 0.69),
    (32_768.0, 0.78),
    (65_536.0, 0.83),
];
/// Lengths and pairs of the first recipe, in which claims of recall are judged.
const USUAL: [[f64; 2]; 4] = [[64.0, 4.0], [128.0, 8.0], [256.0, 16.0], [512.0, 64.0]];
/// Lengths and pairs over which the published accuracies are means.
const TESTED: [[f64; 2]; 7] = [
    [64.0, 4.0],
    [64.0, 8.0],
    [64.0, 16.0],
    [128.0, 32.0],
    [256.0, 64.0],
    [512.0, 128.0],
    [1024.0, 256.0],
];
/// The published vocabulary.
const VOCABULARY: f64 = 8192.0;
/// A state of nearly the published size, as a part of it.
const SAME_STATE: f64 = 0.1;
/// Points that a published figure may differ by.
const SAME_ACCURACY: f64 = 0.05;
/// A hybrid may lag attention by this and still recall as well.
const AS_WELL: f64 = 0.02;
/// Length to which copying is trained where the run does not say.
const COPY_TRAINED: f64 = 50.0;
/// "Beyond training": this many times as long.
const BEYOND: f64 = 2.0;
/// The side that copies must be right so often,
const COPIES: f64 = 0.8;
/// and lead the other by so much.
const LEADS: f64 = 0.2;
/// Lag at looking up a number that counts.
const LAGS: f64 = 0.1;
/// Length to which induction is trained where the run does not say.
const INDUCTION_TRAINED: f64 = 256.0;
/// Induction counts as kept from here.
const KEEPS: f64 = 0.95;
/// Length to which tracking is trained where the run does not say.
const TRACK_TRAINED: f64 = 40.0;
/// Scaled accuracy (0 is chance) up to which nothing is tracked.
const CHANCE: f64 = 0.1;
/// Bits per byte over the transformer's that still match.
const MATCHES: f64 = 1.01;

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        id: "recall-attention",
        group: GROUP,
        claim: "Attention recalls everything (MQAR)",
        source: "Arora et al., Zoology, 2023",
        judge: recall_attention,
    },
    Claim {
        id: "recall-state",
        group: GROUP,
        claim: "A state space model recalls more the larger its state",
        source: "Arora et al., Zoology, 2023, and Based, 2024",
        judge: recall_state,
    },
    Claim {
        id: "recall-published",
        group: GROUP,
        claim: "Mamba-2 recalls .52, .69, .78, .83 with 8, 16, 33, 65 thousand numbers of state",
        source: "Zoology's published points",
        judge: recall_published,
    },
    Claim {
        id: "recall-hybrid",
        group: GROUP,
        claim: "A few attention layers give a hybrid the recall of attention",
        source: "Waleffe et al., 2024",
        judge: recall_hybrid,
    },
    Claim {
        id: "copy",
        group: GROUP,
        claim: "Transformers copy far beyond the trained length, state space models do not",
        source: "Jelassi et al., Repeat After Me, 2024",
        judge: copying,
    },
    Claim {
        id: "phonebook",
        group: GROUP,
        claim: "State space models lag at looking up a number in a phonebook",
        source: "Jelassi et al., 2024; Waleffe et al., 2024",
        judge: phonebook,
    },
    Claim {
        id: "induction",
        group: GROUP,
        claim: "Trained to 256 tokens, Mamba still completes patterns at any length",
        source: "Gu and Dao, Mamba, 2023 (to a million tokens)",
        judge: induction,
    },
    Claim {
        id: "tracking",
        group: GROUP,
        claim: "Mamba-2 tracks neither parity nor bracketed arithmetic",
        source: "Lahoti et al., Mamba-3, 2026 (.9 and .9 % scaled), on tasks of Grazzi et al., 2025",
        judge: tracking,
    },
    Claim {
        id: "language",
        group: GROUP,
        claim: "Predicts text as well as a transformer of its size",
        source: "Gu and Dao, Mamba, 2023; Dao and Gu, Mamba-2, 2024",
        judge: language,
    },
];

/// Length to which the model of a cell was trained: what its configuration
/// says, or what its task is trained to; none for tasks without such a length.
pub(crate) fn trained_to(cell: &Cell) -> Option<f64> {
    cell.trained
        .or(match (cell.measure.as_str(), cell.word("task")?) {
            ("copy", "copy" | "shuffled-copy") => Some(COPY_TRAINED),
            ("copy", "induction") => Some(INDUCTION_TRAINED),
            ("track", _) => Some(TRACK_TRAINED),
            _ => None,
        })
}

/// Counted right answers: what the clock does has no part in them.
fn counted(cell: &Cell, axis: &str, estimate: Estimate, ruling: Ruling) -> Option<Spot> {
    Some(Spot {
        x: cell.number(axis)?,
        // The pairs to recall follow from the length; they are no setting either.
        at: without(&cell.at, &[axis, "pairs", STATE]),
        estimate,
        ruling,
        noise: None,
    })
}

fn recall_attention(evidence: &Evidence) -> Judgement {
    let spots = evidence
        .measured("recall", "accuracy", &["attention"])
        .into_iter()
        .filter(|cell| is_usual(cell))
        .filter_map(|cell| {
            let value = cell.estimate?;
            counted(cell, "length", value, at_least(&value, SOLVED))
        });
    let words = Words {
        axis: "tokens",
        unit: "",
        of: "accuracy of attention",
    };
    judge(spots.collect(), &words)
}

/// Accuracy by size of state, rising in it.
fn by_state<'a>(evidence: &'a Evidence, series: &[&str]) -> Vec<(f64, &'a Cell)> {
    let measured = evidence.measured("recall", "accuracy", series).into_iter();
    let mut rows: Vec<_> = measured
        .filter_map(|cell| Some((cell.number(STATE)?, cell)))
        .collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    rows
}

/// Whether a cell is a task of recall in which claims are judged.
fn is_usual(cell: &Cell) -> bool {
    is_one_of(cell, &USUAL)
}

/// Whether it is one of which a picture is drawn: the hardest tells sides apart that solve the others.
pub(crate) fn is_drawn(cell: &Cell) -> bool {
    is_usual(cell) || is_one_of(cell, &TESTED[TESTED.len() - 1..])
}

/// Whether a task of recall is one of these sizes.
fn is_one_of(cell: &Cell, sizes: &[[f64; 2]]) -> bool {
    let size = [cell.number("length"), cell.number("pairs")];
    sizes.iter().any(|known| size == known.map(Some))
}

/// What a task of recall is called apart from the model that does it.
fn task_of(cell: &Cell) -> Place {
    without(&cell.at, &["width", STATE])
}

fn recall_state(evidence: &Evidence) -> Judgement {
    let mut rows = by_state(evidence, &["Mamba-2"]);
    rows.retain(|(_, cell)| is_usual(cell));
    let mut spots = Vec::new();
    for (place, (small, least)) in rows.iter().enumerate() {
        let task = task_of(least);
        let same = |cell: &Cell| task_of(cell) == task;
        if rows[..place].iter().any(|(_, cell)| same(cell)) {
            continue;
        }
        let Some((large, most)) = rows.iter().rev().find(|(_, cell)| same(cell)) else {
            continue;
        };
        let full = least
            .estimate
            .is_some_and(|value| value.value > 1.0 - GROWS);
        let gain = between(most, least, How::Difference);
        // A task in which the smallest state leaves less to gain cannot show growth.
        if large > small
            && !full
            && let Some(gain) = gain
        {
            let mut cell = (*most).clone();
            cell.at = task;
            spots.extend(counted(&cell, "length", gain, at_least(&gain, GROWS)));
        }
    }
    let words = Words {
        axis: "tokens",
        unit: "",
        of: "accuracy gained from the smallest to the largest state",
    };
    judge(spots, &words)
}

fn recall_published(evidence: &Evidence) -> Judgement {
    let rows = by_state(evidence, &["Mamba-2"]);
    let mut spots = Vec::new();
    for (size, published) in PUBLISHED {
        let near: Vec<_> = rows
            .iter()
            .filter(|(found, cell)| {
                let same_words = cell.number("vocabulary").is_none_or(|v| v == VOCABULARY);
                same_words && (found / size - 1.0).abs() <= SAME_STATE
            })
            .map(|(_, cell)| *cell)
            .filter(|cell| is_one_of(cell, &TESTED))
            .collect();
        // A mean over fewer tasks is a mean of other things.
        let all = TESTED
            .iter()
            .all(|size| near.iter().any(|cell| is_one_of(cell, &[*size])));
        if !all {
            continue;
        }
        let figures: Vec<_> = near.iter().filter_map(|cell| cell.estimate).collect();
        let mean = mean_of(&figures).map(|mean| Estimate {
            value: mean.value - published,
            low: mean.low - published,
            high: mean.high - published,
            n: mean.n,
        });
        let (Some(off), Some(cell)) = (mean, near.first()) else {
            continue;
        };
        let ruling = if off.value.abs() <= SAME_ACCURACY {
            Ruling::Holds
        } else if off.low <= SAME_ACCURACY && off.high >= -SAME_ACCURACY {
            Ruling::Mixed
        } else {
            Ruling::Fails
        };
        let mut cell = (*cell).clone();
        cell.at.clear();
        cell.at.insert(STATE.into(), size.into());
        spots.extend(counted(&cell, STATE, off, ruling));
    }
    let some = !spots.is_empty();
    let words = Words {
        axis: "numbers of state",
        unit: "",
        of: "accuracy less the published, mean over tasks,",
    };
    let judged = judge(spots, &words);
    match some {
        true => judged.remark("a difference within 5 points counts as met"),
        false => judged,
    }
}

/// Accuracy of one side less another's.
fn lead<'a>(
    evidence: &'a Evidence,
    measure: &str,
    sides: [&[&str]; 2],
) -> Vec<(&'a Cell, &'a Cell, Estimate)> {
    pairs(evidence, measure, "accuracy", sides[0], sides[1])
        .into_iter()
        .filter_map(|(a, b)| {
            let lead = between(a, b, How::Difference)?;
            Some((a, b, lead))
        })
        .collect()
}

fn recall_hybrid(evidence: &Evidence) -> Judgement {
    let spots = lead(evidence, "recall", [&["hybrid"], &["attention"]])
        .into_iter()
        .filter(|(cell, ..)| is_usual(cell))
        .filter_map(|(cell, _, lead)| counted(cell, "length", lead, at_least(&lead, -AS_WELL)));
    let words = Words {
        axis: "tokens",
        unit: "",
        of: "accuracy of the hybrid less attention's",
    };
    judge(spots.collect(), &words)
}

const ATTENTION: [&str; 2] = ["attention", "transformer"];

fn copying(evidence: &Evidence) -> Judgement {
    let mut spots = Vec::new();
    // Rotary positions do not reach beyond the lengths they were trained at; the claim was made for
    // transformers whose positions do.
    let bare = lead(
        evidence,
        "copy",
        [&["attention, no positions"], &["Mamba-2"]],
    );
    let of = match bare.is_empty() {
        true => "accuracy of the transformer less that of Mamba-2",
        false => "accuracy of the transformer without positions less that of Mamba-2",
    };
    let leads = match bare.is_empty() {
        true => lead(evidence, "copy", [&ATTENTION, &["Mamba-2"]]),
        false => bare,
    };
    for (cell, _, lead) in leads {
        let (Some(task), Some(length)) = (cell.word("task"), cell.number("length")) else {
            continue;
        };
        let trained = trained_to(cell).unwrap_or(COPY_TRAINED);
        if !matches!(task, "copy" | "shuffled-copy") || length < BEYOND * trained {
            continue;
        }
        let Some(copies) = cell.estimate else {
            continue;
        };
        let ruling = match (at_least(&copies, COPIES), at_least(&lead, LEADS)) {
            (Ruling::Holds, Ruling::Holds) => Ruling::Holds,
            _ if lead.high < LEADS => Ruling::Fails,
            _ => Ruling::Mixed,
        };
        spots.extend(counted(cell, "length", lead, ruling));
    }
    let words = Words {
        axis: "tokens",
        unit: "",
        of,
    };
    judge(spots, &words)
}

fn phonebook(evidence: &Evidence) -> Judgement {
    let spots = lead(evidence, "copy", [&ATTENTION, &["Mamba-2"]])
        .into_iter()
        .filter(|(cell, ..)| cell.word("task") == Some("phonebook"))
        .filter_map(|(cell, _, lead)| counted(cell, "length", lead, at_least(&lead, LAGS)));
    let words = Words {
        axis: "tokens",
        unit: "",
        of: "accuracy of the transformer less that of Mamba-2",
    };
    judge(spots.collect(), &words)
}

fn induction(evidence: &Evidence) -> Judgement {
    let of_series = |series: &'static [&'static str]| -> Vec<Spot> {
        evidence
            .measured("copy", "accuracy", series)
            .into_iter()
            .filter(|cell| cell.word("task") == Some("induction"))
            .filter_map(|cell| {
                let trained = trained_to(cell).unwrap_or(INDUCTION_TRAINED);
                let value = cell.estimate?;
                counted(cell, "length", value, at_least(&value, KEEPS))
                    .filter(|spot| spot.x > trained)
            })
            .collect()
    };
    let (mut spots, mut of) = (of_series(&["Mamba"]), "accuracy of Mamba");
    if spots.is_empty() {
        (spots, of) = (of_series(&["Mamba-2"]), "accuracy of Mamba-2");
    }
    let words = Words {
        axis: "tokens",
        unit: "",
        of,
    };
    let rival = evidence
        .measured("copy", "accuracy", &ATTENTION)
        .into_iter()
        .filter(|cell| cell.word("task") == Some("induction"))
        .max_by(|a, b| {
            a.number("length")
                .partial_cmp(&b.number("length"))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
    let judged = judge(spots, &words);
    match rival.and_then(|cell| Some((cell.number("length")?, cell.estimate?))) {
        Some((length, value)) if judged.ruling != Ruling::Open => judged.remark(format!(
            "the transformer has {} at {} tokens",
            quantity(value.value, ""),
            crate::report::numbers::thousands(length)
        )),
        _ => judged,
    }
}

fn tracking(evidence: &Evidence) -> Judgement {
    let spots = evidence
        .measured("track", "accuracy", &["Mamba-2"])
        .into_iter()
        .filter(|cell| matches!(cell.word("task"), Some("parity" | "modular-brackets")))
        .filter_map(|cell| {
            let trained = trained_to(cell).unwrap_or(TRACK_TRAINED);
            let value = cell.estimate?;
            counted(cell, "length", value, at_most(&value, CHANCE)).filter(|spot| spot.x > trained)
        });
    let words = Words {
        axis: "symbols",
        unit: "",
        of: "scaled accuracy of Mamba-2",
    };
    judge(spots.collect(), &words)
}

fn language(evidence: &Evidence) -> Judgement {
    let sides = pairs(
        evidence,
        "language",
        "bits per byte",
        &["Mamba-2"],
        &["transformer"],
    );
    if sides.is_empty() {
        return Judgement::open(NOT_MEASURED);
    }
    let spots = sides.into_iter().filter_map(|(cell, rival)| {
        let ratio = between(cell, rival, How::Ratio)?;
        counted(cell, "position", ratio, at_most(&ratio, MATCHES))
    });
    let words = Words {
        axis: "tokens into the text",
        unit: "times",
        of: "bits per byte, Mamba-2 over the transformer",
    };
    judge(spots.collect(), &words)
}
