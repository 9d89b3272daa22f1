//! What fuzzers and the replay of their corpora do with a would-be state
//! file. Not part of the interface.

use crate::codec::{self, Precision};
use crate::layout::{Fingerprint, Layout, SlotSpec, StateType};
use crate::snapshot::Snapshot;
use sillage_kernels::KvShape;
use std::sync::Arc;

/// A small layout with every kind of slot.
#[must_use]
pub fn layout() -> Arc<Layout> {
    let shape = KvShape {
        kv_heads: 1,
        head_dim: 16,
    };
    let slots = [
        (
            "conv",
            SlotSpec::Conv {
                channels: 3,
                d_conv: 4,
            },
        ),
        (
            "ssm",
            SlotSpec::Scan {
                len: 16,
                ty: StateType::F32,
            },
        ),
        (
            "ssm.bf16",
            SlotSpec::Scan {
                len: 16,
                ty: StateType::Bf16,
            },
        ),
        (
            "kv",
            SlotSpec::Kv {
                shape,
                ty: StateType::Bf16,
                window: Some(32),
            },
        ),
    ];
    let slots = slots.map(|(name, spec)| (name.to_owned(), spec)).into();
    #[expect(clippy::expect_used, reason = "constants")]
    Arc::new(Layout::new(Fingerprint::of(b"fuzz"), slots).expect("a possible layout"))
}

/// Reads `bytes` in every way, as they are and with their checksums made
/// right. Whatever is accepted must survive being written again.
///
/// # Panics
/// If the codec breaks a promise.
pub fn check(bytes: &[u8]) {
    let layout = layout();
    check_one(bytes, &layout);
    let mut sealed = bytes.to_vec();
    codec::reseal(&mut sealed);
    check_one(&sealed, &layout);
}

fn check_one(bytes: &[u8], layout: &Arc<Layout>) {
    let inspected = codec::inspect_from(bytes);
    let verified = codec::verify_from(bytes);
    assert!(
        inspected.is_ok() || verified.is_err(),
        "verified what cannot be inspected"
    );
    let Ok(snapshot) = Snapshot::read_from(bytes, layout) else {
        return;
    };
    assert!(verified.is_ok(), "loaded what cannot be verified");
    let mut written = Vec::new();
    let saved = snapshot.write_to(&mut written, Precision::Exact);
    assert!(saved.is_ok_and(|saved| saved.bytes == written.len() as u64));
    let again = Snapshot::read_from(&written[..], layout);
    assert!(again.is_ok_and(|again| {
        again.state().bits_eq(snapshot.state()) && again.meta() == snapshot.meta()
    }));
}
