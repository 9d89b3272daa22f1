//! How far the readings agree with those that a teacher was given.
//!
//! `cargo run --release -p sillage-text --example agreement -- kokoro.jsonl [--show 40]`, a file of
//! JSON lines with `text`, `phonemes` and `accent`. Quotes, which are not units, are left out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;

use sillage_text::{Accent, FrontEnd};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("a file of JSON lines");
    let show: usize = arguments
        .nth(1)
        .map_or(0, |count| count.parse().expect("a number"));
    let fronts: HashMap<&str, FrontEnd> = [
        ("en-US", FrontEnd::new(Accent::Us).unwrap()),
        ("en-GB", FrontEnd::new(Accent::Gb).unwrap()),
    ]
    .into();
    let (mut rows, mut exact, mut units, mut errors, mut plain_errors) = (0, 0, 0, 0, 0);
    let mut shown = 0;
    for line in std::fs::read_to_string(path).expect("the file").lines() {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let text = row["text"].as_str().unwrap();
        let truth = units_of(row["phonemes"].as_str().unwrap());
        let heard = fronts[row["accent"].as_str().unwrap()]
            .phonemize(text)
            .unwrap();
        let mine = units_of(&heard);
        let wrong = distance(&truth, &mine);
        let plain = |units: &[(char, u8)]| units.iter().map(|unit| (unit.0, 0)).collect::<Vec<_>>();
        plain_errors += distance(&plain(&truth), &plain(&mine));
        rows += 1;
        exact += usize::from(wrong == 0);
        units += truth.len();
        errors += wrong;
        if wrong > 0 && shown < show {
            shown += 1;
            println!(
                "{text}\n  teacher {}\n  here    {heard}",
                row["phonemes"].as_str().unwrap()
            );
        }
    }
    let percent = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    println!(
        "{rows} sentences, {:.2} % without any difference",
        percent(exact, rows)
    );
    println!(
        "{units} units: {:.3} % differ, {:.3} % without regard to stress",
        percent(errors, units),
        percent(plain_errors, units)
    );
}

/// Characters with their stress; a final full stop is not counted, since one is added where none stands.
fn units_of(phonemes: &str) -> Vec<(char, u8)> {
    let mut out = Vec::new();
    let mut stress = 0;
    for c in phonemes.trim().trim_end_matches(['.', '”', '…']).chars() {
        match c {
            'ˈ' => stress = 1,
            'ˌ' => stress = 2,
            '"' | '“' | '”' | '(' | ')' => {}
            _ => {
                out.push((c, stress));
                stress = 0;
            }
        }
    }
    out
}

fn distance(a: &[(char, u8)], b: &[(char, u8)]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let best = (row[j + 1] + 1)
                .min(row[j] + 1)
                .min(corner + usize::from(x != y));
            corner = row[j + 1];
            row[j + 1] = best;
        }
    }
    row[b.len()]
}
