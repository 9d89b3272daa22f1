//! Sound that was asked to be kept.
//!
//! A record is a line of JSON that says what follows it, and the file's bytes.

use super::paging;
use crate::app::App;
use crate::fault::Fault;
use crate::http;
use crate::keys::{Caller, Owner};
use crate::records;
use crate::sound::Spec;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sillage_audio::encode::Format;
use std::sync::Arc;

const KIND: &str = "file";
/// Files of one key; of more the oldest go.
const MOST: usize = 1000;

/// What is known about a file.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    media_type: String,
    ending: String,
    voice: String,
    created: u64,
}

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/files/{id}/info", get(info))
        .route("/files/{id}/download", get(download))
        .route("/links", post(link))
        .route("/links/", post(link))
}

/// Keeps a file; its id.
///
/// # Errors
/// If it cannot be kept.
pub(super) fn keep(
    app: &App,
    owner: Owner,
    spec: Spec,
    voice: &str,
    bytes: &[u8],
) -> Result<String, Fault> {
    let kind = records::Kind::File;
    let prefix = paging::prefix(KIND, owner);
    let mut ids = app.records.list(kind).map_err(Fault::from)?;
    ids.retain(|id| id.starts_with(&prefix));
    // Ids sort by time, so the first are the oldest.
    for id in ids.iter().take((ids.len() + 1).saturating_sub(MOST)) {
        app.records.remove(kind, id).map_err(Fault::from)?;
    }
    let ending = match spec.format {
        Format::Mp3 => "mp3",
        Format::Raw(_) => "pcm",
        _ => "wav",
    };
    let head = Head {
        media_type: super::bytes::media_type(spec).to_owned(),
        ending: ending.to_owned(),
        voice: voice.to_owned(),
        created: crate::now(),
    };
    let mut record = serde_json::to_vec(&head).map_err(Fault::internal)?;
    record.push(b'\n');
    record.extend_from_slice(bytes);
    let id = paging::new_id(KIND, owner);
    app.records.put(kind, &id, &record).map_err(Fault::from)?;
    Ok(id)
}

fn find(app: &App, owner: Owner, id: &str) -> Result<(Head, Vec<u8>), Fault> {
    let missing = || {
        let shown = crate::fault::shown(id, 80);
        let message = format!(
            "there is no file '{shown}' of yours: speech is kept if it is asked for with `save`"
        );
        Fault::not_found("file_not_found", message)
    };
    if !id.starts_with(&paging::prefix(KIND, owner)) {
        return Err(missing());
    }
    let record = match app.records.get(records::Kind::File, id) {
        Err(records::RecordError::BadId(_)) => None,
        other => other.map_err(Fault::from)?,
    };
    let mut record = record.ok_or_else(missing)?;
    let damaged = || Fault::internal(format!("the file {id} is damaged"));
    let end = record
        .iter()
        .position(|b| *b == b'\n')
        .ok_or_else(damaged)?;
    let head = serde_json::from_slice(&record[..end]).map_err(|_| damaged())?;
    record.drain(..=end);
    Ok((head, record))
}

async fn read(app: Arc<App>, caller: Caller, id: String) -> Result<(Head, Vec<u8>), Fault> {
    http::blocking(move || find(&app, caller.owner, &id)).await
}

async fn info(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let (head, bytes) = read(app, caller, id.clone()).await?;
    let name = format!("{id}.{}", head.ending);
    Ok(http::answer(&json!({
        "id": id, "filename": name, "size": bytes.len(), "media_type": head.media_type,
        "content_type": head.media_type, "voice": head.voice, "created_at": super::date(head.created),
    })))
}

async fn download(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let (head, bytes) = read(app, caller, id.clone()).await?;
    let mut response = Response::new(Body::from(bytes));
    let disposition = format!("attachment; filename=\"{id}.{}\"", head.ending);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, head.media_type),
        (header::CONTENT_DISPOSITION, disposition),
    ] {
        let value = HeaderValue::from_str(&value).map_err(Fault::internal)?;
        headers.insert(name, value);
    }
    Ok(response)
}

/// A file's address. It needs a key as all of this server does: nobody gets at a
/// sound by its address alone.
async fn link(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let asked: Value = http::json(&app, body).await?;
    let id = ["file_id", "id", "resource_id"]
        .into_iter()
        .find_map(|name| asked[name].as_str());
    let id = id.ok_or_else(|| {
        Fault::bad(
            "file_id",
            "file_id is missing: send the id that came with the sound",
        )
    })?;
    read(app, caller, id.to_owned()).await?;
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let scheme = header("x-forwarded-proto").unwrap_or("http");
    let host = header("host").unwrap_or("localhost");
    let url = format!("{scheme}://{host}/files/{id}/download");
    Ok(http::answer(&json!({ "url": url, "file_id": id })))
}
