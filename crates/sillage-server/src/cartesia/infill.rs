//! `POST /infill/bytes`: speech that fits between two recordings.
//!
//! The sound is to go on as its neighbour does: in the voice that was asked for,
//! drawn half way to how that voice sounds there, and as loud. It is drawn there
//! only if the neighbour clearly is this voice's: anything else would be cloning
//! without consent.

use super::request::check_language;
use super::{accents, bytes, format};
use crate::app::App;
use crate::fault::Fault;
use crate::http;
use crate::keys::Caller;
use crate::multipart::Form;
use crate::sound;
use crate::speech::Start;
use crate::voices::Clip;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value};
use sillage_kernels::Compute;
use sillage_voice::cloning::likeness;
use sillage_voice::{SAMPLE_RATE, SpeechOptions, Voice};
use std::sync::Arc;

/// Characters of a transcript: the sound is made whole.
const LONGEST: usize = 5000;
/// Parts of a second over which loudness is measured.
const WINDOW: usize = SAMPLE_RATE as usize / 50;
/// Quieter than its loudest part by this factor, a part is a pause.
const PAUSE: f32 = 0.1;
/// A likeness at which nobody else is taken for the speaker; the median of one
/// reader's own recordings is 0.68, see [`sillage_voice::cloning`].
const CLEARLY: f32 = 0.5;
/// How far the level is changed at most.
const GAINS: (f32, f32) = (0.25, 4.0);
/// The loudest sample there may be.
const PEAK: f32 = 0.98;

/// What a form asks for.
struct Wanted {
    left: Option<Vec<u8>>,
    right: Option<Vec<u8>>,
    voice: String,
    transcript: String,
    accent: Option<&'static str>,
}

pub(super) async fn speak(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let mut form = Form::read(&app, &headers, body).await?;
    check_language("language", form.text("language"))?;
    let spec = format::spec(&output_format(&form)?)?;
    let wanted = Wanted {
        left: form.take_file("left_audio"),
        right: form.take_file("right_audio"),
        voice: voice_id(&form)?,
        transcript: form.required("transcript")?.to_owned(),
        accent: form.text("locale").and_then(accents::of_locale),
    };
    if wanted.left.is_none() && wanted.right.is_none() {
        let message =
            "left_audio and right_audio are missing: send at least one, or ask POST /tts/bytes";
        return Err(Fault::bad("left_audio", message));
    }
    let most = LONGEST.min(app.config.limits.text_chars);
    if wanted.transcript.chars().count() > most {
        let message = format!("a transcript between recordings has at most {most} characters");
        return Err(Fault::bad("transcript", message));
    }
    let _permit = app.admit()?;
    let (shared, text) = (Arc::clone(&app), wanted.transcript.clone());
    let found = http::blocking(move || find(&shared, caller, wanted));
    let (start, voice, level) = found.await?;
    let stream = app.speech.begin(start);
    stream.push(&text);
    stream.finish();
    let work = async {
        let mut samples = sound::samples(&stream).await?;
        fit(&mut samples, level);
        sound::file(&app, samples, spec, &voice).await
    };
    let sound = bytes::within(&app, work).await?;
    Ok(bytes::typed(Response::new(Body::from(sound)), spec))
}

/// The voice, drawn to its neighbour, and the neighbour's level.
fn find(app: &App, caller: Caller, wanted: Wanted) -> Result<(Start, Voice, Option<f32>), Fault> {
    let mut voice = app.voices.find(caller.owner, &wanted.voice)?.voice;
    if let Some(accent) = wanted.accent {
        voice = voice.with_field("accent", accent);
    }
    let decode = |bytes: Option<Vec<u8>>, field: &str| {
        bytes
            .map(|bytes| app.voices.decode(&Clip { bytes }, field))
            .transpose()
    };
    let left = decode(wanted.left, "left_audio")?;
    let right = decode(wanted.right, "right_audio")?;
    // What went before is gone on from rather than what comes after.
    let neighbours = [left, right];
    let mut sides = neighbours.iter().flatten();
    let level = sides.clone().find_map(|samples| level(samples));
    let spoken = match sides.find_map(|samples| drawn(app, &voice, samples)) {
        Some(drawn) => drawn,
        None => voice.clone(),
    };
    let start = Start {
        speaker: app.voices.speaker(&spoken)?,
        front: app.voices.front(&voice, None)?,
        options: SpeechOptions {
            payload: app.config.payload,
            ..SpeechOptions::default()
        },
        timings: false,
    };
    Ok((start, voice, level))
}

/// The voice, half way to how it sounds in `samples`; none if that is not clearly
/// the same speaker or cannot be heard. A neighbour is no consent: a watermark is
/// none either, since its key is public and anybody can mark anything.
fn drawn(app: &App, voice: &Voice, samples: &[f32]) -> Option<Voice> {
    let model = app.voices.model();
    let heard = model.clone_voice(&Compute::new(1), "heard", samples).ok()?;
    if likeness(&heard, voice) < CLEARLY {
        return None;
    }
    let parts = [(voice.clone(), 0.5), (heard, 0.5)];
    app.voices.mix(&voice.name, &parts).ok()
}

/// The level of a sound where it is not silent.
pub(super) fn level(samples: &[f32]) -> Option<f32> {
    let power = |part: &[f32]| part.iter().map(|v| v * v).sum::<f32>() / part.len().max(1) as f32;
    let parts: Vec<f32> = samples.chunks(WINDOW).map(power).collect();
    let loudest = parts.iter().copied().fold(0.0, f32::max);
    let floor = loudest * PAUSE * PAUSE;
    let loud: Vec<f32> = parts.into_iter().filter(|p| *p > floor).collect();
    let mean = loud.iter().sum::<f32>() / loud.len().max(1) as f32;
    (mean > 1e-8).then(|| mean.sqrt())
}

/// Brings a sound to a level, as far as there is room.
fn fit(samples: &mut [f32], wanted: Option<f32>) {
    let (Some(wanted), Some(has)) = (wanted, level(samples)) else {
        return;
    };
    let peak = samples.iter().fold(0.0f32, |peak, v| peak.max(v.abs()));
    let gain = (wanted / has).clamp(GAINS.0, GAINS.1);
    let gain = gain.min((PEAK / peak.max(1e-6)).max(1.0));
    for value in samples {
        *value *= gain;
    }
}

/// The fields of the format, whose names are in brackets.
fn output_format(form: &Form) -> Result<Value, Fault> {
    if let Some(text) = form.text("output_format") {
        return http::parse(text.as_bytes());
    }
    let mut fields = Map::new();
    for name in ["container", "encoding", "sample_rate", "bit_rate"] {
        let bracketed = form.text(&format!("output_format[{name}]"));
        if let Some(value) = bracketed.or_else(|| form.text(&format!("output_format.{name}"))) {
            fields.insert(name.to_owned(), Value::String(value.to_owned()));
        }
    }
    Ok(match fields.is_empty() {
        true => Value::Null,
        false => Value::Object(fields),
    })
}

fn voice_id(form: &Form) -> Result<String, Fault> {
    let other = form.text("voice[id]").or_else(|| form.text("voice"));
    match form.text("voice_id").or(other) {
        Some(id) => Ok(id.to_owned()),
        None => form.required("voice_id").map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_is_brought_to_its_neighbours_level() {
        let tone = |loud: f32| -> Vec<f32> {
            let speech = (0..24_000).map(|i| loud * (i as f32 * 0.05).sin());
            // A pause counts for nothing.
            speech.chain(std::iter::repeat_n(0.0, 24_000)).collect()
        };
        let wanted = level(&tone(0.1)).unwrap();
        assert!((wanted - 0.0707).abs() < 1e-3, "{wanted}");
        let mut samples = tone(0.3);
        fit(&mut samples, Some(wanted));
        assert!((level(&samples).unwrap() - wanted).abs() < 1e-3);
        let mut loud = tone(0.5);
        fit(&mut loud, Some(2.0));
        assert!(loud.iter().all(|v| v.abs() <= PEAK + 1e-3));
        assert!(level(&[0.0; 480]).is_none());
    }

    async fn said(app: &Arc<App>, name: &str) -> (Voice, Vec<f32>) {
        let voice = app.voices.find(crate::keys::Owner(0), name).unwrap().voice;
        let stream = app.speech.begin(Start {
            speaker: app.voices.speaker(&voice).unwrap(),
            front: app.voices.front(&voice, None).unwrap(),
            options: SpeechOptions::default(),
            timings: false,
        });
        stream.push("The lamps were lit, one by one. Nobody in the harbour spoke, and the rain went on all night long.");
        stream.finish();
        (voice, sound::samples(&stream).await.unwrap())
    }

    #[tokio::test]
    async fn only_its_own_speaker_draws_a_voice() {
        let app = crate::testing::common();
        let (nova, own) = said(&app, "nova").await;
        let (_, other) = said(&app, "puck").await;
        assert!(drawn(&app, &nova, &other).is_none());
        let drawn_to_itself = drawn(&app, &nova, &own).unwrap();
        assert!(likeness(&drawn_to_itself, &nova) > 0.8);
    }
}
