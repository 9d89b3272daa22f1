//! Pages of a KV cache.

use crate::isa::LANES;

/// Positions a page holds. A page's positions are absolute: page i holds
/// `i * PAGE..(i + 1) * PAGE`.
pub const PAGE: usize = 64;

/// Sizes of a KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Elements per head.
    pub head_dim: usize,
}

impl KvShape {
    /// Elements of a page: keys `[kv_head][PAGE / 16][head_dim][16]` (positions
    /// in lanes), then values `[kv_head][PAGE][head_dim, padded to 16]`. The
    /// padding must stay zero, as in a fresh page.
    #[must_use]
    pub fn page_len(&self) -> usize {
        self.kv_heads * PAGE * (self.head_dim + self.padded())
    }

    pub(super) fn padded(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// Where a head's keys begin.
    pub(super) fn keys(&self, head: usize) -> usize {
        head * PAGE * self.head_dim
    }

    /// Where a head's values begin.
    pub(super) fn values(&self, head: usize) -> usize {
        self.kv_heads * PAGE * self.head_dim + head * PAGE * self.padded()
    }
}

/// A page to read.
#[derive(Clone, Copy, Debug)]
pub enum PageRef<'a> {
    /// Kept as f32.
    F32(&'a [f32]),
    /// Kept as bfloat16.
    Bf16(&'a [u16]),
}

impl PageRef<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::F32(page) => page.len(),
            Self::Bf16(page) => page.len(),
        }
    }
}

/// A page to write.
#[derive(Debug)]
pub enum PageMut<'a> {
    /// Kept as f32.
    F32(&'a mut [f32]),
    /// Kept as bfloat16 (nearest, ties to even).
    Bf16(&'a mut [u16]),
}

/// Writes one position's keys and values, each `[kv_heads * head_dim]`, to
/// `slot` of a page.
///
/// # Panics
/// If `slot` is not below [`PAGE`], or a slice is not of the shape's size.
pub fn write_kv(shape: &KvShape, page: PageMut<'_>, slot: usize, k: &[f32], v: &[f32]) {
    match page {
        PageMut::F32(page) => place(shape, page, slot, k, v, |v| v),
        PageMut::Bf16(page) => place(shape, page, slot, k, v, to_bf16),
    }
}

fn place<T>(
    shape: &KvShape,
    page: &mut [T],
    slot: usize,
    k: &[f32],
    v: &[f32],
    convert: impl Fn(f32) -> T,
) {
    let KvShape { kv_heads, head_dim } = *shape;
    assert!(slot < PAGE, "slot past the page");
    assert_eq!(page.len(), shape.page_len(), "page of another shape");
    assert!(
        k.len() == kv_heads * head_dim && v.len() == k.len(),
        "row of another shape"
    );
    for head in 0..kv_heads {
        let row = head * head_dim..(head + 1) * head_dim;
        let at = shape.keys(head) + slot / LANES * head_dim * LANES + slot % LANES;
        for (to, k) in page[at..].iter_mut().step_by(LANES).zip(&k[row.clone()]) {
            *to = convert(*k);
        }
        let at = shape.values(head) + slot * shape.padded();
        for (to, v) in page[at..].iter_mut().zip(&v[row]) {
            *to = convert(*v);
        }
    }
}

fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}
