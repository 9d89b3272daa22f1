//! The fields that completions, chat and responses share.

use crate::app::App;
use crate::fault::Fault;
use crate::text::{Ask, TextModel};
use serde::Deserialize;
use std::collections::HashMap;

/// Most stop strings of a request.
const MOST_STOPS: usize = 16;
/// Most alternatives of a token that are told.
const MOST_TOP: usize = 20;

/// One string or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Strings {
    One(String),
    Many(Vec<String>),
}

impl Strings {
    pub(super) fn all(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// How a text is to be written, as it is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Options {
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    pub(super) top_k: Option<i64>,
    pub(super) min_p: Option<f32>,
    pub(super) repetition_penalty: Option<f32>,
    pub(super) seed: Option<i64>,
    pub(super) stop: Option<Strings>,
    pub(super) frequency_penalty: Option<f32>,
    pub(super) presence_penalty: Option<f32>,
    pub(super) logit_bias: Option<HashMap<String, f32>>,
}

/// What is asked of streams.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct StreamOptions {
    pub(super) include_usage: Option<bool>,
}

impl Options {
    /// What the model is to do; `max_tokens` as asked for, or the usual.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub(super) fn ask(
        &self,
        app: &App,
        model: &TextModel,
        max_tokens: Option<u64>,
    ) -> Result<Ask, Fault> {
        let limits = &app.config.limits;
        let most = max_tokens.unwrap_or(limits.default_tokens as u64);
        if most > limits.max_tokens as u64 {
            let message = format!(
                "at most {} tokens are written by one request: ask for fewer",
                limits.max_tokens
            );
            return Err(Fault::bad("max_tokens", message));
        }
        let within = |name: &str, value: Option<f32>, low: f32, high: f32| match value {
            Some(value) if !(low..=high).contains(&value) => Err(Fault::bad(
                name,
                format!("{name} is {value}; it must be within {low} and {high}"),
            )),
            value => Ok(value),
        };
        let mut sampling = model.sampling();
        // OpenAI's own default is 1 whatever the model; what a model suggests for
        // itself is better where nothing is said.
        if let Some(temperature) = within("temperature", self.temperature, 0.0, 2.0)? {
            sampling.temperature = temperature;
        }
        if let Some(top_p) = within("top_p", self.top_p, 0.0, 1.0)? {
            // Nought means the likeliest only.
            sampling.top_p = top_p.max(1e-6);
        }
        if let Some(top_k) = self.top_k {
            sampling.top_k = usize::try_from(top_k).unwrap_or(0);
        }
        if let Some(min_p) = within("min_p", self.min_p, 0.0, 1.0)? {
            sampling.min_p = min_p;
        }
        if let Some(penalty) = within("repetition_penalty", self.repetition_penalty, 0.01, 10.0)? {
            sampling.repetition_penalty = penalty;
        }
        sampling.seed = self.seed.map_or_else(random, |seed| seed as u64);
        let stops = self.stop.clone().map(Strings::all).unwrap_or_default();
        if stops.len() > MOST_STOPS || stops.iter().any(|s| s.len() > 1000) {
            let message = format!("stop may have {MOST_STOPS} strings of up to 1000 bytes");
            return Err(Fault::bad("stop", message));
        }
        Ok(Ask {
            sampling,
            max_tokens: most as usize,
            stops,
            bias: self.bias(model.vocab)?,
            frequency_penalty: within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?
                .unwrap_or(0.0),
            presence_penalty: within("presence_penalty", self.presence_penalty, -2.0, 2.0)?
                .unwrap_or(0.0),
            ..Ask::default()
        })
    }

    fn bias(&self, vocab: usize) -> Result<HashMap<u32, f32>, Fault> {
        let mut bias = HashMap::new();
        for (token, value) in self.logit_bias.iter().flatten() {
            let id = token
                .parse::<u32>()
                .ok()
                .filter(|id| (*id as usize) < vocab);
            match id {
                Some(id) if (-100.0..=100.0).contains(value) => {
                    bias.insert(id, *value);
                }
                _ => {
                    let shown = crate::fault::shown(token, 20);
                    let message = format!(
                        "'{shown}': {value} is no bias: the keys are token ids below {vocab}, the values within -100 and 100"
                    );
                    return Err(Fault::bad("logit_bias", message));
                }
            }
        }
        Ok(bias)
    }
}

/// How many alternatives to tell.
///
/// # Errors
/// If there are too many.
pub(super) fn top(name: &str, count: Option<i64>) -> Result<usize, Fault> {
    let count = count.unwrap_or(0);
    usize::try_from(count)
        .ok()
        .filter(|count| *count <= MOST_TOP)
        .ok_or_else(|| {
            Fault::bad(
                name,
                format!("{name} is {count}; it must be within 0 and {MOST_TOP}"),
            )
        })
}

/// A seed that nobody chose.
fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness there is one seed, which is no harm.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
