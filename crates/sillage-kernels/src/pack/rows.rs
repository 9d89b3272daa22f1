//! Quantised rows: where their parts lie in a panel, and writing and reading
//! them. (The kernels in `linear::int` read the same layout.)

use super::{BLOCK, Bits, IntRow, IntSpec, PANEL_ROWS, ScaleType};
use half::f16;

/// Steps of 32 columns that share the factors of nested scales.
pub(crate) const SUPER_STEPS: usize = 8;

/// Byte positions in a quantised panel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IntLayout {
    /// Bytes of one scale.
    pub(crate) scale: usize,
    /// Scales of one row within 32 columns: 1 or 2.
    pub(crate) halves: usize,
    /// Where the minima of a step start.
    pub(crate) mins: usize,
    /// Where the weights of a step start.
    pub(crate) q: usize,
    /// Bytes of a step of 32 columns.
    pub(crate) step: usize,
    /// Bytes of the factors before every [`SUPER_STEPS`] steps; mostly none.
    pub(crate) supers: usize,
}

impl IntLayout {
    pub(crate) const fn new(spec: IntSpec) -> Self {
        let scale = match spec.scale {
            ScaleType::F16 => 2,
            ScaleType::F32 => 4,
            ScaleType::Nested => 1,
        };
        let halves = BLOCK / spec.block;
        let kinds = if spec.has_min { 2 } else { 1 };
        let scales = PANEL_ROWS * scale * halves;
        let bits = match spec.bits {
            Bits::Four => 4,
            Bits::Six => 6,
            Bits::Eight => 8,
        };
        let supers = match spec.scale {
            ScaleType::Nested => kinds * 2 * PANEL_ROWS,
            _ => 0,
        };
        let q = kinds * scales;
        Self {
            scale,
            halves,
            mins: scales,
            q,
            step: q + PANEL_ROWS * BLOCK * bits / 8,
            supers,
        }
    }

    /// Where step `b` starts (if `b` begins a super-block, its factors).
    pub(crate) const fn start(&self, b: usize) -> usize {
        b * self.step + b.div_ceil(SUPER_STEPS) * self.supers
    }

    /// Where the scale of `row` (in its panel) and half block `half` lies.
    const fn scale_at(&self, row: usize, half: usize) -> usize {
        (half * PANEL_ROWS + row) * self.scale
    }

    /// Calls `step(b, factors, step)` for every step of a panel.
    fn each(self, panel: &[u8], mut step: impl FnMut(usize, &[u8], &[u8])) {
        if self.supers == 0 {
            for (b, bytes) in panel.chunks_exact(self.step).enumerate() {
                step(b, &[], bytes);
            }
            return;
        }
        for (i, group) in panel.chunks_exact(self.start(SUPER_STEPS)).enumerate() {
            let (factors, steps) = group.split_at(self.supers);
            for (b, bytes) in steps.chunks_exact(self.step).enumerate() {
                step(i * SUPER_STEPS + b, factors, bytes);
            }
        }
    }
}

/// Buffers for one row of quantised weights.
pub(super) struct RowParts {
    q: Vec<u8>,
    scales: Vec<f32>,
    mins: Vec<f32>,
    super_scales: Vec<f32>,
    super_mins: Vec<f32>,
}

impl RowParts {
    pub(super) fn new(spec: IntSpec, cols: usize) -> Self {
        let supers = if spec.scale == ScaleType::Nested {
            cols / spec.columns()
        } else {
            0
        };
        let with_min = |n| vec![0f32; if spec.has_min { n } else { 0 }];
        Self {
            q: vec![0; cols],
            scales: vec![0.0; cols / spec.block],
            mins: with_min(cols / spec.block),
            super_scales: vec![0.0; supers],
            super_mins: with_min(supers),
        }
    }

    pub(super) fn borrow(&mut self) -> IntRow<'_> {
        IntRow {
            q: &mut self.q,
            scales: &mut self.scales,
            mins: &mut self.mins,
            super_scales: &mut self.super_scales,
            super_mins: &mut self.super_mins,
        }
    }

    /// Writes the row into lane `lane` of its panel. Fails with the block whose
    /// scale is not what its super-block says.
    pub(super) fn write(&self, spec: IntSpec, panel: &mut [u8], lane: usize) -> Result<(), usize> {
        let layout = IntLayout::new(spec);
        for (b, q) in self.q.chunks_exact(BLOCK).enumerate() {
            let start = layout.start(b);
            if layout.supers > 0 && b % SUPER_STEPS == 0 {
                let factors = [
                    Some(&self.super_scales),
                    spec.has_min.then_some(&self.super_mins),
                ];
                for (i, factors) in factors.into_iter().flatten().enumerate() {
                    let to = &mut panel[start + 2 * (i * PANEL_ROWS + lane)..];
                    write_float(ScaleType::F16, to, factors[b / SUPER_STEPS]);
                }
            }
            let start = start
                + if b % SUPER_STEPS == 0 {
                    layout.supers
                } else {
                    0
                };
            let step = &mut panel[start..start + layout.step];
            for half in 0..layout.halves {
                let (i, at) = (b * layout.halves + half, layout.scale_at(lane, half));
                self.write_scale(spec, &mut step[at..], i, false)?;
                if spec.has_min {
                    self.write_scale(spec, &mut step[layout.mins + at..], i, true)?;
                }
            }
            for (i, &v) in q.iter().enumerate() {
                write_q(spec.bits, &mut step[layout.q..], lane, i, v);
            }
        }
        Ok(())
    }

    fn write_scale(&self, spec: IntSpec, to: &mut [u8], i: usize, min: bool) -> Result<(), usize> {
        let v = if min { self.mins[i] } else { self.scales[i] };
        if spec.scale != ScaleType::Nested {
            write_float(spec.scale, to, v);
            return Ok(());
        }
        let factors = if min {
            &self.super_mins
        } else {
            &self.super_scales
        };
        let factor = f16::from_f32(factors[i * spec.block / spec.columns()]).to_f32();
        let times = if factor == 0.0 {
            0.0
        } else {
            (v / factor).round()
        };
        // A NaN fails the comparison, and so does what f16 cannot hold.
        if times * factor == v && (-128.0..=127.0).contains(&times) {
            to[0] = times as i8 as u8;
            return Ok(());
        }
        Err(i)
    }
}

/// Writes row `lane` of a panel, dequantised.
pub(super) fn int_row(spec: IntSpec, panel: &[u8], lane: usize, out: &mut [f32]) {
    let layout = IntLayout::new(spec);
    layout.each(panel, |b, factors, step| {
        let scale = |at: usize, factor: usize| match spec.scale {
            ScaleType::Nested => {
                let factor = read_float(ScaleType::F16, &factors[factor + 2 * lane..]);
                factor * f32::from(step[at] as i8)
            }
            ty => read_float(ty, &step[at..]),
        };
        for (i, v) in out[b * BLOCK..][..BLOCK].iter_mut().enumerate() {
            let at = layout.scale_at(lane, i / spec.block);
            let q = read_q(spec.bits, &step[layout.q..], lane, i);
            *v = scale(at, 0) * (i32::from(q) - i32::from(spec.zero)) as f32;
            if spec.has_min {
                *v += scale(layout.mins + at, 2 * PANEL_ROWS);
            }
        }
    });
}

/// Bytes and shifts of column `i` (in its block of 32) of row `lane` (in its
/// panel): the low bits, and for six-bit weights the high ones.
fn place(bits: Bits, lane: usize, i: usize) -> [(usize, usize); 2] {
    let (group, within) = (i / 4, i % 4);
    let at = |group: usize| (group * PANEL_ROWS + lane) * 4 + within;
    let low = (at(group % 4), 4 * (group / 4));
    match bits {
        Bits::Eight => [(at(group), 0); 2],
        Bits::Four => [low; 2],
        Bits::Six => [low, (at(4 + group / 4), 2 * (group % 4))],
    }
}

/// Writes a weight where there are zeros so far.
fn write_q(bits: Bits, to: &mut [u8], lane: usize, i: usize, v: u8) {
    let [(low, shift), (high, high_shift)] = place(bits, lane, i);
    match bits {
        Bits::Eight => to[low] = v,
        Bits::Four => to[low] |= (v & 15) << shift,
        Bits::Six => {
            to[low] |= (v & 15) << shift;
            to[high] |= (v >> 4 & 3) << high_shift;
        }
    }
}

fn read_q(bits: Bits, from: &[u8], lane: usize, i: usize) -> u8 {
    let [(low, shift), (high, high_shift)] = place(bits, lane, i);
    match bits {
        Bits::Eight => from[low],
        Bits::Four => from[low] >> shift & 15,
        Bits::Six => from[low] >> shift & 15 | (from[high] >> high_shift & 3) << 4,
    }
}

fn write_float(ty: ScaleType, to: &mut [u8], v: f32) {
    match ty {
        ScaleType::F32 => to[..4].copy_from_slice(&v.to_le_bytes()),
        _ => to[..2].copy_from_slice(&f16::from_f32(v).to_le_bytes()),
    }
}

pub(super) fn read_float(ty: ScaleType, from: &[u8]) -> f32 {
    match ty {
        ScaleType::F32 => f32::from_le_bytes([from[0], from[1], from[2], from[3]]),
        _ => f16::from_le_bytes([from[0], from[1]]).to_f32(),
    }
}
