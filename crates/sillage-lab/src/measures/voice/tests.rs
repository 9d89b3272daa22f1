//! Tests that need no clock, and a few with the shipped models.

use super::scores::{blocks, points};
use super::sides::{SERIES, Sides, Wanted, matched};
use super::speech::{history, speak};
use super::streams::{Search, Trial};
use super::*;
use crate::record::Outcome;
use sillage_formats::Checkpoint;
use sillage_kernels::Compute;

fn trial(streams: usize, first: f64) -> Trial {
    Trial {
        streams,
        first: Some(first),
        dry: 0,
    }
}

/// Searches where up to `limit` streams are carried; the answer and the trials it took.
fn found(start: usize, limit: usize, fine: f64) -> (usize, usize) {
    let mut search = Search::from(start);
    let mut trials = 0;
    while let Some(count) = search.next(fine, 40) {
        trials += 1;
        search.note(trial(count, if count <= limit { 0.05 } else { 0.2 }));
    }
    (search.answer().expect("an answer"), trials)
}

#[test]
fn a_search_finds_the_limit_from_either_side() {
    for (start, limit) in [(1, 100), (400, 100), (100, 100), (7, 1), (3, 2), (90, 137)] {
        let (good, trials) = found(start, limit, 1.0);
        assert_eq!(good, limit, "from {start}");
        assert!(trials < 24, "{trials} trials from {start}");
        let (good, _) = found(start, limit, 1.1);
        assert!(
            good <= limit && good as f64 >= limit as f64 / 1.1 - 1.0,
            "{good} of {limit}"
        );
    }
    assert_eq!(
        found(8, 0, 1.1).0,
        0,
        "none is carried, and the search ends"
    );
}

#[test]
fn a_lucky_trial_beyond_a_failed_one_does_not_count() {
    let mut search = Search::from(10);
    search.note(trial(10, 0.05));
    search.note(trial(16, 0.05));
    search.note(Trial {
        streams: 12,
        first: Some(0.05),
        dry: 1,
    });
    assert_eq!(search.answer(), Some(10));
    let silent = Trial {
        streams: 4,
        first: None,
        dry: 0,
    };
    let mut search = Search::from(4);
    search.note(silent);
    assert_eq!(search.answer(), None, "nobody asked, so nothing was shown");
}

#[test]
fn orders_are_shuffled_and_the_same_again() {
    let orders: Vec<_> = (0..40).map(|round| order(7, "x", round, 3)).collect();
    assert_eq!(
        orders,
        (0..40)
            .map(|round| order(7, "x", round, 3))
            .collect::<Vec<_>>()
    );
    for first in 0..3 {
        let times = orders.iter().filter(|order| order[0] == first).count();
        assert!(
            (4..30).contains(&times),
            "side {first} is first {times} times of 40"
        );
    }
}

#[test]
fn samples_of_the_word_error_rate_are_of_enough_words() {
    let rates = blocks(&[1.0, 0.0, 3.0, 0.0, 1.0], &[60.0, 60.0, 80.0, 20.0, 30.0]);
    assert_eq!(rates, vec![1.0 / 120.0, 4.0 / 130.0]);
    assert_eq!(
        blocks(&[2.0], &[10.0]),
        vec![0.2],
        "fewer words than wanted are one sample"
    );
    assert!(blocks(&[], &[]).is_empty());
}

#[test]
fn texts_are_as_long_as_they_say_and_differ_by_number() {
    assert!(texts::plain().len() >= 200);
    for (seconds, words) in [(5, 10..30), (60, 140..260), (600, 1500..2400)] {
        let count = texts::text(seconds, 3).split_whitespace().count();
        assert!(words.contains(&count), "{seconds} s: {count} words");
        assert_ne!(texts::text(seconds, 0), texts::text(seconds, 1));
    }
}

fn absent(side: &str) -> Result<Checkpoint, String> {
    Err(format!("no {side} model; set SOMETHING to the file"))
}

fn shipped() -> Wanted {
    Wanted::find().expect("the two models of the repository are matched")
}

fn checkpoint(side: usize) -> Checkpoint {
    let Ok(checkpoint) = &shipped().found[side] else {
        panic!("the repository has its models");
    };
    Checkpoint::open(crate::shapes::in_repository(sides::FILES[side]).expect("it is there"))
        .unwrap_or_else(|error| panic!("{}: {error}", checkpoint.name()))
}

#[test]
fn the_shipped_twins_are_matched_and_others_are_refused() {
    let (ours, twin) = (checkpoint(0), checkpoint(1));
    matched(&ours, &twin).expect("matched");
    let mut bytes =
        std::fs::read(crate::shapes::in_repository(sides::FILES[1]).expect("there")).expect("read");
    let other = b"\"hop\":300";
    let escaped = br#"\"hop\":300"#;
    let at = bytes
        .windows(escaped.len())
        .position(|window| window == escaped);
    let at = at
        .or(bytes
            .windows(other.len())
            .position(|window| window == other))
        .expect("a hop");
    let end = bytes[at..]
        .iter()
        .position(|&byte| byte == b'3')
        .expect("its number")
        + at;
    bytes[end] = b'4';
    let changed = Checkpoint::from_vec(bytes).expect("still a checkpoint");
    let error = matched(&ours, &changed).expect_err("another hop");
    assert!(matches!(error, LabError::Mismatch { .. }), "{error}");
    assert!(error.to_string().contains("hop"), "{error}");
}

#[test]
fn other_data_and_other_sizes_are_refused() {
    let ours = checkpoint(0);
    let path = crate::shapes::in_repository(sides::FILES[1]).expect("there");
    let bytes = std::fs::read(path).expect("read");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
    let table: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).expect("a header");
    let at = 8
        + header
        + table["mel.mean"]["data_offsets"][0]
            .as_u64()
            .expect("a place") as usize;
    let mut changed = bytes.clone();
    changed[at + 3] ^= 1;
    let error = matched(&ours, &Checkpoint::from_vec(changed).expect("a checkpoint"));
    let error = error.expect_err("other statistics").to_string();
    assert!(error.contains("different data"), "{error}");
}

#[test]
fn what_is_absent_is_missing_with_its_cure() {
    let wanted = Wanted::of([absent("voice"), absent("twin")]).expect("nothing to compare");
    assert_eq!(wanted.print(), "none-none");
    let scores = points(&wanted, Err("nobody has listened yet")).expect("points");
    // Two recognisers, quality and loss, three lengths, two manners, two series.
    assert_eq!(scores.len(), 48);
    for point in &scores {
        let Outcome::Missing { reason } = &point.outcome else {
            panic!("{point:?}");
        };
        assert!(reason.contains("set SOMETHING"), "{reason}");
    }
    for point in records::points(&wanted, None) {
        assert!(point.measured().is_none());
    }
    let sides = Sides::load(&wanted).expect("the front end alone");
    assert!(sides.sides.iter().all(Result::is_err));
}

fn line(print: &str, errors: &str) -> String {
    format!(
        r#"{{"kind":"point","measure":"voice","metric":"word error rate","series":"state space","at":{{"seconds":5,"carry":false,"recogniser":"whisper-base"}},"unit":"errors/word","better":"lower","outcome":"measured","samples":[0.1,0.0],"config":{{"fingerprint":"{print}","errors":{errors},"words":[60,60]}},"machine":"elsewhere","time":"2026-11-26T17:30:00Z","seconds":1.0}}"#
    )
}

#[test]
fn scores_of_these_weights_are_taken_in_and_others_are_not() {
    let wanted = shipped();
    let print = wanted.fingerprint(0).to_owned();
    let pick = |text: &str| {
        let all = points(&wanted, Ok(text)).expect("points");
        assert_eq!(all.len(), 48);
        let mine = |p: &Point| {
            p.metric == "word error rate"
                && p.series == SERIES[0]
                && p.at["seconds"] == 5
                && p.at["carry"] == false
                && p.at["recogniser"] == "whisper-base"
        };
        all.into_iter().find(mine).expect("a point")
    };
    let found = pick(&line(&print, "[6,3]"));
    assert_eq!(found.measured(), Some(&[9.0 / 120.0][..]));
    assert_eq!(found.config["heard_on"], "elsewhere");
    assert_eq!(found.config["of_all"], 0.075);
    // A later line of the same place counts.
    let twice = format!("{}\n{}\n", line(&print, "[6,3]"), line(&print, "[0,3]"));
    assert_eq!(pick(&twice).measured(), Some(&[3.0 / 120.0][..]));
    let Outcome::Missing { reason } = pick(&line("0123", "[6,3]")).outcome else {
        panic!("scores of other weights were taken in");
    };
    assert!(reason.contains("1 are of others"), "{reason}");
    let Outcome::Missing { reason } = pick(&line(&print, "[6]")).outcome else {
        panic!("counts that do not belong together were taken in");
    };
    assert!(reason.contains("do not belong together"), "{reason}");
    let error = points(&wanted, Ok("{")).expect_err("no JSON").to_string();
    assert!(error.contains("line 1"), "{error}");
}

#[test]
fn the_last_rows_of_both_runs_are_in_the_log() {
    let path = crate::shapes::in_repository("models/voice/training-log.jsonl").expect("the log");
    let text = std::fs::read_to_string(path).expect("read");
    let all = records::points(&shipped(), Some(&text));
    assert_eq!(all.len(), 8);
    let ends = |series: &str| {
        let mine = |p: &&Point| p.series == series && p.at["loss"] == "log-mel";
        let point = all.iter().find(mine).expect("a point");
        *point.measured().expect("measured").last().expect("a row")
    };
    // As the voice's card says.
    assert_eq!((ends(SERIES[0]), ends(SERIES[1])), (0.2855, 0.2914));
}

#[test]
fn a_state_is_as_large_after_a_minute_only_for_one_of_the_twins() {
    let sides = Sides::load(&shipped()).expect("both");
    let cx = Compute::new(1);
    let text = |number| texts::text(5, number);
    let long = (0..4).map(text).collect::<Vec<_>>().join(" ");
    let bytes = |side: usize, text: &str, carry: bool| {
        let side = sides.sides[side].as_ref().expect("a side");
        speak(side, &sides.front, &cx, text, carry).expect("it speaks")
    };
    let (short, more) = (bytes(0, &text(0), true), bytes(0, &long, true));
    assert_eq!(short.bytes, more.bytes);
    assert!(more.sound > 15.0 && short.first > 0.0 && short.first < short.factor * short.sound);
    let (short, more) = (bytes(1, &text(0), true), bytes(1, &long, true));
    assert!(
        more.bytes > 2 * short.bytes,
        "{} and {}",
        short.bytes,
        more.bytes
    );
    let reset = bytes(1, &long, false);
    assert!(
        reset.bytes < more.bytes / 2,
        "{} and {}",
        reset.bytes,
        more.bytes
    );
    let past = history(
        sides.sides[1].as_ref().expect("a side"),
        &sides.front,
        &cx,
        &long,
    );
    let past = past.expect("a history");
    assert!(
        past.is_waiting() && (past.seconds() - more.sound).abs() < 0.5,
        "{}",
        past.seconds()
    );
}

#[test]
fn a_job_gives_every_point_and_says_whose() {
    let jobs = Voice.jobs(Scale::Quick).expect("jobs");
    let ids: Vec<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
    assert!(
        ids.iter().any(|id| id.starts_with("streams-60-carried")),
        "{ids:?}"
    );
    let seconds: f64 = jobs.iter().map(|job| job.estimate).sum();
    assert!(
        seconds <= 90.0,
        "the quick form is said to take {seconds} s"
    );
    let full = Voice.jobs(Scale::Full).expect("jobs");
    assert!(full.iter().any(|job| job.id.starts_with("speech-600")));
    let mut all: Vec<String> = full.into_iter().map(|job| job.id).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 2 + 3 + 4, "{all:?}");
}
