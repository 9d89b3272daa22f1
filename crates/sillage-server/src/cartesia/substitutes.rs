//! Words that are to be said in another way, put in their place in a transcript
//! that may come in pieces.

use std::collections::HashMap;
use std::sync::Arc;

/// The longest tag.
const TAG: usize = 128;
/// The longest run of phonemes.
const PHONES: usize = 512;

/// A piece of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// What is given to be spoken.
    pub(super) spoken: String,
    /// What the transcript has in its place, if that is something else.
    pub(super) original: Option<String>,
}

/// One word or phrase and what is said for it.
#[derive(Clone, Debug)]
pub(super) struct Substitute {
    pub(super) text: String,
    pub(super) said: String,
    pub(super) exact: bool,
}

/// Substitutes by the first letter of their texts, the longest first.
#[derive(Debug, Default)]
pub(super) struct Substitutes(HashMap<char, Vec<Substitute>>);

impl Substitutes {
    /// Those of a list that have a text.
    pub(super) fn new(all: impl IntoIterator<Item = Substitute>) -> Arc<Self> {
        let mut by_first: HashMap<char, Vec<Substitute>> = HashMap::new();
        for one in all {
            if let Some(first) = one.text.chars().next() {
                by_first.entry(lower(first)).or_default().push(one);
            }
        }
        for list in by_first.values_mut() {
            list.sort_by_key(|one| std::cmp::Reverse(one.text.len()));
        }
        Arc::new(Self(by_first))
    }
}

/// A letter for comparing; good enough for what English is written in.
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// A transcript on its way.
#[derive(Debug)]
pub(super) struct Substituting {
    substitutes: Arc<Substitutes>,
    pending: String,
    /// What was passed on last: substitutes are for whole words.
    before: Option<char>,
}

enum Found {
    /// A substitute takes so many bytes.
    Whole(usize, String),
    /// What follows decides.
    Perhaps,
    Nothing,
}

impl Substituting {
    pub(super) fn new(substitutes: Arc<Substitutes>) -> Self {
        Self {
            substitutes,
            pending: String::new(),
            before: None,
        }
    }

    /// Takes text; gives what is certain.
    pub(super) fn push(&mut self, text: &str) -> Vec<Piece> {
        self.pending.push_str(text);
        self.take(false)
    }

    /// Gives what is left, as if the transcript ended here.
    pub(super) fn settle(&mut self) -> Vec<Piece> {
        self.take(true)
    }

    fn take(&mut self, last: bool) -> Vec<Piece> {
        let pending = std::mem::take(&mut self.pending);
        let (mut out, mut plain, mut at) = (Vec::new(), String::new(), 0);
        while let Some(c) = pending[at..].chars().next() {
            let rest = &pending[at..];
            let (size, said) = match self.look(rest, last) {
                Found::Perhaps => break,
                Found::Whole(size, said) => (size, Some(said)),
                Found::Nothing => match tag(rest, last) {
                    Some(0) => break,
                    size => (size.unwrap_or(c.len_utf8()), None),
                },
            };
            let original = &rest[..size];
            match said {
                Some(spoken) => {
                    push_plain(&mut out, &mut plain);
                    out.push(Piece {
                        spoken,
                        original: Some(original.to_owned()),
                    });
                }
                None => plain.push_str(original),
            }
            self.before = original.chars().next_back();
            at += size;
        }
        push_plain(&mut out, &mut plain);
        self.pending = pending[at..].to_owned();
        out
    }

    fn look(&self, rest: &str, last: bool) -> Found {
        let Some(first) = rest.chars().next() else {
            return Found::Nothing;
        };
        if self.before.is_some_and(char::is_alphanumeric) {
            return Found::Nothing;
        }
        for one in self.substitutes.0.get(&lower(first)).into_iter().flatten() {
            match matches(rest, one) {
                Some(size) => match rest[size..].chars().next() {
                    Some(next) if next.is_alphanumeric() => {}
                    None if !last => return Found::Perhaps,
                    _ => return Found::Whole(size, one.said.clone()),
                },
                None if !last && may_become(rest, one) => return Found::Perhaps,
                None => {}
            }
        }
        Found::Nothing
    }
}

fn push_plain(out: &mut Vec<Piece>, plain: &mut String) {
    if !plain.is_empty() {
        out.push(Piece {
            spoken: std::mem::take(plain),
            original: None,
        });
    }
}

fn alike(a: char, b: char, exact: bool) -> bool {
    a == b || !exact && lower(a) == lower(b)
}

/// The bytes of `rest` that are the substitute's text.
fn matches(rest: &str, one: &Substitute) -> Option<usize> {
    let mut chars = rest.char_indices();
    for wanted in one.text.chars() {
        let (_, c) = chars.next()?;
        if !alike(c, wanted, one.exact) {
            return None;
        }
    }
    Some(chars.next().map_or(rest.len(), |(at, _)| at))
}

/// Whether `rest` is how the substitute's text begins.
fn may_become(rest: &str, one: &Substitute) -> bool {
    let mut wanted = one.text.chars();
    let begins = |c| wanted.next().is_some_and(|w| alike(c, w, one.exact));
    rest.chars().all(begins)
}

/// The bytes of a tag or of phonemes at the front, which stay as they are; 0 if
/// more text must come to tell.
fn tag(rest: &str, last: bool) -> Option<usize> {
    let inside = rest.strip_prefix('<')?;
    let (end, most) = match inside.chars().next() {
        None => return (!last).then_some(0),
        Some('<') => (">>", PHONES),
        Some(c) if c == '/' || c.is_ascii_alphabetic() => (">", TAG),
        Some(_) => return None,
    };
    let window = &rest[..rest.floor_char_boundary(most)];
    match window.find(end) {
        Some(at) => Some(at + end.len()),
        None => (!last && window.len() == rest.len()).then_some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn substituting() -> Substituting {
        let one = |text: &str, said: &str, exact| Substitute {
            text: text.to_owned(),
            said: said.to_owned(),
            exact,
        };
        Substituting::new(Substitutes::new([
            one("kettle", "teapot", false),
            one("New York", "the big apple", false),
            one("US", "you ess", true),
            one("", "nothing", false),
        ]))
    }

    fn said(pieces: &[Piece]) -> String {
        pieces.iter().map(|p| p.spoken.as_str()).collect()
    }

    const TEXT: &str = "Kettle, kettles; my KETTLE in new york told us of the US. <break time=\"1s\"/> <<k|ɛ>> a<b new yorker kettle";
    const SAID: &str = "teapot, kettles; my teapot in the big apple told us of the you ess. <break time=\"1s\"/> <<k|ɛ>> a<b new yorker teapot";

    #[test]
    fn whole_words_are_substituted() {
        let mut whole = substituting();
        let mut pieces = whole.push(TEXT);
        pieces.extend(whole.settle());
        assert_eq!(said(&pieces), SAID);
        let originals: Vec<&str> = pieces
            .iter()
            .filter_map(|p| p.original.as_deref())
            .collect();
        assert_eq!(originals, ["Kettle", "KETTLE", "new york", "US", "kettle"]);
    }

    #[test]
    fn pieces_may_end_anywhere() {
        for size in 1..9 {
            let mut parts = substituting();
            let mut pieces = Vec::new();
            let chars: Vec<char> = TEXT.chars().collect();
            for piece in chars.chunks(size) {
                pieces.extend(parts.push(&piece.iter().collect::<String>()));
            }
            pieces.extend(parts.settle());
            assert_eq!(said(&pieces), SAID, "{size}");
        }
    }

    #[test]
    fn tags_are_left_alone() {
        let mut inside = substituting();
        let pieces = inside.push("<x kettle=\"kettle\"/> <<kettle>> <kett");
        assert_eq!(said(&pieces), "<x kettle=\"kettle\"/> <<kettle>> ");
        assert_eq!(said(&inside.settle()), "<kett");
    }
}
