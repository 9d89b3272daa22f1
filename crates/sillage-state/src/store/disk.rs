//! The folder of state files.

use super::{DiskOptions, Index, Key, StoreError, StoreWarning};
use crate::bits;
use crate::codec::{self, StateFileError};
use crate::layout::Layout;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Ending of the files that belong to a store.
const ENDING: &str = ".state";
/// The file whose lock keeps a second process out.
const LOCK: &str = ".lock";

/// A file in the folder.
#[derive(Debug)]
struct Record {
    bytes: u64,
    tick: u64,
    /// Key and position, unless it belongs to another model: then it only
    /// takes up room until it is the oldest.
    own: Option<(Key, u64)>,
}

/// Which files there are.
#[derive(Debug, Default)]
pub(super) struct FileIndex {
    prefix: String,
    records: HashMap<String, Record>,
    order: BTreeMap<u64, String>,
    used: u64,
    own: u64,
}

impl FileIndex {
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Files of this model.
    pub(super) fn len(&self) -> u64 {
        self.own
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        self.own > 0 && self.records.contains_key(&name(&self.prefix, key))
    }

    /// Keys and positions of this model's files.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, u64)> {
        self.records.values().filter_map(|record| record.own)
    }

    pub(super) fn touch(&mut self, key: Key, tick: u64) {
        let name = name(&self.prefix, key);
        if let Some(record) = self.records.get_mut(&name) {
            self.order.remove(&record.tick);
            record.tick = tick;
            self.order.insert(tick, name);
        }
    }

    pub(super) fn insert(&mut self, key: Key, bytes: u64, position: u64, tick: u64) {
        self.add(
            name(&self.prefix, key),
            Record {
                bytes,
                tick,
                own: Some((key, position)),
            },
        );
    }

    fn add(&mut self, name: String, record: Record) {
        self.forget(&name);
        self.used += record.bytes;
        self.own += u64::from(record.own.is_some());
        self.order.insert(record.tick, name.clone());
        self.records.insert(name, record);
    }

    /// The file least recently used, and when that was.
    pub(super) fn oldest(&self) -> Option<(String, u64)> {
        self.order
            .first_key_value()
            .map(|(&tick, name)| (name.clone(), tick))
    }

    /// Strikes a file off; its key, if it was this model's.
    pub(super) fn forget(&mut self, name: &str) -> Option<Key> {
        let record = self.records.remove(name)?;
        self.order.remove(&record.tick);
        self.used -= record.bytes;
        self.own -= u64::from(record.own.is_some());
        record.own.map(|(key, _)| key)
    }
}

/// A file's name: half the layout's id, so that models can share a folder,
/// and the key.
fn name(prefix: &str, key: Key) -> String {
    format!("{prefix}-{key}{ENDING}")
}

/// The folder, locked.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    bytes: u64,
    prefix: String,
    /// Held for its lock, which ends with it.
    _lock: File,
}

impl Disk {
    pub(super) fn open(
        options: DiskOptions,
        layout: &Layout,
        index: &mut Index,
        warnings: &mut VecDeque<StoreWarning>,
    ) -> Result<Self, StoreError> {
        let DiskOptions { folder, bytes } = options;
        let lock = lock_folder(&folder)?;
        let prefix = bits::hex(layout.id())[..16].to_owned();
        let disk = Self {
            folder,
            bytes,
            prefix,
            _lock: lock,
        };
        index.files.prefix.clone_from(&disk.prefix);
        let failed = |source| StoreError::Folder {
            folder: disk.folder.clone(),
            source,
        };
        let mut found = disk.scan().map_err(failed)?;
        // Files keep the time of their last use: see `set_time`.
        found.sort();
        for (_, name, bytes) in found {
            let own = match disk.examine(&name, layout) {
                Ok(own) => own,
                Err(error) => {
                    let removed = error.is_corruption() && disk.remove(&name);
                    let path = disk.folder.join(&name);
                    warnings.push_back(StoreWarning {
                        path,
                        error,
                        removed,
                    });
                    if removed {
                        continue;
                    }
                    None
                }
            };
            let tick = index.now().tick;
            index.files.add(name, Record { bytes, tick, own });
        }
        Ok(disk)
    }

    /// Time, name and bytes of every state file. Leftovers of interrupted
    /// writes are removed; other files are none of a store's business.
    fn scan(&self) -> io::Result<Vec<(SystemTime, String, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let data = entry.metadata()?;
            if !data.is_file() {
                continue;
            }
            if codec::is_partial(&name) {
                self.remove(&name);
            } else if is_state_name(&name) {
                let time = data.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((time, name, data.len()));
            }
        }
        Ok(found)
    }

    /// Key and position of a file of this model, from its header.
    fn examine(&self, name: &str, layout: &Layout) -> Result<Option<(Key, u64)>, StateFileError> {
        let key = name
            .strip_prefix(&self.prefix)
            .and_then(|rest| rest.strip_prefix('-'));
        let key = key.and_then(|rest| bits::unhex(rest.strip_suffix(ENDING)?));
        let Some(key) = key else { return Ok(None) };
        let info = codec::inspect(self.folder.join(name))?;
        if info.model != layout.model() {
            return Ok(None);
        }
        Ok(Some((Key(key), info.position)))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn name(&self, key: Key) -> String {
        name(&self.prefix, key)
    }

    pub(super) fn path(&self, key: Key) -> PathBuf {
        self.folder.join(self.name(key))
    }

    /// Whether the file is gone.
    pub(super) fn remove(&self, name: &str) -> bool {
        let removed = fs::remove_file(self.folder.join(name));
        removed.map_or_else(|e| e.kind() == io::ErrorKind::NotFound, |()| true)
    }

    /// Gives a file the time of its last use, so that the order survives a
    /// restart. A refusal costs only that.
    pub(super) fn set_time(&self, key: Key, time: SystemTime) {
        if let Ok(file) = File::options().append(true).open(self.path(key)) {
            let _ = file.set_modified(time);
        }
    }
}

/// 16 digits of a layout, 32 of a key.
fn is_state_name(name: &str) -> bool {
    let stem = name
        .strip_suffix(ENDING)
        .and_then(|stem| stem.split_once('-'));
    let hex = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
    stem.is_some_and(|(layout, key)| hex(layout, 16) && hex(key, 32))
}

fn lock_folder(folder: &Path) -> Result<File, StoreError> {
    let failed = |source| StoreError::Folder {
        folder: folder.to_owned(),
        source,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let path = folder.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
            folder: folder.to_owned(),
        }),
        // Some network filesystems know no locks; sharing is then up to the user.
        Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}
