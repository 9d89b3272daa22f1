//! An independent test bench: what state space models gain and what they lose.
//!
//! A *measure* (scaling, cost, recall, ...) plans *jobs*. A job runs once and
//! yields *points*: one metric of one series at one place, with every sample.
//! Points are appended to a file as they are finished, so that a run that is
//! killed goes on where it stopped. The report and the verdicts are made from
//! that file and from nothing else.
//!
//! The rules of the house: sides that are compared are interleaved in a
//! shuffled order within one job; spread is a bootstrap interval over the raw
//! samples; what could not be measured is a point that says so, never a gap
//! that a line is drawn across.
#![forbid(unsafe_code)]

pub mod claims;
pub mod compare;
pub mod config;
pub mod energy;
mod error;
pub mod files;
pub mod machine;
pub mod measures;
pub mod plan;
pub mod record;
pub mod report;
pub mod runner;
pub mod shapes;
pub mod stats;
pub mod timing;

pub use config::Options;
pub use error::LabError;
pub use plan::{Context, Job, Measure, Scale};
pub use record::{Better, Machine, Outcome, Place, Point, Run};
