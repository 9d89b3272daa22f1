//! Timed words as the transcript has them.
//!
//! Clients find the words of timestamps in the text they sent, so each is told
//! with all that touches it there and nothing is left out: what was not spoken
//! (a lone dash, an emoji) gets a moment of its own. The voice tells what it says
//! in pieces that may be smaller, such as the halves of `well—known`.

use sillage_voice::WordTiming;
use std::collections::VecDeque;
use std::ops::Range;

/// Bytes of text in which the next word is looked for first.
const WINDOW: usize = 4096;
/// The longest tag.
const TAG: usize = 128;
/// Stands for a space within what was said differently: no end of a word.
const INNER: char = '\u{E000}';
/// Seconds that a word takes which is not spoken: clients want an end behind
/// each beginning.
const MOMENT: f64 = 0.001;

/// A word and when it is said, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Timed {
    pub(super) word: String,
    pub(super) start: f64,
    pub(super) end: f64,
}

/// Follows a transcript through what its voice tells.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// What was given to be spoken; said up to `at`.
    text: String,
    at: usize,
    /// Bytes before `text`.
    base: usize,
    /// What was given in place of something else, in bytes from the beginning.
    replaced: VecDeque<(Range<usize>, String)>,
    /// The word that has begun.
    open: String,
    times: Option<(f64, f64)>,
    /// Where the last word ended.
    last: f64,
}

impl Words {
    /// Notes text that is given to be spoken; `original` is what the transcript
    /// has in its place.
    pub(super) fn add(&mut self, spoken: &str, original: Option<&str>) {
        if let Some(original) = original {
            let start = self.base + self.text.len();
            let original = original.replace(char::is_whitespace, &INNER.to_string());
            self.replaced
                .push_back((start..start + spoken.len(), original));
        }
        self.text.push_str(spoken);
    }

    /// The words that are complete with what the voice told.
    pub(super) fn tell(&mut self, told: &[WordTiming]) -> Vec<Timed> {
        let mut out = Vec::new();
        for timing in told {
            self.word(timing, &mut out);
        }
        out
    }

    /// What is left when all is said.
    pub(super) fn finish(&mut self) -> Vec<Timed> {
        let mut out = Vec::new();
        let rest = self.original(self.at..self.text.len());
        self.pass(&rest, &mut out);
        self.close(&mut out);
        self.at = self.text.len();
        out
    }

    fn word(&mut self, timing: &WordTiming, out: &mut Vec<Timed>) {
        if let Some(start) = self.find(&timing.text) {
            let end = start + timing.text.len();
            let gap = self.original(self.at..start);
            self.pass(&gap, out);
            let word = self.original(start..end);
            self.open.push_str(&word);
            self.at = end;
        } else {
            // Text that nobody gave; told as it is.
            self.close(out);
            self.open.push_str(&timing.text);
        }
        let (start, _) = self.times.unwrap_or((timing.start, timing.end));
        self.times = Some((start, timing.end));
        if self.is_complete() {
            self.close(out);
        }
        self.tidy();
    }

    /// Whether nothing that follows belongs to the word said last.
    fn is_complete(&self) -> bool {
        let at = self.base + self.at;
        let inside = self
            .replaced
            .iter()
            .any(|(span, _)| span.start < at && at < span.end);
        let next = self.text[self.at..].chars().next();
        !inside && next.is_none_or(char::is_whitespace)
    }

    /// Passes over text between two spoken words.
    fn pass(&mut self, gap: &str, out: &mut Vec<Timed>) {
        let Some((touching, rest)) = gap.split_once(char::is_whitespace) else {
            self.open.push_str(gap);
            return;
        };
        self.open.push_str(touching);
        self.close(out);
        for piece in rest.split_whitespace() {
            // The last piece may begin the next word.
            self.close(out);
            self.open.push_str(piece);
        }
        if rest.ends_with(char::is_whitespace) {
            self.close(out);
        }
    }

    /// Ends the word that has begun.
    fn close(&mut self, out: &mut Vec<Timed>) {
        let word = std::mem::take(&mut self.open);
        let silent = (self.last, self.last + MOMENT);
        let (start, end) = self.times.take().unwrap_or(silent);
        let parts: Vec<&str> = word.split(INNER).filter(|w| !w.is_empty()).collect();
        let letters = parts
            .iter()
            .map(|w| w.chars().count())
            .sum::<usize>()
            .max(1);
        let mut from = start;
        for part in parts {
            let share = part.chars().count() as f64 / letters as f64;
            let to = from + share * (end - start);
            out.push(Timed {
                word: part.to_owned(),
                start: from,
                end: to.max(from + MOMENT),
            });
            from = to;
        }
        self.last = self.last.max(end);
    }

    /// Where the next word is, if it is there.
    fn find(&self, word: &str) -> Option<usize> {
        if word.is_empty() {
            return None;
        }
        let rest = &self.text[self.at..];
        let near = &rest[..rest.floor_char_boundary(WINDOW.max(2 * word.len()))];
        let found = Self::find_in(near, word).or_else(|| Self::find_in(rest, word));
        found.map(|at| self.at + at)
    }

    fn find_in(text: &str, word: &str) -> Option<usize> {
        let tags = tags(text);
        let joint = |c: char| c.is_whitespace() || matches!(c, '-' | '—' | '―' | '<' | '>');
        let mut first = None;
        for (at, _) in text.match_indices(word) {
            if tags.iter().any(|(tag, _)| tag.contains(&at)) {
                continue;
            }
            let before = text[..at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            if before.is_none_or(joint) && after.is_none_or(joint) {
                return Some(at);
            }
            first = first.or(Some(at));
        }
        first
    }

    /// A stretch as the transcript has it, without its tags.
    fn original(&self, range: Range<usize>) -> String {
        let text = &self.text[range.clone()];
        let tags = tags(text);
        let mut out = String::new();
        for (at, c) in text.char_indices() {
            if let Some((tag, joins)) = tags.iter().find(|(tag, _)| tag.contains(&at)) {
                if tag.start == at && !joins {
                    out.push(' ');
                }
                continue;
            }
            let place = self.base + range.start + at;
            match self.replaced.iter().find(|(span, _)| span.contains(&place)) {
                Some((span, original)) if span.start == place => out.push_str(original),
                Some(_) => {}
                None => out.push(c),
            }
        }
        out
    }

    /// Forgets what is said.
    fn tidy(&mut self) {
        if self.at >= 2 * WINDOW {
            self.text.drain(..self.at);
            self.base += self.at;
            self.at = 0;
        }
        let said = self.base + self.at;
        while self
            .replaced
            .front()
            .is_some_and(|(span, _)| span.end <= said)
        {
            self.replaced.pop_front();
        }
    }
}

/// The tags of a text, and whether what is around them is one word.
fn tags(text: &str) -> Vec<(Range<usize>, bool)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(start) = text[from..].find('<').map(|at| from + at) {
        from = start + 1;
        let inside = &text[start + 1..];
        if inside.starts_with('<') {
            // Phonemes are a word.
            from = inside
                .find(">>")
                .map_or(start + 2, |end| start + 1 + end + 2);
            continue;
        }
        let name = inside.trim_start_matches('/');
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            continue;
        }
        let window = &inside[..inside.floor_char_boundary(TAG)];
        if let Some(end) = window
            .find(['>', '<'])
            .filter(|at| window[*at..].starts_with('>'))
        {
            let end = start + 1 + end + 1;
            let spell = name
                .get(..5)
                .is_some_and(|n| n.eq_ignore_ascii_case("spell"));
            found.push((start..end, spell));
            from = end;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told for a transcript whose words are said one a second.
    fn told(words: &mut Words, said: &[&str]) -> Vec<Timed> {
        let mut out = Vec::new();
        for (at, word) in said.iter().enumerate() {
            let timing = WordTiming {
                text: (*word).to_owned(),
                start: at as f64,
                end: at as f64 + 0.5,
            };
            out.extend(words.tell(&[timing]));
        }
        out.extend(words.finish());
        out
    }

    fn of(text: &str, said: &[&str]) -> Vec<String> {
        let mut words = Words::default();
        words.add(text, None);
        let told = told(&mut words, said);
        for pair in told.windows(2) {
            assert!(pair[0].start < pair[0].end, "{pair:?}");
            assert!(pair[0].end <= pair[1].start + 2.0 * MOMENT, "{pair:?}");
        }
        told.into_iter().map(|t| t.word).collect()
    }

    #[test]
    fn words_keep_their_punctuation_and_order() {
        let text = "“Well—known,” she said - twice… ☺";
        let said = ["“Well", "known,”", "she", "said", "twice…"];
        let expected: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(of(text, &said), expected);
    }

    #[test]
    fn tags_are_no_words_and_part_them() {
        let text = "It is time.<break time=\"1s\"/>Now <emotion value=\"time\"/> time <spell>AB</spell>, <<m|ɛ|t>>.";
        let said = ["It", "is", "time.", "Now", "time", "AB", "m|ɛ|t"];
        let expected = ["It", "is", "time.", "Now", "time", "AB,", "<<m|ɛ|t>>."];
        assert_eq!(of(text, &said), expected);
    }

    #[test]
    fn a_word_is_told_at_once_when_nothing_can_join_it() {
        let mut words = Words::default();
        words.add("one two", None);
        let timing = |text: &str| WordTiming {
            text: text.to_owned(),
            start: 0.0,
            end: 0.5,
        };
        assert_eq!(words.tell(&[timing("one")]).len(), 1);
        assert_eq!(words.tell(&[timing("two")]).len(), 1);
        words.add("—three", None);
        assert_eq!(words.tell(&[timing("three")])[0].word, "—three");
        assert!(words.finish().is_empty());
    }

    #[test]
    fn what_was_said_differently_is_told_as_it_was_written() {
        let mut words = Words::default();
        words.add("in ", None);
        words.add("New York City", Some("NYC"));
        words.add(", by ", None);
        words.add("<<ɛ|m>>", Some("A B"));
        words.add(" now", None);
        let told = told(
            &mut words,
            &["in", "New", "York", "City,", "by", "ɛ|m", "now"],
        );
        let texts: Vec<&str> = told.iter().map(|t| t.word.as_str()).collect();
        assert_eq!(texts, ["in", "NYC,", "by", "A", "B", "now"]);
        assert_eq!((told[1].start, told[1].end), (1.0, 3.5));
        assert_eq!((told[3].end, told[4].start), (5.25, 5.25));
    }

    #[test]
    fn a_long_transcript_is_forgotten_as_it_is_said() {
        let mut words = Words::default();
        let text = "a bc def ".repeat(3000);
        words.add(&text, None);
        let said: Vec<&str> = text.split_whitespace().collect();
        let told = told(&mut words, &said);
        assert_eq!(told.len(), said.len());
        assert!(words.text.len() < 3 * WINDOW);
    }
}
