//! Streams, tags, phrases, words and dictionaries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{sync::OnceLock, time::Duration};

use proptest::prelude::*;
use sillage_text::{
    Accent, Dictionary, FrontEnd, LONGEST_PHRASE, Phrase, TextError, fuzzing, parse_phonemes,
};

fn front() -> &'static FrontEnd {
    static FRONT: OnceLock<FrontEnd> = OnceLock::new();
    FRONT.get_or_init(|| FrontEnd::new(Accent::Us).unwrap())
}

fn error(text: &str) -> TextError {
    front().phrases(text).expect_err(text)
}

#[test]
fn phrases_end_at_marks_and_keep_their_words() {
    let phrases = front()
        .phrases("Well, \"Dr. Lee\" paid $5.20; then he left.\n\nNext day")
        .unwrap();
    let sounds: Vec<String> = phrases.iter().map(Phrase::phonemes).collect();
    assert_eq!(sounds[0], "wˈɛl, ");
    assert!(sounds[1].ends_with("; "), "{sounds:?}");
    assert!(
        sounds[3].ends_with('.'),
        "a sentence without its full stop gets one: {sounds:?}"
    );
    let words: Vec<&str> = phrases
        .iter()
        .flat_map(|p| p.words.iter().map(|w| w.text.as_str()))
        .collect();
    assert_eq!(
        words,
        [
            "Well,", "\"Dr.", "Lee\"", "paid", "$5.20;", "then", "he", "left.", "Next", "day"
        ]
    );
    let flags: Vec<(bool, bool)> = phrases
        .iter()
        .map(|p| (p.sentence_start, p.sentence_end))
        .collect();
    assert_eq!(
        flags,
        [(true, false), (false, false), (false, true), (true, true)]
    );
}

#[test]
fn a_phrase_comes_as_soon_as_it_is_certain() {
    let mut reader = front().reader();
    assert!(reader.push("Hello").unwrap().is_empty());
    assert!(reader.push(", ").unwrap().len() == 1);
    assert!(
        reader.push("I met Dr. ").unwrap().is_empty(),
        "the name is still to come"
    );
    assert!(
        reader.push("Lee at 5 p.m. ").unwrap().is_empty(),
        "a capital would end the sentence"
    );
    assert_eq!(reader.push("He left").unwrap().len(), 1);
    assert_eq!(reader.waiting(), 7);
    assert_eq!(reader.finish().unwrap().len(), 1);
    assert_eq!(reader.position(), 38);
    assert!(reader.finish().unwrap().is_empty());
}

#[test]
fn text_without_marks_comes_early_and_bounded() {
    let mut reader = front().reader();
    let mut heard = 0;
    for _ in 0..2000 {
        for phrase in reader.push("and so on it went without any end ").unwrap() {
            assert!(phrase.units.len() <= LONGEST_PHRASE);
            heard += phrase.words.len();
        }
        assert!(reader.waiting() < 600, "{} bytes wait", reader.waiting());
    }
    heard += reader
        .finish()
        .unwrap()
        .iter()
        .map(|phrase| phrase.words.len())
        .sum::<usize>();
    assert_eq!(heard, 16_000);
}

#[test]
fn a_word_of_ten_thousand_letters_is_read() {
    let text = "abcdefghij".repeat(1000);
    let phrases = front().phrases(&text).unwrap();
    fuzzing::check(&phrases, &text);
    assert!(phrases.len() > 20);
}

#[test]
fn silent_texts_have_no_phrases() {
    for text in [
        "",
        " \n\t ",
        "...",
        "?!",
        "—",
        "🏳️",
        "\u{200B}\u{FEFF}",
        "Привет, мир!",
        "()",
        "***",
        "--",
        ":-)",
    ] {
        assert_eq!(front().phrases(text).unwrap(), [], "{text:?}");
    }
}

#[test]
fn tags_set_pauses_speed_and_volume() {
    let text = "One. <break time=\"500ms\"/><speed ratio='1.2'/>Two <volume ratio=0.5 /> three.<break time=\"2s\"/>";
    let phrases = front().phrases(text).unwrap();
    let facts: Vec<(f32, f32, u128)> = phrases
        .iter()
        .map(|p| (p.speed, p.volume, p.pause_before.as_millis()))
        .collect();
    assert_eq!(
        facts,
        [
            (1.0, 1.0, 0),
            (1.2, 1.0, 500),
            (1.2, 0.5, 0),
            (1.2, 0.5, 2000)
        ]
    );
    assert!(phrases[3].units.is_empty() && phrases[3].words.is_empty());
    assert_eq!(
        front()
            .phrases("<break time=\"1s\"/><break time=\"1.5s\"/>Hi")
            .unwrap()[0]
            .pause_before,
        Duration::from_millis(2500)
    );
}

#[test]
fn phonemes_are_taken_in_ipa_and_as_the_voices_have_them() {
    assert_eq!(front().phonemize("<<h|ə|ˈ|l|oʊ>>").unwrap(), "həlˈO.");
    assert_eq!(
        front().phonemize("Say <<həlˈO wˈɜːld>>, now.").unwrap(),
        "sˈA həlˈO wˈɜɹld, nˈW."
    );
    assert_eq!(parse_phonemes("tʃɝt͡ʃ", Accent::Us).unwrap(), "ʧɜɹʧ");
    assert_eq!(parse_phonemes("ɡəʊ bæk", Accent::Gb).unwrap(), "ɡQ bak");
    assert_eq!(parse_phonemes("gɹeɪp", Accent::Us).unwrap(), "ɡɹAp");
    let word = &front().phrases("Oh <<h|ə>>!").unwrap()[0].words[1];
    assert_eq!((word.text.as_str(), word.span.clone()), ("h|ə", 3..11));
}

#[test]
fn mistakes_in_markup_are_named() {
    assert!(matches!(
        error("a <break time=\"1x\"/>"),
        TextError::Attribute {
            offset: 2,
            name: "break",
            ..
        }
    ));
    assert!(matches!(error("<break/>"), TextError::Attribute { .. }));
    assert!(matches!(
        error("<break time=\"3600s\"/>"),
        TextError::Range { .. }
    ));
    assert!(matches!(
        error("<speed ratio=\"3\"/>"),
        TextError::Range {
            name: "speed",
            from: "0.6",
            ..
        }
    ));
    assert!(matches!(
        error("<volume ratio=\"NaN\"/>"),
        TextError::Attribute { .. }
    ));
    assert!(matches!(
        error("Hi <break time=\"1s\""),
        TextError::Unclosed { offset: 3, .. }
    ));
    assert!(matches!(
        error("<spell>ABC"),
        TextError::Unclosed { offset: 0, .. }
    ));
    assert!(matches!(
        error("ABC</spell>"),
        TextError::Unopened { offset: 3, .. }
    ));
    assert!(matches!(error("<spell> </spell>"), TextError::Empty { .. }));
    assert!(matches!(
        error("Say <<h|ə"),
        TextError::Unclosed { offset: 4, .. }
    ));
    assert!(matches!(
        error("Say <<h|9>>"),
        TextError::UnknownPhoneme { offset: 4, .. }
    ));
    assert!(matches!(
        error("Say <<>> now"),
        TextError::Empty { offset: 4, .. }
    ));
    assert!(matches!(
        error("<brake time=\"1s\"/>"),
        TextError::UnknownTag { offset: 0, .. }
    ));
    for text in [
        "<break time=\"1x\"/>",
        "<speed ratio=\"3\"/>",
        "<spell>A",
        "<<9>>",
        "<foo x=\"1\"/>",
    ] {
        assert!(error(text).to_string().contains("byte 0"), "{text}");
    }
}

#[test]
fn a_reader_with_an_error_repeats_it() {
    let mut reader = front().reader();
    let first = reader.push("Hello. <break time=\"x\"/> more").unwrap_err();
    assert_eq!(reader.push("more").unwrap_err(), first);
    assert_eq!(reader.finish().unwrap_err(), first);
}

#[test]
fn other_uses_of_the_sign_are_text() {
    for text in [
        "a < b",
        "1<2",
        "x <- y",
        "I <3 you",
        "a<<b",
        "<",
        "if (a<b) c",
        "<>",
        "< break >",
        "5 << 2",
    ] {
        front().phrases(text).expect(text);
    }
}

#[test]
fn a_dictionary_comes_first() {
    let file =
        "# mine\nSillage\tsijˈɑʒ\n{\"word\": \"tomato\", \"phonemes\": \"təˈmɑːtoʊ\"}\n\nUS\tˌʌs\n";
    let dictionary = Dictionary::parse(file, Accent::Us).unwrap();
    assert_eq!(dictionary.len(), 3);
    let front = front().with_dictionary(dictionary);
    assert_eq!(
        front.phonemize("Sillage. Tomato.").unwrap(),
        "sijˈɑʒ. təmˈɑtO."
    );
    assert_eq!(front.phonemize("a pre-tomato").unwrap(), "ɐ pɹˌitəmˈɑtO.");
    for (file, line) in [
        ("a\tb|9", 1),
        ("ok\tkə\nno tab", 2),
        ("{\"word\": \"x\"}", 1),
        ("\n\n\tə", 3),
        ("a b\tə", 1),
        ("{\"word", 1),
    ] {
        let error = Dictionary::parse(file, Accent::Us).expect_err(file);
        assert!(
            matches!(&error, TextError::Dictionary { line: found, .. } if *found == line),
            "{file:?}: {error}"
        );
    }
}

#[test]
fn a_clone_goes_on_from_the_same_place() {
    let mut reader = front().reader();
    reader.push("On <speed ratio=\"1.5\"/>January ").unwrap();
    let mut other = reader.clone();
    let mut ends = [
        reader.push("5 it rained.").unwrap(),
        other.push("5 it rained.").unwrap(),
    ];
    ends[0].extend(reader.finish().unwrap());
    ends[1].extend(other.finish().unwrap());
    assert_eq!(ends[0], ends[1]);
    assert!(ends[0][0].phonemes().starts_with("ʤˈænjəwˌɛɹi fˈɪfθ"));
}

#[test]
fn a_frozen_reader_goes_on() {
    let text = "He said on <volume ratio=\"0.7\"/>Jan. 5, \"I read it. <break time=\"1s\"/>Did you read the book?\" Yes.";
    let whole = front().phrases(text).unwrap();
    for at in (0..text.len()).filter(|&at| text.is_char_boundary(at)) {
        let mut reader = front().reader();
        let mut phrases = reader.push(&text[..at]).unwrap();
        let mut reader = front().resume(&reader.freeze()).unwrap();
        phrases.extend(reader.push(&text[at..]).unwrap());
        phrases.extend(reader.finish().unwrap());
        assert_eq!(phrases, whole, "frozen at {at}");
    }
    let frozen = front().reader().freeze();
    for bytes in [
        &frozen[..5],
        &frozen[..frozen.len() - 1],
        b"",
        &[frozen.as_slice(), b"\xFF"].concat(),
    ] {
        assert_eq!(front().resume(bytes).unwrap_err(), TextError::Frozen);
    }
}

#[test]
fn a_long_text_is_read_in_linear_time() {
    let sentence = "On Jan. 5, 2024, Dr. Smith paid $1,234.56 for 3 km of well-known cable (see www.example.com)! ";
    let time = |count: usize| {
        let text = sentence.repeat(count);
        let start = std::time::Instant::now();
        let phrases = front().phrases(&text).unwrap();
        fuzzing::check(&phrases, &text);
        start.elapsed()
    };
    time(10);
    let (short, long) = (time(100), time(1000));
    assert!(long < short * 30, "{short:?} for a tenth, {long:?} for all");
}

#[test]
fn spaces_without_end_are_passed_over() {
    let text = format!("Dr.{}Lee{}", " ".repeat(100_000), "\n".repeat(100_000));
    fuzzing::check(&front().phrases(&text).unwrap(), &text);
}

/// Text with much of what the rules look for.
fn texts() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "Hello",
        " ",
        ", ",
        ". ",
        "! ",
        "? ",
        "...",
        "… ",
        "—",
        " -- ",
        " - ",
        "Dr.",
        "St.",
        "U.S.",
        "e.g.",
        "p.m.",
        "$5",
        "3",
        ".5",
        "1,000",
        "1/2",
        "½",
        "10-20",
        "3:45",
        "Jan. 5",
        "2024",
        "'",
        "\"",
        "(",
        ")",
        "[",
        "](",
        "*",
        "_",
        "#",
        "@",
        "&",
        "&amp;",
        "<",
        ">",
        "<<",
        ">>",
        "<b>",
        "</b>",
        "<break time=\"1s\"/>",
        "<spell>",
        "AB",
        "</spell>",
        "<<h|ə>>",
        "<speed ratio=\"1.1\"/>",
        "http://a.b/c",
        "x@y.com",
        "a.txt",
        "VIII",
        "Henry ",
        "km",
        "°C",
        "%",
        "😂",
        "é",
        "ß",
        "Ω",
        "你好",
        "\u{301}",
        "\u{200D}",
        "\n",
        "\n\n",
        "\t",
        "\u{0}",
        "It's ",
        "the ",
        "'90s",
        "read ",
        "well-known",
        "NASA",
        "iPhone",
        "\\",
        "/",
        "+1 555",
        "911",
        "²",
        "x^2",
    ]);
    prop::collection::vec(
        prop_oneof![4 => parts.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)],
        0..40,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_text_is_read_and_pieces_give_the_whole(text in texts(), step in 0u8..40) {
        let bytes = [&[step], text.as_bytes()].concat();
        fuzzing::text(&bytes);
    }

    #[test]
    fn any_characters_are_read(text in "\\PC{0,200}", step in 0u8..9) {
        let bytes = [&[step], text.as_bytes()].concat();
        fuzzing::text(&bytes);
    }
}
