//! Working memory of one thread.

use crate::Buffer;
use std::cell::Cell;

thread_local! {
    static SPARE: Cell<Buffer<f32>> = Cell::new(Buffer::default());
}

/// Calls `work` with `len` floats of whatever content, kept from call to call:
/// a kernel's scratch is small, and fetching it from the system would cost more
/// than filling it.
pub(crate) fn with<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = SPARE.take();
    if buffer.len() < len {
        buffer = Buffer::zeroed(len);
    }
    let result = work(&mut buffer[..len]);
    SPARE.set(buffer);
    result
}
