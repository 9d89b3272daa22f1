//! Moving utterances on: any number at once, the weights read once for all of them.

use crate::acoustic::TextVoice;
use crate::config::{AHEAD, FRAME, FRAMES_PER_STEP, HOP, MELS};
use crate::error::VoiceError;
use crate::model::VoiceModel;
use crate::phrase::Phrase;
use crate::project::all_finite;
use crate::utterance::{Pending, Reset, Utterance};
use crate::vocoder::{HEAD, Job, LOG_F0, MARGIN, Memory, RECORD, push_stacked};
use sillage_kernels::Compute;
use sillage_models::StackRow;
use sillage_state::State;
use std::sync::{Mutex, PoisonError};

/// The steps that one utterance takes in one call.
#[derive(Default)]
pub(crate) struct Plan {
    /// How many more it may take.
    left: usize,
    /// Inputs for states that are given up after them (the voice was reset), in order.
    old: Vec<(State, Vec<f32>)>,
    /// Inputs for the utterance's own state, after those.
    inputs: Vec<f32>,
    /// Every step in order: the volume of one that is spoken, `None` for silence.
    steps: Vec<Option<f32>>,
    /// Frames for the vocoder, the waiting ones first, in [`RECORD`] numbers each.
    pub(crate) records: Vec<f32>,
}

impl VoiceModel {
    /// Makes up to `steps` more steps (25 ms each) of every utterance, and the samples that they
    /// complete.
    ///
    /// What an utterance sounds like does not depend on `steps`, on the other utterances, or on the
    /// number of threads.
    ///
    /// # Errors
    /// If an utterance belongs to another model, nothing is changed. If weights or a voice make values
    /// that are not finite, that utterance is at its end and has no more sound, and the others were moved
    /// on.
    pub fn advance(
        &self,
        cx: &Compute,
        utterances: &mut [&mut Utterance],
        steps: usize,
    ) -> Result<(), VoiceError> {
        let foreign = |u: &&mut Utterance| u.speaker.memory.id() != self.memory.id();
        if let Some(index) = utterances.iter().position(foreign) {
            return Err(VoiceError::ForeignUtterance { index });
        }
        let mut plans = self.plan(cx, utterances, steps)?;
        self.speak(cx, utterances, &mut plans)?;
        self.sound(cx, utterances, &mut plans)?;
        for utterance in utterances {
            if let Some(part) = utterance.failed {
                return Err(VoiceError::NotFinite { part });
            }
        }
        Ok(())
    }

    /// Which steps come next, phrases encoded as they are reached.
    fn plan(
        &self,
        cx: &Compute,
        utterances: &mut [&mut Utterance],
        steps: usize,
    ) -> Result<Vec<Plan>, VoiceError> {
        let plan = |u: &&mut Utterance| Plan {
            left: if u.done { 0 } else { steps },
            ..Plan::default()
        };
        let mut plans: Vec<Plan> = utterances.iter().map(plan).collect();
        loop {
            let mut reached = Vec::new();
            for (utterance, plan) in utterances.iter_mut().zip(&mut plans) {
                if self.take_steps(utterance, plan) {
                    reached.push(&mut **utterance);
                }
            }
            if reached.is_empty() {
                return Ok(plans);
            }
            self.encode(cx, &mut reached)?;
        }
    }

    /// Takes steps of encoded phrases; whether it came to one that is not encoded.
    fn take_steps(&self, utterance: &mut Utterance, plan: &mut Plan) -> bool {
        while plan.left > 0 {
            let Some(front) = utterance.queue.front() else {
                return false;
            };
            let place = &mut utterance.place;
            let units = front.phrase.units.len();
            if place.pause < front.phrase.pause {
                place.pause += 1;
                plan.steps.push(None);
                plan.left -= 1;
            } else if place.unit < units {
                let (Some(counts), Some(inputs)) = (&front.counts, &front.inputs) else {
                    return true;
                };
                let (unit, count) = (place.unit, counts[place.unit]);
                if place.step == count {
                    (place.unit, place.step) = (unit + 1, 0);
                    continue;
                }
                let d = self.acoustic.d_model();
                let input = &inputs[unit * d..(unit + 1) * d];
                self.acoustic
                    .push_step(input, place.step, count, &mut plan.inputs);
                place.step += 1;
                plan.steps.push(Some(front.phrase.volume));
                plan.left -= 1;
            } else {
                let resets = front.phrase.sentence_end;
                if resets && utterance.options.reset == Reset::SentenceEnd {
                    let fresh = utterance.speaker.backbone.fork();
                    let old = std::mem::replace(&mut utterance.backbone, fresh);
                    if !plan.inputs.is_empty() {
                        plan.old.push((old, std::mem::take(&mut plan.inputs)));
                    }
                }
                if let Some(Pending {
                    phrase,
                    counts: None,
                    ..
                }) = utterance.queue.pop_front()
                {
                    // A mere pause, which nobody encoded.
                    utterance.timeline.plan(&phrase, &[]);
                }
                utterance.place = Default::default();
            }
        }
        false
    }

    /// Encodes the front phrase of each of these utterances.
    fn encode(&self, cx: &Compute, utterances: &mut [&mut Utterance]) -> Result<(), VoiceError> {
        let mut fronts: Vec<(&Phrase, &TextVoice)> = Vec::new();
        for utterance in utterances.iter() {
            if let Some(front) = utterance.queue.front() {
                fronts.push((&front.phrase, &utterance.speaker.text));
            }
        }
        let encoded = self.text.encode(cx, &fronts)?;
        for (utterance, encoded) in utterances.iter_mut().zip(encoded) {
            let Some(encoded) = encoded else {
                utterance.fail("text encoder");
                continue;
            };
            let Utterance {
                queue,
                clock,
                timeline,
                speaker,
                ..
            } = &mut **utterance;
            let Some(front) = queue.front_mut() else {
                continue;
            };
            let phrase = &front.phrase;
            // A resumed utterance knows its durations.
            if front.counts.is_none() {
                let units = phrase.units.iter().zip(&encoded.steps);
                let counts: Vec<u32> = units
                    .map(|(unit, steps)| {
                        let sounds = self.sounds[usize::from(unit.symbol)];
                        clock.give(*steps, phrase.speed, sounds)
                    })
                    .collect();
                timeline.plan(phrase, &counts);
                front.counts = Some(counts);
            }
            let (units, term) = (phrase.units.len(), &speaker.step_term);
            front.inputs = Some(self.acoustic.unit_inputs(cx, &encoded.h, units, term));
        }
        Ok(())
    }

    /// Steps to frames.
    fn speak(
        &self,
        cx: &Compute,
        utterances: &mut [&mut Utterance],
        plans: &mut [Plan],
    ) -> Result<(), VoiceError> {
        let mut rows = Vec::new();
        for (utterance, plan) in utterances.iter_mut().zip(plans.iter_mut()) {
            for (state, inputs) in &mut plan.old {
                rows.push(StackRow { state, inputs });
            }
            if !plan.inputs.is_empty() {
                rows.push(StackRow {
                    state: &mut utterance.backbone,
                    inputs: &plan.inputs,
                });
            }
        }
        let said = match rows.is_empty() {
            true => Vec::new(),
            false => self.acoustic.forward(cx, &mut rows)?,
        };
        let mut said = said.chunks_exact(FRAMES_PER_STEP * FRAME);
        for (utterance, plan) in utterances.iter_mut().zip(plans) {
            collect(utterance, plan, &mut said);
        }
        Ok(())
    }

    /// Frames to samples.
    pub(crate) fn sound(
        &self,
        cx: &Compute,
        utterances: &mut [&mut Utterance],
        plans: &mut [Plan],
    ) -> Result<(), VoiceError> {
        let (mut stacked, mut counts) = (Vec::new(), Vec::new());
        for (utterance, plan) in utterances.iter().zip(plans.iter()) {
            let known = plan.records.len() / RECORD;
            let count = match utterance.ends() {
                true => known,
                false => known.saturating_sub(AHEAD),
            };
            for at in 0..count {
                push_stacked(&plan.records, at, &mut stacked);
            }
            counts.push(count);
        }
        let total: usize = counts.iter().sum();
        let firsts: Vec<u64> = utterances.iter().map(|u| u.trunk.position()).collect();
        let heads = match total {
            0 => Vec::new(),
            _ => self.trunk(cx, utterances, &counts, &stacked)?,
        };
        let mut jobs = Vec::new();
        let mut rest = &heads[..];
        for (((utterance, plan), count), first) in
            utterances.iter_mut().zip(plans).zip(&counts).zip(firsts)
        {
            let (head, after) = rest.split_at(count * HEAD);
            rest = after;
            if !all_finite(head) {
                utterance.fail("vocoder");
            }
            jobs.extend(job(utterance, plan, head, first).map(|job| Mutex::new(Some(job))));
        }
        cx.pool.run(jobs.len(), &|i| {
            let job = jobs[i]
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(job) = job {
                self.synthesis.run(cx.isa, job);
            }
        });
        drop(jobs);
        for utterance in utterances {
            utterance.done = utterance.ends();
        }
        Ok(())
    }

    /// What the trunk says about the stacked frames, of which each utterance has its count.
    fn trunk(
        &self,
        cx: &Compute,
        utterances: &mut [&mut Utterance],
        counts: &[usize],
        stacked: &[f32],
    ) -> Result<Vec<f32>, VoiceError> {
        let total = counts.iter().sum();
        let inputs = self.vocoder.inputs(cx, stacked, total);
        let d = self.vocoder.trunk.d_model();
        let mut rest = &inputs[..];
        let mut rows = Vec::new();
        for (utterance, count) in utterances.iter_mut().zip(counts) {
            let (inputs, after) = rest.split_at(count * d);
            rest = after;
            if *count > 0 {
                rows.push(StackRow {
                    state: &mut utterance.trunk,
                    inputs,
                });
            }
        }
        self.vocoder.forward(cx, &mut rows)
    }
}

impl Utterance {
    /// Whether everything it has to say went into frames, and nothing more will come.
    fn ends(&self) -> bool {
        self.finished && self.queue.is_empty()
    }

    /// Ends it: what would come next is not sound.
    fn fail(&mut self, part: &'static str) {
        self.failed = Some(part);
        self.finished = true;
        self.queue.clear();
    }
}

/// The frames of a plan's steps, after those that wait. `said` is what the backbone says about the spoken
/// steps of all utterances, in order.
fn collect<'a>(
    utterance: &mut Utterance,
    plan: &mut Plan,
    said: &mut impl Iterator<Item = &'a [f32]>,
) {
    let speaker = utterance.speaker.clone();
    let Some(mut memory) = Memory::of(&mut utterance.memory) else {
        return;
    };
    plan.records.extend_from_slice(memory.waiting());
    let (low, high) = LOG_F0;
    let mut sane = true;
    for step in &plan.steps {
        let Some(volume) = step else {
            for _ in 0..FRAMES_PER_STEP {
                plan.records.extend_from_slice(&speaker.silence);
                plan.records.extend([memory.log_f0(), 0.0, 0.0]);
            }
            continue;
        };
        let Some(said) = said.next() else {
            break;
        };
        sane &= all_finite(said);
        for frame in said.chunks_exact(FRAME) {
            let bands = frame[..MELS].iter().zip(&speaker.equaliser);
            plan.records.extend(bands.map(|(x, offset)| x + offset));
            let log_f0 = (speaker.voice.mu + 0.25 * frame[MELS]).clamp(low, high);
            let voiced = if frame[MELS + 1] > 0.0 { 1.0 } else { 0.0 };
            plan.records.extend([log_f0, voiced, *volume]);
            memory.set_log_f0(log_f0);
        }
    }
    if !sane {
        // Nothing of it may reach the vocoder's memory.
        plan.records.clear();
        memory.wait(&[]);
        memory.set_log_f0(speaker.voice.mu);
        utterance.fail("acoustic backbone");
    }
}

/// The work of making an utterance's frames audible; `None` if there are none. Notes which frames wait.
fn job<'a>(
    utterance: &'a mut Utterance,
    plan: &'a Plan,
    head: &'a [f32],
    first: u64,
) -> Option<Job<'a>> {
    if utterance.done || utterance.failed.is_some() {
        return None;
    }
    let count = head.len() / HEAD;
    let ended = utterance.ends();
    let hop = HOP as u64;
    let mut memory = Memory::of(&mut utterance.memory)?;
    memory.wait(&plan.records[count * RECORD..]);
    if count == 0 {
        return None;
    }
    let complete = |frames: u64| (frames * hop).saturating_sub(MARGIN as u64);
    utterance.made = match ended {
        true => (first + count as u64) * hop,
        false => complete(first + count as u64),
    };
    Some(Job {
        records: &plan.records,
        head,
        first,
        ended,
        seed: utterance.options.seed,
        gains: utterance.options.gains.as_deref(),
        memory,
        out: &mut utterance.samples,
    })
}
