//! Keys and values of one attention layer, in shared pages.

use crate::layout::{StateType, live_pages};
use crate::state::Values;
use sillage_kernels::{Buffer, KvShape, PAGE, PageMut, PageRef, write_kv};
use std::collections::VecDeque;
use std::sync::Arc;

/// One page: keys and values of [`PAGE`] positions.
#[derive(Clone, Debug)]
pub(crate) enum Page {
    F32(Buffer<f32>),
    Bf16(Buffer<u16>),
}

impl Page {
    pub(crate) fn zeroed(shape: &KvShape, ty: StateType) -> Self {
        match ty {
            StateType::F32 => Self::F32(Buffer::zeroed(shape.page_len())),
            StateType::Bf16 => Self::Bf16(Buffer::zeroed(shape.page_len())),
        }
    }

    pub(crate) fn values(&self) -> Values<'_> {
        match self {
            Self::F32(page) => Values::F32(page),
            Self::Bf16(page) => Values::Bf16(page),
        }
    }
}

/// Keys and values of one attention layer.
///
/// They lie in pages of [`PAGE`] positions, in the attention kernel's own
/// order. Forks share pages; only the last page is ever written, so a fork
/// copies at most one page. Pages wholly before a sliding window are let go
/// by [`State::advance`](crate::State::advance), not by
/// [`append`](KvCache::append): the first queries of a long prefill still see
/// them.
#[derive(Clone, Debug)]
pub struct KvCache {
    shape: KvShape,
    ty: StateType,
    window: Option<usize>,
    len: usize,
    first_page: usize,
    pages: VecDeque<Arc<Page>>,
}

impl KvCache {
    pub(crate) fn new(shape: KvShape, ty: StateType, window: Option<usize>) -> Self {
        Self {
            shape,
            ty,
            window,
            len: 0,
            first_page: 0,
            pages: VecDeque::new(),
        }
    }

    /// A cache of `len` positions whose pages are yet to be pushed.
    pub(crate) fn restore(
        shape: KvShape,
        ty: StateType,
        window: Option<usize>,
        len: usize,
    ) -> Self {
        let mut cache = Self::new(shape, ty, window);
        cache.len = len;
        cache.first_page = cache.live().0;
        cache
    }

    pub(crate) fn push_page(&mut self, page: Page) {
        self.pages.push_back(Arc::new(page));
    }

    /// Heads and their width.
    #[must_use]
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Positions appended so far, including those that a window has dropped.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was appended yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends `m` positions: `k` and `v` are `[m, kv_heads * head_dim]`.
    ///
    /// # Panics
    /// If `k` or `v` is not of that size.
    pub fn append(&mut self, m: usize, k: &[f32], v: &[f32]) {
        let row = self.shape.kv_heads * self.shape.head_dim;
        assert!(
            k.len() == m * row && v.len() == m * row,
            "keys and values are [m, {row}]"
        );
        for (k, v) in k.chunks_exact(row).zip(v.chunks_exact(row)) {
            self.append_row(k, v);
        }
    }

    /// Appends one position: `k` and `v` are `[kv_heads * head_dim]`. For
    /// callers whose keys and values lie in wider rows.
    ///
    /// # Panics
    /// If `k` or `v` is not of that size.
    pub fn append_row(&mut self, k: &[f32], v: &[f32]) {
        let row = self.shape.kv_heads * self.shape.head_dim;
        assert!(
            k.len() == row && v.len() == row,
            "a key and a value are [{row}]"
        );
        if self.len / PAGE - self.first_page == self.pages.len() {
            self.push_page(Page::zeroed(&self.shape, self.ty));
        }
        if let Some(last) = self.pages.back_mut() {
            let page = match Arc::make_mut(last) {
                Page::F32(page) => PageMut::F32(page),
                Page::Bf16(page) => PageMut::Bf16(page),
            };
            write_kv(&self.shape, page, self.len % PAGE, k, v);
        }
        self.len += 1;
    }

    /// The absolute index of the first page kept (its first position is
    /// [`PAGE`] times that), and the pages from there on.
    #[must_use]
    pub fn pages(&self) -> (usize, impl ExactSizeIterator<Item = PageRef<'_>>) {
        let pages = self.pages.iter().map(|page| match &**page {
            Page::F32(page) => PageRef::F32(page),
            Page::Bf16(page) => PageRef::Bf16(page),
        });
        (self.first_page, pages)
    }

    /// Lets go of the pages that no further query can see.
    pub(crate) fn trim(&mut self) {
        let (first, _) = self.live();
        while self.first_page < first && self.pages.pop_front().is_some() {
            self.first_page += 1;
        }
    }

    /// Absolute indices `first..end` of the pages a further query can see.
    fn live(&self) -> (usize, usize) {
        let (first, end) = live_pages(self.len as u64, self.window.map(|window| window as u64));
        // Both are at most `len`, which is a usize.
        (first as usize, end as usize)
    }

    /// The pages a further query can see: what saving, comparing and hashing
    /// look at, so that none of them depends on when pages were let go.
    pub(crate) fn live_page_values(&self) -> impl Iterator<Item = Values<'_>> {
        let skip = self.live().0.saturating_sub(self.first_page);
        self.pages.iter().skip(skip).map(|page| page.values())
    }

    /// Address and bytes of every page held.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (usize, u64, bool)> {
        let bytes = self.shape.page_len() as u64 * self.ty.bytes();
        self.pages.iter().map(move |page| {
            (
                Arc::as_ptr(page).addr(),
                bytes,
                Arc::strong_count(page) == 1,
            )
        })
    }
}
