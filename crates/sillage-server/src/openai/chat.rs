//! `POST /v1/chat/completions`.

use super::chat_stream::Telling;
use super::options::{Options, StreamOptions, top};
use super::shapes::{self, Answer, Usage};
use super::tools::{Sieve, Tools};
use crate::app::App;
use crate::fault::Fault;
use crate::http;
use crate::keys::Caller;
use crate::text::{Ask, Conversation, Done, Prompt, TextModel, Writing};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sillage_engine::Reason;
use sillage_formats::Message;
use std::sync::Arc;

#[derive(Deserialize)]
struct Asked {
    model: Option<String>,
    messages: Vec<Said>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    n: Option<usize>,
    logprobs: Option<bool>,
    top_logprobs: Option<i64>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    tools: Option<Value>,
    tool_choice: Option<Value>,
    response_format: Option<Value>,
    /// A stored answer or state to go on from.
    state: Option<String>,
    /// Keep the state afterwards.
    store: Option<bool>,
    #[serde(flatten)]
    options: Options,
}

/// A message as clients send it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Said {
    role: Option<String>,
    content: Option<Value>,
    name: Option<String>,
    tool_calls: Option<Value>,
    tool_call_id: Option<String>,
}

impl Said {
    /// As templates know it.
    ///
    /// # Errors
    /// If it holds what is no text.
    pub(super) fn message(&self) -> Result<Message, Fault> {
        let role = match self.role.as_deref() {
            None | Some("") => return Err(Fault::bad("messages", "every message needs a role")),
            // The newer name of the same.
            Some("developer") => "system",
            Some(role) => role,
        };
        let mut message = Message::new(role, content(self.content.as_ref())?);
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                message.extra.insert(name.to_owned(), value);
            }
        };
        put("name", self.name.clone().map(Value::String));
        put("tool_call_id", self.tool_call_id.clone().map(Value::String));
        put(
            "tool_calls",
            self.tool_calls.clone().filter(Value::is_array),
        );
        Ok(message)
    }
}

/// The text of a message's content: a string, or parts.
///
/// # Errors
/// If a part is no text.
pub(super) fn content(given: Option<&Value>) -> Result<String, Fault> {
    let parts = match given {
        None | Some(Value::Null) => return Ok(String::new()),
        Some(Value::String(text)) => return Ok(text.clone()),
        Some(Value::Array(parts)) => parts,
        Some(_) => {
            return Err(Fault::bad(
                "messages",
                "a message's content is a string or a list of parts",
            ));
        }
    };
    let mut text = String::new();
    for part in parts {
        match (
            part["type"].as_str(),
            part["text"].as_str().or_else(|| part["refusal"].as_str()),
        ) {
            (Some("text" | "input_text" | "output_text" | "refusal"), Some(more)) => {
                text.push_str(more)
            }
            (kind, _) => {
                let kind = kind.unwrap_or("unknown");
                let message =
                    format!("this model reads text only, not parts of type {kind}: leave them out");
                return Err(Fault::bad("messages", message));
            }
        }
    }
    Ok(text)
}

/// The schema that a response format asks for, in chat's form or in that of
/// responses.
///
/// # Errors
/// If the format is unknown.
pub(super) fn schema(format: Option<&Value>) -> Result<Option<Value>, Fault> {
    let Some(format) = format.filter(|f| !f.is_null()) else {
        return Ok(None);
    };
    let kind = match &format["type"] {
        Value::Null if format.is_object() => "text",
        kind => kind.as_str().unwrap_or_default(),
    };
    match kind {
        "text" => Ok(None),
        // The Hub's client puts a schema beside the word for any object.
        "json_object" => {
            let schema = ["value", "schema"]
                .iter()
                .find_map(|name| format.get(*name));
            let schema = schema.filter(|schema| schema.is_object()).cloned();
            Ok(Some(schema.unwrap_or_else(|| json!({ "type": "object" }))))
        }
        "json_schema" => {
            let inner = format.get("json_schema").unwrap_or(format);
            match &inner["schema"] {
                Value::Null => Ok(Some(json!({ "type": "object" }))),
                schema => Ok(Some(schema.clone())),
            }
        }
        other => {
            let message = format!("'{other}' is no format: text, json_object and json_schema are");
            Err(Fault::bad("response_format", message))
        }
    }
}

/// A checked request.
pub(super) struct Work {
    messages: Vec<Message>,
    pub(super) prompt: Prompt,
    ask: Ask,
    pub(super) n: usize,
    pub(super) tools: Option<Tools>,
    parent: Option<String>,
    store: bool,
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Fault> {
    let asked: Asked = http::json(&app, body).await?;
    let before = http::conversation(&app, caller, asked.state.as_ref()).await?;
    let permit = app.admit()?;
    let streamed = asked.stream.unwrap_or(false);
    let usage = asked.stream_options.and_then(|o| o.include_usage);
    let model = app.text_after(before.as_ref(), asked.model.as_deref())?;
    let name = model.id.clone();
    // A long conversation takes a while to become tokens, a schema a grammar.
    let (work, writings) = http::with_model(&app, name, move |app, model| {
        let work = check(app, model, &asked, before)?;
        let writings = begin(model, caller, &work)?;
        Ok((work, writings))
    })
    .await?;
    let head = json!({
        "id": format!("chatcmpl-{}", uuid::Uuid::new_v4().simple()),
        "created": crate::now(), "model": model.id,
        "system_fingerprint": format!("sillage-{}", env!("CARGO_PKG_VERSION")),
    });
    if streamed {
        let (pieces, body) = http::body(&app);
        let told = Telling::new(Arc::clone(&app), caller, head, work, pieces);
        let model = model.id.clone();
        tokio::spawn(async move {
            let _permit = permit;
            told.run(&model, writings, usage.unwrap_or(false)).await;
        });
        return Ok(http::events(body));
    }
    let mut answers = Vec::new();
    for writing in writings {
        answers.push(Answer::of(writing).await?);
    }
    whole(&app, caller, model, &work, answers, head).await
}

fn begin(model: &TextModel, caller: Caller, work: &Work) -> Result<Vec<Writing>, Fault> {
    let choice = |number: usize| {
        let mut ask = work.ask.clone();
        ask.sampling.seed = ask.sampling.seed.wrapping_add(number as u64);
        model.begin(caller.owner.0, &work.prompt, ask)
    };
    (0..work.n).map(choice).collect()
}

fn check(
    app: &App,
    model: &TextModel,
    asked: &Asked,
    before: Option<Conversation>,
) -> Result<Work, Fault> {
    if asked.messages.is_empty() {
        return Err(Fault::bad(
            "messages",
            "there are no messages: give at least one",
        ));
    }
    let mut messages = before
        .as_ref()
        .map_or_else(Vec::new, |b| b.messages.clone());
    for said in &asked.messages {
        messages.push(said.message()?);
    }
    let n = asked.n.unwrap_or(1);
    if n == 0 || n > app.config.limits.choices {
        let message = format!("n must be within 1 and {}", app.config.limits.choices);
        return Err(Fault::bad("n", message));
    }
    let mut tools = Tools::parse(asked.tools.as_ref(), asked.tool_choice.as_ref())?;
    if let Some(tools) = &mut tools {
        let source = model.template.as_ref().map(|template| template.source());
        tools.settle(source, messages.last().is_some_and(|m| m.role == "tool"));
    }
    let max_tokens = asked.max_completion_tokens.or(asked.max_tokens);
    let mut ask = asked.options.ask(app, model, max_tokens)?;
    let alternatives = top("top_logprobs", asked.top_logprobs)?;
    ask.logprobs = asked.logprobs.unwrap_or(false).then_some(alternatives);
    let wanted = schema(asked.response_format.as_ref())?;
    ask.schema = tools.as_ref().and_then(Tools::schema).or(wanted);
    let variables = tools.as_ref().map_or(Value::Null, Tools::variables);
    let prompt = prompt(app, model, &messages, &variables, before.as_ref())?;
    Ok(Work {
        messages,
        prompt,
        ask,
        n,
        tools,
        parent: before.map(|b| b.id),
        store: asked.store.unwrap_or(false),
    })
}

/// A conversation as tokens, within the server's limits.
///
/// # Errors
/// If it is too long, empty, or refused by the template.
pub(super) fn prompt(
    app: &App,
    model: &TextModel,
    messages: &[Message],
    variables: &Value,
    before: Option<&Conversation>,
) -> Result<Prompt, Fault> {
    let prompt = match before {
        // A state of plain text goes on as text.
        Some(before) if before.messages.is_empty() => {
            let text: Vec<&str> = messages.iter().map(|m| m.content.as_str()).collect();
            model.plain_after(before, &text.join("\n\n"))?
        }
        before => model.chat(messages, variables, before)?,
    };
    let (count, most) = (prompt.tokens.len(), app.config.limits.prompt_tokens);
    if count > most {
        return Err(Fault::bad(
            "messages",
            format!("the messages have {count} tokens and {most} are taken"),
        ));
    }
    if count == 0 {
        return Err(Fault::bad(
            "messages",
            "the messages hold no text: give some to answer",
        ));
    }
    Ok(prompt)
}

/// Keeps what was answered: the tokens of the text, and if asked the state under
/// a name of its own.
///
/// # Errors
/// If the state could be lost.
pub(super) async fn keep(
    app: &Arc<App>,
    model: &TextModel,
    prompt: &Prompt,
    said: &str,
    done: &Done,
    conversation: Option<Conversation>,
) -> Result<Option<String>, Fault> {
    let Some(snapshot) = done.state.clone() else {
        return Ok(None);
    };
    // What a stop string cut off was written all the same, so the text and the
    // tokens no longer agree.
    let exact = done.reason != Reason::Stopped;
    if exact {
        model.remember(prompt, said, snapshot.tokens().unwrap_or_default());
    }
    let Some(mut conversation) = conversation else {
        return Ok(None);
    };
    conversation.exact = exact;
    conversation.note(&snapshot);
    let id = conversation.id.clone();
    let app = Arc::clone(app);
    http::blocking(move || app.keep_conversation(&conversation, Some(&snapshot))).await?;
    Ok(Some(id))
}

impl Work {
    /// The conversation with this answer, if it is to be kept.
    pub(super) fn conversation(
        &self,
        caller: Caller,
        model: &TextModel,
        said: &str,
        calls: &[Value],
    ) -> Option<Conversation> {
        if !self.store || self.n > 1 {
            return None;
        }
        let mut messages = self.messages.clone();
        let mut answer = Message::new("assistant", said);
        if !calls.is_empty() {
            answer.extra.insert("tool_calls".to_owned(), calls.into());
        }
        messages.push(answer);
        let mut kept = Conversation::new("state", caller.owner, &model.id);
        kept.parent.clone_from(&self.parent);
        kept.messages = messages;
        Some(kept)
    }
}

async fn whole(
    app: &Arc<App>,
    caller: Caller,
    model: &TextModel,
    work: &Work,
    answers: Vec<Answer>,
    mut head: Value,
) -> Result<Response, Fault> {
    let (mut usage, mut choices) = (Usage::default(), Vec::new());
    for (index, answer) in answers.into_iter().enumerate() {
        usage.add(&answer.done, index == 0);
        let mut sieve = Sieve::new(work.tools.clone());
        sieve.push(&answer.text);
        let (said, _, calls) = sieve.finish();
        let calls: Vec<Value> = calls.iter().map(super::tools::Call::json).collect();
        let conversation = work.conversation(caller, model, &said, &calls);
        let state = keep(
            app,
            model,
            &work.prompt,
            &answer.text,
            &answer.done,
            conversation,
        )
        .await?;
        head["sillage"] = shapes::extras(&answer.done, state.as_deref());
        let mut message = Map::new();
        message.insert("role".to_owned(), "assistant".into());
        let text = match calls.is_empty() || !said.is_empty() {
            true => Value::String(said),
            false => Value::Null,
        };
        message.insert("content".to_owned(), text);
        message.insert("refusal".to_owned(), Value::Null);
        let reason = reason(&answer.done, &calls);
        if !calls.is_empty() {
            message.insert("tool_calls".to_owned(), calls.into());
        }
        let logprobs = match work.ask.logprobs {
            Some(_) => shapes::chat_logprobs(&model.tokenizer, &answer.logprobs),
            None => Value::Null,
        };
        choices.push(json!({
            "index": index, "message": message, "finish_reason": reason, "logprobs": logprobs,
        }));
    }
    head["object"] = "chat.completion".into();
    head["choices"] = choices.into();
    head["usage"] = usage.json();
    Ok(http::answer(&head))
}

/// Why a choice ended. A call that was cut off ended by its length.
pub(super) fn reason(done: &Done, calls: &[Value]) -> &'static str {
    match done.finish_reason() {
        "stop" if !calls.is_empty() => "tool_calls",
        reason => reason,
    }
}
