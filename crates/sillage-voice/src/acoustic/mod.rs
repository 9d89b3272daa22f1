//! Phonemes to frames: a text encoder that sees one phrase from both ends and the voice's tokens,
//! durations, and a causal backbone that makes two frames a step.

mod durations;
mod text;

pub(crate) use durations::Clock;
pub(crate) use text::{TextEncoder, TextVoice};

use crate::config::{Config, FRAME, FRAMES_PER_STEP, NEAR, VOICE_DIM};
use crate::error::VoiceError;
use crate::project::{all_finite, project};
use sillage_formats::Checkpoint;
use sillage_kernels::{Compute, Linear};
use sillage_models::{LoadOptions, Stack, StackRow, Tensors};
use sillage_state::State;

/// The backbone with what stands before and behind it.
#[derive(Debug)]
pub(crate) struct Acoustic {
    pub(crate) backbone: Stack,
    join: Linear,
    voice: Linear,
    prompt_voice: Linear,
    prompt: Vec<f32>,
    /// `[NEAR, d_model]`, by the steps since a unit began.
    from_start: Vec<f32>,
    /// `[NEAR, d_model]`, by the steps until it ends.
    to_end: Vec<f32>,
    head: Linear,
}

impl Acoustic {
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        config: &Config,
        options: &LoadOptions,
    ) -> Result<Self, VoiceError> {
        let (d, text) = (config.acoustic.d_model, config.text_forward.d_model);
        let tensors = Tensors::new(checkpoint);
        let at = |name: &str| format!("acoustic.{name}");
        let role = "a projection into the backbone";
        let near = |name: &str| tensors.values(&at(name), "where in a unit a step is", &[NEAR, d]);
        Ok(Acoustic {
            backbone: Stack::load(checkpoint, "acoustic.backbone", &config.acoustic, options)?,
            join: tensors.projection(&at("join"), role, d, text, true)?,
            voice: tensors.projection(&at("voice"), role, d, VOICE_DIM, false)?,
            prompt_voice: tensors.projection(&at("prompt_voice"), role, d, VOICE_DIM, false)?,
            prompt: tensors.values(&at("prompt"), "the prompt", &[d])?,
            from_start: near("from_start.weight")?,
            to_end: near("to_end.weight")?,
            head: tensors.projection(
                &at("head"),
                "the projection to frames",
                FRAMES_PER_STEP * FRAME,
                d,
                true,
            )?,
        })
    }

    /// Width of a step's input.
    pub(crate) fn d_model(&self) -> usize {
        self.backbone.d_model()
    }

    /// What a voice adds to every step.
    pub(crate) fn voice_term(&self, cx: &Compute, voice: &[f32]) -> Vec<f32> {
        project(cx, &self.voice, voice, 1)
    }

    /// The state that a voice's utterances begin with.
    pub(crate) fn voice_state(&self, cx: &Compute, voice: &[f32]) -> Result<State, VoiceError> {
        let mut inputs = project(cx, &self.prompt_voice, voice, 1);
        for (x, prompt) in inputs.iter_mut().zip(&self.prompt) {
            *x += prompt;
        }
        let mut state = self.backbone.new_state();
        let mut out = vec![0.0; inputs.len()];
        let row = StackRow {
            state: &mut state,
            inputs: &inputs,
        };
        self.backbone.forward(cx, &mut [row], &mut out)?;
        if !all_finite(&out) {
            return Err(VoiceError::NotFinite {
                part: "acoustic backbone",
            });
        }
        Ok(state)
    }

    /// What units (their text vectors one after another) put into each of their steps, voice included.
    pub(crate) fn unit_inputs(
        &self,
        cx: &Compute,
        h: &[f32],
        units: usize,
        voice: &[f32],
    ) -> Vec<f32> {
        let mut inputs = project(cx, &self.join, h, units);
        for row in inputs.chunks_exact_mut(voice.len().max(1)) {
            for (x, v) in row.iter_mut().zip(voice) {
                *x += v;
            }
        }
        inputs
    }

    /// Appends the input of step `step` of a unit that has `count` steps.
    pub(crate) fn push_step(&self, unit: &[f32], step: u32, count: u32, out: &mut Vec<f32>) {
        let d = self.d_model();
        let row = |steps: u32| (steps as usize).min(NEAR - 1) * d;
        let (from, to) = (row(step), row(count.saturating_sub(step + 1)));
        let near = self.from_start[from..from + d]
            .iter()
            .zip(&self.to_end[to..to + d]);
        out.extend(unit.iter().zip(near).map(|(x, (from, to))| x + (from + to)));
    }

    /// Feeds steps; what comes out for each, `[steps, 2 frames, FRAME]`, all rows one after another.
    pub(crate) fn forward(
        &self,
        cx: &Compute,
        rows: &mut [StackRow<'_>],
    ) -> Result<Vec<f32>, VoiceError> {
        let len: usize = rows.iter().map(|row| row.inputs.len()).sum();
        let mut y = vec![0.0; len];
        self.backbone.forward(cx, rows, &mut y)?;
        Ok(project(cx, &self.head, &y, len / self.d_model()))
    }
}
