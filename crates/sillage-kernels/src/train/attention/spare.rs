//! Working memory as long as the sequences, kept from call to call: each layer
//! of each step wants the same again, and fetching pages from the system would
//! cost a tenth of the time at short lengths.

use crate::Buffer;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};

thread_local! {
    static KEPT: Cell<Vec<Buffer<f32>>> = const { Cell::new(Vec::new()) };
}

/// Floats of whatever content, which go back when this is dropped.
pub(super) struct Spare {
    buffer: Buffer<f32>,
    len: usize,
}

impl Spare {
    pub(super) fn take(len: usize) -> Self {
        let mut kept = KEPT.take();
        let buffer = if let Some(i) = kept.iter().position(|kept| kept.len() >= len) {
            kept.swap_remove(i)
        } else {
            // A shorter one makes room: no more are kept than were ever in use
            // at the same time.
            kept.pop();
            Buffer::zeroed(len)
        };
        KEPT.set(kept);
        Self { buffer, len }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        let mut kept = KEPT.take();
        kept.push(std::mem::take(&mut self.buffer));
        KEPT.set(kept);
    }
}

impl Deref for Spare {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.buffer[..self.len]
    }
}

impl DerefMut for Spare {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.buffer[..self.len]
    }
}
