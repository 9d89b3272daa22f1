//! Text to tokens and back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test should panic"
)]

mod common;

use common::{Noise, cases, conformance};
use serde_json::{Value, json};
use sillage_formats::tokenizer::{Vocabulary, from_vocabulary};
use sillage_formats::{Checkpoint, Tokenizer, TokenizerError};

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_u64().unwrap() as u32)
        .collect()
}

/// Folder and GGUF file of one model give the ids and texts of `transformers`.
#[test]
fn goldens_from_transformers() {
    let path = conformance().join("hf/llama/tokenizer_golden.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let folder = Checkpoint::open(conformance().join("hf/llama"))
        .unwrap()
        .tokenizer()
        .unwrap();
    let gguf = Checkpoint::open(conformance().join("gguf/llama.gguf")).unwrap();
    for tokenizer in [folder, gguf.tokenizer().unwrap()] {
        for text in golden["texts"].as_array().unwrap() {
            let source = text["text"].as_str().unwrap();
            let found = tokenizer.encode(source, false).unwrap();
            assert_eq!(found, ids(&text["ids"]), "{source:?}");
            let decoded = tokenizer.decode(&found, true);
            assert_eq!(decoded, text["decoded"].as_str().unwrap(), "{source:?}");
        }
    }
}

#[test]
fn every_gguf_of_the_goldens_has_its_tokenizer_or_says_why() {
    for case in cases("gguf") {
        let checkpoint =
            Checkpoint::open(conformance().join(case["path"].as_str().unwrap())).unwrap();
        if checkpoint.has_tokenizer() {
            let tokenizer = checkpoint.tokenizer().unwrap();
            assert!(tokenizer.size() > 1, "{case}");
        }
    }
}

fn printable(byte: u8) -> char {
    let plain = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if plain(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|b| !plain(*b)).count() as u32;
    char::from_u32(0x100 + before).unwrap()
}

/// All 256 bytes, a few merges and two marks.
fn bytes_vocabulary(pre: &str) -> Vocabulary {
    let mut tokens: Vec<String> = (0..=255u8).map(|b| printable(b).to_string()).collect();
    let mut merges = Vec::new();
    for (l, r) in [
        ("h", "e"),
        ("l", "l"),
        ("he", "ll"),
        ("Ġ", "w"),
        ("1", "2"),
        ("12", "3"),
        ("é", ""),
    ] {
        if !r.is_empty() {
            merges.push(format!("{l} {r}"));
            tokens.push(format!("{l}{r}"));
        }
    }
    tokens.push("<|begin|>".into());
    tokens.push("<|end|>".into());
    let mut kinds = vec![1; tokens.len()];
    let n = tokens.len();
    kinds[n - 2..].fill(3);
    Vocabulary {
        model: "gpt2".into(),
        pre: Some(pre.into()),
        kinds,
        merges,
        bos: Some(n as u32 - 2),
        eos: Some(n as u32 - 1),
        tokens,
        ..Vocabulary::default()
    }
}

fn build(vocabulary: &Vocabulary) -> Tokenizer {
    Tokenizer::from_json(&from_vocabulary(vocabulary).unwrap()).unwrap()
}

const PRES: [&str; 12] = [
    "default",
    "gpt-2",
    "llama-bpe",
    "smollm",
    "qwen2",
    "gpt-neox",
    "olmo",
    "mpt",
    "falcon",
    "falcon-h1",
    "refact",
    "dbrx",
];

#[test]
fn any_text_comes_back_whole_or_streamed() {
    let texts = [
        "hello world",
        "  two  spaces\n\n",
        "123 1234 12",
        "naïve 日本語 🦀🦀",
        "it's\tI'LL",
        "",
        "a\u{0}b",
    ];
    for pre in PRES {
        let tokenizer = build(&bytes_vocabulary(pre));
        for text in texts {
            let ids = tokenizer.encode(text, false).unwrap();
            assert_eq!(tokenizer.decode(&ids, false), text, "{pre}");
            let mut stream = tokenizer.stream(true);
            let mut streamed: String = ids.iter().map(|id| stream.push(&tokenizer, *id)).collect();
            streamed.push_str(&stream.finish());
            assert_eq!(streamed, text);
        }
    }
}

#[test]
fn a_character_in_pieces_is_held_back() {
    let tokenizer = build(&bytes_vocabulary("gpt-2"));
    let crab = tokenizer.encode("🦀", false).unwrap();
    assert_eq!(crab.len(), 4);
    let mut stream = tokenizer.stream(false);
    let parts: Vec<String> = crab.iter().map(|id| stream.push(&tokenizer, *id)).collect();
    assert_eq!(parts, ["", "", "", "🦀"]);
    // Two of its bytes, then a letter: one mark for what can never be a character.
    let broken = [crab[0], crab[1], u32::from(b'a')];
    assert_eq!(tokenizer.decode(&broken, false), "\u{fffd}a");
    assert_eq!(tokenizer.decode(&crab[..3], false), "\u{fffd}");
}

#[test]
fn random_ids_never_break_and_stream_as_they_decode() {
    let tokenizer = build(&bytes_vocabulary("llama-bpe"));
    let mut noise = Noise(7);
    for _ in 0..200 {
        let ids: Vec<u32> = (0..40).map(|_| (noise.bits() % 280) as u32).collect();
        let mut stream = tokenizer.stream(false);
        let mut text: String = ids.iter().map(|id| stream.push(&tokenizer, *id)).collect();
        text.push_str(&stream.finish());
        assert_eq!(text, tokenizer.decode(&ids, false));
    }
}

#[test]
fn marks_are_recognised_added_and_left_out() {
    let mut vocabulary = bytes_vocabulary("llama-bpe");
    let (bos, eos) = (vocabulary.bos.unwrap(), vocabulary.eos.unwrap());
    let tokenizer = build(&vocabulary);
    assert_eq!(tokenizer.id("<|end|>"), Some(eos));
    // This rule begins every text with the mark unless told otherwise.
    assert_eq!(tokenizer.encode("a", true).unwrap(), [bos, u32::from(b'a')]);
    assert_eq!(
        tokenizer.encode("a<|end|>", false).unwrap(),
        [u32::from(b'a'), eos]
    );
    assert_eq!(tokenizer.decode(&[bos, u32::from(b'a'), eos], false), "a");
    assert_eq!(tokenizer.decode(&[u32::from(b'a'), eos], true), "a<|end|>");
    assert!(tokenizer.is_special(eos) && !tokenizer.is_special(1));
    vocabulary.add_bos = Some(false);
    vocabulary.add_eos = true;
    assert_eq!(
        build(&vocabulary).encode("a", true).unwrap(),
        [u32::from(b'a'), eos]
    );
}

#[test]
fn digits_are_cut_as_the_rules_say() {
    let count = |pre: &str| {
        build(&bytes_vocabulary(pre))
            .encode("123123", false)
            .unwrap()
            .len()
    };
    assert_eq!(count("smollm"), 6); // digit by digit
    assert_eq!(count("llama-bpe"), 2); // by three
    assert_eq!(count("gpt-2"), 2); // a run, merged
    assert_eq!(count("qwen2"), 6);
}

#[test]
fn unknown_rules_are_named() {
    let mut vocabulary = bytes_vocabulary("kimi-k2");
    let error = from_vocabulary(&vocabulary).unwrap_err();
    assert!(matches!(error, TokenizerError::Unsupported { .. }));
    let error = error.to_string();
    assert!(
        error.contains("kimi-k2") && error.contains("llama-bpe"),
        "{error}"
    );
    vocabulary.model = "t5".into();
    assert!(
        from_vocabulary(&vocabulary)
            .unwrap_err()
            .to_string()
            .contains("t5")
    );
}

fn sentencepiece() -> Vocabulary {
    let mut tokens: Vec<String> = vec!["<unk>".into(), "<s>".into(), "</s>".into()];
    let mut kinds = vec![2, 3, 3];
    tokens.extend((0..=255).map(|b| format!("<0x{b:02X}>")));
    kinds.extend([6; 256]);
    let mut scores = vec![0.0; tokens.len()];
    for (token, score) in [
        ("▁once", -1.0),
        ("▁o", -2.0),
        ("nc", -3.0),
        ("▁on", -4.0),
        ("ce", -5.0),
        ("▁", -9.0),
        ("o", -9.1),
        ("n", -9.2),
        ("c", -9.3),
        ("e", -9.4),
    ] {
        tokens.push(token.into());
        kinds.push(1);
        scores.push(score);
    }
    Vocabulary {
        model: "llama".into(),
        tokens,
        kinds,
        scores,
        bos: Some(1),
        eos: Some(2),
        ..Vocabulary::default()
    }
}

#[test]
fn sentencepiece_merges_by_score_and_falls_back_to_bytes() {
    let tokenizer = build(&sentencepiece());
    let id = |t: &str| tokenizer.id(t).unwrap();
    // o+▁ first (-2), then n+c (-3); the rest has no joint token but `ce`, whose c is taken.
    assert_eq!(
        tokenizer.encode("once", true).unwrap(),
        [1, id("▁o"), id("nc"), id("e")]
    );
    let text = "once é\n";
    let ids = tokenizer.encode(text, false).unwrap();
    assert!(ids.contains(&id("<0xC3>")) && ids.contains(&id("<0x0A>")));
    assert_eq!(tokenizer.decode(&ids, false), text);
    // The space that encoding puts in front is gone, one that was there is not.
    assert_eq!(
        tokenizer.decode(&tokenizer.encode(" once", false).unwrap(), false),
        " once"
    );
    let mut continued = tokenizer.stream(true);
    assert_eq!(continued.push(&tokenizer, id("▁o")), " o");
    let mut plain = sentencepiece();
    plain.add_space_prefix = Some(false);
    plain.add_bos = Some(false);
    let plain = build(&plain);
    assert_eq!(
        plain.decode(&plain.encode("once", true).unwrap(), false),
        "once"
    );
}

#[test]
fn hostile_descriptions_are_errors() {
    let good: Value =
        serde_json::from_slice(&from_vocabulary(&bytes_vocabulary("gpt-2")).unwrap()).unwrap();
    let broken: [(&str, Value); 9] = [
        ("/model", json!(null)),
        ("/model/type", json!("WordPiece")),
        ("/model/vocab/a", json!(4_000_000_000u64)),
        ("/model/vocab/a", json!(-1)),
        ("/model/merges", json!(["zz zz"])),
        ("/model/merges", json!([["a", "b", "c"]])),
        ("/decoder", json!({"type": "CTC"})),
        ("/added_tokens/0/id", json!(99_999_999)),
        ("/added_tokens/0/content", json!("")),
    ];
    for (at, value) in broken {
        let mut json = good.clone();
        *json.pointer_mut(at).unwrap() = value;
        let error = Tokenizer::from_json(json.to_string().as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("tokenizer: "), "{at}: {error}");
    }
    for bytes in [&b""[..], b"{}", b"[]", b"null", b"\xff", b"{\"model\":{}}"] {
        Tokenizer::from_json(bytes).unwrap_err();
    }
    // Truncation saved with a tokenizer must not cut prompts.
    let mut json = good;
    json["truncation"] =
        json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    let tokenizer = Tokenizer::from_json(json.to_string().as_bytes()).unwrap();
    assert_eq!(tokenizer.encode("abcdef", false).unwrap().len(), 6);
}
