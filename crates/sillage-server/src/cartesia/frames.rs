//! Frames that clients send, and those that say what went wrong.

use super::request::Generation;
use crate::fault::{Fault, Kind};
use serde_json::{Value, json};

/// Reads a frame. What is wrong comes with the context that it is about, if
/// that can be read: a client looks for it there.
///
/// # Errors
/// If it is no JSON, or not of this form.
pub(super) fn parse(bytes: &[u8]) -> Result<Generation, (Option<String>, Fault)> {
    let wrong = |what: String| {
        let message = format!("this frame is not what is wanted: {what}");
        Fault::new(Kind::BadRequest, "invalid_frame", message)
    };
    let read = std::str::from_utf8(bytes)
        .map_err(|e| format!("it is not UTF-8 from byte {}", e.valid_up_to()));
    let value: Result<Value, String> =
        read.and_then(|text| serde_json::from_str(text).map_err(|e| e.to_string()));
    let value = value.map_err(|what| (None, wrong(what)))?;
    let id = value["context_id"].as_str().map(str::to_owned);
    if !value.is_object() {
        return Err((None, wrong("it must be a JSON object".to_owned())));
    }
    serde_json::from_value(value).map_err(|error| (id, wrong(error.to_string())))
}

/// Reads a frame and all that can be read of it without a server.
///
/// # Errors
/// The first thing wrong.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Fault> {
    let generation = parse(bytes).map_err(|(_, fault)| fault)?;
    generation.check_language()?;
    generation.wanted()?;
    super::format::raw_spec(&generation.output_format)?;
    let (_, _) = (generation.delay_ms(), generation.volume());
    Ok(())
}

/// The frame of an error. It is not `done`: a client that looks at that first
/// would never see what is wrong. Older clients read `error` and nothing else.
pub(super) fn error(fault: &Fault, context: Option<&str>, request: &str) -> Value {
    json!({
        "type": "error", "context_id": context, "done": false,
        "status_code": fault.kind.status().as_u16(),
        "title": fault.kind.title(), "message": fault.message, "error_code": fault.code,
        "request_id": request, "error": fault.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_where_clients_look() {
        let fault = Fault::not_found("voice_not_found", "there is no voice 'x'");
        let frame = error(&fault, Some("c"), "r");
        assert_eq!(
            (&frame["done"], &frame["context_id"]),
            (&json!(false), &json!("c"))
        );
        assert_eq!(frame["error"], "Not found: there is no voice 'x'");
        assert_eq!(frame["status_code"], 404);
        assert!(
            error(&fault, None, "r")
                .get("context_id")
                .unwrap()
                .is_null()
        );
    }

    #[test]
    fn a_frame_that_cannot_be_read_is_told_in_its_context() {
        let (id, fault) = parse(br#"{"context_id":"c","continue":"yes"}"#).unwrap_err();
        assert_eq!(id.as_deref(), Some("c"));
        assert!(fault.message.contains("boolean"), "{}", fault.message);
        for bytes in [&b"{"[..], b"[]", b"", b"\xff", b"nul", b"7"] {
            assert!(parse(bytes).unwrap_err().0.is_none());
        }
        let cancel = parse(br#"{"context_id":"c","cancel":true}"#).unwrap();
        assert!(cancel.cancel);
    }
}
