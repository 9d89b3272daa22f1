//! Kernels of Sillage: everything that must be fast, and everything `unsafe`.
//!
//! The room's rules: a kernel is written once, generic over sixteen-lane
//! vectors (`isa`), and the order of its arithmetic depends only on shapes and
//! on the instruction set, never on batch, split or thread count.
#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the inside of this room is for those who work in it"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "kernels walk several arrays of registers by one index"
)]

pub mod attention;
pub mod conv;
pub mod counters;
pub mod elementwise;
pub mod isa;
pub mod linear;
mod math;
pub mod memory;
pub mod norm;
pub mod pack;
pub mod rope;
pub mod scan;
mod scratch;
pub mod spectrum;
mod spread;
#[cfg(test)]
mod testing;
pub mod threads;
pub mod train;

pub use attention::{
    AttendSegment, AttendShape, KvShape, PAGE, PageMut, PageRef, attend, write_kv,
};
pub use conv::{Conv, ConvSegment, causal_conv};
pub use counters::{Counters, Counts};
pub use elementwise::{
    Activation, activate, add_scaled, gated_activation, scale_columns, softplus_dt,
};
pub use isa::Isa;
pub use linear::{Product, Write, linear};
pub use memory::{Buffer, Plain};
pub use norm::{GatedNorm, layer_norm, rms_norm, rms_norm_gated};
pub use pack::{Bits, FloatType, IntRow, IntSpec, Linear, PackError, ScaleType};
pub use rope::{RopeTable, rope};
pub use scan::{ScanSegment, SelectiveShape, SsdShape, StateMut, selective_scan, ssd};
pub use spectrum::{exp_limited, polar, uniform};
pub use threads::Pool;

/// What every kernel needs to run: a code path and the threads to use.
#[derive(Debug)]
pub struct Compute {
    /// The code path.
    pub isa: Isa,
    /// The threads.
    pub pool: Pool,
    /// What the kernels that were given this have done.
    pub counters: Counters,
}

impl Compute {
    /// The fastest path of this CPU on `threads` threads (the caller's included).
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self::with_isa(Isa::best(), threads)
    }

    /// A chosen path on `threads` threads.
    #[must_use]
    pub fn with_isa(isa: Isa, threads: usize) -> Self {
        Self {
            isa,
            pool: Pool::new(threads),
            counters: Counters::default(),
        }
    }
}
