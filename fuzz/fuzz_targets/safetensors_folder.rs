//! Any bytes as the weights of a folder: typed errors only.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sillage_formats::fuzzing::safetensors(bytes));
