//! Claims on time, memory and energy.

use super::evidence::{Cell, Evidence, first_shown, without};
use super::rules::{
    Judgement, NEARLY, NOT_MEASURED, Spot, Words, at_least, at_most, judge, loud, of, pairs, spot,
    together, too_noisy,
};
use super::spread::{Estimate, How, SEED, between, widened};
use super::{Claim, Figure, Ruling};
use crate::record::Place;
use crate::report::numbers::{figure, thousands};
use crate::stats::{self, Sampled};

const GROUP: &str = "Time and memory";
const ENERGY: &str = "Energy";

/// Below this length what is paid once hides how time grows.
const LINEAR_FROM: f64 = 1024.0;
/// Lengths that a growth is read from, at least.
const LINEAR_LENGTHS: usize = 3;
/// Largest power of the length that still counts as linear.
const LINEAR_POWER: f64 = 1.1;
/// A state that is counted may not grow at all.
const SAME_STATE: f64 = 1.000_001;
/// Memory may grow by this with the text that is held and the allocator's ways.
const SAME_MEMORY: f64 = 1.1;
/// A decode rate that does not fall keeps this part of its first value.
const SAME_RATE: f64 = 0.95;
/// Throughput over a transformer's: Gu and Dao write 4 to 5, their abstract 5.
const FIVE_TIMES: f64 = 5.0;
/// Length from which Mamba-2 is faster.
const CROSSOVER: f64 = 2048.0;
/// "Near": up to this many times that length.
const CROSSOVER_NEAR: f64 = 1.25;
/// Energy per token over the transformer's on short answers.
const SHORT_ANSWERS: f64 = 2.0;
/// Energy per token of the transformer over the hybrid's on long answers.
const LONG_ANSWERS: f64 = 1.66;

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        id: "linear-time",
        group: GROUP,
        claim: "Reading takes time in proportion to length",
        source: "Gu and Dao, Mamba, 2023",
        judge: linear_time,
    },
    Claim {
        id: "constant-state",
        group: GROUP,
        claim: "What is remembered has the same size at any length",
        source: "Gu and Dao, Mamba, 2023; Cartesia, 2024",
        judge: constant_state,
    },
    Claim {
        id: "constant-memory",
        group: GROUP,
        claim: "The whole process needs the same memory at any length",
        source: "Gu and Dao, Mamba, 2023; Cartesia, 2024",
        judge: constant_memory,
    },
    Claim {
        id: "constant-decode",
        group: GROUP,
        claim: "Writing is as fast after a long text as after a short one",
        source: "Gu and Dao, Mamba, 2023",
        judge: constant_decode,
    },
    Claim {
        id: "five-times",
        group: GROUP,
        claim: "Writes 5 times as fast as a transformer of its size",
        source: "Gu and Dao, Mamba, 2023",
        judge: five_times,
    },
    Claim {
        id: "crossover-2k",
        group: GROUP,
        claim: "Mamba-2 reads faster than attention from about 2,000 tokens on",
        source: "Dao and Gu, Mamba-2, 2024",
        judge: crossover,
    },
    Claim {
        id: "energy-short",
        group: ENERGY,
        claim: "On short answers a hybrid needs twice a transformer's energy per token",
        source: "ML.ENERGY leaderboard, 2025",
        judge: energy_short,
    },
    Claim {
        id: "energy-long",
        group: ENERGY,
        claim: "On long answers a transformer needs 1.66 times a hybrid's energy per token",
        source: "ML.ENERGY leaderboard, 2025",
        judge: energy_long,
    },
];

/// The cells of a series by setting, each rising in length; the setting that is
/// shown first comes first.
fn by_setting(cells: Vec<&Cell>) -> Vec<(Place, Vec<&Cell>)> {
    let mut settings: Vec<(Place, Vec<&Cell>)> = Vec::new();
    for cell in cells {
        if cell.number("length").is_none() {
            continue;
        }
        let at = without(&cell.at, &["length"]);
        match settings.iter_mut().find(|(known, _)| *known == at) {
            Some((_, cells)) => cells.push(cell),
            None => settings.push((at, vec![cell])),
        }
    }
    for (_, cells) in &mut settings {
        cells.sort_by(|a, b| {
            let length = |cell: &Cell| cell.number("length").unwrap_or(0.0);
            length(a).total_cmp(&length(b))
        });
    }
    settings.sort_by(|(a, _), (b, _)| first_shown(a, b));
    settings
}

/// The power with which time grows, and the lengths it was read from.
fn growth(cells: &[&Cell]) -> Option<(Estimate, f64, f64)> {
    let curve: Vec<Sampled> = cells
        .iter()
        .filter_map(|cell| Some((cell.number("length")?, cell.samples.clone())))
        .filter(|(length, _)| *length >= LINEAR_FROM)
        .collect();
    if curve.len() < LINEAR_LENGTHS {
        return None;
    }
    let (from, to) = (curve.first()?.0, curve.last()?.0);
    Some((stats::slope(&curve, SEED)?, from, to))
}

fn linear_time(evidence: &Evidence) -> Judgement {
    const METRIC: &str = "time to first token";
    let settings = by_setting(evidence.measured("scaling", METRIC, &["Mamba-2"]));
    let grown: Vec<_> = settings
        .iter()
        .filter_map(|(at, cells)| Some((at, growth(cells)?)))
        .collect();
    let Some((at, (estimate, from, to))) = grown.first() else {
        return Judgement::open(if settings.is_empty() {
            NOT_MEASURED.into()
        } else {
            format!(
                "needs {LINEAR_LENGTHS} lengths from {} tokens on",
                thousands(LINEAR_FROM)
            )
        });
    };
    let ruling = together(grown.iter().map(|(_, (e, ..))| at_most(e, LINEAR_POWER)));
    let mut judged = Judgement {
        ruling,
        figure: Some(Figure {
            value: estimate.value,
            low: estimate.low,
            high: estimate.high,
            samples: estimate.n,
            unit: "in the exponent".into(),
            of: of(
                &format!(
                    "time of Mamba-2 from {} to {} tokens",
                    thousands(*from),
                    thousands(*to)
                ),
                at,
            ),
        }),
        place: match ruling {
            Ruling::Holds => format!(
                "from {} to {} tokens, in all {} settings",
                thousands(*from),
                thousands(*to),
                grown.len()
            ),
            _ => format!(
                "in {} of {} settings",
                grown
                    .iter()
                    .filter(|(_, (e, ..))| at_most(e, LINEAR_POWER) == Ruling::Holds)
                    .count(),
                grown.len()
            ),
        },
        remarks: Vec::new(),
    };
    let rival = by_setting(evidence.measured("scaling", METRIC, &["transformer"]));
    if let Some((rival, ..)) = rival.first().and_then(|(_, cells)| growth(cells)) {
        judged = judged.remark(format!(
            "the transformer's time grows as the power {}",
            figure(rival.value)
        ));
    }
    match loud(
        grown
            .iter()
            .map(|(at, _)| evidence.noise("scaling", METRIC, at)),
    ) {
        Some(noise) => judged.remark(too_noisy(noise)),
        None => judged,
    }
}

/// Each length against the shortest of its setting.
fn against_shortest(
    evidence: &Evidence,
    metric: &str,
    series: &str,
    rule: fn(&Estimate) -> Ruling,
) -> Vec<Spot> {
    let mut spots = Vec::new();
    for (_, cells) in by_setting(evidence.measured("scaling", metric, &[series])) {
        let Some((shortest, longer)) = cells.split_first() else {
            continue;
        };
        for cell in longer {
            let ratio = between(cell, shortest, How::Ratio);
            spots.extend(ratio.and_then(|ratio| spot(evidence, cell, "length", ratio, rule)));
        }
    }
    spots
}

/// How much the transformer's grows, said beside.
fn rival_growth(judged: Judgement, evidence: &Evidence, metric: &str) -> Judgement {
    let mut spots = against_shortest(evidence, metric, "transformer", |_| Ruling::Open);
    spots.sort_by(|a, b| first_shown(&a.at, &b.at).then(b.x.total_cmp(&a.x)));
    match spots.first() {
        Some(spot) if judged.ruling != Ruling::Open => judged.remark(format!(
            "the transformer's is {} times that of the shortest at {} tokens",
            figure(spot.estimate.value),
            thousands(spot.x)
        )),
        _ => judged,
    }
}

fn constant_state(evidence: &Evidence) -> Judgement {
    let mut spots = against_shortest(evidence, "state bytes", "Mamba-2", |value| {
        at_most(value, SAME_STATE)
    });
    for spot in &mut spots {
        // A count is what it is; it needs no second sample.
        spot.estimate.n = spot.estimate.n.max(2);
    }
    let words = Words {
        axis: "tokens",
        unit: "times",
        of: "state of Mamba-2 over that of the shortest text",
    };
    rival_growth(judge(spots, &words), evidence, "state bytes")
}

fn constant_memory(evidence: &Evidence) -> Judgement {
    let spots = against_shortest(evidence, "resident memory", "Mamba-2", |value| {
        at_most(value, SAME_MEMORY)
    });
    let words = Words {
        axis: "tokens",
        unit: "times",
        of: "memory of Mamba-2 over that with the shortest text",
    };
    rival_growth(judge(spots, &words), evidence, "resident memory")
}

fn constant_decode(evidence: &Evidence) -> Judgement {
    let spots = against_shortest(evidence, "decode rate", "Mamba-2", |value| {
        at_least(value, SAME_RATE)
    });
    let words = Words {
        axis: "tokens",
        unit: "times",
        of: "decode rate of Mamba-2 over that after the shortest text",
    };
    rival_growth(judge(spots, &words), evidence, "decode rate")
}

fn five_times(evidence: &Evidence) -> Judgement {
    let against = |rival: &'static str| -> Vec<Spot> {
        pairs(evidence, "scaling", "decode rate", &["Mamba-2"], &[rival])
            .into_iter()
            .filter_map(|(cell, rival)| {
                let ratio = between(cell, rival, How::Ratio)?;
                spot(evidence, cell, "length", ratio, |value| {
                    at_least(value, FIVE_TIMES * NEARLY)
                })
            })
            .collect()
    };
    let words = Words {
        axis: "tokens",
        unit: "times",
        of: "decode rate of Mamba-2 over the transformer's",
    };
    let judged = judge(against("transformer"), &words);
    let other = judge(against("transformer, llama.cpp"), &words);
    match (judged.ruling, &other.figure) {
        (Ruling::Open, _) | (_, None) => judged,
        (ruling, Some(figure)) => {
            let agreed = other.ruling == ruling;
            let mut judged = judged.remark(format!(
                "against llama.cpp's transformer {figure}: there it {}",
                match other.ruling {
                    Ruling::Mixed => "is mixed",
                    other => other.word(),
                }
            ));
            if !agreed {
                judged.ruling = Ruling::Mixed;
            }
            judged
        }
    }
}

/// Where our side becomes the faster one, if it does, with the interval of the
/// samples and of the noise.
fn crossing_of(rows: &[(f64, &Cell, &Cell)], noise: f64) -> Option<(Estimate, bool)> {
    let ours: Vec<Sampled> = rows
        .iter()
        .map(|(x, ours, _)| (*x, ours.samples.clone()))
        .collect();
    let at = |times: f64| {
        let rival: Vec<Sampled> = rows
            .iter()
            .map(|(x, _, rival)| (*x, rival.samples.iter().map(|s| s * times).collect()))
            .collect();
        stats::crossover(&ours, &rival, SEED)
    };
    let middle = at(1.0)?;
    let (early, late) = (at(1.0 + noise), at(1.0 - noise));
    let estimate = Estimate {
        low: early.map_or(middle.x.low, |found| found.x.low.min(middle.x.low)),
        high: late.map_or(middle.x.high, |found| found.x.high.max(middle.x.high)),
        ..middle.x
    };
    Some((estimate, middle.first_is_lower_after))
}

/// A crossing in one setting: its ruling and its words.
struct Crossed {
    ruling: Ruling,
    estimate: Option<Estimate>,
    place: String,
}

fn crossed(rows: &[(f64, &Cell, &Cell)], noise: f64) -> Option<Crossed> {
    let (first, last) = (rows.first()?, rows.last()?);
    match crossing_of(rows, noise) {
        Some((estimate, true)) => {
            return Some(Crossed {
                ruling: at_most(&estimate, CROSSOVER * CROSSOVER_NEAR),
                estimate: Some(estimate),
                place: format!("from {} tokens on", round(estimate.value)),
            });
        }
        Some((estimate, false)) => {
            return Some(Crossed {
                ruling: Ruling::Fails,
                estimate: Some(estimate),
                place: format!("slower from {} tokens on", round(estimate.value)),
            });
        }
        None => {}
    }
    let end = between(last.2, last.1, How::Ratio)?;
    Some(if end.value >= 1.0 {
        Crossed {
            ruling: if first.0 <= CROSSOVER {
                at_least(&widened(&end, noise), 1.0)
            } else {
                Ruling::Mixed
            },
            estimate: None,
            place: format!(
                "faster at every length from {} tokens on",
                thousands(first.0)
            ),
        }
    } else {
        Crossed {
            ruling: if last.0 >= CROSSOVER {
                Ruling::Fails
            } else {
                Ruling::Open
            },
            estimate: None,
            place: format!("slower at every length to {} tokens", thousands(last.0)),
        }
    })
}

/// Two digits: a crossover is not known to the token.
fn round(tokens: f64) -> String {
    let near = 10f64.powf(tokens.log10().floor() - 1.0).max(1.0);
    thousands((tokens / near).round() * near)
}

fn crossover(evidence: &Evidence) -> Judgement {
    const METRIC: &str = "time to first token";
    let pairs = pairs(evidence, "scaling", METRIC, &["Mamba-2"], &["transformer"]);
    let mut all = Vec::new();
    for (at, cells) in by_setting(pairs.iter().map(|(cell, _)| *cell).collect()) {
        let rows: Vec<_> = cells
            .iter()
            .filter_map(|cell| {
                let (_, rival) = pairs.iter().find(|(ours, _)| std::ptr::eq(*ours, *cell))?;
                Some((cell.number("length")?, *cell, *rival))
            })
            .collect();
        let noise = evidence.noise("scaling", METRIC, &at);
        all.extend(crossed(&rows, noise.unwrap_or(0.0)).map(|crossed| (at, noise, crossed)));
    }
    let Some((at, _, shown)) = all.first() else {
        return Judgement::open(NOT_MEASURED);
    };
    let judged = Judgement {
        ruling: together(all.iter().map(|(_, _, crossed)| crossed.ruling)),
        figure: shown.estimate.map(|estimate| Figure {
            value: estimate.value,
            low: estimate.low,
            high: estimate.high,
            samples: estimate.n,
            unit: "tokens".into(),
            of: of("length at which both read as fast", at),
        }),
        place: shown.place.clone(),
        remarks: Vec::new(),
    };
    let judged = match all.len() {
        1 => judged,
        settings => judged.remark(format!(
            "it holds in {} of {settings} settings",
            all.iter()
                .filter(|(_, _, c)| c.ruling == Ruling::Holds)
                .count()
        )),
    };
    match loud(all.iter().map(|(_, noise, _)| *noise)) {
        Some(noise) => judged.remark(too_noisy(noise)),
        None => judged,
    }
}

fn energy(evidence: &Evidence, answer: &str, ours: &str, rival: &str, times: f64) -> Judgement {
    let pairs = pairs(evidence, "cost", "energy per token", &[ours], &[rival]);
    let pairs: Vec<_> = pairs
        .into_iter()
        .filter(|(cell, _)| cell.word("answer") == Some(answer))
        .collect();
    let modelled = pairs
        .iter()
        .any(|(cell, _)| cell.at.get("modelled") == Some(&true.into()));
    let spots = pairs.into_iter().filter_map(|(cell, rival)| {
        let ratio = between(cell, rival, How::Ratio)?;
        // The pattern is asked for: in the right direction but smaller is
        // neither a yes nor a no.
        spot(evidence, cell, "length", ratio, |value| {
            match at_least(value, times * NEARLY) {
                Ruling::Holds => Ruling::Holds,
                _ if value.high < 1.0 => Ruling::Fails,
                _ => Ruling::Mixed,
            }
        })
    });
    let what = format!("energy per token, {ours} over {rival}");
    let words = Words {
        axis: "tokens",
        unit: "times",
        of: &what,
    };
    let judged = judge(spots.collect(), &words);
    if modelled {
        judged.remark("energy is reckoned from stated watts per core, not metered")
    } else {
        judged
    }
}

fn energy_short(evidence: &Evidence) -> Judgement {
    energy(evidence, "short", "hybrid", "transformer", SHORT_ANSWERS)
}

fn energy_long(evidence: &Evidence) -> Judgement {
    energy(evidence, "long", "transformer", "hybrid", LONG_ANSWERS)
}
