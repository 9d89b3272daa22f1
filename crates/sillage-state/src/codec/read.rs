//! Reading a state, trusting nothing.

use super::header::{FileInfo, Header, SlotInfo, TokensHeader};
use super::{
    HEADER_LIMIT, MAGIC, PREAMBLE, PREAMBLE_HASHED, Precision, StateFileError, TRAILER, VERSION,
};
use crate::bits::{self, Hashing};
use crate::kv::{KvCache, Page};
use crate::layout::{Layout, SlotSpec, live_pages};
use crate::snapshot::{Meta, Snapshot};
use crate::state::{Slot, State, own};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Bytes checked at a time by [`verify`].
const BLOCK: usize = 1 << 16;

/// A file whose header has been read and found sound in itself.
struct Opened<R> {
    input: Hashing<R>,
    version: u32,
    header: Header,
    header_bytes: u64,
    payload_bytes: u64,
}

/// `N` bytes of `bytes` from `at` on; zeros where there are none.
fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes
        .get(at..at + N)
        .and_then(|b| b.try_into().ok())
        .unwrap_or([0; N])
}

impl<R: Read> Opened<R> {
    /// Reads and checks the header. `file_bytes` is the length of the whole
    /// file where it is known.
    fn new(input: R, file_bytes: Option<u64>) -> Result<Self, StateFileError> {
        let mut input = Hashing::new(input);
        let preamble = read_preamble(&mut input)?;
        let version = u32::from_le_bytes(bytes_at(&preamble, 8));
        let header_bytes = u64::from(u32::from_le_bytes(bytes_at(&preamble, 12)));
        let payload_bytes = u64::from_le_bytes(bytes_at(&preamble, 16));
        if header_bytes > u64::from(HEADER_LIMIT) {
            return Err(StateFileError::HeaderTooLong {
                found: header_bytes,
            });
        }
        let expected = (PREAMBLE + TRAILER) as u64 + header_bytes;
        let expected = expected.checked_add(payload_bytes);
        let expected = expected.ok_or_else(|| senseless("the payload's length overflows"))?;
        check_length(expected, file_bytes)?;
        let mut json = Vec::new();
        let read = input.by_ref().take(header_bytes).read_to_end(&mut json);
        read.map_err(StateFileError::Read)?;
        if (json.len() as u64) < header_bytes {
            return Err(StateFileError::Truncated {
                expected,
                found: input.count,
            });
        }
        let mut hash = Xxh3::new();
        hash.update(&preamble[..PREAMBLE_HASHED]);
        hash.update(&json);
        if hash.digest() != u64::from_le_bytes(bytes_at(&preamble, PREAMBLE_HASHED)) {
            return Err(StateFileError::Checksum { part: "header" });
        }
        let header: Header =
            serde_json::from_slice(&json).map_err(|e| senseless(&e.to_string()))?;
        if header.payload_bytes() != Some(payload_bytes) {
            return Err(senseless("the slots do not add up to the payload"));
        }
        Ok(Self {
            input,
            version,
            header,
            header_bytes,
            payload_bytes,
        })
    }

    fn file_bytes(&self) -> u64 {
        (PREAMBLE + TRAILER) as u64 + self.header_bytes + self.payload_bytes
    }

    /// Sorts a failed read by its cause.
    fn read_error(&self, source: io::Error) -> StateFileError {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            let expected = self.file_bytes();
            return StateFileError::Truncated {
                expected,
                found: self.input.count,
            };
        }
        StateFileError::Read(source)
    }

    fn tokens(&mut self) -> Result<Option<Vec<u32>>, StateFileError> {
        let Some(TokensHeader { count, hash }) = self.header.tokens else {
            return Ok(None);
        };
        let mut input = Hashing::new(&mut self.input);
        let tokens = bits::read_u32s(&mut input, count);
        let found = input.hash.digest();
        let tokens = tokens.map_err(|e| self.read_error(e))?;
        if found != hash {
            return Err(StateFileError::Checksum {
                part: "token history",
            });
        }
        Ok(Some(tokens))
    }

    /// Reads the rest of the payload without keeping it.
    fn skip_payload(&mut self) -> Result<(), StateFileError> {
        let mut block = vec![0; BLOCK];
        let end = self.file_bytes() - TRAILER as u64;
        while self.input.count < end {
            let left = end - self.input.count;
            let len = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
            let read = self.input.read_exact(&mut block[..len]);
            read.map_err(|e| self.read_error(e))?;
        }
        Ok(())
    }

    /// Compares the checksum of everything.
    fn finish(&mut self) -> Result<(), StateFileError> {
        let sum = self.input.hash.digest128();
        let mut trailer = [0; TRAILER];
        let read = self.input.read_exact(&mut trailer);
        read.map_err(|e| self.read_error(e))?;
        if u128::from_le_bytes(trailer) != sum {
            return Err(StateFileError::Checksum { part: "contents" });
        }
        Ok(())
    }

    /// Reads the state of a model whose layout has been compared with the
    /// header's.
    fn state(&mut self, layout: &Arc<Layout>) -> Result<State, StateFileError> {
        let mut state = State::new(Arc::clone(layout));
        let precision = self.header.precision;
        let infos = std::mem::take(&mut self.header.slots);
        let specs = layout.slots().iter().zip(&infos);
        for (slot, ((_, spec), info)) in state.slots.iter_mut().zip(specs) {
            let read = match (&mut *slot, *spec) {
                (Slot::F32(values), _) => fill_f32(&mut self.input, precision, own(values)),
                (Slot::Bf16(values), _) => bits::read_u16(&mut self.input, own(values)),
                (Slot::Kv(cache), spec) => {
                    read_cache(&mut self.input, precision, &spec, info).map(|read| *cache = read)
                }
            };
            read.map_err(|e| self.read_error(e))?;
        }
        Ok(state.restored(self.header.position, self.header.lossy))
    }

    fn into_info(self) -> FileInfo {
        let file_bytes = self.file_bytes();
        let Header {
            model,
            position,
            precision,
            lossy,
            tokens,
            meta,
            slots,
        } = self.header;
        FileInfo {
            version: self.version,
            model,
            position,
            precision,
            lossy,
            tokens: tokens.map(|tokens| tokens.count),
            meta,
            slots,
            header_bytes: self.header_bytes,
            payload_bytes: self.payload_bytes,
            file_bytes,
        }
    }
}

fn senseless(why: &str) -> StateFileError {
    StateFileError::Header(why.to_owned())
}

/// Reads the preamble, telling a foreign file from a short one.
fn read_preamble(input: &mut Hashing<impl Read>) -> Result<[u8; PREAMBLE], StateFileError> {
    let mut bytes = Vec::with_capacity(PREAMBLE);
    let read = input.by_ref().take(PREAMBLE as u64).read_to_end(&mut bytes);
    let found = read.map_err(StateFileError::Read)?;
    let magic = &bytes[..found.min(MAGIC.len())];
    if magic.is_empty() || *magic != MAGIC[..magic.len()] {
        return Err(StateFileError::NotAStateFile);
    }
    let truncated = StateFileError::Truncated {
        expected: PREAMBLE as u64,
        found: found as u64,
    };
    let preamble: [u8; PREAMBLE] = bytes.try_into().map_err(|_| truncated)?;
    match u32::from_le_bytes(bytes_at(&preamble, 8)) {
        VERSION => Ok(preamble),
        0 => Err(senseless("there is no version 0")),
        found => Err(StateFileError::NewerVersion { found }),
    }
}

fn check_length(expected: u64, file_bytes: Option<u64>) -> Result<(), StateFileError> {
    match file_bytes {
        Some(found) if found < expected => Err(StateFileError::Truncated { expected, found }),
        Some(found) if found > expected => Err(StateFileError::Excess { expected, found }),
        _ => Ok(()),
    }
}

fn fill_f32(input: &mut impl Read, precision: Precision, values: &mut [f32]) -> io::Result<()> {
    match precision {
        Precision::Exact => bits::read_f32(input, values),
        Precision::Bf16 => bits::read_f32_from_bf16(input, values),
    }
}

/// Reads the live pages of a cache, asking for memory page by page.
fn read_cache(
    input: &mut impl Read,
    precision: Precision,
    spec: &SlotSpec,
    info: &SlotInfo,
) -> io::Result<KvCache> {
    let (SlotSpec::Kv { shape, ty, window }, Some(positions)) = (*spec, info.positions) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a KV cache without positions",
        ));
    };
    let len = usize::try_from(positions)
        .ok()
        .filter(|&len| isize::try_from(len).is_ok());
    let too_many = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "more positions than can be counted",
        )
    };
    let len = len.ok_or_else(too_many)?;
    let mut cache = KvCache::restore(shape, ty, window, len);
    let (first, end) = live_pages(positions, window.map(|window| window as u64));
    for _ in first..end {
        let mut page = Page::zeroed(&shape, ty);
        match &mut page {
            Page::F32(values) => fill_f32(input, precision, values)?,
            Page::Bf16(values) => bits::read_u16(input, values)?,
        }
        cache.push_page(page);
    }
    Ok(cache)
}

fn open(path: &Path) -> Result<Opened<File>, StateFileError> {
    let file = File::open(path).map_err(StateFileError::Read)?;
    let data = file.metadata().map_err(StateFileError::Read)?;
    // The length of a pipe is not known beforehand.
    Opened::new(file, data.is_file().then_some(data.len()))
}

fn finish_snapshot<R: Read>(
    mut opened: Opened<R>,
    layout: &Arc<Layout>,
) -> Result<Snapshot, StateFileError> {
    opened.header.check(layout)?;
    let tokens = opened.tokens()?;
    let state = opened.state(layout)?;
    opened.finish()?;
    let meta = Meta {
        entries: opened.header.meta,
        tokens: tokens.map(Into::into),
    };
    Ok(state.freeze().with_meta(meta))
}

pub(crate) fn load(path: &Path, layout: &Arc<Layout>) -> Result<Snapshot, StateFileError> {
    finish_snapshot(open(path)?, layout)
}

pub(crate) fn read_from(
    input: impl Read,
    layout: &Arc<Layout>,
) -> Result<Snapshot, StateFileError> {
    finish_snapshot(Opened::new(input, None)?, layout)
}

/// What a state file says about itself. Only the header is read and checked,
/// and the file's length; [`verify`] checks all of it.
///
/// # Errors
/// If it cannot be read, is no state file, or its header is damaged.
pub fn inspect(path: impl AsRef<Path>) -> Result<FileInfo, StateFileError> {
    Ok(open(path.as_ref())?.into_info())
}

/// As [`inspect`], of anything that can be read. The payload's presence is
/// not checked.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_from(input: impl Read) -> Result<FileInfo, StateFileError> {
    Ok(Opened::new(input, None)?.into_info())
}

/// Reads the whole file and compares every checksum, without a model.
///
/// # Errors
/// If it cannot be read, is no state file, or is damaged anywhere.
pub fn verify(path: impl AsRef<Path>) -> Result<FileInfo, StateFileError> {
    verify_opened(open(path.as_ref())?)
}

/// As [`verify`], of anything that can be read.
///
/// # Errors
/// As [`verify`].
pub fn verify_from(input: impl Read) -> Result<FileInfo, StateFileError> {
    verify_opened(Opened::new(input, None)?)
}

fn verify_opened<R: Read>(mut opened: Opened<R>) -> Result<FileInfo, StateFileError> {
    opened.tokens()?;
    opened.skip_payload()?;
    opened.finish()?;
    Ok(opened.into_info())
}

/// The token history of a state file, without reading the state; `None` if
/// none was kept.
///
/// # Errors
/// As [`inspect`], or if the history is damaged.
pub fn read_tokens(path: impl AsRef<Path>) -> Result<Option<Vec<u32>>, StateFileError> {
    open(path.as_ref())?.tokens()
}
