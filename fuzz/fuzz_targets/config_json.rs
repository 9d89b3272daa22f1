//! Any bytes as a config.json and as a chat template: typed errors only.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sillage_formats::fuzzing::config(bytes));
