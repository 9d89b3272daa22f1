//! The phoneme alphabet: one character a phoneme, as the voices know it, and IPA mapped onto it.
//!
//! Diphthongs and affricates are single characters: `A` (day), `I` (eye), `O` (US go), `Q` (GB
//! go), `W` (how), `Y` (boy), `ʤ`, `ʧ`; `T` is the flapped t of American *city*, `ᵊ` a schwa that
//! may vanish, `ᵻ` the vowel of American *roses*, `ɐ` the article *a*. Stress marks stand right
//! before the vowel they raise.

use crate::Accent;

/// Primary stress.
pub(crate) const PRIMARY: char = 'ˈ';
/// Secondary stress.
pub(crate) const SECONDARY: char = 'ˌ';

const PHONES: &str = "AIOQTWYabdfhijklmnpstuvwzæðŋɐɑɒɔəɛɜɡɪɹʃʊʌʒʤʧθᵊᵻː";
const STRESSABLE: &str = "AIOQWYaiuæɑɒɔəɛɜɪʊʌᵻ";
const CONSONANTS: &str = "bdfhjklmnpstvwzðŋɡɹɾʃʒʤʧθ";

/// Every phoneme character that a [`crate::Unit`] can hold, apart from marks and the space.
pub fn inventory() -> impl Iterator<Item = char> {
    PHONES.chars()
}

pub(crate) fn is_vowel(phone: char) -> bool {
    STRESSABLE.contains(phone)
}

pub(crate) fn is_consonant(phone: char) -> bool {
    CONSONANTS.contains(phone)
}

/// What a reading's stress is changed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stress {
    /// A primary stress becomes secondary, secondary ones vanish; unstressed words stay so.
    Demote,
    /// As [`Stress::Demote`], and an unstressed word gets a secondary stress: letters of a row.
    Letter,
    /// An unstressed word gets a secondary stress: capitalised words.
    Capital,
    /// Whatever stress there is becomes primary: words in capitals.
    Shout,
}

/// The reading with its stress changed.
pub(crate) fn restress(reading: &str, how: Stress) -> String {
    let primary = reading.contains(PRIMARY);
    let marked = primary || reading.contains(SECONDARY);
    let lowered = || -> String {
        let kept = reading.chars().filter(|&c| c != SECONDARY);
        kept.map(|c| if c == PRIMARY { SECONDARY } else { c })
            .collect()
    };
    match how {
        Stress::Demote | Stress::Letter if primary => lowered(),
        Stress::Letter | Stress::Capital if !marked => before_vowel(reading, SECONDARY),
        Stress::Shout if !marked => before_vowel(reading, PRIMARY),
        Stress::Shout if !primary => reading.replace(SECONDARY, "ˈ"),
        _ => reading.to_owned(),
    }
}

fn before_vowel(reading: &str, mark: char) -> String {
    let mut out = reading.to_owned();
    if let Some(at) = reading.find(is_vowel) {
        out.insert(at, mark);
    }
    out
}

/// How heavy a reading is: diphthongs and affricates count twice.
pub(crate) fn weight(reading: &str) -> usize {
    reading
        .chars()
        .map(|c| if "AIOQWYʤʧ".contains(c) { 2 } else { 1 })
        .sum()
}

/// Phonemes in IPA, or in the voices' own alphabet, as the voices' alphabet for this accent.
/// `|` and `.` between phonemes are passed over; a space separates words. The error is the first
/// piece that was not understood.
///
/// # Errors
/// The characters from the first one that stands for no English phoneme.
pub fn parse(text: &str, accent: Accent) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text.trim();
    let mut pending: Option<char> = None;
    while let Some(first) = rest.chars().next() {
        if let Some(mark) = stress_mark(first) {
            pending = Some(mark);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (phones, used) =
            piece(rest, accent).ok_or_else(|| rest.chars().take(6).collect::<String>())?;
        for phone in phones.chars() {
            if let Some(mark) = pending
                && (is_vowel(phone) || phone == 'ɐ')
            {
                out.push(mark);
                pending = None;
            }
            out.push(phone);
        }
        rest = &rest[used..];
    }
    if accent == Accent::Us {
        out = out.replace('ː', "").replace("ɜɹɹ", "ɜɹ");
    }
    if out.chars().any(|c| PHONES.contains(c)) {
        Ok(out)
    } else {
        Err(text.trim().to_owned())
    }
}

fn stress_mark(c: char) -> Option<char> {
    match c {
        PRIMARY | '\'' | '’' | '´' => Some(PRIMARY),
        SECONDARY => Some(SECONDARY),
        _ => None,
    }
}

/// IPA on the left, then how it is said in American and in British voices. Longest first.
const IPA: &[(&str, &str, &str)] = &[
    ("t͡ʃ", "ʧ", "ʧ"),
    ("d͡ʒ", "ʤ", "ʤ"),
    ("tʃ", "ʧ", "ʧ"),
    ("dʒ", "ʤ", "ʤ"),
    ("e͡ɪ", "A", "A"),
    ("a͡ɪ", "I", "I"),
    ("eɪ", "A", "A"),
    ("ɛɪ", "A", "A"),
    ("ej", "A", "A"),
    ("aɪ", "I", "I"),
    ("ɑɪ", "I", "I"),
    ("aj", "I", "I"),
    ("aʊ", "W", "W"),
    ("ɑʊ", "W", "W"),
    ("aw", "W", "W"),
    ("ɔɪ", "Y", "Y"),
    ("ɔj", "Y", "Y"),
    ("oʊ", "O", "Q"),
    ("əʊ", "O", "Q"),
    ("ow", "O", "Q"),
    ("eə", "ɛɹ", "ɛː"),
    ("ɛə", "ɛɹ", "ɛː"),
    ("ɪə", "ɪɹ", "ɪə"),
    ("ʊə", "ʊɹ", "ʊə"),
    ("ɜːɹ", "ɜɹ", "ɜːɹ"),
    ("ɜː", "ɜɹ", "ɜː"),
    ("l̩", "ᵊl", "ᵊl"),
    ("n̩", "ᵊn", "ᵊn"),
    ("m̩", "ᵊm", "ᵊm"),
    ("ɝː", "ɜɹ", "ɜː"),
    ("ɝ", "ɜɹ", "ɜː"),
    ("ɚ", "əɹ", "ə"),
    ("æ", "æ", "a"),
    ("a", "æ", "a"),
    ("ɒ", "ɑ", "ɒ"),
    ("oː", "O", "ɔː"),
    ("o", "O", "Q"),
    ("e", "ɛ", "ɛ"),
    ("ɘ", "ə", "ə"),
    ("ɵ", "ʊ", "ʊ"),
    ("ʉ", "u", "u"),
    ("ɨ", "ᵻ", "ɪ"),
    ("ᵻ", "ᵻ", "ɪ"),
    ("y", "u", "u"),
    ("ø", "ɜ", "ɜ"),
    ("œ", "ɜ", "ɜ"),
    ("ɯ", "u", "u"),
    ("g", "ɡ", "ɡ"),
    ("r", "ɹ", "ɹ"),
    ("ɻ", "ɹ", "ɹ"),
    ("ʁ", "ɹ", "ɹ"),
    ("ɫ", "l", "l"),
    ("ʎ", "lj", "lj"),
    ("ɲ", "nj", "nj"),
    ("ɱ", "m", "m"),
    ("ɾ", "T", "t"),
    ("T", "T", "t"),
    ("ʔ", "t", "t"),
    ("x", "k", "k"),
    ("χ", "k", "k"),
    ("ç", "h", "h"),
    ("ɦ", "h", "h"),
    ("ʍ", "w", "w"),
    ("β", "b", "b"),
    ("ɣ", "ɡ", "ɡ"),
    ("c", "k", "k"),
    ("q", "k", "k"),
    ("O", "O", "Q"),
    ("Q", "O", "Q"),
    (":", "ː", "ː"),
    ("|", "", ""),
    (".", "", ""),
    ("-", "", ""),
    ("\u{361}", "", ""),
    ("\u{32f}", "", ""),
    ("\u{303}", "", ""),
    ("\u{325}", "", ""),
    ("\u{32a}", "", ""),
    ("ʰ", "", ""),
    ("ʲ", "j", "j"),
    ("ʷ", "w", "w"),
    ("ˑ", "", ""),
    ("(", "", ""),
    (")", "", ""),
];

fn piece(text: &str, accent: Accent) -> Option<(String, usize)> {
    for (ipa, us, gb) in IPA {
        if text.starts_with(ipa) {
            let phones = if accent == Accent::Us { us } else { gb };
            return Some(((*phones).to_owned(), ipa.len()));
        }
    }
    let first = text.chars().next()?;
    if first.is_whitespace() {
        let used = text.len() - text.trim_start().len();
        return Some((" ".to_owned(), used));
    }
    PHONES
        .contains(first)
        .then(|| (first.to_string(), first.len_utf8()))
}
