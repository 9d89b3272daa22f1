//! The first law as properties: however tokens are divided, whatever shares the batch, on however many
//! threads, and through forking, freezing, saving and loading (also by another process), logits and
//! states are equal bit for bit. For every architecture, weight type and state type.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Case, best, bits, cases, load};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use sillage_formats::Checkpoint;
use sillage_formats::quantize::{Policy, Target, quantize};
use sillage_kernels::Compute;
use sillage_models::{LoadOptions, Model, Row, Wanted};
use sillage_state::{Precision, Snapshot, State, StateType};
use std::path::{Path, PathBuf};

/// What happens to a state between two calls.
#[derive(Debug, Clone, Copy)]
enum Verb {
    /// Nothing.
    Go,
    /// It is forked; the fork goes elsewhere.
    Diverge,
    /// It is frozen and resumed.
    Freeze,
    /// It is saved, dropped and loaded.
    Save,
}

/// One way to feed a text.
#[derive(Debug, Clone)]
struct Plan {
    seed: u64,
    /// Tokens per call, and what happens after it; the rest follows in one call.
    steps: Vec<(usize, Verb)>,
    tokens: usize,
    /// Tokens that companions feed in each call, one companion a number.
    mates: Vec<usize>,
    /// Where among the companions the row stands.
    place: usize,
    threads: usize,
}

fn plan() -> impl Strategy<Value = Plan> {
    let verb = prop_oneof![
        3 => Just(Verb::Go),
        1 => Just(Verb::Diverge),
        1 => Just(Verb::Freeze),
        1 => Just(Verb::Save),
    ];
    let size = prop_oneof![Just(1_usize), 2..9_usize, 60..70_usize];
    let mate = prop_oneof![Just(1_usize), 2..20_usize, Just(64)];
    (
        any::<u64>(),
        prop::collection::vec((size, verb), 0..6),
        1..150_usize,
        prop::collection::vec(mate, 0..4),
        0..4_usize,
        0..3_usize,
    )
        .prop_map(|(seed, steps, tokens, mates, place, threads)| Plan {
            seed,
            steps,
            tokens,
            place: place.min(mates.len()),
            mates,
            threads: [1, 2, 5][threads],
        })
}

/// Arbitrary tokens, the same for the same seed.
fn tokens(seed: u64, count: usize, vocab: usize) -> Vec<u32> {
    let mut x = seed;
    (0..count)
        .map(|_| {
            x = x
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((x >> 33) % vocab as u64) as u32
        })
        .collect()
}

/// Twice the same model, once set to feed at most 19 tokens at a time.
struct Twins {
    model: Model,
    pieces: Model,
}

impl Twins {
    fn load(path: &Path, state: StateType) -> Self {
        let mut options = LoadOptions::default();
        (options.state, options.kv) = (state, state);
        let model = load(path, &options);
        options.piece = 19;
        Twins {
            model,
            pieces: load(path, &options),
        }
    }
}

struct Bench {
    threads: [(usize, Compute); 3],
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let threads = [1, 2, 5].map(|n| (n, Compute::new(n)));
        Bench {
            threads,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn compute(&self, threads: usize) -> &Compute {
        &self
            .threads
            .iter()
            .find(|(n, _)| *n == threads)
            .expect("a known number")
            .1
    }

    /// Follows a plan and holds its outcome against one call on one thread.
    fn follow(&self, twins: &Twins, plan: &Plan) -> Result<(), TestCaseError> {
        let vocab = twins.model.vocab();
        let text = tokens(plan.seed, plan.tokens, vocab);
        let mut whole = twins.model.new_state();
        let expected = common::feed(&twins.model, self.compute(1), &mut whole, &text);

        let cx = self.compute(plan.threads);
        let mut state = twins.model.new_state();
        let mut mates: Vec<State> = plan.mates.iter().map(|_| twins.model.new_state()).collect();
        let mut found = Vec::new();
        let mut at = 0;
        let mut steps = plan.steps.iter();
        while at < text.len() {
            let (size, verb) = steps.next().copied().unwrap_or((text.len(), Verb::Go));
            let end = text.len().min(at + size);
            // Odd calls go through the model with small pieces.
            let model = if at % 2 == 0 {
                &twins.model
            } else {
                &twins.pieces
            };
            found.extend(batch(
                model,
                cx,
                plan,
                &mut state,
                &mut mates,
                &text[at..end],
            ));
            at = end;
            self.apply(verb, model, cx, &mut state, plan.seed)?;
        }
        prop_assert_eq!(state.position(), text.len() as u64);
        prop_assert!(bits(&found) == bits(&expected), "logits differ");
        prop_assert!(state.bits_eq(&whole), "states differ");
        prop_assert_eq!(state.digest(), whole.digest());
        Ok(())
    }

    fn apply(
        &self,
        verb: Verb,
        model: &Model,
        cx: &Compute,
        state: &mut State,
        seed: u64,
    ) -> Result<(), TestCaseError> {
        let before = state.digest();
        match verb {
            Verb::Go => {}
            Verb::Diverge => {
                let mut fork = state.fork();
                common::feed(model, cx, &mut fork, &tokens(!seed, 5, model.vocab()));
                prop_assert!(fork.digest() != before, "the fork did not move");
            }
            Verb::Freeze => *state = state.snapshot().resume(),
            Verb::Save => {
                let path = self.folder.path().join(format!("{seed:x}.state"));
                state
                    .snapshot()
                    .save(&path, Precision::Exact)
                    .expect("the state is saved");
                prop_assert_eq!(state.digest(), before, "saving changed the state");
                *state = Snapshot::load(&path, model.layout())
                    .expect("the state is read")
                    .resume();
            }
        }
        prop_assert_eq!(state.digest(), before);
        Ok(())
    }
}

/// Feeds the row among its companions; the logits of the row.
fn batch(
    model: &Model,
    cx: &Compute,
    plan: &Plan,
    state: &mut State,
    mates: &mut [State],
    text: &[u32],
) -> Vec<f32> {
    let fed: Vec<Vec<u32>> = plan
        .mates
        .iter()
        .enumerate()
        .map(|(i, &n)| tokens(i as u64, n, model.vocab()))
        .collect();
    let wanted = [Wanted::Last, Wanted::None, Wanted::All];
    let mut rows: Vec<Row<'_>> = mates
        .iter_mut()
        .zip(&fed)
        .enumerate()
        .map(|(i, (state, tokens))| Row {
            state,
            tokens,
            logits: wanted[i % 3],
        })
        .collect();
    rows.insert(
        plan.place,
        Row {
            state,
            tokens: text,
            logits: Wanted::All,
        },
    );
    model
        .forward(cx, &mut rows)
        .expect("the rows are fine")
        .row(plan.place)
        .to_vec()
}

/// Writes a case in another weight type and returns where.
fn convert(case: &Case, target: Option<Target>, folder: &Path) -> PathBuf {
    let Some(target) = target else {
        return case.path.clone();
    };
    let path = folder.join(format!("{}.safetensors", case.name));
    let checkpoint = Checkpoint::open(&case.path).expect("the case opens");
    quantize(&checkpoint, &Policy::uniform(target), &path, &mut |_| true).expect("it is quantised");
    path
}

/// Copies a case's folder with its matrices in f16, which `quantize` does not offer.
fn to_f16(case: &Case, folder: &Path) -> PathBuf {
    use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};
    let target = folder.join(&case.name);
    std::fs::create_dir(&target).expect("a folder");
    for entry in std::fs::read_dir(&case.path).expect("the case is a folder") {
        let entry = entry.expect("an entry").path();
        let to = target.join(entry.file_name().expect("a name"));
        let name = to.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if !name.starts_with("model") || !name.ends_with(".safetensors") {
            std::fs::copy(&entry, &to).expect("it is copied");
            continue;
        }
        let bytes = std::fs::read(&entry).expect("it is read");
        let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
        let halved: Vec<_> = tensors
            .iter()
            .map(|(name, view)| {
                let matrix = view.shape().len() == 2 && name.ends_with(".weight");
                let data: Vec<u8> = match matrix {
                    false => view.data().to_vec(),
                    true => {
                        let values = view
                            .data()
                            .as_chunks::<4>()
                            .0
                            .iter()
                            .map(|b| f32::from_le_bytes(*b));
                        values
                            .flat_map(|v| half::f16::from_f32(v).to_le_bytes())
                            .collect()
                    }
                };
                let ty = if matrix { Dtype::F16 } else { view.dtype() };
                (name.to_owned(), ty, view.shape().to_vec(), data)
            })
            .collect();
        let views = halved.iter().map(|(name, ty, shape, data)| {
            (
                name.as_str(),
                TensorView::new(*ty, shape.clone(), data).expect("it fits"),
            )
        });
        serialize_to_file(views, None, &to).expect("it is written");
    }
    target
}

/// Follows `plans` plans; the first way in which the law is broken.
fn runs(bench: &Bench, twins: &Twins, plans: u32) -> Result<(), String> {
    let config = Config {
        cases: plans,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    runner
        .run(&plan(), |plan| bench.follow(twins, &plan))
        .map_err(|error| error.to_string())
}

fn check_laws(make: impl Fn(&Case, &Path) -> PathBuf, state: StateType, plans: u32) {
    let bench = Bench::new();
    let folder = tempfile::tempdir().expect("a folder");
    let mut wrong = Vec::new();
    for case in cases("hf") {
        let twins = Twins::load(&make(&case, folder.path()), state);
        if let Err(error) = runs(&bench, &twins, plans) {
            wrong.push(format!("{}: {error}", case.name));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases break the law:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn one_result_in_f32() {
    check_laws(|case, _| case.path.clone(), StateType::F32, 16);
}

#[test]
fn one_result_in_f16() {
    check_laws(to_f16, StateType::F32, 8);
}

#[test]
fn one_result_in_bf16() {
    check_laws(
        |case, folder| convert(case, Some(Target::Bf16), folder),
        StateType::F32,
        3,
    );
}

#[test]
fn one_result_in_q8() {
    check_laws(
        |case, folder| convert(case, Some(Target::Q8), folder),
        StateType::F32,
        3,
    );
}

#[test]
fn one_result_in_q4() {
    check_laws(
        |case, folder| convert(case, Some(Target::Q4), folder),
        StateType::F32,
        3,
    );
}

#[test]
fn one_result_with_states_in_bf16() {
    check_laws(|case, _| case.path.clone(), StateType::Bf16, 8);
}

/// Wide models, whose kernels divide their work among threads as the tiny ones' do not.
#[test]
fn one_result_in_wide_models() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["mamba", "falcon_h1"] {
        let source = common::random::checkpoint(name, folder.path());
        for target in [Target::Keep, Target::Bf16, Target::Q8, Target::Q4] {
            let path = folder.path().join(format!("{name}-{target:?}.safetensors"));
            let checkpoint = Checkpoint::open(&source).expect("it opens");
            quantize(&checkpoint, &Policy::uniform(target), &path, &mut |_| true)
                .expect("it is quantised");
            for state in [StateType::F32, StateType::Bf16] {
                let twins = Twins::load(&path, state);
                let result = runs(&bench, &twins, 4);
                assert!(result.is_ok(), "{name} {target:?} {state:?}: {result:?}");
            }
        }
    }
}

/// Where the other process finds its work; it answers beside each state.
const JOBS: &str = "SILLAGE_TEST_JOBS";
const BEFORE: usize = 70;
const AFTER: usize = 40;

#[test]
fn saved_states_go_on_in_another_process() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().expect("a folder");
    let mut jobs = String::new();
    let mut expected = Vec::new();
    for (i, case) in cases("hf").iter().enumerate() {
        let target = [None, Some(Target::Q8), Some(Target::Q4), Some(Target::Bf16)][i % 4];
        let path = convert(case, target, folder.path());
        let model = load(&path, &LoadOptions::default());
        let text = tokens(i as u64, BEFORE + AFTER, model.vocab());
        let mut state = model.new_state();
        common::feed(&model, bench.compute(2), &mut state, &text[..BEFORE]);
        let saved = folder.path().join(format!("{i}.state"));
        state
            .snapshot()
            .save(&saved, Precision::Exact)
            .expect("it is saved");
        let logits = common::feed(&model, bench.compute(2), &mut state, &text[BEFORE..]);
        jobs.push_str(&format!("{i}\t{}\t{}\n", path.display(), saved.display()));
        expected.push((case.name.clone(), saved, answer(&logits, &state)));
    }
    let list = folder.path().join("jobs");
    std::fs::write(&list, jobs).expect("the jobs are written");
    let other = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "the_other_process", "--ignored"])
        .env(JOBS, &list)
        .output()
        .expect("the other process runs");
    assert!(
        other.status.success(),
        "{}",
        String::from_utf8_lossy(&other.stdout)
    );
    for (name, saved, expected) in expected {
        let found = std::fs::read(saved.with_extension("answer")).expect("an answer");
        assert!(
            found == expected,
            "{name}: the other process went on differently"
        );
    }
}

/// Logits and state as bytes.
fn answer(logits: &[f32], state: &State) -> Vec<u8> {
    let mut bytes: Vec<u8> = logits.iter().flat_map(|v| v.to_le_bytes()).collect();
    bytes.extend(state.digest());
    bytes
}

#[test]
#[ignore = "the other half of saved_states_go_on_in_another_process, which starts it"]
fn the_other_process() {
    let Ok(list) = std::env::var(JOBS) else {
        return;
    };
    let cx = Compute::new(1);
    for job in std::fs::read_to_string(list)
        .expect("the jobs are read")
        .lines()
    {
        let fields: Vec<&str> = job.split('\t').collect();
        let [seed, model, saved] = fields[..] else {
            panic!("a job has three fields")
        };
        let model = load(Path::new(model), &LoadOptions::default());
        let text = tokens(
            seed.parse().expect("a number"),
            BEFORE + AFTER,
            model.vocab(),
        );
        let mut state = Snapshot::load(saved, model.layout())
            .expect("the state is read")
            .resume();
        let logits = common::feed(&model, &cx, &mut state, &text[BEFORE..]);
        std::fs::write(
            Path::new(saved).with_extension("answer"),
            answer(&logits, &state),
        )
        .expect("the answer is written");
    }
}

/// A window drops old pages; a long history must not depend on when.
#[test]
fn long_histories_with_windows_have_one_result() {
    let bench = Bench::new();
    for case in cases("hf")
        .iter()
        .filter(|c| ["mistral", "rene", "rene-defaults"].contains(&&*c.name))
    {
        let twins = Twins::load(&case.path, StateType::F32);
        let plan = Plan {
            seed: 5,
            steps: vec![
                (1, Verb::Go),
                (255, Verb::Save),
                (64, Verb::Diverge),
                (1, Verb::Save),
            ],
            tokens: 700,
            mates: vec![64, 1],
            place: 1,
            threads: 2,
        };
        bench
            .follow(&twins, &plan)
            .unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let mut state = twins.model.new_state();
        common::feed(
            &twins.model,
            bench.compute(2),
            &mut state,
            &tokens(1, 700, 90),
        );
        assert!(
            state.bytes() <= twins.model.layout().bytes(1 << 40),
            "{}: a window does not bound",
            case.name
        );
    }
}

/// The two halves of a fork answer as two separate sessions would.
#[test]
fn forks_diverge_as_separate_sessions() {
    let bench = Bench::new();
    for case in cases("hf") {
        let model = load(&case.path, &LoadOptions::default());
        let cx = bench.compute(2);
        let text = tokens(11, 100, model.vocab());
        let mut left = model.new_state();
        common::feed(&model, cx, &mut left, &text[..80]);
        let mut right = left.fork();
        // Both in one batch, so that each writes while the other still shares its memory.
        let (a, b) = (&text[80..90], &text[90..100]);
        let mut rows = [
            Row {
                state: &mut left,
                tokens: a,
                logits: Wanted::Last,
            },
            Row {
                state: &mut right,
                tokens: b,
                logits: Wanted::Last,
            },
        ];
        let forked = model.forward(cx, &mut rows).expect("the rows are fine");
        for (state, rest, logits) in [(&left, a, forked.row(0)), (&right, b, forked.row(1))] {
            let mut alone = model.new_state();
            let history = [&text[..80], rest].concat();
            let all = common::feed(&model, cx, &mut alone, &history);
            let last = &all[all.len() - model.vocab()..];
            assert_eq!(bits(last), bits(logits), "{}", case.name);
            assert_eq!(best(last), best(logits), "{}", case.name);
            assert!(alone.bits_eq(state), "{}", case.name);
        }
    }
}
