//! The tokenizer, for programs that measure (lm-eval's remote tokenizer).

use crate::app::App;
use crate::fault::Fault;
use crate::http;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// `GET /tokenizer_info`.
pub(super) async fn info(State(app): State<Arc<App>>) -> Result<Response, Fault> {
    let model = app.text("")?;
    let text = |id: Option<u32>| id.map(|id| model.tokenizer.decode(&[id], true));
    let end = text(model.defaults.eos.first().copied());
    Ok(http::answer(&json!({
        "tokenizer_class": "sillage",
        "eos_token": end.clone().unwrap_or_default(),
        "bos_token": text(model.defaults.bos).or(end.clone()),
        "pad_token": end,
        "chat_template": model.template.as_ref().map_or("", |t| t.source()),
    })))
}

/// A text to encode.
#[derive(Deserialize)]
struct Encode {
    prompt: String,
    add_special_tokens: Option<bool>,
    model: Option<String>,
}

/// `POST /tokenize`.
pub(super) async fn tokenize(State(app): State<Arc<App>>, body: Body) -> Result<Response, Fault> {
    let asked: Encode = http::json(&app, body).await?;
    http::blocking(move || {
        let model = app.text(asked.model.as_deref().unwrap_or_default())?;
        let special = asked.add_special_tokens.unwrap_or(true);
        let tokens = model.encode(&asked.prompt, special)?;
        let most = app.config.limits.prompt_tokens;
        Ok(http::answer(&json!({
            "tokens": tokens, "count": tokens.len(), "max_model_len": most,
        })))
    })
    .await
}

/// Tokens to decode.
#[derive(Deserialize)]
struct Decode {
    tokens: Vec<u32>,
    model: Option<String>,
}

/// `POST /detokenize`.
pub(super) async fn detokenize(State(app): State<Arc<App>>, body: Body) -> Result<Response, Fault> {
    let asked: Decode = http::json(&app, body).await?;
    let model = app.text(asked.model.as_deref().unwrap_or_default())?;
    Ok(http::answer(
        &json!({ "prompt": model.tokenizer.decode(&asked.tokens, true) }),
    ))
}
