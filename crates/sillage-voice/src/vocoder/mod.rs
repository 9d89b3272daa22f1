//! Frames to samples: a trunk that says per frame how loud and with what phase each bin of a pulse train
//! and of noise comes out, and one inverse transform a frame.

mod excitation;
mod memory;
mod synthesis;

pub(crate) use memory::{MARGIN, Memory, layout as memory_layout};
pub(crate) use synthesis::{Job, Synthesis};

use crate::config::{AHEAD, BINS, Config, FRAME, MELS, NOISE_BANDS};
use crate::error::VoiceError;
use crate::project::project;
use sillage_formats::Checkpoint;
use sillage_kernels::{Compute, Linear};
use sillage_models::{LoadOptions, Stack, StackRow, Tensors};

/// What the trunk says about a frame: log-gains and phases of the pulses' bins, log-gains of the noise.
pub(crate) const HEAD: usize = 2 * BINS + NOISE_BANDS;
/// Numbers of a frame on its way to the vocoder: log-mel bands, log F0, voicing (0 or 1), gain.
pub(crate) const RECORD: usize = MELS + 3;
/// log F0 is limited to this: 20 to about 1,100 Hz.
pub(crate) const LOG_F0: (f32, f32) = (3.0, 7.0);

/// The trunk with what stands before and behind it.
#[derive(Debug)]
pub(crate) struct Vocoder {
    pub(crate) trunk: Stack,
    input: Linear,
    head: Linear,
}

impl Vocoder {
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        config: &Config,
        options: &LoadOptions,
    ) -> Result<Self, VoiceError> {
        let d = config.vocoder.d_model;
        let tensors = Tensors::new(checkpoint);
        let role = "a projection of the vocoder";
        let stacked = (AHEAD + 1) * FRAME;
        Ok(Vocoder {
            trunk: Stack::load(checkpoint, "vocoder.trunk", &config.vocoder, options)?,
            input: tensors.projection("vocoder.input", role, d, stacked, true)?,
            head: tensors.projection("vocoder.head", role, HEAD, d, true)?,
        })
    }

    /// What enters the trunk for `rows` stacked frames.
    pub(crate) fn inputs(&self, cx: &Compute, stacked: &[f32], rows: usize) -> Vec<f32> {
        project(cx, &self.input, stacked, rows)
    }

    /// What the trunk says about each frame, `[frames, HEAD]`, all rows one after another.
    pub(crate) fn forward(
        &self,
        cx: &Compute,
        rows: &mut [StackRow<'_>],
    ) -> Result<Vec<f32>, VoiceError> {
        let len: usize = rows.iter().map(|row| row.inputs.len()).sum();
        let mut y = vec![0.0; len];
        self.trunk.forward(cx, rows, &mut y)?;
        Ok(project(cx, &self.head, &y, len / self.trunk.d_model()))
    }
}

/// Appends what the trunk reads of frame `at`: itself and the frames after it, of which the last repeats.
pub(crate) fn push_stacked(records: &[f32], at: usize, out: &mut Vec<f32>) {
    let last = records.len() / RECORD - 1;
    for k in 0..=AHEAD {
        let record = &records[(at + k).min(last) * RECORD..][..RECORD];
        out.extend_from_slice(&record[..MELS]);
        out.push((record[MELS] - 5.0) / 0.5);
        out.push(record[MELS + 1]);
    }
}
