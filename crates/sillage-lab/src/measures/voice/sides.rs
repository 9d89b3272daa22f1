//! The two models: where they lie, whether they are matched, and made ready to speak.

use super::failed;
use crate::LabError;
use crate::shapes::in_repository;
use serde_json::{Value, json};
use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use sillage_text::{Accent, FrontEnd};
use sillage_voice::{Alphabet, Reset, SAMPLE_RATE, Speaker, SpeechOptions, VoiceModel};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// The series, in order.
pub(super) const SERIES: [&str; 2] = ["state space", "attention"];
/// Where each lies in the repository.
pub(super) const FILES: [&str; 2] = [
    "models/voice/voice.safetensors",
    "models/voice-twin/attention.safetensors",
];
/// What names another place.
const NAMED: [&str; 2] = ["SILLAGE_VOICE_MODEL", "SILLAGE_VOICE_TWIN"];
/// Who speaks.
const SPEAKER: &str = "nova";
/// The most by which matched parameters may differ.
const MATCHED: f64 = 0.02;
/// Parts of a configuration in which the twins are meant to differ.
const BACKBONE: [&str; 2] = ["backbone", "acoustic"];

/// A checkpoint, or why there is none.
pub(super) type Found = Result<Checkpoint, String>;

/// Both checkpoints, opened and found to be matched.
pub(super) struct Wanted {
    pub(super) found: [Found; 2],
    prints: [String; 2],
}

impl Wanted {
    /// Both files, by their variables or in the repository.
    ///
    /// # Errors
    /// If both are there and are not matched.
    pub(super) fn find() -> Result<Self, LabError> {
        Self::of([0, 1].map(|side| {
            let path = match std::env::var_os(NAMED[side]).filter(|path| !path.is_empty()) {
                Some(path) => PathBuf::from(path),
                None => in_repository(FILES[side]).ok_or_else(|| {
                    format!(
                        "{} was not found; run this within the repository, or set {} to the file",
                        FILES[side], NAMED[side]
                    )
                })?,
            };
            Checkpoint::open(&path).map_err(|error| {
                format!(
                    "{}: {error}; set {} to the file",
                    path.display(),
                    NAMED[side]
                )
            })
        }))
    }

    pub(super) fn of(found: [Found; 2]) -> Result<Self, LabError> {
        if let [Ok(left), Ok(right)] = &found {
            matched(left, right)?;
        }
        let print = |side: &Found| match side.as_ref().map(Checkpoint::fingerprint) {
            Ok(Ok(print)) => print.iter().map(|byte| format!("{byte:02x}")).collect(),
            _ => String::new(),
        };
        let prints = [print(&found[0]), print(&found[1])];
        Ok(Wanted { found, prints })
    }

    /// Fingerprint of a side's weights; empty where there are none.
    pub(super) fn fingerprint(&self, side: usize) -> &str {
        &self.prints[side]
    }

    /// Short print of both, for the names of jobs: other weights are other jobs.
    pub(super) fn print(&self) -> String {
        let short = |print: &String| match print.get(..6) {
            Some(start) => start.to_owned(),
            None => "none".to_owned(),
        };
        self.prints.iter().map(short).collect::<Vec<_>>().join("-")
    }

    /// What a point's configuration says about a side.
    pub(super) fn about(&self, side: usize) -> Value {
        match &self.found[side] {
            Ok(checkpoint) => json!({
                "model": checkpoint.name(),
                "fingerprint": self.prints[side],
                "parameters": checkpoint.parameters(),
                "acoustic_parameters": parameters(checkpoint, "acoustic."),
                "precision": precision(checkpoint).into_iter().collect::<Vec<_>>().join(", "),
                "voice": SPEAKER,
                "sample_rate": SAMPLE_RATE,
            }),
            Err(reason) => json!({ "absent": reason }),
        }
    }
}

/// Weights whose names begin with `prefix`.
fn parameters(checkpoint: &Checkpoint, prefix: &str) -> u64 {
    let size = |name: &str| {
        checkpoint
            .shape(name)
            .map_or(0, |s| s.iter().product::<usize>())
    };
    let mine = checkpoint.names().filter(|name| name.starts_with(prefix));
    mine.map(|name| size(name) as u64).sum()
}

/// The types in which the acoustic model is stored.
fn precision(checkpoint: &Checkpoint) -> BTreeSet<&'static str> {
    let mine = checkpoint
        .names()
        .filter(|name| name.starts_with("acoustic."));
    mine.filter_map(|name| Some(checkpoint.tensor_type(name)?.name()))
        .collect()
}

/// Refuses sides that differ in anything but the kind of backbone.
///
/// # Errors
/// [`LabError::Mismatch`], with the first thing that differs.
pub(super) fn matched(left: &Checkpoint, right: &Checkpoint) -> Result<(), LabError> {
    let differ = |what: String| LabError::Mismatch {
        left: SERIES[0].to_owned(),
        right: SERIES[1].to_owned(),
        what,
    };
    for (of, prefix) in [("the acoustic model", "acoustic."), ("all parts", "")] {
        let (a, b) = (parameters(left, prefix), parameters(right, prefix));
        if a == 0 || (a as f64 - b as f64).abs() > MATCHED * a.max(b) as f64 {
            return Err(differ(format!(
                "parameters of {of} are {a} and {b}, more than 2 % apart"
            )));
        }
    }
    let (a, b) = (left.config(), right.config());
    for key in keys(a).union(&keys(b)) {
        if !BACKBONE.contains(&key.as_str()) && a.get(key) != b.get(key) {
            let word = |value: Option<&Value>| {
                let text = value.map_or("absent".to_owned(), Value::to_string);
                text.chars().take(60).collect::<String>()
            };
            let (a, b) = (word(a.get(key)), word(b.get(key)));
            return Err(differ(format!(
                "'{key}' of the configuration is {a} and {b}"
            )));
        }
    }
    let width = |config: &Value| config["acoustic"]["d_model"].clone();
    if width(a) != width(b) {
        let (a, b) = (width(a), width(b));
        return Err(differ(format!(
            "d_model of the acoustic model is {a} and {b}"
        )));
    }
    let (a, b) = (precision(left), precision(right));
    if a != b {
        return Err(differ(format!(
            "the acoustic model is stored as {a:?} and {b:?}"
        )));
    }
    // Mean and deviation of every band over all training speech: the data's own print.
    for name in ["mel.mean", "mel.std"] {
        let (a, b) = (
            left.f32(name).map_err(failed)?,
            right.f32(name).map_err(failed)?,
        );
        if a != b {
            return Err(differ(format!(
                "'{name}' differs, so they were trained on different data"
            )));
        }
    }
    Ok(())
}

fn keys(config: &Value) -> BTreeSet<String> {
    let object = config.as_object();
    object
        .map(|o| o.keys().cloned().collect())
        .unwrap_or_default()
}

/// A model that can speak.
pub(super) struct Side {
    pub(super) model: VoiceModel,
    pub(super) alphabet: Arc<Alphabet>,
    pub(super) speaker: Arc<Speaker>,
}

/// Both, or why one is not there; and the one reader of texts.
pub(super) struct Sides {
    pub(super) sides: [Result<Side, String>; 2],
    pub(super) front: FrontEnd,
}

impl Sides {
    pub(super) fn load(wanted: &Wanted) -> Result<Self, LabError> {
        let side = |found: &Found| match found {
            Ok(checkpoint) => Side::load(checkpoint).map(Ok),
            Err(reason) => Ok(Err(reason.clone())),
        };
        Ok(Sides {
            sides: [side(&wanted.found[0])?, side(&wanted.found[1])?],
            front: FrontEnd::new(Accent::Us).map_err(failed)?,
        })
    }
}

impl Side {
    fn load(checkpoint: &Checkpoint) -> Result<Self, LabError> {
        let model = VoiceModel::load(checkpoint).map_err(failed)?;
        let voices = model.voices().iter();
        let voice = voices.clone().find(|voice| voice.name == SPEAKER);
        let voice = voice.or(model.voices().first()).ok_or_else(|| {
            failed(format!(
                "{} has no voices; export it again",
                checkpoint.name()
            ))
        })?;
        let speaker = model.speaker(&Compute::new(1), voice).map_err(failed)?;
        Ok(Side {
            alphabet: Alphabet::of(&model),
            speaker,
            model,
        })
    }
}

/// How a text is spoken.
pub(super) fn options(carry: bool) -> SpeechOptions {
    SpeechOptions {
        reset: if carry {
            Reset::Never
        } else {
            Reset::SentenceEnd
        },
        ..SpeechOptions::default()
    }
}
