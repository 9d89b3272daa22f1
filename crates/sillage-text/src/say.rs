//! Tokens to readings: parts of speech from left to right, then pronunciations from right to left,
//! since a word's form depends on what follows it.

use crate::{
    Dictionary,
    heteronyms::{Around, sense, settle},
    normalise::{Kind, Token, row_and_ending},
    phones::{self, PRIMARY, Stress, restress, weight},
    pronounce::{Context, Speaker},
    tagger::{Columns, History, Tagger, columns, number_columns},
    tags::Tag,
};

/// Longest word that is looked for as a compound of two others.
const LONGEST_COMPOUND: usize = 24;

/// All that turns tokens into readings.
#[derive(Debug)]
pub(crate) struct Voice {
    pub(crate) speaker: Speaker,
    pub(crate) tagger: Tagger,
}

impl Voice {
    /// A reading for each token; marks stand for themselves.
    pub(crate) fn say(
        &self,
        tokens: &[Token],
        history: &mut History,
        dictionary: &Dictionary,
    ) -> Vec<String> {
        let tags = self.tags(tokens, history);
        let lower: Vec<String> = tokens
            .iter()
            .map(|token| token.text.to_lowercase())
            .collect();
        let mut context = Context::default();
        let mut readings = vec![String::new(); tokens.len()];
        for (at, token) in tokens.iter().enumerate().rev() {
            if token.kind == Kind::Mark {
                context = Context::default();
                readings[at].clone_from(&token.text);
                continue;
            }
            let around = around(tokens, &lower, at);
            let reading = self.token(token, &tags[at], around, context, dictionary);
            context = context.before(&reading, &token.text);
            readings[at] = reading.replace('ɾ', "T").replace('ʔ', "t");
        }
        readings
    }

    /// The tags of each token's parts.
    fn tags(&self, tokens: &[Token], history: &mut History) -> Vec<Vec<Tag>> {
        let mut out = Vec::with_capacity(tokens.len());
        for stretch in tokens.split_inclusive(|token| token.kind == Kind::Mark) {
            let mut rows: Vec<(Columns, Option<Tag>)> = Vec::new();
            let mut counts = Vec::new();
            for token in stretch {
                let before = rows.len();
                match token.kind {
                    Kind::Number => rows.push((number_columns(), Some(Tag::CD))),
                    Kind::Mark => rows.push((columns(&token.text), Some(Tag::PCT))),
                    Kind::Letters | Kind::Spelt | Kind::Phones => {
                        rows.push((columns(&token.text), Some(Tag::NNP)))
                    }
                    Kind::Word => {
                        rows.extend(
                            token
                                .text
                                .split('-')
                                .filter(|part| !part.is_empty())
                                .map(|part| (columns(part), None)),
                        );
                    }
                }
                counts.push(rows.len() - before);
            }
            let mut tags = self.tagger.tag(&rows, history).into_iter();
            for count in counts {
                out.push(tags.by_ref().take(count).collect());
            }
        }
        out
    }

    fn token(
        &self,
        token: &Token,
        tags: &[Tag],
        around: Around<'_>,
        context: Context,
        dictionary: &Dictionary,
    ) -> String {
        let tag = tags.first().copied().unwrap_or(Tag::NN);
        match token.kind {
            Kind::Phones => phones::parse(&token.text, self.speaker.accent).unwrap_or_default(),
            Kind::Spelt => {
                let letter = self
                    .speaker
                    .lexicon
                    .exact(&token.text)
                    .and_then(|entry| entry.plain());
                letter.map_or_else(String::new, |letter| restress(&letter, Stress::Shout))
            }
            Kind::Letters => {
                let (row, ending) = row_and_ending(&token.text);
                if let Some(reading) = dictionary.get(&token.text) {
                    return reading;
                }
                let spelt = self.speaker.spell(row).unwrap_or_else(|| self.unknown(row));
                if ending.is_empty() {
                    spelt
                } else {
                    self.speaker.with_s(&spelt)
                }
            }
            Kind::Number => self
                .speaker
                .known(&token.text, tag, context)
                .unwrap_or_else(|| self.unknown(&token.text)),
            Kind::Word | Kind::Mark => dictionary.get(&token.text).unwrap_or_else(|| {
                let lower = token.text.to_lowercase();
                let two_ways = self
                    .speaker
                    .lexicon
                    .exact(&lower)
                    .is_some_and(|entry| entry.has_verb());
                let tag = if two_ways { settle(tag, around) } else { tag };
                let settled = [tag];
                let tags = if two_ways { &settled } else { tags };
                sense(&lower, tag, around, self.speaker.accent).map_or_else(
                    || self.word(&token.text, tags, context, dictionary),
                    str::to_owned,
                )
            }),
        }
    }

    /// A word that may be a compound: the longest known parts from its end on.
    fn word(&self, text: &str, tags: &[Tag], context: Context, dictionary: &Dictionary) -> String {
        let tag = tags.first().copied().unwrap_or(Tag::NN);
        if !text.contains('-')
            && let Some(reading) = self.speaker.known(text, tag, context)
        {
            return reading;
        }
        // McDonald, OpenAI
        let lower = text.to_lowercase();
        if let Some(reading) = self
            .speaker
            .lexicon
            .exact(&lower)
            .filter(|_| lower != text)
            .and_then(|entry| entry.plain())
        {
            return reading;
        }
        let parts = parts(text);
        if parts.len() < 2 {
            return self.unknown(text);
        }
        let tag_of = |at: usize| -> Tag {
            let hyphens = text[..parts[at].0].matches('-').count();
            tags.get(hyphens)
                .or(tags.last())
                .copied()
                .unwrap_or(Tag::NN)
        };
        let mut said: Vec<(String, usize)> = Vec::new();
        let mut context = context;
        let mut right = parts.len();
        while right > 0 {
            let mut left = 0;
            let (reading, from) = loop {
                let piece = &text[parts[left].0..parts[right - 1].1];
                let letter = piece.len() == 1 && parts.len() > 1;
                let spelt = letter.then(|| self.speaker.spell(piece)).flatten();
                let spelt = if piece == "Mc" {
                    Some("mək".to_owned())
                } else {
                    spelt
                };
                let own = dictionary.get(piece).or(spelt);
                let known = own.or_else(|| self.speaker.known(piece, tag_of(right - 1), context));
                match known {
                    Some(reading) => break (reading, left),
                    None if left + 1 == right => break (self.unknown(piece), left),
                    None => left += 1,
                }
            };
            context = context.before(&reading, "");
            said.push((reading, parts[right - 1].1 - parts[from].0));
            right = from;
        }
        said.reverse();
        join(said)
    }

    /// A word that nothing knows: stems with endings and prefixes, two words in one, else letters.
    fn unknown(&self, word: &str) -> String {
        let lower = word.to_lowercase();
        if let Some(stem) = lower.strip_suffix("'s").filter(|stem| !stem.is_empty()) {
            return self.speaker.with_s(&self.unknown(stem));
        }
        let bare: String = lower.chars().filter(|c| c.is_alphabetic()).collect();
        if let Some(reading) = self.compound(&bare) {
            return reading;
        }
        self.speaker.letters.read(&lower, self.speaker.accent)
    }

    /// Two words of the dictionary in one: *blockchain*. Both must be checked by hand and long
    /// enough not to be found by chance.
    fn compound(&self, word: &str) -> Option<String> {
        if !word.is_ascii() || !(8..=LONGEST_COMPOUND).contains(&word.len()) {
            return None;
        }
        let half = |part: &str| {
            let entry = self
                .speaker
                .lexicon
                .exact(part)
                .filter(|entry| entry.gold)?;
            entry.plain().filter(|reading| reading.contains(PRIMARY))
        };
        let middle = word.len() / 2;
        let mut cuts: Vec<usize> = (4..=word.len() - 4).collect();
        cuts.sort_by_key(|cut| cut.abs_diff(middle));
        cuts.into_iter().find_map(|cut| {
            let (first, second) = (half(&word[..cut])?, half(&word[cut..])?);
            Some(format!("{first}{}", restress(&second, Stress::Demote)))
        })
    }
}

/// The neighbours of a token within its stretch.
fn around<'a>(tokens: &[Token], lower: &'a [String], at: usize) -> Around<'a> {
    let word = |at: Option<usize>| -> &'a str {
        at.filter(|&at| tokens.get(at).is_some_and(|token| token.kind != Kind::Mark))
            .map_or("", |at| lower[at].as_str())
    };
    let before = word(at.checked_sub(1));
    let two_before = if before.is_empty() {
        ""
    } else {
        word(at.checked_sub(2))
    };
    Around {
        two_before,
        before,
        after: word(Some(at + 1)),
        first: before.is_empty(),
    }
}

/// Where the parts between hyphens, slashes and humps start and end.
fn parts(text: &str) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut start = 0;
    for piece in text.split(['-', '/', '_']) {
        let mut at = start;
        for hump in crate::normalise::humps(piece) {
            out.push((at, at + hump.len()));
            at += hump.len();
        }
        start += piece.len() + 1;
    }
    out
}

/// Parts of a compound as one word: of several equal stresses the lighter parts lose theirs.
fn join(mut said: Vec<(String, usize)>) -> String {
    let count = said
        .iter()
        .filter(|(reading, _)| !reading.is_empty())
        .count();
    let stressed = |reading: &str| reading.contains(PRIMARY);
    if count == 2 && said.len() == 2 && said[0].1 == 1 {
        said[1].0 = restress(&said[1].0, Stress::Demote);
    } else if count > 1
        && said.iter().filter(|(reading, _)| stressed(reading)).count() > count.div_ceil(2)
    {
        let mut order: Vec<usize> = (0..said.len())
            .filter(|&at| !said[at].0.is_empty())
            .collect();
        order.sort_by_key(|&at| (stressed(&said[at].0), weight(&said[at].0), at));
        for &at in &order[..count / 2] {
            said[at].0 = restress(&said[at].0, Stress::Demote);
        }
    }
    let joined: String = said.into_iter().map(|(reading, _)| reading).collect();
    joined.replace("məkk", "mək")
}
