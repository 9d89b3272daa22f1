//! Drawing weights, and writing them as a Hugging Face folder.

use crate::LabError;
use serde_json::{Map, json};
use sillage_models::{Description, Parameter, Role};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// The file with the weights.
pub(super) const FILE: &str = "model.safetensors";
/// Step sizes lie between these, log-uniformly, as the authors draw them.
const DT: (f32, f32) = (0.001, 0.1);

/// Evenly distributed numbers, the same for ever (SplitMix64).
struct Draw(u64);

impl Draw {
    /// A stream of its own for each tensor, so that what one tensor gets does
    /// not depend on the others.
    fn of(name: &str) -> Self {
        let hash = blake3::hash(name.as_bytes());
        let mut seed = [0; 8];
        seed.copy_from_slice(&hash.as_bytes()[..8]);
        Self(u64::from_le_bytes(seed))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// Below 1, not below 0.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }
}

/// How many bytes an element takes: matrices and norms lie in bf16, the few
/// numbers that steer time in f32.
fn is_f32(role: Role) -> bool {
    matches!(role, Role::Rates | Role::Skip | Role::DtBias)
}

/// One element of a tensor.
fn element(parameter: &Parameter, residuals: usize, draw: &mut Draw) -> f32 {
    let columns = parameter.shape.last().copied().unwrap_or(1) as f32;
    match parameter.role {
        // Of deviation 0.02, as a normal distribution would have.
        Role::Embedding | Role::Head => draw.uniform(-0.0346, 0.0346),
        Role::Projection | Role::DtProjection => {
            let bound = columns.sqrt().recip();
            draw.uniform(-bound, bound)
        }
        // What many residuals add up must not grow with their number.
        Role::OutProjection => {
            let bound = (columns * residuals as f32).sqrt().recip();
            draw.uniform(-bound, bound)
        }
        Role::NormWeight => draw.uniform(0.8, 1.2),
        Role::NormBias | Role::Bias => draw.uniform(-0.1, 0.1),
        Role::ConvWeight | Role::ConvBias => draw.uniform(-0.5, 0.5),
        Role::DtBias => {
            let dt = draw.uniform(DT.0.ln(), DT.1.ln()).exp();
            // What softplus makes of this is dt.
            dt + (-(-dt).exp_m1()).ln()
        }
        Role::Rates => draw.uniform(1.0, 16.0).ln(),
        Role::Skip => 1.0,
    }
}

/// Writes `config.json` and the weights; the configuration last, so that a
/// folder with one is complete.
pub(super) fn folder(
    folder: &Path,
    description: &Description,
    config: &str,
) -> Result<(), LabError> {
    let path = folder.join(FILE);
    let part = folder.join(format!(".{FILE}.{}.part", std::process::id()));
    let written = weights(&part, description).and_then(|()| std::fs::rename(&part, &path));
    if let Err(error) = written {
        // Best effort: the error that brought us here is the one to report.
        let _ = std::fs::remove_file(&part);
        return Err(LabError::io(path, error));
    }
    let path = folder.join("config.json");
    std::fs::write(&path, config).map_err(|e| LabError::io(path, e))
}

fn weights(path: &Path, description: &Description) -> std::io::Result<()> {
    let parameters = description.parameters();
    let mut entries = Map::new();
    entries.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut end = 0;
    for parameter in &parameters {
        let (dtype, bytes) = if is_f32(parameter.role) {
            ("F32", 4)
        } else {
            ("BF16", 2)
        };
        let start = end;
        end += bytes * parameter.len();
        let entry = json!({
            "dtype": dtype, "shape": parameter.shape, "data_offsets": [start, end],
        });
        entries.insert(parameter.name.clone(), entry);
    }
    let mut header = serde_json::Value::Object(entries).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for parameter in &parameters {
        let mut draw = Draw::of(&parameter.name);
        for _ in 0..parameter.len() {
            let value = element(parameter, description.residuals.len(), &mut draw);
            if is_f32(parameter.role) {
                out.write_all(&value.to_le_bytes())?;
            } else {
                out.write_all(&bf16(value).to_le_bytes())?;
            }
        }
    }
    out.flush()?;
    out.get_ref().sync_all()
}

/// Rounded to the nearest, ties to even; the values drawn are finite.
fn bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) as u16
}
