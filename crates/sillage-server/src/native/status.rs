//! Figures and probes.

use crate::app::App;
use crate::fault::{Fault, Kind};
use crate::http;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use sillage_state::store::Usage;
use sillage_voice::cloning::consent_sentence;
use std::sync::Arc;

/// `GET /healthz`: the process lives.
pub(super) async fn alive() -> Response {
    http::answer(&json!({ "status": "ok" }))
}

/// `GET /readyz`: requests can be taken, and what they leave can be kept.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Response, Fault> {
    if app.is_closing() {
        return Err(Fault::new(
            Kind::Busy,
            "shutting_down",
            "the server is about to stop",
        ));
    }
    http::blocking(move || {
        let checked = app.records.check();
        checked.map_err(|error| {
            Fault::new(Kind::Busy, "store_unavailable", error.to_string()).retry_after(2)
        })
    })
    .await?;
    Ok(http::answer(&json!({ "status": "ready" })))
}

/// `GET /metrics`, in Prometheus' text form.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    app.measure();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([("content-type", kind)], app.metrics.text()).into_response()
}

/// `GET /v1/stats`: the same for a page that shows them live.
pub(super) async fn stats(State(app): State<Arc<App>>) -> Response {
    let metrics = &app.metrics;
    let mut states = Usage::default();
    for usage in app.texts.iter().map(|model| model.store.usage()) {
        states.memory_bytes += usage.memory_bytes;
        states.memory_entries += usage.memory_entries;
        states.disk_bytes += usage.disk_bytes;
        states.disk_entries += usage.disk_entries;
        states.memory_hits += usage.memory_hits;
        states.disk_hits += usage.disk_hits;
        states.misses += usage.misses;
        states.dropped += usage.dropped;
    }
    http::answer(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": metrics.uptime(),
        "sessions": metrics.sessions.get(),
        "sessions_max": app.config.max_sessions,
        "text": {
            "model": app.texts.first().map(|m| &m.id),
            "sessions": metrics.text_sessions.get(),
            "waiting": metrics.text_waiting.get(),
            "read_tokens": metrics.tokens_read.get(),
            "reused_tokens": metrics.tokens_reused.get(),
            "written_tokens": metrics.tokens_written.get(),
            "tokens_per_s": metrics.tokens_per_second(),
        },
        "voice": {
            "model": crate::openai::VOICE_MODEL,
            "streams": app.speech.streams(),
            "seconds_spoken": metrics.voice_seconds.get(),
            "first_audio_ms": metrics.recent_first_audio(),
            "underruns": metrics.voice_underruns.get(),
        },
        "states": {
            "memory_bytes": states.memory_bytes,
            "memory_entries": states.memory_entries,
            "disk_bytes": states.disk_bytes,
            "disk_entries": states.disk_entries,
            "budget_bytes": app.config.state_budget,
            "memory_hits": states.memory_hits,
            "disk_hits": states.disk_hits,
            "misses": states.misses,
            "dropped": states.dropped,
        },
    }))
}

/// `GET /v1/consent?name=NAME`: what a speaker has to say.
pub(super) async fn consent(uri: Uri) -> Result<Response, Fault> {
    let name = http::query(&uri).remove("name").unwrap_or_default();
    let name = crate::voices::check_name(&name)?;
    Ok(http::answer(
        &json!({ "name": name, "sentence": consent_sentence(name) }),
    ))
}
