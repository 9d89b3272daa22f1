//! Everything that requests share.

use crate::config::Config;
use crate::fault::{Fault, Kind};
use crate::keys::{Keyring, Owner};
use crate::metrics::Metrics;
use crate::records::{self, Folder, Memory, Records, Redis, RedisStates};
use crate::speech::SpeechService;
use crate::text::{Conversation, States, TextModel};
use crate::voices::Voices;
use sillage_audio::log::Log;
use sillage_audio::manifest::SigningKey;
use sillage_engine::Limits;
use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use sillage_models::{LoadOptions, Model};
use sillage_state::store::DiskOptions;
use sillage_state::{Layout, Snapshot, StateStore, StateType, Store, StoreOptions};
use sillage_voice::VoiceModel;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Every turn leaves the state at its end. One more at the end of its prompt, for
/// asking the same again, is worth its bytes only where much was read.
const WORTH_KEEPING: usize = 256;

/// What a server is made of, beside its configuration.
pub struct Parts {
    /// Text models by name; the first answers for unknown names.
    pub texts: Vec<(String, Checkpoint)>,
    /// The voice model.
    pub voice: Checkpoint,
}

/// Everything that requests share.
pub struct App {
    /// How the server is set up.
    pub config: Config,
    /// Who may ask.
    pub keys: Keyring,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What must survive.
    pub records: Arc<dyn Records>,
    /// The text models.
    pub texts: Vec<TextModel>,
    /// Who can speak.
    pub voices: Voices,
    /// The speaking threads.
    pub speech: SpeechService,
    /// What signs manifests of files.
    pub signing: SigningKey,
    room: Arc<Semaphore>,
    closing: watch::Sender<bool>,
    upgraded: watch::Sender<usize>,
}

/// The place of a WebSocket; given back when dropped.
pub(crate) struct Place(Arc<App>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.upgraded.send_modify(|count| *count -= 1);
        self.0.metrics.connections.dec();
    }
}

/// Room for one session; given back when dropped.
pub struct Permit {
    _room: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.metrics.sessions.dec();
    }
}

impl App {
    /// Loads models and opens stores.
    ///
    /// # Errors
    /// What cannot be loaded or opened, and the cure.
    pub fn open(config: Config, parts: Parts) -> Result<Arc<Self>, Fault> {
        let metrics = Arc::new(Metrics::default());
        let redis = config.redis.as_deref().map(Redis::open).transpose();
        let redis = redis.map_err(|e| Fault::bad("redis", e.to_string()))?;
        let records = open_records(&config, redis.as_ref())?;
        let threads = threads(&config);
        let texts = open_texts(&config, &parts, redis.as_ref(), &metrics)?;
        let print = parts.voice.fingerprint().map_err(Fault::internal)?;
        let print: String = print.iter().map(|byte| format!("{byte:02x}")).collect();
        let model =
            VoiceModel::load(&parts.voice).map_err(|e| Fault::bad("voice_model", e.to_string()))?;
        let model = Arc::new(model);
        let log = config
            .state_dir
            .as_ref()
            .map(|d| Log::new(d.join("consent.log")));
        let voices = Voices::open(
            Arc::clone(&model),
            print,
            Arc::clone(&records),
            log,
            &config,
        )?;
        let stall = Duration::from_secs(config.limits.stall_seconds);
        let speech = SpeechService::start(model, threads, stall, &metrics);
        let signing = match &config.state_dir {
            Some(folder) => {
                SigningKey::open_or_create(&folder.join("signing.key")).map_err(Fault::internal)?
            }
            None => SigningKey::from_bytes(random()?),
        };
        Ok(Arc::new(Self {
            keys: Keyring::new(&config, secret(&*records)?),
            room: Arc::new(Semaphore::new(config.max_sessions)),
            closing: watch::channel(false).0,
            upgraded: watch::channel(0).0,
            speech: speech.map_err(Fault::internal)?,
            metrics,
            records,
            texts,
            voices,
            signing,
            config,
        }))
    }

    /// Room for one more session.
    ///
    /// # Errors
    /// If there is none, or the server is about to stop.
    pub fn admit(&self) -> Result<Permit, Fault> {
        if self.is_closing() {
            let fault = Fault::new(
                Kind::Busy,
                "shutting_down",
                "the server is about to stop: try again soon",
            );
            return Err(fault.retry_after(5));
        }
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            self.metrics.refused.inc();
            let message = format!(
                "all {} sessions are taken: try again in a moment",
                self.config.max_sessions
            );
            return Err(Fault::new(Kind::TooMany, "server_busy", message).retry_after(1));
        };
        self.metrics.sessions.inc();
        Ok(Permit {
            _room: room,
            metrics: Arc::clone(&self.metrics),
        })
    }

    /// A place for one more WebSocket. Its connection is no longer one of HTTP's,
    /// so it is counted, and waited for at the end, by this.
    ///
    /// # Errors
    /// If there is none, or the server is about to stop.
    pub(crate) fn upgrade(self: &Arc<Self>) -> Result<Place, Fault> {
        let most = self.config.limits.connections;
        let mut taken = false;
        self.upgraded.send_if_modified(|count| {
            taken = *count < most && !self.is_closing();
            *count += usize::from(taken);
            taken
        });
        if !taken {
            self.metrics.refused.inc();
            let message = "no more sockets are opened at the moment: try again soon";
            return Err(Fault::new(Kind::Busy, "server_busy", message).retry_after(5));
        }
        self.metrics.connections.inc();
        Ok(Place(Arc::clone(self)))
    }

    /// Comes back when no WebSocket is open.
    pub(crate) async fn no_sockets(&self) {
        let mut upgraded = self.upgraded.subscribe();
        // The sender lives as long as this does.
        let _ = upgraded.wait_for(|count| *count == 0).await;
    }

    /// The text model of that name; the first for names that are unknown,
    /// because clients have names built in.
    ///
    /// # Errors
    /// If there are no text models.
    pub fn text(&self, name: &str) -> Result<&TextModel, Fault> {
        let named = self.texts.iter().find(|m| m.id == name);
        named.or_else(|| self.texts.first()).ok_or_else(|| {
            Fault::not_found(
                "model_not_found",
                "this server has no text model: start it with --model PATH",
            )
        })
    }

    /// The model that a conversation goes on with: its own, whatever is asked for;
    /// without a conversation, the one of that name.
    ///
    /// # Errors
    /// If its own model is not served any more.
    pub fn text_after(
        &self,
        before: Option<&Conversation>,
        name: Option<&str>,
    ) -> Result<&TextModel, Fault> {
        let Some(before) = before else {
            return self.text(name.unwrap_or_default());
        };
        let own = self.texts.iter().find(|m| m.id == before.model);
        own.ok_or_else(|| {
            let message = format!(
                "this state belongs to the model '{}', which is not served now: serve it with --model, or begin anew",
                before.model
            );
            Fault::new(Kind::Conflict, "other_model", message)
        })
    }

    /// A stored conversation of `owner`'s.
    ///
    /// # Errors
    /// If there is none of that id.
    pub fn conversation(&self, owner: Owner, id: &str) -> Result<Conversation, Fault> {
        let missing = || {
            let shown = crate::fault::shown(id, 80);
            Fault::not_found(
                "not_found",
                format!("there is no stored answer or state '{shown}' of yours"),
            )
        };
        let kind = Conversation::kind(id).ok_or_else(missing)?;
        let bytes = match self.records.get(kind, id) {
            Err(records::RecordError::BadId(_)) => None,
            other => other.map_err(Fault::from)?,
        };
        let found: Option<Conversation> = bytes
            .map(|bytes| serde_json::from_slice(&bytes))
            .transpose()
            .map_err(Fault::internal)?;
        found.filter(|c| c.owner == owner).ok_or_else(missing)
    }

    /// Keeps a conversation, with the state after it where there is a new one; it
    /// survives the process once this comes back. Waits for disk and network.
    ///
    /// # Errors
    /// If it would not.
    pub fn keep_conversation(
        &self,
        conversation: &Conversation,
        state: Option<&Snapshot>,
    ) -> Result<(), Fault> {
        if let Some(state) = state {
            let model = self.text_after(Some(conversation), None)?;
            model.publish(conversation.owner.0, state)?;
        }
        let id = &conversation.id;
        let kind = Conversation::kind(id);
        let kind = kind.ok_or_else(|| Fault::internal(format!("{id} is no conversation's id")))?;
        let bytes = serde_json::to_vec(conversation).map_err(Fault::internal)?;
        let put = self.records.put(kind, id, &bytes);
        put.map_err(Fault::from)
    }

    /// Forgets a conversation of `owner`'s. The bytes of its state go when room is
    /// needed.
    ///
    /// # Errors
    /// If there is none of that id.
    pub fn forget_conversation(&self, owner: Owner, id: &str) -> Result<(), Fault> {
        self.conversation(owner, id)?;
        if let Some(kind) = Conversation::kind(id) {
            self.records.remove(kind, id).map_err(Fault::from)?;
        }
        Ok(())
    }

    /// Tells everybody that the server is about to stop.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Whether it is.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Comes back when the server is about to stop.
    pub async fn closing(&self) {
        let mut closing = self.closing.subscribe();
        // The sender lives as long as this does.
        let _ = closing.wait_for(|closing| *closing).await;
    }

    /// Saves states that are only in memory; how many.
    pub fn flush(&self) -> usize {
        self.texts.iter().map(TextModel::flush).sum()
    }

    /// Notes how large the stores are now.
    pub fn measure(&self) {
        let usage = self.texts.iter().map(|m| m.store.usage());
        let (memory, disk) = usage.fold((0, 0), |(m, d), u| (m + u.memory_bytes, d + u.disk_bytes));
        self.metrics.state_memory.set(memory as i64);
        self.metrics.state_disk.set(disk as i64);
    }
}

fn threads(config: &Config) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if config.threads == 0 {
        cores
    } else {
        config.threads
    }
}

fn open_records(config: &Config, redis: Option<&Arc<Redis>>) -> Result<Arc<dyn Records>, Fault> {
    if let Some(redis) = redis {
        return Ok(Arc::clone(redis) as Arc<dyn Records>);
    }
    Ok(match &config.state_dir {
        Some(folder) => {
            let opened = Folder::open(folder.join("records"));
            Arc::new(opened.map_err(|e| Fault::bad("state_dir", e.to_string()))?)
        }
        None => Arc::new(Memory::default()),
    })
}

fn open_texts(
    config: &Config,
    parts: &Parts,
    redis: Option<&Arc<Redis>>,
    metrics: &Arc<Metrics>,
) -> Result<Vec<TextModel>, Fault> {
    let mut options = LoadOptions::default();
    if config.bf16_states {
        (options.state, options.kv) = (StateType::Bf16, StateType::Bf16);
    }
    let count = parts.texts.len().max(1) as u64;
    let mut texts = Vec::new();
    for (id, checkpoint) in &parts.texts {
        let model = Model::load(checkpoint, &options);
        let model = model.map_err(|e| Fault::bad("model", format!("{id}: {e}")))?;
        let states = open_states(config, id, count, model.layout(), redis)?;
        let limits = Limits {
            sessions: config.max_sessions,
            worth_keeping: WORTH_KEEPING,
            ..Limits::default()
        };
        let cx = Compute::new(threads(config));
        let longest = usize::try_from(config.limits.prompt_bytes).unwrap_or(usize::MAX);
        let id = id.clone();
        let started = TextModel::start(id, checkpoint, model, states, cx, limits, longest, metrics);
        texts.push(started?);
    }
    Ok(texts)
}

/// The store of one of `count` models' states.
fn open_states(
    config: &Config,
    id: &str,
    count: u64,
    layout: &Arc<Layout>,
    redis: Option<&Arc<Redis>>,
) -> Result<States, Fault> {
    let safe: String = id
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect();
    let disk = config.state_dir.as_ref().map(|folder| DiskOptions {
        folder: folder.join("states").join(safe),
        bytes: config.disk_budget / count,
    });
    let options = StoreOptions {
        memory_bytes: config.state_budget / count,
        // What was answered survives the process, however it ends.
        write_through: disk.is_some(),
        disk,
    };
    let local = Store::open(Arc::clone(layout), options);
    let local = Arc::new(local.map_err(|e| Fault::bad("state_dir", e.to_string()))?);
    for warning in local.take_warnings() {
        tracing::warn!("{warning}");
    }
    Ok(match redis {
        Some(redis) => {
            let (redis, layout) = (Arc::clone(redis), Arc::clone(layout));
            let shared = RedisStates::new(redis, local, layout, config.redis_ttl());
            States {
                store: Arc::clone(&shared) as Arc<dyn StateStore>,
                shared: Some(shared),
            }
        }
        None => States {
            store: local,
            shared: None,
        },
    })
}

/// What seals tokens: made once, and the same for all replicas.
fn secret(records: &dyn Records) -> Result<[u8; 32], Fault> {
    let (kind, id) = (records::Kind::Secret, "tokens");
    let made = records.put_new(kind, id, &random()?);
    made.map_err(Fault::internal)?;
    let kept = records.get(kind, id).map_err(Fault::from)?;
    let kept = kept.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    kept.ok_or_else(|| {
        Fault::internal("the secret that seals tokens is damaged: delete records/secrets/tokens")
    })
}

fn random() -> Result<[u8; 32], Fault> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(Fault::internal)?;
    Ok(bytes)
}
