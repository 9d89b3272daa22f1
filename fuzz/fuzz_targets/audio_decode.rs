//! Any bytes as a sound file: typed errors only, and what is decoded is finite
//! and within the limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sillage_audio::decode::{Limits, decode};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { bytes: 1 << 20, seconds: 20.0, channels: 2 };
    if let Ok(clip) = decode(bytes, 24_000, &limits) {
        assert!(clip.samples.iter().all(|v| v.is_finite()));
        assert!(clip.seconds() <= 20.1);
        let _ = sillage_audio::check::check_clip(&clip.samples, clip.rate, &Default::default());
    }
});
