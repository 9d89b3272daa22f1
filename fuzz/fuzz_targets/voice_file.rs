//! Any bytes as a voice file: typed errors only, and whatever is accepted
//! survives being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sillage_voice::fuzzing::voice(bytes));
