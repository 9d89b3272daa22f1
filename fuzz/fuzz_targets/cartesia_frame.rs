//! Any bytes as a frame of Cartesia's WebSocket: typed errors only.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sillage_server::fuzzing::cartesia_frame(bytes));
