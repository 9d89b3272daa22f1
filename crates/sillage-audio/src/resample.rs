//! Change of sample rate, whole or in a stream.

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler as _};

/// Rates that are taken, in hertz. What lies outside is a broken header.
pub const RATES: std::ops::RangeInclusive<u32> = 4_000..=384_000;

/// Why a resampler cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResampleError {
    /// A rate no sound has.
    #[error("{0} Hz is no usable sample rate: give one from 4000 to 384000 Hz")]
    Rate(u32),
    /// The resampling library failed; its message follows.
    #[error("resampling failed ({0}); convert the sound to 24 kHz first")]
    Failed(String),
}

/// Resamples one channel in a stream. What comes out depends on the samples
/// alone, not on the pieces they come in, is aligned with what goes in, and has
/// `round(samples * to / from)` samples in the end.
pub struct Resampler {
    /// None when the rates are equal.
    engine: Option<Engine>,
}

struct Engine {
    fft: Fft<f32>,
    from: u64,
    to: u64,
    pending: Vec<f32>,
    block: Vec<f32>,
    /// Samples taken and given so far.
    taken: u64,
    given: u64,
    /// Output samples still to be dropped: the filter's delay.
    delay: usize,
}

impl Resampler {
    /// A resampler from one rate to another, in hertz.
    ///
    /// # Errors
    /// A rate outside [`RATES`].
    pub fn new(from: u32, to: u32) -> Result<Self, ResampleError> {
        for rate in [from, to] {
            if !RATES.contains(&rate) {
                return Err(ResampleError::Rate(rate));
            }
        }
        if from == to {
            return Ok(Self { engine: None });
        }
        // Filters of about 20 ms: the pass band reaches to 97 % of the lower
        // rate's half and the delay stays under what a listener notices.
        let chunk = (from as usize / 50).max(64);
        let fft = Fft::new_custom(
            from as usize,
            to as usize,
            chunk,
            1,
            1,
            rubato::WindowFunction::BlackmanHarris2,
            FixedSync::Both,
        )
        .map_err(|error| ResampleError::Failed(error.to_string()))?;
        let (delay, block) = (fft.output_delay(), vec![0.0; fft.output_frames_max()]);
        let (from, to) = (u64::from(from), u64::from(to));
        let engine = Engine {
            fft,
            from,
            to,
            pending: Vec::new(),
            block,
            taken: 0,
            given: 0,
            delay,
        };
        Ok(Self {
            engine: Some(engine),
        })
    }

    /// Takes samples and appends what is ready to `out`.
    ///
    /// # Errors
    /// The library's own failures; none is known for finite samples.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<(), ResampleError> {
        let Some(engine) = &mut self.engine else {
            out.extend_from_slice(samples);
            return Ok(());
        };
        engine.taken += samples.len() as u64;
        engine.pending.extend_from_slice(samples);
        engine.run(out)
    }

    /// Appends the rest and gets ready for another sound.
    ///
    /// # Errors
    /// As [`Resampler::push`].
    pub fn finish(&mut self, out: &mut Vec<f32>) -> Result<(), ResampleError> {
        let Some(engine) = &mut self.engine else {
            return Ok(());
        };
        let total = (engine.taken * engine.to + engine.from / 2) / engine.from;
        while engine.given < total {
            let missing = engine.fft.input_frames_next() - engine.pending.len();
            engine.pending.extend(std::iter::repeat_n(0.0, missing));
            let before = out.len();
            engine.run(out)?;
            let surplus = engine.given.saturating_sub(total) as usize;
            out.truncate(out.len() - surplus.min(out.len() - before));
        }
        engine.fft.reset();
        engine.pending.clear();
        (engine.taken, engine.given) = (0, 0);
        engine.delay = engine.fft.output_delay();
        Ok(())
    }
}

impl Engine {
    fn run(&mut self, out: &mut Vec<f32>) -> Result<(), ResampleError> {
        let failed = |error: &dyn std::fmt::Display| ResampleError::Failed(error.to_string());
        let mut used = 0;
        loop {
            let wanted = self.fft.input_frames_next();
            if self.pending.len() - used < wanted {
                break;
            }
            let frames = self.block.len();
            let input = SequentialSlice::new(&self.pending[used..used + wanted], 1, wanted)
                .map_err(|error| failed(&error))?;
            let mut output = SequentialSlice::new_mut(&mut self.block, 1, frames)
                .map_err(|error| failed(&error))?;
            let (_, made) = self
                .fft
                .process_into_buffer(&input, &mut output, Some(&Indexing::new()))
                .map_err(|error| failed(&error))?;
            let dropped = self.delay.min(made);
            self.delay -= dropped;
            out.extend_from_slice(&self.block[dropped..made]);
            self.given += (made - dropped) as u64;
            used += wanted;
        }
        self.pending.drain(..used);
        Ok(())
    }
}

/// Resamples a whole sound.
///
/// # Errors
/// As [`Resampler::new`].
pub fn resample(samples: &[f32], from: u32, to: u32) -> Result<Vec<f32>, ResampleError> {
    let mut resampler = Resampler::new(from, to)?;
    let expected = samples.len() as u64 * u64::from(to) / u64::from(from);
    let mut out = Vec::with_capacity(expected as usize + 1);
    resampler.push(samples, &mut out)?;
    resampler.finish(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tone(rate: u32, hz: f64, seconds: f64) -> Vec<f32> {
        let n = (f64::from(rate) * seconds) as usize;
        let step = std::f64::consts::TAU * hz / f64::from(rate);
        (0..n)
            .map(|i| 0.5 * (step * i as f64).sin() as f32)
            .collect()
    }

    #[test]
    fn a_tone_stays_itself() {
        for (from, to) in [
            (24_000, 48_000),
            (24_000, 8_000),
            (44_100, 24_000),
            (16_000, 24_000),
        ] {
            let out = resample(&tone(from, 440.0, 1.0), from, to).unwrap();
            let wanted = tone(to, 440.0, 1.0);
            assert_eq!(out.len(), wanted.len());
            let inner = out.len() / 10..out.len() * 9 / 10;
            let worst = inner
                .map(|i| (out[i] - wanted[i]).abs())
                .fold(0.0, f32::max);
            assert!(worst < 1e-3, "{from} to {to}: {worst}");
        }
    }

    #[test]
    fn what_does_not_fit_the_lower_rate_goes() {
        let out = resample(&tone(24_000, 5_000.0, 0.5), 24_000, 8_000).unwrap();
        assert!(out[400..3600].iter().all(|v| v.abs() < 1e-2));
    }

    #[test]
    fn rates_are_checked() {
        assert!(matches!(
            Resampler::new(0, 24_000),
            Err(ResampleError::Rate(0))
        ));
        assert!(matches!(
            Resampler::new(24_000, 4_000_000),
            Err(ResampleError::Rate(_))
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn pieces_do_not_matter(
            n in 0usize..3000, cut in 1usize..700,
            to in prop::sample::select(vec![8_000u32, 22_050, 24_000, 48_000]),
        ) {
            let sound: Vec<f32> = tone(24_000, 300.0, 0.2)[..n].to_vec();
            let whole = resample(&sound, 24_000, to).unwrap();
            prop_assert_eq!(whole.len() as u64, (n as u64 * u64::from(to) + 12_000) / 24_000);
            let mut resampler = Resampler::new(24_000, to).unwrap();
            for _ in 0..2 {
                let mut pieces = Vec::new();
                for piece in sound.chunks(cut) {
                    resampler.push(piece, &mut pieces).unwrap();
                }
                resampler.finish(&mut pieces).unwrap();
                prop_assert_eq!(&pieces, &whole);
            }
        }
    }
}
