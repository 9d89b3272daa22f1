//! Reads lines from standard input and shows how each is spoken: `read us` or `read gb`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use sillage_text::{Accent, FrontEnd};

fn main() {
    let accent = if std::env::args().nth(1).as_deref() == Some("gb") {
        Accent::Gb
    } else {
        Accent::Us
    };
    let front = FrontEnd::new(accent).expect("built-in tables");
    for line in std::io::stdin().lines() {
        let line = line.expect("text");
        match (front.normalise(&line), front.phonemize(&line)) {
            (Ok(words), Ok(phonemes)) => println!("{line}\t{words}\t{phonemes}"),
            (Err(error), _) | (_, Err(error)) => println!("{line}\terror: {error}"),
        }
    }
}
