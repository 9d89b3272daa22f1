//! Joules and money of a piece of work.

use crate::LabError;
use crate::energy::{Energy, Model};
use crate::measures::scaling::subject::write;
use crate::plan::Context;
use serde_json::Value;
use sillage_models::Model as Language;
use sillage_state::State;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Overrides the price of a core, in dollars an hour.
const PRICE: &str = "SILLAGE_LAB_PRICE";
/// Overrides the watts of a busy core.
const WATTS: &str = "SILLAGE_LAB_WATTS";
/// Where the price is from.
const SOURCE: &str = "AWS c7i.large on demand, us-east-1, 0.0893 USD an hour for 2 vCPUs (list price, 2025); set SILLAGE_LAB_PRICE to USD an hour and core";

/// What things cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// Dollars an hour for one core, or virtual CPU.
    pub core_hour: f64,
    /// Watts of a busy core, where energy cannot be counted.
    pub watts: f64,
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            core_hour: 0.0893 / 2.0,
            watts: Model::default().watts_per_core,
        }
    }
}

impl Prices {
    /// Those of the environment, where it has any.
    ///
    /// # Errors
    /// A price or a power that is no positive number.
    pub fn find() -> Result<Self, LabError> {
        let known = Self::default();
        Ok(Self {
            core_hour: positive(PRICE, known.core_hour)?,
            watts: positive(WATTS, known.watts)?,
        })
    }

    /// For names of jobs: at other prices it is another job.
    pub(super) fn print(self) -> String {
        format!("{}usd-{}w", self.core_hour, self.watts)
    }
}

fn positive(name: &str, otherwise: f64) -> Result<f64, LabError> {
    let Some(text) = std::env::var_os(name).filter(|text| !text.is_empty()) else {
        return Ok(otherwise);
    };
    let text = text.to_string_lossy();
    match text.trim().parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err(LabError::Failed(format!(
            "{name} is '{text}'; give a positive number"
        ))),
    }
}

/// Counts joules, or models them.
pub(super) struct Gauge {
    meter: Option<Mutex<Energy>>,
    prices: Prices,
    threads: f64,
}

impl Gauge {
    pub(super) fn open(context: &Context, prices: Prices) -> Self {
        Self::with(Energy::open(), prices, context.cx.pool.threads() as f64)
    }

    /// As for work on `threads` threads.
    pub(super) fn with(meter: Option<Energy>, prices: Prices, threads: f64) -> Self {
        Self {
            meter: meter.map(Mutex::new),
            prices,
            threads,
        }
    }

    pub(super) fn modelled(&self) -> bool {
        self.meter.is_none()
    }

    /// Seconds that a modelled joule stands for; none where it is counted.
    pub(super) fn seconds_of_joule(&self) -> Option<f64> {
        self.modelled()
            .then(|| 1.0 / (self.prices.watts * self.threads))
    }

    /// Dollars of so many seconds of all threads.
    pub(super) fn money(&self, seconds: f64) -> f64 {
        seconds / 3600.0 * self.threads * self.prices.core_hour
    }

    /// Joules and seconds in which sessions write `steps` tokens each.
    pub(super) fn write(
        &self,
        context: &Context,
        model: &Language,
        states: &[State],
        steps: usize,
    ) -> Result<(f64, f64), LabError> {
        self.spend(|| write(&context.cx, model, states, steps))
    }

    /// Joules and seconds of some work that says how long it took.
    ///
    /// Counted joules are those of the whole call, what prepares the work
    /// included, brought down to the part that was timed.
    pub(super) fn spend(
        &self,
        work: impl FnOnce() -> Result<f64, LabError>,
    ) -> Result<(f64, f64), LabError> {
        let Some(meter) = &self.meter else {
            let seconds = work()?;
            // Every thread computes or spins until the work is done.
            return Ok((self.prices.watts * self.threads * seconds, seconds));
        };
        let gone = || LabError::Failed("the energy counters went away while measuring".into());
        let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
        let before = meter.joules().ok_or_else(gone)?;
        let start = Instant::now();
        let seconds = work()?;
        let whole = start.elapsed().as_secs_f64();
        let joules = meter.joules().ok_or_else(gone)? - before;
        Ok((joules * seconds / whole.max(seconds), seconds))
    }

    /// Says in a configuration where figures come from.
    pub(super) fn note(&self, config: &mut Value) {
        config["price"] = self.prices.core_hour.into();
        config["price_source"] = SOURCE.into();
        config["energy"] = match &self.meter {
            Some(meter) => {
                let meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
                format!("counted: {}", meter.what()).into()
            }
            None => {
                let model = Model {
                    watts_per_core: self.prices.watts,
                };
                format!("{}; {}", model.mark(), Energy::why_not()).into()
            }
        };
    }
}
