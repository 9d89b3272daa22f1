//! JSON as Python writes it.
//!
//! Configs made by Python hold bare `Infinity` (Mamba-2's `time_step_limit` does), which is not
//! JSON; newer `transformers` write `{"__float__": "Infinity"}` instead. Both become the largest
//! finite f64, which turns into infinity when it is narrowed to f32; `NaN` becomes null.

use serde_json::Value;

use crate::error::FormatError;

/// Largest config, index or generation config that is read.
pub(crate) const SMALL_JSON: u64 = 64 << 20;

/// Parses Python-flavoured JSON.
pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Value, FormatError> {
    let error = |message: String| FormatError::Json {
        file: file.to_owned(),
        message,
    };
    let text = std::str::from_utf8(bytes).map_err(|e| error(format!("not UTF-8: {e}")))?;
    let mut value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(first) => {
            serde_json::from_str(&plain_numbers(text)).map_err(|_| error(first.to_string()))?
        }
    };
    tagged_floats(&mut value);
    Ok(value)
}

/// Parses and demands an object.
pub(crate) fn parse_object(file: &str, bytes: &[u8]) -> Result<Value, FormatError> {
    let value = parse(file, bytes)?;
    if value.is_object() {
        return Ok(value);
    }
    Err(FormatError::Json {
        file: file.to_owned(),
        message: "expected a JSON object".to_owned(),
    })
}

/// Replaces bare `Infinity` and `NaN` outside strings.
fn plain_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    let mut in_string = false;
    while let Some(c) = rest.chars().next() {
        if in_string {
            if c == '\\' {
                let escaped: String = rest.chars().take(2).collect();
                out.push_str(&escaped);
                rest = &rest[escaped.len()..];
                continue;
            }
            in_string = c != '"';
        } else if let Some(after) = rest.strip_prefix("Infinity") {
            out.push_str("1.7976931348623157e308");
            rest = after;
            continue;
        } else if let Some(after) = rest.strip_prefix("NaN") {
            out.push_str("null");
            rest = after;
            continue;
        } else {
            in_string = c == '"';
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// Replaces `{"__float__": "Infinity"}`. The depth is bounded by the JSON parser's own limit.
fn tagged_floats(value: &mut Value) {
    let tag = value
        .as_object()
        .filter(|o| o.len() == 1)
        .and_then(|o| o.get("__float__"));
    if let Some(tag) = tag.and_then(Value::as_str) {
        *value = match tag {
            "Infinity" => f64::MAX.into(),
            "-Infinity" => f64::MIN.into(),
            _ => Value::Null,
        };
        return;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(tagged_floats),
        Value::Object(map) => map.values_mut().for_each(tagged_floats),
        _ => {}
    }
}
