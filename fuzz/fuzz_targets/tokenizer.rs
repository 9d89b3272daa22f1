//! Any bytes as a tokenizer.json: typed errors only.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sillage_formats::fuzzing::tokenizer(bytes));
