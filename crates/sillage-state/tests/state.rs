//! Forking, freezing, saving and loading, as properties.
#![allow(clippy::unwrap_used)]

mod common;

use common::{fed, feed, layout};
use proptest::prelude::*;
use sillage_state::codec::{self, HEADER_LIMIT};
use sillage_state::{
    Fingerprint, Layout, Meta, Precision, SlotSpec, Snapshot, State, StateFileError, StateType,
    Values,
};
use std::io::{self, Write};
use std::sync::Arc;

fn tokens(max: usize) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0u32..50_000, 0..max)
}

fn written(snapshot: &Snapshot, precision: Precision) -> Vec<u8> {
    let mut bytes = Vec::new();
    let saved = snapshot.write_to(&mut bytes, precision).unwrap();
    assert_eq!(saved.bytes, bytes.len() as u64);
    assert_eq!(snapshot.file_bytes(precision).unwrap(), saved.bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Law 1 of the container: how tokens are cut into pieces leaves no mark.
    #[test]
    fn splits_leave_equal_states(tokens in tokens(300), cuts in prop::collection::vec(0usize..300, 0..5)) {
        let layout = layout(b"m");
        let whole = fed(&layout, &tokens);
        let mut state = State::new(Arc::clone(&layout));
        let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(tokens.len())).collect();
        cuts.extend([0, tokens.len()]);
        cuts.sort_unstable();
        for pair in cuts.windows(2) {
            feed(&mut state, &tokens[pair[0]..pair[1]]);
        }
        prop_assert!(state.bits_eq(&whole));
        prop_assert_eq!(state.digest(), whole.digest());
        prop_assert_eq!(state.position(), tokens.len() as u64);
        prop_assert_eq!(state.bytes(), layout.bytes(state.position()));
    }

    /// Fork, freeze, save and load give bit-equal states that go on equally,
    /// and change neither parent nor snapshot.
    #[test]
    fn every_copy_is_equal_and_independent(a in tokens(200), b in tokens(100), c in tokens(100)) {
        let layout = layout(b"m");
        let mut parent = fed(&layout, &a);
        let before = parent.digest();
        let snapshot = parent.snapshot().with_meta(Meta::default().with("x", "y").with_tokens(a.clone()));
        let bytes = written(&snapshot, Precision::Exact);

        let mut fork = parent.fork();
        feed(&mut fork, &b);
        prop_assert_eq!(parent.digest(), before);
        feed(&mut parent, &c);
        prop_assert_eq!(snapshot.state().digest(), before);
        let together: Vec<u32> = a.iter().chain(&b).copied().collect();
        prop_assert!(fork.bits_eq(&fed(&layout, &together)));

        let loaded = Snapshot::read_from(&bytes[..], &layout).unwrap();
        prop_assert!(loaded.state().bits_eq(snapshot.state()));
        prop_assert_eq!(loaded.meta(), snapshot.meta());
        prop_assert!(!loaded.is_lossy());
        prop_assert_eq!(written(&loaded, Precision::Exact), bytes);
        let mut resumed = loaded.resume();
        feed(&mut resumed, &b);
        prop_assert!(resumed.bits_eq(&fork));
        prop_assert_eq!(loaded.state().digest(), before);
        prop_assert_eq!(fork.bits_eq(&snapshot.resume()), b.is_empty());
    }

    /// Cutting a file anywhere is noticed.
    #[test]
    fn truncation_is_a_typed_error(tokens in tokens(90), at in any::<prop::sample::Index>()) {
        let layout = layout(b"m");
        let bytes = written(&fed(&layout, &tokens).freeze(), Precision::Exact);
        let cut = &bytes[..at.index(bytes.len())];
        let error = Snapshot::read_from(cut, &layout).unwrap_err();
        prop_assert!(error.is_corruption(), "{error}");
        prop_assert!(codec::verify_from(cut).unwrap_err().is_corruption());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), cut).unwrap();
        prop_assert!(codec::inspect(file.path()).unwrap_err().is_corruption());
        prop_assert!(Snapshot::load(file.path(), &layout).unwrap_err().is_corruption());
    }

    /// A flipped bit anywhere is noticed.
    #[test]
    fn a_flipped_bit_is_a_typed_error(tokens in tokens(90), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let layout = layout(b"m");
        let state = fed(&layout, &tokens).freeze().with_meta(Meta::default().with_tokens(tokens));
        let mut bytes = written(&state, Precision::Exact);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Snapshot::read_from(&bytes[..], &layout).is_err());
        prop_assert!(codec::verify_from(&bytes[..]).is_err());
        bytes[at] ^= 1 << bit;
        prop_assert!(Snapshot::read_from(&bytes[..], &layout).is_ok());
    }

    /// Forged files, with checksums made right, neither crash nor contradict
    /// themselves.
    #[test]
    fn forged_headers_are_survived(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let layout = sillage_state::fuzzing::layout();
        let mut bytes = written(&fed(&layout, &[1, 2, 3]).freeze(), Precision::Exact);
        let info = codec::inspect_from(&bytes[..]).unwrap();
        for (at, value) in edits {
            bytes[at.index(32 + info.header_bytes as usize)] = value;
        }
        sillage_state::fuzzing::check(&bytes);
    }
}

#[test]
fn every_truncation_and_every_byte_of_a_small_file() {
    let layout = sillage_state::fuzzing::layout();
    let bytes = written(&fed(&layout, &[7; 5]).freeze(), Precision::Exact);
    for cut in 0..bytes.len() {
        let error = Snapshot::read_from(&bytes[..cut], &layout).unwrap_err();
        assert!(error.is_corruption(), "{cut}: {error}");
    }
    let mut damaged = bytes.clone();
    for at in 0..bytes.len() {
        for bit in [1, 0x10, 0x80] {
            damaged[at] ^= bit;
            assert!(Snapshot::read_from(&damaged[..], &layout).is_err(), "{at}");
            damaged[at] ^= bit;
        }
    }
    // Nothing beyond the end is read from a stream; a file must end there.
    let mut longer = bytes.clone();
    longer.push(0);
    let mut rest = &longer[..];
    Snapshot::read_from(&mut rest, &layout).unwrap();
    assert_eq!(rest, [0]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &longer).unwrap();
    assert!(matches!(
        codec::inspect(file.path()),
        Err(StateFileError::Excess { .. })
    ));
}

#[test]
fn forks_share_until_written_and_only_the_last_page_is_copied() {
    let layout = layout(b"m");
    let mut parent = fed(&layout, &[1; 200]);
    assert_eq!(parent.unique_bytes(), parent.bytes());
    let mut fork = parent.fork();
    assert_eq!(fork.unique_bytes(), 0);
    feed(&mut fork, &[2]);
    let (fixed, page) = (layout.fixed_bytes(), 64 * layout.bytes_per_token());
    assert_eq!(fork.unique_bytes(), fixed + page);
    drop(parent);
    assert_eq!(fork.unique_bytes(), fork.bytes());
    parent = fork.fork();
    let frozen = fork.freeze();
    drop(parent);
    assert_eq!(frozen.state().unique_bytes(), frozen.bytes());
}

#[test]
fn windows_bound_memory() {
    let layout = layout(b"m");
    let mut state = State::new(Arc::clone(&layout));
    for _ in 0..40 {
        feed(&mut state, &[3; 50]);
    }
    let (first, pages) = state.kv(6).pages();
    assert_eq!(
        (first, pages.len()),
        ((2000 - 69) / 64, 32 - (2000 - 69) / 64)
    );
    assert_eq!(state.kv(4).pages().1.len(), 32);
    assert_eq!(state.bytes(), layout.bytes(2000));
}

#[test]
fn bf16_files_are_half_as_long_and_say_that_they_lose() {
    let layout = layout(b"m");
    let snapshot = fed(&layout, &[1, 2, 3]).freeze();
    let exact = written(&snapshot, Precision::Exact).len();
    let bytes = written(&snapshot, Precision::Bf16);
    assert!(bytes.len() < exact * 3 / 4);
    assert!(codec::inspect_from(&bytes[..]).unwrap().lossy);
    let loaded = Snapshot::read_from(&bytes[..], &layout).unwrap();
    assert!(loaded.is_lossy() && loaded.resume().fork().is_lossy());
    assert!(!loaded.state().bits_eq(snapshot.state()));
    let (Some(Values::F32(a)), Some(Values::F32(b))) =
        (snapshot.state().values(1), loaded.state().values(1))
    else {
        panic!("slot 1 is in f32");
    };
    assert!(
        a.iter()
            .zip(b)
            .all(|(a, b)| (a - b).abs() <= a.abs() / 256.0)
    );
    // The mark stays when the state is saved exactly later on, ...
    let again = written(&loaded, Precision::Exact);
    assert!(codec::inspect_from(&again[..]).unwrap().lossy);
    // ... and a state that has nothing to lose does not get it.
    let slots = vec![(
        "a".to_owned(),
        SlotSpec::Scan {
            len: 8,
            ty: StateType::Bf16,
        },
    )];
    let small = Arc::new(Layout::new(Fingerprint::of(b"s"), slots).unwrap());
    let bytes = written(&State::new(small).freeze(), Precision::Bf16);
    assert!(!codec::inspect_from(&bytes[..]).unwrap().lossy);
}

#[test]
fn other_models_layouts_versions_and_files_are_told_apart() {
    let ours = layout(b"m");
    let meta = Meta::default().with("model", "booklet");
    let bytes = written(&fed(&ours, &[1]).freeze().with_meta(meta), Precision::Exact);
    let error = Snapshot::read_from(&bytes[..], &layout(b"another")).unwrap_err();
    assert!(matches!(error, StateFileError::OtherModel { .. }));
    assert!(error.to_string().contains("booklet"), "{error}");

    let mut slots = ours.slots().to_vec();
    slots[1].1 = SlotSpec::Scan {
        len: 48,
        ty: StateType::Bf16,
    };
    let other = Arc::new(Layout::new(ours.model(), slots).unwrap());
    let error = Snapshot::read_from(&bytes[..], &other).unwrap_err();
    assert!(matches!(error, StateFileError::OtherLayout { .. }));
    assert!(error.to_string().contains("layers.0.ssm"), "{error}");

    let mut newer = bytes.clone();
    newer[8] = 2;
    let error = Snapshot::read_from(&newer[..], &ours).unwrap_err();
    assert!(matches!(error, StateFileError::NewerVersion { found: 2 }));
    assert!(!error.is_corruption());
    for foreign in [
        &b""[..],
        b"{}",
        b"\x89SILSTB\n................................",
        &[0; 64],
    ] {
        assert!(matches!(
            Snapshot::read_from(foreign, &ours),
            Err(StateFileError::NotAStateFile)
        ));
    }
    let missing = Snapshot::load("no/such/file", &ours);
    assert!(matches!(missing, Err(StateFileError::Read(_))));
}

/// Claims of huge sizes, in a stream whose end is not known beforehand. If
/// one of them were believed, the allocation would abort the test.
#[test]
fn huge_claims_are_not_believed() {
    let layout = sillage_state::fuzzing::layout();
    let tokens = Meta::default().with_tokens(vec![1, 2]);
    let bytes = written(
        &fed(&layout, &[1, 2]).freeze().with_meta(tokens),
        Precision::Exact,
    );
    let header_end = 32 + codec::inspect_from(&bytes[..]).unwrap().header_bytes as usize;
    let json = String::from_utf8(bytes[32..header_end].to_vec()).unwrap();
    let forge = |json: String, payload: u64| {
        let mut forged = bytes[..8].to_vec();
        forged.extend_from_slice(&1u32.to_le_bytes());
        forged.extend_from_slice(&(json.len() as u32).to_le_bytes());
        forged.extend_from_slice(&payload.to_le_bytes());
        forged.extend_from_slice(&[0; 8]);
        forged.extend_from_slice(json.as_bytes());
        forged.extend_from_slice(&[0; 64]);
        codec::reseal(&mut forged);
        Snapshot::read_from(&forged[..], &layout).unwrap_err()
    };
    let payload = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
    let count = 1u64 << 50;
    let error = forge(
        json.replace("\"count\":2", &format!("\"count\":{count}")),
        payload - 8 + 4 * count,
    );
    assert!(matches!(error, StateFileError::Truncated { .. }), "{error}");
    for positions in [1u64 << 50, (1 << 63) - 1, u64::MAX] {
        let forged = json.replace("\"positions\":2", &format!("\"positions\":{positions}"));
        let error = forge(forged, payload);
        assert!(error.is_corruption(), "{error}");
    }
    for position in [i64::MAX as u64 + 1, u64::MAX] {
        let error = forge(
            json.replace("\"position\":2", &format!("\"position\":{position}")),
            payload,
        );
        assert!(matches!(error, StateFileError::Header(_)), "{error}");
    }
    let error = forge(
        json.replace("\"len\":16", "\"len\":1125899906842624"),
        payload,
    );
    assert!(matches!(error, StateFileError::Header(_)), "{error}");
    let error = forge("[".repeat(100_000), payload);
    assert!(matches!(error, StateFileError::Header(_)), "{error}");
    let mut long = bytes.clone();
    long[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        Snapshot::read_from(&long[..], &layout),
        Err(StateFileError::HeaderTooLong { .. })
    ));
    long[12..24].fill(0xff);
    long[12..16].copy_from_slice(&64u32.to_le_bytes());
    assert!(matches!(
        Snapshot::read_from(&long[..], &layout),
        Err(StateFileError::Header(_))
    ));
}

#[test]
fn long_metadata_is_refused_when_saving() {
    let meta = Meta::default().with("story", "x".repeat(HEADER_LIMIT as usize));
    let snapshot = State::new(layout(b"m")).freeze().with_meta(meta);
    let folder = tempfile::tempdir().unwrap();
    let result = snapshot.save(folder.path().join("a"), Precision::Exact);
    assert!(matches!(result, Err(StateFileError::MetaTooLong { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn files_are_replaced_whole_and_inspected_without_a_model() {
    let layout = layout(b"m");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.state");
    fed(&layout, &[1])
        .freeze()
        .save(&path, Precision::Exact)
        .unwrap();
    let tokens: Vec<u32> = (0..130).collect();
    let meta = Meta::default()
        .with("model", "booklet")
        .with_tokens(tokens.clone());
    let snapshot = fed(&layout, &tokens).freeze().with_meta(meta);
    let saved = snapshot.save(&path, Precision::Exact).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let info = codec::verify(&path).unwrap();
    assert_eq!(info, codec::inspect(&path).unwrap());
    assert_eq!(
        (info.version, info.position, info.tokens),
        (1, 130, Some(130))
    );
    assert_eq!((info.model, info.file_bytes), (layout.model(), saved.bytes));
    assert_eq!(info.slots.len(), layout.slots().len());
    assert_eq!(info.slots[4].positions, Some(130));
    assert_eq!(codec::read_tokens(&path).unwrap(), Some(tokens));
    assert!(
        serde_json::to_string(&info)
            .unwrap()
            .contains("\"kv_heads\":2")
    );
    let loaded = Snapshot::load(&path, &layout).unwrap();
    assert!(loaded.state().bits_eq(snapshot.state()));
    let missing = snapshot.save(folder.path().join("no/such/folder"), Precision::Exact);
    assert!(matches!(missing, Err(StateFileError::Write(_))));
}

/// Takes `room` bytes, then has no more.
struct Full {
    room: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_named() {
    let snapshot = fed(&layout(b"m"), &[1; 100]).freeze();
    let needed = snapshot.file_bytes(Precision::Exact).unwrap();
    for room in [0, 10, 1000, needed as usize - 1] {
        let error = snapshot
            .write_to(Full { room }, Precision::Exact)
            .unwrap_err();
        assert!(matches!(error, StateFileError::DiskFull { needed: n, .. } if n == needed));
    }
    snapshot
        .write_to(
            Full {
                room: needed as usize,
            },
            Precision::Exact,
        )
        .unwrap();
}

#[test]
fn nan_and_negative_zero_survive_bit_for_bit() {
    let layout = layout(b"m");
    let mut state = State::new(Arc::clone(&layout));
    state.conv_mut(0)[..3].copy_from_slice(&[f32::from_bits(0x7fc0_1234), -0.0, f32::NEG_INFINITY]);
    let bytes = written(&state.snapshot(), Precision::Exact);
    let loaded = Snapshot::read_from(&bytes[..], &layout).unwrap();
    assert!(loaded.state().bits_eq(&state));
    assert_eq!(loaded.resume().conv_mut(0)[0].to_bits(), 0x7fc0_1234);
    assert!(!State::new(layout).bits_eq(&state));
}
