//! Stores: budgets, eviction, restart, threads.
#![allow(clippy::unwrap_used)]

mod common;

use common::{fed, feed, layout};
use proptest::prelude::*;
use sillage_state::store::{DiskOptions, Placed};
use sillage_state::{
    Key, Layout, Meta, Precision, Snapshot, StateFileError, StateStore, Store, StoreError,
    StoreOptions,
};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

fn open(
    layout: &Arc<Layout>,
    memory: u64,
    disk: Option<(&Path, u64)>,
    write_through: bool,
) -> Store {
    let disk = disk.map(|(folder, bytes)| DiskOptions {
        folder: folder.to_owned(),
        bytes,
    });
    Store::open(
        Arc::clone(layout),
        StoreOptions {
            memory_bytes: memory,
            disk,
            write_through,
        },
    )
    .unwrap()
}

fn key(n: u32) -> Key {
    Key::of_tokens(0, &[n])
}

fn one(layout: &Arc<Layout>, n: u32) -> Snapshot {
    fed(layout, &[n, n + 1]).freeze()
}

/// Bytes of the state files in a folder.
fn disk_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_name() != ".lock");
    files.map(|entry| entry.metadata().unwrap().len()).sum()
}

/// What one of `one`'s snapshots costs in memory and on disk.
fn costs(layout: &Arc<Layout>) -> (u64, u64) {
    let store = open(layout, u64::MAX, None, false);
    store.insert(key(0), one(layout, 0)).unwrap();
    (
        store.usage().memory_bytes,
        one(layout, 0).file_bytes(Precision::Exact).unwrap(),
    )
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, usize),
    Get(u32),
    Remove(u32),
    Flush,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u32..12, 0usize..200).prop_map(|(key, len)| Step::Insert(key, len)),
        4 => (0u32..12).prop_map(Step::Get),
        1 => (0u32..12).prop_map(Step::Remove),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever happens, budgets hold, and what comes back is what went in.
    #[test]
    fn budgets_hold_and_nothing_is_mixed_up(
        steps in prop::collection::vec(step(), 1..50),
        memory in 0u64..300_000,
        disk in 0u64..300_000,
        write_through: bool,
    ) {
        let layout = layout(b"m");
        let folder = tempfile::tempdir().unwrap();
        let open = || open(&layout, memory, Some((folder.path(), disk)), write_through);
        let mut store = open();
        let mut model: HashMap<u32, Snapshot> = HashMap::new();
        let base = fed(&layout, &[9; 100]);
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert(n, len) => {
                    // Half of them share the pages of a common prefix.
                    let mut state = if n % 2 == 0 { base.fork() } else { fed(&layout, &[]) };
                    feed(&mut state, &vec![n + 100 * number as u32; len]);
                    let snapshot = state.freeze();
                    let placed = store.insert(key(n), snapshot.clone()).unwrap();
                    prop_assert_eq!(placed != Placed::Nowhere, store.contains(key(n)));
                    model.insert(n, snapshot);
                }
                Step::Get(n) => {
                    let had = store.contains(key(n));
                    let found = store.get(key(n));
                    prop_assert_eq!(had, found.is_some());
                    if let Some(found) = found {
                        prop_assert!(found.state().bits_eq(model[&n].state()));
                    }
                }
                Step::Remove(n) => {
                    prop_assert_eq!(store.contains(key(n)), store.remove(key(n)));
                    prop_assert!(!store.contains(key(n)));
                    model.remove(&n);
                }
                Step::Flush => { store.flush(); }
                Step::Reopen => {
                    store.flush();
                    let before = store.entries();
                    drop(store);
                    store = open();
                    for entry in before {
                        prop_assert_eq!(entry.on_disk, store.contains(entry.key));
                    }
                }
            }
            let usage = store.usage();
            prop_assert!(usage.memory_bytes <= memory);
            prop_assert!(usage.disk_bytes <= disk);
            prop_assert_eq!(usage.disk_bytes, disk_bytes(folder.path()));
            let entries = store.entries();
            prop_assert_eq!(entries.iter().filter(|e| e.in_memory).count() as u64, usage.memory_entries);
            prop_assert_eq!(entries.iter().filter(|e| e.on_disk).count() as u64, usage.disk_entries);
            prop_assert_eq!(usage.memory_entries == 0, usage.memory_bytes == 0);
        }
        prop_assert!(store.take_warnings().is_empty());
    }
}

#[test]
fn the_least_recently_used_goes_to_disk_and_then_away() {
    let layout = layout(b"m");
    let (memory, file) = costs(&layout);
    let folder = tempfile::tempdir().unwrap();
    let store = open(&layout, 2 * memory, Some((folder.path(), 2 * file)), false);
    for n in 0..4 {
        assert_eq!(
            store.insert(key(n), one(&layout, n)).unwrap(),
            Placed::Memory
        );
    }
    let tier = |n| {
        let entry = store
            .entries()
            .into_iter()
            .find(|entry| entry.key == key(n));
        entry.map(|entry| (entry.in_memory, entry.on_disk))
    };
    assert_eq!(
        [0, 1, 2, 3].map(tier),
        [
            Some((false, true)),
            Some((false, true)),
            Some((true, false)),
            Some((true, false))
        ]
    );
    // 0 is used and comes back to memory; 2 makes way for it, and 1 for 2.
    assert!(
        store
            .get(key(0))
            .unwrap()
            .state()
            .bits_eq(one(&layout, 0).state())
    );
    assert_eq!(
        [0, 1, 2, 3].map(tier),
        [
            Some((true, true)),
            None,
            Some((false, true)),
            Some((true, false))
        ]
    );
    let usage = store.usage();
    assert_eq!(
        (usage.disk_hits, usage.memory_hits, usage.dropped),
        (1, 0, 1)
    );
    assert!(store.get(key(1)).is_none());
    assert_eq!(store.usage().misses, 1);
}

#[test]
fn shared_pages_are_counted_once() {
    let layout = layout(b"m");
    let mut state = fed(&layout, &[1; 640]);
    let store = open(&layout, u64::MAX, None, false);
    store.insert(key(0), state.snapshot()).unwrap();
    let first = store.usage().memory_bytes;
    for n in 1..10 {
        feed(&mut state, &[n; 64]);
        store.insert(key(n), state.snapshot()).unwrap();
    }
    let separate: u64 = (0..10).map(|n| store.get(key(n)).unwrap().bytes()).sum();
    let used = store.usage().memory_bytes;
    // Each holds its fixed slots, one new page a cache, and its bookkeeping.
    let each = layout.fixed_bytes() + 64 * layout.bytes_per_token() + 1000;
    assert!(
        used - first <= 9 * each && used * 5 < separate,
        "{first} {used} {separate}"
    );
    // The same snapshot under a second key costs nothing more.
    store.insert(key(20), store.get(key(3)).unwrap()).unwrap();
    assert_eq!(store.usage().memory_bytes, used);
    for n in 0..10 {
        store.remove(key(n));
    }
    store.remove(key(20));
    assert_eq!(store.usage().memory_bytes, 0);
}

#[test]
fn a_restart_finds_everything_and_keeps_the_order_of_use() {
    let layout = layout(b"m");
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = costs(&layout);
    let store = open(&layout, 1 << 30, Some((folder.path(), 1 << 30)), false);
    for n in 0..5 {
        let tokens = Meta::default().with_tokens(vec![n, n + 1]);
        store
            .insert(key(n), one(&layout, n).with_meta(tokens))
            .unwrap();
    }
    store.get(key(0)).unwrap();
    assert_eq!(disk_bytes(folder.path()), 0);
    drop(store);
    // Room for three only: 1 and 2 were not used for the longest time.
    let store = open(&layout, 0, Some((folder.path(), 3 * file + 600)), false);
    assert_eq!(
        [0, 1, 2, 3, 4].map(|n| store.contains(key(n))),
        [true, false, false, true, true]
    );
    assert_eq!(store.tokens(key(3)).as_deref(), Some(&[3, 4][..]));
    assert!(
        store
            .get(key(4))
            .unwrap()
            .state()
            .bits_eq(one(&layout, 4).state())
    );
    assert!(store.entries().iter().all(|entry| entry.position == 2));
    assert!(store.take_warnings().is_empty());
}

#[test]
fn damage_is_reported_and_done_without() {
    let layout = layout(b"m");
    let folder = tempfile::tempdir().unwrap();
    let store = open(&layout, 0, Some((folder.path(), 1 << 30)), false);
    for n in 0..4 {
        assert_eq!(store.insert(key(n), one(&layout, n)).unwrap(), Placed::Disk);
    }
    drop(store);
    let named = |n: u32| {
        let entries = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries
            .into_iter()
            .find(|path| path.to_string_lossy().contains(&key(n).to_string()))
            .unwrap()
    };
    // 0 is cut off, 1 has a wrong bit far inside; a writer died; a user's note.
    let bytes = std::fs::read(named(0)).unwrap();
    std::fs::write(named(0), &bytes[..bytes.len() - 1]).unwrap();
    let mut bytes = std::fs::read(named(1)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(named(1), bytes).unwrap();
    std::fs::write(folder.path().join(".x.state.1-1.partial"), "half").unwrap();
    std::fs::write(folder.path().join("note.txt"), "mine").unwrap();

    let store = open(&layout, 0, Some((folder.path(), 1 << 30)), false);
    let warnings = store.take_warnings();
    assert_eq!(warnings.len(), 1);
    assert!(matches!(warnings[0].error, StateFileError::Truncated { .. }) && warnings[0].removed);
    assert!(store.get(key(0)).is_none());
    assert!(store.get(key(1)).is_none());
    let warnings = store.take_warnings();
    assert!(
        matches!(warnings[0].error, StateFileError::Checksum { .. }),
        "{}",
        warnings[0]
    );
    assert!(store.get(key(2)).is_some() && store.get(key(3)).is_some());
    // A file that vanishes is a miss, not a failure.
    std::fs::remove_file(named(2)).unwrap();
    assert!(store.get(key(2)).is_none() && !store.contains(key(2)));
    assert_eq!(store.take_warnings().len(), 1);
    drop(store);
    let mut left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left.len(), 3, "{left:?}");
    assert_eq!(left[2], "note.txt");
}

#[test]
fn models_share_a_folder_and_its_budget() {
    let (a, b) = (layout(b"a"), layout(b"b"));
    let (_, file) = costs(&a);
    let folder = tempfile::tempdir().unwrap();
    let store = open(&a, 0, Some((folder.path(), 3 * file)), false);
    store.insert(key(0), one(&a, 0)).unwrap();
    store.insert(key(1), one(&a, 1)).unwrap();
    assert!(matches!(
        store.insert(key(1), one(&b, 1)),
        Err(StoreError::OtherLayout)
    ));
    let busy = StoreOptions {
        disk: Some(DiskOptions {
            folder: folder.path().into(),
            bytes: 1,
        }),
        ..Default::default()
    };
    assert!(matches!(
        Store::open(Arc::clone(&a), busy),
        Err(StoreError::InUse { .. })
    ));
    drop(store);
    let store = open(&b, 0, Some((folder.path(), 3 * file)), false);
    assert!(!store.contains(key(0)));
    assert_eq!(
        (store.usage().disk_bytes, store.usage().disk_entries),
        (2 * file, 0)
    );
    for n in 0..2 {
        assert_eq!(store.insert(key(n), one(&b, n)).unwrap(), Placed::Disk);
    }
    assert_eq!(
        (store.usage().disk_bytes, store.usage().disk_entries),
        (3 * file, 2)
    );
    drop(store);
    let store = open(&a, 0, Some((folder.path(), 3 * file)), false);
    assert_eq!(
        (store.contains(key(0)), store.contains(key(1))),
        (false, true)
    );
}

#[test]
fn what_is_too_large_is_kept_nowhere() {
    let layout = layout(b"m");
    let folder = tempfile::tempdir().unwrap();
    let store = open(&layout, 100, Some((folder.path(), 100)), true);
    assert_eq!(
        store.insert(key(0), one(&layout, 0)).unwrap(),
        Placed::Nowhere
    );
    assert!(store.get(key(0)).is_none());
}

#[cfg(unix)]
#[test]
fn a_folder_that_refuses_files_costs_only_the_files() {
    let layout = layout(b"m");
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("states");
    let (memory, _) = costs(&layout);
    let store = open(&layout, memory, Some((&inner, 1 << 30)), false);
    store.insert(key(0), one(&layout, 0)).unwrap();
    std::fs::remove_dir_all(&inner).unwrap();
    assert_eq!(
        store.insert(key(1), one(&layout, 1)).unwrap(),
        Placed::Memory
    );
    assert!(matches!(
        store.take_warnings()[0].error,
        StateFileError::Write(_)
    ));
    assert!(store.get(key(1)).is_some() && store.get(key(0)).is_none());
}

#[test]
fn threads_share_a_store() {
    let layout = layout(b"m");
    let (memory, file) = costs(&layout);
    let folder = tempfile::tempdir().unwrap();
    let store = open(&layout, 5 * memory, Some((folder.path(), 8 * file)), false);
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let (store, layout) = (&store, &layout);
            scope.spawn(move || {
                for round in 0..60u32 {
                    let n = (round * 7 + thread * 3) % 16;
                    match store.get(key(n)) {
                        Some(found) => assert!(found.state().bits_eq(one(layout, n).state())),
                        None => assert!(
                            store.insert(key(n), one(layout, n)).unwrap() != Placed::Nowhere
                        ),
                    }
                    let usage = store.usage();
                    assert!(usage.memory_bytes <= 5 * memory && usage.disk_bytes <= 8 * file);
                }
            });
        }
    });
    assert!(store.take_warnings().is_empty());
    assert_eq!(store.usage().disk_bytes, disk_bytes(folder.path()));
}
