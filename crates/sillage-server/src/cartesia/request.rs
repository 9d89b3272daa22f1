//! What is asked to be spoken, of all API dates at once: fields that a client
//! does not know are not sent, and what is null counts as not sent.

use crate::fault::Fault;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sillage_text::FrontEnd;

/// The range of `speed`; what lies outside is taken for its end.
const SPEEDS: (f64, f64) = (0.6, 1.5);
/// The range of `volume`.
const VOLUMES: (f64, f64) = (0.5, 2.0);
/// How long text waits for its sentence's end where a client does not say.
const USUAL_DELAY_MS: f64 = 3000.0;
const LONGEST_DELAY_MS: f64 = 5000.0;
/// At ordinary speed a text takes so many seconds, and one more for so many
/// units: fitted to five sentences by six built-in voices, of which it misses
/// the worst by 17 % and half by less than 6 %.
const FIXED_SECONDS: f64 = 0.54;
const UNITS_PER_SECOND: f64 = 17.2;

/// One request to speak, or one frame of a context.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Generation {
    pub(super) context_id: Option<String>,
    pub(super) transcript: Option<String>,
    voice: Value,
    pub(super) output_format: Value,
    /// More text will come.
    #[serde(rename = "continue", deserialize_with = "flag")]
    pub(super) more: bool,
    #[serde(deserialize_with = "flag")]
    pub(super) flush: bool,
    #[serde(deserialize_with = "flag")]
    pub(super) cancel: bool,
    max_buffer_delay_ms: Option<f64>,
    language: Option<String>,
    locale: Option<String>,
    #[serde(deserialize_with = "flag")]
    pub(super) add_timestamps: bool,
    #[serde(deserialize_with = "flag")]
    pub(super) add_phoneme_timestamps: bool,
    generation_config: Value,
    speed: Value,
    duration: Option<f64>,
    pub(super) pronunciation_dict_id: Option<String>,
    #[serde(deserialize_with = "flag")]
    pub(super) save: bool,
}

fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(Option::<bool>::deserialize(from)?.unwrap_or(false))
}

/// A voice as it is named.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wanted {
    /// By id or name.
    Id(String),
    /// By its numbers.
    Numbers(Vec<f32>),
}

impl Wanted {
    /// Reads a voice: an id, or an object with an id or an embedding.
    ///
    /// # Errors
    /// If it has neither.
    pub(super) fn read(voice: &Value) -> Result<Self, Fault> {
        let id = voice.as_str().or_else(|| voice["id"].as_str());
        let numbers = voice["embedding"].as_array();
        match (id, numbers, voice["mode"].as_str()) {
            (None, Some(numbers), _) | (_, Some(numbers), Some("embedding")) => {
                let number = |n: &Value| n.as_f64().map(|n| n as f32);
                let numbers: Option<Vec<f32>> = numbers.iter().map(number).collect();
                let message =
                    "an embedding is a list of numbers: take one from this server's voices";
                let numbers = numbers.ok_or_else(|| Fault::bad("embedding", message))?;
                Ok(Self::Numbers(numbers))
            }
            (Some(id), _, _) if !id.trim().is_empty() => Ok(Self::Id(id.to_owned())),
            _ => Err(Fault::bad(
                "voice",
                "the voice is missing: send its id, {\"id\": ...} or {\"embedding\": [...]}; GET /voices lists them",
            )),
        }
    }
}

impl Generation {
    /// The transcript, empty if there is none.
    pub(super) fn text(&self) -> &str {
        self.transcript.as_deref().unwrap_or_default()
    }

    /// The voice that is asked for.
    ///
    /// # Errors
    /// If none is.
    pub(super) fn wanted(&self) -> Result<Wanted, Fault> {
        Wanted::read(&self.voice)
    }

    /// How long text may wait for its sentence's end, in milliseconds.
    pub(super) fn delay_ms(&self) -> u64 {
        let delay = self.max_buffer_delay_ms.filter(|d| d.is_finite());
        delay.unwrap_or(USUAL_DELAY_MS).clamp(0.0, LONGEST_DELAY_MS) as u64
    }

    /// The language must be one that is spoken here.
    ///
    /// # Errors
    /// If it is not.
    pub(super) fn check_language(&self) -> Result<(), Fault> {
        check_language("language", self.language.as_deref())?;
        check_language("locale", self.locale.as_deref())
    }

    /// The accent that a locale asks for, as voices have it.
    pub(super) fn accent(&self) -> Option<&'static str> {
        super::accents::of_locale(self.locale.as_deref()?)
    }

    /// Times the ordinary speed: of the generation's settings, or as older
    /// clients say it, or so that the transcript takes the duration asked for.
    pub(super) fn speed(&self, front: &FrontEnd) -> f32 {
        let controls = ["__experimental_controls", "experimental_controls"];
        let controls = controls.map(|name| &self.voice[name]["speed"]);
        let speed = self.generation_config["speed"]
            .as_f64()
            .or_else(|| factor(&self.speed))
            .or_else(|| controls.into_iter().find_map(legacy))
            .or_else(|| self.of_duration(front));
        let speed = speed.filter(|s| s.is_finite()).unwrap_or(1.0);
        speed.clamp(SPEEDS.0, SPEEDS.1) as f32
    }

    /// The speed at which the transcript takes about `duration` seconds. It is
    /// guessed from the number of sounds; where more text will come, there is
    /// nothing to guess from.
    fn of_duration(&self, front: &FrontEnd) -> Option<f64> {
        let duration = self.duration.filter(|d| *d > 0.0 && !self.more)?;
        let phrases = front.phrases(self.text()).ok()?;
        let units: usize = phrases.iter().map(|p| p.units.len()).sum();
        let pauses: f64 = phrases.iter().map(|p| p.pause_before.as_secs_f64()).sum();
        let speech = (duration - pauses).max(0.1);
        Some((FIXED_SECONDS + units as f64 / UNITS_PER_SECOND) / speech)
    }

    /// Times the ordinary volume.
    pub(super) fn volume(&self) -> f32 {
        let volume = self.generation_config["volume"].as_f64();
        volume.unwrap_or(1.0).clamp(VOLUMES.0, VOLUMES.1) as f32
    }
}

/// A speed at the top of a request: a word, a factor, or below nought a step
/// of the older scale.
fn factor(speed: &Value) -> Option<f64> {
    match speed.as_f64() {
        Some(number) if number > 0.0 => Some(number),
        _ => legacy(speed),
    }
}

/// A speed of the older scale: -1 to 1, or a word.
fn legacy(speed: &Value) -> Option<f64> {
    let step = match speed.as_str() {
        Some(word) => match word.to_ascii_lowercase().as_str() {
            "slowest" => -1.0,
            "slow" => -0.5,
            "normal" => 0.0,
            "fast" => 0.5,
            "fastest" => 1.0,
            _ => return None,
        },
        None => speed.as_f64()?.clamp(-1.0, 1.0),
    };
    let (slowest, fastest) = SPEEDS;
    Some(match step < 0.0 {
        true => 1.0 + step * (1.0 - slowest),
        false => 1.0 + step * (fastest - 1.0),
    })
}

/// English, or nothing at all.
///
/// # Errors
/// For other languages.
pub(super) fn check_language(field: &str, language: Option<&str>) -> Result<(), Fault> {
    let Some(language) = language.map(str::trim).filter(|l| !l.is_empty()) else {
        return Ok(());
    };
    let primary = language.split(['-', '_']).next().unwrap_or_default();
    if ["en", "eng", "english"]
        .iter()
        .any(|e| primary.eq_ignore_ascii_case(e))
    {
        return Ok(());
    }
    let shown = crate::fault::shown(language, 40);
    let mut fault = Fault::bad(
        field,
        format!(
            "'{shown}' is not spoken here: the voices speak English; leave {field} out, or say \"en\""
        ),
    );
    fault.code = "language_not_supported";
    Err(fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use sillage_text::Accent;

    fn read(value: Value) -> Generation {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn nulls_and_unknown_fields_are_as_good_as_nothing() {
        let nulls = read(json!({
            "context_id": null, "transcript": null, "voice": null, "output_format": null,
            "continue": null, "flush": null, "cancel": null, "max_buffer_delay_ms": null,
            "language": null, "locale": null, "add_timestamps": null, "generation_config": null,
            "speed": null, "duration": null, "pronunciation_dict_id": null, "save": null,
            "model_id": null, "use_original_timestamps": true, "stream": {"a": 1},
        }));
        nulls.check_language().unwrap();
        assert!(!nulls.more && !nulls.save && nulls.text().is_empty());
        assert_eq!((nulls.delay_ms(), nulls.volume()), (3000, 1.0));
        assert!(nulls.wanted().unwrap_err().message.contains("GET /voices"));
        assert_eq!(read(json!({"max_buffer_delay_ms": 0})).delay_ms(), 0);
        assert_eq!(read(json!({"max_buffer_delay_ms": 1e9})).delay_ms(), 5000);
    }

    #[test]
    fn voices_have_many_forms() {
        let id = Wanted::Id("nova".to_owned());
        for voice in [
            json!("nova"),
            json!({"id": "nova"}),
            json!({"mode": "id", "id": "nova", "__experimental_controls": {"speed": "fast"}}),
            json!({"mode": "id", "id": "nova", "embedding": null}),
        ] {
            assert_eq!(Wanted::read(&voice).unwrap(), id, "{voice}");
        }
        let numbers = Wanted::Numbers(vec![1.0, -0.5]);
        for voice in [
            json!({"embedding": [1, -0.5]}),
            json!({"mode": "embedding", "embedding": [1.0, -0.5], "id": null}),
        ] {
            assert_eq!(Wanted::read(&voice).unwrap(), numbers, "{voice}");
        }
        for voice in [
            json!(null),
            json!(""),
            json!({"mode": "id"}),
            json!({"embedding": ["a"]}),
            json!(7),
        ] {
            assert!(Wanted::read(&voice).is_err(), "{voice}");
        }
    }

    #[test]
    fn speeds_old_and_new() {
        let front = FrontEnd::new(Accent::Us).unwrap();
        let speed = |value| read(value).speed(&front);
        assert_eq!(speed(json!({})), 1.0);
        assert_eq!(
            speed(json!({"generation_config": {"speed": 2.0, "emotion": "Happy"}})),
            1.5
        );
        assert_eq!(
            speed(json!({"generation_config": {"speed": null}, "speed": "slow"})),
            0.8
        );
        assert_eq!(speed(json!({"speed": 1.2})), 1.2);
        assert_eq!(speed(json!({"speed": -1.0})), 0.6);
        assert_eq!(
            speed(json!({"voice": {"__experimental_controls": {"speed": 1}}})),
            1.5
        );
        assert_eq!(
            speed(json!({"voice": {"experimental_controls": {"speed": "FAST"}}})),
            1.25
        );
        assert_eq!(speed(json!({"speed": "warp"})), 1.0);
        let text = "The kettle began to sing, and nobody in the kitchen noticed.";
        let short = speed(json!({"transcript": text, "duration": 2.5}));
        let long = speed(json!({"transcript": text, "duration": 5.0}));
        assert!(short > 1.0 && long < 1.0, "{short} {long}");
        assert_eq!(speed(json!({"transcript": text, "duration": -1})), 1.0);
    }

    #[test]
    fn english_is_spoken() {
        for good in [
            json!(null),
            json!(""),
            json!("en"),
            json!("en-US"),
            json!("EN_gb"),
        ] {
            read(json!({"language": good})).check_language().unwrap();
        }
        let refused = read(json!({"language": "fr"}))
            .check_language()
            .unwrap_err();
        assert!(refused.message.contains("\"en\""));
        assert!(read(json!({"locale": "de-DE"})).check_language().is_err());
        assert_eq!(read(json!({"locale": "en-GB"})).accent(), Some("en-GB"));
        assert_eq!(
            read(json!({"locale": "en-AU", "language": "en-GB"})).accent(),
            None
        );
    }
}
