//! Writing HTML and SVG in which no text can become markup.
//!
//! Everything that comes from a run's file goes through [`Markup::text`] or an
//! attribute; only literals of this program are written as they are.

use std::fmt::Write;

/// A piece of HTML or SVG.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Markup(String);

impl Markup {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An element with attributes and what is inside.
    pub(crate) fn element(
        &mut self,
        name: &'static str,
        attributes: &[(&'static str, &str)],
        inside: impl FnOnce(&mut Self),
    ) {
        self.open(name, attributes);
        self.0.push('>');
        inside(self);
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    /// An element with text inside.
    pub(crate) fn says(
        &mut self,
        name: &'static str,
        attributes: &[(&'static str, &str)],
        text: &str,
    ) {
        self.element(name, attributes, |inside| inside.text(text));
    }

    /// An element with nothing inside.
    pub(crate) fn empty(&mut self, name: &'static str, attributes: &[(&'static str, &str)]) {
        self.open(name, attributes);
        self.0.push_str("/>");
    }

    fn open(&mut self, name: &'static str, attributes: &[(&'static str, &str)]) {
        self.0.push('<');
        self.0.push_str(name);
        for (attribute, value) in attributes {
            self.0.push(' ');
            self.0.push_str(attribute);
            self.0.push_str("=\"");
            self.text(value);
            self.0.push('"');
        }
    }

    /// Text, with all that could be markup or could mislead the eye made
    /// harmless.
    pub(crate) fn text(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(' '),
                // Characters that HTML forbids, and those that turn the
                // direction of writing.
                letter if letter.is_control() => self.0.push('\u{fffd}'),
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.0.push('\u{fffd}'),
                letter => self.0.push(letter),
            }
        }
    }

    /// A literal of this program.
    pub(crate) fn literal(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// Markup that was written before.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.push_str(&other.0);
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

/// A coordinate: two digits after the point, and never anything that is no
/// number.
pub(crate) fn coordinate(value: f64) -> String {
    if !value.is_finite() {
        return "0".into();
    }
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(text, "{value:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".into(),
        Some(whole) => whole.into(),
        None if text == "-0.0" => "0".into(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_becomes_markup() {
        let mut markup = Markup::new();
        markup.says("p", &[("title", "\"><script>")], "<b>&'\u{1b}\u{202e}</b>");
        assert_eq!(
            markup.into_string(),
            "<p title=\"&quot;&gt;&lt;script&gt;\">&lt;b&gt;&amp;&#39;\u{fffd}\u{fffd}&lt;/b&gt;</p>"
        );
    }

    #[test]
    fn coordinates_are_numbers() {
        for (value, text) in [
            (1.0, "1"),
            (1.25, "1.2"),
            (-0.01, "0"),
            (f64::NAN, "0"),
            (f64::INFINITY, "0"),
        ] {
            assert_eq!(coordinate(value), text);
        }
    }
}
