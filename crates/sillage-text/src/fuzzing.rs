//! Properties that hold for any text, for fuzzing and for tests.

use std::sync::OnceLock;

use crate::{Accent, Dictionary, FrontEnd, LONGEST_PHRASE, Phrase};

fn front() -> Option<&'static FrontEnd> {
    static FRONT: OnceLock<Option<FrontEnd>> = OnceLock::new();
    FRONT
        .get_or_init(|| FrontEnd::new(Accent::Gb).ok())
        .as_ref()
}

/// Reads any bytes as text, whole and in pieces (the first byte says how), and checks the result.
///
/// # Panics
/// When a phrase is too long, a span is out of range or out of order, or pieces give something
/// else than the whole.
pub fn text(bytes: &[u8]) {
    let Some(front) = front() else { return };
    let (step, bytes) = bytes.split_first().map_or((1, bytes), |(first, rest)| {
        (usize::from(*first).max(1), rest)
    });
    let text = String::from_utf8_lossy(bytes);
    let whole = front.phrases(&text);
    let mut reader = front.reader();
    let mut pieces = Ok(Vec::new());
    let mut rest = text.as_ref();
    while !rest.is_empty() {
        let size = (step..=rest.len())
            .find(|&at| rest.is_char_boundary(at))
            .unwrap_or(rest.len());
        let (piece, tail) = rest.split_at(size);
        rest = tail;
        pieces = append(pieces, reader.push(piece));
    }
    pieces = append(pieces, reader.finish());
    match (&whole, &pieces) {
        (Ok(whole), Ok(pieces)) => assert_eq!(whole, pieces, "pieces of {step} bytes of {text:?}"),
        (Err(whole), Err(pieces)) => {
            assert_eq!(whole, pieces, "pieces of {step} bytes of {text:?}")
        }
        _ => assert_eq!(whole, pieces, "pieces of {step} bytes of {text:?}"),
    }
    check(&whole.unwrap_or_default(), &text);
    let _ = front.resume(bytes);
    let _ = front.normalise(&text);
    let _ = Dictionary::parse(&text, Accent::Us);
}

fn append<E>(sum: Result<Vec<Phrase>, E>, more: Result<Vec<Phrase>, E>) -> Result<Vec<Phrase>, E> {
    let mut sum = sum?;
    sum.extend(more?);
    Ok(sum)
}

/// Checks phrases against the text they come from.
///
/// # Panics
/// As [`text`].
pub fn check(phrases: &[Phrase], text: &str) {
    let mut at = 0;
    let mut units = 0;
    for phrase in phrases {
        assert!(
            phrase.units.len() <= LONGEST_PHRASE,
            "a phrase of {} units",
            phrase.units.len()
        );
        units += phrase.units.len();
        for unit in &phrase.units {
            assert!(
                (unit.word as usize) < phrase.words.len(),
                "a unit of no word in {text:?}"
            );
            let mark = matches!(
                unit.phone,
                ';' | ':' | ',' | '.' | '!' | '?' | '—' | '…' | ' '
            );
            assert!(
                mark || crate::inventory().any(|phone| phone == unit.phone),
                "{:?} is no phoneme",
                unit.phone
            );
            assert!(
                unit.stress <= 2 && (unit.stress == 0 || !mark),
                "stress {} on {:?}",
                unit.stress,
                unit.phone
            );
        }
        for word in &phrase.words {
            assert!(
                word.span.start <= word.span.end && word.span.end <= text.len(),
                "{:?} out of range",
                word.span
            );
            assert!(
                word.span.start >= at || word.continued,
                "{:?} after {at} in {text:?}",
                word.span
            );
            assert!(
                text.get(word.span.clone())
                    .is_some_and(|written| written.contains(&word.text)),
                "{word:?} in {text:?}"
            );
            at = word.span.start;
        }
    }
    // The longest readings are of digits and signs: a byte never becomes more than this.
    assert!(
        units <= 40 * text.len() + 16,
        "{units} units from {} bytes",
        text.len()
    );
}
