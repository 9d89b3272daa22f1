//! The reading of one word, by dictionary, inflection and the words around it.
//!
//! The rules follow the habits of misaki (Apache-2.0), whose readings the voices were trained on:
//! which function words are reduced before what, how a capital adds stress, how endings sound.

use crate::{
    Accent,
    letters::Letters,
    lexicon::Lexicon,
    phones::{PRIMARY, SECONDARY, Stress, is_consonant, is_vowel, restress},
    tags::Tag,
};

/// What the rest of the phrase tells about a word.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Context {
    /// Whether a vowel follows; `None` before a pause.
    pub(crate) vowel: Option<bool>,
    /// Whether the next word is *to*.
    pub(crate) to: bool,
}

impl Context {
    /// The context of the word before this one.
    pub(crate) fn before(self, reading: &str, word: &str) -> Self {
        let heard = reading.chars().find_map(|c| {
            if is_vowel(c) {
                Some(true)
            } else {
                is_consonant(c).then_some(false)
            }
        });
        Self {
            vowel: heard.or(self.vowel),
            to: matches!(word, "to" | "To" | "TO"),
        }
    }
}

/// Dictionary, letters and rules of one accent.
#[derive(Debug)]
pub(crate) struct Speaker {
    pub(crate) accent: Accent,
    pub(crate) lexicon: Lexicon,
    pub(crate) letters: Letters,
}

impl Speaker {
    /// The reading of a word that the dictionary, an inflection or a habit knows.
    pub(crate) fn known(&self, word: &str, tag: Tag, context: Context) -> Option<String> {
        let stress = stress_of_case(word);
        if let Some(reading) = self.function_word(word, tag, context) {
            return Some(reading);
        }
        let lower = word.to_lowercase();
        let word = if self.reads_as_lower(word, &lower, tag, context) {
            lower.as_str()
        } else {
            word
        };
        if self.is_known(word) {
            return self.look_up(word, tag, stress, context);
        }
        if let Some(stem) = word.strip_suffix('\'') {
            let possessive = stem.strip_suffix('s').map(|stem| format!("{stem}'s"));
            if let Some(form) = possessive.filter(|form| self.is_known(form)) {
                return self.look_up(&form, tag, stress, context);
            }
            if self.is_known(stem) {
                return self.look_up(stem, tag, stress, context);
            }
        }
        self.plural(word, tag, stress, context)
            .or_else(|| self.past(word, tag, stress, context))
            .or_else(|| self.progressive(word, tag, stress.or(Some(Stress::Capital)), context))
            .or_else(|| self.contraction(word, tag, stress, context))
    }

    /// *That'd*, *who'll*: a known word with a short verb.
    fn contraction(
        &self,
        word: &str,
        tag: Tag,
        stress: Option<Stress>,
        context: Context,
    ) -> Option<String> {
        const VERBS: [(&str, &str); 5] = [
            ("'d", "d"),
            ("'ll", "əl"),
            ("'ve", "əv"),
            ("'re", "əɹ"),
            ("n't", "ᵊnt"),
        ];
        let (stem, sound) = VERBS
            .iter()
            .find_map(|(verb, sound)| Some((word.strip_suffix(verb)?, *sound)))?;
        let stem = Some(stem).filter(|stem| stem.len() > 1 && self.is_known(stem))?;
        let sound = if self.accent == Accent::Gb {
            sound.trim_end_matches('ɹ')
        } else {
            sound
        };
        Some(self.look_up(stem, tag, stress, context)? + sound)
    }

    /// A row of letters, said one by one with the stress on the last.
    pub(crate) fn spell(&self, word: &str) -> Option<String> {
        let mut joined = String::new();
        for letter in word.chars().filter(|c| c.is_alphabetic()) {
            let upper: String = letter.to_uppercase().collect();
            joined.push_str(&self.lexicon.exact(&upper)?.plain()?);
        }
        let mut low = restress(&joined, Stress::Letter);
        if let Some(at) = low.rfind(SECONDARY) {
            low.replace_range(at..at + SECONDARY.len_utf8(), "ˈ");
        }
        (!low.is_empty()).then_some(low)
    }

    /// Words in capitals or with a first capital that stand in the dictionary without it.
    fn reads_as_lower(&self, word: &str, lower: &str, tag: Tag, context: Context) -> bool {
        let mut chars = word.chars();
        let Some(first) = chars.next() else {
            return false;
        };
        let rest = chars.as_str();
        let one_case =
            !rest.chars().any(char::is_lowercase) || !rest.chars().any(char::is_uppercase);
        !rest.is_empty()
            && word != lower
            && (first.is_uppercase() || word.starts_with('\''))
            && one_case
            && (tag != Tag::NNP || word.chars().count() > 7)
            && word.chars().all(|c| c.is_alphabetic() || c == '\'')
            && self.lexicon.find(word).is_none()
            && (self.lexicon.find(lower).is_some()
                || self.plural(lower, tag, None, context).is_some()
                || self.past(lower, tag, None, context).is_some()
                || self.progressive(lower, tag, None, context).is_some())
    }

    fn function_word(&self, word: &str, tag: Tag, context: Context) -> Option<String> {
        let gold = |word: &str| self.lexicon.gold(word).and_then(|entry| entry.plain());
        let reading = match word {
            "a" | "A" if tag == Tag::DT => "ɐ",
            "a" | "A" => "ˈA",
            "am" if context.vowel.is_some() => "ɐm",
            "Am" | "am" => return gold("am"),
            "AM" if tag.is_noun() => return self.spell(word),
            "AM" => return gold("am"),
            "AN" if tag.is_noun() => return self.spell(word),
            "an" | "An" | "AN" => "ɐn",
            "I" if tag == Tag::PRP => "ˌI",
            "by" | "By" | "BY" if tag == Tag::RB => "bˈI",
            "to" | "To" | "TO" => match context.vowel {
                None => return gold("to"),
                Some(true) => "tʊ",
                Some(false) => "tə",
            },
            "in" | "In" | "IN" if word != "IN" || tag != Tag::NNP => {
                if context.vowel.is_none() || tag != Tag::IN {
                    "ˈɪn"
                } else {
                    "ɪn"
                }
            }
            // As the dictionary has it, not as it would be spelt out.
            "missus" => return gold("Mrs"),
            "the" | "The" | "THE" => {
                if context.vowel == Some(true) {
                    "ði"
                } else {
                    "ðə"
                }
            }
            "used" | "Used" | "USED" => {
                let entry = self.lexicon.gold("used")?;
                let habit = matches!(tag, Tag::VBD | Tag::JJ) && context.to;
                return if habit { entry.past() } else { entry.plain() };
            }
            _ => return None,
        };
        Some(reading.to_owned())
    }

    /// Whether a verb's form may be made from this word.
    fn is_stem(&self, word: &str) -> bool {
        self.is_known(word) && self.lexicon.find(word).is_none_or(|entry| !entry.name)
    }

    pub(crate) fn is_known(&self, word: &str) -> bool {
        if self.lexicon.find(word).is_some() {
            return true;
        }
        if word.is_empty() || !word.bytes().all(|b| b.is_ascii_alphabetic()) {
            return false;
        }
        // What has no lower-case letter after its first can at least be spelt.
        word.len() == 1 || word[1..].bytes().all(|b| b.is_ascii_uppercase())
    }

    fn look_up(
        &self,
        word: &str,
        tag: Tag,
        stress: Option<Stress>,
        context: Context,
    ) -> Option<String> {
        let shouted = !word.chars().any(char::is_lowercase) && self.lexicon.gold(word).is_none();
        let name = shouted && tag == Tag::NNP;
        let lower = if shouted {
            word.to_lowercase()
        } else {
            String::new()
        };
        let key = if shouted { lower.as_str() } else { word };
        let entry = self.lexicon.find(key).filter(|entry| entry.gold || !name);
        let reading = entry.and_then(|entry| entry.reading(Some(tag), context.vowel.is_none()));
        match reading {
            Some(reading) if !name || reading.contains(PRIMARY) => Some(apply(&reading, stress)),
            found => self
                .spell(word)
                .or_else(|| found.map(|reading| apply(&reading, stress))),
        }
    }

    /// The plural, third person or possessive of a known word.
    pub(crate) fn plural(
        &self,
        word: &str,
        tag: Tag,
        stress: Option<Stress>,
        context: Context,
    ) -> Option<String> {
        let stem = word
            .strip_suffix('s')
            .filter(|stem| stem.chars().count() > 1)?;
        let double = stem.ends_with('s');
        let without_e = word.strip_suffix("'s").or_else(|| {
            word.strip_suffix("es")
                .filter(|_| word.len() > 4 && !word.ends_with("ies"))
        });
        let found = if !double && self.is_known(stem) {
            self.look_up(stem, tag, stress, context)
        } else if let Some(stem) = without_e.filter(|stem| self.is_known(stem)) {
            self.look_up(stem, tag, stress, context)
        } else {
            let stem = word.strip_suffix("ies").filter(|_| word.len() > 4)?;
            let stem = format!("{stem}y");
            self.is_known(&stem)
                .then(|| self.look_up(&stem, tag, stress, context))
                .flatten()
        };
        found.map(|reading| self.with_s(&reading))
    }

    /// A reading with the ending of a plural or possessive.
    pub(crate) fn with_s(&self, stem: &str) -> String {
        match stem.chars().last() {
            Some('p' | 't' | 'k' | 'f' | 'θ') => format!("{stem}s"),
            Some('s' | 'z' | 'ʃ' | 'ʒ' | 'ʧ' | 'ʤ') => format!("{stem}{}z", self.weak_vowel()),
            _ => format!("{stem}z"),
        }
    }

    fn weak_vowel(&self) -> char {
        if self.accent == Accent::Gb {
            'ɪ'
        } else {
            'ᵻ'
        }
    }

    fn past(
        &self,
        word: &str,
        tag: Tag,
        stress: Option<Stress>,
        context: Context,
    ) -> Option<String> {
        let stem = word
            .strip_suffix('d')
            .filter(|_| word.chars().count() > 3)?;
        let found = if !stem.ends_with('d') && self.is_stem(stem) {
            self.look_up(stem, tag, stress, context)
        } else {
            let stem = word
                .strip_suffix("ed")
                .filter(|stem| word.len() > 4 && !stem.ends_with('e'))?;
            self.is_stem(stem)
                .then(|| self.look_up(stem, tag, stress, context))
                .flatten()
        };
        found.map(|reading| self.with_ed(&reading))
    }

    /// A reading with the ending of the past.
    pub(crate) fn with_ed(&self, stem: &str) -> String {
        let mut ends = stem.chars().rev();
        let last = ends.next();
        match last {
            Some('p' | 'k' | 'f' | 'θ' | 'ʃ' | 's' | 'ʧ') => format!("{stem}t"),
            Some('d') => format!("{stem}{}d", self.weak_vowel()),
            Some('t') => self.after_t(stem, ends.next(), "ɪd", "ᵻd"),
            _ => format!("{stem}d"),
        }
    }

    /// An ending after t, which Americans flap between vowels.
    fn after_t(&self, stem: &str, before: Option<char>, british: &str, american: &str) -> String {
        if self.accent == Accent::Gb {
            return format!("{stem}{british}");
        }
        match (before, stem.strip_suffix('t')) {
            (Some(c), Some(open)) if "AIOWYiuæɑəɛɪɹʊʌ".contains(c) => {
                format!("{open}ɾ{american}")
            }
            (None, _) => format!("{stem}{british}"),
            _ => format!("{stem}{american}"),
        }
    }

    fn progressive(
        &self,
        word: &str,
        tag: Tag,
        stress: Option<Stress>,
        context: Context,
    ) -> Option<String> {
        let stem = word
            .strip_suffix("ing")
            .filter(|stem| stem.chars().count() > 1)?;
        let long = stem.chars().count() > 2;
        let with_e = format!("{stem}e");
        let found = if long && self.is_stem(stem) {
            self.look_up(stem, tag, stress, context)
        } else if self.is_stem(&with_e) {
            self.look_up(&with_e, tag, stress, context)
        } else {
            let short = undoubled(stem).filter(|short| long && self.is_stem(short))?;
            self.look_up(short, tag, stress, context)
        };
        found.and_then(|reading| self.with_ing(&reading))
    }

    /// A reading with the ending *-ing*; British readings that end in a long vowel or a schwa have
    /// an r that only the spelling tells of.
    pub(crate) fn with_ing(&self, stem: &str) -> Option<String> {
        let mut ends = stem.chars().rev();
        match ends.next() {
            Some('ə' | 'ː') if self.accent == Accent::Gb => None,
            Some('t') if self.accent == Accent::Us => {
                Some(self.after_t(stem, ends.next(), "ɪŋ", "ɪŋ"))
            }
            Some(_) => Some(format!("{stem}ɪŋ")),
            None => None,
        }
    }
}

/// *runn* without its second n, *picnick* without its k.
fn undoubled(stem: &str) -> Option<&str> {
    let mut ends = stem.chars().rev();
    let (last, before) = (ends.next()?, ends.next()?);
    let doubled = last == before && "bcdgklmnprstvxz".contains(last);
    if doubled || stem.ends_with("ck") {
        stem.strip_suffix(last)
    } else {
        None
    }
}

fn stress_of_case(word: &str) -> Option<Stress> {
    if !word.chars().any(char::is_uppercase) {
        None
    } else if word.chars().any(char::is_lowercase) {
        Some(Stress::Capital)
    } else {
        Some(Stress::Shout)
    }
}

fn apply(reading: &str, stress: Option<Stress>) -> String {
    stress.map_or_else(|| reading.to_owned(), |how| restress(reading, how))
}
