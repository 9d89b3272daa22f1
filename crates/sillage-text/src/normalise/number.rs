//! Numbers as they are written.

use super::numbers::{cardinal, decimal, each};
use crate::Accent;

/// A number at the start of some text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Number<'a> {
    /// `-`, `+`, `~` or `±`.
    pub(crate) sign: Option<char>,
    /// Digits only.
    pub(crate) whole: String,
    /// Written with commas.
    pub(crate) grouped: bool,
    /// Digits after the point.
    pub(crate) fraction: &'a str,
    /// A point was written.
    pub(crate) pointed: bool,
}

/// The number that `text` starts with, and what follows it.
pub(crate) fn number(text: &str) -> Option<(Number<'_>, &str)> {
    let sign = text
        .chars()
        .next()
        .filter(|c| matches!(c, '-' | '−' | '+' | '±' | '~' | '≈' | '–'));
    let body = &text[sign.map_or(0, char::len_utf8)..];
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let first = digits(body);
    let mut whole = body[..first].to_owned();
    let mut rest = &body[first..];
    let mut grouped = false;
    if (1..=3).contains(&first) {
        while rest.starts_with(',') && digits(&rest[1..]) == 3 {
            whole.push_str(&rest[1..4]);
            rest = &rest[4..];
            grouped = true;
        }
    }
    let after = rest.strip_prefix('.').map_or(0, digits);
    let fraction = if after > 0 { &rest[1..=after] } else { "" };
    rest = if after > 0 { &rest[after + 1..] } else { rest };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    Some((
        Number {
            sign,
            whole,
            grouped,
            fraction,
            pointed: after > 0,
        },
        rest,
    ))
}

impl Number<'_> {
    pub(crate) fn is_whole(&self) -> bool {
        !self.pointed
    }

    /// Whether things counted by it take the singular.
    pub(crate) fn is_one(&self) -> bool {
        self.whole == "1" && !self.pointed
    }

    pub(crate) fn value(&self) -> Option<u32> {
        if self.pointed {
            None
        } else {
            self.whole.parse().ok()
        }
    }

    /// The words of the sign.
    pub(crate) fn sign_words(&self) -> &'static str {
        match self.sign {
            Some('-' | '−' | '–') => "minus ",
            Some('+') => "plus ",
            Some('±') => "plus or minus ",
            Some(_) => "about ",
            None => "",
        }
    }

    /// The number without its sign.
    pub(crate) fn unsigned(&self, accent: Accent) -> String {
        let code = self.whole.len() > 1 && self.whole.starts_with('0') && !self.grouped;
        let long = self.whole.len() > 9 && !self.grouped;
        if self.pointed {
            decimal(&self.whole, self.fraction, accent)
        } else if code || long {
            each(&self.whole)
        } else {
            cardinal(&self.whole, accent)
        }
    }

    /// The number in words.
    pub(crate) fn words(&self, accent: Accent) -> String {
        format!("{}{}", self.sign_words(), self.unsigned(accent))
    }
}
