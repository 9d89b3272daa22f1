//! When every word and every phoneme of it is said, as a file of JSON.

use anyhow::{Context, Result};
use serde::Serialize;
use sillage_voice::{PhoneTiming, WordTiming};
use std::io::Write;
use std::path::Path;

/// Gathers what an utterance tells on its way.
#[derive(Default)]
pub(super) struct Timestamps {
    words: Vec<WordTiming>,
    phones: Vec<PhoneTiming>,
}

#[derive(Serialize)]
struct Word<'a> {
    #[serde(flatten)]
    timing: &'a WordTiming,
    phonemes: Vec<Phoneme<'a>>,
}

#[derive(Serialize)]
struct Phoneme<'a> {
    symbol: &'a str,
    start: f64,
    end: f64,
}

impl Timestamps {
    pub(super) fn add(&mut self, words: Vec<WordTiming>, phones: Vec<PhoneTiming>) {
        self.words.extend(words);
        self.phones.extend(phones);
    }

    /// Writes an array of words, each with its phonemes; `symbols` are the model's.
    pub(super) fn write(&self, path: &Path, symbols: &[String]) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.joined(symbols)).context("timestamps")?;
        sillage_state::write_file(path, |file| writeln!(file, "{text}"))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Both lists are in the order of time; spaces and marks belong to no word.
    fn joined<'a>(&'a self, symbols: &'a [String]) -> Vec<Word<'a>> {
        let mut phones = self.phones.iter().peekable();
        let word = |timing: &'a WordTiming| {
            while phones.next_if(|p| p.start < timing.start).is_some() {}
            let mut phonemes = Vec::new();
            while let Some(phone) = phones.next_if(|p| p.end <= timing.end) {
                let symbol = symbols.get(usize::from(phone.symbol)).map(String::as_str);
                let sounds =
                    |s: &&str| s.chars().count() == 1 && s.chars().all(char::is_alphabetic);
                if let Some(symbol) = symbol.filter(sounds) {
                    phonemes.push(Phoneme {
                        symbol,
                        start: phone.start,
                        end: phone.end,
                    });
                }
            }
            Word { timing, phonemes }
        };
        self.words.iter().map(word).collect()
    }
}
