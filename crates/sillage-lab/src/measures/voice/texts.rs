//! What is spoken: the plain sentences of the voice benchmark, which no training text holds.

use super::LENGTHS;

/// Lines of kind, tab, text.
const SENTENCES: &str = include_str!("../../../../../benches/voice/sentences.txt");
/// Sentences of about 2.8 s that make a text of each length.
const COUNTS: [usize; 3] = [2, 22, 215];

/// The plain sentences in file order.
pub(super) fn plain() -> Vec<&'static str> {
    SENTENCES
        .lines()
        .filter_map(|line| line.strip_prefix("plain\t"))
        .collect()
}

/// Text number `number` of about `seconds` of speech; one of the lengths, or else sentences up to it.
pub(super) fn text(seconds: u32, number: usize) -> String {
    let all = plain();
    let count = LENGTHS.iter().position(|&length| length == seconds);
    let count = count.map_or((seconds as usize).div_ceil(3), |at| COUNTS[at]);
    let words: Vec<&str> = (0..count)
        .map(|at| all[(number * count + at) % all.len()])
        .collect();
    words.join(" ")
}
