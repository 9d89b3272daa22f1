//! Aligned memory for weights and states.
//!
//! Weights are streamed once per token, so what limits decoding is how fast
//! memory can be read, and address translation is a real part of that: 2 MiB
//! pages gave 20 to 35 % more bandwidth than 4 KiB pages where this was
//! measured. Large buffers therefore start on a 2 MiB boundary and ask the
//! system for huge pages before they are first touched; small ones start on a
//! cache line. The weights of a layer may be smaller than such a page, so
//! [`Buffer::pooled`] places long-lived buffers side by side in large slabs.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Alignment of every buffer: a cache line, and a whole AVX-512 vector.
pub const ALIGN: usize = 64;
const HUGE_PAGE: usize = 2 << 20;
/// Bytes of a slab of pooled buffers.
const SLAB: usize = 32 << 20;
/// Bytes from which buffers are pooled.
const POOLED: usize = 64 << 10;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for u16 {}
    impl Sealed for u8 {}
    impl Sealed for i8 {}
    impl Sealed for i32 {}
    impl Sealed for u32 {}
}

/// Plain numbers: any bit pattern is valid, all-zero bits mean zero.
pub trait Plain: Copy + Send + Sync + Default + 'static + sealed::Sealed {}
impl Plain for f32 {}
impl Plain for u16 {}
impl Plain for u8 {}
impl Plain for i8 {}
impl Plain for i32 {}
impl Plain for u32 {}

/// A fixed-length array of plain numbers, aligned to 64 bytes, in huge pages
/// when it is large.
pub struct Buffer<T: Plain> {
    start: NonNull<T>,
    len: usize,
    /// The slab the memory is part of; `None` if it is the buffer's own.
    slab: Option<Arc<Slab>>,
}

// SAFETY: a `Buffer` owns its memory like a `Box<[T]>` of plain numbers.
unsafe impl<T: Plain> Send for Buffer<T> {}
// SAFETY: as above; shared access is read-only.
unsafe impl<T: Plain> Sync for Buffer<T> {}

impl<T: Plain> Buffer<T> {
    /// A buffer of `len` zeros.
    ///
    /// # Panics
    /// Aborts like `Vec` when memory is exhausted; panics if `len` elements
    /// exceed the address space.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        if len == 0 {
            return Self {
                start: NonNull::dangling(),
                len: 0,
                slab: None,
            };
        }
        let layout = Self::layout(len);
        let start = allocate(layout);
        // SAFETY: the memory was just allocated with this size. Zeros are
        // written only now, since the first touch decides the size of a page.
        unsafe { start.write_bytes(0, layout.size()) };
        Self {
            start: start.cast(),
            len,
            slab: None,
        }
    }

    /// A buffer of `len` zeros that will live long, such as weights: it shares
    /// huge pages with others, and its memory is returned to the system when
    /// the last buffer in its slab is gone.
    ///
    /// # Panics
    /// As [`Buffer::zeroed`].
    #[must_use]
    pub fn pooled(len: usize) -> Self {
        let bytes = Self::layout(len.max(1)).size();
        if !(POOLED..SLAB / 2).contains(&bytes) {
            return Self::zeroed(len);
        }
        let (slab, start) = Slab::take(bytes);
        // SAFETY: `bytes` bytes of the slab are ours alone.
        unsafe { start.write_bytes(0, bytes) };
        Self {
            start: start.cast(),
            len,
            slab: Some(slab),
        }
    }

    /// A buffer holding a copy of `values`.
    #[must_use]
    pub fn from_slice(values: &[T]) -> Self {
        let mut buffer = Self::zeroed(values.len());
        buffer.copy_from_slice(values);
        buffer
    }

    fn layout(len: usize) -> Layout {
        let bytes = len.checked_mul(size_of::<T>());
        let layout = bytes.and_then(|bytes| {
            let align = if bytes >= HUGE_PAGE { HUGE_PAGE } else { ALIGN };
            Layout::from_size_align(bytes, align).ok()
        });
        #[allow(
            clippy::expect_used,
            reason = "as Vec: no such amount of memory exists"
        )]
        layout.expect("buffer larger than the address space")
    }
}

/// Uninitialised memory of a layout that is not empty.
fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: no caller's layout is empty.
    let start = unsafe { alloc(layout) };
    let Some(start) = NonNull::new(start) else {
        handle_alloc_error(layout)
    };
    advise_huge_pages(start, layout.size());
    start
}

/// Memory that several buffers share.
struct Slab {
    start: NonNull<u8>,
}

// SAFETY: a slab is only memory that its buffers divide up.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Slab {
    /// The slab with room at its end, and how much of it is taken.
    fn newest() -> &'static Mutex<(Weak<Self>, usize)> {
        static NEWEST: Mutex<(Weak<Slab>, usize)> = Mutex::new((Weak::new(), 0));
        &NEWEST
    }

    const LAYOUT: Layout = match Layout::from_size_align(SLAB, HUGE_PAGE) {
        Ok(layout) => layout,
        Err(_) => panic!("a size and a power of two"),
    };

    /// `bytes <= SLAB` bytes that nobody else has, and the slab they are in.
    fn take(bytes: usize) -> (Arc<Self>, NonNull<u8>) {
        let mut newest = Self::newest()
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let bytes = bytes.next_multiple_of(ALIGN);
        let slab = newest.0.upgrade().filter(|_| newest.1 + bytes <= SLAB);
        let slab = slab.unwrap_or_else(|| {
            let slab = Arc::new(Self {
                start: allocate(Self::LAYOUT),
            });
            *newest = (Arc::downgrade(&slab), 0);
            slab
        });
        // SAFETY: `newest.1 + bytes <= SLAB`: checked, or zero plus less than
        // the whole.
        let start = unsafe { slab.start.add(newest.1) };
        newest.1 += bytes;
        (slab, start)
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: allocated in `take` with this very layout.
        unsafe { dealloc(self.start.as_ptr(), Self::LAYOUT) };
    }
}

/// Asks for 2 MiB pages; a refusal costs speed only, so it is ignored.
fn advise_huge_pages(start: NonNull<u8>, bytes: usize) {
    #[cfg(target_os = "linux")]
    if bytes >= HUGE_PAGE {
        // SAFETY: the range was just allocated by us and is 2 MiB aligned;
        // the advice changes no contents.
        unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, bytes);
}

impl<T: Plain> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.len > 0 && self.slab.is_none() {
            // SAFETY: allocated in `zeroed` with this very layout.
            unsafe { dealloc(self.start.as_ptr().cast(), Self::layout(self.len)) };
        }
    }
}

impl<T: Plain> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `start` is valid for `len` initialised elements (zeroed at
        // birth), or dangling and well aligned when `len` is zero.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Plain> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T: Plain> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        let mut buffer = match self.slab {
            Some(_) => Self::pooled(self.len),
            None => Self::zeroed(self.len),
        };
        buffer.copy_from_slice(self);
        buffer
    }
}

impl<T: Plain> Default for Buffer<T> {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl<T: Plain> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer<{}>[{}]", std::any::type_name::<T>(), self.len)
    }
}

/// Gives memory that is not in use back to the system, where the C library can
/// be asked to: states come and go in pieces that leave holes between others.
/// Takes milliseconds a gigabyte.
pub fn release_unused() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointers and walks the allocator's lists under its locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroed_aligned_and_cloned() {
        for len in [0, 1, 17, 4096, HUGE_PAGE] {
            let mut a = Buffer::<f32>::zeroed(len);
            assert!(a.iter().all(|&v| v == 0.0));
            if len > 0 {
                assert_eq!(a.as_ptr() as usize % ALIGN, 0);
                a[len - 1] = 3.0;
            }
            assert_eq!(&*a.clone(), &*a);
        }
    }

    #[test]
    fn pooled_buffers_do_not_touch() {
        let mut all = Vec::new();
        for round in 0..3u8 {
            for len in [0, 1, POOLED, POOLED + 3, 5 << 20, 20 << 20] {
                let mut buffer = Buffer::<u8>::pooled(len);
                assert!(buffer.iter().all(|&v| v == 0));
                buffer.fill(round + 1);
                all.push((round + 1, buffer));
            }
            all.retain(|(mark, _)| *mark != 2);
        }
        for (mark, buffer) in &all {
            assert!(buffer.iter().all(|v| v == mark));
            assert!(buffer.is_empty() || (buffer.as_ptr() as usize).is_multiple_of(ALIGN));
        }
    }
}
