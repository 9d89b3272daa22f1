//! An append-only log whose lines are chained by their hashes.
//!
//! Each line is a JSON object that ends in the hash of all that stands before it
//! in the line, and holds the hash of the line before. Changing, removing or
//! inserting a line breaks the chain at that place. What the chain cannot show
//! is a log whose last lines were cut off, or that was written anew from the
//! start: for that, note the last line's hash ([`Check::head`]) elsewhere.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the first line has for a line before.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The longest line.
const LONGEST: usize = 64 * 1024;
/// Bytes of `,"hash":"` + 64 digits + `"}`.
const SEAL: usize = 9 + 64 + 2;

/// Why the log could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The system's reason.
    #[error("cannot {action} the log {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which log.
        path: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The last line was changed.
    #[error(
        "the last line of the log {0} was changed: run `sillage log verify`, move the file away and keep it"
    )]
    Broken(String),
    /// The entry is too long.
    #[error("an entry of {0} bytes is too long for the log (64 KiB at most)")]
    TooLong(usize),
    /// The entry is no JSON.
    #[error("the entry cannot be written as JSON: {0}")]
    Entry(String),
}

/// One line, without its hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, from 1.
    pub number: u64,
    /// When, in UTC.
    pub time: String,
    /// What happened, such as `consent` or `clone` or `speech`.
    pub event: String,
    /// Its particulars.
    pub data: serde_json::Value,
    /// The hash of the line before.
    pub previous: String,
}

/// What an append did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The line's number.
    pub number: u64,
    /// The line's hash: the id of the record.
    pub hash: String,
    /// Bytes of a line that a crash had left unfinished, and that were removed.
    pub repaired: usize,
}

/// What a check of the whole log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Lines that hold, counted from the start.
    pub lines: u64,
    /// The first line that does not, if any, and what is wrong with it.
    pub broken: Option<(u64, Fault)>,
    /// The hash of the last line that holds.
    pub head: Option<String>,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No line of this log.
    #[error("it is not a line of this log")]
    Form,
    /// Its hash is not that of its text.
    #[error("its text was changed")]
    Changed,
    /// It does not follow the line before.
    #[error("the line before it was changed, removed or inserted")]
    Chain,
    /// The last line stops in the middle: a crash, which the next entry repairs.
    #[error("it was not finished (a crash); the next entry will remove it")]
    Torn,
}

/// A log in a file.
#[derive(Clone, Debug)]
pub struct Log {
    path: PathBuf,
}

impl Log {
    /// The log at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn fail(&self, action: &'static str) -> impl FnOnce(std::io::Error) -> LogError {
        let path = self.path.display().to_string();
        move |source| LogError::Io {
            action,
            path,
            source,
        }
    }

    /// Adds a line and waits until the disk has it. Several programs may do so
    /// at once; each waits for the others.
    ///
    /// # Errors
    /// See [`LogError`]; nothing is written where the last line was changed.
    pub fn append<T: Serialize>(&self, event: &str, data: &T) -> Result<Appended, LogError> {
        if let Some(folder) = self.path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(self.fail("make the folder of"))?;
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        let mut file = options.open(&self.path).map_err(self.fail("open"))?;
        // Released when the file is closed, also by a crash.
        file.lock().map_err(self.fail("lock"))?;
        let (last, repaired) = self.last_line(&mut file)?;
        let (number, previous) = match last {
            Some((entry, hash)) => (entry.number + 1, hash),
            None => (1, NOTHING.to_owned()),
        };
        let data =
            serde_json::to_value(data).map_err(|error| LogError::Entry(error.to_string()))?;
        let time = crate::manifest::utc(std::time::SystemTime::now());
        let entry = Entry {
            number,
            time,
            event: event.to_owned(),
            data,
            previous,
        };
        let (line, hash) = seal(&entry)?;
        file.write_all(&line).map_err(self.fail("write"))?;
        file.sync_data().map_err(self.fail("write"))?;
        Ok(Appended {
            number,
            hash,
            repaired,
        })
    }

    /// The last whole line, after removing an unfinished one.
    fn last_line(&self, file: &mut File) -> Result<(Option<(Entry, String)>, usize), LogError> {
        let length = file.seek(SeekFrom::End(0)).map_err(self.fail("read"))?;
        let start = length.saturating_sub(2 * LONGEST as u64);
        file.seek(SeekFrom::Start(start))
            .map_err(self.fail("read"))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail).map_err(self.fail("read"))?;
        let whole = tail
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |at| at + 1);
        let torn = tail.len() - whole;
        if whole == 0 && start > 0 {
            return Err(LogError::Broken(self.path.display().to_string()));
        }
        if torn > 0 {
            file.set_len(length - torn as u64)
                .map_err(self.fail("repair"))?;
        }
        let Some(lines) = tail[..whole].strip_suffix(b"\n") else {
            return Ok((None, torn));
        };
        let from = lines
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |at| at + 1);
        match unseal(&lines[from..]) {
            Ok(last) => Ok((Some(last), torn)),
            Err(_) => Err(LogError::Broken(self.path.display().to_string())),
        }
    }

    /// Checks every line. A log that does not exist holds no lines and is whole.
    ///
    /// # Errors
    /// Only what the system says; a broken chain is a result.
    pub fn verify(&self) -> Result<Check, LogError> {
        let mut check = Check {
            lines: 0,
            broken: None,
            head: None,
        };
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(check),
            other => other.map_err(self.fail("read"))?,
        };
        file.lock_shared().map_err(self.fail("lock"))?;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut piece = reader.by_ref().take(2 * LONGEST as u64);
            let read = piece
                .read_until(b'\n', &mut line)
                .map_err(self.fail("read"))?;
            if read == 0 {
                return Ok(check);
            }
            if let Err(fault) = follow(&line, &mut check) {
                check.broken = Some((check.lines + 1, fault));
                return Ok(check);
            }
        }
    }

    /// All entries, in order, of a log that holds.
    ///
    /// # Errors
    /// What the system says. Lines that are no entries are left out; call
    /// [`Log::verify`] first.
    pub fn entries(&self) -> Result<Vec<Entry>, LogError> {
        let text = match std::fs::read(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(self.fail("read"))?,
        };
        Ok(text
            .split(|&b| b == b'\n')
            .filter_map(|line| unseal(line).ok())
            .map(|(e, _)| e)
            .collect())
    }
}

/// Checks that a line follows what was checked so far.
fn follow(line: &[u8], check: &mut Check) -> Result<(), Fault> {
    let Some(line) = line.strip_suffix(b"\n") else {
        return Err(Fault::Torn);
    };
    let (entry, hash) = unseal(line)?;
    let previous = check.head.as_deref().unwrap_or(NOTHING);
    if entry.previous != previous || entry.number != check.lines + 1 {
        return Err(Fault::Chain);
    }
    check.lines += 1;
    check.head = Some(hash);
    Ok(())
}

/// An entry as a line, and its hash.
fn seal(entry: &Entry) -> Result<(Vec<u8>, String), LogError> {
    let mut line = serde_json::to_vec(entry).map_err(|error| LogError::Entry(error.to_string()))?;
    // The hash goes before the closing brace.
    line.pop();
    let hash = blake3::hash(&line).to_hex().to_string();
    line.extend_from_slice(format!(",\"hash\":\"{hash}\"}}\n").as_bytes());
    if line.len() > LONGEST {
        return Err(LogError::TooLong(line.len()));
    }
    Ok((line, hash))
}

/// A line's entry and hash, if the hash is right.
fn unseal(line: &[u8]) -> Result<(Entry, String), Fault> {
    let at = line.len().checked_sub(SEAL).ok_or(Fault::Form)?;
    let (body, seal) = line.split_at(at);
    let hash = seal
        .strip_prefix(b",\"hash\":\"")
        .and_then(|rest| rest.strip_suffix(b"\"}"))
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .ok_or(Fault::Form)?;
    if blake3::hash(body).to_hex().as_str() != hash {
        return Err(Fault::Changed);
    }
    let mut text = body.to_vec();
    text.push(b'}');
    let entry = serde_json::from_slice(&text).map_err(|_| Fault::Form)?;
    Ok((entry, hash.to_owned()))
}

/// For the fuzzer: any bytes as a log.
#[doc(hidden)]
pub fn check_bytes(bytes: &[u8]) -> Check {
    let mut check = Check {
        lines: 0,
        broken: None,
        head: None,
    };
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        if let Err(fault) = follow(line, &mut check) {
            check.broken = Some((check.lines + 1, fault));
            break;
        }
    }
    check
}
