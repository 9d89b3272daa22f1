//! The live state of one running session.

use crate::bits::{self, Hashing};
use crate::kv::KvCache;
use crate::layout::{Layout, SlotSpec, StateType};
use crate::snapshot::Snapshot;
use sillage_kernels::{Buffer, Plain, StateMut};
use std::fmt;
use std::sync::Arc;

/// The numbers of a slot or page, to read.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// In f32.
    F32(&'a [f32]),
    /// In bf16, as bit patterns.
    Bf16(&'a [u16]),
}

impl Values<'_> {
    /// Equal bit for bit (so a NaN equals itself, and -0 is not 0).
    fn bits_eq(&self, other: &Values<'_>) -> bool {
        match (self, other) {
            (Values::F32(a), Values::F32(b)) => {
                a.len() == b.len() && a.iter().zip(*b).all(|(a, b)| a.to_bits() == b.to_bits())
            }
            (Values::Bf16(a), Values::Bf16(b)) => a == b,
            _ => false,
        }
    }
}

#[derive(Clone)]
pub(crate) enum Slot {
    F32(Arc<Buffer<f32>>),
    Bf16(Arc<Buffer<u16>>),
    Kv(KvCache),
}

impl Slot {
    fn new(spec: &SlotSpec) -> Self {
        match *spec {
            SlotSpec::Conv { channels, d_conv } => {
                Self::F32(Arc::new(Buffer::zeroed(channels * (d_conv - 1))))
            }
            SlotSpec::Scan {
                len,
                ty: StateType::F32,
            } => Self::F32(Arc::new(Buffer::zeroed(len))),
            SlotSpec::Scan {
                len,
                ty: StateType::Bf16,
            } => Self::Bf16(Arc::new(Buffer::zeroed(len))),
            SlotSpec::Kv { shape, ty, window } => Self::Kv(KvCache::new(shape, ty, window)),
        }
    }
}

/// Everything a running model remembers of one session.
///
/// Forks share memory until one of them writes. A state is bound to its
/// [`Layout`], and so to one model.
#[derive(Clone)]
pub struct State {
    layout: Arc<Layout>,
    pub(crate) slots: Vec<Slot>,
    position: u64,
    lossy: bool,
}

impl State {
    /// The state before the first token.
    #[must_use]
    pub fn new(layout: Arc<Layout>) -> Self {
        let slots = layout
            .slots()
            .iter()
            .map(|(_, spec)| Slot::new(spec))
            .collect();
        Self {
            layout,
            slots,
            position: 0,
            lossy: false,
        }
    }

    /// What this state is made of.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Whether this state can be fed to a model whose layout is `layout`.
    #[must_use]
    pub fn fits(&self, layout: &Arc<Layout>) -> bool {
        Arc::ptr_eq(&self.layout, layout) || self.layout.id() == layout.id()
    }

    /// A second state that goes on from here, independent of this one.
    /// Nothing is copied until one of the two writes.
    #[must_use]
    pub fn fork(&self) -> Self {
        self.clone()
    }

    /// Freezes this state for sharing and saving.
    #[must_use]
    pub fn freeze(self) -> Snapshot {
        Snapshot::new(self)
    }

    /// A frozen copy of this moment; this state goes on.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.fork().freeze()
    }

    /// Tokens consumed so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether this state, or one it descends from, went through a bf16
    /// file, so that it may differ from the state of an undisturbed session.
    #[must_use]
    pub fn is_lossy(&self) -> bool {
        self.lossy
    }

    /// Counts `n` more tokens as consumed. The model calls this once, after
    /// it has fed them to every slot; attention then lets go of the pages
    /// that have left its window.
    pub fn advance(&mut self, n: u64) {
        self.position = self.position.saturating_add(n);
        for slot in &mut self.slots {
            if let Slot::Kv(cache) = slot {
                cache.trim();
            }
        }
    }

    pub(crate) fn restored(mut self, position: u64, lossy: bool) -> Self {
        self.position = position;
        self.lossy = lossy;
        self
    }

    /// The window of a convolution, `[d_conv - 1, channels]`, oldest first.
    ///
    /// # Panics
    /// If slot number `slot` is not a convolution: an error of the model's
    /// author, which no input can cause.
    #[track_caller]
    pub fn conv_mut(&mut self, slot: usize) -> &mut [f32] {
        let is_conv = matches!(
            self.layout.slots().get(slot),
            Some((_, SlotSpec::Conv { .. }))
        );
        match self.slots.get_mut(slot) {
            Some(Slot::F32(values)) if is_conv => own(values),
            _ => wrong_slot(&self.layout, slot, "a convolution"),
        }
    }

    /// The state of a scan, in its kernel's order.
    ///
    /// # Panics
    /// If slot number `slot` is not a scan, as for [`State::conv_mut`].
    #[track_caller]
    pub fn scan_mut(&mut self, slot: usize) -> StateMut<'_> {
        let is_scan = matches!(
            self.layout.slots().get(slot),
            Some((_, SlotSpec::Scan { .. }))
        );
        match self.slots.get_mut(slot) {
            Some(Slot::F32(values)) if is_scan => StateMut::F32(own(values)),
            Some(Slot::Bf16(values)) if is_scan => StateMut::Bf16(own(values)),
            _ => wrong_slot(&self.layout, slot, "a scan"),
        }
    }

    /// The keys and values of an attention layer.
    ///
    /// # Panics
    /// If slot number `slot` is not a KV cache, as for [`State::conv_mut`].
    #[must_use]
    #[track_caller]
    pub fn kv(&self, slot: usize) -> &KvCache {
        match self.slots.get(slot) {
            Some(Slot::Kv(cache)) => cache,
            _ => wrong_slot(&self.layout, slot, "a KV cache"),
        }
    }

    /// The keys and values of an attention layer, to append to.
    ///
    /// # Panics
    /// If slot number `slot` is not a KV cache, as for [`State::conv_mut`].
    #[track_caller]
    pub fn kv_mut(&mut self, slot: usize) -> &mut KvCache {
        match self.slots.get_mut(slot) {
            Some(Slot::Kv(cache)) => cache,
            _ => wrong_slot(&self.layout, slot, "a KV cache"),
        }
    }

    /// The numbers of a slot of fixed size, to read; `None` for a KV cache or
    /// a slot that does not exist.
    #[must_use]
    pub fn values(&self, slot: usize) -> Option<Values<'_>> {
        match self.slots.get(slot)? {
            Slot::F32(values) => Some(Values::F32(values)),
            Slot::Bf16(values) => Some(Values::Bf16(values)),
            Slot::Kv(_) => None,
        }
    }

    /// Bytes of all slots, whether shared with forks or not.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blocks().map(|(_, bytes, _)| bytes).sum()
    }

    /// Bytes that dropping this state would free: those that no fork or
    /// snapshot shares.
    #[must_use]
    pub fn unique_bytes(&self) -> u64 {
        self.blocks()
            .filter(|&(_, _, unique)| unique)
            .map(|(_, bytes, _)| bytes)
            .sum()
    }

    /// Address, bytes and whether it is unshared, of every allocation.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (usize, u64, bool)> {
        self.slots.iter().flat_map(|slot| {
            let (one, many) = match slot {
                Slot::F32(b) => (Some((arc_addr(b), 4 * b.len() as u64, unshared(b))), None),
                Slot::Bf16(b) => (Some((arc_addr(b), 2 * b.len() as u64, unshared(b))), None),
                Slot::Kv(cache) => (None, Some(cache.blocks())),
            };
            one.into_iter().chain(many.into_iter().flatten())
        })
    }

    /// Every array that determines what comes next, in slot order.
    pub(crate) fn arrays(&self) -> impl Iterator<Item = Values<'_>> {
        self.slots.iter().flat_map(|slot| {
            let (one, many) = match slot {
                Slot::F32(values) => (Some(Values::F32(values)), None),
                Slot::Bf16(values) => (Some(Values::Bf16(values)), None),
                Slot::Kv(cache) => (None, Some(cache.live_page_values())),
            };
            one.into_iter().chain(many.into_iter().flatten())
        })
    }

    /// Positions of each KV cache, in slot order.
    fn lengths(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Kv(cache) => Some(cache.len()),
            _ => None,
        })
    }

    /// Whether the two states are equal bit for bit in everything that can
    /// influence a later token.
    #[must_use]
    pub fn bits_eq(&self, other: &State) -> bool {
        self.fits(&other.layout)
            && self.position == other.position
            && self.lengths().eq(other.lengths())
            // Equal layouts and lengths make as many arrays of equal sizes.
            && self.arrays().zip(other.arrays()).all(|(a, b)| a.bits_eq(&b))
    }

    /// A hash of everything that [`State::bits_eq`] compares.
    #[must_use]
    pub fn digest(&self) -> [u8; 16] {
        let mut out = Hashing::new(std::io::sink());
        out.hash.update(&self.layout.id());
        out.hash.update(&self.position.to_le_bytes());
        for len in self.lengths() {
            out.hash.update(&(len as u64).to_le_bytes());
        }
        for values in self.arrays() {
            // A sink takes everything, so there is no error to pass on.
            let _ = match values {
                Values::F32(values) => bits::write_f32(&mut out, values),
                Values::Bf16(values) => bits::write_u16(&mut out, values),
            };
        }
        out.hash.digest128().to_be_bytes()
    }
}

/// The numbers of a slot, to write: copied first if a fork shares them.
pub(crate) fn own<T: Plain>(values: &mut Arc<Buffer<T>>) -> &mut [T] {
    let buffer: &mut Buffer<T> = Arc::make_mut(values);
    buffer
}

fn arc_addr<T>(arc: &Arc<T>) -> usize {
    Arc::as_ptr(arc).addr()
}

fn unshared<T>(arc: &Arc<T>) -> bool {
    Arc::strong_count(arc) == 1
}

#[cold]
#[track_caller]
#[expect(
    clippy::panic,
    reason = "a model that misnumbers its own slots; no input leads here"
)]
fn wrong_slot(layout: &Layout, slot: usize, wanted: &str) -> ! {
    match layout.slots().get(slot) {
        Some((name, spec)) => panic!("state slot {slot} (`{name}`) is {spec:?}, not {wanted}"),
        None => panic!(
            "state slot {slot} of {} was asked for {wanted}",
            layout.slots().len()
        ),
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("model", &self.layout.model())
            .field("position", &self.position)
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}
