//! `POST /v1/completions`: text goes on.

use super::options::{Options, StreamOptions, top};
use super::shapes::{self, Answer, DONE, Merged, Usage};
use crate::app::App;
use crate::fault::Fault;
use crate::http;
use crate::keys::Caller;
use crate::text::{Ask, Conversation, Event, Logprob, Prompt, TextModel, Writing};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Tokens that are written when nobody says how many: OpenAI's own number.
const USUAL: u64 = 16;

#[derive(Deserialize)]
#[serde(untagged)]
enum Given {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    TokenLists(Vec<Vec<u32>>),
}

#[derive(Deserialize)]
struct Asked {
    model: Option<String>,
    prompt: Option<Given>,
    max_tokens: Option<u64>,
    n: Option<usize>,
    best_of: Option<usize>,
    echo: Option<bool>,
    logprobs: Option<i64>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    suffix: Option<String>,
    /// A stored answer or state to go on from.
    state: Option<String>,
    /// Keep the state afterwards.
    store: Option<bool>,
    #[serde(flatten)]
    options: Options,
}

/// A checked request.
struct Work {
    prompts: Vec<Prompt>,
    ask: Ask,
    n: usize,
    best_of: usize,
    echo: bool,
    logprobs: bool,
    parent: Option<String>,
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
    let store = asked.store.unwrap_or(false);
    let model = app.text_after(before.as_ref(), asked.model.as_deref())?;
    let name = model.id.clone();
    // A long prompt takes a while to become tokens.
    let (work, writings) = http::with_model(&app, name, move |app, model| {
        let work = check(app, model, &asked, before)?;
        let writings = begin(model, caller, &work)?;
        Ok((work, writings))
    })
    .await?;
    let head = json!({
        "id": format!("cmpl-{}", uuid::Uuid::new_v4().simple()),
        "object": "text_completion", "created": crate::now(), "model": model.id,
    });
    if streamed {
        let (pieces, body) = http::body(&app);
        let id = model.id.clone();
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let _permit = permit;
            let events = Merged::new(writings);
            stream(
                &app,
                &id,
                &work,
                events,
                &head,
                usage.unwrap_or(false),
                pieces,
            )
            .await;
        });
        return Ok(http::events(body));
    }
    let mut answers = Vec::new();
    for writing in writings {
        answers.push(Answer::of(writing).await?);
    }
    whole(&app, caller, model, work, answers, head, store).await
}

fn begin(model: &TextModel, caller: Caller, work: &Work) -> Result<Vec<Writing>, Fault> {
    let mut writings = Vec::new();
    for prompt in &work.prompts {
        for number in 0..work.best_of {
            let mut ask = work.ask.clone();
            ask.sampling.seed = ask.sampling.seed.wrapping_add(number as u64);
            writings.push(model.begin(caller.owner.0, prompt, ask)?);
        }
    }
    Ok(writings)
}

fn check(
    app: &App,
    model: &TextModel,
    asked: &Asked,
    before: Option<Conversation>,
) -> Result<Work, Fault> {
    if asked.suffix.as_ref().is_some_and(|s| !s.is_empty()) {
        return Err(Fault::bad(
            "suffix",
            "these models read from left to right and cannot fill in: leave suffix out",
        ));
    }
    let n = asked.n.unwrap_or(1);
    let best_of = asked.best_of.unwrap_or(n).max(n);
    if best_of > n && asked.stream.unwrap_or(false) {
        return Err(Fault::bad(
            "best_of",
            "the best is known at the end: best_of cannot be streamed",
        ));
    }
    let prompts = prompts(model, asked.prompt.as_ref(), before.as_ref())?;
    let most = app.config.limits.choices;
    if n == 0 || prompts.is_empty() || prompts.len().saturating_mul(best_of) > most {
        let message =
            format!("a request may have 1 to {most} choices, its prompts times n (or best_of)");
        return Err(Fault::bad("n", message));
    }
    let most = app.config.limits.prompt_tokens;
    for count in prompts.iter().map(|p| p.tokens.len()) {
        if count == 0 || count > most {
            let message = format!(
                "a prompt of {count} tokens is not read: give at least one, at most {most}"
            );
            return Err(Fault::bad("prompt", message));
        }
    }
    let mut ask = asked
        .options
        .ask(app, model, Some(asked.max_tokens.unwrap_or(USUAL)))?;
    let echo = asked.echo.unwrap_or(false);
    let logprobs = asked.logprobs.is_some();
    if logprobs {
        ask.logprobs = Some(top("logprobs", asked.logprobs)?);
    } else if best_of > n {
        ask.logprobs = Some(0);
    }
    ask.echo_logprobs = echo && logprobs;
    // Whoever measures texts counts on so many tokens as were asked for.
    ask.ignore_end = ask.echo_logprobs;
    Ok(Work {
        prompts,
        ask,
        n,
        best_of,
        echo,
        logprobs,
        parent: before.map(|b| b.id),
    })
}

fn prompts(
    model: &TextModel,
    given: Option<&Given>,
    before: Option<&Conversation>,
) -> Result<Vec<Prompt>, Fault> {
    let text = |text: &String| text_prompt(model, text, before);
    Ok(match given {
        None => vec![model.plain("")?],
        Some(Given::Text(one)) => vec![text(one)?],
        Some(Given::Texts(texts)) => texts.iter().map(text).collect::<Result<_, _>>()?,
        Some(Given::Tokens(tokens)) => vec![token_prompt(model, tokens)],
        Some(Given::TokenLists(lists)) => lists.iter().map(|l| token_prompt(model, l)).collect(),
    })
}

fn text_prompt(
    model: &TextModel,
    text: &str,
    before: Option<&Conversation>,
) -> Result<Prompt, Fault> {
    match before {
        Some(before) => model.plain_after(before, text),
        None => model.plain(text),
    }
}

fn token_prompt(model: &TextModel, tokens: &[u32]) -> Prompt {
    Prompt {
        tokens: tokens.to_vec(),
        marks: Vec::new(),
        continues: !tokens.is_empty(),
        text: model.tokenizer.decode(tokens, true),
    }
}

/// The log probabilities of an answer, those of its prompt first if echoed.
fn logprobs(model: &TextModel, work: &Work, prompt: &Prompt, answer: &Answer) -> Value {
    if !work.logprobs {
        return Value::Null;
    }
    let mut all: Vec<(u32, Option<Logprob>)> = Vec::new();
    let mut offset = prompt.text.chars().count();
    if work.echo {
        offset = 0;
        all.extend(
            prompt
                .tokens
                .iter()
                .copied()
                .zip(answer.done.prompt.iter().cloned()),
        );
    }
    all.extend(answer.logprobs.iter().map(|l| (l.token, Some(l.clone()))));
    shapes::completion_logprobs(&model.tokenizer, &all, offset)
}

async fn whole(
    app: &Arc<App>,
    caller: Caller,
    model: &TextModel,
    work: Work,
    answers: Vec<Answer>,
    mut head: Value,
    store: bool,
) -> Result<Response, Fault> {
    let mut usage = Usage::default();
    let mut choices = Vec::new();
    let mut answers = answers.into_iter();
    let mut last = None;
    for prompt in &work.prompts {
        let mut group: Vec<Answer> = answers.by_ref().take(work.best_of).collect();
        for (number, answer) in group.iter().enumerate() {
            usage.add(&answer.done, number == 0);
        }
        if work.best_of > work.n {
            group.sort_by(|a, b| b.mean_logprob().total_cmp(&a.mean_logprob()));
        }
        group.truncate(work.n);
        for answer in group {
            let text = match work.echo {
                true => format!("{}{}", prompt.text, answer.text),
                false => answer.text.clone(),
            };
            choices.push(json!({
                "index": choices.len(), "text": text,
                "finish_reason": answer.done.finish_reason(),
                "logprobs": logprobs(model, &work, prompt, &answer),
            }));
            last = Some(answer.done);
        }
    }
    let mut state = None;
    if let Some(done) = &last
        && store
        && choices.len() == 1
    {
        state = Some(keep(app, caller, model, work.parent.clone(), done).await?);
    }
    head["choices"] = choices.into();
    head["usage"] = usage.json();
    if let Some(done) = &last {
        head["sillage"] = shapes::extras(done, state.as_deref());
    }
    Ok(http::answer(&head))
}

/// Keeps the state of a text under a name of its own.
async fn keep(
    app: &Arc<App>,
    caller: Caller,
    model: &TextModel,
    parent: Option<String>,
    done: &crate::text::Done,
) -> Result<String, Fault> {
    let Some(snapshot) = done.state.clone() else {
        return Err(Fault::internal("a text that was written has no state"));
    };
    let mut conversation = Conversation::new("state", caller.owner, &model.id);
    conversation.parent = parent;
    conversation.note(&snapshot);
    let id = conversation.id.clone();
    let app = Arc::clone(app);
    http::blocking(move || app.keep_conversation(&conversation, Some(&snapshot))).await?;
    Ok(id)
}

async fn stream(
    app: &App,
    model: &str,
    work: &Work,
    mut events: Merged,
    head: &Value,
    usage: bool,
    pieces: http::Pieces,
) {
    let Ok(model) = app.text(model) else { return };
    let mut total = Usage::default();
    let mut offsets: Vec<usize> = Vec::new();
    let chunk = |index: usize, text: &str, logprobs: Value, reason: Option<&str>| {
        let mut chunk = head.clone();
        chunk["choices"] = json!([{ "index": index, "text": text, "logprobs": logprobs, "finish_reason": reason }]);
        shapes::data(&chunk)
    };
    for (at, prompt) in work.prompts.iter().enumerate() {
        for number in 0..work.n {
            let index = at * work.n + number;
            if work.echo
                && !pieces
                    .send(chunk(index, &prompt.text, Value::Null, None))
                    .await
            {
                return;
            }
            offsets.push(prompt.text.chars().count());
        }
    }
    let mut left = offsets.len();
    while left > 0 {
        let Some((index, event)) = events.next().await else {
            return;
        };
        let sent = match event {
            Event::Piece(piece) => {
                let logprobs = match &piece.logprob {
                    Some(logprob) if work.logprobs => {
                        let one = [(logprob.token, Some(logprob.clone()))];
                        shapes::completion_logprobs(&model.tokenizer, &one, offsets[index])
                    }
                    _ => Value::Null,
                };
                offsets[index] += piece.text.chars().count();
                if piece.text.is_empty() && logprobs.is_null() {
                    continue;
                }
                chunk(index, &piece.text, logprobs, None)
            }
            Event::Done(done) => {
                left -= 1;
                total.add(&done, index % work.n == 0);
                chunk(index, "", Value::Null, Some(done.finish_reason()))
            }
            Event::Failed(fault) => {
                pieces.send(shapes::data(&super::error(&fault))).await;
                return pieces.finish().await;
            }
        };
        if !pieces.send(sent).await {
            return;
        }
    }
    if usage {
        let mut chunk = head.clone();
        chunk["choices"] = json!([]);
        chunk["usage"] = total.json();
        pieces.send(shapes::data(&chunk)).await;
    }
    pieces.send(DONE.to_vec()).await;
    pieces.finish().await;
}
