//! Snapshots kept within a budget of bytes, in memory and on disk.
//!
//! A [`Store`] is a cache with least-recently-used eviction: what no longer
//! fits in memory goes to disk, what no longer fits there is gone. Files are
//! ordinary state files of full precision, so a snapshot that comes back is
//! the one that was put in, bit for bit, after a restart as well. Memory that
//! several snapshots share (the pages of a common prefix, say) is counted
//! once.
//!
//! Threads share a store through `&self`. A snapshot found in memory is
//! returned without waiting for anyone's file; reading and writing files
//! happens in the calling thread, one at a time.

mod disk;
mod memory;

use crate::bits;
use crate::codec::{self, Durability, Precision, StateFileError};
use crate::layout::Layout;
use crate::snapshot::Snapshot;
use disk::{Disk, FileIndex};
use memory::Memory;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Warnings kept until [`Store::take_warnings`]; older ones are forgotten.
const WARNINGS: usize = 64;

/// Under what a snapshot is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// The xxh3-128 hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes).to_be_bytes())
    }

    /// The hash of a sequence of tokens within a realm: the first four bytes
    /// are the realm's, so that states of different owners never meet.
    #[must_use]
    pub fn of_tokens(realm: u32, tokens: &[u32]) -> Self {
        let mut hash = Xxh3::new();
        for token in tokens {
            hash.update(&token.to_le_bytes());
        }
        Self::within(realm, &hash)
    }

    /// [`of_tokens`](Self::of_tokens) for every beginning of `tokens`, from one
    /// token to all of them, in one pass.
    #[must_use]
    pub fn of_beginnings(realm: u32, tokens: &[u32]) -> Vec<Self> {
        let mut hash = Xxh3::new();
        let mut key = |token: &u32| {
            hash.update(&token.to_le_bytes());
            Self::within(realm, &hash)
        };
        tokens.iter().map(&mut key).collect()
    }

    /// The realm that a key of tokens belongs to.
    #[must_use]
    pub fn realm(self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    fn within(realm: u32, hash: &Xxh3) -> Self {
        let mut bytes = hash.digest128().to_be_bytes();
        bytes[..4].copy_from_slice(&realm.to_be_bytes());
        Self(bytes)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bits::hex(self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// Where a snapshot was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Placed {
    /// In memory (and perhaps on disk as well).
    Memory,
    /// On disk only.
    Disk,
    /// Nowhere: it exceeds every budget.
    Nowhere,
}

/// What a [`Store`] may use.
#[derive(Clone, Debug, Default)]
pub struct StoreOptions {
    /// Budget for memory, in bytes.
    pub memory_bytes: u64,
    /// Folder and budget for files; without it, what leaves memory is gone.
    pub disk: Option<DiskOptions>,
    /// Write every snapshot to disk as it is inserted, so that nothing is
    /// lost if the process is killed. Otherwise files are written when memory
    /// runs out, by [`StateStore::flush`], and when the store is dropped.
    pub write_through: bool,
}

/// Where a [`Store`] keeps files, and how many bytes of them.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// A folder of the store's own; made if missing.
    pub folder: PathBuf,
    /// Budget for state files in it, those of other models included.
    pub bytes: u64,
}

/// Why a store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The folder cannot be used.
    #[error(
        "the state folder {folder} cannot be used: {source}; check its permissions or choose another"
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another store uses the folder.
    #[error(
        "the state folder {folder} is in use by another process; give each process a folder of its own"
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The snapshot belongs elsewhere.
    #[error(
        "the snapshot belongs to another model or layout than this store; keep one store per model"
    )]
    OtherLayout,
    /// A store elsewhere failed.
    #[error("the shared store of states failed: {what}; check that it runs and has room")]
    Shared {
        /// What it said.
        what: String,
    },
}

/// Something that went wrong on disk, and that the store survived by doing
/// without the file.
#[derive(Debug)]
pub struct StoreWarning {
    /// The file.
    pub path: PathBuf,
    /// What was wrong with it.
    pub error: StateFileError,
    /// Whether the file was removed.
    pub removed: bool,
}

impl fmt::Display for StoreWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let removed = if self.removed { " (file removed)" } else { "" };
        write!(f, "{}: {}{removed}", self.path.display(), self.error)
    }
}

/// What a store holds and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Bytes in memory, shared ones counted once.
    pub memory_bytes: u64,
    /// Snapshots in memory.
    pub memory_entries: u64,
    /// Bytes of files.
    pub disk_bytes: u64,
    /// Files of this model.
    pub disk_entries: u64,
    /// Times a snapshot was found in memory.
    pub memory_hits: u64,
    /// Times a snapshot was found on disk.
    pub disk_hits: u64,
    /// Times nothing was found.
    pub misses: u64,
    /// Snapshots that left the store for lack of room.
    pub dropped: u64,
}

/// A snapshot in a store, without the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// Tokens it has consumed.
    pub position: u64,
    /// Whether it is in memory.
    pub in_memory: bool,
    /// Whether it is on disk.
    pub on_disk: bool,
}

/// What keeps snapshots: [`Store`], or a backend elsewhere.
pub trait StateStore: Send + Sync {
    /// Keeps `snapshot` under `key`, in place of what was there.
    ///
    /// # Errors
    /// If the snapshot does not belong here. Lack of room is no error.
    fn insert(&self, key: Key, snapshot: Snapshot) -> Result<Placed, StoreError>;
    /// The snapshot under `key`; reading makes it the last to be evicted.
    fn get(&self, key: Key) -> Option<Snapshot>;
    /// Whether something is kept under `key`. Does not count as use.
    fn contains(&self, key: Key) -> bool;
    /// The last of `keys` under which somebody else put something that
    /// [`entries`](Self::entries) did not tell of: other processes write into
    /// a shared store. A store of one process has nothing to find.
    fn find_last(&self, keys: &[Key]) -> Option<usize> {
        let _ = keys;
        None
    }
    /// Whether others write into this store as well.
    fn is_shared(&self) -> bool {
        false
    }
    /// Forgets what is under `key`; whether there was anything.
    fn remove(&self, key: Key) -> bool;
    /// Everything kept, in no particular order: what a prefix tree is rebuilt
    /// from after a restart.
    fn entries(&self) -> Vec<Entry>;
    /// The token history of the snapshot under `key`, if it has one; without
    /// reading the state. Does not count as use.
    fn tokens(&self, key: Key) -> Option<Arc<[u32]>>;
    /// Brings what would be lost with the process to where it survives, as
    /// far as it fits there; how many snapshots were written.
    fn flush(&self) -> usize;
    /// What is held and was done.
    fn usage(&self) -> Usage;
}

/// When something was used: a number for order, a time for other processes.
#[derive(Clone, Copy, Debug)]
struct Used {
    tick: u64,
    time: SystemTime,
}

/// What is where. Changes other than use happen only under the `io` lock.
#[derive(Debug, Default)]
struct Index {
    memory: Memory,
    files: FileIndex,
    tick: u64,
    usage: Usage,
}

impl Index {
    fn now(&mut self) -> Used {
        self.tick += 1;
        Used {
            tick: self.tick,
            time: SystemTime::now(),
        }
    }
}

/// Snapshots of one model within budgets of memory and disk. See the
/// [module](self).
#[derive(Debug)]
pub struct Store {
    layout: Arc<Layout>,
    memory_bytes: u64,
    disk: Option<Disk>,
    write_through: bool,
    index: Mutex<Index>,
    /// Held by whoever adds, removes, reads a file or writes one. Taken
    /// before `index`, never after.
    io: Mutex<()>,
    warnings: Mutex<VecDeque<StoreWarning>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The indices are consistent between statements that can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// A store for states of `layout`. Files that an earlier store left in
    /// the folder are found again; damaged ones are removed, with a warning.
    ///
    /// # Errors
    /// If the folder cannot be made, read or locked.
    pub fn open(layout: Arc<Layout>, options: StoreOptions) -> Result<Self, StoreError> {
        let mut index = Index::default();
        let mut warnings = VecDeque::new();
        let disk = match options.disk {
            Some(disk) => Some(Disk::open(disk, &layout, &mut index, &mut warnings)?),
            None => None,
        };
        let store = Self {
            layout,
            memory_bytes: options.memory_bytes,
            disk,
            write_through: options.write_through,
            index: Mutex::new(index),
            io: Mutex::new(()),
            warnings: Mutex::new(VecDeque::new()),
        };
        for warning in warnings {
            store.warn(warning);
        }
        if let Some(disk) = &store.disk {
            // The budget may have been larger the last time.
            store.make_room(disk, 0, u64::MAX);
        }
        Ok(store)
    }

    /// What went wrong on disk since the last call.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<StoreWarning> {
        lock(&self.warnings).drain(..).collect()
    }

    fn warn(&self, warning: StoreWarning) {
        let mut warnings = lock(&self.warnings);
        if warnings.len() == WARNINGS {
            warnings.pop_front();
        }
        warnings.push_back(warning);
    }

    /// Writes a file if the budget allows it without giving up anything used
    /// later. Needs the `io` lock.
    fn write(&self, disk: &Disk, key: Key, snapshot: &Snapshot, used: Used) -> bool {
        let Ok(bytes) = snapshot.file_bytes(Precision::Exact) else {
            return false;
        };
        if !self.make_room(disk, bytes, used.tick) {
            return false;
        }
        let path = disk.path(key);
        match codec::save(snapshot, &path, Precision::Exact, Durability::Cached) {
            Ok(saved) => {
                disk.set_time(key, used.time);
                lock(&self.index)
                    .files
                    .insert(key, saved.bytes, snapshot.position(), used.tick);
                true
            }
            Err(error) => {
                self.warn(StoreWarning {
                    path,
                    error,
                    removed: false,
                });
                false
            }
        }
    }

    /// Removes the files least recently used until `bytes` more fit, but none
    /// used after `tick`. Needs the `io` lock.
    fn make_room(&self, disk: &Disk, bytes: u64, tick: u64) -> bool {
        loop {
            let (name, used) = {
                let mut index = lock(&self.index);
                if index.files.used().saturating_add(bytes) <= disk.bytes() {
                    return true;
                }
                let oldest = index.files.oldest().filter(|_| bytes <= disk.bytes());
                let Some((name, used)) = oldest else {
                    return false;
                };
                if used > tick {
                    return false;
                }
                if let Some(key) = index.files.forget(&name) {
                    index.usage.dropped += u64::from(!index.memory.contains(key));
                }
                (name, used)
            };
            debug_assert!(used <= tick);
            disk.remove(&name);
        }
    }

    /// Puts `snapshot` into memory, and what must make way for it to disk.
    /// Needs the `io` lock.
    fn place(&self, key: Key, snapshot: &Snapshot) -> bool {
        let victims = lock(&self.index).memory.plan(snapshot, self.memory_bytes);
        let Some(victims) = victims else { return false };
        for victim in victims {
            let (held, on_disk) = {
                let index = lock(&self.index);
                (index.memory.get(victim), index.files.contains(victim))
            };
            let Some((held, used)) = held else { continue };
            let kept = on_disk
                || self
                    .disk
                    .as_ref()
                    .is_some_and(|disk| self.write(disk, victim, &held, used));
            let mut index = lock(&self.index);
            index.memory.remove(victim);
            index.usage.dropped += u64::from(!kept);
        }
        let mut index = lock(&self.index);
        let used = index.now();
        index.memory.insert(key, snapshot.clone(), used);
        index.files.touch(key, used.tick);
        true
    }

    fn forget_file(&self, key: Key) -> bool {
        let Some(disk) = &self.disk else { return false };
        let name = disk.name(key);
        let had = lock(&self.index).files.forget(&name).is_some();
        if had {
            disk.remove(&name);
        }
        had
    }

    fn get_in_memory(&self, key: Key) -> Option<Snapshot> {
        let mut index = lock(&self.index);
        let (snapshot, _) = index.memory.get(key)?;
        let used = index.now();
        index.memory.touch(key, used);
        index.files.touch(key, used.tick);
        index.usage.memory_hits += 1;
        Some(snapshot)
    }

    /// Reads a file; a damaged one is removed. Needs the `io` lock.
    fn get_on_disk(&self, key: Key) -> Option<Snapshot> {
        let disk = self.disk.as_ref()?;
        if !lock(&self.index).files.contains(key) {
            return None;
        }
        match Snapshot::load(disk.path(key), &self.layout) {
            Ok(snapshot) => {
                let used = lock(&self.index).now();
                disk.set_time(key, used.time);
                lock(&self.index).files.touch(key, used.tick);
                Some(snapshot)
            }
            Err(error) => {
                self.forget_file(key);
                self.warn(StoreWarning {
                    path: disk.path(key),
                    error,
                    removed: true,
                });
                None
            }
        }
    }
}

impl StateStore for Store {
    fn insert(&self, key: Key, snapshot: Snapshot) -> Result<Placed, StoreError> {
        if !snapshot.state().fits(&self.layout) {
            return Err(StoreError::OtherLayout);
        }
        let _io = lock(&self.io);
        let held = lock(&self.index).memory.get(key);
        if held.is_some_and(|(held, _)| held.is(&snapshot)) {
            let mut index = lock(&self.index);
            let used = index.now();
            index.memory.touch(key, used);
            index.files.touch(key, used.tick);
            return Ok(Placed::Memory);
        }
        lock(&self.index).memory.remove(key);
        self.forget_file(key);
        let in_memory = self.place(key, &snapshot);
        let mut on_disk = false;
        if let Some(disk) = self
            .disk
            .as_ref()
            .filter(|_| self.write_through || !in_memory)
        {
            let used = lock(&self.index).now();
            on_disk = self.write(disk, key, &snapshot, used);
        }
        Ok(match (in_memory, on_disk) {
            (true, _) => Placed::Memory,
            (false, true) => Placed::Disk,
            (false, false) => Placed::Nowhere,
        })
    }

    fn get(&self, key: Key) -> Option<Snapshot> {
        if let Some(snapshot) = self.get_in_memory(key) {
            return Some(snapshot);
        }
        let _io = lock(&self.io);
        // Another thread may have brought it to memory meanwhile.
        if let Some(snapshot) = self.get_in_memory(key) {
            return Some(snapshot);
        }
        let Some(snapshot) = self.get_on_disk(key) else {
            lock(&self.index).usage.misses += 1;
            return None;
        };
        lock(&self.index).usage.disk_hits += 1;
        self.place(key, &snapshot);
        Some(snapshot)
    }

    fn contains(&self, key: Key) -> bool {
        let index = lock(&self.index);
        index.memory.contains(key) || index.files.contains(key)
    }

    fn remove(&self, key: Key) -> bool {
        let _io = lock(&self.io);
        let in_memory = lock(&self.index).memory.remove(key);
        let on_disk = self.forget_file(key);
        in_memory || on_disk
    }

    fn entries(&self) -> Vec<Entry> {
        let index = lock(&self.index);
        let in_memory = index.memory.iter().map(|(key, snapshot)| Entry {
            key,
            position: snapshot.position(),
            in_memory: true,
            on_disk: index.files.contains(key),
        });
        let on_disk = index
            .files
            .iter()
            .filter(|&(key, _)| !index.memory.contains(key));
        let on_disk = on_disk.map(|(key, position)| Entry {
            key,
            position,
            in_memory: false,
            on_disk: true,
        });
        in_memory.chain(on_disk).collect()
    }

    fn tokens(&self, key: Key) -> Option<Arc<[u32]>> {
        if let Some(snapshot) = lock(&self.index).memory.peek(key) {
            return snapshot.meta().tokens.clone();
        }
        let disk = self.disk.as_ref()?;
        codec::read_tokens(disk.path(key)).ok()?.map(Into::into)
    }

    fn flush(&self) -> usize {
        let Some(disk) = &self.disk else { return 0 };
        let _io = lock(&self.io);
        let all = lock(&self.index).memory.newest_first();
        let mut written = 0;
        for (key, snapshot, used) in all {
            if lock(&self.index).files.contains(key) {
                disk.set_time(key, used.time);
            } else if self.write(disk, key, &snapshot, used) {
                written += 1;
            }
        }
        written
    }

    fn usage(&self) -> Usage {
        let index = lock(&self.index);
        Usage {
            memory_bytes: index.memory.used(),
            memory_entries: index.memory.len(),
            disk_bytes: index.files.used(),
            disk_entries: index.files.len(),
            ..index.usage
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.flush();
    }
}
