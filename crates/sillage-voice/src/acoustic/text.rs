//! The text encoder: a pure function of one phrase and the voice.

use crate::config::{Config, VOICE_DIM};
use crate::error::VoiceError;
use crate::phrase::Phrase;
use crate::project::{all_finite, project};
use sillage_formats::Checkpoint;
use sillage_kernels::{Activation, Compute, Linear, activate};
use sillage_models::{LoadOptions, Stack, StackRow, Tensors};
use sillage_state::State;

/// Two stacks that read a phrase from either end, and the durations of its units.
#[derive(Debug)]
pub(crate) struct TextEncoder {
    /// `[symbols, d]`.
    embedding: Vec<f32>,
    /// `[3, d]`.
    stress: Vec<f32>,
    /// `[2, d]`.
    first: Vec<f32>,
    voice: Linear,
    ahead: Stack,
    back: Stack,
    join: Linear,
    duration_up: Linear,
    duration_down: Linear,
}

/// What the encoder makes of one phrase.
pub(crate) struct Encoded {
    /// `[units, d]`.
    pub(crate) h: Vec<f32>,
    /// Steps of each unit at speed 1.
    pub(crate) steps: Vec<f32>,
}

impl TextEncoder {
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        config: &Config,
        options: &LoadOptions,
    ) -> Result<Self, VoiceError> {
        let d = config.text_forward.d_model;
        if config.text_backward.d_model != d {
            return Err(VoiceError::Width {
                what: "text.backward",
                found: config.text_backward.d_model,
                expected: d,
            });
        }
        let tensors = Tensors::new(checkpoint);
        let table = |name: &str, rows: usize| {
            tensors.values(&format!("text.{name}.weight"), "an embedding", &[rows, d])
        };
        let project = |at: &str, rows: usize, cols: usize, bias: bool| {
            tensors.projection(at, "a projection of the text encoder", rows, cols, bias)
        };
        let stack = |at: &str, stack| Stack::load(checkpoint, at, stack, options);
        Ok(TextEncoder {
            embedding: table("embedding", config.symbols.len())?,
            stress: table("stress", 3)?,
            first: table("first", 2)?,
            voice: project("text.voice", d, VOICE_DIM, false)?,
            ahead: stack("text.forward", &config.text_forward)?,
            back: stack("text.backward", &config.text_backward)?,
            join: project("text.join", d, 2 * d, true)?,
            duration_up: project("duration.up", d, d, true)?,
            duration_down: project("duration.down", 1, d, true)?,
        })
    }

    /// What a voice adds to every unit.
    pub(crate) fn voice_term(&self, cx: &Compute, voice: &[f32]) -> Vec<f32> {
        project(cx, &self.voice, voice, 1)
    }

    /// Encodes phrases that were checked and have units, each with its voice's term; `None` for one that
    /// comes out as something that is not a number.
    pub(crate) fn encode(
        &self,
        cx: &Compute,
        phrases: &[(&Phrase, &[f32])],
    ) -> Result<Vec<Option<Encoded>>, VoiceError> {
        let d = self.ahead.d_model();
        let inputs: Vec<Vec<f32>> = phrases.iter().map(|(p, v)| self.embed(p, v)).collect();
        let reversed: Vec<Vec<f32>> = inputs.iter().map(|x| flipped(x, d)).collect();
        let ahead = through(cx, &self.ahead, &inputs)?;
        let back = through(cx, &self.back, &reversed)?;
        let mut both = Vec::with_capacity(2 * ahead.len());
        let mut start = 0;
        for input in &inputs {
            let end = start + input.len();
            let back = flipped(&back[start..end], d);
            for (f, b) in ahead[start..end].chunks(d).zip(back.chunks(d)) {
                both.extend_from_slice(f);
                both.extend_from_slice(b);
            }
            start = end;
        }
        let units = start / d;
        let h = project(cx, &self.join, &both, units);
        let mut up = project(cx, &self.duration_up, &h, units);
        activate(cx, &mut up, Activation::GeluTanh);
        let logs = project(cx, &self.duration_down, &up, units);
        let mut at = 0;
        let split = phrases.iter().map(|(phrase, _)| {
            let range = at..at + phrase.units.len();
            at = range.end;
            let (h, logs) = (&h[range.start * d..range.end * d], &logs[range]);
            (all_finite(h) && all_finite(logs)).then(|| Encoded {
                h: h.to_vec(),
                steps: logs.iter().map(|x| x.exp_m1().max(0.0)).collect(),
            })
        });
        Ok(split.collect())
    }

    fn embed(&self, phrase: &Phrase, voice: &[f32]) -> Vec<f32> {
        let d = self.ahead.d_model();
        let row = |i: usize| i * d..(i + 1) * d;
        let first = &self.first[row(usize::from(phrase.first))];
        let mut out = Vec::with_capacity(phrase.units.len() * d);
        for unit in &phrase.units {
            let symbol = &self.embedding[row(usize::from(unit.symbol))];
            let stress = &self.stress[row(usize::from(unit.stress))];
            out.extend((0..d).map(|i| symbol[i] + stress[i] + first[i] + voice[i]));
        }
        out
    }
}

/// Rows in the opposite order.
fn flipped(x: &[f32], d: usize) -> Vec<f32> {
    x.chunks(d).rev().flatten().copied().collect()
}

/// Every input through a stack from the empty state.
fn through(cx: &Compute, stack: &Stack, inputs: &[Vec<f32>]) -> Result<Vec<f32>, VoiceError> {
    let mut states: Vec<State> = inputs.iter().map(|_| stack.new_state()).collect();
    let mut rows: Vec<StackRow<'_>> = states
        .iter_mut()
        .zip(inputs)
        .map(|(state, inputs)| StackRow { state, inputs })
        .collect();
    let mut out = vec![0.0; inputs.iter().map(Vec::len).sum()];
    stack.forward(cx, &mut rows, &mut out)?;
    Ok(out)
}
