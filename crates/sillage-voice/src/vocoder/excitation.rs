//! The pulse train: one band-limited pulse whenever the phase of the voice passes a whole number.

use super::memory::{MARGIN, Memory, PHASE_BITS, PULSE_AHEAD, PULSE_BACK, SPAN};
use super::{LOG_F0, RECORD};
use crate::config::{HOP, MELS, N_FFT, SAMPLE_RATE};
use std::f32::consts::PI;

/// Taps of a pulse.
const TAPS: usize = PULSE_BACK + PULSE_AHEAD + 1;
/// A whole cycle.
const CYCLE: u64 = 1 << PHASE_BITS;
/// Samples from the start of a frame's window to the last whose pulses it needs, exclusive.
const REACH: usize = N_FFT + PULSE_BACK;

/// What of the frames matters here.
#[derive(Clone, Copy)]
struct Pitch {
    hertz: f64,
    voiced: f32,
}

impl Pitch {
    fn of(record: &[f32]) -> Self {
        let (low, high) = LOG_F0;
        Pitch {
            // In f64: phases add up what is rounded.
            hertz: f64::from(record[MELS].clamp(low, high)).exp(),
            voiced: record[MELS + 1],
        }
    }
}

/// Makes the excitation of one frame after another.
pub(super) struct Excitation {
    /// Frames from `first` on, as many as are known.
    pitches: Vec<Pitch>,
    first: u64,
    /// Samples of the utterance, once its end is known.
    end: Option<u64>,
    /// `[SPAN]`, from the start of the next frame's window on.
    span: Vec<f32>,
    phase: u64,
}

impl Excitation {
    /// For the frames `records` (of [`RECORD`] numbers), the first of which is number `first`; `ended` if
    /// the last of them is the utterance's last.
    pub(super) fn new(memory: &Memory<'_>, records: &[f32], first: u64, ended: bool) -> Self {
        let pitches: Vec<Pitch> = records.chunks_exact(RECORD).map(Pitch::of).collect();
        let mut span = memory.excitation.to_vec();
        span.resize(SPAN, 0.0);
        let frames = first + pitches.len() as u64;
        Excitation {
            phase: memory.phase(),
            end: ended.then_some(frames * HOP as u64),
            pitches,
            first,
            span,
        }
    }

    /// The excitation in the window of frame `frame`, which must be the next. `None` if it is silent.
    pub(super) fn window(&mut self, frame: u64) -> Option<&[f32]> {
        let start = (frame * HOP as u64) as i64 - MARGIN as i64;
        // Pulses up to the last frame's reach were made for the last frame.
        let from = match frame {
            0 => 0,
            _ => start + (REACH - HOP) as i64,
        };
        let to = start + REACH as i64;
        let end = self.end.map_or(i64::MAX, |end| end as i64);
        let mut n = from;
        while n < to.min(end) {
            n = self.stretch(n, to.min(end), start, end);
        }
        let window = &self.span[..N_FFT];
        window.iter().any(|v| *v != 0.0).then_some(window)
    }

    /// Goes on to the next frame.
    pub(super) fn next(&mut self) {
        self.span.copy_within(HOP.., 0);
        self.span[SPAN - HOP..].fill(0.0);
    }

    /// Leaves what the next call needs in the memory.
    pub(super) fn keep(self, memory: &mut Memory<'_>) {
        let kept = memory.excitation.len();
        memory.excitation.copy_from_slice(&self.span[..kept]);
        memory.set_phase(self.phase);
    }

    /// Moves the phase from sample `n` to the next frame's centre, or to `to`, and adds a pulse wherever
    /// it passes a whole number; the sample it came to. The span begins at sample `start`.
    fn stretch(&mut self, n: i64, to: i64, start: i64, end: i64) -> i64 {
        let hop = HOP as i64;
        // Samples since the centre of the frame below, which is `low` frames after the first.
        let since = n - (self.first * HOP as u64) as i64 - hop / 2;
        let (low, offset) = (since.div_euclid(hop), since.rem_euclid(hop));
        let last = self.pitches.len() as i64 - 1;
        let at = |i: i64| self.pitches[i.clamp(0, last) as usize];
        let (low, high) = (at(low), at(low + 1));
        let scale = CYCLE as f64 / f64::from(SAMPLE_RATE);
        let (base, slope) = (
            low.hertz * scale,
            (high.hertz - low.hertz) * scale / HOP as f64,
        );
        let until = to.min(n + hop - offset);
        for (n, offset) in (n..until).zip(offset..) {
            let step = (base + slope * offset as f64) as u64;
            self.phase += step;
            if self.phase >= CYCLE {
                self.phase -= CYCLE;
                let share = offset as f32 / HOP as f32;
                let voiced = low.voiced * (1.0 - share) + high.voiced * share;
                self.pulse(n, step, voiced, start, end);
            }
        }
        until
    }

    /// Adds the pulse that is noticed at sample `n`, where the phase moves by `step`.
    fn pulse(&mut self, n: i64, step: u64, voiced: f32, start: i64, end: i64) {
        if voiced == 0.0 {
            return;
        }
        let loud = (CYCLE as f64 / step as f64).sqrt() as f32 * voiced;
        // The pulse is so many samples before the sample at which it is noticed.
        let late = (self.phase as f64 / step as f64) as f32;
        for (tap, weight) in (-(PULSE_BACK as i64)..).zip(pulse(late)) {
            let at = n + tap;
            if (0..end).contains(&at) {
                self.span[(at - start) as usize] += loud * weight;
            }
        }
    }
}

/// A sinc within a Hann window of eight taps, `late` samples before tap 0.
fn pulse(late: f32) -> [f32; TAPS] {
    // sin(pi (tap + late)) is the same for all taps but for its sign.
    let sine = (PI * late).sin();
    std::array::from_fn(|i| {
        let tap = i as f32 - PULSE_BACK as f32;
        let distance = tap + late;
        if distance.abs() >= TAPS as f32 / 2.0 {
            return 0.0;
        }
        let sinc = match distance {
            0.0 => 1.0,
            _ if i % 2 == 0 => sine / (PI * distance),
            _ => -sine / (PI * distance),
        };
        sinc * (0.5 + 0.5 * (2.0 * PI * distance / TAPS as f32).cos())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_on_a_sample_is_an_impulse() {
        let taps = pulse(0.0);
        for (i, tap) in taps.iter().enumerate() {
            let expected = if i == PULSE_BACK { 1.0 } else { 0.0 };
            assert!((tap - expected).abs() < 1e-6, "tap {i}: {tap}");
        }
    }

    #[test]
    fn a_pulse_between_samples_keeps_its_sum() {
        for late in [0.01, 0.3, 0.5, 0.99] {
            let sum: f32 = pulse(late).iter().sum();
            assert!((sum - 1.0).abs() < 0.02, "{late}: {sum}");
        }
    }
}
