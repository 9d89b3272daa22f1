//! `/v1/states`: conversations' states as things: saved, forked, gone on from,
//! downloaded, uploaded, deleted.
//!
//! A state is gone on from by naming it: `state` in completions and chat,
//! `previous_response_id` in responses.

use crate::app::App;
use crate::fault::{Fault, Kind};
use crate::http;
use crate::keys::{Caller, Owner};
use crate::records;
use crate::text::{Ask, Conversation, Prompt, TextModel};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use sillage_formats::Message;
use sillage_state::{Meta, Precision, Snapshot};
use std::sync::Arc;

/// The entry of a state file that holds the conversation, as `sillage run` has it.
const META_MESSAGES: &str = "messages";
/// States of one page of the list.
const PAGE: usize = 100;

/// What becomes a state.
#[derive(Deserialize)]
struct Asked {
    /// A stored answer or state to save under a name of its own.
    from: Option<String>,
    /// Or what is to be read: a model and a text, messages, or tokens.
    model: Option<String>,
    text: Option<String>,
    messages: Option<Vec<Message>>,
    tokens: Option<Vec<u32>>,
    name: Option<String>,
}

fn describe(state: &Conversation) -> Value {
    json!({
        "id": state.id, "object": "state", "created_at": state.created, "model": state.model,
        "name": state.name, "parent": state.parent, "tokens": state.read, "bytes": state.bytes,
        "messages": state.messages,
    })
}

/// A new record, nothing read yet.
fn fresh(caller: Caller, model: &str, name: Option<String>) -> Result<Conversation, Fault> {
    if name.as_ref().is_some_and(|n| n.chars().count() > 200) {
        return Err(Fault::bad("name", "a state's name may have 200 characters"));
    }
    let mut state = Conversation::new("state", caller.owner, model);
    (state.name, state.exact) = (name, true);
    Ok(state)
}

/// `GET /v1/states?limit=&after=`: the latest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, Fault> {
    let query = http::query(&uri);
    let limit = match query.get("limit") {
        None => PAGE,
        Some(text) => text
            .parse()
            .ok()
            .filter(|n| (1..=1000).contains(n))
            .ok_or_else(|| Fault::bad("limit", "limit is a number from 1 to 1000"))?,
    };
    let after = query.get("after").cloned();
    http::blocking(move || {
        let mut states = own(&app, caller.owner)?;
        states.sort_by(|a, b| b.created.cmp(&a.created).then(a.id.cmp(&b.id)));
        let from = after.and_then(|id| Some(states.iter().position(|s| s.id == id)? + 1));
        let rest = states.get(from.unwrap_or(0)..).unwrap_or_default();
        let page: Vec<Value> = rest.iter().take(limit).map(describe).collect();
        let more = rest.len() > limit;
        Ok(http::answer(
            &json!({ "object": "list", "data": page, "has_more": more }),
        ))
    })
    .await
}

fn own(app: &App, owner: Owner) -> Result<Vec<Conversation>, Fault> {
    let mut found = Vec::new();
    for id in app
        .records
        .list(records::Kind::State)
        .map_err(Fault::from)?
    {
        match app.conversation(owner, &id) {
            Ok(state) => found.push(state),
            // Somebody else's, or deleted a moment ago.
            Err(fault) if fault.kind == Kind::NotFound => {}
            // One damaged record must not hide the others; it was logged.
            Err(fault) if fault.kind == Kind::Internal => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(found)
}

/// `POST /v1/states`: saves a stored answer's state, or reads a text into one.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Fault> {
    let asked: Asked = http::json(&app, body).await?;
    if let Some(from) = asked.from {
        return copy(app, caller, from, asked.name).await;
    }
    let _permit = app.admit()?;
    let name = asked.model.clone().unwrap_or_default();
    let (mut state, tokens) = {
        let app = Arc::clone(&app);
        http::blocking(move || prepare(&app, caller, &name, asked)).await?
    };
    let snapshot = read(app.text(&state.model)?, caller.owner, tokens).await?;
    state.note(&snapshot);
    keep(app.clone(), state, Some(snapshot)).await
}

/// What is to be read, as a record and its tokens.
fn prepare(
    app: &App,
    caller: Caller,
    name: &str,
    asked: Asked,
) -> Result<(Conversation, Vec<u32>), Fault> {
    let model = app.text(name)?;
    let mut state = fresh(caller, &model.id, asked.name)?;
    let tokens = match (asked.messages, asked.text, asked.tokens) {
        (Some(messages), None, None) if !messages.is_empty() => {
            state.exact = false;
            let prompt = model.chat(&messages, &Value::Null, None)?;
            state.messages = messages;
            prompt.tokens
        }
        (None, Some(text), None) => model.plain(&text)?.tokens,
        (None, None, Some(tokens)) => tokens,
        _ => {
            let message = "say what becomes a state: from (an answer's or a state's id), or one of text, messages and tokens";
            return Err(Fault::bad("from", message));
        }
    };
    let most = app.config.limits.prompt_tokens;
    if tokens.len() > most {
        return Err(Fault::bad(
            "text",
            format!("at most {most} tokens are taken"),
        ));
    }
    Ok((state, tokens))
}

/// Reads tokens to their end.
async fn read(model: &TextModel, owner: Owner, tokens: Vec<u32>) -> Result<Snapshot, Fault> {
    let prompt = Prompt {
        tokens,
        ..Prompt::default()
    };
    let writing = model.begin(owner.0, &prompt, Ask::default())?;
    let (_, done) = writing.finish().await?;
    done.state
        .ok_or_else(|| Fault::internal("a text that was read left no state"))
}

async fn keep(
    app: Arc<App>,
    state: Conversation,
    snapshot: Option<Snapshot>,
) -> Result<Response, Fault> {
    http::blocking(move || {
        app.keep_conversation(&state, snapshot.as_ref())?;
        Ok(http::answer(&describe(&state)))
    })
    .await
}

async fn copy(
    app: Arc<App>,
    caller: Caller,
    from: String,
    name: Option<String>,
) -> Result<Response, Fault> {
    let mut state = fresh(caller, "", name)?;
    let before = {
        let app = Arc::clone(&app);
        http::blocking(move || app.conversation(caller.owner, &from)).await?
    };
    state.model = before.model;
    state.parent = Some(before.id);
    (state.messages, state.tokens) = (before.messages, before.tokens);
    (state.read, state.bytes, state.exact) = (before.read, before.bytes, before.exact);
    // The state itself is the same bytes, found by the same tokens: a fork
    // copies nothing.
    keep(app, state, None).await
}

/// `POST /v1/states/{id}/fork`.
pub(super) async fn fork(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Fault> {
    #[derive(Default, Deserialize)]
    struct Named {
        name: Option<String>,
    }
    let bytes = http::bytes(&app, body, app.config.limits.body_bytes).await?;
    let named: Named = match bytes.is_empty() {
        true => Named::default(),
        false => http::parse(&bytes)?,
    };
    copy(app, caller, id, named.name).await
}

/// `GET /v1/states/{id}`.
pub(super) async fn retrieve(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let state = http::blocking(move || app.conversation(caller.owner, &id)).await?;
    Ok(http::answer(&describe(&state)))
}

/// `DELETE /v1/states/{id}`: the name goes; the bytes go when room is needed.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let removed = http::blocking(move || app.forget_conversation(caller.owner, &id).map(|()| id));
    Ok(http::deleted("state.deleted", &removed.await?))
}

/// `GET /v1/states/{id}/content`: the state's file, as `sillage run --load-state`
/// takes it.
pub(super) async fn download(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let (state, kept) = {
        let app = Arc::clone(&app);
        let found = http::blocking(move || {
            let state = app.conversation(caller.owner, &id)?;
            let model = app.text_after(Some(&state), None)?;
            let kept = model.state(caller.owner.0, state.tokens_read());
            Ok((state, kept))
        });
        found.await?
    };
    let model = app.text_after(Some(&state), None)?;
    let snapshot = match kept {
        Some(snapshot) => snapshot,
        // It had to make way: what it read is known, so it is read again.
        None => {
            let _permit = app.admit()?;
            read(model, caller.owner, state.tokens_read().to_vec()).await?
        }
    };
    let pairs: Vec<(&str, &str)> = state
        .messages
        .iter()
        .map(|m| (m.role.as_str(), m.content.as_str()))
        .collect();
    let mut meta = Meta::default()
        .with_tokens(state.tokens.clone())
        .with("model", state.model.clone());
    if !pairs.is_empty() {
        let text = serde_json::to_string(&pairs).map_err(Fault::internal)?;
        meta = meta.with(META_MESSAGES, text);
    }
    let mut bytes = Vec::new();
    let written = snapshot
        .with_meta(meta)
        .write_to(&mut bytes, Precision::Exact);
    written.map_err(Fault::internal)?;
    let name = format!("attachment; filename=\"{}.state\"", state.id);
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, bytes).into_response())
}

/// `POST /v1/states/content?model=&name=`: a state's file becomes a state.
pub(super) async fn upload(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    body: Body,
) -> Result<Response, Fault> {
    let query = http::query(&uri);
    let bytes = http::bytes(&app, body, app.config.limits.state_bytes).await?;
    http::blocking(move || {
        let model = app.text(query.get("model").map_or("", String::as_str))?;
        let refused = |message: String| Fault::new(Kind::Unprocessable, "state_refused", message);
        let snapshot = Snapshot::read_from(&bytes[..], &model.layout);
        let snapshot = snapshot.map_err(|error| refused(error.to_string()))?;
        let mut state = fresh(caller, &model.id, query.get("name").cloned())?;
        state.note(&snapshot);
        if state.read == 0 || state.read > state.tokens.len() {
            let message = "this state was saved without the tokens that it has read, so nobody could go on from it";
            return Err(refused(message.to_owned()));
        }
        if state.tokens.iter().any(|token| *token as usize >= model.vocab) {
            return Err(refused("it notes tokens that the model does not have".to_owned()));
        }
        if let Some(pairs) = snapshot.meta().entries.get(META_MESSAGES) {
            let pairs: Vec<(String, String)> = serde_json::from_str(pairs)
                .map_err(|error| refused(format!("its conversation cannot be read: {error}")))?;
            let messages = pairs.into_iter().map(|(role, text)| Message::new(role, text));
            state.messages = messages.collect();
        }
        model.keep(caller.owner.0, snapshot.clone())?;
        app.keep_conversation(&state, Some(&snapshot))?;
        Ok(http::answer(&describe(&state)))
    })
    .await
}
