//! One product of a call, cut into pieces of work.

use super::Product;
use super::activations::Prepared;
use super::float;
use super::int::{self, IntFormat};
use super::tile::{Output, TileJob, tiles};
use crate::Compute;
use crate::isa::Isa;
use crate::memory::Buffer;
use crate::pack::{Bits, FloatType, Format, Linear, PANEL_ROWS};
use crate::threads::Shards;
use std::cell::RefCell;
use std::ops::Range;

/// Bytes of weights in a piece of work when they are read for few tokens: some
/// microseconds, long enough to make claiming it free and short enough to even
/// out the threads.
const PIECE_BYTES: usize = 128 << 10;
/// Bytes of activations that one piece goes over: they stay in the L2 cache.
const CHUNK_BYTES: usize = 1 << 20;
/// Up to so many tokens, panels are read as they are stored; above, widening
/// them first is faster (measured; six-bit weights are dear to unpack).
const FEW_TOKENS: usize = 24;
const FEW_SIX_BIT_TOKENS: usize = 8;
/// Most tokens of one piece; their unfinished sums stay in the L2 cache.
const CHUNK_TOKENS: usize = 1024;

/// Memory of a working thread.
#[derive(Default)]
struct Space {
    /// A widened portion of a panel.
    wide: Buffer<u8>,
    /// Unfinished sums.
    partial: Buffer<f32>,
}

thread_local! {
    static SPACE: RefCell<Space> = RefCell::default();
}

/// Which kernels read a weight.
#[derive(Clone, Copy)]
enum Kernels {
    Float(FloatType),
    Int(IntFormat),
}

impl Kernels {
    fn of(format: Format) -> Self {
        match format {
            Format::Float(ty) => Self::Float(ty),
            Format::Int(spec) => Self::Int(IntFormat::of(spec)),
        }
    }

    fn run(self, isa: Isa, tokens: usize, job: &TileJob<'_>) {
        match self {
            Self::Float(ty) => float::run(isa, ty, tokens, job),
            Self::Int(format) => format.run(isa, tokens, job),
        }
    }

    fn few_tokens(self) -> usize {
        match self {
            Self::Int(format) if format.bits() == Bits::Six => FEW_SIX_BIT_TOKENS,
            _ => FEW_TOKENS,
        }
    }

    fn portion(self, cols: usize) -> usize {
        match self {
            Self::Float(_) => float::portion(cols),
            Self::Int(_) => int::portion(cols),
        }
    }

    /// The weights of `columns` of a panel, widened in `wide` if that helps, and
    /// the kernels for them.
    fn widen<'a>(
        self,
        isa: Isa,
        panel: &'a [u8],
        columns: Range<usize>,
        wide: &'a mut [u8],
    ) -> (Self, &'a [u8]) {
        match self {
            Self::Float(ty) => match float::widen(isa, ty, panel, columns.clone(), wide) {
                Some(wide) => (Self::Float(FloatType::F32), wide),
                None => (self, &panel[float::offset(ty, columns.start)..]),
            },
            Self::Int(format) => match format.widen(isa, panel, columns.clone(), wide) {
                Some((format, wide)) => (Self::Int(format), wide),
                None => (self, &panel[format.offset(columns.start)..]),
            },
        }
    }
}

/// One product, cut into pieces.
pub(super) struct Job<'a> {
    weight: &'a Linear,
    kernels: Kernels,
    x: Prepared<'a>,
    output: Output<'a>,
    tokens: usize,
    /// Tokens of one piece, a multiple of the largest tile.
    chunk: usize,
    /// Panels of one piece.
    group: usize,
    groups: usize,
    pieces: usize,
}

impl<'a> Job<'a> {
    /// `x` are the activations in the form of the product's weight.
    pub(super) fn new(
        cx: &Compute,
        product: &'a mut Product<'_>,
        x: Prepared<'a>,
        tokens: usize,
    ) -> Self {
        let weight = product.weight;
        let panels = weight.panels();
        let threads = cx.pool.threads();
        // Few panels: cut the tokens further, so that every thread finds work.
        let least = (4 * threads).div_ceil(panels);
        let chunk = (CHUNK_BYTES / (4 * x.words))
            .min(CHUNK_TOKENS)
            .min(tokens.div_ceil(least))
            .max(1)
            .next_multiple_of(x.largest);
        let group = if tokens > x.largest {
            1
        } else {
            let even = panels.div_ceil(6 * threads);
            (PIECE_BYTES / weight.panel_bytes()).clamp(1, even)
        };
        let output = Output {
            y: Shards::new(product.y),
            stride: product.y_stride,
            offset: product.y_offset,
            write: product.write,
            rows: weight.rows(),
            bias: weight.bias(),
        };
        let kernels = Kernels::of(weight.format());
        let groups = panels.div_ceil(group);
        let pieces = groups * tokens.div_ceil(chunk);
        Self {
            weight,
            kernels,
            x,
            output,
            tokens,
            chunk,
            group,
            groups,
            pieces,
        }
    }

    pub(super) fn pieces(&self) -> usize {
        self.pieces
    }

    pub(super) fn run(&self, isa: Isa, piece: usize) {
        let (chunk, group) = (piece / self.groups, piece % self.groups);
        let panels = group * self.group..self.weight.panels().min((group + 1) * self.group);
        let tokens = chunk * self.chunk..self.tokens.min((chunk + 1) * self.chunk);
        if tokens.len() <= self.kernels.few_tokens() {
            self.stream(isa, panels, tokens);
        } else {
            let mut space = SPACE.take();
            panels.for_each(|panel| self.revisit(isa, panel, tokens.clone(), &mut space));
            SPACE.set(space);
        }
    }

    /// Panels that are read once or a few times: straight from memory.
    fn stream(&self, isa: Isa, panels: Range<usize>, tokens: Range<usize>) {
        let weights = &self.weight.data()[panels.start * self.weight.panel_bytes()..];
        let cols = 0..self.weight.cols();
        let partial = Shards::new(&mut []);
        let first = tokens.start;
        for run in tiles(tokens, self.x.largest) {
            let job = TileJob {
                cold: run.start == first,
                x: self.x.at(run.start),
                start: run.start,
                count: run.count,
                ..self.tile_job(weights, panels.clone(), cols.clone(), partial, 0)
            };
            self.kernels.run(isa, run.tokens, &job);
        }
    }

    /// One panel for many tiles: portion by portion, so that each stays in the
    /// L1 cache for all of them.
    fn revisit(&self, isa: Isa, panel: usize, tokens: Range<usize>, space: &mut Space) {
        let bytes = self.weight.panel_bytes();
        let weights = &self.weight.data()[panel * bytes..][..bytes];
        let cols = self.weight.cols();
        let portion = self.kernels.portion(cols);
        if space.wide.is_empty() {
            space.wide = Buffer::zeroed(float::WIDE.max(int::WIDE));
        }
        if space.partial.len() < tokens.len() * PANEL_ROWS {
            space.partial = Buffer::zeroed(tokens.len() * PANEL_ROWS);
        }
        let partial = Shards::new(&mut space.partial);
        for start in (0..cols).step_by(portion) {
            let columns = start..cols.min(start + portion);
            let (kernels, weights) =
                self.kernels
                    .widen(isa, weights, columns.clone(), &mut space.wide);
            for run in tiles(tokens.clone(), self.x.largest) {
                let job = TileJob {
                    x: self.x.at(run.start),
                    start: run.start,
                    count: run.count,
                    ..self.tile_job(
                        weights,
                        panel..panel + 1,
                        columns.clone(),
                        partial,
                        tokens.start,
                    )
                };
                kernels.run(isa, run.tokens, &job);
            }
        }
    }

    fn tile_job<'b>(
        &'b self,
        weights: &'b [u8],
        panels: Range<usize>,
        columns: Range<usize>,
        partial: Shards<f32>,
        partial_start: usize,
    ) -> TileJob<'b> {
        TileJob {
            weights,
            panel_bytes: self.weight.panel_bytes(),
            panels,
            columns,
            cols: self.weight.cols(),
            cold: false,
            x: &[],
            start: 0,
            count: 0,
            output: &self.output,
            partial,
            partial_start,
        }
    }
}
