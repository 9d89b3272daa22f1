//! `output_format`: how sound is to be written.

use crate::fault::Fault;
use crate::sound::Spec;
use serde_json::Value;
use sillage_audio::encode::{Format, RawSample};

const RATES: [u32; 6] = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000];
const BIT_RATES: [u32; 5] = [32_000, 64_000, 96_000, 128_000, 192_000];
/// What MP3 has where no bit rate is given.
const USUAL_BIT_RATE: u32 = 128_000;
const ENCODINGS: &str = "pcm_f32le, pcm_s16le, pcm_mulaw or pcm_alaw";

/// Reads an `output_format`.
///
/// # Errors
/// The first field that is missing or not one of those there are.
pub(super) fn spec(wanted: &Value) -> Result<Spec, Fault> {
    if !wanted.is_object() {
        return Err(wrong(
            "is missing: send an object such as {\"container\":\"raw\",\"encoding\":\"pcm_s16le\",\"sample_rate\":24000}",
        ));
    }
    let format = match wanted["container"].as_str() {
        Some("raw") => Format::Raw(encoding(&wanted["encoding"], false)?),
        Some("wav") => match encoding(&wanted["encoding"], true)? {
            RawSample::S16Le => Format::Wav,
            other => Format::WavOf(other),
        },
        Some("mp3") => Format::Mp3,
        _ => {
            return Err(wrong(&unlisted(
                ".container",
                &wanted["container"],
                "raw, wav or mp3",
            )));
        }
    };
    let rate = listed(&wanted["sample_rate"], &RATES).ok_or_else(|| {
        wrong(&unlisted(
            ".sample_rate",
            &wanted["sample_rate"],
            &list(&RATES),
        ))
    })?;
    let bit_rate = match (format, &wanted["bit_rate"]) {
        (Format::Mp3, Value::Null) => Some(USUAL_BIT_RATE),
        (Format::Mp3, value) => {
            let found = listed(value, &BIT_RATES);
            Some(found.ok_or_else(|| wrong(&unlisted(".bit_rate", value, &list(&BIT_RATES))))?)
        }
        _ => None,
    };
    Ok(Spec {
        format,
        rate,
        bit_rate,
    })
}

/// The same for streams of events, which carry raw samples only.
///
/// # Errors
/// As [`spec`], and for other containers.
pub(super) fn raw_spec(wanted: &Value) -> Result<Spec, Fault> {
    let spec = spec(wanted)?;
    match spec.format {
        Format::Raw(_) => Ok(spec),
        _ => Err(wrong(
            ".container must be \"raw\" here: for a file ask POST /tts/bytes",
        )),
    }
}

fn encoding(value: &Value, optional: bool) -> Result<RawSample, Fault> {
    Ok(match value.as_str() {
        Some("pcm_s16le") => RawSample::S16Le,
        Some("pcm_f32le") => RawSample::F32Le,
        Some("pcm_mulaw") => RawSample::MuLaw,
        Some("pcm_alaw") => RawSample::ALaw,
        None if optional && value.is_null() => RawSample::S16Le,
        _ => return Err(wrong(&unlisted(".encoding", value, ENCODINGS))),
    })
}

/// A number of the list; clients write some as text.
fn listed(value: &Value, list: &[u32]) -> Option<u32> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    };
    list.iter().copied().find(|n| Some(f64::from(*n)) == number)
}

fn list(numbers: &[u32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    numbers.join(", ")
}

fn unlisted(field: &str, value: &Value, choices: &str) -> String {
    match value {
        Value::Null => format!("{field} is missing: choose {choices}"),
        value => {
            let shown = crate::fault::shown(&value.to_string(), 40);
            format!("{field} cannot be {shown}: choose {choices}")
        }
    }
}

fn wrong(what: &str) -> Fault {
    let space = if what.starts_with('.') { "" } else { " " };
    Fault::bad("output_format", format!("output_format{space}{what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn formats_are_as_listed() {
        let raw = json!({"container": "raw", "encoding": "pcm_f32le", "sample_rate": 44100, "bit_rate": null, "x": 1});
        let found = raw_spec(&raw).unwrap();
        assert_eq!(
            (found.format, found.rate),
            (Format::Raw(RawSample::F32Le), 44_100)
        );
        let mp3 = json!({"container": "mp3", "encoding": null, "sample_rate": "24000"});
        assert_eq!(spec(&mp3).unwrap().bit_rate, Some(USUAL_BIT_RATE));
        let wav = json!({"container": "wav", "encoding": "pcm_mulaw", "sample_rate": 8000.0});
        assert_eq!(spec(&wav).unwrap().format, Format::WavOf(RawSample::MuLaw));
        assert!(raw_spec(&wav).unwrap_err().message.contains("/tts/bytes"));
    }

    #[test]
    fn what_is_not_listed_is_named() {
        let cases = [
            (json!(null), "missing"),
            (json!("raw"), "missing"),
            (json!({"container": "ogg"}), "\"ogg\""),
            (
                json!({"container": "raw", "sample_rate": 8000}),
                ".encoding",
            ),
            (
                json!({"container": "wav", "encoding": "pcm_s24le", "sample_rate": 8000}),
                "pcm_s24le",
            ),
            (json!({"container": "wav"}), ".sample_rate is missing"),
            (json!({"container": "wav", "sample_rate": 11025}), "11025"),
            (
                json!({"container": "mp3", "sample_rate": 44100, "bit_rate": 1}),
                ".bit_rate",
            ),
        ];
        for (value, part) in cases {
            let fault = spec(&value).unwrap_err();
            assert!(fault.message.contains(part), "{value}: {}", fault.message);
        }
    }
}
