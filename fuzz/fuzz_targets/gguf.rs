//! Any bytes as a GGUF file: typed errors only.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sillage_formats::fuzzing::gguf(bytes));
