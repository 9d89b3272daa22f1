//! Voices of one's own, and the consents they need.

use crate::app::App;
use crate::fault::Fault;
use crate::http;
use crate::keys::{Caller, Owner};
use crate::multipart::Form;
use crate::voices::{Clip, ConsentRecord, Entry};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::{delete, get};
use axum::{Extension, Router};
use serde_json::{Value, json};
use std::sync::Arc;

/// What a voice of one's own is made of.
const SAMPLE: &str = "audio_sample";

/// The routes.
pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/audio/voices", get(list).post(create))
        .route("/v1/audio/voices/{id}", delete(remove))
        .route("/v1/audio/voice_consents", get(consents).post(record))
        .route(
            "/v1/audio/voice_consents/{id}",
            get(consent).delete(remove_consent),
        )
}

/// A voice as it is listed and answered with.
fn voice(entry: &Entry) -> Value {
    let own = entry.owner.is_some();
    json!({
        "id": entry.id,
        "object": "audio.voice",
        "created_at": entry.created,
        "name": entry.voice.name,
        "type": if own { SAMPLE } else { "built_in" },
        "description": entry.field("about"),
        "language": entry.field("accent"),
    })
}

/// `GET /v1/audio/voices`: one's own and those of everybody. Open WebUI asks
/// without its key, and is shown those of everybody.
async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Fault> {
    let listed = http::blocking(move || {
        let anonymous = caller.owner == Owner(0) && !app.keys.is_open();
        let entries = match anonymous {
            true => app.voices.common().to_vec(),
            false => app.voices.list(caller.owner)?,
        };
        Ok(entries.iter().map(voice).collect::<Vec<_>>())
    });
    Ok(http::answer(&json!({ "voices": listed.await? })))
}

/// `POST /v1/audio/voices`: a form of `name`, `audio_sample` and `consent`,
/// which is the id of a kept consent or a recording of one.
async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let mut form = Form::read(&app, &headers, body).await?;
    let name = form.required("name")?.to_owned();
    if form.text("type").is_some_and(|kind| kind != SAMPLE) {
        let message = "voices are made of a recording: leave `type` out, or send audio_sample";
        return Err(Fault::bad("type", message));
    }
    let bytes = form.required_file(SAMPLE)?;
    let given = form.take_consent(&headers);
    let made = http::blocking(move || {
        let clip = Clip { bytes };
        app.voices.clone_voice(caller, &name, &clip, &given, &[])
    });
    let made = made.await.map_err(|mut fault| {
        // What this protocol calls the clip.
        if fault.param.as_deref() == Some("clip") {
            fault.param = Some(SAMPLE.to_owned());
        }
        fault
    })?;
    Ok(http::answer(&voice(&made)))
}

/// `DELETE /v1/audio/voices/{id}`.
async fn remove(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let removed = http::blocking(move || app.voices.remove(caller.owner, &id).map(|()| id));
    Ok(http::deleted("audio.voice", &removed.await?))
}

/// A consent as it is listed and answered with.
fn consented(record: &ConsentRecord) -> Value {
    json!({
        "id": record.id,
        "object": "audio.voice_consent",
        "created_at": record.created,
        "name": record.name,
        "language": record.language,
    })
}

/// `POST /v1/audio/voice_consents`: a form of `name`, `recording` and
/// `language`.
async fn record(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let mut form = Form::read(&app, &headers, body).await?;
    let name = form.required("name")?.to_owned();
    let language = form.text("language").unwrap_or("en-US");
    if language.len() > 35 {
        let message = "a language is a tag such as en-US";
        return Err(Fault::bad("language", message));
    }
    let language = language.to_owned();
    let clip = Clip {
        bytes: form.required_file("recording")?,
    };
    let kept =
        http::blocking(move || app.voices.keep_consent(caller, &name, &language, &clip)).await;
    let kept = kept.map_err(|mut fault| {
        // What this protocol calls the recording.
        if fault.param.as_deref() == Some("consent") {
            fault.param = Some("recording".to_owned());
        }
        fault
    })?;
    Ok(http::answer(&consented(&kept)))
}

/// `GET /v1/audio/voice_consents`, the latest first; `after` an id, and at most
/// `limit` of them.
async fn consents(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, Fault> {
    let asked = http::query(&uri);
    let limit = match asked.get("limit").map(|text| text.parse::<usize>()) {
        None => usize::MAX,
        Some(Ok(limit @ 1..=100)) => limit,
        Some(_) => return Err(Fault::bad("limit", "a limit is a number from 1 to 100")),
    };
    let mut records = http::blocking(move || app.voices.consents(caller.owner)).await?;
    if let Some(after) = asked.get("after") {
        let at = records.iter().position(|record| record.id == *after);
        let at = at.ok_or_else(|| Fault::bad("after", "there is no consent of that id"))?;
        records.drain(..=at);
    }
    let more = records.len() > limit;
    records.truncate(limit);
    let id = |record: Option<&ConsentRecord>| record.map(|record| record.id.clone());
    Ok(http::answer(&json!({
        "object": "list",
        "data": records.iter().map(consented).collect::<Vec<_>>(),
        "first_id": id(records.first()),
        "last_id": id(records.last()),
        "has_more": more,
    })))
}

/// `GET /v1/audio/voice_consents/{id}`.
async fn consent(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let found = http::blocking(move || app.voices.consent(caller.owner, &id)).await?;
    Ok(http::answer(&consented(&found)))
}

/// `DELETE /v1/audio/voice_consents/{id}`.
async fn remove_consent(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let removed = http::blocking(move || {
        let removed = app.voices.remove_consent(caller.owner, &id);
        removed.map(|()| id)
    });
    Ok(http::deleted("audio.voice_consent", &removed.await?))
}
