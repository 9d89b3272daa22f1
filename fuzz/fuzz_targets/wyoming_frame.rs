//! Any bytes as Wyoming's events: typed errors only, and the same events however
//! the stream is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sillage_server::fuzzing::wyoming_frame(bytes));
