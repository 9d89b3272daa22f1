//! What the vocoder remembers beside its trunk's state, in one array of numbers that lives in a
//! [`State`] like everything else.

use super::RECORD;
use crate::config::{AHEAD, HOP, N_FFT};
use crate::error::VoiceError;
use sillage_kernels::StateMut;
use sillage_state::{Fingerprint, Layout, SlotSpec, State, StateType};
use std::sync::Arc;

/// Samples of a window before the hop it belongs to begins.
pub(crate) const MARGIN: usize = N_FFT / 2 - HOP / 2;
/// A pulse reaches so many samples back from the one at which it is noticed ...
pub(crate) const PULSE_BACK: usize = 4;
/// ... and so many forward.
pub(crate) const PULSE_AHEAD: usize = 3;
/// Excitation that is at hand for a frame: its window, and the tails of pulses just beyond.
pub(crate) const SPAN: usize = N_FFT + PULSE_BACK + PULSE_AHEAD;
/// What of it the next frame needs again.
const KEPT: usize = SPAN - HOP;
/// Sound that is not complete before the next frame.
pub(crate) const TAIL: usize = N_FFT - HOP;
/// Scalars: phase in two parts, waiting frames, log F0 of the newest frame.
const SCALARS: usize = 4;
const LEN: usize = AHEAD * RECORD + KEPT + TAIL + SCALARS;
/// A phase is a fraction of a cycle with this many bits, kept as two whole numbers that f32 holds exactly.
pub(crate) const PHASE_BITS: u32 = 48;
const HALF: u32 = PHASE_BITS / 2;

/// A view of the array.
pub(crate) struct Memory<'a> {
    /// Frames that wait for those after them, oldest first.
    waiting: &'a mut [f32],
    /// Excitation from the window of the next frame on, `[KEPT]`.
    pub(crate) excitation: &'a mut [f32],
    /// Overlapping windows that are not complete, from the window of the next frame on, `[TAIL]`.
    pub(crate) tail: &'a mut [f32],
    scalars: &'a mut [f32],
}

/// The layout of such states.
pub(crate) fn layout(model: Fingerprint) -> Result<Arc<Layout>, VoiceError> {
    let ty = StateType::F32;
    let slots = vec![("vocoder.memory".to_owned(), SlotSpec::Scan { len: LEN, ty })];
    Ok(Arc::new(Layout::new(model, slots)?))
}

impl<'a> Memory<'a> {
    /// Of a state of this module's layout; `None` for another.
    pub(crate) fn of(state: &'a mut State) -> Option<Self> {
        let StateMut::F32(all) = state.scan_mut(0) else {
            return None;
        };
        let (waiting, rest) = all.split_at_mut_checked(AHEAD * RECORD)?;
        let (excitation, rest) = rest.split_at_mut_checked(KEPT)?;
        let (tail, scalars) = rest.split_at_mut_checked(TAIL)?;
        (scalars.len() == SCALARS).then_some(Memory {
            waiting,
            excitation,
            tail,
            scalars,
        })
    }

    /// The waiting frames.
    pub(crate) fn waiting(&self) -> &[f32] {
        let count = (self.scalars[2] as usize).min(AHEAD);
        &self.waiting[..count * RECORD]
    }

    /// Leaves the last of `records` waiting.
    pub(crate) fn wait(&mut self, records: &[f32]) {
        self.waiting[..records.len()].copy_from_slice(records);
        self.waiting[records.len()..].fill(0.0);
        self.scalars[2] = (records.len() / RECORD) as f32;
    }

    /// log F0 of the newest frame.
    pub(crate) fn log_f0(&self) -> f32 {
        self.scalars[3]
    }

    pub(crate) fn set_log_f0(&mut self, log_f0: f32) {
        self.scalars[3] = log_f0;
    }

    /// The phase of the pulses, in units of `2^-PHASE_BITS` cycles.
    pub(crate) fn phase(&self) -> u64 {
        ((self.scalars[0] as u64) << HALF) | self.scalars[1] as u64
    }

    pub(crate) fn set_phase(&mut self, phase: u64) {
        let low = phase & ((1 << HALF) - 1);
        self.scalars[0] = ((phase >> HALF) & ((1 << HALF) - 1)) as f32;
        self.scalars[1] = low as f32;
    }

    /// Whether the numbers are such as a vocoder leaves behind.
    pub(crate) fn is_sane(&self) -> bool {
        let whole = |x: f32, below: f32| x >= 0.0 && x < below && x.fract() == 0.0;
        let limit = (1u32 << HALF) as f32;
        let all = [&*self.waiting, &*self.excitation, &*self.tail];
        whole(self.scalars[0], limit)
            && whole(self.scalars[1], limit)
            && whole(self.scalars[2], AHEAD as f32 + 1.0)
            && self.scalars[3].is_finite()
            && all.iter().all(|part| part.iter().all(|v| v.is_finite()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_kept_exactly() {
        let layout = layout(Fingerprint::of(b"test")).unwrap();
        let mut state = State::new(layout);
        let mut memory = Memory::of(&mut state).unwrap();
        for phase in [
            0,
            1,
            (1 << 24) - 1,
            1 << 24,
            (1 << 48) - 1,
            0x1234_5678_9abc,
        ] {
            memory.set_phase(phase);
            assert_eq!(memory.phase(), phase);
            assert!(memory.is_sane());
        }
        memory.excitation[7] = f32::NAN;
        assert!(!memory.is_sane());
    }
}
