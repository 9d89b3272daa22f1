//! What the detector hears: the level of every band in every frame, with the
//! host's own movements taken out.

use std::sync::OnceLock;

use realfft::RealFftPlanner;
use realfft::num_complex::Complex32;

use super::apply::{LEAD, hann};
use super::pattern::{BANDS, PAIRS, PERIOD, Pattern, SYMBOLS, UNIT, UNITS, band_edges, presence};
use super::{BINS, HOP, N_FFT};

/// The whitening filter, by distance in frames and in bands. Speech changes
/// slowly and all over; filtered so, its levels are nearly white noise, in which
/// a matched filter is the best detector there is. It is the inverse square root
/// of the two-dimensional power spectrum of band levels over 400 s of speech
/// (LibriSpeech, 30 readers), cut to this size.
const WHITENING: [[f32; REACH_BANDS + 1]; REACH_FRAMES + 1] = [
    [1.0, -0.1437, -0.0225, -0.0460, -0.0037],
    [-0.2559, -0.0225, 0.0152, 0.0035, 0.0104],
    [-0.0193, 0.0015, 0.0085, 0.0036, 0.0029],
    [-0.0196, 0.0, 0.0026, -0.0003, 0.0003],
    [-0.0079, 0.0014, 0.0015, -0.0001, 0.0003],
    [-0.0040, 0.0012, 0.0004, 0.0, 0.0001],
];
const REACH_FRAMES: usize = 5;
const REACH_BANDS: usize = 4;
/// How much of a frame's mark its neighbours show: frames overlap.
const SMEAR: [f32; 2] = [0.55, 0.225];
/// Deviations beyond this many robust standard deviations are cut.
const CUT: f32 = 1.0;
/// Below this band level (dB, of full scale) there is nothing to hear.
const SILENCE_DB: f32 = -110.0;

/// One value per band.
pub(crate) type Row = [f32; BANDS];

/// Square roots of the magnitudes of all frames, summed along the bins, so that
/// the mean over any band is a difference of two.
pub(crate) struct Spectrogram {
    sums: Vec<[f32; BINS + 1]>,
}

impl Spectrogram {
    /// Analyses 24 kHz sound.
    pub(crate) fn new(samples: &[f32]) -> Self {
        let forward = RealFftPlanner::<f32>::new().plan_fft_forward(N_FFT);
        let window = hann();
        let mut frame = vec![0f32; N_FFT];
        let mut spectrum = vec![Complex32::default(); BINS];
        let mut sums = Vec::with_capacity(samples.len() / HOP + 1);
        for start in (0..samples.len()).step_by(HOP) {
            for (i, (value, &w)) in frame.iter_mut().zip(&window).enumerate() {
                let at = (start + i).checked_sub(LEAD).and_then(|at| samples.get(at));
                // Full scale is a magnitude of 1; a sample that is no number is
                // no sound.
                *value =
                    w * at.copied().filter(|v| v.is_finite()).unwrap_or(0.0) * (4.0 / N_FFT as f32);
            }
            let mut row = [0f32; BINS + 1];
            // The lengths are right by construction.
            if forward.process(&mut frame, &mut spectrum).is_ok() {
                let mut sum = 0f32;
                for (slot, bin) in row[1..].iter_mut().zip(&spectrum) {
                    sum += bin.norm().sqrt();
                    *slot = sum;
                }
            }
            sums.push(row);
        }
        Self { sums }
    }

    pub(crate) fn frames(&self) -> usize {
        self.sums.len()
    }

    /// Whitened band levels for sound whose frequencies were multiplied by
    /// `scale`.
    pub(crate) fn whitened(&self, scale: f64) -> Vec<Row> {
        // Bin b spans b - 1/2 .. b + 1/2, so its sum ends at b + 1/2.
        let edges = band_edges(scale).map(|edge| (edge + 0.5).clamp(0.0, (BINS - 1) as f64));
        let mut silent = vec![false; self.sums.len()];
        let mut rows: Vec<Row> = Vec::with_capacity(self.sums.len());
        for (row, silent) in self.sums.iter().zip(&mut silent) {
            let at = edges.map(|edge| {
                let (whole, part) = (edge as usize, (edge - edge.floor()) as f32);
                row[whole] + (row[whole + 1] - row[whole]) * part
            });
            let levels: Row = std::array::from_fn(|k| {
                let width = (edges[k + 1] - edges[k]).max(1e-6) as f32;
                40.0 * ((at[k + 1] - at[k]).max(0.0) / width + 1e-7).log10()
            });
            *silent = levels.iter().all(|&level| level < SILENCE_DB);
            rows.push(levels);
        }
        whiten(&mut rows, false);
        scale_and_cut(&mut rows, &silent);
        rows
    }
}

/// Applies [`WHITENING`]. Beyond the first and last band and frame, those are
/// repeated; `circular` for the pattern, which repeats in time itself.
fn whiten(rows: &mut [Row], circular: bool) {
    let n = rows.len();
    // What is the same everywhere must vanish, although the filter was cut.
    let times = |i: usize| if i == 0 { 1.0 } else { 2.0 };
    let weighted = WHITENING.iter().enumerate().map(|(i, taps)| {
        times(i)
            * taps
                .iter()
                .enumerate()
                .map(|(j, tap)| times(j) * tap)
                .sum::<f32>()
    });
    let surplus: f32 = weighted.sum();
    let mut out: Vec<Row> = Vec::with_capacity(n);
    for t in 0..n {
        let mut sum = [0f32; BANDS];
        for (i, taps) in WHITENING.iter().enumerate() {
            let (before, after) = match circular {
                true => ((t + n - i % n) % n, (t + i) % n),
                false => (t.saturating_sub(i), (t + i).min(n - 1)),
            };
            // Both neighbours in time have the same taps.
            let line: Row = match i {
                0 => rows[t],
                _ => std::array::from_fn(|k| rows[before][k] + rows[after][k]),
            };
            for (k, sum) in sum.iter_mut().enumerate() {
                *sum += taps[0] * line[k];
                for (j, tap) in taps.iter().enumerate().skip(1) {
                    *sum += tap * (line[k.saturating_sub(j)] + line[(k + j).min(BANDS - 1)]);
                }
            }
        }
        out.push(std::array::from_fn(|k| sum[k] - surplus * rows[t][k]));
    }
    rows.copy_from_slice(&out);
}

/// Divides by a robust standard deviation and cuts what sticks out; silent
/// frames count for nothing.
fn scale_and_cut(rows: &mut [Row], silent: &[bool]) {
    let mut sizes: Vec<f32> = rows
        .iter()
        .zip(silent)
        .filter(|&(_, &silent)| !silent)
        .flat_map(|(row, _)| row.map(f32::abs))
        .collect();
    if sizes.is_empty() {
        rows.fill([0.0; BANDS]);
        return;
    }
    let middle = sizes.len() / 2;
    let (_, &mut median, _) = sizes.select_nth_unstable_by(middle, f32::total_cmp);
    let scale = 1.0 / (1.48 * median).max(1e-3);
    for (row, &silent) in rows.iter_mut().zip(silent) {
        for value in row {
            *value = if silent {
                0.0
            } else {
                (*value * scale).clamp(-CUT, CUT)
            };
        }
    }
}

/// A pattern as it looks after the whitening, frame by frame of its period.
fn expected(pattern: &Pattern) -> Vec<Row> {
    let at = |t: usize| pattern.frame((t % PERIOD) as u64).map(f32::from);
    let mut rows: Vec<Row> = (0..PERIOD)
        .map(|t| {
            let (before, now, after) = (at(t + PERIOD - 1), at(t), at(t + 1));
            std::array::from_fn(|k| SMEAR[0] * now[k] + SMEAR[1] * (before[k] + after[k]))
        })
        .collect();
    whiten(&mut rows, true);
    rows
}

/// What the presence looks like after the whitening.
pub(crate) struct Template {
    /// By band, its value in every frame of a period.
    pub(crate) bands: Vec<[f32; PERIOD]>,
    /// What one unit looks like, by frame and band.
    pub(crate) unit: [[f32; 2]; UNIT],
}

impl Template {
    /// The template, made at the first use.
    pub(crate) fn shared() -> &'static Self {
        static TEMPLATE: OnceLock<Template> = OnceLock::new();
        TEMPLATE.get_or_init(Self::new)
    }

    fn new() -> Self {
        let rows = expected(&Pattern::from_units(&presence()));
        let bands = (0..BANDS)
            .map(|k| std::array::from_fn(|t| rows[t][k]))
            .collect();
        let (middle, pair) = (UNITS / 2, PAIRS / 2);
        let mut alone = vec![[0i8; PAIRS]; UNITS];
        alone[middle][pair] = 1;
        let rows = expected(&Pattern::from_units(&alone));
        let unit =
            std::array::from_fn(|t| std::array::from_fn(|k| rows[middle * UNIT + t][2 * pair + k]));
        Self { bands, unit }
    }

    /// For every frame: the sum over all pairs of bands of the square of what
    /// a unit starting there adds to a sum, times the share of units that
    /// belong to the presence. A unit cut by the end counts as far as it goes.
    pub(crate) fn chance(&self, rows: &[Row]) -> Vec<f32> {
        let share = (PAIRS - SYMBOLS) as f32 / PAIRS as f32;
        let unit_at = |start: usize| {
            let mut sums = [0f32; PAIRS];
            for (row, shape) in rows[start..].iter().zip(&self.unit) {
                for (sum, pair) in sums.iter_mut().zip(row.chunks_exact(2)) {
                    *sum += pair[0] * shape[0] + pair[1] * shape[1];
                }
            }
            share * sums.map(|sum| sum * sum).iter().sum::<f32>()
        };
        (0..rows.len()).map(unit_at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_vanishes_and_a_slope_nearly() {
        let mut rows: Vec<Row> = (0..100)
            .map(|t| std::array::from_fn(|k| 40.0 + t as f32 * 0.1 + k as f32 * 0.2))
            .collect();
        whiten(&mut rows, false);
        let inner = &rows[REACH_FRAMES..100 - REACH_FRAMES];
        assert!(inner.iter().all(|row| {
            row[REACH_BANDS..BANDS - REACH_BANDS]
                .iter()
                .all(|v| v.abs() < 1e-3)
        }));
        let mut flat = vec![[7.0; BANDS]; 30];
        whiten(&mut flat, true);
        assert!(flat.iter().flatten().all(|v| v.abs() < 1e-4));
    }

    #[test]
    fn odd_sound_gives_finite_rows() {
        for sound in [
            vec![0.0; 5000],
            vec![f32::NAN; 5000],
            vec![f32::MAX; 5000],
            vec![1.0; 3],
        ] {
            let rows = Spectrogram::new(&sound).whitened(1.0);
            assert!(rows.iter().flatten().all(|v| v.is_finite()));
        }
        assert_eq!(Spectrogram::new(&[]).whitened(1.0).len(), 0);
    }
}
