//! `POST /tts/bytes`: one text, one body of sound.

use super::request::Generation;
use super::settings::{self, Begun};
use super::{files, format};
use crate::app::App;
use crate::fault::{Fault, Kind};
use crate::http;
use crate::keys::Caller;
use crate::sound::{self, Spec};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use sillage_audio::encode::Format;
use std::sync::Arc;
use std::time::Duration;

static FILE_ID: HeaderName = HeaderName::from_static("cartesia-file-id");
/// Characters of a text whose sound is to be kept: it is made whole in memory.
const SAVED_CHARS: usize = 20_000;

pub(super) async fn speak(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Fault> {
    let mut generation: Generation = http::json(&app, body).await?;
    settings::check_transcript(&generation)?;
    let spec = format::spec(&generation.output_format)?;
    // Bytes have no place for times.
    generation.add_timestamps = false;
    generation.add_phoneme_timestamps = false;
    let generation = Arc::new(generation);
    let permit = app.admit()?;
    let mut begun = settings::begin(&app, caller, &generation).await?;
    begun.text.push(generation.text(), &begun.stream, None)?;
    begun.text.settle(&begun.stream, None);
    begun.stream.finish();
    if generation.save {
        return saved(&app, caller, spec, begun).await;
    }
    let chars = begun.text.chars();
    let response = sound::respond(&app, begun.stream, permit, spec, &begun.voice, chars).await?;
    Ok(typed(response, spec))
}

/// Whole, kept, and told by which id.
async fn saved(
    app: &Arc<App>,
    caller: Caller,
    spec: Spec,
    begun: Begun,
) -> Result<Response, Fault> {
    let chars = begun.text.chars();
    if chars > SAVED_CHARS {
        let message = format!(
            "sound is kept of texts of up to {SAVED_CHARS} characters, this has {chars}: leave `save` out, or send it in parts"
        );
        return Err(Fault::bad("save", message));
    }
    let bytes = within(app, sound::whole(app, &begun.stream, spec, &begun.voice)).await?;
    let (shared, voice) = (Arc::clone(app), begun.voice.name);
    let kept = http::blocking(move || {
        let id = files::keep(&shared, caller.owner, spec, &voice, &bytes)?;
        Ok((id, bytes))
    });
    let (id, bytes) = kept.await?;
    let mut response = typed(Response::new(Body::from(bytes)), spec);
    let id = HeaderValue::from_str(&id).map_err(Fault::internal)?;
    response.headers_mut().insert(FILE_ID.clone(), id);
    Ok(response)
}

/// Work within the time that one request may take.
pub(super) async fn within<T>(
    app: &App,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let seconds = app.config.limits.request_seconds;
    let done = tokio::time::timeout(Duration::from_secs(seconds), work).await;
    done.unwrap_or_else(|_| {
        let message = format!(
            "this took longer than {seconds} s, which one request may: ask for less at once"
        );
        Err(Fault::new(Kind::Timeout, "took_too_long", message))
    })
}

/// The type that clients of this protocol expect: raw samples have one,
/// whatever their encoding.
pub(super) fn typed(mut response: Response, spec: Spec) -> Response {
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(media_type(spec)),
    );
    response
}

pub(super) fn media_type(spec: Spec) -> &'static str {
    match spec.format {
        Format::Raw(_) => "audio/pcm",
        format => format.media_type(),
    }
}
