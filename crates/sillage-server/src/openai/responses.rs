//! `POST /v1/responses`: answers that are kept, with the state after them.
//!
//! `previous_response_id` goes on from the stored state: a new turn costs its own
//! tokens, however long the conversation. Any answer can be gone on from, more
//! than once: that is a fork.

use super::chat::{self, Said};
use super::options::Options;
use super::shapes::{self, Answer, Usage};
use super::tools::{Call, Sieve, Tools};
use crate::app::App;
use crate::fault::Fault;
use crate::http;
use crate::keys::Caller;
use crate::text::{Ask, Conversation, Done, Event, Prompt, TextModel, Writing};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use sillage_engine::Reason;
use sillage_formats::Message;
use std::sync::Arc;

#[derive(Deserialize)]
struct Asked {
    model: Option<String>,
    input: Option<Value>,
    instructions: Option<String>,
    previous_response_id: Option<String>,
    max_output_tokens: Option<u64>,
    stream: Option<bool>,
    store: Option<bool>,
    tools: Option<Value>,
    tool_choice: Option<Value>,
    text: Option<Value>,
    metadata: Option<Value>,
    #[serde(flatten)]
    options: Options,
}

/// A checked request.
struct Work {
    id: String,
    messages: Vec<Message>,
    prompt: Prompt,
    ask: Ask,
    tools: Option<Tools>,
    parent: Option<String>,
    store: bool,
    /// The client said how long the answer may be; where it did not, the usual
    /// length is a length like any other.
    limited: bool,
    /// The response without what is written.
    head: Value,
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Fault> {
    let asked: Asked = http::json(&app, body).await?;
    let before = http::conversation(&app, caller, asked.previous_response_id.as_ref()).await?;
    let model = app.text_after(before.as_ref(), asked.model.as_deref())?;
    let name = model.id.clone();
    let permit = app.admit()?;
    let streamed = asked.stream.unwrap_or(false);
    let (work, writing) = http::with_model(&app, name, move |app, model| {
        let work = check(app, model, &asked, before)?;
        let writing = model.begin(caller.owner.0, &work.prompt, work.ask.clone())?;
        Ok((work, writing))
    })
    .await?;
    if streamed {
        let (pieces, body) = http::body(&app);
        let (id, app) = (model.id.clone(), Arc::clone(&app));
        tokio::spawn(async move {
            let _permit = permit;
            stream(&app, caller, &id, &work, writing, pieces).await;
        });
        return Ok(http::events(body));
    }
    let answer = Answer::of(writing).await?;
    let mut sieve = Sieve::new(work.tools.clone());
    sieve.push(&answer.text);
    let (said, _, calls) = sieve.finish();
    let written = Written::new(&said, calls);
    let (text, done) = (&answer.text, &answer.done);
    let response = finish(&app, caller, model, &work, text, &written, done).await?;
    Ok(http::answer(&response))
}

fn check(
    app: &App,
    model: &TextModel,
    asked: &Asked,
    before: Option<Conversation>,
) -> Result<Work, Fault> {
    let mut messages = before
        .as_ref()
        .map_or_else(Vec::new, |b| b.messages.clone());
    if let Some(instructions) = asked.instructions.as_ref().filter(|i| !i.is_empty()) {
        let system = Message::new("system", instructions.clone());
        // Instructions hold for the conversation; others in their place mean
        // that it is read anew.
        match messages.first_mut().filter(|first| first.role == "system") {
            Some(first) => *first = system,
            None => messages.insert(0, system),
        }
    }
    messages.extend(input(asked.input.as_ref())?);
    if messages.is_empty() {
        return Err(Fault::bad(
            "input",
            "there is no input: give a text or messages",
        ));
    }
    let mut tools = Tools::parse(asked.tools.as_ref(), asked.tool_choice.as_ref())?;
    if let Some(tools) = &mut tools {
        let source = model.template.as_ref().map(|template| template.source());
        tools.settle(source, messages.last().is_some_and(|m| m.role == "tool"));
    }
    let mut ask = asked.options.ask(app, model, asked.max_output_tokens)?;
    if asked.text.as_ref().is_some_and(|text| !text.is_object()) {
        return Err(Fault::bad("text", "text is an object with a format in it"));
    }
    let format = asked
        .text
        .as_ref()
        .and_then(|text| text.get("format"))
        .filter(|f| !f.is_null());
    let wanted = chat::schema(format)?;
    ask.schema = tools.as_ref().and_then(Tools::schema).or(wanted);
    let variables = tools.as_ref().map_or(Value::Null, Tools::variables);
    let prompt = chat::prompt(app, model, &messages, &variables, before.as_ref())?;
    let id = format!("resp_{}", uuid::Uuid::new_v4().simple());
    let head = json!({
        "id": id, "object": "response", "created_at": crate::now(), "status": "in_progress",
        "error": null, "incomplete_details": null, "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens, "model": model.id, "output": [],
        "parallel_tool_calls": false, "previous_response_id": asked.previous_response_id,
        "store": asked.store.unwrap_or(true), "temperature": round(ask.sampling.temperature),
        "text": { "format": format.cloned().unwrap_or_else(|| json!({ "type": "text" })) },
        "tool_choice": asked.tool_choice.clone().unwrap_or_else(|| "auto".into()),
        "tools": asked.tools.clone().unwrap_or_else(|| json!([])),
        "top_p": round(ask.sampling.top_p), "truncation": "disabled", "usage": null,
        "metadata": asked.metadata.clone().unwrap_or_else(|| json!({})),
    });
    Ok(Work {
        id,
        messages,
        prompt,
        ask,
        tools,
        parent: before.map(|b| b.id),
        store: asked.store.unwrap_or(true),
        limited: asked.max_output_tokens.is_some(),
        head,
    })
}

/// A setting as it was written, not as the nearest f32 reads in f64.
fn round(value: f32) -> f64 {
    (f64::from(value) * 1e6).round() / 1e6
}

/// The messages of an input: a text, or items.
fn input(given: Option<&Value>) -> Result<Vec<Message>, Fault> {
    let items = match given {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(text)) => return Ok(vec![Message::new("user", text.clone())]),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(Fault::bad("input", "input is a text or a list of items")),
    };
    let mut messages = Vec::new();
    for item in items {
        if !(item["type"].is_null() || item["type"].is_string()) {
            return Err(Fault::bad(
                "input",
                "an item's type is a word, such as message",
            ));
        }
        let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        let message = match item["type"].as_str() {
            None | Some("message") => {
                let said: Said = serde_json::from_value(item.clone()).map_err(|error| {
                    Fault::bad("input", format!("an item is no message: {error}"))
                })?;
                said.message()?
            }
            Some("function_call") => {
                let mut message = Message::new("assistant", "");
                let call = Call {
                    id: text("call_id"),
                    name: text("name"),
                    arguments: text("arguments"),
                };
                let calls = json!([call.json()]);
                message.extra.insert("tool_calls".to_owned(), calls);
                message
            }
            Some("function_call_output") => {
                let mut message = Message::new("tool", chat::content(Some(&item["output"]))?);
                let id = text("call_id").into();
                message.extra.insert("tool_call_id".to_owned(), id);
                message
            }
            Some("reasoning") => continue,
            Some(other) => {
                let message = format!("items of type {other} are not read here: give messages");
                return Err(Fault::bad("input", message));
            }
        };
        messages.push(message);
    }
    Ok(messages)
}

/// What was written, as items of the output.
struct Written {
    said: String,
    calls: Vec<Call>,
    message_id: String,
}

impl Written {
    fn new(said: &str, calls: Vec<Call>) -> Self {
        Self {
            said: said.to_owned(),
            calls,
            message_id: format!("msg_{}", uuid::Uuid::new_v4().simple()),
        }
    }

    fn message(&self, status: &str) -> Value {
        let content = match status {
            "in_progress" => json!([]),
            _ => json!([self.part()]),
        };
        json!({ "id": self.message_id, "type": "message", "role": "assistant", "status": status, "content": content })
    }

    fn part(&self) -> Value {
        json!({ "type": "output_text", "text": self.said, "annotations": [], "logprobs": [] })
    }

    fn call(call: &Call, status: &str) -> Value {
        json!({
            "id": format!("fc_{}", call.id.trim_start_matches("call_")), "type": "function_call",
            "call_id": call.id, "name": call.name, "arguments": call.arguments, "status": status,
        })
    }

    fn items(&self) -> Vec<Value> {
        let mut items = Vec::new();
        if self.calls.is_empty() || !self.said.is_empty() {
            items.push(self.message("completed"));
        }
        items.extend(self.calls.iter().map(|call| Self::call(call, "completed")));
        items
    }
}

/// The complete response; kept, if it is to be, before it is told.
async fn finish(
    app: &Arc<App>,
    caller: Caller,
    model: &TextModel,
    work: &Work,
    text: &str,
    written: &Written,
    done: &Done,
) -> Result<Value, Fault> {
    let mut response = work.head.clone();
    let mut usage = Usage::default();
    usage.add(done, true);
    response["usage"] = usage.responses_json();
    response["output"] = written.items().into();
    response["status"] = "completed".into();
    if work.limited && done.reason == Reason::Length {
        response["status"] = "incomplete".into();
        response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
    }
    response["sillage"] = shapes::extras(done, None);
    let conversation = work.store.then(|| {
        let mut messages = work.messages.clone();
        let mut answer = Message::new("assistant", written.said.clone());
        if !written.calls.is_empty() {
            let calls: Vec<Value> = written.calls.iter().map(Call::json).collect();
            answer.extra.insert("tool_calls".to_owned(), calls.into());
        }
        messages.push(answer);
        let mut kept = Conversation::new("resp", caller.owner, &model.id);
        kept.id.clone_from(&work.id);
        kept.parent.clone_from(&work.parent);
        kept.messages = messages;
        kept.answer = Some(response.clone());
        kept
    });
    chat::keep(app, model, &work.prompt, text, done, conversation).await?;
    Ok(response)
}

/// Sends the events of one response, numbered.
struct Teller {
    pieces: http::Pieces,
    number: usize,
}

impl Teller {
    async fn tell(&mut self, kind: &str, mut event: Value) -> bool {
        event["type"] = kind.into();
        event["sequence_number"] = self.number.into();
        self.number += 1;
        let text = format!("event: {kind}\ndata: {event}\n\n");
        self.pieces.send(text.into_bytes()).await
    }
}

async fn stream(
    app: &Arc<App>,
    caller: Caller,
    model: &str,
    work: &Work,
    mut writing: Writing,
    pieces: http::Pieces,
) {
    let Ok(model) = app.text(model) else { return };
    let mut teller = Teller { pieces, number: 0 };
    for kind in ["response.created", "response.in_progress"] {
        if !teller.tell(kind, json!({ "response": work.head })).await {
            return;
        }
    }
    let mut written = Written::new("", Vec::new());
    let mut sieve = Sieve::new(work.tools.clone());
    let (mut text, mut open) = (String::new(), false);
    loop {
        let (shown, done) = match writing.next().await {
            Some(Event::Piece(piece)) => {
                text.push_str(&piece.text);
                (sieve.push(&piece.text), None)
            }
            Some(Event::Done(done)) => {
                let (said, rest, calls) = std::mem::take(&mut sieve).finish();
                (written.said, written.calls) = (said, calls);
                (rest, Some(done))
            }
            Some(Event::Failed(fault)) => return failed(teller, work, &fault).await,
            None => return,
        };
        // An answer of calls alone has no message.
        let begins = done.is_some() && written.calls.is_empty();
        if !open && (!shown.is_empty() || begins) {
            open = true;
            if !begin(&mut teller, &written).await {
                return;
            }
        }
        let id = &written.message_id;
        let delta = json!({ "item_id": id, "output_index": 0, "content_index": 0, "delta": shown, "logprobs": [] });
        if !shown.is_empty() && !teller.tell("response.output_text.delta", delta).await {
            return;
        }
        if let Some(done) = done {
            return end(
                app, caller, model, work, teller, &text, &written, open, &done,
            )
            .await;
        }
    }
}

/// The message begins.
async fn begin(teller: &mut Teller, written: &Written) -> bool {
    let id = &written.message_id;
    let added = json!({ "output_index": 0, "item": written.message("in_progress") });
    let empty = json!({ "type": "output_text", "text": "", "annotations": [], "logprobs": [] });
    let part = json!({ "item_id": id, "output_index": 0, "content_index": 0, "part": empty });
    teller.tell("response.output_item.added", added).await
        && teller.tell("response.content_part.added", part).await
}

async fn end(
    app: &Arc<App>,
    caller: Caller,
    model: &TextModel,
    work: &Work,
    mut teller: Teller,
    text: &str,
    written: &Written,
    open: bool,
    done: &Done,
) {
    let id = &written.message_id;
    if open {
        let at = json!({ "item_id": id, "output_index": 0, "content_index": 0 });
        let mut whole = at.clone();
        (whole["text"], whole["logprobs"]) = (written.said.clone().into(), json!([]));
        let mut part = at;
        part["part"] = written.part();
        let item = json!({ "output_index": 0, "item": written.message("completed") });
        teller.tell("response.output_text.done", whole).await;
        teller.tell("response.content_part.done", part).await;
        teller.tell("response.output_item.done", item).await;
    }
    for (number, call) in written.calls.iter().enumerate() {
        let index = number + usize::from(open);
        let item = Written::call(call, "completed");
        let mut empty = Written::call(call, "in_progress");
        empty["arguments"] = "".into();
        let id = item["id"].clone();
        teller
            .tell(
                "response.output_item.added",
                json!({ "output_index": index, "item": empty }),
            )
            .await;
        let delta = json!({ "item_id": id, "output_index": index, "delta": call.arguments });
        teller
            .tell("response.function_call_arguments.delta", delta)
            .await;
        let all = json!({ "item_id": id, "output_index": index, "name": call.name, "arguments": call.arguments });
        teller
            .tell("response.function_call_arguments.done", all)
            .await;
        teller
            .tell(
                "response.output_item.done",
                json!({ "output_index": index, "item": item }),
            )
            .await;
    }
    match finish(app, caller, model, work, text, written, done).await {
        Ok(response) => {
            let kind = match response["status"].as_str() {
                Some("incomplete") => "response.incomplete",
                _ => "response.completed",
            };
            teller.tell(kind, json!({ "response": response })).await;
            teller.pieces.finish().await;
        }
        Err(fault) => failed(teller, work, &fault).await,
    }
}

async fn failed(mut teller: Teller, work: &Work, fault: &Fault) {
    let mut response = work.head.clone();
    response["status"] = "failed".into();
    response["error"] = json!({ "code": fault.code, "message": fault.message });
    teller
        .tell("response.failed", json!({ "response": response }))
        .await;
    teller.pieces.finish().await;
}

/// `GET /v1/responses/{id}`.
pub(super) async fn retrieve(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let found = http::blocking(move || app.conversation(caller.owner, &id)).await?;
    let answer = found.answer.ok_or_else(|| {
        Fault::not_found(
            "not_found",
            "this is a state and no answer: GET /v1/states/{id}",
        )
    })?;
    Ok(http::answer(&answer))
}

/// `DELETE /v1/responses/{id}`.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let removed = http::blocking(move || app.forget_conversation(caller.owner, &id).map(|()| id));
    Ok(http::deleted("response.deleted", &removed.await?))
}
