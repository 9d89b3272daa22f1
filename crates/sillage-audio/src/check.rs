//! Whether a clip is fit to clone a voice from.
//!
//! These are tests of the recording, not of who speaks in it. Whether there is
//! one speaker or two is for a speaker encoder to say.

use crate::resample::resample;

/// The rate at which voicing is looked for, in hertz.
const RATE: u32 = 8_000;
/// Samples of a frame at that rate: 32 ms, two periods of the lowest voice.
const FRAME: usize = 256;
const HOP: usize = 128;
/// Periods of voices from 60 to 400 Hz.
const PERIODS: std::ops::RangeInclusive<usize> = 20..=133;

/// What a clip must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// The shortest, in seconds.
    pub shortest: f64,
    /// The longest, in seconds.
    pub longest: f64,
}

impl Default for Rules {
    /// 3 to 30 seconds.
    fn default() -> Self {
        Self {
            shortest: 3.0,
            longest: 30.0,
        }
    }
}

/// Why a clip is refused.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Too short.
    #[error(
        "the clip has {seconds:.1} s and at least {shortest} s are needed: record a few sentences"
    )]
    TooShort {
        /// Its length.
        seconds: f64,
        /// The rule.
        shortest: f64,
    },
    /// Too long.
    #[error(
        "the clip has {seconds:.1} s and at most {longest} s are taken: cut out the clearest part"
    )]
    TooLong {
        /// Its length.
        seconds: f64,
        /// The rule.
        longest: f64,
    },
    /// Silent.
    #[error(
        "the clip is silent (loudest moment {level:.0} dB of full scale): check the microphone and record again"
    )]
    Silent {
        /// The loudest 32 ms.
        level: f32,
    },
    /// Clipped.
    #[error(
        "the clip is overdriven ({percent:.1} % of it is cut off at the top): lower the microphone's level and record again"
    )]
    Clipped {
        /// How much is cut off.
        percent: f32,
    },
    /// No speech.
    #[error(
        "no speech was found in the clip ({voiced:.1} s are voiced, {shortest:.1} s are needed): record speech in a quiet room"
    )]
    NoSpeech {
        /// Voiced seconds.
        voiced: f32,
        /// What is needed.
        shortest: f32,
    },
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Length in seconds.
    pub seconds: f64,
    /// The loudest 32 ms, in dB of full scale.
    pub level: f32,
    /// Percentage of samples that are cut off.
    pub clipped: f32,
    /// Seconds that are voiced.
    pub voiced: f32,
    /// How much the level moves between voiced frames and all others, as the
    /// standard deviation in dB: speech swings, hums and noise do not.
    pub swing: f32,
}

/// Measures a clip and holds it to the rules.
///
/// # Errors
/// The first rule that it breaks. Samples that are not finite count as nought.
pub fn check_clip(samples: &[f32], rate: u32, rules: &Rules) -> Result<Report, Refusal> {
    let seconds = samples.len() as f64 / f64::from(rate.max(1));
    if seconds < rules.shortest {
        return Err(Refusal::TooShort {
            seconds,
            shortest: rules.shortest,
        });
    }
    if seconds > rules.longest {
        return Err(Refusal::TooLong {
            seconds,
            longest: rules.longest,
        });
    }
    let clean: Vec<f32> = samples
        .iter()
        .map(|v| {
            if v.is_finite() {
                v.clamp(-8.0, 8.0)
            } else {
                0.0
            }
        })
        .collect();
    let clipped = clipped_percent(&clean);
    // The rate was usable when the clip was decoded; where it was not, the
    // samples stand for themselves.
    let slow = resample(&clean, rate, RATE).unwrap_or(clean);
    let frames: Vec<Frame> = slow.windows(FRAME).step_by(HOP).map(Frame::new).collect();
    let level = frames.iter().map(|f| f.level).fold(-120.0, f32::max);
    if level < -60.0 {
        return Err(Refusal::Silent { level });
    }
    if clipped > 0.5 {
        return Err(Refusal::Clipped { percent: clipped });
    }
    let voiced = frames
        .iter()
        .filter(|f| f.level > level - 40.0 && f.voicing > 0.6)
        .count();
    let voiced = (voiced * HOP) as f32 / RATE as f32;
    let swing = deviation(frames.iter().map(|f| f.level.max(level - 50.0)));
    let shortest = 0.2 * rules.shortest as f32;
    if voiced < shortest || swing < 3.0 {
        let voiced = if swing < 3.0 { 0.0 } else { voiced };
        return Err(Refusal::NoSpeech { voiced, shortest });
    }
    Ok(Report {
        seconds,
        level,
        clipped,
        voiced,
        swing,
    })
}

/// Percentage of samples in the last hundredth below the clip's own peak, if
/// they pile up there: a wave that is not cut off spends far less time in that
/// hundredth than five times what it spends in each of the two below (a sine,
/// the flattest of smooth waves, 2.7 times).
fn clipped_percent(samples: &[f32]) -> f32 {
    let peak = samples.iter().fold(0f32, |peak, v| peak.max(v.abs()));
    if peak < 0.2 {
        return 0.0;
    }
    let within = |from: f32, to: f32| {
        samples
            .iter()
            .filter(|v| (from * peak..to * peak).contains(&v.abs()))
            .count()
    };
    let (top, below) = (within(0.99, 1.01), within(0.97, 0.99));
    if 2 * top <= 5 * below {
        0.0
    } else {
        100.0 * top as f32 / samples.len().max(1) as f32
    }
}

struct Frame {
    level: f32,
    /// The largest normalised autocorrelation at a voice's period.
    voicing: f32,
}

impl Frame {
    fn new(samples: &[f32]) -> Self {
        let mean = samples.iter().sum::<f32>() / FRAME as f32;
        let centred: Vec<f32> = samples.iter().map(|v| v - mean).collect();
        let power = centred.iter().map(|v| v * v).sum::<f32>() / FRAME as f32;
        let level = 10.0 * (power + 1e-12).log10();
        let voicing = if level < -70.0 {
            0.0
        } else {
            voicing(&centred)
        };
        Self { level, voicing }
    }
}

fn voicing(samples: &[f32]) -> f32 {
    let mut best = 0f32;
    for period in PERIODS {
        let (a, b) = (&samples[..FRAME - period], &samples[period..]);
        let (mut product, mut left, mut right) = (0f32, 1e-9f32, 1e-9f32);
        for (&a, &b) in a.iter().zip(b) {
            product += a * b;
            left += a * a;
            right += b * b;
        }
        best = best.max(product / (left * right).sqrt());
    }
    best
}

fn deviation(values: impl Iterator<Item = f32> + Clone) -> f32 {
    let n = values.clone().count().max(1) as f32;
    let mean = values.clone().sum::<f32>() / n;
    (values.map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize) -> Vec<f32> {
        let mut state = 7u32;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    /// Pulses through two resonances, in syllables: what a voice does at least.
    fn voice(seconds: f64) -> Vec<f32> {
        let n = (16_000.0 * seconds) as usize;
        let (mut y1, mut y2, mut phase) = (0f32, 0f32, 0f32);
        (0..n)
            .map(|i| {
                let t = i as f32 / 16_000.0;
                phase += (120.0 + 20.0 * (3.0 * t).sin()) / 16_000.0;
                let pulse = if phase >= 1.0 {
                    phase -= 1.0;
                    1.0
                } else {
                    0.0
                };
                let y = pulse + 1.7 * y1 - 0.81 * y2;
                (y2, y1) = (y1, y);
                let syllable = (0.5 + 0.5 * (std::f32::consts::TAU * 4.0 * t).sin()).powi(3);
                0.05 * y * syllable
            })
            .collect()
    }

    #[test]
    fn something_like_speech_passes() {
        let report = check_clip(&voice(4.0), 16_000, &Rules::default()).unwrap();
        assert!(report.voiced > 1.0 && report.clipped < 0.1, "{report:?}");
    }

    #[test]
    fn each_fault_has_its_name() {
        let check = |x: &[f32]| check_clip(x, 16_000, &Rules::default()).unwrap_err();
        assert!(matches!(check(&voice(0.1)), Refusal::TooShort { .. }));
        assert!(matches!(check(&voice(31.0)), Refusal::TooLong { .. }));
        assert!(matches!(check(&vec![0.0; 80_000]), Refusal::Silent { .. }));
        assert!(matches!(
            check(&vec![f32::NAN; 80_000]),
            Refusal::Silent { .. }
        ));
        let loud: Vec<f32> = voice(4.0)
            .iter()
            .map(|v| (v * 40.0).clamp(-1.0, 1.0))
            .collect();
        assert!(matches!(check(&loud), Refusal::Clipped { .. }));
        assert!(matches!(check(&noise(80_000)), Refusal::NoSpeech { .. }));
        let hum: Vec<f32> = (0..80_000).map(|i| 0.3 * (i as f32 * 0.05).sin()).collect();
        assert!(matches!(check(&hum), Refusal::NoSpeech { .. }));
        assert!(matches!(
            check_clip(&[], 0, &Rules::default()),
            Err(Refusal::TooShort { .. })
        ));
    }
}
