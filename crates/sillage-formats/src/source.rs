//! Bytes that can be read at a position: a file, bytes embedded in the binary, or owned bytes.
//!
//! Tensors are read with positioned reads and never mapped, so that a file that shrinks under us
//! is an error and not a signal.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::error::FormatError;

/// A readable, sized run of bytes with a name for error messages.
#[derive(Debug)]
pub(crate) struct Source {
    name: String,
    len: u64,
    data: Data,
}

#[derive(Debug)]
enum Data {
    File(Positioned),
    Static(&'static [u8]),
    Owned(Arc<[u8]>),
}

#[cfg(unix)]
type Positioned = File;
#[cfg(not(unix))]
type Positioned = std::sync::Mutex<File>;

#[cfg(unix)]
fn read_at(file: &Positioned, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buf, offset)
}

#[cfg(not(unix))]
fn read_at(file: &Positioned, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    // A poisoned lock only means that another reader panicked; every read seeks first.
    let mut file = file
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(buf)
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self, FormatError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|e| FormatError::io(&name, e))?;
        let len = file
            .metadata()
            .map_err(|e| FormatError::io(&name, e))?
            .len();
        #[cfg(not(unix))]
        let file = std::sync::Mutex::new(file);
        Ok(Self {
            name,
            len,
            data: Data::File(file),
        })
    }

    pub(crate) fn from_static(name: &str, bytes: &'static [u8]) -> Self {
        Self {
            name: name.to_owned(),
            len: bytes.len() as u64,
            data: Data::Static(bytes),
        }
    }

    pub(crate) fn from_vec(name: &str, bytes: Vec<u8>) -> Self {
        Self {
            name: name.to_owned(),
            len: bytes.len() as u64,
            data: Data::Owned(bytes.into()),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buf` with the bytes at `offset`, or says how far the file falls short.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        let wanted = buf.len() as u64;
        let truncated = || FormatError::Truncated {
            file: self.name.clone(),
            offset,
            end: offset.saturating_add(wanted),
            len: self.len,
        };
        let end = offset.checked_add(wanted).filter(|&end| end <= self.len);
        if end.is_none() {
            return Err(truncated());
        }
        let bytes: &[u8] = match &self.data {
            Data::File(file) => {
                return match read_at(file, offset, buf) {
                    Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Err(truncated()),
                    other => other.map_err(|e| FormatError::io(&self.name, e)),
                };
            }
            Data::Static(bytes) => bytes,
            Data::Owned(bytes) => bytes,
        };
        // In range: the end was checked against the length above.
        let start = offset as usize;
        buf.copy_from_slice(&bytes[start..start + buf.len()]);
        Ok(())
    }

    /// Reads `len` bytes; the length is checked against the file before anything is allocated.
    pub(crate) fn read_vec(&self, offset: u64, len: u64) -> Result<Vec<u8>, FormatError> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(FormatError::Truncated {
                file: self.name.clone(),
                offset,
                end: offset.saturating_add(len),
                len: self.len,
            });
        }
        let mut bytes = vec![0; len as usize];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// Reads a whole small file (a description, a tokenizer), refusing one larger than `limit` bytes.
pub(crate) fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>, FormatError> {
    let source = Source::open(path)?;
    if source.len() > limit {
        return Err(FormatError::Json {
            file: source.name,
            message: format!("it has {} bytes, more than the {limit} allowed", source.len),
        });
    }
    source.read_vec(0, source.len())
}
