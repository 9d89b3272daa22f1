//! Any bytes as a file written by quantize: typed errors only.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sillage_formats::fuzzing::packed(bytes));
