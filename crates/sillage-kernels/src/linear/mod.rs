//! Linear layers: `y = W x + b` for any number of tokens.
//!
//! One output element is one vector lane that runs over the columns in
//! ascending order, whatever surrounds it. Batches, tiles, pieces and threads
//! only decide *when* an element is computed, so decoding a token alone gives
//! the same bits as prefilling a thousand (law 1).
//!
//! A call is two parallel regions: the activations are brought into the form
//! the weights ask for (`activations`), then pieces of panels are claimed by
//! the threads ([`Pool::run`](crate::Pool::run)). All products of a call share
//! both.

mod activations;
mod float;
mod int;
mod job;
mod tile;

use crate::Compute;
use crate::memory::Buffer;
use crate::pack::{IntSpec, Linear};
use activations::{Form, Prepared};
use job::Job;
use std::cell::RefCell;

/// What becomes of a product `v = W x + bias`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Write {
    /// `y = v`
    Store,
    /// `y += alpha * v`, rounded once.
    Add(f32),
}

/// One weight of a [`linear`] call and where its outputs go.
#[derive(Debug)]
pub struct Product<'a> {
    /// The weight; all weights of a call have the same number of columns.
    pub weight: &'a Linear,
    /// Outputs `[m, y_stride]`.
    pub y: &'a mut [f32],
    /// Distance between the outputs of two tokens.
    pub y_stride: usize,
    /// Column of the first output.
    pub y_offset: usize,
    /// Whether outputs are stored or added.
    pub write: Write,
}

/// Whether there is a kernel for `spec`.
pub(crate) fn supports(spec: IntSpec) -> bool {
    int::supports(spec)
}

thread_local! {
    /// Prepared activations of the calling thread, kept between calls.
    static SCRATCH: RefCell<Buffer<u32>> = RefCell::new(Buffer::default());
}

/// Multiplies `m` tokens `x` (`[m, cols]`, contiguous) with every weight of
/// `products`.
///
/// Sums run in f32; 16-bit weights are widened. Quantised weights meet
/// activations quantised to 8 bits in blocks of 32 (`d = largest / 127`, halves
/// rounded away from zero, as ggml's `q8_0`); products within a block are exact
/// integers. A NaN or infinity in a token makes that token's outputs
/// NaN or infinite and no other's.
///
/// # Panics
/// If the weights differ in their columns, or `x` or a `y` is too short.
pub fn linear(cx: &Compute, x: &[f32], m: usize, products: &mut [Product<'_>]) {
    let Some(cols) = products.first().map(|product| product.weight.cols()) else {
        return;
    };
    if m == 0 {
        return;
    }
    let x = &x[..m * cols];
    for product in products.iter() {
        let (weight, end) = (product.weight, product.y_offset + product.weight.rows());
        assert_eq!(
            weight.cols(),
            cols,
            "products of one call must share their input"
        );
        assert!(
            end <= product.y_stride || m == 1,
            "outputs of two tokens overlap"
        );
        assert!(
            (m - 1) * product.y_stride + end <= product.y.len(),
            "output too short"
        );
    }
    let Some(forms) = Forms::of(products) else {
        let (first, rest) = products.split_at_mut(products.len() / 2);
        linear(cx, x, m, first);
        return linear(cx, x, m, rest);
    };
    cx.counters
        .linear(m, products.iter().map(|product| product.weight));
    let mut scratch = SCRATCH.take();
    let prepared = activations::prepare(cx, x, m, cols, forms.list(), &mut scratch);
    let jobs: Vec<Job<'_>> = products
        .iter_mut()
        .map(|product| Job::new(cx, product, find(&prepared, product.weight), m))
        .collect();
    cx.pool
        .run(jobs.iter().map(Job::pieces).sum(), &|mut piece| {
            for job in &jobs {
                if piece < job.pieces() {
                    return job.run(cx.isa, piece);
                }
                piece -= job.pieces();
            }
        });
    drop(jobs);
    SCRATCH.set(scratch);
}

fn find<'a>(prepared: &[Option<Prepared<'a>>], weight: &Linear) -> Prepared<'a> {
    let form = Form::of(weight);
    #[allow(
        clippy::expect_used,
        reason = "`linear` prepares the form of every product"
    )]
    let x = prepared
        .iter()
        .flatten()
        .find(|x| x.form == form)
        .expect("activations prepared");
    *x
}

/// The distinct forms of activations that the products of a call ask for.
struct Forms {
    forms: [Form; Forms::MOST],
    len: usize,
}

impl Forms {
    /// f32, and integers with each zero point of the known formats, plain
    /// and in halves.
    const MOST: usize = 8;

    /// `None` if there are more.
    fn of(products: &[Product<'_>]) -> Option<Self> {
        let mut found = Self {
            forms: [Form::F32; Self::MOST],
            len: 0,
        };
        for product in products {
            let form = Form::of(product.weight);
            if !found.list().contains(&form) {
                *found.forms.get_mut(found.len)? = form;
                found.len += 1;
            }
        }
        Some(found)
    }

    fn list(&self) -> &[Form] {
        &self.forms[..self.len]
    }
}

#[cfg(test)]
mod tests;
