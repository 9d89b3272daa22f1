//! Hearing a voice: from a recording to a voice vector and the mean pitch.

use crate::config::{Config, HOP, MELS, SAMPLE_RATE, VOICE_DIM};
use crate::error::VoiceError;
use crate::features::{active_frames, log_mel, normalising_gain};
use crate::project::{all_finite, project};
use crate::vocoder::LOG_F0;
use crate::voice::stretched;
use sillage_formats::Checkpoint;
use sillage_kernels::{Compute, Linear};
use sillage_models::{LoadOptions, Stack, StackRow, Tensors};
use sillage_state::State;

/// Frames of a recording that are heard as one; longer recordings are heard in equal pieces.
const PIECE: usize = 960;
/// Less speech than this tells nothing about a voice.
const NEEDED: f64 = 1.0;
/// Frames of silence that stay on either side of the speech.
const EDGE: usize = 8;
/// Frames heard at most: two minutes.
const MOST: usize = 80 * 120;

/// The speaker encoder.
#[derive(Debug)]
pub(crate) struct SpeakerEncoder {
    input: Linear,
    trunk: Stack,
    gate: Linear,
    out: Linear,
    /// Lowest bands that it sees; the others are not in every recording.
    bands: usize,
    mean: Vec<f32>,
    std: Vec<f32>,
}

/// What was heard.
pub(crate) struct Heard {
    pub(crate) vector: [f32; VOICE_DIM],
    pub(crate) mu: f32,
}

impl SpeakerEncoder {
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        config: &Config,
        options: &LoadOptions,
        mean: &[f32],
        std: &[f32],
    ) -> Result<Self, VoiceError> {
        let d = config.speaker.d_model;
        let tensors = Tensors::new(checkpoint);
        let project = |name: &str, rows: usize, cols: usize| {
            let at = format!("speaker.{name}");
            tensors.projection(&at, "a projection of the speaker encoder", rows, cols, true)
        };
        Ok(SpeakerEncoder {
            input: project("input", d, MELS)?,
            trunk: Stack::load(checkpoint, "speaker.trunk", &config.speaker, options)?,
            gate: project("gate", 1, d)?,
            out: project("out", VOICE_DIM + 1, 2 * d)?,
            bands: config.speaker_bands,
            mean: mean.to_vec(),
            std: std.to_vec(),
        })
    }

    /// Hears a recording: mono, 24 kHz.
    pub(crate) fn hear(&self, cx: &Compute, samples: &[f32]) -> Result<Heard, VoiceError> {
        let mels = reference(samples)?;
        let frames = mels.len() / MELS;
        let pieces = frames.div_ceil(PIECE);
        // Equal pieces, so that none is too short to be heard well.
        let each = frames.div_ceil(pieces.max(1)) * MELS;
        let pieces: Vec<&[f32]> = mels.chunks(each.max(MELS)).collect();
        self.encode(cx, &pieces)
    }

    /// Encodes pieces of a log-mel spectrogram, each from the empty state; the mean of what they say.
    pub(crate) fn encode(&self, cx: &Compute, pieces: &[&[f32]]) -> Result<Heard, VoiceError> {
        let not_finite = VoiceError::NotFinite {
            part: "speaker encoder",
        };
        let normal: Vec<f32> = pieces.iter().flat_map(|mel| self.normalised(mel)).collect();
        let m = normal.len() / MELS;
        let inputs = project(cx, &self.input, &normal, m);
        let d = self.trunk.d_model();
        let mut states: Vec<State> = pieces.iter().map(|_| self.trunk.new_state()).collect();
        let mut rest = &inputs[..];
        let mut rows = Vec::new();
        for (state, piece) in states.iter_mut().zip(pieces) {
            let (inputs, after) = rest.split_at(piece.len() / MELS * d);
            rows.push(StackRow { state, inputs });
            rest = after;
        }
        let mut g = vec![0.0; m * d];
        self.trunk.forward(cx, &mut rows, &mut g)?;
        let gates = project(cx, &self.gate, &g, m);
        let mut pooled = Vec::new();
        let mut start = 0;
        for piece in pieces {
            let end = start + piece.len() / MELS;
            pooled.extend(pool(&g[start * d..end * d], &gates[start..end], d));
            start = end;
        }
        let out = project(cx, &self.out, &pooled, pieces.len());
        if !all_finite(&out) {
            return Err(not_finite);
        }
        let mut sum = [0.0; VOICE_DIM];
        let mut mu = 0.0;
        for said in out.chunks_exact(VOICE_DIM + 1) {
            let vector = std::array::from_fn(|i| said[i]);
            let vector = stretched(vector).ok_or(VoiceError::NotFinite {
                part: "speaker encoder",
            })?;
            sum.iter_mut().zip(vector).for_each(|(s, v)| *s += v);
            mu += 5.0 + 0.5 * said[VOICE_DIM];
        }
        let (low, high) = LOG_F0;
        Ok(Heard {
            vector: stretched(sum).ok_or(not_finite)?,
            mu: (mu / pieces.len() as f32).clamp(low, high),
        })
    }

    /// Frames as the networks see them, the upper bands left out.
    fn normalised(&self, mel: &[f32]) -> Vec<f32> {
        let one = |(i, x): (usize, &f32)| {
            let band = i % MELS;
            if band < self.bands {
                (x - self.mean[band]) / self.std[band]
            } else {
                0.0
            }
        };
        mel.iter().enumerate().map(one).collect()
    }
}

/// The log-mel spectrogram of the speech in a recording, at the usual loudness.
fn reference(samples: &[f32]) -> Result<Vec<f32>, VoiceError> {
    let bad = |what| VoiceError::BadClip { what };
    if samples.iter().any(|x| !x.is_finite()) {
        return Err(bad("has samples that are not numbers"));
    }
    if samples.iter().all(|x| x.abs() < 1e-4) {
        return Err(bad("is silent"));
    }
    let active = active_frames(samples);
    let speech = active.iter().filter(|a| **a).count();
    let seconds = (speech * HOP) as f64 / f64::from(SAMPLE_RATE);
    if seconds < NEEDED {
        return Err(VoiceError::ShortClip {
            found: seconds,
            needed: NEEDED,
        });
    }
    let first = active.iter().position(|a| *a).unwrap_or(0);
    let last = active.iter().rposition(|a| *a).unwrap_or(0);
    let start = first.saturating_sub(EDGE);
    let end = (last + 1 + EDGE).min(active.len()).min(start + MOST);
    let gain = normalising_gain(samples);
    let speech: Vec<f32> = samples[start * HOP..end * HOP]
        .iter()
        .map(|x| x * gain)
        .collect();
    Ok(log_mel(&speech))
}

/// Mean and deviation of the frames `g`, `[frames, d]`, weighted by the sigmoid of their gates.
fn pool(g: &[f32], gates: &[f32], d: usize) -> Vec<f32> {
    let weights: Vec<f64> = gates
        .iter()
        .map(|x| 1.0 / (1.0 + (-f64::from(*x)).exp()))
        .collect();
    let total = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let mut mean = vec![0.0_f64; d];
    for (row, weight) in g.chunks_exact(d).zip(&weights) {
        for (mean, x) in mean.iter_mut().zip(row) {
            *mean += weight / total * f64::from(*x);
        }
    }
    let mut variance = vec![0.0_f64; d];
    for (row, weight) in g.chunks_exact(d).zip(&weights) {
        for ((variance, mean), x) in variance.iter_mut().zip(&mean).zip(row) {
            *variance += weight / total * (f64::from(*x) - mean).powi(2);
        }
    }
    let deviation = variance.iter().map(|v| (v + 1e-5).sqrt());
    mean.iter()
        .copied()
        .chain(deviation)
        .map(|v| v as f32)
        .collect()
}
