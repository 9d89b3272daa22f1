//! Many voices at once, played as they are heard: how many keep up?
//!
//! Every stream is a listener: it asks for a text, plays it from its first
//! sound on, and asks for the next when it has heard the last. A thread makes
//! sound for its share of them, those first that would fall silent soonest, and
//! never more than a second ahead. A number of streams is carried if, over the
//! window that counts, 95 of 100 first sounds came within 100 ms of being asked
//! for and nobody's sound ran out.

use super::sides::{SERIES, Side, Sides, Wanted, options};
use super::speech::{FIRST, Feed, KEPT_BACK, drop_made, history, speak};
use super::{TRAINED, failed, loaded, order, point, texts};
use crate::LabError;
use crate::plan::{Context, Job, Scale};
use crate::record::{Better, Point};
use serde_json::json;
use sillage_kernels::Compute;
use sillage_text::FrontEnd;
use sillage_voice::{SAMPLE_RATE, Speech, Utterance};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// First audio that is soon enough, in seconds.
const SOON: f64 = 0.1;
/// Streams that are moved on together.
const TOGETHER: usize = 8;
/// A stream without sound gives way to those that would fall silent within so many seconds.
const SILENT_SLACK: f64 = 0.04;
/// Seconds of sound that are made ahead of the player at most.
const AHEAD: f64 = 1.0;
/// A thread with nothing to do looks again after this.
const NAP: Duration = Duration::from_millis(1);
/// More streams than this are not tried.
const MOST: usize = 2048;

/// How long and how finely to search.
#[derive(Clone, Copy)]
pub(super) struct Effort {
    /// Seconds over which the listeners come in, which do not count.
    pub(super) coming: f64,
    /// Seconds that count.
    pub(super) window: f64,
    /// Searches, a sample each.
    pub(super) searches: usize,
    /// Trials a search may take.
    pub(super) trials: usize,
    /// Ratio of the fewest that failed to the most that were carried at which a search ends.
    pub(super) fine: f64,
}

impl Effort {
    fn of(scale: Scale) -> Self {
        match scale {
            Scale::Quick => Effort {
                coming: 1.0,
                window: 3.0,
                searches: 1,
                trials: 4,
                fine: 1.15,
            },
            Scale::Full => Effort {
                coming: 2.0,
                window: 5.0,
                searches: 3,
                trials: 9,
                fine: 1.04,
            },
        }
    }

    fn trial(self) -> f64 {
        self.coming + self.window
    }
}

/// What one trial told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Trial {
    pub(super) streams: usize,
    /// 95th percentile of first audio, in seconds; none where nobody asked.
    pub(super) first: Option<f64>,
    /// Listeners whose sound ran out.
    pub(super) dry: usize,
}

impl Trial {
    fn good(&self) -> bool {
        self.dry == 0 && self.first.is_some_and(|first| first < SOON)
    }
}

/// Looks for the largest number that is carried.
#[derive(Debug, Clone)]
pub(super) struct Search {
    next: usize,
    good: usize,
    bad: Option<usize>,
    trials: Vec<Trial>,
}

impl Search {
    pub(super) fn from(start: usize) -> Self {
        Search {
            next: start.clamp(1, MOST),
            good: 0,
            bad: None,
            trials: Vec::new(),
        }
    }

    /// The number to try next; none when the answer is known as finely as wanted, or after `most` trials (twice as many
    /// where it is not known at all).
    pub(super) fn next(&self, fine: f64, most: usize) -> Option<usize> {
        let close = |bad: usize| {
            bad <= self.good + 1 || (self.good > 0 && bad as f64 / self.good as f64 <= fine)
        };
        let between = self.good > 0 && self.bad.is_some();
        let most = if between { most } else { 2 * most };
        let over = self.trials.len() >= most || self.good >= MOST || self.bad.is_some_and(close);
        (!over).then_some(self.next)
    }

    /// The most streams that were carried; none where every trial failed and fewer might have been.
    pub(super) fn answer(&self) -> Option<usize> {
        (self.good > 0 || self.bad == Some(1)).then_some(self.good)
    }

    pub(super) fn note(&mut self, trial: Trial) {
        if trial.good() {
            self.good = self.good.max(trial.streams);
        } else {
            self.bad = Some(self.bad.map_or(trial.streams, |bad| bad.min(trial.streams)));
        }
        // Carried below, failed above; a lucky trial beyond a failed one does not count.
        if let Some(bad) = self.bad {
            let carried = self.trials.iter().chain([&trial]);
            let carried = carried.filter(|t| t.good() && t.streams < bad);
            self.good = carried.map(|t| t.streams).max().unwrap_or(0);
        }
        self.trials.push(trial);
        self.next = match (self.good, self.bad) {
            (good, None) => (good * 3 / 2 + 1).min(MOST),
            (0, Some(bad)) => (bad * 2 / 3).max(1),
            (good, Some(bad)) => good.midpoint(bad).max(good + 1),
        };
    }
}

/// One listener.
struct Stream {
    number: usize,
    turn: usize,
    /// When it asks, in seconds from the start.
    asks: f64,
    speaking: Option<(Speech, Feed)>,
    /// Samples that its utterance had when it began.
    had: u64,
    first: Option<f64>,
}

/// What a thread has seen.
#[derive(Default)]
struct Seen {
    firsts: Vec<f64>,
    dry: usize,
}

/// All that a trial is made of.
struct Stage<'a> {
    side: &'a Side,
    front: &'a FrontEnd,
    /// What every listener has heard before.
    past: Option<&'a Utterance>,
    effort: Effort,
    began: Instant,
}

impl Stage<'_> {
    fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Asks for the next text.
    fn ask(&self, stream: &mut Stream) {
        let carry = self.past.is_some();
        let mut speech = Speech::new(
            &self.side.alphabet,
            self.front,
            &self.side.speaker,
            &options(carry),
        );
        if let Some(past) = self.past {
            speech.utterance = past.fork();
        }
        let sentences = texts::plain();
        let at = stream.number * 7 + stream.turn * 2;
        let pick = |at: usize| sentences[at % sentences.len()];
        // The first text is of one sentence, so that every listener asks again within the window.
        let text = match stream.turn == 0 {
            true => pick(at).to_owned(),
            false => format!("{} {}", pick(at), pick(at + 1)),
        };
        // What was kept back of the sentence before is not the new one's sound.
        let kept_back = if carry { KEPT_BACK } else { 0 };
        stream.had = speech.utterance.samples_made() + kept_back;
        stream.first = None;
        stream.turn += 1;
        stream.speaking = Some((speech, Feed::new(text)));
    }

    /// Lets a stream begin if it is time, or go on to its next text if it has heard the last.
    fn turn(&self, stream: &mut Stream, now: f64) {
        let over = stream.speaking.as_ref().is_some_and(|(speech, _)| {
            speech.utterance.is_done() && stream.first.is_none_or(|f| f + stream.sound() <= now)
        });
        if over {
            stream.asks = stream.first.map_or(now, |first| first + stream.sound());
            stream.speaking = None;
        }
        if stream.speaking.is_none() && stream.asks <= now {
            self.ask(stream);
        }
    }

    /// Serves some listeners until the window is over.
    fn serve(&self, streams: &mut [Stream]) -> Result<Seen, LabError> {
        let (cx, mut seen) = (Compute::new(1), Seen::default());
        loop {
            let now = self.now();
            if now >= self.effort.trial() {
                seen.dry += streams.iter().filter(|s| s.is_dry(now)).count();
                // Who still waits has waited at least so long.
                let coming = self.effort.coming;
                let waits = streams.iter().filter(|s| s.waits_long(now, coming));
                seen.firsts.extend(waits.map(|s| now - s.asks));
                return Ok(seen);
            }
            streams.iter_mut().for_each(|stream| self.turn(stream, now));
            let mut live: Vec<&mut Stream> = streams.iter_mut().filter(|s| s.wants(now)).collect();
            if live.is_empty() {
                std::thread::sleep(NAP);
                continue;
            }
            live.sort_by(|a, b| a.slack(now).total_cmp(&b.slack(now)));
            live.truncate(TOGETHER);
            self.advance(&cx, &mut live)?;
            let now = self.now();
            for stream in live {
                stream.note(now, self.effort.coming, &mut seen);
            }
        }
    }

    fn advance(&self, cx: &Compute, live: &mut [&mut Stream]) -> Result<(), LabError> {
        let mut moved = Vec::with_capacity(live.len());
        let mut steps = usize::MAX;
        for stream in live {
            let first = stream.first.is_none();
            let Some((speech, feed)) = &mut stream.speaking else {
                continue;
            };
            feed.next(speech)?;
            let chunk = if first {
                sillage_voice::FIRST_CHUNK
            } else {
                sillage_voice::CHUNK
            };
            steps = steps.min(chunk);
            moved.push(&mut speech.utterance);
        }
        self.side
            .model
            .advance(cx, &mut moved, steps)
            .map_err(failed)
    }
}

impl Stream {
    /// Seconds of sound made.
    fn sound(&self) -> f64 {
        let made = self
            .speaking
            .as_ref()
            .map_or(self.had, |(s, _)| s.utterance.samples_made());
        made.saturating_sub(self.had) as f64 / f64::from(SAMPLE_RATE)
    }

    fn slack(&self, now: f64) -> f64 {
        self.first
            .map_or(SILENT_SLACK, |first| first + self.sound() - now)
    }

    fn wants(&self, now: f64) -> bool {
        let open = |(speech, _): &(Speech, Feed)| !speech.utterance.is_done();
        self.speaking.as_ref().is_some_and(open) && self.slack(now) < AHEAD
    }

    /// Whether its player has come to the end of what was made, and more should follow.
    fn is_dry(&self, now: f64) -> bool {
        let open = |(speech, _): &(Speech, Feed)| !speech.utterance.is_done();
        self.speaking.as_ref().is_some_and(open) && self.first.is_some() && self.slack(now) < 0.0
    }

    /// Whether it has waited for its first sound for longer than is soon enough.
    fn waits_long(&self, now: f64, coming: f64) -> bool {
        let counts = self.speaking.is_some() && self.first.is_none() && self.asks >= coming;
        counts && now - self.asks > SOON
    }

    fn note(&mut self, now: f64, coming: f64, seen: &mut Seen) {
        let sound = self.sound();
        let Some((speech, _)) = &mut self.speaking else {
            return;
        };
        let made = speech.utterance.take_samples().len() as f64 / f64::from(SAMPLE_RATE);
        drop_made(&mut speech.utterance);
        let ran_out = self
            .first
            .is_some_and(|first| made > 0.0 && now - first > sound - made);
        seen.dry += usize::from(ran_out && now >= coming);
        if self.first.is_none() && sound >= FIRST as f64 / f64::from(SAMPLE_RATE) {
            self.first = Some(now);
            if self.asks >= coming {
                seen.firsts.push(now - self.asks);
            }
        }
    }
}

/// Tries so many streams; few of them for longer if nobody asked within the window.
fn trial(stage: &mut Stage<'_>, streams: usize, threads: usize) -> Result<Trial, LabError> {
    let found = played(stage, streams, threads)?;
    if found.first.is_some() || found.dry > 0 {
        return Ok(found);
    }
    stage.effort.window *= 3.0;
    stage.began = Instant::now();
    played(stage, streams, threads)
}

fn played(stage: &Stage<'_>, streams: usize, threads: usize) -> Result<Trial, LabError> {
    let stream = |number: usize| Stream {
        number,
        turn: 0,
        asks: stage.effort.coming * number as f64 / streams as f64,
        speaking: None,
        had: 0,
        first: None,
    };
    let mut shares: Vec<Vec<Stream>> = (0..threads.max(1))
        .map(|share| {
            (share..streams)
                .step_by(threads.max(1))
                .map(stream)
                .collect()
        })
        .collect();
    let seen = std::thread::scope(|scope| {
        let working: Vec<_> = shares
            .iter_mut()
            .map(|share| scope.spawn(move || stage.serve(share)))
            .collect();
        let mut all = Seen::default();
        for thread in working {
            let seen = thread
                .join()
                .map_err(|_| failed("a stream's thread failed"))??;
            all.firsts.extend(seen.firsts);
            all.dry += seen.dry;
        }
        Ok::<_, LabError>(all)
    })?;
    Ok(Trial {
        streams,
        first: percentile(seen.firsts, 0.95),
        dry: seen.dry,
    })
}

fn percentile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    values.get((last as f64 * share).ceil() as usize).copied()
}

pub(super) fn job(
    wanted: &Arc<Wanted>,
    print: &str,
    seconds: u32,
    carry: bool,
    scale: Scale,
) -> Job {
    let wanted = wanted.clone();
    let effort = Effort::of(scale);
    let manner = if carry { "carried" } else { "reset" };
    Job {
        id: format!(
            "streams-{seconds}-{manner}-{}x{}-{print}",
            effort.searches, effort.window
        ),
        estimate: 2.0 * effort.searches as f64 * effort.trials.min(5) as f64 * effort.trial()
            + if carry {
                f64::from(seconds) * 0.06
            } else {
                0.0
            },
        run: Box::new(move |ctx| run(ctx, &wanted, seconds, carry, effort)),
    }
}

/// Where to begin a search: two thirds of what one stream alone lets expect.
fn guess(
    side: &Side,
    sides: &Sides,
    past: Option<&Utterance>,
    threads: usize,
) -> Result<usize, LabError> {
    let cx = Compute::new(1);
    let factor = match past {
        None => speak(side, &sides.front, &cx, &texts::text(5, 0), false)?.factor,
        Some(past) => {
            let mut speech =
                Speech::new(&side.alphabet, &sides.front, &side.speaker, &options(true));
            speech.utterance = past.fork();
            let mut feed = Feed::new(texts::text(5, 0));
            let began = Instant::now();
            while !speech.utterance.is_done() {
                feed.next(&mut speech)?;
                let moved = &mut [&mut speech.utterance];
                side.model
                    .advance(&cx, moved, sillage_voice::CHUNK)
                    .map_err(failed)?;
                drop_made(&mut speech.utterance);
            }
            began.elapsed().as_secs_f64() / (speech.utterance.seconds() - past.seconds()).max(0.1)
        }
    };
    Ok(((threads as f64 / factor.max(1e-6) * 0.67) as usize).clamp(1, MOST))
}

/// Where searches begin, and what listeners have heard before, of each side that is there.
type Begun = ([usize; 2], [Option<Utterance>; 2]);

fn begun(sides: &Sides, seconds: u32, carry: bool, threads: usize) -> Result<Begun, LabError> {
    let cx = Compute::new(1);
    let (mut starts, mut pasts) = ([1; 2], [None, None]);
    for (at, side) in sides.sides.iter().enumerate() {
        let Ok(side) = side else { continue };
        if carry {
            let text = texts::text(seconds, 0);
            pasts[at] = Some(history(side, &sides.front, &cx, &text)?);
        }
        starts[at] = guess(side, sides, pasts[at].as_ref(), threads)?;
    }
    Ok((starts, pasts))
}

pub(super) fn run(
    ctx: &Context,
    wanted: &Wanted,
    seconds: u32,
    carry: bool,
    effort: Effort,
) -> Result<Vec<Point>, LabError> {
    let sides = loaded(ctx, wanted)?;
    let threads = ctx.cx.pool.threads();
    let (mut starts, pasts) = begun(&sides, seconds, carry, threads)?;
    let mut searched: [Vec<Search>; 2] = Default::default();
    let rounds = 2 * effort.trials;
    for number in 0..effort.searches {
        let label = format!("streams {seconds} {carry} {number}");
        let mut now = starts.map(Search::from);
        for round in 0..rounds {
            let done = (number * rounds + round) as f64 / (effort.searches * rounds) as f64;
            let words = format!("streams, {seconds} s, search {}", number + 1);
            (ctx.progress)(done, &words);
            for at in order(ctx.seed, &label, round, 2) {
                let Ok(side) = &sides.sides[at] else { continue };
                let Some(count) = now[at].next(effort.fine, effort.trials) else {
                    continue;
                };
                let mut stage = Stage {
                    side,
                    front: &sides.front,
                    past: pasts[at].as_ref(),
                    effort,
                    began: Instant::now(),
                };
                now[at].note(trial(&mut stage, count, threads)?);
            }
        }
        // The next search begins near this one's end.
        starts = [0, 1].map(|at| now[at].answer().unwrap_or(starts[at]).max(1));
        for (all, one) in searched.iter_mut().zip(now) {
            all.push(one);
        }
    }
    let manner = (seconds, carry);
    Ok([0, 1]
        .map(|at| gathered(wanted, &sides, manner, threads, effort, at, &searched[at]))
        .into())
}

fn gathered(
    wanted: &Wanted,
    sides: &Sides,
    (seconds, carry): (u32, bool),
    threads: usize,
    effort: Effort,
    at: usize,
    searched: &[Search],
) -> Point {
    let mut config = wanted.about(at);
    config["threads"] = json!(threads);
    config["trained"] = json!(TRAINED);
    config["rule"] = json!("p95 of first audio under 100 ms and nobody's sound runs out");
    config["window"] = json!([effort.coming, effort.window]);
    config["texts"] = json!(
        "plain sentences of benches/voice/sentences.txt: one at first, then two a turn, about 5 s"
    );
    config["histories"] = json!(match carry {
        true =>
            "forks of one: pages of an attention cache that nobody writes to are shared, which favours it",
        false => "none",
    });
    let trials = searched.iter().map(|search| {
        let one = |t: &Trial| json!([t.streams, t.first, t.dry]);
        search.trials.iter().map(one).collect::<Vec<_>>()
    });
    config["trials: streams, p95 of first audio, ran dry"] = json!(trials.collect::<Vec<_>>());
    let point = point("streams", SERIES[at], "streams", Better::Higher)
        .at("seconds", seconds)
        .at("carry", carry)
        .config(config);
    let answers: Vec<f64> = searched
        .iter()
        .filter_map(|s| Some(s.answer()? as f64))
        .collect();
    match &sides.sides[at] {
        Ok(_) if answers.is_empty() => point.missing(format!(
            "no number of streams that was tried was carried, {} the fewest; let nothing else run on the machine",
            searched.iter().filter_map(|s| s.bad).min().unwrap_or(0)
        )),
        Ok(_) => point.samples(answers),
        Err(reason) => point.missing(reason.clone()),
    }
}
