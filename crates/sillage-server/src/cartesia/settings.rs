//! What a request asks for, found: its voice, how it is read, how it is said.

use super::dictionaries::{self, Dictionary};
use super::request::{Generation, Wanted};
use super::substitutes::{Piece, Substituting};
use super::words::Words;
use crate::app::App;
use crate::fault::{Fault, Kind};
use crate::http;
use crate::keys::Caller;
use crate::speech::{Start, Stream};
use sillage_voice::{SpeechOptions, Voice};
use std::sync::Arc;

/// A stream that is ready for text.
pub(super) struct Begun {
    pub(super) stream: Stream,
    pub(super) voice: Voice,
    /// The transcript on its way to the stream.
    pub(super) text: Text,
}

/// A transcript that is handed to a stream as it comes.
pub(super) struct Text {
    substituting: Substituting,
    /// Characters so far, and the most there may be.
    chars: usize,
    most: usize,
}

/// Finds what a request names, off the threads that answer, and begins a stream.
///
/// # Errors
/// If something is not there or cannot be.
pub(super) async fn begin(
    app: &Arc<App>,
    caller: Caller,
    generation: &Arc<Generation>,
) -> Result<Begun, Fault> {
    generation.check_language()?;
    let (shared, asked) = (Arc::clone(app), Arc::clone(generation));
    let found = http::blocking(move || find(&shared, caller, &asked));
    let (start, voice, dictionary) = found.await?;
    Ok(Begun {
        stream: app.speech.begin(start),
        voice,
        text: Text {
            substituting: Substituting::new(dictionary.substitutes),
            chars: 0,
            most: app.config.limits.text_chars,
        },
    })
}

fn find(
    app: &App,
    caller: Caller,
    generation: &Generation,
) -> Result<(Start, Voice, Dictionary), Fault> {
    let mut voice = voice(app, caller, &generation.wanted()?)?;
    if let Some(accent) = generation.accent() {
        voice = voice.with_field("accent", accent);
    }
    let id = generation.pronunciation_dict_id.as_deref();
    let dictionary = match id.filter(|id| !id.is_empty()) {
        Some(id) => dictionaries::load(app, caller.owner, id)?,
        None => Dictionary::default(),
    };
    let front = app.voices.front(&voice, dictionary.sounds.as_deref())?;
    let options = SpeechOptions {
        speed: generation.speed(&front),
        volume: generation.volume(),
        payload: app.config.payload,
        ..SpeechOptions::default()
    };
    let start = Start {
        speaker: app.voices.speaker(&voice)?,
        front,
        options,
        timings: generation.add_timestamps || generation.add_phoneme_timestamps,
    };
    Ok((start, voice, dictionary))
}

/// A voice as it is named.
///
/// # Errors
/// If there is none such.
pub(super) fn voice(app: &App, caller: Caller, wanted: &Wanted) -> Result<Voice, Fault> {
    match wanted {
        Wanted::Id(id) => Ok(app.voices.find(caller.owner, id)?.voice),
        Wanted::Numbers(numbers) => app.voices.from_embedding(caller.owner, numbers),
    }
}

impl Text {
    /// Hands text to the stream, and to the words that are to be timed.
    ///
    /// # Errors
    /// If there is too much of it.
    pub(super) fn push(
        &mut self,
        text: &str,
        stream: &Stream,
        words: Option<&mut Words>,
    ) -> Result<(), Fault> {
        self.chars += text.chars().count();
        if self.chars > self.most {
            let message = format!(
                "the transcript has more than {} characters: send it in several requests or contexts",
                self.most
            );
            let mut fault = Fault::new(Kind::TooLarge, "transcript_too_long", message);
            fault.param = Some("transcript".to_owned());
            return Err(fault);
        }
        hand(self.substituting.push(text), stream, words);
        Ok(())
    }

    /// Hands over what waits for a word's end.
    pub(super) fn settle(&mut self, stream: &Stream, words: Option<&mut Words>) {
        hand(self.substituting.settle(), stream, words);
    }

    /// Characters so far.
    pub(super) fn chars(&self) -> usize {
        self.chars
    }
}

fn hand(pieces: Vec<Piece>, stream: &Stream, mut words: Option<&mut Words>) {
    for piece in pieces {
        if let Some(words) = &mut words {
            words.add(&piece.spoken, piece.original.as_deref());
        }
        stream.push(&piece.spoken);
    }
}

/// A request's transcript must hold something.
///
/// # Errors
/// If it does not.
pub(super) fn check_transcript(generation: &Generation) -> Result<(), Fault> {
    if generation.text().trim().is_empty() {
        let mut fault = Fault::bad(
            "transcript",
            "the transcript is empty: send the text to be spoken",
        );
        fault.code = "empty_transcript";
        return Err(fault);
    }
    Ok(())
}
