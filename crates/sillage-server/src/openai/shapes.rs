//! Objects that several endpoints answer with.

use crate::fault::Fault;
use crate::text::{Done, Event, Logprob, Writing};
use serde_json::{Map, Value, json};
use sillage_formats::Tokenizer;

/// A text that was written to its end.
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) logprobs: Vec<Logprob>,
    pub(super) done: Done,
}

impl Answer {
    /// Waits for it.
    ///
    /// # Errors
    /// What ended it, if that was a failure.
    pub(super) async fn of(writing: Writing) -> Result<Self, Fault> {
        let (pieces, done) = writing.finish().await?;
        let mut text = String::new();
        let mut logprobs = Vec::new();
        for piece in pieces {
            text.push_str(&piece.text);
            logprobs.extend(piece.logprob);
        }
        Ok(Self {
            text,
            logprobs,
            done,
        })
    }

    /// The mean log probability of its tokens.
    pub(super) fn mean_logprob(&self) -> f32 {
        let sum: f32 = self.logprobs.iter().map(|l| l.logprob).sum();
        sum / self.logprobs.len().max(1) as f32
    }
}

/// Tokens of all choices of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    prompt: usize,
    cached: usize,
    written: usize,
}

impl Usage {
    /// Adds a choice. The prompt of several choices counts once.
    pub(super) fn add(&mut self, done: &Done, first_of_prompt: bool) {
        if first_of_prompt {
            self.prompt += done.read + done.reused;
            self.cached += done.reused;
        }
        self.written += done.written;
    }

    /// As completions and chat tell it.
    pub(super) fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.written,
            "total_tokens": self.prompt + self.written,
            "prompt_tokens_details": { "cached_tokens": self.cached },
        })
    }

    /// As responses tell it.
    pub(super) fn responses_json(self) -> Value {
        json!({
            "input_tokens": self.prompt,
            "input_tokens_details": { "cached_tokens": self.cached, "cache_write_tokens": 0 },
            "output_tokens": self.written,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": self.prompt + self.written,
        })
    }
}

/// A token's text; where its bytes are no text by themselves, the bytes in the
/// form that OpenAI gives them.
pub(super) fn token_text(tokenizer: &Tokenizer, token: u32) -> String {
    let bytes = tokenizer.token_bytes(token).unwrap_or_default();
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("bytes:".to_owned(), |text, byte| {
            text + &format!("\\x{byte:02x}")
        }),
    }
}

/// Log probabilities as completions tell them; `offset` is the character at
/// which the first token begins.
pub(super) fn completion_logprobs(
    tokenizer: &Tokenizer,
    tokens: &[(u32, Option<Logprob>)],
    offset: usize,
) -> Value {
    let (mut texts, mut own, mut tops, mut offsets) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut at = offset;
    for (token, logprob) in tokens {
        let text = token_text(tokenizer, *token);
        offsets.push(at);
        at += text.chars().count();
        texts.push(text);
        own.push(logprob.as_ref().map(|l| l.logprob));
        tops.push(logprob.as_ref().map(|l| {
            let mut top = Map::new();
            for (id, value) in l.top.iter().chain([&(l.token, l.logprob)]) {
                // Tokens of one text are told once, with the better of them.
                top.entry(token_text(tokenizer, *id))
                    .or_insert_with(|| json!(value));
            }
            top
        }));
    }
    json!({ "tokens": texts, "token_logprobs": own, "top_logprobs": tops, "text_offset": offsets })
}

/// Log probabilities as chat tells them.
pub(super) fn chat_logprobs(tokenizer: &Tokenizer, logprobs: &[Logprob]) -> Value {
    let one = |id: u32, value: f32| {
        let bytes = tokenizer.token_bytes(id).unwrap_or_default();
        json!({ "token": token_text(tokenizer, id), "logprob": value, "bytes": bytes })
    };
    let all = logprobs.iter().map(|l| {
        let mut object = one(l.token, l.logprob);
        object["top_logprobs"] = l.top.iter().map(|(id, value)| one(*id, *value)).collect();
        object
    });
    json!({ "content": all.collect::<Vec<_>>(), "refusal": null })
}

/// A server-sent event of OpenAI's older form.
pub(super) fn data(value: &Value) -> Vec<u8> {
    format!("data: {value}\n\n").into_bytes()
}

/// The last one.
pub(super) const DONE: &[u8] = b"data: [DONE]\n\n";

/// Events of several writings as they come, each with its number.
pub(super) struct Merged {
    receiver: tokio::sync::mpsc::Receiver<(usize, Event)>,
}

impl Merged {
    pub(super) fn new(writings: Vec<Writing>) -> Self {
        let (sender, receiver) = tokio::sync::mpsc::channel(64);
        for (number, mut writing) in writings.into_iter().enumerate() {
            let sender = sender.clone();
            tokio::spawn(async move {
                loop {
                    // A client that has gone must not wait for the next token.
                    let event = tokio::select! {
                        event = writing.next() => event,
                        () = sender.closed() => None,
                    };
                    let Some(event) = event else { return };
                    if sender.send((number, event)).await.is_err() {
                        return;
                    }
                }
            });
        }
        Self { receiver }
    }

    pub(super) async fn next(&mut self) -> Option<(usize, Event)> {
        self.receiver.recv().await
    }
}

/// What this server tells beside what the protocol has.
pub(super) fn extras(done: &Done, state: Option<&str>) -> Value {
    json!({
        "state": state,
        "state_bytes": done.state.as_ref().map(sillage_state::Snapshot::bytes),
        "first_token_ms": done.first_token.as_secs_f64() * 1e3,
    })
}
