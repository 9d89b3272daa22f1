//! The text encoder: a pure function of one phrase and the voice.

use crate::config::{Config, VOICE_DIM, VOICE_TOKENS};
use crate::error::VoiceError;
use crate::phrase::Phrase;
use crate::project::{all_finite, project};
use crate::voice::Voice;
use sillage_formats::Checkpoint;
use sillage_kernels::{Activation, Compute, Linear, activate};
use sillage_models::{LoadOptions, Stack, StackRow, Tensors};
use sillage_state::State;

/// Two stacks that read a phrase from either end, a third that looks up in the voice's tokens how it is
/// said, and the durations of its units.
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
    token: Linear,
    attend: Stack,
    duration_up: Linear,
    duration_down: Linear,
}

/// What a voice brings to the encoder. Made once; all phrases share it.
#[derive(Debug)]
pub(crate) struct TextVoice {
    /// Added to every unit, `[d]`.
    term: Vec<f32>,
    /// Where the attending stack is after the voice's tokens; forked for every phrase.
    state: State,
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
        for (what, stack) in [
            ("text.backward", &config.text_backward),
            ("text.attend", &config.text_attend),
        ] {
            if stack.d_model != d {
                return Err(VoiceError::Width {
                    what,
                    found: stack.d_model,
                    expected: d,
                });
            }
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
            token: project("text.token", d, VOICE_DIM, true)?,
            attend: stack("text.attend", &config.text_attend)?,
            duration_up: project("duration.up", d, d, true)?,
            duration_down: project("duration.down", 1, d, true)?,
        })
    }

    /// Shows a voice to the encoder.
    pub(crate) fn voice(&self, cx: &Compute, voice: &Voice) -> Result<TextVoice, VoiceError> {
        let mut states = [self.attend.new_state()];
        let inputs = project(cx, &self.token, &voice.tokens.values(), VOICE_TOKENS);
        let out = through(cx, &self.attend, &mut states, &[&inputs])?;
        if !all_finite(&out) {
            return Err(VoiceError::NotFinite {
                part: "text encoder",
            });
        }
        let [state] = states;
        Ok(TextVoice {
            term: project(cx, &self.voice, &voice.vector, 1),
            state,
        })
    }

    /// Encodes phrases that were checked and have units, each in its voice; `None` for one that comes out
    /// as something that is not a number.
    pub(crate) fn encode(
        &self,
        cx: &Compute,
        phrases: &[(&Phrase, &TextVoice)],
    ) -> Result<Vec<Option<Encoded>>, VoiceError> {
        let d = self.ahead.d_model();
        let joined = self.read(cx, phrases)?;
        let units = joined.len() / d;
        let mut states: Vec<State> = phrases.iter().map(|(_, v)| v.state.fork()).collect();
        let h = through(cx, &self.attend, &mut states, &parts(phrases, &joined, d))?;
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

    /// What both readers say about every unit, `[units of all phrases, d]`, before the tokens are looked
    /// at.
    fn read(
        &self,
        cx: &Compute,
        phrases: &[(&Phrase, &TextVoice)],
    ) -> Result<Vec<f32>, VoiceError> {
        let d = self.ahead.d_model();
        let inputs: Vec<Vec<f32>> = phrases
            .iter()
            .map(|(p, v)| self.embed(p, &v.term))
            .collect();
        let reversed: Vec<Vec<f32>> = inputs.iter().map(|x| flipped(x, d)).collect();
        let fresh = |stack: &Stack, inputs: &[Vec<f32>]| {
            let mut states: Vec<State> = inputs.iter().map(|_| stack.new_state()).collect();
            let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            through(cx, stack, &mut states, &inputs)
        };
        let ahead = fresh(&self.ahead, &inputs)?;
        let back = fresh(&self.back, &reversed)?;
        let mut both = Vec::with_capacity(2 * ahead.len());
        for (ahead, back) in parts(phrases, &ahead, d)
            .iter()
            .zip(parts(phrases, &back, d))
        {
            let back = flipped(back, d);
            for (f, b) in ahead.chunks(d).zip(back.chunks(d)) {
                both.extend_from_slice(f);
                both.extend_from_slice(b);
            }
        }
        Ok(project(cx, &self.join, &both, ahead.len() / d))
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

/// The rows of each phrase among those of all.
fn parts<'a>(phrases: &[(&Phrase, &TextVoice)], rows: &'a [f32], d: usize) -> Vec<&'a [f32]> {
    let mut rest = rows;
    let part = |(phrase, _): &(&Phrase, &TextVoice)| {
        let (part, after) = rest.split_at(phrase.units.len() * d);
        rest = after;
        part
    };
    phrases.iter().map(part).collect()
}

/// Every input through a stack from its state, all outputs one after another.
fn through(
    cx: &Compute,
    stack: &Stack,
    states: &mut [State],
    inputs: &[&[f32]],
) -> Result<Vec<f32>, VoiceError> {
    let mut rows: Vec<StackRow<'_>> = states
        .iter_mut()
        .zip(inputs)
        .map(|(state, inputs)| StackRow { state, inputs })
        .collect();
    let mut out = vec![0.0; inputs.iter().map(|x| x.len()).sum()];
    stack.forward(cx, &mut rows, &mut out)?;
    Ok(out)
}
