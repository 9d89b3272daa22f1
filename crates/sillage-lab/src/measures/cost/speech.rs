//! An hour of speech, by the shipped voice and by its attention twin.

use super::gauge::{Gauge, Prices};
use super::{NAME, each};
use crate::LabError;
use crate::error::failed;
use crate::measures::scaling::Turns;
use crate::plan::{Context, Job, Scale};
use crate::record::{Better, Outcome, Point};
use crate::timing::{Side, compare_sides_twice};
use serde_json::json;
use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use sillage_text::{Accent, FrontEnd};
use sillage_voice::{Alphabet, STEP_SECONDS, Speech, SpeechOptions, VoiceModel};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Series, variable that names the file, and its place in the repository.
const SIDES: [(&str, &str, &str); 2] = [
    (
        "state space",
        "SILLAGE_VOICE_MODEL",
        "models/voice/voice.safetensors",
    ),
    (
        "attention",
        "SILLAGE_VOICE_TWIN",
        "models/voice-twin/attention.safetensors",
    ),
];
/// About five seconds of speech.
const SENTENCE: &str = "The keeper of the lighthouse counted the waves until the lamp was lit and the boats came home. ";

/// A voice ready to speak.
struct Voice {
    model: VoiceModel,
    front: FrontEnd,
    cx: Compute,
}

pub(super) fn job(prices: Prices, scale: Scale) -> Job {
    let (lengths, rounds): (&[u64], usize) = match scale {
        Scale::Quick => (&[5], 3),
        Scale::Full => (&[5, 60], 7),
    };
    let spoken: u64 = lengths.iter().sum();
    let turns = (3 * rounds + 2) as f64;
    Job {
        id: format!("speech-{}-{rounds}-{}", lengths.len(), prices.print()),
        // A tenth of real time on one core.
        estimate: 1.0 + 0.1 * spoken as f64 * turns,
        run: Box::new(move |context| run(context, lengths, rounds, prices)),
    }
}

fn run(
    context: &Context,
    lengths: &[u64],
    rounds: usize,
    prices: Prices,
) -> Result<Vec<Point>, LabError> {
    let voices: Vec<Result<Voice, String>> = SIDES
        .iter()
        .map(|(_, variable, file)| load(variable, file).map_err(|error| error.to_string()))
        .collect();
    // A voice speaks on one thread.
    let gauge = Gauge::with(None, prices, 1.0);
    let turns = Turns::new(context, lengths.len());
    let mut points = Vec::new();
    for &seconds in lengths {
        turns.say(0.0, &format!("voices speak for {seconds} s"));
        let text = SENTENCE.repeat((seconds / 5).max(1) as usize);
        let mut sides: Vec<Side<'_>> = SIDES
            .iter()
            .zip(&voices)
            .map(|((series, ..), voice)| {
                let text = text.as_str();
                Side::new(*series, move || match voice {
                    Ok(voice) => speak(voice, text),
                    Err(reason) => Err(LabError::Failed(reason.clone())),
                })
            })
            .collect();
        let seed = context.seed_for("cost speech");
        let found = compare_sides_twice(rounds, seed, &mut sides)?;
        for (series, factor) in &found.sides {
            let mut config = json!({"text": "one sentence, again and again", "threads": 1});
            gauge.note(&mut config);
            let point = Point::new(
                NAME,
                "money per hour of speech",
                series,
                "USD",
                Better::Lower,
            )
            .at("seconds", seconds)
            .at("length", (seconds as f64 / STEP_SECONDS).round())
            .at("sessions", 1)
            .config(config);
            let dollars = each(factor, |factor| gauge.money(3600.0 * factor));
            points.push(match dollars {
                Outcome::Measured { samples } => point.samples(samples),
                Outcome::Missing { reason } => point.missing(reason),
            });
        }
        turns.next();
    }
    Ok(points)
}

fn load(variable: &str, file: &str) -> Result<Voice, LabError> {
    let path = match std::env::var_os(variable).filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => crate::shapes::in_repository(file).ok_or_else(|| {
            LabError::Failed(format!(
                "{file} was not found; run this within the repository, or set {variable} to the file"
            ))
        })?,
    };
    let path: &Path = &path;
    let model = VoiceModel::load(&Checkpoint::open(path).map_err(failed)?).map_err(failed)?;
    Ok(Voice {
        model,
        front: FrontEnd::new(Accent::Us).map_err(failed)?,
        cx: Compute::new(1),
    })
}

/// Seconds of work for a second of sound.
fn speak(voice: &Voice, text: &str) -> Result<f64, LabError> {
    let Voice { model, front, cx } = voice;
    let someone = model
        .voices()
        .first()
        .ok_or_else(|| failed("the voice model has no voices"))?;
    let speaker = model.speaker(cx, someone).map_err(failed)?;
    let alphabet = Alphabet::of(model);
    let start = Instant::now();
    let mut speech = Speech::new(&alphabet, front, &speaker, &SpeechOptions::default());
    speech.push(text).map_err(failed)?;
    speech.finish().map_err(failed)?;
    while !speech.utterance.is_done() {
        let steps = speech.utterance.next_chunk();
        model
            .advance(cx, &mut [&mut speech.utterance], steps)
            .map_err(failed)?;
        speech.utterance.take_samples();
    }
    let sound = speech.utterance.seconds();
    if sound <= 0.0 {
        return Err(failed("a text gave no sound"));
    }
    Ok(start.elapsed().as_secs_f64() / sound)
}
