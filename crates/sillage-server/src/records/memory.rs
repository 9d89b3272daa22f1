//! Records that live as long as the process: for tests and trials.

use super::{Kind, RecordError, Records, check_id};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Records in memory.
#[derive(Debug, Default)]
pub struct Memory(Mutex<BTreeMap<(Kind, String), Vec<u8>>>);

impl Memory {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Kind, String), Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records for Memory {
    fn put(&self, kind: Kind, id: &str, bytes: &[u8]) -> Result<(), RecordError> {
        check_id(id)?;
        self.lock().insert((kind, id.to_owned()), bytes.to_vec());
        Ok(())
    }

    fn put_new(&self, kind: Kind, id: &str, bytes: &[u8]) -> Result<bool, RecordError> {
        check_id(id)?;
        let mut all = self.lock();
        let key = (kind, id.to_owned());
        if all.contains_key(&key) {
            return Ok(false);
        }
        all.insert(key, bytes.to_vec());
        Ok(true)
    }

    fn get(&self, kind: Kind, id: &str) -> Result<Option<Vec<u8>>, RecordError> {
        check_id(id)?;
        Ok(self.lock().get(&(kind, id.to_owned())).cloned())
    }

    fn remove(&self, kind: Kind, id: &str) -> Result<bool, RecordError> {
        check_id(id)?;
        Ok(self.lock().remove(&(kind, id.to_owned())).is_some())
    }

    fn list(&self, kind: Kind) -> Result<Vec<String>, RecordError> {
        let all = self.lock();
        let ids = all.keys().filter(|(k, _)| *k == kind);
        Ok(ids.map(|(_, id)| id.clone()).collect())
    }

    fn check(&self) -> Result<(), RecordError> {
        Ok(())
    }
}
