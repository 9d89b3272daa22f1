//! Reading a configuration: every key is bounded and every complaint names it.
//!
//! Configurations come from files that anyone can write, so sizes are limited here, once, such that
//! no product of a few of them can overflow and no list can be absurdly long.

use crate::error::ModelError;
use serde_json::Value;
use std::fmt::Write as _;

/// No single dimension of any published model comes near this.
const MAX_DIMENSION: u64 = 1 << 24;
/// More layers than any published model, and few enough to describe at once.
const MAX_LAYERS: usize = 1 << 14;

/// A view of a JSON object that knows for whom it is read.
#[derive(Clone, Copy)]
pub(crate) struct Config<'a> {
    architecture: &'a str,
    /// Written before keys in messages, such as `ssm_cfg.`
    prefix: &'a str,
    object: Option<&'a Value>,
}

type Read<T> = Result<T, ModelError>;

impl<'a> Config<'a> {
    pub(crate) fn new(architecture: &'a str, object: &'a Value) -> Self {
        Config {
            architecture,
            prefix: "",
            object: Some(object),
        }
    }

    /// The object under `key`; an absent one reads as empty. `prefix` is `key` with a dot.
    pub(crate) fn section(&self, key: &str, prefix: &'a str) -> Config<'a> {
        Config {
            architecture: self.architecture,
            prefix,
            object: self.get(key),
        }
    }

    pub(crate) fn architecture(&self) -> &'a str {
        self.architecture
    }

    /// The value of `key`, where `null` counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object?.get(key).filter(|v| !v.is_null())
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn bad(&self, key: &str, expected: impl Into<String>) -> ModelError {
        ModelError::BadValue {
            architecture: self.architecture.to_owned(),
            key: format!("{}{key}", self.prefix),
            found: self.get(key).map_or_else(|| "absent".to_owned(), shorten),
            expected: expected.into(),
        }
    }

    pub(crate) fn unsupported(
        &self,
        what: impl Into<String>,
        found: impl Into<String>,
        supported: impl Into<String>,
    ) -> ModelError {
        ModelError::Unsupported {
            architecture: self.architecture.to_owned(),
            what: what.into(),
            found: found.into(),
            supported: supported.into(),
        }
    }

    fn missing(&self, key: &str) -> ModelError {
        ModelError::MissingKey {
            architecture: self.architecture.to_owned(),
            key: format!("{}{key}", self.prefix),
        }
    }

    /// A dimension: at least 1.
    pub(crate) fn size(&self, key: &str) -> Read<usize> {
        self.optional_size(key)?.ok_or_else(|| self.missing(key))
    }

    pub(crate) fn size_or(&self, key: &str, default: usize) -> Read<usize> {
        Ok(self.optional_size(key)?.unwrap_or(default))
    }

    pub(crate) fn optional_size(&self, key: &str) -> Read<Option<usize>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.as_u64() {
            Some(n) if (1..=MAX_DIMENSION).contains(&n) => Ok(Some(n as usize)),
            _ => Err(self.bad(key, format!("a whole number from 1 to {MAX_DIMENSION}"))),
        }
    }

    /// A dimension that may be written as the word "auto".
    pub(crate) fn size_or_auto(&self, key: &str, auto: usize) -> Read<usize> {
        match self.get(key).and_then(Value::as_str) {
            Some("auto") => Ok(auto),
            _ => self.size_or(key, auto),
        }
    }

    /// A count that may be zero.
    pub(crate) fn count_or(&self, key: &str, default: usize) -> Read<usize> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        match value.as_u64() {
            Some(n) if n <= MAX_DIMENSION => Ok(n as usize),
            _ => Err(self.bad(key, format!("a whole number up to {MAX_DIMENSION}"))),
        }
    }

    pub(crate) fn layers(&self, key: &str) -> Read<usize> {
        let n = self.size(key)?;
        if n > MAX_LAYERS {
            return Err(self.bad(key, format!("at most {MAX_LAYERS} layers")));
        }
        Ok(n)
    }

    pub(crate) fn flag_or(&self, key: &str, default: bool) -> Read<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(v) => v.as_bool().ok_or_else(|| self.bad(key, "true or false")),
        }
    }

    pub(crate) fn optional_number(&self, key: &str) -> Read<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(v) => finite(v)
                .map(Some)
                .ok_or_else(|| self.bad(key, "a finite number")),
        }
    }

    pub(crate) fn number_or(&self, key: &str, default: f64) -> Read<f64> {
        Ok(self.optional_number(key)?.unwrap_or(default))
    }

    /// A number above zero, as an epsilon, a base or a divisor must be.
    pub(crate) fn positive_or(&self, key: &str, default: f64) -> Read<f64> {
        let n = self.number_or(key, default)?;
        if n > 0.0 {
            Ok(n)
        } else {
            Err(self.bad(key, "a number above zero"))
        }
    }

    pub(crate) fn factor_or(&self, key: &str, default: f32) -> Read<f32> {
        Ok(self.number_or(key, f64::from(default))? as f32)
    }

    /// Exactly `N` finite numbers; absent reads as all `default`.
    pub(crate) fn factors_or<const N: usize>(&self, key: &str, default: f32) -> Read<[f32; N]> {
        let mut out = [default; N];
        let Some(value) = self.get(key) else {
            return Ok(out);
        };
        let list = value.as_array().filter(|l| l.len() == N);
        let list = list.ok_or_else(|| self.bad(key, format!("a list of {N} numbers")))?;
        for (slot, item) in out.iter_mut().zip(list) {
            *slot =
                finite(item).ok_or_else(|| self.bad(key, format!("a list of {N} numbers")))? as f32;
        }
        Ok(out)
    }

    /// A pair of limits, either of which may be infinite in any of the spellings in use.
    pub(crate) fn limits_or(&self, key: &str, default: (f32, f32)) -> Read<(f32, f32)> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        let error = || self.bad(key, "two numbers, the first not above the second");
        match value.as_array().map(Vec::as_slice) {
            Some([low, high]) => {
                let low = limit(low, f64::NEG_INFINITY).ok_or_else(error)?;
                let high = limit(high, f64::INFINITY).ok_or_else(error)?;
                if low <= high {
                    Ok((low as f32, high as f32))
                } else {
                    Err(error())
                }
            }
            _ => Err(error()),
        }
    }

    pub(crate) fn word(&self, key: &str) -> Read<Option<&'a str>> {
        match self.get(key) {
            None => Ok(None),
            Some(v) => v
                .as_str()
                .map(Some)
                .ok_or_else(|| self.bad(key, "a word in quotes")),
        }
    }

    /// A list of words, such as the kind of each layer.
    pub(crate) fn words(&self, key: &str) -> Read<Option<Vec<&'a str>>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let list = value
            .as_array()
            .ok_or_else(|| self.bad(key, "a list of words"))?;
        let words: Option<Vec<_>> = list.iter().map(Value::as_str).collect();
        words
            .map(Some)
            .ok_or_else(|| self.bad(key, "a list of words"))
    }

    /// A set of layer indices, each below `layers`, as a mask.
    pub(crate) fn layer_mask(&self, key: &str, layers: usize) -> Read<Vec<bool>> {
        let mut mask = vec![false; layers];
        let Some(value) = self.get(key) else {
            return Ok(mask);
        };
        let error = || self.bad(key, format!("a list of layer numbers below {layers}"));
        for item in value.as_array().ok_or_else(error)? {
            let at = item
                .as_u64()
                .and_then(|i| usize::try_from(i).ok())
                .ok_or_else(error)?;
            *mask.get_mut(at).ok_or_else(error)? = true;
        }
        Ok(mask)
    }

    /// Fails unless the activation under `key` is SiLU, which the recurrent mixers have built in.
    pub(crate) fn require_silu(&self, key: &str) -> Read<()> {
        match self.word(key)? {
            None | Some("silu" | "swish") => Ok(()),
            Some(other) => Err(self.unsupported(key, format!("'{other}'"), "'silu'")),
        }
    }
}

fn finite(value: &Value) -> Option<f64> {
    value.as_f64().filter(|n| n.is_finite())
}

/// Configurations write an infinite limit as a bare `Infinity` (made a string or `null` on the way
/// through JSON), as a word, or as `{"__float__": "Infinity"}`.
fn limit(value: &Value, if_null: f64) -> Option<f64> {
    match value {
        Value::Null => Some(if_null),
        Value::Number(n) => n.as_f64().filter(|n| !n.is_nan()),
        Value::String(word) => match word.trim().to_ascii_lowercase().as_str() {
            "infinity" | "inf" | "+inf" | "+infinity" => Some(f64::INFINITY),
            "-infinity" | "-inf" => Some(f64::NEG_INFINITY),
            other => other.parse().ok().filter(|n: &f64| !n.is_nan()),
        },
        Value::Object(object) => limit(object.get("__float__").filter(|v| v.is_string())?, if_null),
        _ => None,
    }
}

fn shorten(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        None => text,
        Some((cut, _)) => {
            let mut short = text[..cut].to_owned();
            let _ = write!(short, "… ({} characters)", text.len());
            short
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_take_every_spelling_of_infinity() {
        for high in [
            json!("Infinity"),
            json!("inf"),
            json!(null),
            json!({"__float__": "Infinity"}),
        ] {
            let value = json!({ "limit": [0.0, high] });
            let config = Config::new("test", &value);
            assert_eq!(
                config.limits_or("limit", (1.0, 2.0)).unwrap(),
                (0.0, f32::INFINITY)
            );
        }
        let value = json!({ "limit": [2.0, 1.0] });
        assert!(
            Config::new("test", &value)
                .limits_or("limit", (1.0, 2.0))
                .is_err()
        );
    }

    #[test]
    fn hostile_sizes_are_refused_by_name() {
        for bad in [
            json!(0),
            json!(-3),
            json!(1u64 << 60),
            json!("many"),
            json!(1.5),
            json!([]),
        ] {
            let value = json!({ "hidden_size": bad });
            let error = Config::new("test", &value)
                .size("hidden_size")
                .unwrap_err()
                .to_string();
            assert!(error.contains("hidden_size"), "{error}");
        }
    }
}
