//! Scratch memory of a forward pass, kept between passes.

use sillage_kernels::Buffer;

/// Slices begin on a cache line.
const ALIGN: usize = 16;

/// Buffers for passes of up to a number of tokens. Grown when a longer pass comes, never shrunk.
pub(crate) struct Workspace {
    /// The residual stream, `[m, d_model]`.
    pub(crate) stream: Buffer<f32>,
    /// The stream after a norm, `[m, d_model]`.
    pub(crate) normed: Buffer<f32>,
    /// The same times a branch's multiplier, `[m, d_model]`.
    pub(crate) scaled: Buffer<f32>,
    /// Absolute position of each token.
    pub(crate) positions: Vec<u32>,
    /// Everything inside a mixer.
    pub(crate) scratch: Scratch,
}

/// Memory that one mixer at a time divides as it likes.
pub(crate) struct Scratch(Buffer<f32>);

impl Workspace {
    pub(crate) fn empty() -> Self {
        let none = || Buffer::zeroed(0);
        Workspace {
            stream: none(),
            normed: none(),
            scaled: none(),
            positions: Vec::new(),
            scratch: Scratch(none()),
        }
    }

    /// Makes room for `m` tokens, `inside` being the most elements a token needs within a mixer.
    pub(crate) fn reserve(&mut self, m: usize, d_model: usize, inside: usize) {
        for buffer in [&mut self.stream, &mut self.normed, &mut self.scaled] {
            grow(buffer, m * d_model);
        }
        grow(&mut self.scratch.0, m * inside + 16 * ALIGN);
    }
}

fn grow(buffer: &mut Buffer<f32>, len: usize) {
    if buffer.len() < len {
        *buffer = Buffer::zeroed(len);
    }
}

impl Scratch {
    /// Divides the memory into a slice of `[m, width]` for each width. What the slices hold is left
    /// over from before.
    ///
    /// The widths are those that the mixer declared when the workspace was sized; more would be a
    /// mistake of this crate, and panics.
    pub(crate) fn split<const N: usize>(
        &mut self,
        m: usize,
        widths: [usize; N],
    ) -> [&mut [f32]; N] {
        let mut rest: &mut [f32] = &mut self.0;
        widths.map(|width| {
            let len = m * width;
            let padded = len.next_multiple_of(ALIGN).min(rest.len());
            let (slice, after) = std::mem::take(&mut rest).split_at_mut(padded);
            rest = after;
            &mut slice[..len]
        })
    }
}
