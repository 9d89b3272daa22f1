//! Files that are whole or not there: written beside, synced, renamed.

use crate::error::TrainError;
use std::io::Write;
use std::path::Path;

/// Writes a file as a whole.
///
/// # Errors
/// If the folder cannot be written or the disk is full; an older file is then still there.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let written = (|| {
        let mut beside = tempfile::NamedTempFile::new_in(folder)?;
        beside.write_all(bytes)?;
        beside.as_file().sync_all()?;
        beside.persist(path)?;
        // The name is only safe once the folder is; systems that cannot sync one need not.
        let _ = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
        Ok(())
    })();
    written.map_err(TrainError::io(path))
}
