//! Text as it is written: whole characters only, stop strings cut out.

use sillage_formats::{StreamDecoder, Tokenizer};
use std::sync::Arc;

/// Tokens in, text out, up to the first stop string.
#[derive(Debug)]
pub struct TextStream {
    tokenizer: Arc<Tokenizer>,
    decoder: StreamDecoder,
    stops: StopStrings,
    stopped: bool,
}

impl TextStream {
    /// A stream that `continues` an earlier text (see [`Tokenizer::stream`]) and
    /// watches for `stops`.
    #[must_use]
    pub fn new(
        tokenizer: Arc<Tokenizer>,
        continues: bool,
        stops: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            decoder: tokenizer.stream(continues),
            tokenizer,
            stops: StopStrings::new(stops),
            stopped: false,
        }
    }

    /// Adds a token.
    pub fn push(&mut self, token: u32) -> Passed {
        let text = self.decoder.push(&self.tokenizer, token);
        let passed = self.stops.push(&text);
        self.stopped = passed.stopped;
        passed
    }

    /// What was held back, once nothing more will come.
    pub fn finish(&mut self) -> String {
        if self.stopped {
            return String::new();
        }
        let passed = self.stops.push(&self.decoder.finish());
        match passed.stopped {
            true => passed.text,
            false => passed.text + &self.stops.finish(),
        }
    }
}

/// Finds stop strings in a stream of text and holds back what may become one.
#[derive(Clone, Debug, Default)]
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
}

/// What [`StopStrings::push`] lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Text that can no longer become part of a stop string.
    pub text: String,
    /// A stop string was found; nothing after it will be let through.
    pub stopped: bool,
}

impl StopStrings {
    /// Watches for `stops`; empty ones are ignored.
    #[must_use]
    pub fn new(stops: impl IntoIterator<Item = String>) -> Self {
        let stops = stops.into_iter().filter(|s| !s.is_empty()).collect();
        Self {
            stops,
            held: String::new(),
        }
    }

    /// Takes in more text.
    pub fn push(&mut self, text: &str) -> Passed {
        self.held.push_str(text);
        if let Some(at) = self
            .stops
            .iter()
            .filter_map(|s| self.held.find(s.as_str()))
            .min()
        {
            let mut text = std::mem::take(&mut self.held);
            text.truncate(at);
            return Passed {
                text,
                stopped: true,
            };
        }
        let hold = self
            .stops
            .iter()
            .map(|stop| overlap(&self.held, stop))
            .max()
            .unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - hold);
        Passed {
            text: std::mem::replace(&mut self.held, rest),
            stopped: false,
        }
    }

    /// The text held back when the stream ends.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes of the longest proper beginning of `stop` that `text` ends with.
fn overlap(text: &str, stop: &str) -> usize {
    stop.char_indices()
        .map(|(at, _)| at)
        .filter(|&at| at > 0 && text.ends_with(&stop[..at]))
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn holds_back_and_cuts() {
        let mut stops = StopStrings::new(["\n\nUser:".to_owned()]);
        assert_eq!(stops.push("Hello\n").text, "Hello");
        assert_eq!(stops.push("there\n").text, "\nthere");
        assert_eq!(
            stops.push("\nUse"),
            Passed {
                text: String::new(),
                stopped: false
            }
        );
        assert_eq!(
            stops.push("r: no"),
            Passed {
                text: String::new(),
                stopped: true
            }
        );
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_same_text(
            text in "[abé]{0,24}", stop in "[abé]{1,4}", cuts in prop::collection::vec(1usize..5, 0..12)
        ) {
            let mut stops = StopStrings::new([stop.clone()]);
            let (mut out, mut stopped) = (String::new(), false);
            let letters: Vec<char> = text.chars().collect();
            let (mut at, mut cuts) = (0, cuts.into_iter().chain(std::iter::repeat(3)));
            while at < letters.len() && !stopped {
                let end = (at + cuts.next().unwrap_or(1)).min(letters.len());
                let passed = stops.push(&letters[at..end].iter().collect::<String>());
                out.push_str(&passed.text);
                stopped = passed.stopped;
                at = end;
            }
            if !stopped {
                out.push_str(&stops.finish());
            }
            let expected = text.find(&stop).map_or(text.as_str(), |at| &text[..at]);
            prop_assert_eq!(out, expected);
        }
    }
}
