//! Speech: sound as a body, or as server-sent events.

#[cfg(test)]
mod tests;
mod voices;

use super::VOICE_MODEL;
use super::shapes::data;
use crate::app::{App, Permit};
use crate::fault::{Fault, Kind};
use crate::http::{self, Pieces};
use crate::keys::Caller;
use crate::sound::{self, Encoding, Spec};
use crate::speech::{Event, Start, Stream};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use sillage_audio::encode::{Format, RawSample};
use sillage_voice::{SAMPLE_RATE, SpeechOptions};
use std::sync::Arc;

/// Samples of one output token of `usage`: 50 ms.
const TOKEN: u64 = SAMPLE_RATE as u64 / 20;

/// The routes.
pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/audio/speech", post(speech))
        .route("/v1/audio/models", get(models))
        .merge(voices::router())
}

/// `GET /v1/audio/models`, which Open WebUI asks for.
async fn models() -> Response {
    http::answer(&json!({ "models": [{ "id": VOICE_MODEL, "name": "Sillage" }] }))
}

/// A request for speech. The model's name does not matter, because clients have
/// names built in; `instructions` cannot be followed and are not read.
#[derive(Deserialize)]
struct Ask {
    input: Option<String>,
    voice: Option<Value>,
    response_format: Option<String>,
    speed: Option<f32>,
    stream_format: Option<String>,
}

impl Ask {
    /// The text, if it is one that is spoken here.
    fn text(&self, app: &App) -> Result<&str, Fault> {
        let text = self.input.as_deref().unwrap_or_default();
        let most = app.config.limits.text_chars;
        if text.trim().is_empty() {
            return Err(Fault::bad(
                "input",
                "there is nothing to say: give a text in `input`",
            ));
        }
        if text.chars().count() > most {
            let message = format!(
                "a text has at most {most} characters: say it in parts, or raise limits.text_chars"
            );
            return Err(Fault::bad("input", message));
        }
        Ok(text)
    }

    /// Who is to speak, by name or id; nobody means the default voice.
    fn voice(&self) -> Result<Option<&str>, Fault> {
        let name = match &self.voice {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(voice)) => voice.get("id").and_then(Value::as_str),
            Some(other) => other.as_str(),
        };
        let name =
            name.ok_or_else(|| Fault::bad("voice", "a voice is a name, or an object with its id"));
        Ok(Some(name?.trim()).filter(|name| !name.is_empty()))
    }

    fn speed(&self) -> Result<f32, Fault> {
        let speed = self.speed.unwrap_or(1.0);
        match (0.25..=4.0).contains(&speed) {
            true => Ok(speed),
            false => Err(Fault::bad("speed", "a speed is within 0.25 and 4")),
        }
    }

    fn spec(&self) -> Result<Spec, Fault> {
        let format = match self.response_format.as_deref().unwrap_or("mp3") {
            // LAME is not in every build; clients go by the Content-Type.
            "mp3" if cfg!(feature = "mp3") => Format::Mp3,
            "mp3" | "wav" => Format::Wav,
            "opus" => Format::Opus,
            "flac" => Format::Flac,
            "pcm" => Format::Raw(RawSample::S16Le),
            other => {
                let shown = crate::fault::shown(other, 40);
                let message = format!(
                    "this server does not write '{shown}': ask for mp3, opus, flac, wav or pcm"
                );
                let mut fault = Fault::new(Kind::BadRequest, "unsupported_format", message);
                fault.param = Some("response_format".to_owned());
                return Err(fault);
            }
        };
        Ok(Spec {
            format,
            rate: SAMPLE_RATE,
            bit_rate: None,
        })
    }

    /// Whether sound is wanted as events. Events cannot say what their bytes
    /// are, so WAV in the place of MP3 is sent as a body, whose type can.
    fn events(&self, spec: Spec) -> Result<bool, Fault> {
        let instead = spec.format == Format::Wav
            && self.response_format.as_deref().is_none_or(|f| f == "mp3");
        match self.stream_format.as_deref() {
            None | Some("audio") => Ok(false),
            Some("sse") => Ok(!instead),
            Some(_) => Err(Fault::bad(
                "stream_format",
                "a stream_format is audio or sse",
            )),
        }
    }
}

/// `POST /v1/audio/speech`.
async fn speech(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Fault> {
    let ask: Ask = http::json(&app, body).await?;
    let (spec, speed) = (ask.spec()?, ask.speed()?);
    let (text, events) = (ask.text(&app)?, ask.events(spec)?);
    let wanted = ask.voice()?.map(str::to_owned);
    let permit = app.admit()?;
    let shared = Arc::clone(&app);
    let ready = http::blocking(move || {
        let entry = match wanted {
            Some(wanted) => shared.voices.find(caller.owner, &wanted)?,
            None => shared.voices.default_entry()?,
        };
        let start = Start {
            speaker: shared.voices.speaker(&entry.voice)?,
            front: shared.voices.front(&entry.voice, None)?,
            options: SpeechOptions {
                speed,
                payload: shared.config.payload,
                ..SpeechOptions::default()
            },
            timings: false,
        };
        Ok((entry.voice, start))
    });
    let (voice, start) = ready.await?;
    let stream = app.speech.begin(start);
    stream.push(text);
    stream.finish();
    let chars = text.chars().count();
    let response = match events {
        true => told(&app, stream, permit, spec, chars).await,
        false => sound::respond(&app, stream, permit, spec, &voice, chars).await,
    };
    response.map_err(|mut fault| {
        // What other protocols call the text.
        if fault.param.as_deref() == Some("transcript") {
            fault.param = Some("input".to_owned());
        }
        fault
    })
}

/// A response of events with the sound as it is made. What fails before the
/// first sound is an error.
async fn told(
    app: &Arc<App>,
    stream: Stream,
    permit: Permit,
    spec: Spec,
    chars: usize,
) -> Result<Response, Fault> {
    let mut telling = Telling {
        stream,
        encoding: Encoding::new(spec)?,
        samples: 0,
        chars,
    };
    let first = telling.next().await?;
    let (pieces, body) = http::body(app);
    http::spawn(app, async move {
        let _permit = permit;
        telling.all(first, pieces).await;
    });
    Ok(http::events(body))
}

/// Speech on its way into events.
struct Telling {
    stream: Stream,
    encoding: Encoding,
    samples: u64,
    chars: usize,
}

impl Telling {
    /// The next encoded bytes, if there are more.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        while let Some(event) = self.stream.next().await {
            match event {
                Event::Audio(samples, _) => {
                    self.samples += samples.len() as u64;
                    let bytes = self.encoding.push(&samples)?;
                    if !bytes.is_empty() {
                        return Ok(Some(bytes));
                    }
                }
                Event::Failed(fault) => return Err(fault),
                _ => {}
            }
        }
        Ok(None)
    }

    async fn all(mut self, first: Option<Vec<u8>>, pieces: Pieces) {
        let mut next = Ok(first);
        loop {
            match next {
                Ok(Some(bytes)) => {
                    if !pieces.send(delta(&bytes)).await {
                        return;
                    }
                }
                Ok(None) => break,
                Err(fault) => return failed(&fault, pieces).await,
            }
            next = self.next().await;
        }
        let done = self.done();
        let mut rest = match self.encoding.finish() {
            Ok(bytes) if bytes.is_empty() => Vec::new(),
            Ok(bytes) => delta(&bytes),
            Err(fault) => return failed(&fault, pieces).await,
        };
        rest.extend(data(&done));
        if pieces.send(rest).await {
            pieces.finish().await;
        }
    }

    /// The last event. There are no tokens in this voice; so that clients which
    /// count have something to count, one character of text is one token of
    /// input, and 50 ms of sound are one of output.
    fn done(&self) -> Value {
        let (input, output) = (self.chars as u64, self.samples.div_ceil(TOKEN));
        json!({ "type": "speech.audio.done", "usage": {
            "input_tokens": input, "output_tokens": output, "total_tokens": input + output,
        } })
    }
}

fn delta(bytes: &[u8]) -> Vec<u8> {
    data(&json!({ "type": "speech.audio.delta", "audio": STANDARD.encode(bytes) }))
}

/// Tells in an event that there will be no more, and why.
async fn failed(fault: &Fault, pieces: Pieces) {
    tracing::warn!("a sound was broken off: {fault}");
    if pieces.send(data(&super::error(fault))).await {
        pieces.finish().await;
    }
}
