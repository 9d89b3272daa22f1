//! OpenAI's protocol: models, completions, chat, responses, speech.
//!
//! Request types hold what this server acts on; other fields, and explicit
//! nulls, are ignored, as clients send many.

mod audio;
mod chat;
mod chat_stream;
mod completions;
mod models;
mod options;
mod responses;
mod shapes;
mod tokens;
mod tools;

pub(crate) use models::VOICE_MODEL;

use crate::app::App;
use crate::fault::{Fault, Kind};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::sync::Arc;

/// The routes.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::retrieve))
        .route("/v1/completions", post(completions::create))
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/responses", post(responses::create))
        .route(
            "/v1/responses/{id}",
            get(responses::retrieve).delete(responses::remove),
        )
        .route("/v1/embeddings", post(embeddings))
        .route("/tokenizer_info", get(tokens::info))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .merge(audio::router())
        // Bodies are limited where they are read, by the configuration.
        .layer(DefaultBodyLimit::disable())
}

/// What models here cannot do is said, not imitated.
async fn embeddings() -> Fault {
    Fault::not_implemented(
        "the models of this server write text and speak; none was trained for embeddings: use an embedding model elsewhere",
    )
}

/// The body of an error.
pub(crate) fn error(fault: &Fault) -> Value {
    let kind = match fault.kind {
        Kind::Unauthorized => "authentication_error",
        Kind::Forbidden => "permission_error",
        Kind::NotFound => "not_found_error",
        Kind::TooMany => "rate_limit_error",
        Kind::Internal | Kind::Busy | Kind::Timeout => "server_error",
        _ => "invalid_request_error",
    };
    json!({ "error": {
        "message": fault.message, "type": kind, "param": fault.param, "code": fault.code,
    } })
}
