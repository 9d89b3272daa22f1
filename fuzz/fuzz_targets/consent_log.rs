//! Any bytes as a log: the lines before the first fault are counted, and
//! nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let check = sillage_audio::log::check_bytes(bytes);
    assert!(check.lines <= bytes.len() as u64);
    assert_eq!(check.head.is_some(), check.lines > 0);
});
