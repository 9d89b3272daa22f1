//! Records and states in Redis or Valkey: what replicas share.
//!
//! | key | what |
//! |---|---|
//! | `sillage:KIND:ID` | a record |
//! | `sillage:KIND` | the set of a kind's ids |
//! | `sillage:state:LAYOUT:KEY` | a state's file, forgotten some time after its last use |
//! | `sillage:states:LAYOUT` | the set of the keys of such states |
//! | `sillage:told:LAYOUT:HASH` | the tokens that a conversation's text became |

use super::{Kind, RecordError, Records, check_id};
use redis::{Client, Connection, ErrorKind, RedisResult};
use sillage_state::store::{Entry, Placed, Usage};
use sillage_state::{Key, Layout, Precision, Snapshot, StateStore, Store, StoreError};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a connection is waited for, and every answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// After a failure nobody asks again for so long: requests get their answer, that
/// it is away, at once.
const REST: Duration = Duration::from_secs(1);
/// States on their way to the server, at most; more are left out, which costs
/// speed later and nothing else.
const UNDERWAY: usize = 64;

/// Records on a Redis server.
pub struct Redis {
    client: Client,
    /// Connections that nobody uses at the moment.
    idle: Mutex<Vec<Connection>>,
    /// When it was last found to be away.
    away: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

impl Redis {
    /// The server at `url`, such as `redis://127.0.0.1:6379/0`.
    ///
    /// # Errors
    /// If the address is none, or nobody answers there.
    pub fn open(url: &str) -> Result<Arc<Self>, RecordError> {
        let redis = Self {
            client: Client::open(url)?,
            idle: Mutex::default(),
            away: Mutex::default(),
        };
        redis.check()?;
        Ok(Arc::new(redis))
    }

    fn connect(&self) -> RedisResult<Connection> {
        let connection = self.client.get_connection_with_timeout(PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        Ok(connection)
    }

    /// Does `work` on a connection. A connection that was idle may have died;
    /// then it is done again on a new one: every piece of work here can be.
    fn with<T>(&self, work: impl Fn(&mut Connection) -> RedisResult<T>) -> RedisResult<T> {
        let lock = || self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if lock().is_some_and(|since| since.elapsed() < REST) {
            return Err((ErrorKind::Io, "it did not answer a moment ago").into());
        }
        let done = self.attempt(work);
        let away = done.as_ref().is_err_and(|error| {
            error.is_io_error() || error.is_timeout() || error.is_connection_dropped()
        });
        *lock() = away.then(Instant::now);
        done
    }

    fn attempt<T>(&self, work: impl Fn(&mut Connection) -> RedisResult<T>) -> RedisResult<T> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut connection = match idle {
            Some(mut connection) => match work(&mut connection) {
                Ok(value) => {
                    self.give_back(connection);
                    return Ok(value);
                }
                // A server that does not answer will not do so sooner if it is
                // asked again.
                Err(error) if error.is_timeout() => return Err(error),
                Err(_) => self.connect()?,
            },
            None => self.connect()?,
        };
        let value = work(&mut connection)?;
        self.give_back(connection);
        Ok(value)
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < 16 {
            idle.push(connection);
        }
    }
}

fn record(kind: Kind, id: &str) -> Result<String, RecordError> {
    check_id(id)?;
    Ok(format!("sillage:{}:{id}", kind.name()))
}

fn ids(kind: Kind) -> String {
    format!("sillage:{}", kind.name())
}

impl Records for Redis {
    fn put(&self, kind: Kind, id: &str, bytes: &[u8]) -> Result<(), RecordError> {
        let key = record(kind, id)?;
        Ok(self.with(|c| {
            let mut pipe = redis::pipe();
            pipe.atomic().set(&key, bytes).ignore();
            pipe.sadd(ids(kind), id).ignore().query(c)
        })?)
    }

    fn put_new(&self, kind: Kind, id: &str, bytes: &[u8]) -> Result<bool, RecordError> {
        let key = record(kind, id)?;
        Ok(self.with(|c| {
            let mut pipe = redis::pipe();
            pipe.atomic().set_nx(&key, bytes);
            pipe.sadd(ids(kind), id).ignore();
            let (made,): (bool,) = pipe.query(c)?;
            Ok(made)
        })?)
    }

    fn get(&self, kind: Kind, id: &str) -> Result<Option<Vec<u8>>, RecordError> {
        let key = record(kind, id)?;
        Ok(self.with(|c| redis::cmd("GET").arg(&key).query(c))?)
    }

    fn remove(&self, kind: Kind, id: &str) -> Result<bool, RecordError> {
        let key = record(kind, id)?;
        Ok(self.with(|c| {
            let mut pipe = redis::pipe();
            pipe.atomic().del(&key);
            pipe.srem(ids(kind), id).ignore();
            let (removed,): (bool,) = pipe.query(c)?;
            Ok(removed)
        })?)
    }

    fn list(&self, kind: Kind) -> Result<Vec<String>, RecordError> {
        let mut found: Vec<String> =
            self.with(|c| redis::cmd("SMEMBERS").arg(ids(kind)).query(c))?;
        found.retain(|id| check_id(id).is_ok());
        found.sort();
        Ok(found)
    }

    fn check(&self) -> Result<(), RecordError> {
        let _: String = self.with(|c| redis::cmd("PING").query(c))?;
        Ok(())
    }
}

/// The names under which the states of one layout lie, and for how long.
#[derive(Debug)]
struct Place {
    redis: Arc<Redis>,
    layout: String,
    seconds: u64,
}

impl Place {
    fn key(&self, key: Key) -> String {
        format!("sillage:state:{}:{key}", self.layout)
    }

    fn all(&self) -> String {
        format!("sillage:states:{}", self.layout)
    }

    fn told(&self, text: u128) -> String {
        format!("sillage:told:{}:{text:032x}", self.layout)
    }

    fn tell(&self, text: u128, tokens: &[u32]) -> Result<(), StoreError> {
        let bytes: Vec<u8> = tokens.iter().flat_map(|t| t.to_le_bytes()).collect();
        let put = self.redis.with(|c| {
            let mut set = redis::cmd("SET");
            set.arg(self.told(text)).arg(&bytes[..]);
            set.arg("EX").arg(self.seconds).query::<()>(c)
        });
        put.map_err(|error| StoreError::Shared {
            what: error.to_string(),
        })
    }

    fn put(&self, key: Key, snapshot: &Snapshot) -> Result<(), StoreError> {
        let failed = |what: String| StoreError::Shared { what };
        let mut bytes = Vec::new();
        let written = snapshot.write_to(&mut bytes, Precision::Exact);
        written.map_err(|error| failed(error.to_string()))?;
        let put = self.redis.with(|c| {
            let mut pipe = redis::pipe();
            pipe.atomic();
            pipe.set_ex(self.key(key), &bytes[..], self.seconds)
                .ignore();
            pipe.sadd(self.all(), &key.0[..]).ignore().query(c)
        });
        put.map_err(|error| failed(error.to_string()))
    }
}

/// States of one model in a store of this process and, behind it, on a Redis
/// server where other replicas find them.
pub struct RedisStates {
    local: Arc<Store>,
    place: Arc<Place>,
    layout: Arc<Layout>,
    sender: SyncSender<Underway>,
}

/// What is on its way to the server.
enum Underway {
    State(Key, Snapshot),
    Told(u128, Vec<u32>),
}

impl RedisStates {
    /// The states of `layout`, forgotten by the server `ttl` after their last use.
    #[must_use]
    pub fn new(
        redis: Arc<Redis>,
        local: Arc<Store>,
        layout: Arc<Layout>,
        ttl: Duration,
    ) -> Arc<Self> {
        let name: String = layout.id().iter().map(|b| format!("{b:02x}")).collect();
        let place = Arc::new(Place {
            redis,
            layout: name,
            seconds: ttl.as_secs().max(1),
        });
        let (sender, underway) = sync_channel::<Underway>(UNDERWAY);
        let sending = Arc::clone(&place);
        // Ends when the store, and with it the sender, is dropped.
        std::thread::spawn(move || {
            for underway in underway {
                let sent = match &underway {
                    Underway::State(key, snapshot) => sending.put(*key, snapshot),
                    Underway::Told(text, tokens) => sending.tell(*text, tokens),
                };
                if let Err(error) = sent {
                    tracing::warn!("a state was not shared: {error}");
                }
            }
        });
        Arc::new(Self {
            local,
            place,
            layout,
            sender,
        })
    }

    /// Puts a state where other replicas find it, before coming back.
    ///
    /// # Errors
    /// If the server does not have it.
    pub fn publish(&self, key: Key, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.place.put(key, snapshot)
    }

    /// Notes for other replicas which tokens the text of that hash became.
    pub fn tell(&self, text: u128, tokens: Vec<u32>) {
        // If too much is on its way, the text is encoded afresh there.
        let _ = self.sender.try_send(Underway::Told(text, tokens));
    }

    /// The tokens of a text that another replica read and wrote.
    #[must_use]
    pub fn told(&self, text: u128) -> Option<Vec<u32>> {
        let place = &self.place;
        let get = |c: &mut Connection| redis::cmd("GET").arg(place.told(text)).query(c);
        let bytes: Option<Vec<u8>> = place.redis.with(get).ok()?;
        let bytes = bytes?;
        let words = bytes.as_chunks::<4>().0.iter();
        Some(words.map(|word| u32::from_le_bytes(*word)).collect())
    }

    fn fetch(&self, key: Key) -> Option<Snapshot> {
        let place = &self.place;
        let got = place.redis.with(|c| {
            let mut get = redis::cmd("GETEX");
            get.arg(place.key(key)).arg("EX").arg(place.seconds);
            get.query::<Option<Vec<u8>>>(c)
        });
        let bytes = match got {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                self.forget(key);
                return None;
            }
            Err(error) => {
                tracing::warn!("a shared state could not be read: {error}");
                return None;
            }
        };
        match Snapshot::read_from(&bytes[..], &self.layout) {
            Ok(snapshot) => Some(snapshot),
            Err(error) => {
                tracing::warn!("a shared state is damaged and is forgotten: {error}");
                self.forget(key);
                None
            }
        }
    }

    fn forget(&self, key: Key) -> bool {
        let place = &self.place;
        let removed = place.redis.with(|c| {
            let mut pipe = redis::pipe();
            pipe.atomic().del(place.key(key));
            pipe.srem(place.all(), &key.0[..]).ignore();
            let (removed,): (bool,) = pipe.query(c)?;
            Ok(removed)
        });
        removed.unwrap_or(false)
    }
}

impl StateStore for RedisStates {
    fn insert(&self, key: Key, snapshot: Snapshot) -> Result<Placed, StoreError> {
        let placed = self.local.insert(key, snapshot.clone())?;
        match self.sender.try_send(Underway::State(key, snapshot)) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Ok(placed),
        }
    }

    fn get(&self, key: Key) -> Option<Snapshot> {
        if self.local.contains(key)
            && let Some(snapshot) = self.local.get(key)
        {
            return Some(snapshot);
        }
        let snapshot = self.fetch(key)?;
        if let Err(error) = self.local.insert(key, snapshot.clone()) {
            tracing::warn!("a shared state was not kept: {error}");
        }
        Some(snapshot)
    }

    fn contains(&self, key: Key) -> bool {
        self.local.contains(key)
    }

    fn find_last(&self, keys: &[Key]) -> Option<usize> {
        if keys.is_empty() {
            return None;
        }
        let found = self.place.redis.with(|c| {
            let mut ask = redis::cmd("SMISMEMBER");
            ask.arg(self.place.all());
            for key in keys {
                ask.arg(&key.0[..]);
            }
            ask.query::<Vec<bool>>(c)
        });
        match found {
            Ok(found) => found.iter().rposition(|there| *there),
            Err(error) => {
                tracing::warn!("shared states could not be looked for: {error}");
                None
            }
        }
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn remove(&self, key: Key) -> bool {
        let here = self.local.remove(key);
        let there = self.forget(key);
        here || there
    }

    fn entries(&self) -> Vec<Entry> {
        self.local.entries()
    }

    fn tokens(&self, key: Key) -> Option<Arc<[u32]>> {
        self.local.tokens(key)
    }

    fn flush(&self) -> usize {
        self.local.flush()
    }

    fn usage(&self) -> Usage {
        self.local.usage()
    }
}
