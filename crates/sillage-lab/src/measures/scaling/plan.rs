//! Which places are measured, and how long that will take.

use super::decode::Sampling;
use super::{Spot, decode, flops, long, memory, prefill, rival};
use crate::LabError;
use crate::plan::{Job, Scale};
use crate::shapes::{self, KINDS, Kind, Size, WEIGHTS, Weights, description};
use sillage_kernels::Counts;

/// Lengths for all sides.
pub(crate) const LENGTHS: [u64; 5] = [256, 1024, 4096, 16_384, 65_536];
/// Lengths that only the state space model is taken to.
const LONG: [u64; 2] = [262_144, 1_000_000];
/// Seconds to draw, quantise and load the sides of 130 million parameters.
const MAKING: f64 = 25.0;

/// Every job of a scale, the cheap ones first.
pub(super) fn jobs(scale: Scale) -> Result<Vec<Job>, LabError> {
    let mut jobs = Vec::new();
    let tiny = (Size::Tiny, Weights::Q8);
    for length in LENGTHS {
        if length < 65_536 {
            jobs.push(reads(tiny, length, if length < 16_384 { 5 } else { 2 })?);
        }
        let many = &[1, 4, 16][..if length < 65_536 { 3 } else { 2 }];
        jobs.push(writes(tiny, length, many, scale)?);
        jobs.push(holds(tiny, length, &KINDS, many));
    }
    match scale {
        Scale::Quick => quick(&mut jobs)?,
        Scale::Full => full(&mut jobs)?,
    }
    Ok(jobs)
}

fn quick(jobs: &mut Vec<Job>) -> Result<(), LabError> {
    let model = (Size::M130, Weights::Q8);
    for (length, rounds) in [(256, 3), (1024, 3), (4096, 2)] {
        jobs.push(reads(model, length, rounds)?);
    }
    for (length, counts) in [(256, &[1, 4][..]), (4096, &[1, 4]), (16_384, &[1])] {
        jobs.push(writes(model, length, counts, Scale::Quick)?);
        jobs.push(holds(model, length, &KINDS, counts));
    }
    jobs.push(rivals(model, &[256, 1024], 2)?);
    Ok(())
}

/// All lengths for the usual weights; other types of weights where the length does not yet decide.
fn full(jobs: &mut Vec<Job>) -> Result<(), LabError> {
    for size in [Size::M130, Size::M370] {
        for weights in WEIGHTS {
            let model = (size, weights);
            let usual = weights == Weights::Q8;
            for &length in &LENGTHS[..if usual { 5 } else { 3 }] {
                jobs.push(writes(model, length, &[1, 4, 16], Scale::Full)?);
                jobs.push(holds(model, length, &KINDS, &[1, 4, 16]));
                let rounds = match (length, size) {
                    (..=1024, _) => 7,
                    (4096, Size::M370) => 3,
                    (4096, _) => 5,
                    (16_384, Size::M370) => 2,
                    (16_384, _) => 3,
                    // Many minutes a reading.
                    _ => 1,
                };
                jobs.push(reads(model, length, rounds)?);
            }
            if usual {
                for &length in &LONG[..if size == Size::M370 { 1 } else { 2 }] {
                    jobs.push(reads_on(model, length)?);
                    jobs.push(holds(model, length, &[Kind::Mamba2], &[1]));
                }
            }
            if weights != Weights::F32 {
                let most = if size == Size::M370 { 3 } else { 4 };
                jobs.push(rivals(model, &LENGTHS[..most], 3)?);
            }
        }
    }
    // Whole sizes in the order of what a job costs: what is interrupted has the
    // most figures for its time.
    jobs.sort_by(|a, b| a.estimate.total_cmp(&b.estimate));
    Ok(())
}

fn name((size, weights): (Size, Weights)) -> String {
    format!("{}-{}", size.name(), weights.name())
}

fn spot((size, weights): (Size, Weights), length: u64) -> Spot {
    Spot {
        size,
        weights,
        length,
        sessions: 1,
    }
}

fn reads(model: (Size, Weights), length: u64, rounds: usize) -> Result<Job, LabError> {
    let mut estimate = making(model.0);
    for kind in KINDS {
        let one = seconds(model, kind, 0, length)?;
        // The first side runs twice a round; everyone warms up.
        let turns = rounds * if kind == Kind::Mamba2 { 2 } else { 1 };
        estimate += one * turns as f64 + seconds(model, kind, 0, length.min(4096))?;
    }
    let spot = spot(model, length);
    Ok(Job {
        id: format!("prefill-{}-{length}-{rounds}", name(model)),
        estimate,
        run: Box::new(move |context| prefill::run(context, spot, rounds)),
    })
}

fn writes(
    model: (Size, Weights),
    length: u64,
    counts: &[usize],
    scale: Scale,
) -> Result<Job, LabError> {
    let sampling = Sampling::of(scale, length);
    let mut estimate = making(model.0);
    for kind in KINDS {
        let turns = 2 + sampling.rounds * if kind == Kind::Mamba2 { 2 } else { 1 };
        for &count in counts {
            // A step reads all weights and all caches; its steps are few enough
            // to stay near the wanted seconds, but never fewer than two.
            let step = count as f64 * seconds(model, kind, length, 1)?;
            estimate += turns as f64 * sampling.seconds.max(3.0 * step);
        }
        estimate += 2.0 * seconds(model, kind, 0, 64)? * counts.len() as f64;
    }
    let (spot, counts) = (spot(model, length), counts.to_vec());
    let most = counts.last().copied().unwrap_or(0);
    Ok(Job {
        id: format!("decode-{}-{length}-{most}-{}", name(model), scale.name()),
        estimate,
        run: Box::new(move |context| decode::run(context, spot, &counts, sampling)),
    })
}

fn holds(model: (Size, Weights), length: u64, kinds: &'static [Kind], counts: &[usize]) -> Job {
    let (spot, counts) = (spot(model, length), counts.to_vec());
    let most = counts.last().copied().unwrap_or(0);
    Job {
        id: format!("memory-{}-{length}-{most}", name(model)),
        // Every side is loaded in a process of its own, and its caches filled.
        estimate: 2.0 * making(model.0) + 0.5,
        run: Box::new(move |context| memory::run(context, spot, kinds, &counts)),
    }
}

fn reads_on(model: (Size, Weights), length: u64) -> Result<Job, LabError> {
    let spot = spot(model, length);
    Ok(Job {
        id: format!("long-{}-{length}", name(model)),
        estimate: making(model.0) + 10.0 + seconds(model, Kind::Mamba2, 0, length)?,
        run: Box::new(move |context| long::run(context, spot)),
    })
}

fn rivals(model: (Size, Weights), lengths: &[u64], repeats: usize) -> Result<Job, LabError> {
    let wanted = rival::Wanted {
        size: model.0,
        weights: model.1,
        lengths: lengths.to_vec(),
        repeats,
    };
    let program = rival::program();
    let mut estimate = 0.1;
    if program.is_some() {
        for kind in rival::KINDS {
            for &length in lengths {
                // It warms up, and reads once more to get to the depth; it is
                // three times slower, as measured before.
                estimate += 3.0 * (repeats + 2) as f64 * seconds(model, kind, 0, length)?;
            }
        }
    }
    let most = lengths.last().copied().unwrap_or(0);
    // Where it was not there at first and then is, it is another job.
    let there = if program.is_some() { "" } else { "-absent" };
    Ok(Job {
        id: format!("rival-{}-{most}-{repeats}{there}", name(model)),
        estimate,
        run: Box::new(move |context| rival::run(context, &wanted, program.as_deref())),
    })
}

/// Making what is measured, spread over the jobs of a size.
fn making(size: Size) -> f64 {
    match size {
        Size::Tiny => 0.3,
        Size::M130 => MAKING / 10.0,
        Size::M370 => 3.0 * MAKING / 10.0,
    }
}

/// Seconds of feeding `tokens` tokens after `from`, from the operations and
/// what two cores of a laptop did of each kind.
pub(crate) fn seconds(
    (size, weights): (Size, Weights),
    kind: Kind,
    from: u64,
    tokens: u64,
) -> Result<f64, LabError> {
    let description = description(size, kind)?;
    let Counts {
        linear,
        conv,
        scan,
        attention,
        ..
    } = flops::forward(&description, from, tokens, 1);
    let (rate, bits) = match weights {
        Weights::F32 => (150e9, 32.0),
        Weights::Bf16 => (170e9, 16.0),
        Weights::Q8 => (400e9, 8.5),
        Weights::Q4 => (400e9, 5.0),
    };
    let parameters = shapes::Side::of("", &description, "").parameters;
    // A short call waits for the memory: weights once, and what was read.
    let streamed = (parameters as f64 * bits / 8.0) / 25e9 + attention as f64 / 2.0 / 25e9;
    let worked = linear as f64 / rate + (conv + scan) as f64 / 100e9 + attention as f64 / 120e9;
    Ok(if tokens == 1 {
        streamed
    } else {
        worked.max(streamed.min(0.2))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_quick_form_is_short_the_full_form_a_night_and_no_job_is_twice() {
        for (scale, most) in [(Scale::Quick, 180.0), (Scale::Full, 4.0 * 3600.0)] {
            let jobs = jobs(scale).unwrap();
            let ids: HashSet<_> = jobs.iter().map(|job| job.id.clone()).collect();
            assert_eq!(ids.len(), jobs.len());
            let estimate: f64 = jobs.iter().map(|job| job.estimate).sum();
            assert!(estimate < most, "{scale:?} {estimate}");
            assert!(jobs.iter().all(|job| job.estimate > 0.0));
        }
    }
}
