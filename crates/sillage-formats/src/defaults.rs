//! What a checkpoint suggests for generating text with it.

use serde_json::Value;

use crate::tokenizer::Tokenizer;

/// Suggestions from generation_config.json, config.json and tokenizer_config.json, in that order.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct GenerationDefaults {
    /// Tokens that end a text, sorted; may be empty.
    pub eos: Vec<u32>,
    /// The token that begins one.
    pub bos: Option<u32>,
    /// Sampling temperature.
    pub temperature: Option<f32>,
    /// Keep the most likely so many.
    pub top_k: Option<u32>,
    /// Keep the most likely that together have this probability.
    pub top_p: Option<f32>,
    /// Keep those at least so likely as this share of the likeliest.
    pub min_p: Option<f32>,
    /// Divide the logits of tokens already seen.
    pub repetition_penalty: Option<f32>,
}

impl GenerationDefaults {
    pub(crate) fn read(
        config: &Value,
        generation: Option<&Value>,
        tokenizer_config: Option<&Value>,
        tokenizer: Option<&Tokenizer>,
    ) -> Self {
        let named = |key: &str| {
            let token = tokenizer_config?.get(key)?;
            let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
            tokenizer?.id(text)
        };
        let ids = |key: &str| -> Vec<u32> {
            let found = generation
                .and_then(|g| g.get(key))
                .or_else(|| config.get(key));
            match found {
                Some(Value::Array(list)) => list.iter().filter_map(id).collect(),
                Some(value) => id(value).into_iter().collect(),
                None => Vec::new(),
            }
        };
        // A chat model's tokenizer often names another end token than its config: both end a text.
        let mut eos = ids("eos_token_id");
        eos.extend(named("eos_token"));
        eos.sort_unstable();
        eos.dedup();
        let number = |key: &str| {
            let value = generation?.get(key)?.as_f64()?;
            (value.is_finite() && value >= 0.0).then_some(value as f32)
        };
        Self {
            eos,
            bos: ids("bos_token_id")
                .first()
                .copied()
                .or_else(|| named("bos_token")),
            temperature: number("temperature"),
            top_k: generation.and_then(|g| g.get("top_k")).and_then(id),
            top_p: number("top_p"),
            min_p: number("min_p"),
            repetition_penalty: number("repetition_penalty").filter(|p| *p > 0.0),
        }
    }
}

fn id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}
