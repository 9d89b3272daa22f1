//! What a stream tells, in the protocol's frames.

use super::request::Generation;
use super::version::Version;
use super::words::{Timed, Words};
use crate::fault::Fault;
use crate::sound::{Encoding, Spec};
use crate::speech::Event;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sillage_voice::{PhoneTiming, VoiceModel};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of sound in one frame: in base64 less than 256 KiB, and whole samples
/// of every encoding.
const CHUNK: usize = 180_000;

/// Turns events into frames.
pub(super) struct Telling {
    id: String,
    model: Arc<VoiceModel>,
    encoding: Option<Encoding>,
    /// The transcript's words, if their times are asked for.
    pub(super) words: Option<Words>,
    phones: bool,
    flushes: Flushes,
}

/// The numbers of flushes, as clients of a date count them.
#[derive(Clone, Copy, Debug)]
struct Flushes {
    first: u32,
    /// Chunks have numbers although nobody has flushed yet.
    always: bool,
    asked: u32,
    done: u32,
}

impl Flushes {
    fn new(version: &Version) -> Self {
        let zero = version.numbers_flushes_from_zero();
        Self {
            first: if zero { 0 } else { 1 },
            always: zero,
            asked: 0,
            done: 0,
        }
    }

    /// The number of a chunk that comes now.
    fn of_chunk(&self) -> Option<u32> {
        (self.always || self.asked > 0).then_some(self.first + self.done)
    }
}

impl Telling {
    pub(super) fn new(
        id: String,
        model: &Arc<VoiceModel>,
        spec: Spec,
        version: &Version,
        generation: &Generation,
    ) -> Result<Self, Fault> {
        Ok(Self {
            id,
            model: Arc::clone(model),
            encoding: Some(Encoding::new(spec)?),
            words: generation.add_timestamps.then(Words::default),
            phones: generation.add_phoneme_timestamps,
            flushes: Flushes::new(version),
        })
    }

    /// The context's id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Counts a flush that is asked for; its number for the stream.
    pub(super) fn flush(&mut self) -> u32 {
        self.flushes.asked += 1;
        self.flushes.asked - 1
    }

    /// The frames of an event.
    ///
    /// # Errors
    /// What the event itself says, or if the sound cannot be written.
    pub(super) fn tell(&mut self, event: Event) -> Result<Vec<Value>, Fault> {
        Ok(match event {
            Event::Audio(samples, took) => {
                let bytes = match &mut self.encoding {
                    Some(encoding) => encoding.push(&samples)?,
                    None => Vec::new(),
                };
                self.chunks(&bytes, took)
            }
            Event::Words(told) => {
                let words = self.words.as_mut().map(|words| words.tell(&told));
                self.timestamps(&words.unwrap_or_default())
            }
            Event::Phones(told) if self.phones => self.phonemes(&told),
            Event::Phones(_) => Vec::new(),
            Event::Flushed(number) => {
                self.flushes.done = number + 1;
                let mut frame = self.frame("flush_done", 206);
                frame["flush_done"] = json!(true);
                frame["flush_id"] = json!(self.flushes.first + number);
                vec![frame]
            }
            Event::Done => {
                let last = match self.encoding.take() {
                    Some(encoding) => encoding.finish()?,
                    None => Vec::new(),
                };
                let mut frames = self.chunks(&last, Duration::ZERO);
                frames.extend(self.last_words());
                frames.push(done(&self.id));
                frames
            }
            Event::Failed(fault) => return Err(fault),
        })
    }

    fn frame(&self, kind: &str, status: u16) -> Value {
        json!({ "type": kind, "context_id": self.id, "done": false, "status_code": status })
    }

    fn chunks(&self, bytes: &[u8], took: Duration) -> Vec<Value> {
        let step_time = took.as_secs_f64() * 1e3;
        let chunk = |part: &[u8]| {
            let mut frame = self.frame("chunk", 206);
            frame["data"] = json!(STANDARD.encode(part));
            frame["step_time"] = json!(step_time);
            self.number(&mut frame);
            frame
        };
        bytes.chunks(CHUNK).map(chunk).collect()
    }

    fn number(&self, frame: &mut Value) {
        if let Some(number) = self.flushes.of_chunk() {
            frame["flush_id"] = json!(number);
        }
    }

    fn last_words(&mut self) -> Vec<Value> {
        let words = self.words.as_mut().map(Words::finish);
        self.timestamps(&words.unwrap_or_default())
    }

    fn timestamps(&self, words: &[Timed]) -> Vec<Value> {
        if words.is_empty() {
            return Vec::new();
        }
        let mut frame = self.frame("timestamps", 206);
        frame["word_timestamps"] = json!({
            "words": words.iter().map(|w| w.word.as_str()).collect::<Vec<_>>(),
            "start": words.iter().map(|w| w.start).collect::<Vec<_>>(),
            "end": words.iter().map(|w| w.end).collect::<Vec<_>>(),
        });
        self.number(&mut frame);
        vec![frame]
    }

    fn phonemes(&self, told: &[PhoneTiming]) -> Vec<Value> {
        let symbols = self.model.symbols();
        let phone = |t: &PhoneTiming| {
            let symbol = symbols.get(usize::from(t.symbol))?;
            Some((ipa(symbol)?, t.start, t.end))
        };
        let phones: Vec<_> = told.iter().filter_map(phone).collect();
        if phones.is_empty() {
            return Vec::new();
        }
        let mut frame = self.frame("phoneme_timestamps", 206);
        frame["phoneme_timestamps"] = json!({
            "phonemes": phones.iter().map(|(p, ..)| *p).collect::<Vec<_>>(),
            "start": phones.iter().map(|(_, s, _)| *s).collect::<Vec<_>>(),
            "end": phones.iter().map(|(.., e)| *e).collect::<Vec<_>>(),
        });
        self.number(&mut frame);
        vec![frame]
    }
}

/// The last frame of a context.
pub(super) fn done(id: &str) -> Value {
    json!({ "type": "done", "context_id": id, "done": true, "status_code": 200 })
}

/// A symbol of the model in IPA; none for marks, spaces and sentence ends.
fn ipa(symbol: &str) -> Option<&str> {
    Some(match symbol {
        "A" => "eɪ",
        "I" => "aɪ",
        "O" => "oʊ",
        "Q" => "əʊ",
        "W" => "aʊ",
        "Y" => "ɔɪ",
        "T" => "ɾ",
        "ʤ" => "dʒ",
        "ʧ" => "tʃ",
        "ᵊ" => "ə",
        "ᵻ" => "ɪ",
        other => return Some(other).filter(|s| s.chars().all(char::is_alphabetic)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::common;
    use sillage_audio::encode::{Format, RawSample};

    fn telling(date: &str) -> Telling {
        let spec = Spec {
            format: Format::Raw(RawSample::F32Le),
            rate: 48_000,
            bit_rate: None,
        };
        let app = common();
        let version = Version::named(date);
        Telling::new(
            "c".into(),
            app.speech.model(),
            spec,
            &version,
            &Generation::default(),
        )
        .unwrap()
    }

    fn chunk(telling: &mut Telling) -> Value {
        let event = Event::Audio(vec![0.1; 4800], Duration::from_millis(3));
        telling.tell(event).unwrap().remove(0)
    }

    #[test]
    fn older_clients_number_flushes_from_nought_and_always() {
        let mut old = telling("2024-11-13");
        assert_eq!(chunk(&mut old)["flush_id"], 0);
        assert_eq!(old.flush(), 0);
        assert_eq!(chunk(&mut old)["flush_id"], 0);
        let flushed = old.tell(Event::Flushed(0)).unwrap().remove(0);
        assert_eq!(
            (&flushed["flush_id"], &flushed["done"]),
            (&json!(0), &json!(false))
        );
        assert_eq!(chunk(&mut old)["flush_id"], 1);
    }

    #[test]
    fn newer_clients_number_flushes_from_one_once_there_is_one() {
        let mut new = telling("2025-04-16");
        assert!(chunk(&mut new).get("flush_id").is_none());
        new.flush();
        assert_eq!(chunk(&mut new)["flush_id"], 1);
        let flushed = new.tell(Event::Flushed(0)).unwrap().remove(0);
        assert_eq!(
            (&flushed["type"], &flushed["flush_id"]),
            (&json!("flush_done"), &json!(1))
        );
        assert_eq!(chunk(&mut new)["flush_id"], 2);
        let last = new.tell(Event::Done).unwrap();
        assert_eq!(last.last().unwrap()["done"], true);
    }

    #[test]
    fn long_sound_is_split_into_frames_that_clients_take() {
        let mut long = telling("");
        let samples = vec![0.5; 24_000 * 10];
        let mut frames = long.tell(Event::Audio(samples, Duration::ZERO)).unwrap();
        frames.extend(long.tell(Event::Done).unwrap());
        assert!(frames.len() > 10);
        let mut bytes = 0;
        for frame in &frames {
            assert!(frame.to_string().len() < 256 << 10);
            assert!(frame.get("error").is_none() && frame["context_id"] == "c");
            if let Some(data) = frame["data"].as_str() {
                let data = STANDARD.decode(data).unwrap();
                assert_eq!(data.len() % 4, 0);
                bytes += data.len();
            }
        }
        assert_eq!(bytes, 10 * 48_000 * 4);
    }
}
