//! What is measured, a file or a folder each.

pub mod cost;
pub mod eval;
pub mod learning;
pub mod quant;
pub mod scaling;
pub mod voice;

use crate::plan::Measure;

/// Every measure, in the order of the report.
#[must_use]
pub fn all() -> Vec<Box<dyn Measure>> {
    vec![
        Box::new(scaling::Scaling),
        Box::new(cost::Cost),
        Box::new(voice::Voice),
        Box::new(learning::recall::Recall),
        Box::new(learning::copy::Copy),
        Box::new(learning::track::Track),
        Box::new(learning::language::Language),
        Box::new(quant::Quant),
    ]
}
