//! Any bytes as a state file: typed errors only, and whatever is accepted
//! survives being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sillage_state::fuzzing::check(bytes));
