//! The rest of what clients call: tokens, models, credits; and what this server
//! does not do, with what to do instead.

use super::paging::Query;
use crate::app::App;
use crate::fault::Fault;
use crate::http;
use crate::keys::{Caller, LONGEST_TOKEN};
use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Seconds that a token lives where a client does not say.
const USUAL_TOKEN: u64 = 60;

/// Paths that are not served, and what to do instead.
const MISSING: [(&str, &str); 12] = [
    ("/voice-changer", CHANGER),
    ("/voice-changer/{*rest}", CHANGER),
    ("/stt", LISTENING),
    ("/stt/{*rest}", LISTENING),
    ("/agents", AGENTS),
    ("/agents/{*rest}", AGENTS),
    ("/fine-tunes", TUNING),
    ("/fine-tunes/{*rest}", TUNING),
    ("/datasets", TUNING),
    ("/datasets/{*rest}", TUNING),
    ("/calls", AGENTS),
    ("/calls/{*rest}", AGENTS),
];
const CHANGER: &str = "this server does not change the voice of a recording: send its words to POST /tts/bytes with the voice that is wanted";
const LISTENING: &str = "this server speaks and does not listen: turn speech into text with a recogniser of your own, such as whisper.cpp";
const AGENTS: &str = "this server has no agents: join its text (POST /v1/chat/completions) and its speech (GET /tts/websocket) with LiveKit or Pipecat";
const TUNING: &str = "voices are not trained here: make one of a clip of some seconds with POST /voices/clone; recipes/ says how the models themselves are trained";

pub(super) fn router() -> Router<Arc<App>> {
    let mut router = Router::new()
        .route("/access-token", post(token))
        .route("/access-token/", post(token))
        .route("/models", get(models))
        .route("/models/", get(models))
        .route("/usage/credits", get(credits));
    for (path, instead) in MISSING {
        router = router.route(
            path,
            any(move || async move { Fault::not_implemented(instead) }),
        );
        if !path.ends_with('}') {
            let slash = format!("{path}/");
            router = router.route(
                &slash,
                any(move || async move { Fault::not_implemented(instead) }),
            );
        }
    }
    router
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wanted {
    grants: Option<Value>,
    expires_in: Option<f64>,
}

/// A token that may speak for a while, for a client that must not have the key.
async fn token(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Fault> {
    let bytes = http::bytes(&app, body, app.config.limits.body_bytes).await?;
    let wanted: Wanted = match bytes.is_empty() {
        true => Wanted::default(),
        false => http::parse(&bytes)?,
    };
    let seconds = wanted.expires_in.unwrap_or(USUAL_TOKEN as f64);
    if !(1.0..=LONGEST_TOKEN as f64).contains(&seconds) {
        let message = format!("expires_in is a number of seconds from 1 to {LONGEST_TOKEN}");
        return Err(Fault::bad("expires_in", message));
    }
    let speech = wanted.grants.is_none_or(|grants| grants["tts"] == true);
    let token = app.keys.token(caller, speech, seconds as u64);
    Ok(http::answer(&json!({ "token": token })))
}

/// There is one voice model; all names mean it.
async fn models(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Fault> {
    let print = app.voices.model_print();
    let all = [json!({
        "id": "sillage-voice", "name": "Sillage voice", "fingerprint": print, "languages": ["en"],
        "description": "English in two accents; every other model name means this one",
        "capabilities": ["tts"], "type": "tts", "is_public": true, "owned_by": "sillage",
    })];
    let id = |model: &Value| model["id"].as_str().unwrap_or_default().to_owned();
    let ids: Vec<(String, &Value)> = all.iter().map(|m| (id(m), m)).collect();
    let page = super::paging::page(
        &ids,
        &Query::of(&uri),
        |(id, _)| id.as_str(),
        |(_, m)| (*m).clone(),
    );
    Ok(http::answer(&page?))
}

/// Nothing is counted here: whoever runs the server pays for its machine only.
async fn credits() -> Response {
    http::answer(&json!({
        "unlimited": true, "credits_used": 0, "credits_remaining": null, "credits_total": null, "data": [],
    }))
}
