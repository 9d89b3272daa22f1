//! One voice at a time: first audio, real-time factor, bytes of state.

use super::sides::{SERIES, Side, Sides, Wanted, options};
use super::{TRAINED, failed, loaded, order, point, texts};
use crate::LabError;
use crate::plan::{Context, Job, Scale};
use crate::record::{Better, Point};
use crate::stats;
use serde_json::{Value, json};
use sillage_kernels::Compute;
use sillage_text::FrontEnd;
use sillage_voice::{FIRST_CHUNK, SAMPLE_RATE, Speech, Utterance};
use std::sync::Arc;
use std::time::Instant;

/// The first sound is there when this many samples are: 20 ms.
pub(super) const FIRST: u64 = SAMPLE_RATE as u64 / 50;
/// Samples that an utterance keeps back until it knows what follows.
pub(super) const KEPT_BACK: u64 = 600;
/// Text is handed over in pieces of about this many bytes while it is spoken, as `sillage say` does.
const PIECE: usize = 512;
/// The last part of the sound, for the factor at its end.
const END: f64 = 0.1;
/// Sides in a round: both, and the first once more, whose distance from itself is the noise.
const SIDES: [usize; 3] = [0, 1, 0];

/// A text on its way into a speech.
pub(super) struct Feed {
    text: String,
    at: usize,
}

impl Feed {
    pub(super) fn new(text: String) -> Self {
        Feed { text, at: 0 }
    }

    /// Hands over what is wanted next, and the end after the last piece.
    pub(super) fn next(&mut self, speech: &mut Speech) -> Result<(), LabError> {
        while speech.utterance.is_waiting() {
            if self.at == self.text.len() {
                return speech.finish().map_err(failed);
            }
            let mut end = (self.at + PIECE).min(self.text.len());
            while !self.text.is_char_boundary(end) {
                end += 1;
            }
            speech.push(&self.text[self.at..end]).map_err(failed)?;
            self.at = end;
        }
        Ok(())
    }
}

/// How one utterance went; times in seconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Spoken {
    pub(super) first: f64,
    pub(super) factor: f64,
    pub(super) factor_at_end: f64,
    pub(super) sound: f64,
    /// Most bytes of state.
    pub(super) bytes: u64,
}

/// Speaks a text to its end on one thread.
pub(super) fn speak(
    side: &Side,
    front: &FrontEnd,
    cx: &Compute,
    text: &str,
    carry: bool,
) -> Result<Spoken, LabError> {
    let (mut feed, mut told) = (Feed::new(text.to_owned()), Spoken::default());
    let mut marks = vec![(0.0, 0.0)];
    let began = Instant::now();
    let mut speech = Speech::new(&side.alphabet, front, &side.speaker, &options(carry));
    while !speech.utterance.is_done() {
        feed.next(&mut speech)?;
        let steps = speech.utterance.next_chunk();
        let model = &side.model;
        model
            .advance(cx, &mut [&mut speech.utterance], steps)
            .map_err(failed)?;
        drop_made(&mut speech.utterance);
        let now = began.elapsed().as_secs_f64();
        if told.first == 0.0 && speech.utterance.samples_made() >= FIRST {
            told.first = now;
        }
        told.bytes = told.bytes.max(speech.utterance.state_bytes());
        marks.push((speech.utterance.seconds(), now));
    }
    let (sound, total) = marks.last().copied().unwrap_or_default();
    if sound <= 0.0 {
        return Err(failed("a text gave no sound"));
    }
    let late = marks.iter().find(|(made, _)| *made >= (1.0 - END) * sound);
    let (from, clock) = late
        .filter(|(made, _)| *made < sound)
        .copied()
        .unwrap_or((0.0, 0.0));
    told.sound = sound;
    told.factor = total / sound;
    told.factor_at_end = (total - clock) / (sound - from);
    Ok(told)
}

/// Sound and times that nobody listens to.
pub(super) fn drop_made(utterance: &mut Utterance) {
    utterance.take_samples();
    utterance.take_words();
    utterance.take_phones();
}

/// An utterance that has said a text, carried on, and waits for more.
pub(super) fn history(
    side: &Side,
    front: &FrontEnd,
    cx: &Compute,
    text: &str,
) -> Result<Utterance, LabError> {
    let mut speech = Speech::new(&side.alphabet, front, &side.speaker, &options(true));
    let bytes = text.as_bytes().chunks(PIECE).map(|piece| piece.len());
    let mut at = 0;
    for length in bytes {
        // The benchmark's sentences are ASCII; anything else would end a piece early.
        let end = (at..=at + length)
            .rev()
            .find(|&end| text.is_char_boundary(end));
        let end = end.unwrap_or(text.len());
        speech.push(&text[at..end]).map_err(failed)?;
        at = end;
        drain(side, cx, &mut speech)?;
    }
    speech.push(&text[at..]).map_err(failed)?;
    speech.settle().map_err(failed)?;
    drain(side, cx, &mut speech)?;
    Ok(speech.utterance)
}

/// Says all that is known.
fn drain(side: &Side, cx: &Compute, speech: &mut Speech) -> Result<(), LabError> {
    while !speech.utterance.is_waiting() && !speech.utterance.is_done() {
        let utterance = &mut speech.utterance;
        let steps = utterance.next_chunk();
        let model = &side.model;
        model
            .advance(cx, &mut [&mut *utterance], steps)
            .map_err(failed)?;
        drop_made(utterance);
    }
    Ok(())
}

/// Seconds until the first sound of one more sentence.
fn first_after(
    side: &Side,
    front: &FrontEnd,
    cx: &Compute,
    past: &Utterance,
    text: &str,
) -> Result<f64, LabError> {
    let began = Instant::now();
    let mut speech = Speech::new(&side.alphabet, front, &side.speaker, &options(true));
    speech.utterance = past.fork();
    // What was kept back of the sentence before comes out first and is not the new one's.
    let enough = past.samples_made() + KEPT_BACK + FIRST;
    speech.push(text).map_err(failed)?;
    speech.settle().map_err(failed)?;
    while speech.utterance.samples_made() < enough && !speech.utterance.is_waiting() {
        let model = &side.model;
        model
            .advance(cx, &mut [&mut speech.utterance], FIRST_CHUNK)
            .map_err(failed)?;
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Samples of one side and manner.
#[derive(Default)]
struct Taken {
    first: Vec<f64>,
    factor: Vec<f64>,
    factor_at_end: Vec<f64>,
    bytes: Vec<f64>,
    sound: f64,
}

pub(super) fn job(wanted: &Arc<Wanted>, print: &str, seconds: u32, scale: Scale) -> Job {
    let wanted = wanted.clone();
    let rounds = rounds(seconds, scale);
    Job {
        id: format!("speech-{seconds}-{rounds}-{print}"),
        // Of two manners and three turns a round; attention carried on over ten minutes takes most.
        estimate: 1.0
            + rounds as f64 * f64::from(seconds) * if seconds > 100 { 0.06 } else { 0.025 },
        run: Box::new(move |ctx| run(ctx, &wanted, seconds, rounds)),
    }
}

fn rounds(seconds: u32, scale: Scale) -> usize {
    match (seconds, scale) {
        (..=5, Scale::Quick) => 15,
        (..=60, Scale::Quick) => 5,
        (..=5, Scale::Full) => 60,
        (..=60, Scale::Full) => 20,
        _ => 7,
    }
}

fn run(
    ctx: &Context,
    wanted: &Wanted,
    seconds: u32,
    rounds: usize,
) -> Result<Vec<Point>, LabError> {
    let sides = loaded(ctx, wanted)?;
    let cx = Compute::new(1);
    let mut points = Vec::new();
    for carry in [false, true] {
        let mut taken: [Taken; SIDES.len()] = Default::default();
        let past = pasts(&sides, &cx, seconds, carry)?;
        // The first round warms up and is not kept.
        for round in 0..=rounds {
            let done = (f64::from(u8::from(carry)) + round as f64 / (rounds + 1) as f64) / 2.0;
            (ctx.progress)(done, &format!("{seconds} s, round {round} of {rounds}"));
            for turn in order(
                ctx.seed,
                &format!("speech {seconds} {carry}"),
                round,
                SIDES.len(),
            ) {
                let Ok(side) = &sides.sides[SIDES[turn]] else {
                    continue;
                };
                let spoken = speak(side, &sides.front, &cx, &texts::text(seconds, round), carry)?;
                let past = &past[SIDES[turn]];
                let first = firsts(side, &sides.front, &cx, past.as_ref(), seconds, round)?;
                if round > 0 {
                    taken[turn].keep(spoken, first);
                }
            }
        }
        points.extend(gathered(wanted, &sides, seconds, carry, &taken));
    }
    Ok(points)
}

/// What was said before, of the sides that are there.
fn pasts(
    sides: &Sides,
    cx: &Compute,
    seconds: u32,
    carry: bool,
) -> Result<[Option<Utterance>; 2], LabError> {
    let past = |side: &Result<Side, String>| match side {
        Ok(side) if carry => history(side, &sides.front, cx, &texts::text(seconds, 0)).map(Some),
        _ => Ok(None),
    };
    Ok([past(&sides.sides[0])?, past(&sides.sides[1])?])
}

/// Three more samples of first audio where they cost little: after a history.
fn firsts(
    side: &Side,
    front: &FrontEnd,
    cx: &Compute,
    past: Option<&Utterance>,
    seconds: u32,
    round: usize,
) -> Result<Vec<f64>, LabError> {
    let Some(past) = past else {
        return Ok(Vec::new());
    };
    let text = |at: usize| texts::text(5, round * 3 + at + seconds as usize);
    (0..3)
        .map(|at| first_after(side, front, cx, past, &text(at)))
        .collect()
}

impl Taken {
    fn keep(&mut self, spoken: Spoken, after: Vec<f64>) {
        if after.is_empty() {
            self.first.push(spoken.first);
        }
        self.first.extend(after);
        self.factor.push(spoken.factor);
        self.factor_at_end.push(spoken.factor_at_end);
        self.bytes.push(spoken.bytes as f64);
        self.sound += spoken.sound;
    }
}

fn gathered(
    wanted: &Wanted,
    sides: &Sides,
    seconds: u32,
    carry: bool,
    taken: &[Taken; SIDES.len()],
) -> Vec<Point> {
    let mut points = Vec::new();
    for (side, name) in SERIES.into_iter().enumerate() {
        let mine = &taken[side];
        let config = config(
            wanted,
            side,
            carry,
            mine.sound / mine.factor.len().max(1) as f64,
        );
        for (metric, unit, samples) in [
            ("first audio", "s", &mine.first),
            ("real-time factor", "s/s", &mine.factor),
            ("real-time factor at the end", "s/s", &mine.factor_at_end),
            ("state bytes", "bytes", &mine.bytes),
        ] {
            let point = point(metric, name, unit, Better::Lower)
                .at("seconds", seconds)
                .at("carry", carry)
                .config(config.clone());
            points.push(match &sides.sides[side] {
                Ok(_) => point.samples(samples.clone()),
                Err(reason) => point.missing(reason.clone()),
            });
        }
    }
    if sides.sides[0].is_ok() {
        points.extend(noise(seconds, carry, &taken[0], &taken[2]));
    }
    points
}

/// How far the same side lies from itself, for each metric that has a clock.
fn noise(seconds: u32, carry: bool, one: &Taken, again: &Taken) -> Option<Point> {
    let samples = vec![
        stats::aa_noise(&one.factor, &again.factor)?,
        stats::aa_noise(&one.first, &again.first)?,
    ];
    let noise = point("noise", SERIES[0], "of the figure", Better::Lower)
        .at("seconds", seconds)
        .at("carry", carry)
        .config(json!({ "of": ["real-time factor", "first audio"], "sides": "the same model twice, in turn" }));
    Some(noise.samples(samples))
}

fn config(wanted: &Wanted, side: usize, carry: bool, sound: f64) -> Value {
    let mut config = wanted.about(side);
    config["threads"] = json!(1);
    config["sound"] = json!(sound);
    config["texts"] =
        json!("plain sentences of benches/voice/sentences.txt, another part each round");
    config["trained"] = json!(TRAINED);
    config["first_audio"] = json!(match carry {
        true => "of one more text of 5 s after `seconds` carried on",
        false => "of a text of `seconds`",
    });
    config
}
