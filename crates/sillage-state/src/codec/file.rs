//! Files that appear whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// How much a write promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Survives a loss of power: file and folder are brought to the disk.
    Synced,
    /// Survives the end of the process. For caches, whose files are checked
    /// when they are read.
    Cached,
}

/// Ending of files being written.
const PARTIAL: &str = ".partial";

/// Whether `name` is what an interrupted write of a file left behind.
pub(crate) fn is_partial(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(PARTIAL)
}

/// A file being written beside its place; removed unless it was finished.
struct Partial {
    path: PathBuf,
    finished: bool,
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing better can be done about a file that will not go.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Lets `write` fill a new file that takes the name `path` only when it is complete and on the disk.
/// If anything fails, a file already there is untouched and the new one is removed.
///
/// # Errors
/// Whatever `write` returns, and what keeps a file from being made, brought to the disk or renamed.
pub fn write_file<T>(path: &Path, write: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
    write_atomically(path, Durability::Synced, write)
}

/// Lets `write` fill a new file that then takes the name `path`. If anything
/// fails, a file already there is untouched and the new one is removed.
pub(crate) fn write_atomically<T>(
    path: &Path,
    durability: Durability,
    write: impl FnOnce(&mut File) -> io::Result<T>,
) -> io::Result<T> {
    let (mut partial, mut file) = create_beside(path)?;
    let result = write(&mut file)?;
    if durability == Durability::Synced {
        file.sync_all()?;
    }
    drop(file);
    fs::rename(&partial.path, path)?;
    partial.finished = true;
    if durability == Durability::Synced {
        sync_folder(folder_of(path))?;
    }
    Ok(result)
}

fn create_beside(path: &Path) -> io::Result<(Partial, File)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path names a folder, not a file",
        )
    })?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    beside.push(format!(".{}-{count}{PARTIAL}", std::process::id()));
    let path = folder_of(path).join(beside);
    // A leftover of a process that had our number is not worth keeping.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)?;
    Ok((
        Partial {
            path,
            finished: false,
        },
        file,
    ))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Brings the new name to the disk. Only Unix can open folders for this, and
/// some of its filesystems refuse, though the rename stands.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        match File::open(folder)?.sync_all() {
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                ) => {}
            result => result?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.state");
        write_atomically(&path, Durability::Synced, |file| file.write_all(b"old")).unwrap();
        let full = |file: &mut File| {
            file.write_all(b"half of the new")?;
            Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull))
        };
        let error = write_atomically(&path, Durability::Synced, full).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.state"]);
    }

    #[test]
    fn a_folder_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::create_dir(&path).unwrap();
        assert!(write_atomically(&path, Durability::Cached, |file| file.write_all(b"x")).is_err());
        assert_eq!(names(folder.path()), ["a"]);
        assert!(write_atomically(Path::new("/"), Durability::Cached, |_| Ok(())).is_err());
    }
}
