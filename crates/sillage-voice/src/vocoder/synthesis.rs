//! From what the trunk says to samples: sources times filters, inverse transform, overlap-add.

use super::excitation::Excitation;
use super::memory::{MARGIN, Memory, TAIL};
use super::{HEAD, RECORD};
use crate::config::{BINS, HOP, MELS, N_FFT, NOISE_BANDS, SAMPLE_RATE};
use crate::features::{hann, mel_of};
use crate::utterance::FrameGains;
use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use sillage_kernels::{Isa, exp_limited, polar, uniform};
use std::sync::Arc;

/// Log-gains are limited to this.
const LOG_GAIN: (f32, f32) = (-14.0, 6.0);
/// Counters of the noise that a seed is away from the next.
const SEED_STRIDE: u32 = 0x9e37_79b9;

/// Everything about the synthesis that is the same for every frame.
pub(crate) struct Synthesis {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    window: Vec<f32>,
    /// The window over the length of the transform, which the inverse does not divide by.
    closing: Vec<f32>,
    /// One over the sum of the squared windows that meet at a sample, by its place in a hop.
    level: Vec<f32>,
    /// For each bin the noise band below it, and how far it is on the way to the next.
    bands: Vec<(usize, f32)>,
}

/// The frames of one utterance that are to become sound.
pub(crate) struct Job<'a> {
    /// Frames as [`RECORD`] numbers, the ones ahead included.
    pub(crate) records: &'a [f32],
    /// What the trunk says about the frames to be made, `[frames, HEAD]`.
    pub(crate) head: &'a [f32],
    /// Number of the first.
    pub(crate) first: u64,
    /// The last of them is the utterance's last.
    pub(crate) ended: bool,
    pub(crate) seed: u32,
    pub(crate) gains: Option<&'a dyn FrameGains>,
    pub(crate) memory: Memory<'a>,
    /// Takes the samples that are complete.
    pub(crate) out: &'a mut Vec<f32>,
}

/// Working memory of a job.
struct Scratch {
    time: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    fft: Vec<Complex<f32>>,
    real: [f32; BINS],
    imaginary: [f32; BINS],
    noise: [f32; 2 * BINS],
    gains: [f32; BINS],
}

impl std::fmt::Debug for Synthesis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Synthesis")
    }
}

impl Synthesis {
    pub(crate) fn new() -> Self {
        let mut planner = RealFftPlanner::new();
        let window = hann();
        let scale = 1.0 / N_FFT as f32;
        let mut squares = vec![0.0_f32; HOP];
        for (i, w) in window.iter().enumerate() {
            squares[i % HOP] += w * w;
        }
        let top = mel_of(f64::from(SAMPLE_RATE) / 2.0);
        let band = |bin: usize| {
            let hertz = (bin * SAMPLE_RATE as usize) as f64 / N_FFT as f64;
            let place = mel_of(hertz) * (NOISE_BANDS - 1) as f64 / top;
            let low = (place as usize).min(NOISE_BANDS - 2);
            (low, (place - low as f64) as f32)
        };
        Synthesis {
            forward: planner.plan_fft_forward(N_FFT),
            inverse: planner.plan_fft_inverse(N_FFT),
            closing: window.iter().map(|w| w * scale).collect(),
            window,
            level: squares.iter().map(|s| 1.0 / s).collect(),
            bands: (0..BINS).map(band).collect(),
        }
    }

    fn scratch(&self) -> Scratch {
        let zero = Complex::default();
        let fft = self
            .forward
            .get_scratch_len()
            .max(self.inverse.get_scratch_len());
        Scratch {
            time: vec![0.0; N_FFT],
            spectrum: vec![zero; BINS],
            fft: vec![zero; fft],
            real: [0.0; BINS],
            imaginary: [0.0; BINS],
            noise: [0.0; 2 * BINS],
            gains: [1.0; BINS],
        }
    }

    /// Makes the samples of a job.
    pub(crate) fn run(&self, isa: Isa, job: Job<'_>) {
        let Job {
            records,
            head,
            first,
            ended,
            seed,
            gains,
            mut memory,
            out,
        } = job;
        let mut scratch = self.scratch();
        let mut excitation = Excitation::new(&memory, records, first, ended);
        let mut sum = memory.tail.to_vec();
        sum.resize(N_FFT, 0.0);
        let rows = head.chunks_exact(HEAD).zip(records.chunks_exact(RECORD));
        let mut frame = first;
        for (head, record) in rows {
            let pulses = excitation.window(frame);
            let volume = record[MELS + 2];
            if volume != 0.0 {
                self.sources(isa, pulses, head, noise_key(seed, frame), &mut scratch);
                if let Some(gains) = gains {
                    gains.gains(frame, &mut scratch.gains);
                }
                self.finish(volume, &mut scratch, &mut sum);
            }
            excitation.next();
            let skip = MARGIN.saturating_sub(frame.min(2) as usize * HOP);
            self.emit(&sum[..HOP], skip, out);
            sum.copy_within(HOP.., 0);
            sum[TAIL..].fill(0.0);
            frame += 1;
        }
        if ended {
            let skip = MARGIN.saturating_sub(frame.min(2) as usize * HOP);
            self.emit(&sum[..MARGIN], skip, out);
        }
        excitation.keep(&mut memory);
        memory.tail.copy_from_slice(&sum[..TAIL]);
    }

    /// The spectrum of a frame: pulses through their filter, and noise through its own.
    fn sources(
        &self,
        isa: Isa,
        pulses: Option<&[f32]>,
        head: &[f32],
        key: u32,
        scratch: &mut Scratch,
    ) {
        let (low, high) = LOG_GAIN;
        let (loud, rest) = head.split_at(BINS);
        let (turn, breath) = rest.split_at(BINS);
        let Scratch {
            time,
            spectrum,
            fft,
            real,
            imaginary,
            noise,
            ..
        } = scratch;
        match pulses {
            None => spectrum.fill(Complex::default()),
            Some(pulses) => {
                for ((x, pulse), w) in time.iter_mut().zip(pulses).zip(&self.window) {
                    *x = pulse * w;
                }
                // Fails only for slices of other lengths than were planned for.
                let _ = self.forward.process_with_scratch(time, spectrum, fft);
                polar(isa, loud, turn, low, high, real, imaginary);
                for ((s, re), im) in spectrum.iter_mut().zip(&*real).zip(&*imaginary) {
                    *s = Complex::new(s.re * re - s.im * im, s.re * im + s.im * re);
                }
            }
        }
        for (x, (band, share)) in imaginary.iter_mut().zip(&self.bands) {
            *x = breath[*band] * (1.0 - share) + breath[band + 1] * share;
        }
        exp_limited(isa, imaginary, low, high, real);
        uniform(isa, key, noise);
        let (re, im) = noise.split_at(BINS);
        for (((s, gain), re), im) in spectrum.iter_mut().zip(&*real).zip(re).zip(im) {
            s.re += gain * re;
            s.im += gain * im;
        }
    }

    /// Gains, the inverse transform, and the window; adds to the overlapping sum.
    fn finish(&self, volume: f32, scratch: &mut Scratch, sum: &mut [f32]) {
        let Scratch {
            time,
            spectrum,
            fft,
            gains,
            ..
        } = scratch;
        for (s, gain) in spectrum.iter_mut().zip(&*gains) {
            // A gain that is no number must not reach the sound.
            let gain = if gain.is_finite() {
                gain * volume
            } else {
                volume
            };
            *s *= gain;
        }
        // These two bins of a real signal are real.
        spectrum[0].im = 0.0;
        spectrum[BINS - 1].im = 0.0;
        let _ = self.inverse.process_with_scratch(spectrum, time, fft);
        for ((sum, x), w) in sum.iter_mut().zip(&*time).zip(&self.closing) {
            *sum += x * w;
        }
    }

    /// Samples that are complete, but for the first `skip`, which lie before the sound begins. The first
    /// of the sum lies at the start of a window.
    fn emit(&self, sum: &[f32], skip: usize, out: &mut Vec<f32>) {
        let mut skip = skip;
        for hop in sum.chunks(HOP) {
            let from = skip.min(hop.len());
            let samples = hop[from..].iter().zip(&self.level[from..]);
            out.extend(samples.map(|(x, level)| (x * level).clamp(-1.0, 1.0)));
            skip -= from;
        }
    }
}

/// Counter of the first of a frame's noise; those of a frame follow each other.
fn noise_key(seed: u32, frame: u64) -> u32 {
    (frame as u32)
        .wrapping_mul(2 * BINS as u32)
        .wrapping_add(seed.wrapping_mul(SEED_STRIDE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_add_up_to_one() {
        let synthesis = Synthesis::new();
        for place in 0..HOP {
            let squares: f32 = (place..N_FFT)
                .step_by(HOP)
                .map(|i| synthesis.window[i].powi(2))
                .sum();
            assert!((squares * synthesis.level[place] - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn noise_bands_cover_the_bins() {
        let synthesis = Synthesis::new();
        assert_eq!(synthesis.bands[0], (0, 0.0));
        let (band, share) = synthesis.bands[BINS - 1];
        assert_eq!(band, NOISE_BANDS - 2);
        assert!((share - 1.0).abs() < 1e-5);
        assert!(synthesis.bands.windows(2).all(|w| w[0].0 <= w[1].0));
    }
}
