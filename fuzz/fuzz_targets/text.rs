//! Any bytes as text, in pieces and whole: the same phrases, spans in order, typed errors only.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sillage_text::fuzzing::text(bytes));
