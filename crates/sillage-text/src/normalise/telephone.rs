//! Telephone numbers and other rows of digit groups.

use super::{Reading, numbers::telephone};

/// Whether a telephone number with its area in brackets starts here.
pub(crate) fn starts(reading: &Reading<'_>) -> bool {
    let chunk = reading.chunk();
    chunk.lead == "(" && chunk.trail == ")" && area(&chunk.core) && local(next_core(reading, 1))
}

fn next_core<'a>(reading: &Reading<'a>, ahead: usize) -> &'a str {
    reading
        .chunks
        .get(reading.at() + ahead)
        .map_or("", |chunk| chunk.core.as_str())
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn area(text: &str) -> bool {
    digits(text) && (3..=5).contains(&text.len())
}

/// *123-4567*, *7946*.
fn local(text: &str) -> bool {
    let groups: Vec<&str> = text.split(['-', '.']).collect();
    groups.iter().all(|group| digits(group)) && (4..=8).contains(&groups.concat().len())
}

pub(crate) fn read(reading: &mut Reading<'_>) -> usize {
    if starts(reading) {
        let chunk = reading.chunk();
        let mut groups: Vec<(&str, usize)> = vec![(chunk.core.as_str(), 0)];
        let mut used = 1;
        loop {
            groups.extend(
                next_core(reading, used)
                    .split(['-', '.'])
                    .map(|group| (group, used)),
            );
            used += 1;
            let more = reading
                .chunks
                .get(reading.at() + used - 1)
                .is_some_and(super::Chunk::is_open);
            if used > 3 || !more || !digits(next_core(reading, used)) {
                break;
            }
        }
        return say(reading, &groups, used);
    }
    international(reading)
        .or_else(|| spaced(reading))
        .or_else(|| joined(reading))
        .unwrap_or(0)
}

fn say(reading: &mut Reading<'_>, groups: &[(&str, usize)], used: usize) -> usize {
    let accent = reading.accent;
    for (at, (group, ahead)) in groups.iter().enumerate() {
        if at > 0 {
            reading.rest();
        }
        let words = match *group {
            "800" if at < 2 => "eight hundred".to_owned(),
            _ => telephone(group, accent),
        };
        reading.count(&words, *ahead);
    }
    used
}

/// The groups of chunks that are nothing but digits, from `ahead` on.
fn row<'a>(reading: &Reading<'a>, mut ahead: usize) -> Vec<(&'a str, usize)> {
    let mut groups = Vec::new();
    while groups.len() < 8 {
        let core = reading.ahead(ahead);
        let parts: Vec<&str> = core.split(['-', '.']).collect();
        if !parts.iter().all(|part| digits(part) && part.len() < 9) {
            break;
        }
        groups.extend(parts.into_iter().map(|part| (part, ahead)));
        ahead += 1;
    }
    groups
}

/// *+44 20 7946 0958*, *+1-555-123-4567*.
fn international(reading: &mut Reading<'_>) -> Option<usize> {
    let core = reading.ahead(0);
    let first = core.strip_prefix('+')?;
    let mut groups: Vec<(&str, usize)> = first.split(['-', '.']).map(|part| (part, 0)).collect();
    if !groups.iter().all(|(part, _)| digits(part))
        || groups[0].0.len() > 3 && groups.len() == 1 && first.len() < 9
    {
        return None;
    }
    groups.extend(row(reading, 1));
    let total: usize = groups.iter().map(|(group, _)| group.len()).sum();
    if !(8..=16).contains(&total) {
        return None;
    }
    let used = groups.last().map_or(1, |(_, ahead)| ahead + 1);
    reading.say("plus", 0);
    Some(say(reading, &groups, used))
}

/// *555 123 4567*, *020 7946 0958*, *1234 5678 9012 3456*.
fn spaced(reading: &mut Reading<'_>) -> Option<usize> {
    let groups = row(reading, 0);
    let lengths: Vec<usize> = groups.iter().map(|(group, _)| group.len()).collect();
    let total: usize = lengths.iter().sum();
    let american = lengths == [3, 3, 4] || lengths == [1, 3, 3, 4];
    let british = groups
        .first()
        .is_some_and(|(group, _)| group.starts_with('0') && group.len() > 2)
        && lengths.len() > 1
        && (10..=11).contains(&total);
    let card = lengths.len() > 2 && lengths.iter().all(|&length| length == 4);
    if !(american || british || card) {
        return None;
    }
    let used = groups.last().map_or(1, |(_, ahead)| ahead + 1);
    Some(say(reading, &groups, used))
}

/// *555-1234*, *123-45-6789*.
fn joined(reading: &mut Reading<'_>) -> Option<usize> {
    let core = reading.ahead(0);
    let groups: Vec<(&str, usize)> = core.split('-').map(|part| (part, 0)).collect();
    let lengths: Vec<usize> = groups.iter().map(|(group, _)| group.len()).collect();
    let known = lengths == [3, 4]
        || lengths == [3, 3, 4]
        || lengths == [1, 3, 3, 4]
        || lengths == [3, 2, 4]
        || lengths == [5, 6];
    (known && groups.iter().all(|(group, _)| digits(group))).then(|| say(reading, &groups, 1))
}
