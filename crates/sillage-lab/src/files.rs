//! Files of runs: found again, locked, gone on with, and only ever appended to.

use crate::config::Options;
use crate::error::LabError;
use crate::record::{Line, Machine, Point, Start, VERSION, read_lines};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A measure's job.
type Key = (String, String);

/// The file of a run that is going on.
pub(crate) struct RunFile {
    path: PathBuf,
    file: File,
    /// Bytes that are safe.
    length: u64,
    /// Jobs whose points are written, and whether they failed.
    finished: HashMap<Key, bool>,
    /// How often jobs were begun and not finished.
    begun: HashMap<Key, usize>,
    /// Whether it was there before.
    pub(crate) resumed: bool,
}

impl RunFile {
    /// The file that these options call for: the one named, else the newest of
    /// the same run that is not finished, else a new one.
    pub(crate) fn open(
        options: &Options,
        named: Option<&Path>,
        machine: &Machine,
    ) -> Result<Self, LabError> {
        let start = options.start();
        if let Some(path) = named {
            return Self::resume(path, machine, &start);
        }
        fs::create_dir_all(&options.out).map_err(|e| LabError::io(&options.out, e))?;
        if !options.fresh
            && let Some(path) = newest(&options.out, machine, &start, options.retry)
        {
            return Self::resume(&path, machine, &start);
        }
        Self::create(options, machine, start)
    }

    fn create(options: &Options, machine: &Machine, start: Start) -> Result<Self, LabError> {
        let mut stem = start.time.get(..10).unwrap_or("run").to_owned();
        if let Some(name) = &options.name {
            stem = format!("{stem}-{name}");
        }
        if options.scale == crate::Scale::Full {
            stem.push_str("-full");
        }
        for number in 1_u32.. {
            let name = if number == 1 {
                format!("{stem}.jsonl")
            } else {
                format!("{stem}-{number}.jsonl")
            };
            let path = options.out.join(name);
            let mut new = OpenOptions::new();
            match new.read(true).append(true).create_new(true).open(&path) {
                Ok(file) => {
                    let mut file = Self {
                        path,
                        file,
                        length: 0,
                        finished: HashMap::new(),
                        begun: HashMap::new(),
                        resumed: false,
                    };
                    file.lock()?;
                    file.append(&opening(machine, start))?;
                    sync_folder(&file.path);
                    return Ok(file);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(LabError::io(path, error)),
            }
        }
        Err(LabError::Failed(format!(
            "no free name for a run in {}; give another --out",
            options.out.display()
        )))
    }

    /// Goes on in a file, which must have been begun on this machine and with
    /// these options. A torn last line is cut off.
    pub(crate) fn resume(path: &Path, machine: &Machine, start: &Start) -> Result<Self, LabError> {
        let fail = |error| LabError::io(path, error);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(path)
            .map_err(fail)?;
        let mut run = Self {
            path: path.into(),
            file,
            length: 0,
            finished: HashMap::new(),
            begun: HashMap::new(),
            resumed: true,
        };
        run.lock()?;
        let (lines, whole) = read_lines(path)?;
        let whole = whole.ok_or_else(|| {
            LabError::Failed(format!(
                "{} is packed, and a run goes on in a file as it is: unpack it with gunzip",
                path.display()
            ))
        })?;
        same_run(path, &lines, machine, start)?;
        run.file.set_len(whole).map_err(fail)?;
        run.length = whole;
        run.learn(lines);
        run.append(&opening(machine, start.clone()))?;
        Ok(run)
    }

    /// What was done already.
    fn learn(&mut self, lines: Vec<Line>) {
        let mut failed = false;
        for line in lines {
            match line {
                Line::Begin { measure, job } => {
                    failed = false;
                    *self.begun.entry((measure, job)).or_default() += 1;
                }
                Line::Point(point) => failed |= point.is_failure(),
                Line::Done { measure, job, .. } => {
                    let key = (measure, job);
                    self.begun.remove(&key);
                    self.finished.insert(key, failed);
                    failed = false;
                }
                Line::Machine { .. } | Line::Start(_) | Line::End => {}
            }
        }
    }

    /// Whether the job's points are in the file; `Some(true)` if it failed.
    pub(crate) fn finished(&self, measure: &str, job: &str) -> Option<bool> {
        self.finished.get(&(measure.into(), job.into())).copied()
    }

    /// How often the job was begun, the program ended, and nothing came of it.
    pub(crate) fn broken_off(&self, measure: &str, job: &str) -> usize {
        let key = (measure.into(), job.into());
        self.begun.get(&key).copied().unwrap_or(0)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn begin(&mut self, measure: &str, job: &str) -> Result<(), LabError> {
        self.append(&[Line::Begin {
            measure: measure.into(),
            job: job.into(),
        }])
    }

    /// All points of a job, in one write.
    pub(crate) fn finish(
        &mut self,
        measure: &str,
        job: &str,
        points: Vec<Point>,
    ) -> Result<(), LabError> {
        let count = points.len();
        let mut lines: Vec<Line> = points.into_iter().map(Box::new).map(Line::Point).collect();
        lines.push(Line::Done {
            measure: measure.into(),
            job: job.into(),
            points: count,
        });
        self.append(&lines)
    }

    pub(crate) fn end(&mut self) -> Result<(), LabError> {
        self.append(&[Line::End])
    }

    fn append(&mut self, lines: &[Line]) -> Result<(), LabError> {
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, line)
                .map_err(|e| LabError::io(&self.path, e.into()))?;
            bytes.push(b'\n');
        }
        let written = self.file.write_all(&bytes).and_then(|()| {
            // Not only `sync_data`: the file has grown.
            self.file.sync_all()
        });
        if let Err(source) = written {
            // What is there in part would only be in the way.
            let _ = self.file.set_len(self.length);
            return Err(LabError::io(&self.path, source));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn lock(&self) -> Result<(), LabError> {
        match self.file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(LabError::Failed(format!(
                "{}: another run is writing to it; wait for its end, or give another --out",
                self.path.display()
            ))),
            // Some network file systems know no locks.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(()),
            Err(TryLockError::Error(error)) => Err(LabError::io(&self.path, error)),
        }
    }
}

fn opening(machine: &Machine, start: Start) -> [Line; 2] {
    [
        Line::Machine {
            version: VERSION,
            machine: machine.clone(),
        },
        Line::Start(start),
    ]
}

/// Whether the lines are of a run on this machine with these options.
fn same_run(path: &Path, lines: &[Line], machine: &Machine, start: &Start) -> Result<(), LabError> {
    let differs = |what: String| LabError::Another {
        path: path.into(),
        what,
    };
    let mut begun = None;
    for line in lines {
        match line {
            Line::Machine { machine: other, .. } if other.id != machine.id => {
                return Err(differs(format!(
                    "on another machine ({}, {} cores, {:.1} GiB, {}, Sillage {})",
                    other.cpu,
                    other.cores,
                    other.memory as f64 / f64::from(1 << 30),
                    other.isa,
                    other.sillage
                )));
            }
            Line::Start(start) => begun = Some(start),
            _ => {}
        }
    }
    let Some(begun) = begun else {
        return Err(differs("by something else than a run".into()));
    };
    let checks = [
        ("seed", begun.seed.to_string(), start.seed.to_string()),
        (
            "threads",
            begun.threads.to_string(),
            start.threads.to_string(),
        ),
        ("scale", begun.scale.clone(), start.scale.clone()),
        (
            "measures",
            begun.measures.join(", "),
            start.measures.join(", "),
        ),
    ];
    match checks.into_iter().find(|(_, then, now)| then != now) {
        Some((what, then, now)) => Err(differs(format!("with {what} {then}, not {now}"))),
        None => Ok(()),
    }
}

/// The newest file in a folder that is of the same run, and unfinished unless
/// `finished` will do. Files of others are none of our business here.
fn newest(folder: &Path, machine: &Machine, start: &Start, finished: bool) -> Option<PathBuf> {
    let mut files: Vec<(std::time::SystemTime, PathBuf)> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let path = entry.path();
            (path.extension()? == "jsonl").then_some(())?;
            Some((entry.metadata().ok()?.modified().ok()?, path))
        })
        .collect();
    files.sort();
    files.into_iter().rev().find_map(|(_, path)| {
        let (lines, _) = read_lines(&path).ok()?;
        same_run(&path, &lines, machine, start).ok()?;
        (finished || !matches!(lines.last(), Some(Line::End))).then_some(path)
    })
}

/// Writes a file so that it is there as a whole or not at all: beside its
/// place, synced, renamed.
///
/// # Errors
/// Whatever the system says; the file that was there before is untouched then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), LabError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::create_dir_all(folder).map_err(|e| LabError::io(folder, e))?;
    }
    let name = path.file_name().ok_or_else(|| {
        LabError::io(
            path,
            std::io::Error::new(ErrorKind::InvalidInput, "no file name"),
        )
    })?;
    let beside = path.with_file_name(format!(
        ".{}.{}.part",
        name.to_string_lossy(),
        std::process::id()
    ));
    let written = File::create(&beside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, path));
    if let Err(source) = written {
        let _ = fs::remove_file(&beside);
        return Err(LabError::io(path, source));
    }
    sync_folder(path);
    Ok(())
}

/// The name itself must survive a power cut too. Some file systems cannot sync
/// a folder; the file is safe there as far as it can be.
fn sync_folder(path: &Path) {
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_there_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("new/report.html");
        write_whole(&target, b"old").unwrap();
        write_whole(&target, b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        // What cannot be replaced is left as it was, and nothing lies about.
        let blocked = folder.path().join("folder.html");
        fs::create_dir_all(blocked.join("full")).unwrap();
        let error = write_whole(&blocked, b"new").unwrap_err().to_string();
        assert!(error.contains("folder.html"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(write_whole(Path::new("/"), b"x").is_err());
    }

    /// `/dev/full` is a disk without room.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_disk_without_room_is_named() {
        let path = PathBuf::from("/dev/full");
        let mut run = RunFile {
            file: OpenOptions::new().append(true).open(&path).unwrap(),
            path,
            length: 0,
            finished: HashMap::new(),
            begun: HashMap::new(),
            resumed: true,
        };
        let LabError::Io { path, source } = run.end().unwrap_err() else {
            panic!("a full disk is an I/O error");
        };
        assert_eq!(source.kind(), ErrorKind::StorageFull);
        assert_eq!(path, Path::new("/dev/full"));
    }
}
