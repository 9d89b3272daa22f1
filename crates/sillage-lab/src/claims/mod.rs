//! What has been claimed about state space models, and what a run says to it.
//!
//! Every claim is a small pure function from a run to a verdict. Its thresholds
//! are constants with names, written down before anything was measured; a claim
//! whose points are absent is *open*, never guessed. A verdict is given on the
//! interval, not on the middle of it, and on the interval widened by what the
//! machine differs from itself (A/A). The settings that are shown first are
//! fixed too (one session, the larger model, f32), so that no figure can pick
//! the setting in which it looks best; all settings count for the verdict.

mod evidence;
mod rules;
mod skills;
mod speed;
mod spread;
#[cfg(test)]
mod tests;
mod voice;

pub(crate) use evidence::{Cell, Evidence, NOISE, agree, first_shown, without};
pub(crate) use rules::{most_measured, pairs, setting};
pub(crate) use skills::{is_drawn, trained_to};
pub(crate) use spread::{Estimate, How, between};

use crate::record::Run;
use rules::Judgement;
use serde::Serialize;
use std::fmt;

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ruling {
    /// At every place that was measured.
    Holds,
    /// At none.
    Fails,
    /// At some, or the interval lies on both sides of the threshold.
    Mixed,
    /// Not measured.
    Open,
}

impl Ruling {
    /// The word that is shown.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Mixed => "mixed",
            Self::Open => "open",
        }
    }
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// The figure behind a verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Median.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Samples behind it; of two sides the fewer.
    pub samples: usize,
    /// Such as `times`.
    pub unit: String,
    /// Of what and where, in words.
    pub of: String,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = Estimate {
            value: self.value,
            low: self.low,
            high: self.high,
            n: self.samples,
        };
        f.pad(&crate::report::numbers::estimate(&value, &self.unit))
    }
}

/// A claim and what a run says to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Short name, stable between versions.
    pub id: &'static str,
    /// What kind of claim it is; claims of a kind stand together.
    pub group: &'static str,
    /// The claim in our words.
    pub claim: &'static str,
    /// Who made it, and when.
    pub source: &'static str,
    /// What became of it.
    pub verdict: Ruling,
    /// With its interval and unit; none where it is open.
    pub figure: Option<Figure>,
    /// Lengths or settings at which it holds, in words.
    pub where_it_holds: String,
    /// What else must be known: noise, a single sample, a modelled quantity.
    pub remarks: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<5}  {} ({})", self.verdict, self.claim, self.source)?;
        if let Some(figure) = &self.figure {
            write!(f, "\n       {figure}, {}", figure.of)?;
        }
        write!(f, "\n       {}", self.where_it_holds)?;
        for remark in &self.remarks {
            write!(f, "\n       note: {remark}")?;
        }
        Ok(())
    }
}

/// A claim, and how it is judged.
struct Claim {
    id: &'static str,
    group: &'static str,
    claim: &'static str,
    source: &'static str,
    judge: fn(&Evidence) -> Judgement,
}

/// The verdict on every claim, in a fixed order.
#[must_use]
pub fn verdicts(run: &Run) -> Vec<Verdict> {
    of_evidence(&Evidence::new(run))
}

pub(crate) fn of_evidence(evidence: &Evidence) -> Vec<Verdict> {
    [speed::CLAIMS, voice::CLAIMS, skills::CLAIMS]
        .into_iter()
        .flatten()
        .map(|claim| {
            let judged = (claim.judge)(evidence);
            Verdict {
                id: claim.id,
                group: claim.group,
                claim: claim.claim,
                source: claim.source,
                verdict: judged.ruling,
                figure: judged.figure,
                where_it_holds: judged.place,
                remarks: judged.remarks,
            }
        })
        .collect()
}
