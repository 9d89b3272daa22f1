//! A small thread pool whose work is claimed in pieces.
//!
//! A forward pass enters a parallel region a hundred times per token, so the
//! cost of entering one matters more than fairness: workers spin for a moment
//! before they sleep, pieces are claimed from one atomic counter, and the
//! caller waits only for workers that really joined the region. A worker whose
//! core was given to another process therefore costs nothing: its share is
//! done by the others.
//!
//! Which thread runs a piece never changes a result: pieces write disjoint
//! outputs and each output's arithmetic lies within one piece (law 1).

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Spins before a worker goes to sleep; about 30 microseconds.
const SPINS: u32 = 4_000;
/// Spins while waiting for joined workers before the core is offered to others.
const WAIT_SPINS: u32 = 2_000;

/// In `Shared::gate`: the region accepts workers.
const OPEN: u64 = 1 << 31;
/// In `Shared::gate`: one region further (the upper half counts regions).
const EPOCH: u64 = 1 << 32;
/// In `Shared::gate`: how many workers are inside.
const INSIDE: u64 = OPEN - 1;

type Work = *const (dyn Fn(usize) + Sync);

struct Shared {
    /// Region number (upper 32 bits), open flag, workers inside.
    gate: AtomicU64,
    /// The next piece to claim.
    next: AtomicUsize,
    pieces: AtomicUsize,
    work: UnsafeCell<Option<Work>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: AtomicUsize,
    sleep: Mutex<bool>,
    wake: Condvar,
}

// SAFETY: `work` is written only by the owner of the submit lock while the gate
// is closed and nobody is inside, and read only by workers that passed the open
// gate; the gate's acquire/release operations order the two.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is only followed while its referent is kept
// alive by `Pool::run`, which does not return before everybody has left.
unsafe impl Send for Shared {}

/// Threads that run the pieces of one job together with the calling thread.
pub struct Pool {
    shared: Arc<Shared>,
    submit: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} threads)", self.threads())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// A pool in which `threads` threads work, the caller's among them; zero
    /// counts as one. A thread that the system refuses is done without.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            pieces: AtomicUsize::new(0),
            work: UnsafeCell::new(None),
            panic: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(false),
            wake: Condvar::new(),
        });
        let workers = (1..threads.max(1))
            .filter_map(|i| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("sillage-{i}"))
                    .spawn(move || worker(&shared))
                    .ok()
            })
            .collect();
        Self {
            shared,
            submit: Mutex::new(()),
            workers,
        }
    }

    /// How many threads work, the caller's included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work(i)` once for each `i` in `0..pieces`, on any threads in any
    /// order, and returns when all calls have. Calls from several threads queue
    /// up. Must not be called from within `work`.
    ///
    /// # Panics
    /// Passes on the first panic of `work`, after every thread has left it.
    pub fn run(&self, pieces: usize, work: &(dyn Fn(usize) + Sync)) {
        if self.workers.is_empty() || pieces <= 1 {
            (0..pieces).for_each(work);
            return;
        }
        let _turn = lock(&self.submit);
        let shared = &*self.shared;
        // SAFETY: only the lifetime is erased. The reference outlives its use:
        // this function returns (or unwinds) after the gate is closed and
        // `INSIDE` has fallen to zero, so no worker holds the pointer then.
        let erased: Work =
            unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Work>(work) };
        // SAFETY: the gate is closed and empty (end of the previous region) and
        // the submit lock is held, so nobody else touches the cell.
        unsafe { *shared.work.get() = Some(erased) };
        shared.next.store(0, Ordering::Relaxed);
        shared.pieces.store(pieces, Ordering::Relaxed);
        shared.gate.fetch_add(EPOCH | OPEN, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&shared.sleep));
            shared.wake.notify_all();
        }
        let own = catch_unwind(AssertUnwindSafe(|| claim(shared, work)));
        if own.is_err() {
            // Nobody needs the remaining pieces.
            shared.next.store(pieces, Ordering::Relaxed);
        }
        shared.gate.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0;
        while shared.gate.load(Ordering::Acquire) & INSIDE != 0 {
            spins += 1;
            if spins < WAIT_SPINS {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        let theirs = lock(&shared.panic).take();
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        *lock(&self.shared.sleep) = true;
        self.shared.gate.fetch_add(EPOCH, Ordering::SeqCst);
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker cannot panic outside `catch_unwind`; if it did, there is
            // nothing left to save here.
            let _ = worker.join();
        }
    }
}

/// Runs pieces until none is left.
fn claim(shared: &Shared, work: &(dyn Fn(usize) + Sync)) {
    let pieces = shared.pieces.load(Ordering::Relaxed);
    loop {
        let piece = shared.next.fetch_add(1, Ordering::Relaxed);
        if piece >= pieces {
            return;
        }
        work(piece);
    }
}

fn worker(shared: &Shared) {
    let mut seen = 0;
    while let Some(gate) = wait_for_region(shared, seen) {
        seen = gate >> 32;
        if !enter(shared, seen) {
            continue;
        }
        // SAFETY: we are inside an open region: `work` was set before the gate
        // opened, and `Pool::run` keeps the referent alive until we leave.
        let work = unsafe { (*shared.work.get()).map(|work| &*work) };
        if let Some(work) = work
            && let Err(panic) = catch_unwind(AssertUnwindSafe(|| claim(shared, work)))
        {
            shared.next.store(usize::MAX / 2, Ordering::Relaxed);
            lock(&shared.panic).get_or_insert(panic);
        }
        shared.gate.fetch_sub(1, Ordering::Release);
    }
}

/// Joins region `epoch` if it is still open.
fn enter(shared: &Shared, epoch: u64) -> bool {
    let mut gate = shared.gate.load(Ordering::Relaxed);
    loop {
        if gate & OPEN == 0 || gate >> 32 != epoch {
            return false;
        }
        match shared.gate.compare_exchange_weak(
            gate,
            gate + 1,
            Ordering::Acquire,
            Ordering::Relaxed,
        ) {
            Ok(_) => return true,
            Err(now) => gate = now,
        }
    }
}

/// The gate's value once it has moved past region `seen`; `None` to end.
fn wait_for_region(shared: &Shared, seen: u64) -> Option<u64> {
    for _ in 0..SPINS {
        let gate = shared.gate.load(Ordering::Acquire);
        if gate >> 32 != seen {
            return Some(gate).filter(|_| gate & OPEN != 0 || !*lock(&shared.sleep));
        }
        std::hint::spin_loop();
    }
    let mut stop = lock(&shared.sleep);
    shared.sleepers.fetch_add(1, Ordering::SeqCst);
    let result = loop {
        if *stop {
            break None;
        }
        let gate = shared.gate.load(Ordering::SeqCst);
        if gate >> 32 != seen {
            break Some(gate);
        }
        stop = shared
            .wake
            .wait(stop)
            .unwrap_or_else(PoisonError::into_inner);
    };
    shared.sleepers.fetch_sub(1, Ordering::SeqCst);
    result
}

/// A pointer to a mutable slice whose disjoint parts several threads write.
///
/// The one way kernels hand an output to [`Pool::run`]'s pieces.
#[derive(Clone, Copy)]
pub(crate) struct Shards<T> {
    start: *mut T,
    len: usize,
}

// SAFETY: a `Shards` is only a pointer; `slice` puts the duty of disjointness
// on its caller.
unsafe impl<T: Send> Sync for Shards<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shards<T> {}

impl<T> Shards<T> {
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
        }
    }

    /// Elements `at..at + len`.
    ///
    /// # Safety
    /// No two live slices may overlap, and the slice given to `new` must not be
    /// used until all of them are gone.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice<'a>(&self, at: usize, len: usize) -> &'a mut [T] {
        assert!(
            at.checked_add(len).is_some_and(|end| end <= self.len),
            "shard out of range"
        );
        // SAFETY: in range by the check above; disjointness by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
    }

    /// Where elements `at..at + len` begin, for pieces whose elements lie
    /// between those of others.
    pub(crate) fn pointer(&self, at: usize, len: usize) -> *mut T {
        assert!(
            at.checked_add(len).is_some_and(|end| end <= self.len),
            "shard out of range"
        );
        self.start.wrapping_add(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_runs_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads);
            for pieces in [0, 1, 2, 7, 1000] {
                let counts: Vec<AtomicUsize> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
                pool.run(pieces, &|i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn regions_follow_each_other_after_sleep() {
        let pool = Pool::new(3);
        let total = AtomicUsize::new(0);
        for round in 0..200 {
            if round % 50 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            pool.run(9, &|i| {
                total.fetch_add(i, Ordering::Relaxed);
            });
        }
        assert_eq!(total.load(Ordering::Relaxed), 200 * 36);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(2);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            pool.run(8, &|i| assert!(i != 3, "three"))
        }));
        assert!(caught.is_err());
        let ran = AtomicUsize::new(0);
        pool.run(8, &|_| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ran.load(Ordering::Relaxed), 8);
    }

    #[test]
    fn several_callers_share_one_pool() {
        let pool = Pool::new(2);
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        pool.run(4, &|_| {
                            total.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 600);
    }
}
