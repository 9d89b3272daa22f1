//! Events on the wire: a line of JSON, then perhaps more JSON, then perhaps
//! bytes.
//!
//! [`Frames`] is given bytes as they come, cut anywhere, and gives whole events.
//! It holds no more than one line and one event's data; a payload, which nothing
//! here needs, is passed over without being held.

use crate::fault::{Fault, Kind};
use serde_json::{Map, Value, json};

/// The protocol's version that events carry: that of the library this was
/// tried with.
const VERSION: &str = "1.10.2";
/// Bytes of a line.
const LINE: usize = 64 << 10;
/// Bytes of the data after it.
const DATA: usize = 1 << 20;
/// Bytes of a payload, which is passed over.
const PAYLOAD: usize = 1 << 20;

/// What a client says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    /// Its type.
    pub(super) kind: String,
    /// What was in the line, with what came after it over that.
    pub(super) data: Map<String, Value>,
}

/// Bytes that are no event; nothing after them can be read.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a line is longer than {LINE} bytes: put what is long into the data after it")]
    LongLine,
    #[error("a line is not the JSON of an event: {0}")]
    Line(String),
    #[error("an event needs a `type`, which is a text")]
    NoType,
    #[error("`{0}` is a number of bytes, or left out")]
    Length(&'static str),
    #[error("an event's data is longer than {DATA} bytes: send the text in pieces")]
    LongData,
    #[error("an event's data is not a JSON object: {0}")]
    Data(String),
    #[error("a payload is longer than {PAYLOAD} bytes; this server speaks and takes no sound")]
    LongPayload,
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
        Self::new(Kind::BadRequest, "invalid_event", error.to_string())
    }
}

/// What is awaited.
#[derive(Debug, Default)]
enum Awaited {
    #[default]
    Line,
    /// So many bytes of data, and then of payload.
    Data(Said, usize, usize),
    Payload(Said, usize),
}

/// Bytes on their way to being events.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// Bytes of a line that were searched for its end.
    searched: usize,
    awaited: Awaited,
}

impl Frames {
    /// Where bytes that arrive are added.
    pub(super) fn room(&mut self) -> &mut Vec<u8> {
        self.bytes.reserve(8 << 10);
        &mut self.bytes
    }

    /// The next whole event, if it is there.
    ///
    /// # Errors
    /// If the bytes are none; the connection is then of no more use.
    pub(super) fn next(&mut self) -> Result<Option<Said>, FrameError> {
        loop {
            match std::mem::take(&mut self.awaited) {
                Awaited::Line => match self.line()? {
                    Some(line) if line.trim_ascii().is_empty() => {}
                    Some(line) => self.awaited = head(&line)?,
                    None => return Ok(None),
                },
                Awaited::Data(said, length, payload) if self.bytes.len() < length => {
                    self.awaited = Awaited::Data(said, length, payload);
                    return Ok(None);
                }
                Awaited::Data(mut said, length, payload) => {
                    if length > 0 {
                        let more: Map<String, Value> =
                            serde_json::from_slice(&self.bytes[..length])
                                .map_err(|error| FrameError::Data(error.to_string()))?;
                        said.data.extend(more);
                        self.bytes.drain(..length);
                    }
                    self.awaited = Awaited::Payload(said, payload);
                }
                Awaited::Payload(said, left) => {
                    let passed = left.min(self.bytes.len());
                    self.bytes.drain(..passed);
                    if passed == left {
                        // A long text's room is not kept for the short ones.
                        self.bytes.shrink_to(LINE);
                        return Ok(Some(said));
                    }
                    self.awaited = Awaited::Payload(said, left - passed);
                    return Ok(None);
                }
            }
        }
    }

    /// A line without its end, if it is whole.
    fn line(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let from = self.searched;
        let end = self.bytes[from..].iter().position(|&byte| byte == b'\n');
        let length = end.map_or(self.bytes.len(), |at| from + at);
        if length > LINE {
            return Err(FrameError::LongLine);
        }
        if end.is_none() {
            self.searched = length;
            return Ok(None);
        }
        self.searched = 0;
        let mut line: Vec<u8> = self.bytes.drain(..=length).collect();
        line.pop();
        Ok(Some(line))
    }
}

/// What a line says, and what is to come after it.
fn head(line: &[u8]) -> Result<Awaited, FrameError> {
    let mut head: Map<String, Value> =
        serde_json::from_slice(line).map_err(|error| FrameError::Line(error.to_string()))?;
    let length = |name: &'static str| match head.get(name) {
        None | Some(Value::Null) => Ok(0),
        Some(value) => {
            let number = value.as_u64().ok_or(FrameError::Length(name))?;
            Ok(usize::try_from(number).unwrap_or(usize::MAX))
        }
    };
    let (data, payload) = (length("data_length")?, length("payload_length")?);
    if data > DATA {
        return Err(FrameError::LongData);
    }
    if payload > PAYLOAD {
        return Err(FrameError::LongPayload);
    }
    let Some(Value::String(kind)) = head.remove("type") else {
        return Err(FrameError::NoType);
    };
    let inline = match head.remove("data") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(inline)) => inline,
        Some(_) => return Err(FrameError::Data("it is something else".to_owned())),
    };
    Ok(Awaited::Data(Said { kind, data: inline }, data, payload))
}

/// An event as bytes. Its data stands after its line, as the field's own library
/// writes it.
pub(super) fn write(kind: &str, data: &Value, payload: &[u8]) -> Vec<u8> {
    let mut head = json!({ "type": kind, "version": VERSION });
    let empty = data.as_object().is_none_or(Map::is_empty);
    let data = if empty {
        String::new()
    } else {
        data.to_string()
    };
    if !data.is_empty() {
        head["data_length"] = data.len().into();
    }
    if !payload.is_empty() {
        head["payload_length"] = payload.len().into();
    }
    let mut bytes = head.to_string().into_bytes();
    bytes.push(b'\n');
    bytes.extend_from_slice(data.as_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Events by type and data, and how reading them ended.
pub(crate) type Read = (Vec<(String, Map<String, Value>)>, Result<(), String>);

/// All events of some bytes that come in pieces.
pub(crate) fn read_all<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let (mut frames, mut events) = (Frames::default(), Vec::new());
    for piece in pieces {
        frames.room().extend_from_slice(piece);
        loop {
            match frames.next() {
                Ok(Some(said)) => events.push((said.kind, said.data)),
                Ok(None) => break,
                Err(error) => return (events, Err(error.to_string())),
            }
        }
    }
    (events, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> Read {
        read_all([bytes])
    }

    #[test]
    fn data_may_stand_in_the_line_or_after_it() {
        let bytes = b"{\"type\":\"ping\",\"data\":{\"text\":\"a\",\"b\":1}}\n\r\n\
            {\"type\": \"ping\", \"version\": \"1.10.2\", \"data\": {\"text\": \"a\"}, \"data_length\": 13, \"payload_length\": 3}\n{\"text\":\"\xc3\xa9\"}\n\n\n\
            {\"type\":\"describe\",\"data\":null,\"data_length\":null,\"payload_length\":0}\n";
        let (events, end) = all(bytes);
        end.unwrap();
        let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, ["ping", "ping", "describe"]);
        assert_eq!(events[0].1["b"], 1);
        assert_eq!(events[1].1["text"], "é");
        assert!(events[2].1.is_empty());
    }

    #[test]
    fn what_is_no_event_is_named() {
        let cases: [(&[u8], &str); 11] = [
            (b"hello\n", "not the JSON"),
            (b"[1]\n", "not the JSON"),
            (b"{}\n", "needs a `type`"),
            (b"{\"type\":3}\n", "needs a `type`"),
            (b"{\"type\":\"a\",\"data\":[]}\n", "not a JSON object"),
            (b"{\"type\":\"a\",\"data_length\":-1}\n", "`data_length`"),
            (b"{\"type\":\"a\",\"data_length\":2000000}\n", "in pieces"),
            (
                b"{\"type\":\"a\",\"payload_length\":\"1\"}\n",
                "`payload_length`",
            ),
            (
                b"{\"type\":\"a\",\"payload_length\":18446744073709551615}\n",
                "takes no sound",
            ),
            (
                b"{\"type\":\"a\",\"data_length\":2}\n[]",
                "not a JSON object",
            ),
            (b"\xff\xfe\n", "not the JSON"),
        ];
        for (bytes, wanted) in cases {
            let (events, end) = all(bytes);
            assert!(events.is_empty());
            let error = end.unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
        let (_, end) = all(&vec![b' '; LINE + 1]);
        assert!(end.unwrap_err().contains("longer than 65536"));
        let deep = [
            b"{\"type\":\"a\",\"data\":".as_slice(),
            &[b'['; 9000],
            b"\n",
        ]
        .concat();
        assert!(all(&deep).1.is_err());
    }

    #[test]
    fn limits_are_not_one_byte_less() {
        let pad = " ".repeat(LINE - "{\"type\":\"a\"}".len());
        assert_eq!(
            all(format!("{{\"type\":\"a\"{pad}}}\n").as_bytes()).0.len(),
            1
        );
        let text = "x".repeat(DATA - "{\"text\":\"\"}".len());
        let bytes = write("a", &json!({ "text": text }), &vec![7; PAYLOAD]);
        let (events, end) = all(&[bytes.as_slice(), b"{\"type\":\"b\"}\n"].concat());
        end.unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].1["text"].as_str().map(str::len), Some(text.len()));
    }

    fn event() -> impl Strategy<Value = Vec<u8>> {
        let text = "[a-zé\"\\\\\n<]{0,20}";
        let payload = prop::collection::vec(any::<u8>(), 0..40);
        (text, text, payload, 0..4).prop_map(|(kind, text, payload, shape)| match shape {
            0 => write(&kind, &json!({ "text": text }), &payload),
            1 => write(&kind, &json!({}), &payload),
            2 => format!("{}\n", json!({ "type": kind, "data": { "text": text } })).into_bytes(),
            // Now and then, what is no event.
            _ => text.into_bytes(),
        })
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(
            events in prop::collection::vec(event(), 0..6),
            cuts in prop::collection::vec(1..30_usize, 1..40),
        ) {
            let bytes = events.concat();
            let (mut rest, mut pieces) = (bytes.as_slice(), Vec::new());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (head, tail) = rest.split_at(rest.len().min(*cut));
                pieces.push(head);
                rest = tail;
            }
            prop_assert_eq!(all(&bytes), read_all(pieces));
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = all(&bytes);
            let _ = read_all(bytes.chunks(3));
        }

        #[test]
        fn what_is_written_is_read(kind in ".{0,20}", text in ".{0,40}", payload in prop::collection::vec(any::<u8>(), 0..40)) {
            let data = json!({ "text": text });
            let (events, end) = all(&write(&kind, &data, &payload));
            prop_assert_eq!(end, Ok(()));
            prop_assert_eq!(&events[0].0, &kind);
            prop_assert_eq!(&Value::Object(events[0].1.clone()), &data);
        }
    }
}
