//! Many sessions on one model give each the result it would have alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use sillage_engine::{
    Cancel, Finished, LOCAL, Limits, Listener, PrefixCache, Reason, Request, Sampling, Scheduler,
    Session, StepError,
};
use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use sillage_models::{LoadOptions, Model};
use sillage_state::{Store, StoreOptions, store::DiskOptions};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// One pure state space model and one whose state grows.
const MODELS: [&str; 2] = ["mamba2-g1", "llama"];

fn model(name: &str) -> Arc<Model> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../conformance/hf")
        .join(name);
    let checkpoint = Checkpoint::open(path).unwrap();
    Arc::new(Model::load(&checkpoint, &LoadOptions::default()).unwrap())
}

fn tokens(seed: usize, n: usize, model: &Model) -> Vec<u32> {
    (0..n)
        .map(|i| ((i * 7 + i * i * 3 + seed * 13) % model.vocab()) as u32)
        .collect()
}

#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    tokens: Vec<u32>,
    /// Steps of the scheduler are not seen here, so tests note when tokens came.
    finished: Option<Finished>,
    stop_after: Option<usize>,
}

impl Ear {
    fn finished(&self) -> Finished {
        self.0
            .lock()
            .unwrap()
            .finished
            .clone()
            .expect("the session ended")
    }
    fn count(&self) -> usize {
        self.0.lock().unwrap().tokens.len()
    }
}

impl Listener for Ear {
    fn token(&mut self, token: u32) -> ControlFlow<()> {
        let mut heard = self.0.lock().unwrap();
        heard.tokens.push(token);
        match heard.stop_after {
            Some(n) if heard.tokens.len() >= n => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
    fn finished(&mut self, finished: Finished) {
        self.0.lock().unwrap().finished = Some(finished);
    }
}

fn request(tokens: Vec<u32>, max_tokens: usize) -> Request {
    Request {
        tokens,
        sampling: Sampling::greedy(),
        max_tokens,
        ..Request::default()
    }
}

fn submit(scheduler: &mut Scheduler<Model>, request: Request) -> (Ear, Cancel) {
    let ear = Ear::default();
    let cancel = scheduler.submit(request, Box::new(ear.clone()));
    (ear, cancel)
}

fn drain(scheduler: &mut Scheduler<Model>) {
    for _ in 0..100_000 {
        if scheduler.is_idle() {
            return;
        }
        scheduler.step();
    }
    panic!("the scheduler does not come to an end");
}

fn scheduler(model: &Arc<Model>, limits: Limits, prefix: Option<PrefixCache>) -> Scheduler<Model> {
    Scheduler::new(Arc::clone(model), Arc::new(Compute::new(2)), limits, prefix)
}

fn cache(model: &Model, stride: usize, folder: Option<&Path>) -> PrefixCache {
    let disk = folder.map(|folder| DiskOptions {
        folder: folder.into(),
        bytes: 1 << 30,
    });
    let options = StoreOptions {
        memory_bytes: 1 << 30,
        disk,
        write_through: false,
    };
    let store = Store::open(Arc::clone(model.layout()), options).unwrap();
    PrefixCache::new(Arc::new(store), stride)
}

/// What a session writes that nobody shares steps with.
fn alone(model: &Arc<Model>, prompt: &[u32], n: usize) -> (Vec<u32>, [u8; 16]) {
    let mut scheduler = scheduler(model, Limits::default(), None);
    let (ear, _) = submit(&mut scheduler, request(prompt.to_vec(), n));
    drain(&mut scheduler);
    let written = ear.0.lock().unwrap().tokens.clone();
    (written, ear.finished().state.unwrap().state().digest())
}

#[test]
fn company_and_pieces_change_nothing() {
    for name in MODELS {
        let model = model(name);
        let prompts: Vec<Vec<u32>> = [1, 5, 70, 33, 200]
            .iter()
            .enumerate()
            .map(|(i, &n)| tokens(i, n, &model))
            .collect();
        for piece in [1, 16, 1000] {
            let limits = Limits {
                piece,
                sessions: 3,
                ..Limits::default()
            };
            let mut scheduler = scheduler(&model, limits, None);
            let ears: Vec<Ear> = prompts
                .iter()
                .map(|p| submit(&mut scheduler, request(p.clone(), 12)).0)
                .collect();
            drain(&mut scheduler);
            for (ear, prompt) in ears.iter().zip(&prompts) {
                let (written, digest) = alone(&model, prompt, 12);
                assert_eq!(ear.0.lock().unwrap().tokens, written, "{name}");
                let finished = ear.finished();
                assert_eq!(finished.reason, Reason::Length);
                assert_eq!((finished.read, finished.written), (prompt.len(), 12));
                assert_eq!(finished.state.unwrap().state().digest(), digest, "{name}");
            }
        }
    }
}

#[test]
fn a_long_prompt_does_not_stall_a_writer() {
    let model = model("mamba2-g1");
    let limits = Limits {
        piece: 8,
        ..Limits::default()
    };
    let mut scheduler = scheduler(&model, limits, None);
    let (writer, _) = submit(&mut scheduler, request(tokens(0, 2, &model), 40));
    scheduler.step();
    let (reader, _) = submit(&mut scheduler, request(tokens(1, 200, &model), 1));
    for _ in 0..20 {
        let before = writer.count();
        scheduler.step();
        assert_eq!(
            writer.count(),
            before + 1,
            "a step without a token for the writer"
        );
    }
    assert_eq!(reader.count(), 0);
    // A short prompt overtakes the long one's remainder.
    let (short, _) = submit(&mut scheduler, request(tokens(2, 4, &model), 1));
    scheduler.step();
    assert_eq!(short.count(), 1);
    drain(&mut scheduler);
    assert_eq!(reader.count(), 1);
}

#[test]
fn cancelling_ends_at_once_and_frees_the_bytes() {
    let model = model("llama");
    let mut scheduler = scheduler(&model, Limits::default(), None);
    let (ear, cancel) = submit(&mut scheduler, request(tokens(0, 10, &model), 1000));
    scheduler.step();
    assert!(scheduler.state_bytes() > 0);
    cancel.cancel();
    scheduler.step();
    assert_eq!(ear.finished().reason, Reason::Cancelled);
    assert_eq!((scheduler.state_bytes(), scheduler.sessions()), (0, (0, 0)));
    // What it had read is not lost.
    assert_eq!(ear.finished().state.unwrap().position(), 10);
}

#[test]
fn a_listener_and_an_end_token_end_a_session() {
    let model = model("mamba2-g1");
    let prompt = tokens(0, 9, &model);
    let (written, _) = alone(&model, &prompt, 6);
    let mut scheduler = scheduler(&model, Limits::default(), None);
    let (ear, _) = submit(&mut scheduler, request(prompt.clone(), 6));
    ear.0.lock().unwrap().stop_after = Some(2);
    let ends = Request {
        end_tokens: vec![written[3]],
        ..request(prompt, 6)
    };
    let (ended, _) = submit(&mut scheduler, ends);
    drain(&mut scheduler);
    assert_eq!((ear.finished().reason, ear.count()), (Reason::Stopped, 2));
    let first = written.iter().position(|&t| t == written[3]).unwrap();
    assert_eq!(
        (ended.finished().reason, ended.count()),
        (Reason::End, first)
    );
}

#[test]
fn admission_counts_bytes_and_keeps_order() {
    let model = model("llama");
    let need = model.layout().bytes(64 + 8);
    let limits = Limits {
        state_bytes: need * 2,
        ..Limits::default()
    };
    let mut scheduler = scheduler(&model, limits, None);
    let ears: Vec<Ear> = (0..4)
        .map(|i| submit(&mut scheduler, request(tokens(i, 64, &model), 8)).0)
        .collect();
    scheduler.step();
    assert_eq!(scheduler.sessions(), (2, 2));
    drain(&mut scheduler);
    assert!(
        ears.iter()
            .all(|ear| ear.finished().reason == Reason::Length)
    );
    let (large, _) = submit(&mut scheduler, request(tokens(0, 64, &model), 100_000));
    assert!(matches!(
        large.finished().reason,
        Reason::Failed(StepError::TooLarge { .. })
    ));
}

#[test]
fn bad_requests_are_refused_with_reasons() {
    let model = model("mamba2-g1");
    let mut scheduler = scheduler(&model, Limits::default(), None);
    let (empty, _) = submit(&mut scheduler, request(Vec::new(), 1));
    assert_eq!(
        empty.finished().reason,
        Reason::Failed(StepError::EmptyPrompt)
    );
    let outside = model.vocab() as u32;
    let (bad, _) = submit(&mut scheduler, request(vec![0, outside], 1));
    let (good, _) = submit(&mut scheduler, request(vec![0, 1], 1));
    drain(&mut scheduler);
    let unknown = StepError::UnknownToken {
        token: outside,
        vocab: model.vocab(),
    };
    assert_eq!(bad.finished().reason, Reason::Failed(unknown));
    assert_eq!(
        good.finished().reason,
        Reason::Length,
        "others must not suffer"
    );
    let foreign = Session::new(&self::model("mamba2-g2")).snapshot();
    let resumed = Request {
        resume: Some(foreign),
        ..request(vec![0, 1], 1)
    };
    let (other, _) = submit(&mut scheduler, resumed);
    assert!(matches!(
        other.finished().reason,
        Reason::Failed(StepError::ForeignState { .. })
    ));
}

#[test]
fn prompts_are_not_read_twice() {
    for name in MODELS {
        let model = model(name);
        let mut scheduler = scheduler(&model, Limits::default(), Some(cache(&model, 32, None)));
        let first = tokens(0, 100, &model);
        let (ear, _) = submit(&mut scheduler, request(first.clone(), 5));
        drain(&mut scheduler);
        assert_eq!(ear.finished().reused, 0);

        // The next turn: everything but the last token written was read already.
        let mut second = first.clone();
        second.extend(&ear.0.lock().unwrap().tokens);
        second.extend(tokens(3, 10, &model));
        let (next, _) = submit(&mut scheduler, request(second.clone(), 5));
        drain(&mut scheduler);
        assert_eq!((next.finished().reused, next.finished().read), (104, 11));
        let (written, digest) = alone(&model, &second, 5);
        assert_eq!(next.0.lock().unwrap().tokens, written);
        assert_eq!(next.finished().state.unwrap().state().digest(), digest);

        // A prompt that parts at 77 resumes at the stride before it (64) and
        // leaves a state at 77 for the third.
        let branch = |seed| {
            let mut prompt = first[..77].to_vec();
            prompt.push((first[77] + 1 + seed) % model.vocab() as u32);
            prompt.extend(tokens(seed as usize + 8, 20, &model));
            prompt
        };
        for (seed, reused) in [(0, 64), (1, 77)] {
            let (ear, _) = submit(&mut scheduler, request(branch(seed), 3));
            drain(&mut scheduler);
            assert_eq!(ear.finished().reused, reused, "{name}");
            assert_eq!(
                ear.0.lock().unwrap().tokens,
                alone(&model, &branch(seed), 3).0
            );
        }

        // Asking the very same again still leaves one token to read.
        let (again, _) = submit(&mut scheduler, request(first.clone(), 5));
        drain(&mut scheduler);
        assert_eq!(again.0.lock().unwrap().tokens, ear.0.lock().unwrap().tokens);
    }
}

#[test]
fn a_restart_keeps_what_was_read() {
    let model = model("mamba2-g1");
    let folder = tempfile::tempdir().unwrap();
    let prompt = tokens(0, 90, &model);
    {
        let cache = cache(&model, 0, Some(folder.path()));
        let store = Arc::clone(cache.store());
        let mut scheduler = scheduler(&model, Limits::default(), Some(cache));
        submit(&mut scheduler, request(prompt.clone(), 4));
        drain(&mut scheduler);
        store.flush();
    }
    let cache = cache(&model, 0, Some(folder.path()));
    let mut scheduler = scheduler(&model, Limits::default(), Some(cache));
    let mut longer = prompt.clone();
    longer.extend(tokens(5, 6, &model));
    let (ear, _) = submit(&mut scheduler, request(longer.clone(), 4));
    drain(&mut scheduler);
    assert_eq!(ear.finished().reused, 90);
    assert_eq!(ear.0.lock().unwrap().tokens, alone(&model, &longer, 4).0);
}

#[test]
fn a_store_too_small_for_anything_costs_only_speed() {
    let model = model("mamba2-g1");
    let options = StoreOptions {
        memory_bytes: 10,
        ..StoreOptions::default()
    };
    let store = Store::open(Arc::clone(model.layout()), options).unwrap();
    let prefix = PrefixCache::new(Arc::new(store), 16);
    let mut scheduler = scheduler(&model, Limits::default(), Some(prefix));
    let prompt = tokens(0, 50, &model);
    for _ in 0..2 {
        let (ear, _) = submit(&mut scheduler, request(prompt.clone(), 3));
        drain(&mut scheduler);
        assert_eq!(ear.0.lock().unwrap().tokens, alone(&model, &prompt, 3).0);
        assert_eq!(ear.finished().reused, 0);
    }
}

#[test]
fn rewinding_is_exact() {
    for name in MODELS {
        let model = model(name);
        let cx = Compute::new(1);
        let all = tokens(0, 120, &model);
        let mut stored = cache(&model, 0, None);
        let mut session = Session::new(&model);
        session.feed(&model, &cx, &all[..50]).unwrap();
        stored
            .keep(LOCAL, session.tokens(), session.state())
            .unwrap();
        let mut expected = session.fork();
        expected.feed(&model, &cx, &all[50..70]).unwrap();
        session.feed(&model, &cx, &all[50..]).unwrap();
        for with_store in [true, false] {
            let mut back = session.fork();
            let stored = with_store.then_some(&mut stored);
            back.rewind(&model, &cx, stored, 70).unwrap();
            assert!(back.state().bits_eq(expected.state()), "{name}");
            assert_eq!(back.tokens(), expected.tokens());
        }
        assert!(session.rewind(&model, &cx, None, 121).is_err());
        session.rewind(&model, &cx, None, 0).unwrap();
        assert_eq!(session.state().position(), 0);
    }
}

#[test]
fn what_two_prompts_share_is_read_once_even_at_the_same_time() {
    for name in MODELS {
        let model = model(name);
        let shared = tokens(0, 150, &model);
        let prompts: Vec<Vec<u32>> = (0..3)
            .map(|n| [shared.clone(), tokens(n + 20, 10 + n, &model)].concat())
            .collect();
        let limits = Limits {
            piece: 32,
            ..Limits::default()
        };
        let mut scheduler = scheduler(&model, limits, Some(cache(&model, 0, None)));
        let ears: Vec<Ear> = prompts
            .iter()
            .map(|prompt| submit(&mut scheduler, request(prompt.clone(), 4)).0)
            .collect();
        drain(&mut scheduler);
        // The tails begin alike or not; what counts is that nothing was fed twice.
        let fed: usize = ears.iter().map(|ear| ear.finished().read).sum();
        assert!(fed <= 150 + 10 + 11 + 12, "{name}: {fed}");
        for (prompt, ear) in prompts.iter().zip(&ears) {
            let (written, digest) = alone(&model, prompt, 4);
            assert_eq!(ear.0.lock().unwrap().tokens, written, "{name}");
            assert_eq!(ear.finished().state.unwrap().state().digest(), digest);
        }
    }
}

#[test]
fn no_realm_resumes_from_anothers_states() {
    let model = model("mamba2-g1");
    let folder = tempfile::tempdir().unwrap();
    let prompt = tokens(0, 80, &model);
    let ask = |scheduler: &mut Scheduler<Model>, realm| {
        let mut request = request([&prompt[..], &[5, 6]].concat(), 2);
        request.realm = realm;
        let (ear, _) = submit(scheduler, request);
        drain(scheduler);
        ear.finished().reused
    };
    for restarted in [false, true] {
        let cache = cache(&model, 16, Some(folder.path()));
        let mut scheduler = scheduler(&model, Limits::default(), Some(cache));
        if !restarted {
            assert_eq!(ask(&mut scheduler, 7), 0);
        }
        assert!(ask(&mut scheduler, 7) >= 80);
        assert_eq!(ask(&mut scheduler, 8 + u32::from(restarted)), 0);
    }
}

/// Logits by position.
type Read = Vec<(usize, Vec<f32>)>;

/// Forces one token and notes the logits of the prompt.
#[derive(Clone, Default)]
struct Guide {
    ear: Ear,
    read: Arc<Mutex<Read>>,
}

impl Listener for Guide {
    fn token(&mut self, token: u32) -> ControlFlow<()> {
        self.ear.token(token)
    }
    fn finished(&mut self, finished: Finished) {
        Listener::finished(&mut self.ear, finished);
    }
    fn guides(&self) -> bool {
        true
    }
    fn guide(&mut self, tokens: &[u32], logits: &mut [f32]) {
        let only = tokens.len() % logits.len();
        for (id, logit) in logits.iter_mut().enumerate() {
            if id != only {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
    fn read(&mut self, position: usize, logits: &[f32]) {
        self.read.lock().unwrap().push((position, logits.to_vec()));
    }
}

#[test]
fn a_listener_guides_the_choice_and_hears_the_prompts_logits() {
    for name in MODELS {
        let model = model(name);
        let limits = Limits {
            piece: 7,
            ..Limits::default()
        };
        let mut scheduler = scheduler(&model, limits, Some(cache(&model, 4, None)));
        let prompt = tokens(1, 20, &model);
        for _ in 0..2 {
            let guide = Guide::default();
            let mut asked = request(prompt.clone(), 3);
            asked.prompt_logits = true;
            scheduler.submit(asked, Box::new(guide.clone()));
            drain(&mut scheduler);
            let vocab = model.vocab() as u32;
            let forced: Vec<u32> = (20..23).map(|n| n % vocab).collect();
            assert_eq!(guide.ear.0.lock().unwrap().tokens, forced);
            // All of the prompt is read, stored states or not.
            assert_eq!(guide.ear.finished().reused, 0);
            let read = guide.read.lock().unwrap();
            let cx = Compute::new(1);
            let mut session = Session::new(&model);
            assert_eq!(read.len(), prompt.len());
            for ((position, logits), (n, &token)) in read.iter().zip(prompt.iter().enumerate()) {
                assert_eq!(*position, n);
                assert_eq!(logits, &session.feed(&model, &cx, &[token]).unwrap());
            }
        }
    }
}
