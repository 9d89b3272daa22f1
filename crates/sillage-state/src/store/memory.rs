//! The snapshots in memory, and what they truly occupy.

use super::{Key, Used};
use crate::snapshot::Snapshot;
use std::collections::{BTreeMap, HashMap};

/// One allocation, and how many snapshots of the store share it.
#[derive(Clone, Copy, Debug)]
struct Block {
    holders: usize,
    bytes: u64,
}

/// Snapshots by key. An allocation shared by several counts once.
#[derive(Debug, Default)]
pub(super) struct Memory {
    entries: HashMap<Key, (Snapshot, Used)>,
    order: BTreeMap<u64, Key>,
    /// By address: the store keeps what it counts alive, so addresses hold.
    blocks: HashMap<usize, Block>,
    used: u64,
}

impl Memory {
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        self.entries.contains_key(&key)
    }

    pub(super) fn peek(&self, key: Key) -> Option<&Snapshot> {
        self.entries.get(&key).map(|(snapshot, _)| snapshot)
    }

    pub(super) fn get(&self, key: Key) -> Option<(Snapshot, Used)> {
        self.entries.get(&key).cloned()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Snapshot)> {
        self.entries
            .iter()
            .map(|(&key, (snapshot, _))| (key, snapshot))
    }

    pub(super) fn newest_first(&self) -> Vec<(Key, Snapshot, Used)> {
        let keys = self.order.values().rev();
        let entries = keys.filter_map(|&key| Some((key, self.entries.get(&key)?)));
        entries
            .map(|(key, (snapshot, used))| (key, snapshot.clone(), *used))
            .collect()
    }

    pub(super) fn touch(&mut self, key: Key, now: Used) {
        if let Some((_, used)) = self.entries.get_mut(&key) {
            self.order.remove(&used.tick);
            *used = now;
            self.order.insert(now.tick, key);
        }
    }

    /// Which snapshots, least recently used first, must leave so that
    /// `snapshot` fits into `budget`; `None` if it never does.
    ///
    /// A victim frees only what nobody else holds, the newcomer included.
    pub(super) fn plan(&self, snapshot: &Snapshot, budget: u64) -> Option<Vec<Key>> {
        let mut holders: HashMap<usize, usize> = HashMap::new();
        let mut used = self.used;
        for (address, bytes) in snapshot.blocks() {
            let known = self.blocks.get(&address).map_or(0, |block| block.holders);
            let held = holders.entry(address).or_insert(known);
            if *held == 0 {
                used = used.saturating_add(bytes);
            }
            *held += 1;
        }
        let mut victims = Vec::new();
        let mut oldest = self.order.values();
        while used > budget {
            let key = *oldest.next()?;
            let victim = self.peek(key)?;
            for (address, bytes) in victim.blocks() {
                let known = self.blocks.get(&address).map_or(0, |block| block.holders);
                let held = holders.entry(address).or_insert(known);
                *held = held.saturating_sub(1);
                if *held == 0 {
                    used = used.saturating_sub(bytes);
                }
            }
            victims.push(key);
        }
        Some(victims)
    }

    /// Adds a snapshot under a key that is free.
    pub(super) fn insert(&mut self, key: Key, snapshot: Snapshot, now: Used) {
        self.remove(key);
        for (address, bytes) in snapshot.blocks() {
            let block = self
                .blocks
                .entry(address)
                .or_insert(Block { holders: 0, bytes });
            if block.holders == 0 {
                self.used += bytes;
            }
            block.holders += 1;
        }
        self.order.insert(now.tick, key);
        self.entries.insert(key, (snapshot, now));
    }

    pub(super) fn remove(&mut self, key: Key) -> bool {
        let Some((snapshot, used)) = self.entries.remove(&key) else {
            return false;
        };
        self.order.remove(&used.tick);
        for (address, _) in snapshot.blocks() {
            if let Some(block) = self.blocks.get_mut(&address) {
                block.holders -= 1;
                if block.holders == 0 {
                    self.used -= block.bytes;
                    self.blocks.remove(&address);
                }
            }
        }
        true
    }
}
