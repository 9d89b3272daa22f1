//! Cartesia's protocol: speech as bytes, as events and over a WebSocket; voices,
//! accents, pronunciation dictionaries, files.
//!
//! One set of handlers answers clients of all API dates; where the dates differ,
//! `version::Version` has a question for it. Fields that are null count as not
//! sent, and fields that are not known are passed over, because clients send many.

mod accents;
mod bytes;
mod context;
mod dictionaries;
mod files;
mod format;
mod frames;
mod infill;
mod mailbox;
mod others;
mod paging;
mod request;
mod settings;
mod socket;
mod sse;
mod substitutes;
mod telling;
#[cfg(test)]
mod tests;
mod version;
mod voices;
mod words;

pub(crate) use frames::check as check_frame;

use crate::app::App;
use crate::fault::Fault;
use crate::keys::Owner;
use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// The routes.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/tts/bytes", post(bytes::speak))
        .route("/tts/sse", post(sse::speak))
        .route("/tts/websocket", get(socket::upgrade))
        .route("/infill/bytes", post(infill::speak))
        .merge(voices::router())
        .merge(accents::router())
        .merge(dictionaries::router())
        .merge(files::router())
        .merge(others::router())
        // Bodies are limited where they are read, by the configuration.
        .layer(DefaultBodyLimit::disable())
}

/// What `GET /` says to programs.
pub(crate) fn status() -> Value {
    json!({ "ok": true, "version": version::NEWEST })
}

/// The body of an error.
pub(crate) fn error(fault: &Fault, id: &str) -> Value {
    json!({
        "error_code": fault.code,
        "title": fault.kind.title(),
        "message": fault.message,
        "request_id": id,
    })
}

/// A time as clients read it.
fn date(seconds: u64) -> String {
    sillage_audio::manifest::utc(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// What a user is called; nobody's things are the server's.
fn user_id(owner: Option<Owner>) -> String {
    owner.map_or_else(
        || "sillage".to_owned(),
        |owner| format!("user_{:08x}", owner.0),
    )
}

/// A response that says no more than that it is done.
fn nothing() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
