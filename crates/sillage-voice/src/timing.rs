//! When words and phones are said.

use crate::config::{FRAMES_PER_STEP, HOP, SAMPLE_RATE};
use crate::phrase::Phrase;
use serde::{Deserialize, Serialize};

/// When a word is said, in seconds from the first sample of the utterance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WordTiming {
    /// The word exactly as it was written.
    pub text: String,
    /// Where it begins.
    pub start: f64,
    /// Where it ends.
    pub end: f64,
}

/// When a unit is said, in seconds from the first sample of the utterance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PhoneTiming {
    /// Its number in the model's [`symbols`](crate::VoiceModel::symbols).
    pub symbol: u16,
    /// Where it begins.
    pub start: f64,
    /// Where it ends.
    pub end: f64,
}

/// What was planned and not yet asked for, in steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Timeline {
    /// Steps planned so far.
    planned: u64,
    words: Vec<(String, u64, u64)>,
    phones: Vec<(u16, u64, u64)>,
}

impl Timeline {
    /// Notes a phrase whose units last `counts` steps.
    pub(crate) fn plan(&mut self, phrase: &Phrase, counts: &[u32]) {
        self.planned = self.planned.saturating_add(u64::from(phrase.pause));
        let mut ends = vec![self.planned];
        for (unit, count) in phrase.units.iter().zip(counts) {
            let end = self.planned.saturating_add(u64::from(*count));
            self.phones.push((unit.symbol, self.planned, end));
            self.planned = end;
            ends.push(end);
        }
        let words = phrase.words.iter().map(|word| {
            let (start, end) = (ends[word.units.start], ends[word.units.end]);
            (word.text.clone(), start, end)
        });
        self.words.extend(words);
    }

    pub(crate) fn take_words(&mut self) -> Vec<WordTiming> {
        let word = |(text, start, end)| WordTiming {
            text,
            start: seconds(start),
            end: seconds(end),
        };
        std::mem::take(&mut self.words)
            .into_iter()
            .map(word)
            .collect()
    }

    pub(crate) fn take_phones(&mut self) -> Vec<PhoneTiming> {
        let phone = |(symbol, start, end)| PhoneTiming {
            symbol,
            start: seconds(start),
            end: seconds(end),
        };
        std::mem::take(&mut self.phones)
            .into_iter()
            .map(phone)
            .collect()
    }
}

fn seconds(steps: u64) -> f64 {
    steps as f64 * (HOP * FRAMES_PER_STEP) as f64 / f64::from(SAMPLE_RATE)
}
