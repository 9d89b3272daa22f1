//! What is measured: a side with its model, and its sessions at a depth.

use crate::LabError;
use crate::error::failed;
use crate::plan::Context;
use crate::shapes::{self, KINDS, Kind, Size, Weights};
use serde_json::{Value, json};
use sillage_kernels::Compute;
use sillage_models::{Model, Row, Wanted};
use sillage_state::{SlotSpec, State};
use std::time::Instant;

/// Tokens that are read for real before a cache is filled: a page of it.
const REAL: usize = 64;
/// Tokens of one call when much is read: pieces of every size that models use
/// fit in whole.
const CALL: usize = 4096;

/// A side, loaded.
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) model: Model,
}

impl Subject {
    /// Loads one side.
    pub(crate) fn load(
        context: &Context,
        size: Size,
        kind: Kind,
        weights: Weights,
    ) -> Result<Self, LabError> {
        let model = shapes::load(&context.work, size, kind, weights)?;
        Ok(Self { kind, model })
    }

    /// Loads all sides, which must be matched.
    pub(crate) fn all(
        context: &Context,
        size: Size,
        weights: Weights,
    ) -> Result<Vec<Self>, LabError> {
        shapes::check(size, weights)?;
        KINDS
            .into_iter()
            .map(|kind| Self::load(context, size, kind, weights))
            .collect()
    }

    /// What is needed to measure it again.
    pub(crate) fn config(&self, context: &Context, weights: Weights) -> Value {
        let description = self.model.description();
        json!({
            "architecture": description.architecture, "parameters": self.model.parameters(),
            "d_model": description.d_model, "residuals": description.residuals.len(),
            "vocabulary": description.vocab, "weights": weights.name(),
            "weight_bytes": self.model.weight_bytes(), "scan_state": "f32", "cache": "bf16",
            "threads": context.cx.pool.threads(), "isa": context.cx.isa.name(),
            "seed": context.seed,
        })
    }

    /// Bytes of a session after `length` tokens, and of one more copy of what
    /// does not grow: a sample writes into a fork.
    pub(crate) fn session_bytes(&self, length: u64) -> u64 {
        let layout = self.model.layout();
        layout.bytes(length) + layout.fixed_bytes()
    }
}

/// Token `i` of a fixed sequence that visits the vocabulary unevenly.
fn token(i: u64, vocab: usize) -> u32 {
    let mixed = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    (mixed % vocab as u64) as u32
}

/// Reads the next `count` tokens of the sequence, with the logits of the last.
pub(crate) fn read(
    cx: &Compute,
    model: &Model,
    state: &mut State,
    count: u64,
    progress: &dyn Fn(u64),
) -> Result<(), LabError> {
    let mut left = count;
    while left > 0 {
        let now = left.min(CALL as u64);
        let from = state.position();
        let tokens: Vec<u32> = (from..from + now)
            .map(|i| token(i, model.vocab()))
            .collect();
        left -= now;
        let row = Row {
            state: &mut *state,
            tokens: &tokens,
            logits: if left == 0 {
                Wanted::Last
            } else {
                Wanted::None
            },
        };
        model.forward(cx, &mut [row]).map_err(failed)?;
        progress(count - left);
    }
    Ok(())
}

/// A state as after `length` tokens, without the minutes that reading them
/// takes: the first 64 are read, then caches are filled with noise. How long a
/// step takes does not depend on what keys and values say, only on how many
/// there are; a test holds its work to that of a state that has read it all.
pub(crate) fn at_depth(cx: &Compute, model: &Model, length: u64) -> Result<State, LabError> {
    let mut state = model.new_state();
    read(cx, model, &mut state, length.min(REAL as u64), &|_| {})?;
    let more = length.saturating_sub(REAL as u64);
    let layout = model.layout().clone();
    for (slot, (_, spec)) in layout.slots().iter().enumerate() {
        let SlotSpec::Kv { shape, .. } = spec else {
            continue;
        };
        let row = shape.kv_heads * shape.head_dim;
        let noise: Vec<f32> = (0..(REAL * row) as u64)
            .map(|i| token(i, 1 << 16) as f32 / 32_768.0 - 1.0)
            .collect();
        let mut left = more as usize;
        while left > 0 {
            let now = left.min(REAL);
            let rows = &noise[..now * row];
            state.kv_mut(slot).append(now, rows, rows);
            left -= now;
        }
    }
    state.advance(more);
    Ok(state)
}

/// One token for every state.
pub(crate) fn step(
    cx: &Compute,
    model: &Model,
    states: &mut [State],
    i: usize,
) -> Result<(), LabError> {
    let tokens: Vec<u32> = (0..states.len())
        .map(|s| token((i * 31 + s) as u64, model.vocab()))
        .collect();
    model.step(cx, states, &tokens).map_err(failed)?;
    Ok(())
}

/// Seconds in which every one of `sessions` writes `steps` tokens; they are
/// left as they were.
pub(crate) fn write(
    cx: &Compute,
    model: &Model,
    sessions: &[State],
    steps: usize,
) -> Result<f64, LabError> {
    let mut states: Vec<State> = sessions.iter().map(State::fork).collect();
    // The first step copies what the forks share; that is no decoding.
    step(cx, model, &mut states, 0)?;
    let start = Instant::now();
    for i in 0..steps {
        step(cx, model, &mut states, i + 1)?;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Steps that take about `seconds`, at most `most`; found by trying.
pub(crate) fn steps_for(
    cx: &Compute,
    model: &Model,
    sessions: &[State],
    seconds: f64,
    most: usize,
) -> Result<usize, LabError> {
    let one = write(cx, model, sessions, 2)? / 2.0;
    let steps = (seconds / one.max(1e-6)).ceil();
    // As floats saturate, so does this.
    Ok((steps as usize).clamp(2, most.max(2)))
}
