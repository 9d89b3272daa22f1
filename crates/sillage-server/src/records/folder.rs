//! Records as files: one a record, written beside its place, synced, renamed.

use super::{Kind, RecordError, Records, check_id};
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Records in a folder of their own.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Held by whoever must know that nobody else makes the same record.
    making: Mutex<()>,
}

impl Folder {
    /// The records in `path`, which is made if missing.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, RecordError> {
        let folder = Self {
            path: path.into(),
            making: Mutex::new(()),
        };
        for kind in Kind::ALL {
            let place = folder.path.join(kind.name());
            fs::create_dir_all(&place).map_err(|source| folder.fail(source))?;
            folder.sweep(&place);
        }
        Ok(folder)
    }

    /// Removes what a process that was killed left half-written.
    fn sweep(&self, place: &Path) {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let partial = name
                .to_str()
                .is_some_and(|n| n.starts_with('.') && n.ends_with(".partial"));
            if partial && let Err(error) = fs::remove_file(entry.path()) {
                tracing::warn!("{}: {error}", entry.path().display());
            }
        }
    }

    fn fail(&self, source: io::Error) -> RecordError {
        RecordError::Io {
            place: self.path.display().to_string(),
            source,
        }
    }

    fn place(&self, kind: Kind, id: &str) -> Result<PathBuf, RecordError> {
        check_id(id)?;
        Ok(self.path.join(kind.name()).join(id))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
        let written = sillage_state::write_file(path, |file| file.write_all(bytes));
        written.map_err(|source| self.fail(source))
    }
}

impl Records for Folder {
    fn put(&self, kind: Kind, id: &str, bytes: &[u8]) -> Result<(), RecordError> {
        let path = self.place(kind, id)?;
        self.write(&path, bytes)
    }

    fn put_new(&self, kind: Kind, id: &str, bytes: &[u8]) -> Result<bool, RecordError> {
        let path = self.place(kind, id)?;
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if path.exists() {
            return Ok(false);
        }
        self.write(&path, bytes)?;
        Ok(true)
    }

    fn get(&self, kind: Kind, id: &str) -> Result<Option<Vec<u8>>, RecordError> {
        match fs::read(self.place(kind, id)?) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.fail(error)),
        }
    }

    fn remove(&self, kind: Kind, id: &str) -> Result<bool, RecordError> {
        match fs::remove_file(self.place(kind, id)?) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.fail(error)),
        }
    }

    fn list(&self, kind: Kind) -> Result<Vec<String>, RecordError> {
        let entries = fs::read_dir(self.path.join(kind.name())).map_err(|e| self.fail(e))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        // Files that a crash left half-written have names that are no ids.
        let mut ids: Vec<String> = names.filter(|name| check_id(name).is_ok()).collect();
        ids.sort();
        Ok(ids)
    }

    fn check(&self) -> Result<(), RecordError> {
        let probe = self.path.join(format!(".probe-{}", std::process::id()));
        fs::write(&probe, b"").map_err(|e| self.fail(e))?;
        fs::remove_file(&probe).map_err(|e| self.fail(e))
    }
}
