//! Chat templates: from messages to the prompt that a chat model was trained on.
//!
//! Templates are Jinja written for Python's Jinja2 as `transformers` runs it; minijinja runs them
//! here, with Python's methods on strings, lists and dicts, and the functions that `transformers`
//! adds. They come with the checkpoint, so their running time is bounded.

mod functions;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value as Jinja};
use minijinja::{Environment, ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// Instructions that a template may run, far above what any published one needs.
const FUEL: u64 = 5_000_000;

/// Why a chat could not be written as a prompt.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The template itself is not valid.
    #[error("the model's chat template is not valid: {0}; give the prompt as plain text instead")]
    Template(String),
    /// The template refused these messages.
    #[error("the model's chat template refused the messages: {0}")]
    Refused(String),
    /// The template failed while it ran.
    #[error("the model's chat template failed: {0}; give the prompt as plain text instead")]
    Failed(String),
}

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// The text.
    pub content: String,
    /// What else the template may look at: `tool_calls`, `tool_call_id`, `name`, ...
    #[serde(flatten, default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub extra: serde_json::Map<String, Value>,
}

impl Message {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
            extra: serde_json::Map::new(),
        }
    }
}

/// A checkpoint's chat template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    template: String,
    /// Special tokens by name (`bos_token`, ...), which templates use as variables.
    tokens: Vec<(String, String)>,
}

impl ChatTemplate {
    /// Takes a template and the tokenizer_config.json that names its special tokens.
    pub fn new(template: String, tokenizer_config: Option<&Value>) -> Self {
        let named = tokenizer_config
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        let tokens = named
            .filter(|(name, _)| name.ends_with("_token"))
            .filter_map(|(name, token)| {
                let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
                Some((name.clone(), text.to_owned()))
            })
            .collect();
        Self { template, tokens }
    }

    /// The template's source.
    pub fn source(&self) -> &str {
        &self.template
    }

    /// Writes messages as a prompt. `add_generation_prompt` ends it with the beginning of the
    /// assistant's answer.
    ///
    /// The text holds the special tokens that the model wants, so encode it without adding any.
    ///
    /// # Errors
    /// [`ChatError`] when the template is not valid or does not accept the messages.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, ChatError> {
        self.render_with(messages, add_generation_prompt, &Value::Null)
    }

    /// [`render`](Self::render) with further variables for the template (an object: `tools`,
    /// `enable_thinking`, ...).
    ///
    /// # Errors
    /// As for [`render`](Self::render).
    pub fn render_with(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        variables: &Value,
    ) -> Result<String, ChatError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|e| ChatError::Template(describe(&e)))?);
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        functions::add(&mut environment);
        let source = without_generation_marks(&self.template);
        let template = environment
            .template_from_str(&source)
            .map_err(|e| ChatError::Template(describe(&e)))?;
        let mut context: Vec<(String, Jinja)> = Vec::new();
        for (name, text) in &self.tokens {
            context.push((name.clone(), Jinja::from(text.as_str())));
        }
        context.push(("messages".to_owned(), Jinja::from(Serde(messages))));
        context.push((
            "add_generation_prompt".to_owned(),
            Jinja::from(add_generation_prompt),
        ));
        for (name, value) in variables.as_object().into_iter().flatten() {
            context.push((name.clone(), Jinja::from(Serde(value))));
        }
        template
            .render(Jinja::from_pairs(context))
            .map_err(|e| match functions::refusal(&e) {
                Some(message) => ChatError::Refused(message),
                None => ChatError::Failed(describe(&e)),
            })
    }
}

fn describe(error: &minijinja::Error) -> String {
    let mut text = error.to_string();
    if error.kind() == ErrorKind::OutOfFuel {
        text = "it runs without end".to_owned();
    }
    text
}

/// `transformers` marks the assistant's words for training with `{% generation %}`; the marks mean
/// nothing here.
fn without_generation_marks(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}").map(|at| at + 2) else {
            break;
        };
        let tag = &rest[start..start + length];
        let word = tag.trim_start_matches("{%").trim_end_matches("%}");
        let word = word.trim_matches(|c: char| c == '-' || c == '+' || c.is_whitespace());
        out.push_str(&rest[..start]);
        if word == "generation" || word == "endgeneration" {
            // A set tag of the same trimming keeps the white space as it would have been.
            out.push_str(&tag.replacen(word, "set _ = 0", 1));
        } else {
            out.push_str(tag);
        }
        rest = &rest[start + length..];
    }
    out + rest
}
