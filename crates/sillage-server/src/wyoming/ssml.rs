//! SSML as text for the front end: it has tags of its own, and SSML has many
//! more.
//!
//! Tags that the front end knows stay as they are; a break without a time gets
//! the time that its strength means; ends of paragraphs and sentences become
//! ends of paragraphs; all other tags, comments and instructions go, and what
//! they stand around is read.

/// A tag longer than this is none, and its `<` is a sign.
const LONGEST: usize = 4096;

/// A reader of SSML that comes in pieces, cut anywhere.
#[derive(Debug, Default)]
pub(super) struct Ssml {
    /// A tag that has not ended.
    tag: String,
}

impl Ssml {
    /// The text that is certain with this piece.
    pub(super) fn push(&mut self, piece: &str) -> String {
        let mut out = String::with_capacity(piece.len());
        for c in piece.chars() {
            if self.tag.is_empty() && c != '<' {
                out.push(c);
                continue;
            }
            if c == '<' && !self.tag.is_empty() && !self.tag.starts_with("<!--") {
                self.give_up(&mut out);
            }
            self.tag.push(c);
            if self.is_whole() {
                match name(&self.tag).is_empty() {
                    true => self.give_up(&mut out),
                    false => tag(&std::mem::take(&mut self.tag), &mut out),
                }
            } else if self.tag.len() > LONGEST {
                self.give_up(&mut out);
            }
        }
        out
    }

    /// What is left at the end.
    pub(super) fn finish(&mut self) -> String {
        let mut out = String::new();
        if !self.tag.is_empty() {
            self.give_up(&mut out);
        }
        out
    }

    fn is_whole(&self) -> bool {
        match self.tag.starts_with("<!--") {
            true => self.tag.len() >= "<!---->".len() && self.tag.ends_with("-->"),
            // Until it is known whether this is a comment, it is none.
            false => self.tag.ends_with('>'),
        }
    }

    /// What looked like a tag is text; its sign is written so that the front end
    /// does not take it for one.
    fn give_up(&mut self, out: &mut String) {
        let tag = std::mem::take(&mut self.tag);
        out.push_str("&lt;");
        out.push_str(tag.strip_prefix('<').unwrap_or(&tag));
    }
}

/// A tag's name, without the sign that closes.
fn name(tag: &str) -> &str {
    let inside = tag.trim_start_matches('<').trim_end_matches('>');
    let name = inside.strip_prefix('/').unwrap_or(inside);
    let end = name.find(|c: char| c.is_whitespace() || c == '/');
    &name[..end.unwrap_or(name.len())]
}

/// What a whole tag becomes.
fn tag(tag: &str, out: &mut String) {
    let inside = tag.trim_start_matches('<').trim_end_matches('>');
    let closing = inside.starts_with('/');
    match name(tag).to_ascii_lowercase().as_str() {
        "break" if closing => {}
        "break" => {
            let time = attribute(inside, "time").unwrap_or_else(|| strength(inside));
            out.push_str("<break time=\"");
            out.push_str(time);
            out.push_str("\"/>");
        }
        // Those of the front end stand alone; SSML's elements of these names,
        // and their ends, do not exist.
        "speed" | "volume" if !closing => out.push_str(tag),
        "spell" => out.push_str(tag),
        "p" | "s" | "paragraph" | "sentence" if closing => out.push_str("\n\n"),
        _ => {}
    }
}

/// The value of an attribute.
fn attribute<'a>(inside: &'a str, wanted: &str) -> Option<&'a str> {
    let mut rest = inside;
    loop {
        let at = rest.find(wanted)?;
        let before = rest[..at].chars().next_back();
        let value = rest[at + wanted.len()..].trim_start().strip_prefix('=');
        if let Some(value) = value.filter(|_| before.is_some_and(char::is_whitespace)) {
            let value = value.trim_start();
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            return value[1..].split(quote).next();
        }
        rest = &rest[at + wanted.len()..];
    }
}

/// How long a break of no time is: as long as its strength has it.
fn strength(inside: &str) -> &'static str {
    match attribute(inside, "strength") {
        Some("none" | "x-weak") => "0ms",
        Some("weak") => "250ms",
        Some("strong") => "750ms",
        Some("x-strong") => "1s",
        _ => "500ms",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read<'a>(pieces: impl IntoIterator<Item = &'a str>) -> String {
        let mut ssml = Ssml::default();
        let mut out: String = pieces.into_iter().map(|p| ssml.push(p)).collect();
        out += &ssml.finish();
        out
    }

    #[test]
    fn known_tags_stay_and_others_go() {
        let cases = [
            ("<speak>Hello.</speak>", "Hello."),
            (
                "<?xml version='1.0'?><speak version=\"1.1\" xml:lang='en-US'>Hi</speak>",
                "Hi",
            ),
            (
                "un<emphasis level=\"strong\">believ</emphasis>able",
                "unbelievable",
            ),
            ("a<break time='300ms'/>b", "a<break time=\"300ms\"/>b"),
            (
                "a<break/>b<break strength=\"x-strong\"></break>c",
                "a<break time=\"500ms\"/>b<break time=\"1s\"/>c",
            ),
            ("<s>One</s><s>Two</s>", "One\n\nTwo\n\n"),
            (
                "<spell>AB</spell> <speed ratio=\"1.2\"/>",
                "<spell>AB</spell> <speed ratio=\"1.2\"/>",
            ),
            ("a <!-- b > c --> d", "a  d"),
            ("AT&amp;T &lt; 3", "AT&amp;T &lt; 3"),
            ("two < three", "two &lt; three"),
            ("1 < 2 <emphasis>and</emphasis> 3 > 2", "1 &lt; 2 and 3 > 2"),
            ("1 < 2 > 1 <>", "1 &lt; 2 > 1 &lt;>"),
            ("<prosody rate=\"slow\">x</prosody>", "x"),
            ("", ""),
        ];
        for (from, to) in cases {
            assert_eq!(read([from]), to, "{from}");
        }
    }

    #[test]
    fn what_never_closes_is_text() {
        let long = format!("<{}", "x".repeat(3 * LONGEST));
        let read = read([long.as_str()]);
        assert_eq!(read.len(), long.len() + 3);
        assert!(read.starts_with("&lt;x"));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(text in "[a-c<>/!\\-\"= é]{0,60}", size in 1..7_usize) {
            let chars: Vec<char> = text.chars().collect();
            let pieces: Vec<String> = chars.chunks(size).map(|c| c.iter().collect()).collect();
            prop_assert_eq!(read([text.as_str()]), read(pieces.iter().map(String::as_str)));
        }
    }
}
