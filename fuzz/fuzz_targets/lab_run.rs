//! Any bytes as a run's file: a typed error, or a report that holds no markup of the file's own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sillage_lab::{Run, claims, report};

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = tempfile::NamedTempFile::new() else {
        return;
    };
    if std::fs::write(file.path(), bytes).is_err() {
        return;
    }
    if let Ok(run) = Run::read(file.path()) {
        let _ = claims::verdicts(&run);
        let _ = report::html(&run);
    }
});
