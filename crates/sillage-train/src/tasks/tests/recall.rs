//! Recall, copying and look-up against their definitions.

use super::super::phonebook::{COLON, LINE, NAMES};
use super::*;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn mqar_asks_each_key_once_and_wants_its_value() {
    let task =
        task("name = 'mqar'\nlength = 64\npairs = 4\nvocab = 128\nrandom_non_queries = false");
    let mut first_slot = 0;
    let mut places = BTreeSet::new();
    for index in 0..2_000 {
        let sample = task.sample(0, index);
        assert_eq!(sample.tokens.len(), 64);
        let book: BTreeMap<u32, u32> = (0..4)
            .map(|pair| (sample.tokens[2 * pair], sample.tokens[2 * pair + 1]))
            .collect();
        assert_eq!(book.len(), 4, "a key twice");
        assert!(book.keys().all(|key| (1..64).contains(key)));
        assert!(book.values().all(|value| (64..128).contains(value)));
        assert_eq!(book.values().collect::<BTreeSet<_>>().len(), 4);
        let queries = scored(&sample);
        let asked: BTreeSet<u32> = queries.iter().map(|&(at, _)| sample.tokens[at]).collect();
        assert!(asked.iter().eq(book.keys()), "not each key once");
        for (at, value) in queries {
            assert!(at >= 8 && at % 2 == 0);
            assert_eq!(book.get(&sample.tokens[at]), Some(&value));
            places.insert(at);
        }
        let filler = (8..64).filter(|&at| sample.targets[at] == UNSCORED);
        assert!(filler.into_iter().all(|at| sample.tokens[at] == 0));
        first_slot += usize::from(sample.targets[8] != UNSCORED);
    }
    assert!(places.into_iter().eq((8..64).step_by(2)));
    // An even law would give 286, since 4 of 28 slots are taken.
    assert!(first_slot > 1_300, "{first_slot}");
}

#[test]
fn mqar_fills_at_random_and_places_evenly_if_told() {
    let task = task("name = 'mqar'\nlength = 64\npairs = 4\nvocab = 128\npower_a = 1.0");
    let mut fillers = BTreeSet::new();
    let mut slots = [0u32; 28];
    for index in 0..2_000 {
        let sample = task.sample(0, index);
        for at in 8..64 {
            if sample.targets[at] == UNSCORED {
                fillers.insert(sample.tokens[at]);
            } else {
                slots[(at - 8) / 2] += 1;
            }
        }
    }
    assert!(fillers.into_iter().eq(0..128));
    let mean = 2_000 * 4 / 28;
    assert!(
        slots.iter().all(|slot| slot.abs_diff(mean) < 90),
        "{slots:?}"
    );
}

/// Splits the published layout `begin, ..., end` at its separators.
fn parts(tokens: &[u32], letters: u32) -> Vec<&[u32]> {
    assert_eq!(tokens[0], letters);
    tokens[1..].split(|&token| token == letters + 1).collect()
}

#[test]
fn a_copy_is_a_copy() {
    let task = task("name = 'copy'\nmax_length = 12");
    let mut lengths = BTreeSet::new();
    let mut letters: BTreeSet<u32> = BTreeSet::new();
    for index in 0..1_000 {
        let sample = task.sample(0, index);
        let parts = parts(&sample.tokens, 26);
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0], parts[1]);
        let length = parts[0].len();
        assert_eq!(sample.tokens.len(), 2 * length + 2);
        let wanted: Vec<u32> = parts[0].iter().copied().chain([28]).collect();
        assert_eq!(sample.targets[length + 1..], wanted);
        assert!(sample.targets[..=length].iter().all(|&t| t == UNSCORED));
        lengths.insert(length);
        letters.extend(parts[0]);
    }
    assert!(lengths.into_iter().eq(1..=12));
    assert!(letters.into_iter().eq(0..26));
}

#[test]
fn the_end_need_not_be_scored() {
    let text = "name = 'copy'\nmin_length = 9\nmax_length = 9";
    let (with, without) = (task(text), task(&format!("{text}\nscore_end = false")));
    let (with, without) = (with.sample(0, 0), without.sample(0, 0));
    assert_eq!(with.tokens, without.tokens);
    assert_eq!(scored(&with).len(), 10);
    assert_eq!(scored(&without)[..], scored(&with)[..9]);
}

#[test]
fn packed_copies_fill_the_context_and_cut_ones_are_not_scored() {
    let task = task("name = 'copy'\nmax_length = 12\ncontext = 60");
    for index in 0..300 {
        let Sample {
            mut tokens,
            targets,
        } = task.sample(0, index);
        assert_eq!(tokens.len(), 59);
        // The token that the last position predicts completes the context, if known.
        tokens.extend(targets.last().filter(|&&target| target != UNSCORED));
        let mut at = 0;
        while at < tokens.len() {
            let rest = &tokens[at..];
            let end = rest.iter().position(|&token| token == 28);
            let example = &rest[..end.map_or(rest.len(), |end| end + 1)];
            if end.is_none() {
                assert!(targets[at..].iter().all(|&target| target == UNSCORED));
                break;
            }
            let parts = parts(&example[..example.len() - 1], 26);
            assert_eq!(parts[0], parts[1]);
            let answer = at + parts[0].len() + 1;
            for i in at..(at + example.len() - 1).min(59) {
                let wanted = if i < answer { UNSCORED } else { tokens[i + 1] };
                assert_eq!(targets[i], wanted, "position {i}");
            }
            at += example.len();
        }
    }
}

#[test]
fn shuffled_text_is_a_window_out_of_order_and_its_copy() {
    let config = ShuffledCopyConfig {
        variant: ShuffledVariant::Text,
        min_length: 5,
        max_length: 30,
        letters: 400,
        context: None,
        score_end: true,
        ngram: 3,
        answer: 0,
        corpus: None,
    };
    let task = config.with_prose(counting(400)).unwrap();
    let mut in_order = 0;
    let mut starts = BTreeSet::new();
    for index in 0..1_000 {
        let sample = task.sample(0, index);
        let parts = parts(&sample.tokens, 400);
        assert_eq!(parts[0], parts[1]);
        let mut window = parts[0].to_vec();
        in_order += usize::from(window.is_sorted());
        window.sort_unstable();
        assert!(window.windows(2).all(|pair| pair[1] == pair[0] + 1));
        starts.insert(window[0]);
    }
    assert!(in_order < 5, "{in_order} windows are not shuffled");
    assert!(starts.contains(&0) || starts.contains(&1));
    assert!(starts.last() > Some(&380));
}

#[test]
fn a_permutation_repeats_no_letter() {
    let task =
        task("name = 'shuffled-copy'\nvariant = 'permutation'\nmin_length = 26\nmax_length = 26");
    let mut firsts = BTreeSet::new();
    for index in 0..500 {
        let sample = task.sample(0, index);
        let parts = parts(&sample.tokens, 26);
        assert_eq!(parts[0], parts[1]);
        assert_eq!(parts[0].iter().collect::<BTreeSet<_>>().len(), 26);
        firsts.insert(parts[0][0]);
    }
    assert!(firsts.into_iter().eq(0..26));
}

/// The answer that the definition gives: what follows the first occurrence.
fn after<'a>(string: &'a [u32], key: &[u32], answer: usize) -> (usize, &'a [u32]) {
    let start = string
        .windows(key.len())
        .position(|window| window == key)
        .unwrap();
    let rest = &string[start + key.len()..];
    (start, if answer > 0 { &rest[..answer] } else { rest })
}

#[test]
fn ngram_look_up_wants_what_follows() {
    // Two letters have so few 3-grams that often none occurs once.
    for (letters, answer) in [(26, 0), (26, 4), (2, 4)] {
        for prefix in [true, false] {
            let variant = if prefix { "prefix" } else { "suffix" };
            let task = task(&format!(
                "name = 'shuffled-copy'\nvariant = '{variant}-ngram'\nmin_length = 8\n\
                 max_length = 60\nletters = {letters}\nanswer = {answer}"
            ));
            let mut places = BTreeSet::new();
            for index in 0..500 {
                let sample = task.sample(0, index);
                let wanted: Vec<u32> = scored(&sample).into_iter().map(|(_, t)| t).collect();
                let (end, wanted) = wanted.split_last().unwrap();
                assert_eq!(*end, letters + 2);
                let parts = parts(&sample.tokens, letters);
                let (string, key, last) = match prefix {
                    true => (parts[1], parts[0], parts[2]),
                    false => (parts[0], &parts[1][..3], &parts[1][3..]),
                };
                assert_eq!(parts.len(), 2 + usize::from(prefix));
                assert_eq!(key.len(), 3);
                let (place, found) = after(string, key, answer);
                assert_eq!(wanted, found);
                assert_eq!(last, found);
                assert_eq!(scored(&sample)[0].0, sample.tokens.len() - found.len() - 1);
                places.insert(place);
            }
            assert!(places.contains(&0) && places.len() > 10, "{places:?}");
        }
    }
}

/// Reads a line of the phonebook.
fn entry(line: &[u32]) -> ([u32; 2], Vec<u32>) {
    assert_eq!(line[2], COLON);
    assert!(line[3..].iter().all(|&digit| digit < 10));
    ([line[0], line[1]], line[3..].to_vec())
}

#[test]
fn the_phonebook_has_the_number_asked_for() {
    for reversed in [false, true] {
        let task = task(&format!(
            "name = 'phonebook'\nmin_entries = 4\nmax_entries = 9\nreversed = {reversed}"
        ));
        let mut places = BTreeSet::new();
        for index in 0..1_000 {
            let sample = task.sample(0, index);
            let mut blocks: Vec<Vec<&[u32]>> = vec![Vec::new()];
            for line in sample.tokens.split(|&token| token == LINE) {
                match line.is_empty() {
                    true => blocks.push(Vec::new()),
                    false => blocks.last_mut().unwrap().push(line),
                }
            }
            let question = blocks.pop().unwrap()[0];
            let asked = [question[0], question[1]];
            assert_eq!(question[2], COLON);
            if reversed {
                assert_eq!(blocks.remove(0), [&asked[..]]);
            }
            let [book, shots] = &blocks[..] else {
                panic!("{blocks:?}")
            };
            let people: Vec<_> = book.iter().map(|line| entry(line)).collect();
            assert!((4..=9).contains(&people.len()));
            let names: BTreeSet<_> = people.iter().map(|(name, _)| *name).collect();
            assert_eq!(names.len(), people.len());
            for ([first, last], number) in &people {
                assert!(
                    (NAMES..NAMES + 500).contains(first)
                        && (NAMES + 500..NAMES + 1000).contains(last)
                );
                assert!(number.len() == 10 && number[0] >= 6);
            }
            assert_eq!(shots.len(), 2);
            for shot in shots {
                assert!(people.contains(&entry(shot)) && entry(shot).0 != asked);
            }
            let place = people.iter().position(|(name, _)| *name == asked).unwrap();
            places.insert(place);
            let number = &people[place].1;
            assert_eq!(question[3..], number[..9]);
            let wanted: Vec<_> = (sample.tokens.len() - 10..)
                .zip(number.iter().copied())
                .collect();
            assert_eq!(scored(&sample), wanted);
        }
        assert!(places.into_iter().eq(0..9));
    }
}

#[test]
fn selective_copy_wants_the_data_in_order() {
    let task = task("name = 'selective-copy'\nlength = 64");
    let mut places = BTreeSet::new();
    let mut data = BTreeSet::new();
    for index in 0..500 {
        let sample = task.sample(0, index);
        let (text, markers) = sample.tokens.split_at(64);
        assert_eq!(markers, [15; 16]);
        let kept: Vec<u32> = text.iter().copied().filter(|&token| token != 0).collect();
        assert_eq!(sample.targets[64..], kept);
        assert!(
            sample.targets[..64]
                .iter()
                .all(|&target| target == UNSCORED)
        );
        places.extend((0..64).filter(|&at| text[at] != 0));
        data.extend(kept);
    }
    assert!(places.into_iter().eq(0..64));
    assert!(data.into_iter().eq(1..15));
}

#[test]
fn induction_wants_what_followed_the_special_token() {
    let task = task("name = 'induction'\nlength = 20");
    let mut places = BTreeSet::new();
    let mut answers = BTreeSet::new();
    for index in 0..1_000 {
        let sample = task.sample(0, index);
        let special: Vec<usize> = (0..20).filter(|&at| sample.tokens[at] == 15).collect();
        let [place, 19] = special[..] else {
            panic!("{special:?}")
        };
        assert_eq!(scored(&sample), [(19, sample.tokens[place + 1])]);
        places.insert(place);
        answers.insert(sample.tokens[place + 1]);
    }
    assert!(places.into_iter().eq(0..17));
    assert!(answers.into_iter().eq(0..15));
}

#[test]
fn needles_lie_at_every_depth_and_are_asked_for() {
    let task = needle(200).with_prose(counting(1000)).unwrap();
    let (window, mut depths, mut digits) = (200 - 14, [0u32; 10], BTreeSet::new());
    let mut starts = BTreeSet::new();
    for index in 0..4_000 {
        let sample = task.sample(0, index);
        assert_eq!(sample.tokens.len(), 200);
        let at = sample
            .tokens
            .iter()
            .position(|&token| token == 1000)
            .unwrap();
        let (prose, rest) = sample.tokens.split_at(at);
        assert_eq!(rest[1], 1001);
        let number = &rest[2..7];
        assert_eq!(rest[7], 1002);
        let prose = [prose, &rest[8..8 + window - at]].concat();
        assert!(prose.windows(2).all(|pair| pair[1] == pair[0] + 1));
        assert_eq!(
            rest[8 + window - at..],
            [&[1003, 1004], &number[..4]].concat()
        );
        let wanted: Vec<_> = (195..).zip(number.iter().copied()).collect();
        assert_eq!(scored(&sample), wanted);
        starts.insert(prose[0]);
        depths[(at * 10 / (window + 1)).min(9)] += 1;
        digits.extend(number.iter().copied());
    }
    assert!(
        depths.iter().all(|depth| (320..480).contains(depth)),
        "{depths:?}"
    );
    assert!(digits.into_iter().eq(1005..1015));
    assert!(starts.len() > 700 && starts.last() > Some(&800));
}

#[test]
fn a_needle_can_be_held_at_a_depth() {
    for (depth, place) in [(0.0, 0), (0.5, 93), (1.0, 186)] {
        let config = NeedleConfig {
            min_depth: depth,
            max_depth: depth,
            ..needle(200)
        };
        let task = config.with_prose(counting(1000)).unwrap();
        for index in 0..20 {
            assert_eq!(task.sample(0, index).tokens[place], 1000);
        }
    }
}

#[test]
fn a_corpus_is_read_from_16_bit_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prose.u16");
    let bytes: Vec<u8> = (0..1000u16).flat_map(u16::to_le_bytes).collect();
    std::fs::write(&path, bytes).unwrap();
    let config = NeedleConfig {
        corpus: path,
        ..needle(200)
    };
    let from_file = TaskConfig::Needle(config.clone()).build().unwrap();
    let from_memory = config.with_prose(counting(1000)).unwrap();
    assert_eq!(from_file.sample(3, 4), from_memory.sample(3, 4));
}

#[test]
fn a_mixture_has_every_size_in_its_share() {
    let mixed = task(
        "name = 'mqar'\nlength = 64\npairs = 16\nvocab = 128\nmixture = [[32, 4, 3], [16, 2, 4]]",
    );
    let counts = (0..800).fold([0; 3], |mut counts, index| {
        let sample = mixed.sample(1, index);
        let scored = sample.targets.iter().filter(|&&t| t != UNSCORED).count();
        let which = match (sample.tokens.len(), scored) {
            (64, 16) => 0,
            (32, 4) => 1,
            (16, 2) => 2,
            other => panic!("{other:?}"),
        };
        counts[which] += 1;
        counts
    });
    assert!((70..130).contains(&counts[0]), "{counts:?}");
    assert!((250..350).contains(&counts[1]), "{counts:?}");
    assert!((350..450).contains(&counts[2]), "{counts:?}");
}
