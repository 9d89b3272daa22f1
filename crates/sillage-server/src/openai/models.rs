//! What models there are.

use crate::app::App;
use crate::fault::Fault;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;

/// The name of the voice model.
pub(crate) const VOICE_MODEL: &str = "sillage-voice";

fn all(app: &App) -> Vec<Value> {
    let model = |id: &str, about: Value| json!({ "id": id, "object": "model", "created": 0, "owned_by": "sillage", "sillage": about });
    let texts = app.texts.iter().map(|text| {
        let about = json!({
            "kind": "text", "parameters": text.parameters, "vocabulary": text.vocab,
            "state_bytes": text.layout.bytes(0), "state_bytes_per_token": text.layout.bytes_per_token(),
            "chat_template": text.template.is_some(),
        });
        model(&text.id, about)
    });
    let voice = model(
        VOICE_MODEL,
        json!({ "kind": "voice", "voices": app.voices.common().len() }),
    );
    texts.chain([voice]).collect()
}

/// `GET /v1/models`.
pub(super) async fn list(State(app): State<Arc<App>>) -> Response {
    crate::http::answer(&json!({ "object": "list", "data": all(&app) }))
}

/// `GET /v1/models/{id}`.
pub(super) async fn retrieve(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let found = all(&app)
        .into_iter()
        .find(|model| model["id"] == id.as_str());
    found
        .map(|model| crate::http::answer(&model))
        .ok_or_else(|| {
            let shown = crate::fault::shown(&id, 80);
            Fault::not_found(
                "model_not_found",
                format!("there is no model '{shown}': GET /v1/models lists them"),
            )
        })
}
