//! Agreement with the phonemes that the voices' teacher was given (`teacher.tsv`: accent, text,
//! phonemes; sentences of Common Voice, CC0).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use sillage_text::{Accent, FrontEnd};

#[test]
fn readings_agree_with_the_teacher() {
    let (us, gb) = (
        FrontEnd::new(Accent::Us).unwrap(),
        FrontEnd::new(Accent::Gb).unwrap(),
    );
    let (mut exact, mut rows, mut errors, mut units) = (0, 0, 0, 0);
    for line in include_str!("teacher.tsv").lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let front = if columns[0] == "en-GB" { &gb } else { &us };
        let truth = units_of(columns[2]);
        let wrong = distance(&truth, &units_of(&front.phonemize(columns[1]).unwrap()));
        rows += 1;
        exact += usize::from(wrong == 0);
        errors += wrong;
        units += truth.len();
    }
    assert!(rows >= 200);
    assert!(errors * 100 < units, "{errors} of {units} units differ");
    assert!(
        exact * 100 >= rows * 85,
        "{exact} of {rows} sentences agree"
    );
}

fn units_of(phonemes: &str) -> Vec<(char, char)> {
    let mut out = Vec::new();
    let mut stress = ' ';
    for c in phonemes
        .trim_end_matches(['.', '”', '…'])
        .chars()
        .filter(|c| !"\"“”()".contains(*c))
    {
        if matches!(c, 'ˈ' | 'ˌ') {
            stress = c;
        } else {
            out.push((c, stress));
            stress = ' ';
        }
    }
    out
}

fn distance(a: &[(char, char)], b: &[(char, char)]) -> usize {
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
