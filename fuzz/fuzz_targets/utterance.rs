//! Any bytes as a frozen utterance: typed errors only, and whatever is
//! accepted makes sound within full scale.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use sillage_voice::{VoiceModel, fuzzing};
use std::sync::OnceLock;

static MODEL: OnceLock<(VoiceModel, Compute)> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let (model, cx) = MODEL.get_or_init(|| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/voice/ssm");
        let checkpoint = Checkpoint::open(folder).expect("a checkpoint");
        (VoiceModel::load(&checkpoint).expect("a voice model"), Compute::new(1))
    });
    fuzzing::utterance(model, cx, bytes);
});
