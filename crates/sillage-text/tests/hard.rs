//! Sentences that are hard to read, with the words that should be spoken, and for words of several
//! readings their phonemes. Lines of `hard.tsv`: category, text, words, phonemes (optional);
//! categories that end with `-gb` are British.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use sillage_text::{Accent, FrontEnd};

#[test]
fn hard_sentences_are_read_as_expected() {
    let (us, gb) = (
        FrontEnd::new(Accent::Us).unwrap(),
        FrontEnd::new(Accent::Gb).unwrap(),
    );
    let mut categories: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in include_str!("hard.tsv")
        .lines()
        .filter(|line| !line.is_empty())
    {
        let mut columns = line.split('\t');
        let (category, text) = (columns.next().unwrap(), columns.next().expect(line));
        let (words, phonemes) = (columns.next().expect(line), columns.next());
        let text = unescaped(text);
        let front = if category.ends_with("-gb") { &gb } else { &us };
        let spoken = front.normalise(&text).expect(line);
        if spoken != words {
            wrong.push(format!("{text}\n  expected {words}\n  spoken   {spoken}"));
        }
        let sounds = front.phonemize(&text).expect(line);
        if phonemes.is_some_and(|phonemes| phonemes != sounds) {
            wrong.push(format!(
                "{text}\n  expected {}\n  spoken   {sounds}",
                phonemes.unwrap()
            ));
        }
        *categories.entry(category).or_default() += 1;
    }
    assert!(
        wrong.is_empty(),
        "{} sentences:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(categories.len() >= 25, "{} categories", categories.len());
    assert!(categories.values().sum::<usize>() >= 500);
}

/// `\t`, `\n` and `\u{...}` stand for themselves.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = &rest[at + 1..];
        rest = if let Some(hex) = code.strip_prefix("u{") {
            let (digits, tail) = hex.split_once('}').unwrap();
            out.push(char::from_u32(u32::from_str_radix(digits, 16).unwrap()).unwrap());
            tail
        } else if let Some(tail) = code.strip_prefix('n') {
            out.push('\n');
            tail
        } else if let Some(tail) = code.strip_prefix('t') {
            out.push('\t');
            tail
        } else {
            out.push('\\');
            code
        };
    }
    out + rest
}
