//! Text for many at once: a thread a model, on which the scheduler runs, and
//! the handles that protocols hold.

mod conversation;
mod prompt;
mod worker;
mod writer;

pub use conversation::Conversation;
pub use prompt::Prompt;
pub use writer::{Ask, Done, Event, Logprob, Piece};

use crate::fault::{Fault, Kind};
use crate::metrics::Metrics;
use crate::records::RedisStates;
use prompt::Told;
use sillage_engine::{Cancel, Limits, PrefixCache, Request, Sampling, Scheduler, Vocabulary};
use sillage_formats::{ChatTemplate, Checkpoint, GenerationDefaults, Tokenizer};
use sillage_kernels::Compute;
use sillage_models::Model;
use sillage_state::{Key, Layout, Snapshot, StateStore};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use worker::Command;

/// Grammars are followed recursively, and their schemas come from anywhere.
const STACK: usize = 64 << 20;
/// A text of so many bytes is long.
const LONG: usize = 64 << 10;
/// A state is kept every so many tokens of a prompt.
const STRIDE: usize = 512;

/// A text model that is being served.
pub struct TextModel {
    /// Its name.
    pub id: String,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// Its chat template, if it has one.
    pub template: Option<ChatTemplate>,
    /// What it suggests.
    pub defaults: GenerationDefaults,
    /// One more than the largest token.
    pub vocab: usize,
    /// Parameters.
    pub parameters: u64,
    /// What its states are like.
    pub layout: Arc<Layout>,
    /// Where its states lie.
    pub store: Arc<dyn StateStore>,
    shared: Option<Arc<RedisStates>>,
    vocabulary: OnceLock<Result<Vocabulary, sillage_engine::GrammarError>>,
    commands: Sender<Command>,
    told: Mutex<Told>,
    metrics: Arc<Metrics>,
    /// Bytes of a text that are encoded at most.
    longest: usize,
    /// Held by whoever encodes a long text: that takes hundreds of times its bytes.
    long: Mutex<()>,
}

/// Where a model's states lie.
pub struct States {
    /// What the scheduler uses.
    pub store: Arc<dyn StateStore>,
    /// The same, if replicas share it.
    pub shared: Option<Arc<RedisStates>>,
}

impl TextModel {
    /// Starts a thread that runs `model`.
    ///
    /// # Errors
    /// If the checkpoint has no tokenizer, or the system gives no thread.
    pub fn start(
        id: String,
        checkpoint: &Checkpoint,
        model: Model,
        states: States,
        cx: Compute,
        limits: Limits,
        longest: usize,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, Fault> {
        let tokenizer = Arc::new(checkpoint.tokenizer().map_err(Fault::internal)?);
        let defaults = checkpoint.generation_defaults(Some(&tokenizer));
        let model = Arc::new(model);
        let (commands, orders) = channel();
        let prefix = PrefixCache::new(Arc::clone(&states.store), STRIDE);
        let scheduler = Scheduler::new(Arc::clone(&model), Arc::new(cx), limits, Some(prefix));
        let watched = Arc::clone(metrics);
        std::thread::Builder::new()
            .name(format!("text-{id}"))
            .stack_size(STACK)
            .spawn(move || worker::run(scheduler, &orders, &watched))
            .map_err(Fault::internal)?;
        let model = Self {
            id,
            tokenizer,
            template: checkpoint.chat_template(),
            defaults,
            vocab: model.vocab(),
            parameters: model.parameters(),
            layout: Arc::clone(model.layout()),
            store: states.store,
            shared: states.shared,
            vocabulary: OnceLock::new(),
            commands,
            told: Mutex::default(),
            metrics: Arc::clone(metrics),
            longest,
            long: Mutex::default(),
        };
        model.recall();
        Ok(model)
    }

    /// Begins to read a prompt and to write.
    ///
    /// # Errors
    /// If the schema cannot be used.
    pub fn begin(&self, realm: u32, prompt: &Prompt, ask: Ask) -> Result<Writing, Fault> {
        let (sender, events) = unbounded_channel();
        let cancel = Cancel::default();
        let request = Request {
            realm,
            tokens: prompt.tokens.clone(),
            resume: None,
            sampling: ask.sampling.clone(),
            max_tokens: ask.max_tokens,
            end_tokens: if ask.ignore_end {
                Vec::new()
            } else {
                self.defaults.eos.clone()
            },
            marks: prompt.marks.clone(),
            prompt_logits: ask.echo_logprobs,
        };
        let grammar = match &ask.schema {
            Some(schema) => Some(self.grammar(schema, ask.max_tokens)?),
            None => None,
        };
        let writer = writer::Writer::new(
            Arc::clone(&self.tokenizer),
            prompt,
            ask,
            grammar,
            sender,
            Arc::clone(&self.metrics),
        );
        let sent = self.commands.send(Command::Submit {
            request: Box::new(request),
            listener: Box::new(writer),
            cancel: cancel.clone(),
        });
        sent.map_err(|_| Fault::internal("the text model's thread has ended"))?;
        Ok(Writing { events, cancel })
    }

    fn grammar(
        &self,
        schema: &serde_json::Value,
        max_tokens: usize,
    ) -> Result<sillage_engine::Grammar, Fault> {
        let vocabulary = self
            .vocabulary
            .get_or_init(|| Vocabulary::new(&self.tokenizer, self.vocab, &self.defaults.eos));
        let grammar = vocabulary
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|vocabulary| vocabulary.json_schema(schema, max_tokens));
        grammar.map_err(|error| {
            // The library repeats what it was given.
            let message = crate::fault::shown(&error.to_string(), 400);
            Fault::bad("response_format", message)
        })
    }

    /// Sampling as the model suggests it.
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        let (own, usual) = (&self.defaults, Sampling::default());
        Sampling {
            temperature: own.temperature.unwrap_or(usual.temperature),
            top_k: own.top_k.map_or(usual.top_k, |k| k as usize),
            top_p: own.top_p.unwrap_or(usual.top_p),
            min_p: own.min_p.unwrap_or(usual.min_p),
            repetition_penalty: own.repetition_penalty.unwrap_or(usual.repetition_penalty),
            ..usual
        }
    }

    /// The state that has read `tokens`, wherever it lies.
    #[must_use]
    pub fn state(&self, realm: u32, tokens: &[u32]) -> Option<Snapshot> {
        self.store.get(Key::of_tokens(realm, tokens))
    }

    /// Keeps a state that came from outside, and finds it again by its tokens.
    ///
    /// # Errors
    /// If the store does not take it.
    pub fn keep(&self, realm: u32, snapshot: Snapshot) -> Result<(), Fault> {
        let (reply, answer) = channel();
        let command = Command::Keep {
            realm,
            snapshot,
            reply,
        };
        let lost = || Fault::internal("the text model's thread has ended");
        self.commands.send(command).map_err(|_| lost())?;
        let kept = answer.recv().map_err(|_| lost())?;
        kept.map_err(|error| Fault::new(Kind::Unprocessable, "state_not_kept", error))
    }

    /// Puts a state where other replicas find it, if there are any. Waits for
    /// the network.
    ///
    /// # Errors
    /// If it is not there then.
    pub fn publish(&self, realm: u32, snapshot: &Snapshot) -> Result<(), Fault> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        let read = usize::try_from(snapshot.position()).unwrap_or(usize::MAX);
        let Some(tokens) = snapshot.tokens().and_then(|t| t.get(..read)) else {
            return Ok(());
        };
        let key = Key::of_tokens(realm, tokens);
        shared.publish(key, snapshot).map_err(|error| {
            tracing::error!("{error}");
            let message = "the state could not be kept where others find it: try again soon";
            Fault::new(Kind::Busy, "store_unavailable", message).retry_after(2)
        })
    }

    /// Saves what is only in memory.
    pub fn flush(&self) -> usize {
        self.store.flush()
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A text in the course of being written. Dropping it cancels the rest.
pub struct Writing {
    events: UnboundedReceiver<Event>,
    cancel: Cancel,
}

impl Writing {
    /// What comes next; `None` after [`Event::Done`].
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Waits for the end: the text, the tokens, and what is left.
    ///
    /// # Errors
    /// What ended it, if that was a failure.
    pub async fn finish(mut self) -> Result<(Vec<Piece>, Done), Fault> {
        let mut pieces = Vec::new();
        while let Some(event) = self.next().await {
            match event {
                Event::Piece(piece) => pieces.push(piece),
                Event::Done(done) => return Ok((pieces, *done)),
                Event::Failed(fault) => return Err(fault),
            }
        }
        Err(Fault::internal("a session ended without a word"))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
