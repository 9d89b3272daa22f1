//! Rotary position embedding: which frequencies a configuration asks for.
//!
//! Frequencies are worked out in f64 and rounded once. The scaling schemes are those of the
//! `rope_scaling` (or `rope_parameters`) entry of Hugging Face configurations: none, linear
//! (Chen et al. 2023), llama3 (Llama 3.1) and YaRN (Peng et al. 2023).

use crate::config::Config;
use crate::error::ModelError;
use serde::Serialize;
use sillage_kernels::RopeTable;
use std::f64::consts::TAU;
use std::fmt;

/// A rotary embedding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rope {
    /// Leading elements of each head that rotate; even.
    pub dims: usize,
    /// Base of the geometric series of wavelengths.
    pub theta: f64,
    /// How the series is stretched beyond the trained context.
    pub scaling: RopeScaling,
    /// Pairs are neighbours `(2i, 2i + 1)` rather than `(i, i + dims / 2)`.
    pub interleaved: bool,
}

/// How a rotary embedding is stretched.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Every frequency is divided by the factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Low frequencies are divided by the factor, high ones kept, those between blended.
    Llama3 {
        /// The factor.
        factor: f64,
        /// Wavelengths above `original / low` are divided.
        low: f64,
        /// Wavelengths below `original / high` are kept.
        high: f64,
        /// Context before stretching.
        original: f64,
    },
    /// As llama3 but blended by dimension, and with the rotated vectors scaled.
    Yarn {
        /// The factor.
        factor: f64,
        /// Rotations over the original context above which a frequency is kept.
        fast: f64,
        /// Rotations over the original context below which a frequency is divided.
        slow: f64,
        /// Context before stretching.
        original: f64,
        /// Whether the borders of the blend are rounded to whole dimensions.
        truncate: bool,
        /// Sine and cosine are multiplied by this.
        attention: f64,
    },
    /// Each frequency is divided by its own number, as GGUF files store it.
    Divisors(Vec<f32>),
}

impl Rope {
    /// Reads the rotary embedding of an attention layer whose heads have `head_dim` elements.
    ///
    /// `default_theta` and `default_fraction` (the part of each head that rotates) are the
    /// architecture's own.
    pub(crate) fn from_config(
        config: &Config<'_>,
        head_dim: usize,
        default_theta: f64,
        default_fraction: f64,
    ) -> Result<Rope, ModelError> {
        let new = config.section("rope_parameters", "rope_parameters.");
        let old = config.section("rope_scaling", "rope_scaling.");
        let scaling = if config.has("rope_parameters") {
            new
        } else {
            old
        };
        let theta = new.positive_or(
            "rope_theta",
            config.positive_or("rope_theta", default_theta)?,
        )?;
        let fraction = config.number_or("partial_rotary_factor", default_fraction)?;
        let fraction = new.number_or("partial_rotary_factor", fraction)?;
        let dims = (head_dim as f64 * fraction) as usize;
        if dims == 0 || dims > head_dim || !dims.is_multiple_of(2) {
            return Err(config.unsupported(
                "the number of rotated elements per head",
                format!("{dims} of {head_dim}"),
                "an even number from 2 up to the head's size",
            ));
        }
        let ours = config.section("sillage", "sillage.");
        let mut rope = Rope {
            dims,
            theta,
            scaling: RopeScaling::from_config(config, &scaling)?,
            interleaved: ours.flag_or("rope_interleaved", false)?,
        };
        if let Some(list) = ours.get("rope_divisors").and_then(|v| v.as_array()) {
            let divisors: Vec<f32> = list
                .iter()
                .filter_map(|v| v.as_f64())
                .map(|v| v as f32)
                .collect();
            if divisors.len() != dims / 2 || divisors.iter().any(|d| !d.is_finite() || *d <= 0.0) {
                return Err(ours.bad("rope_divisors", format!("{} numbers above zero", dims / 2)));
            }
            rope.scaling = RopeScaling::Divisors(divisors);
        }
        Ok(rope)
    }

    /// Angle per position of each rotated pair.
    pub fn frequencies(&self) -> Vec<f32> {
        let half = self.dims / 2;
        let exponent = |i: f64| self.theta.powf(-2.0 * i / self.dims as f64);
        // Dimension (possibly fractional) that makes `turns` rotations over `original` positions.
        let at_turns = |turns: f64, original: f64| {
            self.dims as f64 * (original / (turns * TAU)).ln() / (2.0 * self.theta.ln())
        };
        (0..half)
            .map(|i| {
                let base = exponent(i as f64);
                let scaled = match &self.scaling {
                    RopeScaling::None => base,
                    RopeScaling::Linear { factor } => base / factor,
                    RopeScaling::Divisors(list) => {
                        base / f64::from(list.get(i).copied().unwrap_or(1.0))
                    }
                    RopeScaling::Llama3 {
                        factor,
                        low,
                        high,
                        original,
                    } => {
                        let turns = original * base / TAU;
                        let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                        keep * base + (1.0 - keep) * base / factor
                    }
                    RopeScaling::Yarn {
                        factor,
                        fast,
                        slow,
                        original,
                        truncate,
                        ..
                    } => {
                        let (mut from, mut to) =
                            (at_turns(*fast, *original), at_turns(*slow, *original));
                        if *truncate {
                            (from, to) = (from.floor(), to.ceil());
                        }
                        from = from.max(0.0);
                        to = to.min(self.dims as f64 - 1.0);
                        if from == to {
                            to += 0.001;
                        }
                        let divide = ((i as f64 - from) / (to - from)).clamp(0.0, 1.0);
                        divide * base / factor + (1.0 - divide) * base
                    }
                };
                scaled as f32
            })
            .collect()
    }

    /// Ready to rotate.
    pub fn table(&self) -> RopeTable {
        let attention = match self.scaling {
            RopeScaling::Yarn { attention, .. } => attention as f32,
            _ => 1.0,
        };
        RopeTable::new(self.frequencies(), self.interleaved, attention)
    }
}

impl RopeScaling {
    fn from_config(config: &Config<'_>, section: &Config<'_>) -> Result<RopeScaling, ModelError> {
        let kind = match section.word("rope_type")? {
            Some(kind) => Some(kind),
            None => section.word("type")?,
        };
        let original = |default: f64| -> Result<f64, ModelError> {
            let outer = config.positive_or("original_max_position_embeddings", default)?;
            section.positive_or("original_max_position_embeddings", outer)
        };
        let factor = || -> Result<f64, ModelError> { section.positive_or("factor", 1.0) };
        match kind {
            None | Some("default" | "none") => Ok(RopeScaling::None),
            Some("linear") => Ok(RopeScaling::Linear { factor: factor()? }),
            Some("llama3") => {
                let low = section.positive_or("low_freq_factor", 1.0)?;
                let high = section.positive_or("high_freq_factor", 4.0)?;
                if high <= low {
                    return Err(
                        section.bad("high_freq_factor", format!("above low_freq_factor {low}"))
                    );
                }
                Ok(RopeScaling::Llama3 {
                    factor: factor()?,
                    low,
                    high,
                    original: original(8192.0)?,
                })
            }
            Some("yarn") => Self::yarn(config, section, original),
            Some(other) => Err(config.unsupported(
                "rope_scaling",
                format!("'{other}'"),
                "none, linear, llama3, yarn",
            )),
        }
    }

    fn yarn(
        config: &Config<'_>,
        section: &Config<'_>,
        original: impl Fn(f64) -> Result<f64, ModelError>,
    ) -> Result<RopeScaling, ModelError> {
        let context = config.positive_or("max_position_embeddings", 2048.0)?;
        let original = original(context)?;
        let factor = section.positive_or("factor", context / original)?;
        let magnitude = |m: f64| {
            if factor <= 1.0 {
                1.0
            } else {
                0.1 * m * factor.ln() + 1.0
            }
        };
        let (over, under) = (
            section.number_or("mscale", 0.0)?,
            section.number_or("mscale_all_dim", 0.0)?,
        );
        let usual = if over != 0.0 && under != 0.0 {
            magnitude(over) / magnitude(under)
        } else {
            magnitude(1.0)
        };
        Ok(RopeScaling::Yarn {
            factor,
            fast: section.positive_or("beta_fast", 32.0)?,
            slow: section.positive_or("beta_slow", 1.0)?,
            original,
            truncate: section.flag_or("truncate", true)?,
            attention: section.positive_or("attention_factor", usual)?,
        })
    }
}

impl fmt::Display for Rope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoPE over {} (theta {}", self.dims, self.theta)?;
        match &self.scaling {
            RopeScaling::None => {}
            RopeScaling::Linear { factor } => write!(f, ", linear {factor}")?,
            RopeScaling::Llama3 { factor, .. } => write!(f, ", llama3 {factor}")?,
            RopeScaling::Yarn { factor, .. } => write!(f, ", YaRN {factor}")?,
            RopeScaling::Divisors(_) => write!(f, ", frequencies divided")?,
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rope(config: serde_json::Value) -> Result<Rope, ModelError> {
        Rope::from_config(&Config::new("llama", &config), 64, 10000.0, 1.0)
    }

    #[test]
    fn plain_series_is_geometric() {
        let f = rope(json!({})).unwrap().frequencies();
        assert_eq!((f.len(), f[0]), (32, 1.0));
        assert!((f[16] - 0.01).abs() < 1e-8);
    }

    #[test]
    fn llama3_keeps_the_fast_and_divides_the_slow() {
        let scaled = rope(json!({"rope_theta": 500000.0, "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192}}));
        let plain = rope(json!({"rope_theta": 500000.0})).unwrap().frequencies();
        let scaled = scaled.unwrap().frequencies();
        assert_eq!(scaled[0], plain[0]);
        assert!((scaled[31] * 8.0 / plain[31] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn unknown_scaling_names_the_alternatives() {
        let error = rope(json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}})).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("dynamic") && text.contains("llama3"),
            "{text}"
        );
    }
}
