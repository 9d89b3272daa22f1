//! Where encoded bytes go.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::EncodeError;

pub(super) struct Sink {
    place: Place,
    target: String,
    bytes: u64,
}

enum Place {
    /// A file beside its target; removed when dropped before `finish`.
    File {
        file: NamedTempFile,
        target: PathBuf,
    },
    Pipe(Box<dyn Write + Send>),
}

impl Sink {
    pub(super) fn pipe(writer: Box<dyn Write + Send>, target: &str) -> Self {
        Self {
            place: Place::Pipe(writer),
            target: target.to_owned(),
            bytes: 0,
        }
    }

    pub(super) fn file(path: &Path) -> Result<Self, EncodeError> {
        let name = path.display().to_string();
        let fail = |source| EncodeError::Io {
            target: name.clone(),
            source,
        };
        // A link's target is what is replaced, not the link.
        let target = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        if let Ok(metadata) = std::fs::metadata(&target) {
            if metadata.is_dir() {
                return Err(fail(std::io::Error::from(ErrorKind::IsADirectory)));
            }
            if !metadata.is_file() {
                let device = OpenOptions::new().write(true).open(&target).map_err(fail)?;
                return Ok(Self::pipe(Box::new(device), &name));
            }
        }
        let folder = target
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let stem = target
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut builder = tempfile::Builder::new();
        let (prefix, suffix) = (format!(".{stem}."), ".part");
        builder.prefix(&prefix).suffix(suffix);
        #[cfg(unix)]
        let builder = {
            use std::os::unix::fs::PermissionsExt;
            // As any new file's; the user's mask takes its share.
            builder.permissions(std::fs::Permissions::from_mode(0o666))
        };
        let file = builder.tempfile_in(folder).map_err(fail)?;
        Ok(Self {
            place: Place::File { file, target },
            target: name,
            bytes: 0,
        })
    }

    /// Whether bytes already written can be replaced.
    pub(super) fn can_go_back(&self) -> bool {
        matches!(self.place, Place::File { .. })
    }

    fn fail(&self, source: std::io::Error) -> EncodeError {
        match (&self.place, source.kind()) {
            (Place::Pipe(_), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                EncodeError::Closed
            }
            _ => EncodeError::Io {
                target: self.target.clone(),
                source,
            },
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let done = match &mut self.place {
            Place::File { file, .. } => file.as_file_mut().write_all(bytes),
            Place::Pipe(writer) => writer.write_all(bytes),
        };
        done.map_err(|error| self.fail(error))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), EncodeError> {
        let done = match &mut self.place {
            Place::File { .. } => Ok(()),
            Place::Pipe(writer) => writer.flush(),
        };
        done.map_err(|error| self.fail(error))
    }

    /// Bytes written so far.
    pub(super) fn position(&self) -> u64 {
        self.bytes
    }

    /// Replaces bytes written before; does nothing on a pipe.
    pub(super) fn patch(&mut self, at: u64, bytes: &[u8]) -> Result<(), EncodeError> {
        let Place::File { file, .. } = &mut self.place else {
            return Ok(());
        };
        let file = file.as_file_mut();
        let done = file
            .seek(SeekFrom::Start(at))
            .and_then(|_| file.write_all(bytes))
            .and_then(|()| file.seek(SeekFrom::End(0)));
        done.map(drop).map_err(|error| self.fail(error))
    }

    /// Syncs and renames. Returns the number of bytes written.
    pub(super) fn finish(mut self) -> Result<u64, EncodeError> {
        self.flush()?;
        let Place::File { file, target } = self.place else {
            return Ok(self.bytes);
        };
        let fail = |source| EncodeError::Io {
            target: self.target.clone(),
            source,
        };
        file.as_file().sync_all().map_err(fail)?;
        file.persist(&target).map_err(|error| fail(error.error))?;
        // The name itself must survive a power cut too. Some file systems
        // cannot sync a folder; the sound is safe there as far as it can be.
        if let Some(folder) = target.parent().filter(|p| !p.as_os_str().is_empty()) {
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(self.bytes)
    }
}
