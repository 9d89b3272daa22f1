//! The mark for sound that already exists: STFT, gains, inverse STFT.

use realfft::RealFftPlanner;
use realfft::num_complex::Complex32;

use super::{BINS, HOP, Key, N_FFT, Watermark};

/// Periodic Hann window of [`N_FFT`] samples.
pub(crate) fn hann() -> Vec<f32> {
    let step = std::f64::consts::TAU / N_FFT as f64;
    (0..N_FFT)
        .map(|i| (0.5 - 0.5 * (step * i as f64).cos()) as f32)
        .collect()
}

/// The sample before the window's first in frame 0: frame `t` covers samples
/// `300 t + 150 - 512 .. 300 t + 150 + 512`.
pub(crate) const LEAD: usize = N_FFT / 2 - HOP / 2;

/// Marks 24 kHz mono sound with `payload` under `key`; sample 0 is the start of
/// the pattern. Returns as many samples as were given. What is not marked
/// (outside the pattern's bands) comes back as it was, to rounding.
pub fn apply(samples: &[f32], key: &Key, payload: u32) -> Vec<f32> {
    apply_watermark(samples, &Watermark::new(key, payload))
}

/// As [`apply`], with a mark made before (another strength, say).
pub fn apply_watermark(samples: &[f32], watermark: &Watermark) -> Vec<f32> {
    let mut planner = RealFftPlanner::<f32>::new();
    let (forward, inverse) = (
        planner.plan_fft_forward(N_FFT),
        planner.plan_fft_inverse(N_FFT),
    );
    let window = hann();
    let frames = samples.len().div_ceil(HOP) + 2;
    let mut out = vec![0f32; LEAD + frames * HOP + N_FFT];
    let mut weight = vec![0f32; out.len()];
    let mut frame = vec![0f32; N_FFT];
    let mut spectrum = vec![Complex32::default(); BINS];
    let mut gains = [1f32; BINS];
    for t in 0..frames {
        let start = t * HOP;
        for (i, (value, &w)) in frame.iter_mut().zip(&window).enumerate() {
            let at = (start + i).checked_sub(LEAD).and_then(|at| samples.get(at));
            *value = w * at.copied().unwrap_or(0.0);
        }
        // Lengths are fixed above, so neither transform can fail.
        if forward.process(&mut frame, &mut spectrum).is_err() {
            return samples.to_vec();
        }
        watermark.gains_into(t as u64, &mut gains);
        for (value, &gain) in spectrum.iter_mut().zip(&gains) {
            *value *= gain / N_FFT as f32;
        }
        if inverse.process(&mut spectrum, &mut frame).is_err() {
            return samples.to_vec();
        }
        for (i, (&value, &w)) in frame.iter().zip(&window).enumerate() {
            out[start + i] += value * w;
            weight[start + i] += w * w;
        }
    }
    let marked = out.iter().zip(&weight).skip(LEAD).take(samples.len());
    marked
        .map(|(&value, &weight)| value / weight.max(1e-3))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize) -> Vec<f32> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..n).map(|_| 0.3 * next()).collect()
    }

    #[test]
    fn strength_nought_gives_back_the_sound() {
        for n in [0, 1, 299, 300, 4321] {
            let sound = noise(n);
            let same = apply_watermark(&sound, &Watermark::with_strength(&Key::PUBLIC, 7, 0.0));
            assert_eq!(same.len(), n);
            assert!(sound.iter().zip(&same).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }

    #[test]
    fn the_level_hardly_changes() {
        let sound = noise(48_000);
        let marked = apply(&sound, &Key::PUBLIC, 0xdead_beef);
        let power = |x: &[f32]| x.iter().map(|v| f64::from(v * v)).sum::<f64>();
        let change = 10.0 * (power(&marked) / power(&sound)).log10();
        assert!(change.abs() < 0.1, "{change} dB");
        assert_ne!(sound, marked);
    }
}
