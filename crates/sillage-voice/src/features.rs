//! What is measured on recordings: the log-mel spectrogram that the networks see, and loudness.
//!
//! Frame `t` is centred on sample `300 t + 150`.

use crate::config::{BINS, HOP, MELS, N_FFT, SAMPLE_RATE};
use realfft::RealFftPlanner;
use std::f64::consts::PI;

/// Smallest magnitude of a band.
const FLOOR: f32 = 1e-5;
/// The logarithm of that: what a band of silence reads.
pub(crate) const SILENCE: f32 = -11.512_925;
/// Recordings are brought to this RMS over their active frames ...
const TARGET_RMS: f64 = 0.08;
/// ... unless a peak would pass this.
const PEAK: f64 = 0.95;

/// The HTK mel scale.
pub(crate) fn mel_of(hertz: f64) -> f64 {
    2595.0 * (1.0 + hertz / 700.0).log10()
}

fn hertz_of(mel: f64) -> f64 {
    700.0 * (10f64.powf(mel / 2595.0) - 1.0)
}

/// A periodic Hann window.
pub(crate) fn hann() -> Vec<f32> {
    (0..N_FFT)
        .map(|i| (0.5 - 0.5 * (2.0 * PI * i as f64 / N_FFT as f64).cos()) as f32)
        .collect()
}

/// The bins of one band and their weights.
struct Band {
    first: usize,
    weights: Vec<f32>,
}

/// Triangles of height one between neighbouring points of the mel scale.
fn bands() -> Vec<Band> {
    let nyquist = f64::from(SAMPLE_RATE) / 2.0;
    let point = |i: usize| hertz_of(mel_of(nyquist) * i as f64 / (MELS + 1) as f64);
    let band = |i: usize| {
        let (low, middle, high) = (point(i), point(i + 1), point(i + 2));
        let weight = |bin: usize| {
            let hertz = bin as f64 * f64::from(SAMPLE_RATE) / N_FFT as f64;
            let rise = (hertz - low) / (middle - low);
            let fall = (high - hertz) / (high - middle);
            rise.min(fall).max(0.0) as f32
        };
        let first = (0..BINS).find(|&bin| weight(bin) > 0.0).unwrap_or(0);
        let weights = (first..BINS).map(weight).take_while(|w| *w > 0.0).collect();
        Band { first, weights }
    };
    (0..MELS).map(band).collect()
}

/// The log-mel spectrogram of mono sound at 24 kHz, `[samples / 300, 100]`: the logarithm of the band
/// sums of the magnitude spectrum. What lies before the start and after the end counts as silence.
#[must_use]
pub fn log_mel(samples: &[f32]) -> Vec<f32> {
    let fft = RealFftPlanner::<f32>::new().plan_fft_forward(N_FFT);
    let (window, bands) = (hann(), bands());
    let (mut time, mut spectrum) = (fft.make_input_vec(), fft.make_output_vec());
    let mut scratch = fft.make_scratch_vec();
    let frames = samples.len() / HOP;
    let mut out = Vec::with_capacity(frames * MELS);
    let margin = N_FFT / 2 - HOP / 2;
    for frame in 0..frames {
        for (i, (x, w)) in time.iter_mut().zip(&window).enumerate() {
            let at = (frame * HOP + i).checked_sub(margin);
            *x = at.and_then(|at| samples.get(at)).map_or(0.0, |s| s * w);
        }
        // Fails only for slices of other lengths than were planned for.
        let _ = fft.process_with_scratch(&mut time, &mut spectrum, &mut scratch);
        for Band { first, weights } in &bands {
            let bins = weights.iter().zip(&spectrum[*first..]);
            let sum: f32 = bins.map(|(w, bin)| w * bin.norm()).sum();
            out.push(sum.max(FLOOR).ln());
        }
    }
    out
}

/// Which frames of a recording carry speech: those within 30 dB of the loud ones (their 95th percentile).
#[must_use]
pub fn active_frames(samples: &[f32]) -> Vec<bool> {
    let power: Vec<f64> = samples
        .chunks_exact(HOP)
        .map(|hop| hop.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / HOP as f64)
        .collect();
    let threshold = quantile(&power, 0.95) * 1e-3 + 1e-12;
    power.iter().map(|p| *p > threshold).collect()
}

/// The quantile of values, linearly interpolated; 0 of none.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let place = share * last as f64;
    let low = place as usize;
    let high = (low + 1).min(last);
    sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64)
}

/// The factor that brings the RMS of a recording's active frames to 0.08, less where its peak would pass
/// 0.95.
#[must_use]
pub fn normalising_gain(samples: &[f32]) -> f32 {
    let active = active_frames(samples);
    let hops = samples.chunks_exact(HOP).zip(&active);
    let (mut sum, mut count) = (0.0, 0_usize);
    for (hop, _) in hops.filter(|(_, active)| **active) {
        sum += hop.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        count += hop.len();
    }
    let rms = if count > 0 {
        (sum / count as f64).sqrt()
    } else {
        0.0
    };
    let peak = samples.iter().fold(0.0_f32, |peak, x| peak.max(x.abs()));
    (TARGET_RMS / rms.max(1e-6)).min(PEAK / f64::from(peak).max(1e-6)) as f32
}
