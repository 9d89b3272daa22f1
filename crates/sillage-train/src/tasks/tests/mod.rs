mod errors;
mod recall;
mod track;

use super::*;
use proptest::prelude::*;

/// Every task in a small form that needs no file.
const SMALL: [&str; 13] = [
    "name = 'mqar'\nlength = 64\npairs = 4\nvocab = 128",
    "name = 'mqar'\nlength = 32\npairs = 8\nvocab = 64\nrandom_non_queries = false",
    "name = 'copy'\nmin_length = 3\nmax_length = 12",
    "name = 'copy'\nmax_length = 12\ncontext = 60",
    "name = 'shuffled-copy'\nvariant = 'permutation'\nletters = 40\nmin_length = 2\nmax_length = 20",
    "name = 'shuffled-copy'\nvariant = 'suffix-ngram'\nmin_length = 8\nmax_length = 20",
    "name = 'phonebook'\nmin_entries = 4\nmax_entries = 9",
    "name = 'selective-copy'\nlength = 64",
    "name = 'induction'\nlength = 64",
    "name = 'parity'\nmin_length = 3\nmax_length = 40",
    "name = 'modular-arithmetic'\nbrackets = false\nmin_length = 3\nmax_length = 40",
    "name = 'modular-arithmetic'\nbrackets = true\nmin_length = 3\nmax_length = 40",
    "name = 'symmetric-group'\nn = 5\nmin_length = 3\nmax_length = 40",
];

/// Hashes of the first samples of [`SMALL`], in its order.
const GOLDEN: [u64; 13] = [
    0x3150_820D_421F_60BB,
    0xE031_6FB7_656C_50B5,
    0xE173_82E0_8E99_A88B,
    0x4C5B_78F7_5D45_05CC,
    0x47FE_BFC5_E87D_EEF3,
    0xC83C_AF9F_DC7A_9FD2,
    0x65CA_1681_CBCB_B28F,
    0x5A5E_CD2B_6CE4_E9C5,
    0x2805_6A9F_7D73_E224,
    0xC97F_FF74_B6EE_320D,
    0x26E2_8FA0_BA14_FE77,
    0x6524_63F7_E5B8_1D14,
    0x1A2E_5934_BF96_D0DB,
];

fn config(text: &str) -> TaskConfig {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn task(text: &str) -> Box<dyn Task> {
    config(text)
        .build()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Prose that counts upwards, so that a token tells its place.
fn counting(length: u32) -> Corpus {
    (0..length).collect()
}

fn needle(length: usize) -> NeedleConfig {
    NeedleConfig {
        corpus: PathBuf::from("unused"),
        vocab: 1020,
        length,
        before: vec![1000, 1001],
        after: vec![1002],
        question: vec![1003, 1004],
        symbols: (1005..1015).collect(),
        digits: 5,
        min_depth: 0.0,
        max_depth: 1.0,
    }
}

/// What holds for the samples of every task.
fn check(task: &dyn Task, sample: &Sample) {
    assert_eq!(sample.tokens.len(), sample.targets.len());
    assert!(!sample.tokens.is_empty());
    let vocab = task.vocab() as u32;
    assert!(sample.tokens.iter().all(|&token| token < vocab));
    let mut scored = sample.targets.iter().filter(|&&t| t != UNSCORED).peekable();
    assert!(scored.peek().is_some(), "nothing is scored");
    assert!(scored.all(|&target| target < vocab));
    assert!(task.chance() > 0.0 && task.chance() <= 1.0);
}

/// The scored positions and their targets.
fn scored(sample: &Sample) -> Vec<(usize, u32)> {
    let targets = sample.targets.iter().copied().enumerate();
    targets.filter(|&(_, target)| target != UNSCORED).collect()
}

/// FNV-1a over the samples of two streams.
fn hash(task: &dyn Task) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325u64;
    for (seed, index) in [(0, 0), (0, 1), (1, 0), (u64::MAX, u64::MAX)] {
        let sample = task.sample(seed, index);
        for value in sample.tokens.iter().chain(&sample.targets) {
            for byte in value.to_le_bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
            }
        }
    }
    hash
}

#[test]
fn samples_are_the_same_for_ever() {
    let found: Vec<u64> = SMALL.iter().map(|text| hash(&*task(text))).collect();
    assert!(found == GOLDEN, "{found:#X?}");
}

#[test]
fn samples_depend_on_seed_and_index() {
    for text in SMALL {
        let task = task(text);
        let first = task.sample(7, 0);
        assert_eq!(first, task.sample(7, 0), "{text}");
        // Short sequences over two tokens may well be equal once.
        let differ = |other: fn(u64) -> (u64, u64)| {
            (1..9).any(|i| {
                let (seed, index) = other(i);
                task.sample(seed, index) != first
            })
        };
        assert!(differ(|i| (7 + i, 0)), "{text}");
        assert!(differ(|i| (7, i)), "{text}");
    }
}

#[test]
fn every_sample_is_well_formed() {
    for text in SMALL {
        let task = task(text);
        for index in 0..200 {
            check(&*task, &task.sample(1, index));
        }
    }
}

#[test]
fn at_length_makes_the_extrapolation_test() {
    let lengths = |text: &str| {
        let task = config(text).at_length(32).build().unwrap();
        let samples = (0..20).map(|index| task.sample(0, index).tokens.len());
        samples.collect::<std::collections::BTreeSet<_>>()
    };
    let expected = [32, 32, 66, 66, 66, 0, 490, 48, 32, 31, 30, 30, 32];
    for (text, expected) in SMALL.into_iter().zip(expected) {
        if expected > 0 {
            assert_eq!(
                lengths(text).into_iter().collect::<Vec<_>>(),
                [expected],
                "{text}"
            );
        }
    }
    let long = TaskConfig::Needle(needle(100)).at_length(333);
    let TaskConfig::Needle(long) = long else {
        panic!("{long:?}")
    };
    let task = long.with_prose(counting(1000)).unwrap();
    assert_eq!(task.sample(0, 0).tokens.len(), 333);
}

#[test]
fn configs_survive_writing_and_reading() {
    let needle = toml::to_string(&TaskConfig::Needle(needle(50))).unwrap();
    for text in SMALL.into_iter().chain([needle.as_str()]) {
        let first = config(text);
        assert_eq!(config(&toml::to_string(&first).unwrap()), first, "{text}");
    }
}

#[test]
fn published_settings_are_the_defaults() {
    let TaskConfig::Mqar(mqar) = config("name = 'mqar'\nlength = 256\npairs = 16") else {
        panic!("not mqar")
    };
    assert_eq!((mqar.vocab, mqar.power_a), (8192, 0.01));
    assert!(mqar.random_non_queries);
    let selective = task("name = 'selective-copy'");
    assert_eq!(selective.vocab(), 16);
    assert_eq!(selective.sample(0, 0).tokens.len(), 4096 + 16);
    assert_eq!(task("name = 'induction'").sample(0, 0).tokens.len(), 256);
    assert_eq!(task(SMALL[10]).chance(), 0.2);
    assert_eq!(task(SMALL[12]).chance(), 1.0 / 120.0);
}

/// A setting near the edges of what is allowed, or beyond.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![0..40usize, 0..300usize, Just(usize::MAX), Just(1 << 24)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_setting_makes_a_task_panic(
        a in size(), b in size(), c in size(), d in size(),
        flag in any::<bool>(), depth in -0.5..1.5f64, seed in any::<u64>(), kind in 0..4usize,
    ) {
        let score = if flag { Score::End } else { Score::Every };
        let variant = [
            ShuffledVariant::Text,
            ShuffledVariant::Permutation,
            ShuffledVariant::PrefixNgram,
            ShuffledVariant::SuffixNgram,
        ][kind];
        let context = flag.then_some(d);
        let shuffled = ShuffledCopyConfig {
            variant, min_length: a, max_length: b, letters: c, context, score_end: flag,
            ngram: d.min(5), answer: d % 7, corpus: None,
        };
        let needle = NeedleConfig { digits: b, min_depth: depth, vocab: 1020, ..needle(a) };
        let built = [
            TaskConfig::Mqar(MqarConfig {
                length: a, pairs: b, vocab: c, power_a: depth, random_non_queries: flag,
                mixture: if flag { vec![[b, a, c]] } else { vec![] },
            }).build(),
            TaskConfig::Copy(CopyConfig {
                min_length: a, max_length: b, letters: c, context, score_end: flag,
            }).build(),
            shuffled.with_prose(counting(50)),
            TaskConfig::Phonebook(PhonebookConfig {
                min_entries: a, max_entries: b, names: c, digits: d, shots: kind, reversed: flag,
            }).build(),
            TaskConfig::SelectiveCopy(SelectiveCopyConfig { length: a, data: b, vocab: c }).build(),
            TaskConfig::Induction(InductionConfig { length: a, vocab: b }).build(),
            needle.with_prose(counting(50)),
            TaskConfig::Parity(ParityConfig { min_length: a, max_length: b, score }).build(),
            TaskConfig::ModularArithmetic(ModularArithmeticConfig {
                brackets: flag, min_length: a, max_length: b, modulus: c, multiply: Some(kind > 1),
            }).build(),
            TaskConfig::SymmetricGroup(SymmetricGroupConfig {
                n: kind + 2, min_length: a, max_length: b, score,
            }).build(),
        ];
        // A sample of 16 million tokens only takes long.
        let small = [a, b, c, d].iter().all(|&size| size < 1000);
        for task in built.into_iter().flatten().filter(|_| small) {
            let sample = task.sample(seed, seed);
            prop_assert_eq!(&sample, &task.sample(seed, seed));
            check(&*task, &sample);
        }
    }
}
