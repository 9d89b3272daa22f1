//! `POST /tts/sse`: one text, its sound and times as events.

use super::request::Generation;
use super::settings::{self, Begun};
use super::telling::Telling;
use super::version::Version;
use super::{format, frames};
use crate::app::{App, Permit};
use crate::fault::Fault;
use crate::http::{self, Pieces, RequestId};
use crate::keys::Caller;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde_json::Value;
use std::sync::Arc;

pub(super) async fn speak(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(RequestId(request)): Extension<RequestId>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response, Fault> {
    let version = Version::of(&headers, &uri);
    let generation: Generation = http::json(&app, body).await?;
    settings::check_transcript(&generation)?;
    let spec = format::raw_spec(&generation.output_format)?;
    let id = generation
        .context_id
        .clone()
        .unwrap_or_else(|| request.clone());
    let generation = Arc::new(generation);
    let permit = app.admit()?;
    let mut begun = settings::begin(&app, caller, &generation).await?;
    let mut telling = Telling::new(id, app.speech.model(), spec, &version, &generation)?;
    begun
        .text
        .push(generation.text(), &begun.stream, telling.words.as_mut())?;
    begun.text.settle(&begun.stream, telling.words.as_mut());
    begun.stream.finish();
    // What fails before there is anything to tell is an error of the request.
    let mut first = Vec::new();
    while first.is_empty() {
        match begun.stream.next().await {
            Some(event) => first = telling.tell(event)?,
            None => break,
        }
    }
    let (pieces, body) = http::body(&app);
    let speaking = Speaking {
        begun,
        telling,
        request,
        _permit: permit,
    };
    http::spawn(&app, speaking.send(first, pieces));
    Ok(http::events(body))
}

struct Speaking {
    begun: Begun,
    telling: Telling,
    request: String,
    _permit: Permit,
}

impl Speaking {
    async fn send(mut self, first: Vec<Value>, pieces: Pieces) {
        let mut frames = first;
        loop {
            for frame in &frames {
                if !pieces.send(event(frame)).await {
                    return;
                }
            }
            let Some(next) = self.begun.stream.next().await else {
                break;
            };
            frames = self.telling.tell(next).unwrap_or_else(|fault| {
                let id = self.telling.id();
                vec![frames::error(&fault, Some(id), &self.request)]
            });
        }
        pieces.finish().await;
    }
}

/// A frame as an event.
fn event(frame: &Value) -> Vec<u8> {
    let kind = frame["type"].as_str().unwrap_or("message");
    format!("event: {kind}\ndata: {frame}\n\n").into_bytes()
}
