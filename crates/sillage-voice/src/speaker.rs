//! Hearing a voice: from a recording to a voice's vector, its tokens and the mean pitch.

use crate::config::{Config, HOP, MELS, SAMPLE_RATE, VOICE_DIM, VOICE_TOKENS};
use crate::error::VoiceError;
use crate::features::{active_frames, log_mel, normalising_gain};
use crate::project::{all_finite, project};
use crate::tokens::{Tokens, stretched};
use crate::vocoder::LOG_F0;
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
    /// What each token listens for.
    query: Linear,
    token: Linear,
    /// Lowest bands that it sees; the others are not in every recording.
    bands: usize,
    mean: Vec<f32>,
    std: Vec<f32>,
}

/// What was heard.
pub(crate) struct Heard {
    pub(crate) vector: [f32; VOICE_DIM],
    pub(crate) tokens: Tokens,
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
        let project = |name: &str, rows: usize, cols: usize, bias: bool| {
            let at = format!("speaker.{name}");
            tensors.projection(&at, "a projection of the speaker encoder", rows, cols, bias)
        };
        Ok(SpeakerEncoder {
            input: project("input", d, MELS, true)?,
            trunk: Stack::load(checkpoint, "speaker.trunk", &config.speaker, options)?,
            gate: project("gate", 1, d, true)?,
            out: project("out", VOICE_DIM + 1, 2 * d, true)?,
            query: project("query", VOICE_TOKENS, d, false)?,
            token: project("token", VOICE_DIM, d, true)?,
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
        let queries = project(cx, &self.query, &g, m);
        let (mut pooled, mut picked) = (Vec::new(), Vec::new());
        let mut start = 0;
        for piece in pieces {
            let end = start + piece.len() / MELS;
            let g = &g[start * d..end * d];
            pooled.extend(pool(g, &gates[start..end], d));
            picked.extend(pick(
                g,
                &queries[start * VOICE_TOKENS..end * VOICE_TOKENS],
                d,
            ));
            start = end;
        }
        let out = project(cx, &self.out, &pooled, pieces.len());
        let tokens = project(cx, &self.token, &picked, pieces.len() * VOICE_TOKENS);
        mean(&out, &tokens).ok_or(VoiceError::NotFinite {
            part: "speaker encoder",
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

/// The mean of what was heard in pieces: `out` is `[pieces, 129]`, `tokens` `[pieces, 24, 128]`. `None` if
/// something in it is no number or has no direction.
fn mean(out: &[f32], tokens: &[f32]) -> Option<Heard> {
    if !all_finite(out) || !all_finite(tokens) {
        return None;
    }
    let add = |sum: &mut [f32], direction: [f32; VOICE_DIM]| {
        let vector = stretched(direction)?;
        sum.iter_mut().zip(vector).for_each(|(s, v)| *s += v);
        Some(())
    };
    let (mut vector, mut mu) = ([0.0; VOICE_DIM], 0.0);
    let pieces = out.chunks_exact(VOICE_DIM + 1);
    let count = pieces.len() as f32;
    for said in pieces {
        add(&mut vector, std::array::from_fn(|i| said[i]))?;
        mu += 5.0 + 0.5 * said[VOICE_DIM];
    }
    let mut sums = [0.0; VOICE_TOKENS * VOICE_DIM];
    for (at, token) in tokens.as_chunks::<VOICE_DIM>().0.iter().enumerate() {
        let start = at % VOICE_TOKENS * VOICE_DIM;
        add(&mut sums[start..start + VOICE_DIM], *token)?;
    }
    let (low, high) = LOG_F0;
    Some(Heard {
        vector: stretched(vector)?,
        tokens: Tokens::stretched(&sums)?,
        mu: (mu / count).clamp(low, high),
    })
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

/// What each token picks out of the frames `g`, `[frames, d]`: their mean, weighted by the softmax over
/// the frames of `queries`, `[frames, 24]`. `[24, d]`.
fn pick(g: &[f32], queries: &[f32], d: usize) -> Vec<f32> {
    let rows = || queries.as_chunks::<VOICE_TOKENS>().0.iter();
    let mut largest = [f32::NEG_INFINITY; VOICE_TOKENS];
    for row in rows() {
        largest
            .iter_mut()
            .zip(row)
            .for_each(|(l, x)| *l = l.max(*x));
    }
    let mut total = [0.0_f64; VOICE_TOKENS];
    let mut sums = vec![0.0_f64; VOICE_TOKENS * d];
    for (frame, row) in g.chunks_exact(d).zip(rows()) {
        for (k, sum) in sums.chunks_exact_mut(d).enumerate() {
            let weight = f64::from(row[k] - largest[k]).exp();
            total[k] += weight;
            for (sum, x) in sum.iter_mut().zip(frame) {
                *sum += weight * f64::from(*x);
            }
        }
    }
    let mean = |(k, sum): (usize, &f64)| (sum / total[k / d]) as f32;
    sums.iter().enumerate().map(mean).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn pieces_count_the_same_however_long_their_vectors() {
        let axis = |at: usize, length: f32| {
            let mut vector = [0.0; VOICE_DIM];
            vector[at] = length;
            vector
        };
        let mut out = axis(3, 0.1).to_vec();
        out.push(0.2);
        out.extend(axis(4, 9.0));
        out.push(0.6);
        let tokens: Vec<f32> = (0..2 * VOICE_TOKENS)
            .flat_map(|k| axis(k, if k < VOICE_TOKENS { 0.5 } else { 7.0 }))
            .collect();
        let heard = mean(&out, &tokens).unwrap();
        let each = 8.0;
        assert!((heard.mu - 5.2).abs() < 1e-6);
        assert!((heard.vector[3] - each).abs() < 1e-3 && (heard.vector[4] - each).abs() < 1e-3);
        for (k, token) in heard.tokens.values().chunks(VOICE_DIM).enumerate() {
            let expected = |at| {
                if at == k || at == k + VOICE_TOKENS {
                    each
                } else {
                    0.0
                }
            };
            let close = |(at, v): (usize, &f32)| (v - expected(at)).abs() < 1e-3;
            assert!(token.iter().enumerate().all(close), "token {k}");
        }
        assert!(mean(&out, &vec![0.0; tokens.len()]).is_none());
        out[7] = f32::NAN;
        assert!(mean(&out, &tokens).is_none());
    }

    #[test]
    fn tokens_pick_the_frames_that_they_ask_for() {
        let g = [1.0, 10.0, 2.0, 20.0, 4.0, 40.0];
        let mut queries = [0.0_f32; 3 * VOICE_TOKENS];
        // Token 0 wants the last frame alone, token 1 shares of 2/3 and 1/3 of the first two.
        queries[2 * VOICE_TOKENS] = 2000.0;
        queries[1] = 1000.0 + 2.0_f32.ln();
        queries[VOICE_TOKENS + 1] = 1000.0;
        let picked = pick(&g, &queries, 2);
        let expected = [4.0, 40.0, 4.0 / 3.0, 40.0 / 3.0, 7.0 / 3.0, 70.0 / 3.0];
        for (found, expected) in picked.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-3, "{picked:?}");
        }
    }
}
