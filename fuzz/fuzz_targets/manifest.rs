//! Any bytes as a file that may carry a manifest: nothing that was not signed
//! is ever verified, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sillage_audio::manifest::{Verdict, manifest_of};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Verdict::Verified { key, .. }) = manifest_of(bytes) {
        // Only seeds made with this project's test key can verify.
        assert_eq!(key, sillage_audio::manifest::SigningKey::from_bytes([3; 32]).public());
    }
});
