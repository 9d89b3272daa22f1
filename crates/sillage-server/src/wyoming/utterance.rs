//! One thing that is said: text as it comes in, sound as it is made.

use super::frame::{Said, write};
use super::info;
use super::ssml::Ssml;
use crate::app::{App, Permit};
use crate::fault::{Fault, Kind};
use crate::keys::{Caller, Owner};
use crate::sound::{Encoding, Spec};
use crate::speech::{Event, Start, Stream};
use crate::voices::Entry;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sillage_audio::encode::{Format, RawSample};
use sillage_voice::{SAMPLE_RATE, SpeechOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Sound as the protocol has it.
const SPEC: Spec = Spec {
    format: Format::Raw(RawSample::S16Le),
    rate: SAMPLE_RATE,
    bit_rate: None,
};
/// Bytes of a sample.
const WIDTH: usize = 2;

/// `synthesize` and `synthesize-start`.
#[derive(Deserialize)]
struct Ask {
    text: Option<String>,
    voice: Option<Wanted>,
    text_format: Option<String>,
}

/// Who is to speak: a name, or failing that any voice of a language.
#[derive(Default, Deserialize)]
struct Wanted {
    name: Option<String>,
    language: Option<String>,
}

/// What came of telling the next of an utterance.
pub(super) enum Told {
    /// It was sent.
    Sent,
    /// All is said; these are the last bytes.
    Done(Vec<u8>),
    /// There is nobody to send it to.
    Over,
}

/// One thing that is being said.
pub(super) struct Utterance {
    stream: Stream,
    encoding: Encoding,
    /// Whether text may still come.
    pub(super) open: bool,
    /// When it must be over.
    pub(super) deadline: Instant,
    /// Whether its text comes in pieces, and its end is told as such.
    streamed: bool,
    ssml: Option<Ssml>,
    chars: usize,
    most: usize,
    /// Samples told, or nothing told yet.
    told: Option<u64>,
    _permit: Permit,
}

impl Utterance {
    /// Begins to say what a client asks for.
    ///
    /// # Errors
    /// If it may not ask, there is no room, or no such voice.
    pub(super) async fn begin(app: &Arc<App>, said: Said, streamed: bool) -> Result<Self, Fault> {
        allowed(app)?;
        let ask: Ask = parse(said.data)?;
        let ssml = match ask.text_format.as_deref() {
            None | Some("" | "text") => None,
            Some("ssml") => Some(Ssml::default()),
            Some(other) => {
                let shown = crate::fault::shown(other, 40);
                let message = format!("text_format '{shown}' is not known: send text or ssml");
                return Err(Fault::bad("text_format", message));
            }
        };
        let permit = app.admit()?;
        let shared = Arc::clone(app);
        let wanted = ask.voice.unwrap_or_default();
        let start = crate::http::blocking(move || {
            let entry = find(&shared, &wanted)?;
            let options = SpeechOptions {
                payload: shared.config.payload,
                ..SpeechOptions::default()
            };
            Ok(Start {
                speaker: shared.voices.speaker(&entry.voice)?,
                front: shared.voices.front(&entry.voice, None)?,
                options,
                timings: false,
            })
        });
        let start = start.await?;
        let limits = &app.config.limits;
        let mut utterance = Self {
            stream: app.speech.begin(start),
            encoding: Encoding::new(SPEC)?,
            open: true,
            deadline: Instant::now() + Duration::from_secs(limits.request_seconds),
            streamed,
            ssml,
            chars: 0,
            most: limits.text_chars,
            told: None,
            _permit: permit,
        };
        if !streamed {
            let text = ask.text.ok_or_else(|| missing("synthesize"))?;
            utterance.push(&text)?;
            utterance.finish();
        }
        Ok(utterance)
    }

    /// Adds what a `synthesize-chunk` says.
    ///
    /// # Errors
    /// If it says nothing, or all of it is too long.
    pub(super) fn chunk(&mut self, said: &Said) -> Result<(), Fault> {
        let text = said.data.get("text").and_then(Value::as_str);
        self.push(text.ok_or_else(|| missing("synthesize-chunk"))?)
    }

    fn push(&mut self, text: &str) -> Result<(), Fault> {
        self.chars += text.chars().count();
        if self.chars > self.most {
            let message = format!(
                "a text has at most {} characters: say it in parts, or raise limits.text_chars",
                self.most
            );
            return Err(Fault::new(Kind::TooLarge, "text_too_long", message));
        }
        match &mut self.ssml {
            Some(ssml) => self.stream.push(&ssml.push(text)),
            None => self.stream.push(text),
        }
        Ok(())
    }

    /// No more text will come.
    pub(super) fn finish(&mut self) {
        if let Some(ssml) = &mut self.ssml {
            self.stream.push(&ssml.finish());
        }
        self.stream.finish();
        self.open = false;
    }

    /// Sends the next sound when there is room for it. May be dropped and called
    /// again without losing anything.
    pub(super) async fn tell(&mut self, out: &mpsc::Sender<Vec<u8>>) -> Result<Told, Fault> {
        let Ok(room) = out.reserve().await else {
            return Ok(Told::Over);
        };
        // From here on nothing is waited for once an event is taken.
        match self.stream.next().await {
            Some(Event::Audio(samples, _)) => {
                let mut message = self.started();
                let sound = self.encoding.push(&samples)?;
                let data = format(self.told.unwrap_or(0));
                message.extend(write("audio-chunk", &data, &sound));
                let samples = (sound.len() / WIDTH) as u64;
                self.told = Some(self.told.unwrap_or(0) + samples);
                room.send(message);
                Ok(Told::Sent)
            }
            Some(Event::Failed(fault)) => Err(fault),
            Some(Event::Done) => {
                let mut last = self.started();
                let data = json!({ "timestamp": milliseconds(self.told.unwrap_or(0)) });
                last.extend(write("audio-stop", &data, &[]));
                if self.streamed {
                    last.extend(write("synthesize-stopped", &json!({}), &[]));
                }
                Ok(Told::Done(last))
            }
            Some(_) => Ok(Told::Sent),
            None => Err(Fault::internal("a stream of speech ended without a word")),
        }
    }

    /// The beginning of the sound, if it has not been told.
    fn started(&mut self) -> Vec<u8> {
        if self.told.is_some() {
            return Vec::new();
        }
        self.told = Some(0);
        write("audio-start", &format(0), &[])
    }
}

fn milliseconds(samples: u64) -> u64 {
    samples * 1000 / u64::from(SAMPLE_RATE)
}

fn format(samples: u64) -> Value {
    json!({
        "rate": SAMPLE_RATE, "width": WIDTH, "channels": 1, "timestamp": milliseconds(samples),
    })
}

/// Whether anybody may be spoken for who shows no key.
fn allowed(app: &App) -> Result<(), Fault> {
    if !app.config.may_speak_wyoming() {
        let message = "Wyoming has no keys, and this server has some or is reached from other machines: set wyoming_without_key = true in its configuration to let everybody speak who reaches this port";
        return Err(Fault::new(Kind::Forbidden, "wyoming_not_allowed", message));
    }
    let nobody = Caller {
        owner: Owner(0),
        rehearse: false,
        speech: true,
        all: false,
    };
    app.keys.count(nobody).inspect_err(|_| {
        app.metrics.refused.inc();
    })
}

fn parse<T: serde::de::DeserializeOwned>(data: Map<String, Value>) -> Result<T, Fault> {
    serde_json::from_value(Value::Object(data)).map_err(|error| {
        let message = format!("the event's data is not what it should be: {error}");
        Fault::new(Kind::BadRequest, "invalid_event", message)
    })
}

fn missing(kind: &str) -> Fault {
    Fault::bad("text", format!("{kind} needs a `text`"))
}

/// The voice of that name; else one of that language; else the default one.
fn find(app: &App, wanted: &Wanted) -> Result<Entry, Fault> {
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    if let Some(name) = filled(&wanted.name) {
        return app.voices.find(Owner(0), &name);
    }
    let default = app.voices.default_entry()?;
    let Some(wanted) = filled(&wanted.language) else {
        return Ok(default);
    };
    let language = wanted.trim().replace('-', "_").to_ascii_lowercase();
    let speaks = |entry: &Entry| {
        let own = info::language(entry).to_ascii_lowercase();
        own == language || own.split('_').next() == Some(language.as_str())
    };
    if speaks(&default) {
        return Ok(default);
    }
    let found = app.voices.common().iter().find(|entry| speaks(entry));
    if let Some(entry) = found {
        return Ok(entry.clone());
    }
    // English of a country without voices here is read as the default reads.
    if language.split('_').next() == Some("en") {
        return Ok(default);
    }
    let shown = crate::fault::shown(&wanted, 40);
    let message =
        format!("no voice here speaks '{shown}': ask for en_US or en_GB, or a voice by its name");
    Err(Fault::not_found("language_not_found", message))
}
