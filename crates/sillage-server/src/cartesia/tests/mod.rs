//! The protocol as clients use it, against a server of the shipped models.

mod http;
mod sockets;
mod voices;

use serde_json::{Value, json};

pub(super) const LINE: &str = "The kettle began to sing, and nobody in the kitchen noticed.";

/// The format most clients ask for.
pub(super) fn s16() -> Value {
    json!({"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000})
}

/// A request to speak, with `more` put over it.
pub(super) fn asked(more: Value) -> Value {
    let mut all = json!({
        "model_id": "sonic-3", "transcript": LINE, "voice": {"mode": "id", "id": "nova"},
        "output_format": s16(), "language": "en",
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    all
}

/// 16-bit samples must be speech of `LINE`: as long, and neither silent nor loud.
pub(super) fn check_speech(bytes: &[u8]) -> f64 {
    assert_eq!(bytes.len() % 2, 0);
    let samples: Vec<f64> = bytes
        .chunks_exact(2)
        .map(|b| f64::from(i16::from_le_bytes([b[0], b[1]])) / 32_768.0)
        .collect();
    let seconds = samples.len() as f64 / 24_000.0;
    assert!((1.5..8.0).contains(&seconds), "{seconds} s");
    let power = samples.iter().map(|v| v * v).sum::<f64>() / samples.len() as f64;
    assert!((0.005..0.5).contains(&power.sqrt()), "{}", power.sqrt());
    seconds
}
