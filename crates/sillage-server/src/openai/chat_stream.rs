//! Chat completions as they are written.

use super::chat::{self, Work};
use super::shapes::{self, DONE, Merged, Usage};
use super::tools::{Call, Sieve};
use crate::app::App;
use crate::fault::Fault;
use crate::http::Pieces;
use crate::keys::Caller;
use crate::text::{Done, Event, Piece, TextModel, Writing};
use serde_json::{Value, json};
use std::sync::Arc;

/// One choice in the course of being streamed.
struct Choice {
    sieve: Sieve,
    text: String,
}

/// What a client is told of one request.
pub(super) struct Telling {
    app: Arc<App>,
    caller: Caller,
    /// What all chunks have in common.
    head: Value,
    work: Work,
    pieces: Pieces,
    choices: Vec<Choice>,
    total: Usage,
}

/// Whether the client still listens.
type Heard = bool;

impl Telling {
    pub(super) fn new(
        app: Arc<App>,
        caller: Caller,
        mut head: Value,
        work: Work,
        pieces: Pieces,
    ) -> Self {
        head["object"] = "chat.completion.chunk".into();
        let choice = |_| Choice {
            sieve: Sieve::new(work.tools.clone()),
            text: String::new(),
        };
        Self {
            choices: (0..work.n).map(choice).collect(),
            app,
            caller,
            head,
            work,
            pieces,
            total: Usage::default(),
        }
    }

    /// Tells all of it, unless the client goes.
    pub(super) async fn run(mut self, model: &str, writings: Vec<Writing>, usage: bool) {
        let app = Arc::clone(&self.app);
        let Ok(model) = app.text(model) else { return };
        for index in 0..self.work.n {
            let delta = json!({ "role": "assistant", "content": "" });
            let begin = self.chunk(index, &delta, Value::Null, None);
            if !self.pieces.send(shapes::data(&begin)).await {
                return;
            }
        }
        let mut events = Merged::new(writings);
        let mut left = self.work.n;
        while left > 0 {
            let Some((index, event)) = events.next().await else {
                return;
            };
            let heard = match event {
                Event::Piece(piece) => self.piece(model, index, &piece).await,
                Event::Done(done) => {
                    left -= 1;
                    match self.done(model, index, &done).await {
                        Ok(heard) => heard,
                        Err(fault) => return self.fail(&fault).await,
                    }
                }
                Event::Failed(fault) => return self.fail(&fault).await,
            };
            if !heard {
                return;
            }
        }
        if usage {
            let mut chunk = self.head.clone();
            chunk["choices"] = json!([]);
            chunk["usage"] = self.total.json();
            self.pieces.send(shapes::data(&chunk)).await;
        }
        self.pieces.send(DONE.to_vec()).await;
        self.pieces.finish().await;
    }

    fn chunk(&self, index: usize, delta: &Value, logprobs: Value, reason: Option<&str>) -> Value {
        let mut chunk = self.head.clone();
        chunk["choices"] = json!([{
            "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason,
        }]);
        chunk
    }

    async fn piece(&mut self, model: &TextModel, index: usize, piece: &Piece) -> Heard {
        let choice = &mut self.choices[index];
        choice.text.push_str(&piece.text);
        let shown = choice.sieve.push(&piece.text);
        let logprobs = match piece.logprob.as_slice() {
            [] if shown.is_empty() => return true,
            [] => Value::Null,
            known => shapes::chat_logprobs(&model.tokenizer, known),
        };
        let chunk = self.chunk(index, &json!({ "content": shown }), logprobs, None);
        self.pieces.send(shapes::data(&chunk)).await
    }

    /// The end of one choice: what was held back of it, its calls, and its state,
    /// which is safe before the client hears of it.
    async fn done(&mut self, model: &TextModel, index: usize, done: &Done) -> Result<Heard, Fault> {
        self.total.add(done, index == 0);
        let choice = &mut self.choices[index];
        let sieve = std::mem::take(&mut choice.sieve);
        let text = std::mem::take(&mut choice.text);
        let (said, rest, calls) = sieve.finish();
        let calls: Vec<Value> = calls.iter().map(Call::json).collect();
        let mut told = Vec::new();
        if !rest.is_empty() {
            let chunk = self.chunk(index, &json!({ "content": rest }), Value::Null, None);
            told.extend(shapes::data(&chunk));
        }
        if !calls.is_empty() {
            let mut deltas = calls.clone();
            for (number, call) in deltas.iter_mut().enumerate() {
                call["index"] = number.into();
            }
            let chunk = self.chunk(index, &json!({ "tool_calls": deltas }), Value::Null, None);
            told.extend(shapes::data(&chunk));
        }
        let conversation = self.work.conversation(self.caller, model, &said, &calls);
        let prompt = &self.work.prompt;
        let state = chat::keep(&self.app, model, prompt, &text, done, conversation).await?;
        let reason = chat::reason(done, &calls);
        let mut end = self.chunk(index, &json!({}), Value::Null, Some(reason));
        end["sillage"] = shapes::extras(done, state.as_deref());
        told.extend(shapes::data(&end));
        Ok(self.pieces.send(told).await)
    }

    async fn fail(self, fault: &Fault) {
        self.pieces.send(shapes::data(&super::error(fault))).await;
        self.pieces.finish().await;
    }
}
