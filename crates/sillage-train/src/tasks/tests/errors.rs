//! Every bad setting gets its named error with the cure.

use super::*;

/// The message of the error that `text` gives.
fn error(text: &str) -> String {
    match config(text).build() {
        Ok(_) => panic!("{text}: built"),
        Err(error) => error.to_string(),
    }
}

/// Settings, the one that is out of range, and what the message says of it.
const OUT_OF_RANGE: &[(&str, &str, &str)] = &[
    ("name = 'mqar'\nlength = 3\npairs = 1", "length", "from 4"),
    ("name = 'mqar'\nlength = 65\npairs = 1", "length", "even"),
    (
        "name = 'mqar'\nlength = 64\npairs = 0",
        "pairs",
        "1 or more",
    ),
    (
        "name = 'mqar'\nlength = 64\npairs = 1\nvocab = 64",
        "vocab",
        "above `length` (64)",
    ),
    (
        "name = 'mqar'\nlength = 64\npairs = 1\npower_a = 0.0",
        "power_a",
        "above 0",
    ),
    (
        "name = 'mqar'\nlength = 64\npairs = 1\npower_a = nan",
        "power_a",
        "above 0",
    ),
    (
        "name = 'copy'\nmin_length = 0\nmax_length = 9",
        "min_length",
        "from 1",
    ),
    (
        "name = 'copy'\nmax_length = 16777217",
        "max_length",
        "to 16777216",
    ),
    (
        "name = 'copy'\nmax_length = 9\nletters = 0",
        "letters",
        "from 1",
    ),
    (
        "name = 'copy'\nmax_length = 9\ncontext = 16777217",
        "context",
        "to 16777216",
    ),
    (
        "name = 'shuffled-copy'\nvariant = 'suffix-ngram'\nmin_length = 3\nmax_length = 9",
        "min_length",
        "from 4",
    ),
    (
        "name = 'shuffled-copy'\nvariant = 'suffix-ngram'\nmin_length = 3\nmax_length = 9\nngram = 0",
        "ngram",
        "1 or more",
    ),
    (
        "name = 'phonebook'\nmin_entries = 2\nmax_entries = 9",
        "min_entries",
        "from 3",
    ),
    (
        "name = 'phonebook'\nmin_entries = 3\nmax_entries = 9\nnames = 0",
        "names",
        "from 1",
    ),
    (
        "name = 'phonebook'\nmin_entries = 3\nmax_entries = 9\ndigits = 0",
        "digits",
        "from 1",
    ),
    ("name = 'selective-copy'\ndata = 0", "data", "1 or more"),
    ("name = 'selective-copy'\nvocab = 2", "vocab", "from 3"),
    ("name = 'induction'\nlength = 3", "length", "from 4"),
    ("name = 'induction'\nvocab = 1", "vocab", "from 3"),
    (
        "name = 'parity'\nmin_length = 1\nmax_length = 9",
        "min_length",
        "from 2",
    ),
    (
        "name = 'modular-arithmetic'\nbrackets = true\nmin_length = 2\nmax_length = 9",
        "min_length",
        "from 3",
    ),
    (
        "name = 'modular-arithmetic'\nbrackets = true\nmin_length = 3\nmax_length = 9\nmodulus = 1",
        "modulus",
        "from 2",
    ),
    (
        "name = 'symmetric-group'\nn = 6\nmin_length = 3\nmax_length = 9",
        "n",
        "from 2 to 5",
    ),
    (
        "name = 'symmetric-group'\nn = 3\nmin_length = 0\nmax_length = 9",
        "min_length",
        "from 1",
    ),
];

#[test]
fn settings_out_of_range_are_named() {
    for (text, field, must) in OUT_OF_RANGE.iter().copied() {
        let message = error(text);
        assert!(
            message.contains(&format!("`{field}` is ")),
            "{text}: {message}"
        );
        assert!(message.contains(must), "{text}: {message}");
    }
}

#[test]
fn what_does_not_fit_says_what_would() {
    for (text, cure) in [
        (
            "name = 'mqar'\nlength = 64\npairs = 17",
            "need 68 tokens, but there are 64; raise `length`",
        ),
        (
            "name = 'selective-copy'\nlength = 8",
            "need 16 tokens, but there are 8; raise `length`",
        ),
        (
            "name = 'copy'\nmax_length = 50\ncontext = 102",
            "need 103 tokens, but there are 102; raise `context`",
        ),
        (
            "name = 'shuffled-copy'\nvariant = 'permutation'\nmin_length = 3\nmax_length = 27",
            "`letters` is 26, too few for 27 different letters; raise `letters`",
        ),
        (
            "name = 'phonebook'\nmin_entries = 3\nmax_entries = 10\nnames = 3",
            "`names` is 3, too few for 10 people",
        ),
        (
            "name = 'shuffled-copy'\nvariant = 'text'\nmin_length = 3\nmax_length = 9",
            "`corpus` is missing; name a file",
        ),
    ] {
        let message = error(text);
        assert!(message.contains(cure), "{text}: {message}");
    }
    task("name = 'mqar'\nlength = 64\npairs = 16");
    task("name = 'copy'\nmax_length = 50\ncontext = 103");
    task("name = 'phonebook'\nmin_entries = 3\nmax_entries = 9\nnames = 3");
}

#[test]
fn reversed_bounds_are_named() {
    for text in [
        "name = 'copy'\nmin_length = 9\nmax_length = 8",
        "name = 'parity'\nmin_length = 9\nmax_length = 8",
        "name = 'phonebook'\nmin_entries = 9\nmax_entries = 8",
    ] {
        let found = config(text).build().err().unwrap();
        assert!(matches!(found, TaskError::Reversed { .. }), "{found}");
    }
}

#[test]
fn unknown_settings_and_tasks_are_refused() {
    for text in [
        "name = 'mqar'\nlength = 64\npairs = 4\npair = 4",
        "name = 'parity'\nmin_length = 3\nmax_length = 9\nlength = 4",
        "name = 'selective-copy'\nnoise = 1",
        "name = 'mqr'\nlength = 64\npairs = 4",
        "name = 'parity'\nmin_length = 3\nmax_length = 9\nscore = 'some'",
        "length = 64",
    ] {
        let found = toml::from_str::<TaskConfig>(text);
        assert!(found.is_err(), "{text}: {found:?}");
    }
    let message =
        toml::from_str::<TaskConfig>("name = 'parity'\nmin_length = 3\nmax_length = 9\nlenth = 4");
    let message = message.unwrap_err().to_string();
    assert!(message.contains("lenth"), "{message}");
}

#[test]
fn bad_needles_are_named() {
    let message = |change: fn(&mut NeedleConfig)| {
        let mut config = needle(200);
        change(&mut config);
        match config.with_prose(counting(1000)) {
            Ok(_) => panic!("{config:?}: built"),
            Err(error) => error.to_string(),
        }
    };
    assert!(message(|n| n.length = 13).contains("need 14 tokens, but there are 13"));
    assert!(message(|n| n.length = 1015).contains("has 1000 tokens, but a sample takes 1001"));
    assert!(message(|n| n.question.clear()).contains("`question` is missing"));
    assert!(message(|n| n.symbols.clear()).contains("`symbols` is missing"));
    assert!(message(|n| n.digits = 0).contains("`digits` is 0"));
    assert!(message(|n| n.digits = usize::MAX).contains("`digits` is"));
    assert!(message(|n| n.min_depth = -0.1).contains("within 0 and 1"));
    assert!(message(|n| n.max_depth = f64::NAN).contains("within 0 and 1"));
    assert!(message(|n| n.max_depth = f64::INFINITY).contains("within 0 and 1"));
    assert!(message(|n| (n.min_depth, n.max_depth) = (0.5, 0.4)).contains("exchange"));
    assert!(message(|n| n.vocab = 1010).contains("`symbols` has token 1010"));
    assert!(message(|n| n.vocab = 0).contains("`vocab` is 0"));
    assert!(message(|n| n.after[0] = 7777).contains("`after` has token 7777"));
    let small = NeedleConfig {
        before: vec![],
        after: vec![],
        question: vec![0],
        symbols: vec![1],
        vocab: 500,
        ..needle(200)
    };
    let error = small.with_prose(counting(1000)).err().unwrap().to_string();
    assert!(error.contains("`corpus` has token 500"), "{error}");
}

#[test]
fn bad_corpora_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let build = |name: &str| {
        let corpus = folder.path().join(name);
        let config = NeedleConfig {
            corpus,
            ..needle(200)
        };
        TaskConfig::Needle(config).build().err().unwrap()
    };
    std::fs::write(folder.path().join("odd"), [1, 0, 2]).unwrap();
    std::fs::write(folder.path().join("empty"), []).unwrap();
    let (absent, odd, empty) = (build("absent"), build("odd"), build("empty"));
    assert!(matches!(absent, TaskError::Corpus { .. }), "{absent}");
    assert!(absent.to_string().contains("absent"));
    assert!(
        matches!(odd, TaskError::CorpusShape { bytes: 3, .. }),
        "{odd}"
    );
    assert!(
        matches!(empty, TaskError::CorpusTooShort { found: 0, .. }),
        "{empty}"
    );
}
