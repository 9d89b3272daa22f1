//! Whether a voice may be made from a recording: one person speaks in it, and that person has agreed.
//!
//! Consent is a recording of a sentence, [`consent_sentence`], by the same speaker. Voices are compared by
//! the vectors that the speaker encoder hears; where a recogniser is at hand, the sentence's words are too.

use crate::SAMPLE_RATE;
use crate::error::VoiceError;
use crate::model::VoiceModel;
use crate::voice::Voice;
use sillage_audio::check::{Refusal, Rules, check_clip};
use sillage_kernels::Compute;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Two recordings with a likeness (cosine of voice vectors) below this are taken for two people. Of pairs
/// of 4 s pieces of 20 readers whom training never heard, none of one reader's fell below it and 3.4 % of
/// two readers' lay above. One reader's pieces came from one sitting; other rooms need the margin. See the
/// model card.
pub const SAME_SPEAKER: f32 = 0.35;
/// Pieces of one clip this unlike are taken for two people talking: of the same pairs, none of one
/// reader's (the median is 0.68) and 93 % of two readers'.
pub const ONE_SPEAKER: f32 = 0.25;
/// Seconds of a piece when a clip is searched for a second speaker.
const PIECE: usize = 4;
/// The share of the consent sentence's words that a recogniser must hear.
const WORDS_HEARD: f64 = 0.7;

/// Why no voice is made from a recording.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloneError {
    /// The recording is not fit for it.
    #[error(transparent)]
    Clip(#[from] Refusal),
    /// The model cannot hear a voice in it.
    #[error(transparent)]
    Voice(#[from] VoiceError),
    /// More than one person speaks.
    #[error(
        "two people seem to speak in this clip (likeness of its parts {likeness:.2}): cut out one of them"
    )]
    TwoSpeakers {
        /// Of the two parts that are least alike.
        likeness: f32,
    },
    /// The consent is somebody else's.
    #[error(
        "the consent does not sound like the speaker of the clip (likeness {likeness:.2}, {SAME_SPEAKER} is needed): \
         it must be spoken by the person whose voice is cloned; if it was, record both with the same microphone"
    )]
    OtherSpeaker {
        /// Of clip and consent.
        likeness: f32,
    },
    /// Something else was said.
    #[error(
        "the recording does not hold the consent sentence ({heard:.0} % of its words were heard): record the speaker saying: {sentence}"
    )]
    OtherWords {
        /// Percentage of the words.
        heard: f64,
        /// What is to be said.
        sentence: String,
    },
    /// The recogniser does not work.
    #[error("the recogniser {program} does not work: {what}")]
    Recogniser {
        /// Its program.
        program: PathBuf,
        /// What went wrong.
        what: String,
    },
}

/// What the speaker has to say for a voice of that name.
#[must_use]
pub fn consent_sentence(name: &str) -> String {
    let spoken = name.replace(['-', '_'], " ");
    format!(
        "I am the speaker of this recording, and I agree that Sillage makes a synthetic copy of my voice with the name {spoken}."
    )
}

/// The voice in a recording (mono, 24 kHz) that is fit to be heard.
///
/// # Errors
/// If the recording is too short, too long, silent, overdriven or without speech, or too little of it is speech.
pub fn hear(
    model: &VoiceModel,
    cx: &Compute,
    name: &str,
    samples: &[f32],
) -> Result<Voice, CloneError> {
    check_clip(samples, SAMPLE_RATE, &Rules::default())?;
    Ok(model.clone_voice(cx, name, samples)?)
}

/// The voice in a recording (mono, 24 kHz) in which one person speaks.
///
/// # Errors
/// As [`hear`], and if its parts sound like different people.
pub fn hear_one(
    model: &VoiceModel,
    cx: &Compute,
    name: &str,
    samples: &[f32],
) -> Result<Voice, CloneError> {
    let voice = hear(model, cx, name, samples)?;
    let size = PIECE * SAMPLE_RATE as usize;
    let mut pieces = Vec::new();
    for piece in samples.chunks(size).filter(|piece| piece.len() >= size) {
        // A piece with too little speech in it says nothing about who speaks.
        if let Ok(voice) = model.clone_voice(cx, "piece", piece) {
            pieces.push(voice);
        }
    }
    for (at, a) in pieces.iter().enumerate() {
        for b in &pieces[..at] {
            let likeness = likeness(a, b);
            if likeness < ONE_SPEAKER {
                return Err(CloneError::TwoSpeakers { likeness });
            }
        }
    }
    Ok(voice)
}

/// Whether two voices may be one person's; their likeness.
///
/// # Errors
/// If they are too unlike.
pub fn same_speaker(clip: &Voice, consent: &Voice) -> Result<f32, CloneError> {
    let likeness = likeness(clip, consent);
    if likeness < SAME_SPEAKER {
        return Err(CloneError::OtherSpeaker { likeness });
    }
    Ok(likeness)
}

/// The cosine of two voice vectors.
#[must_use]
pub fn likeness(a: &Voice, b: &Voice) -> f32 {
    let dot = |x: &[f32], y: &[f32]| -> f32 { x.iter().zip(y).map(|(x, y)| x * y).sum() };
    let lengths = dot(&a.vector, &a.vector) * dot(&b.vector, &b.vector);
    dot(&a.vector, &b.vector) / lengths.sqrt().max(1e-9)
}

/// The share of `sentence`'s words that `recogniser` hears in a sound file: a program that takes the file
/// as its argument and prints what is said in it.
///
/// # Errors
/// If the program fails, or hears too few of the words.
pub fn words_heard(recogniser: &Path, file: &Path, sentence: &str) -> Result<f64, CloneError> {
    let failed = |what: String| CloneError::Recogniser {
        program: recogniser.to_owned(),
        what,
    };
    let output = Command::new(recogniser).arg(file).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(format!("it ended with {}", output.status)));
    }
    let words = |text: &str| -> Vec<String> {
        let plain = text
            .to_lowercase()
            .replace(|c: char| !c.is_alphanumeric(), " ");
        plain.split_whitespace().map(str::to_owned).collect()
    };
    let heard = words(&String::from_utf8_lossy(&output.stdout));
    let wanted = words(sentence);
    let found = wanted.iter().filter(|word| heard.contains(word)).count();
    let share = found as f64 / wanted.len().max(1) as f64;
    if share < WORDS_HEARD {
        return Err(CloneError::OtherWords {
            heard: 100.0 * share,
            sentence: sentence.to_owned(),
        });
    }
    Ok(share)
}
