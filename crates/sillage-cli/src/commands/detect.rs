//! `sillage detect`: was this made by Sillage?

use crate::commands::say::watermark_key;
use anyhow::Result;
use serde::Serialize;
use sillage_audio::decode::{Limits, decode_file};
use sillage_audio::watermark::{Detection, SAMPLE_RATE, detect};
use std::path::PathBuf;

/// Tell whether a sound was made by Sillage, which seconds of it, and what its watermark says
///
/// Takes wav, mp3, flac, ogg (Vorbis and Opus) and m4a. The mark survives codecs, noise, filters and small
/// changes of speed; it does not survive every change of pitch, and a sound without it may still be
/// synthetic.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The sound
    file: PathBuf,
    /// A file whose text is the watermark's secret key [default: the public key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Found<'a> {
    file: String,
    marked: bool,
    confidence: f64,
    score: f32,
    /// Marked stretches, in seconds.
    stretches: &'a [(f64, f64)],
    payload: Option<String>,
    payload_confidence: Option<f32>,
    speed: Option<f64>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let key = watermark_key(args.key.as_deref())?;
    let clip = decode_file(&args.file, SAMPLE_RATE, &Limits::default())?;
    let detection = detect(&clip.samples, Some(&key));
    let stretches = stretches(&detection, clip.seconds());
    if args.json {
        let found = Found {
            file: args.file.display().to_string(),
            marked: detection.marked,
            confidence: detection.confidence,
            score: detection.score,
            stretches: &stretches,
            payload: detection.payload.map(|p| format!("{:08x}", p.value)),
            payload_confidence: detection.payload.map(|p| p.confidence),
            speed: detection.track.map(|t| t.speed),
        };
        say!("{}", serde_json::to_string(&found)?);
        return Ok(());
    }
    let name = args.file.display();
    if !detection.marked {
        say!(
            "{name}: no mark of Sillage was found in {:.1} s",
            clip.seconds()
        );
        return Ok(());
    }
    // Nothing is certain, whatever the rounding says.
    let sure = (100.0 * detection.confidence).min(99.999);
    say!("{name}: made by Sillage (confidence {sure:.3} %)");
    let list: Vec<String> = stretches
        .iter()
        .map(|(from, to)| format!("{from:.1} to {to:.1} s"))
        .collect();
    say!("marked: {}", list.join(", "));
    if let Some(payload) = detection.payload {
        say!(
            "payload: {:08x} (confidence {:.1} %)",
            payload.value,
            100.0 * payload.confidence
        );
    }
    Ok(())
}

/// Marked seconds that touch, as one stretch.
fn stretches(detection: &Detection, end: f64) -> Vec<(f64, f64)> {
    let mut out: Vec<(f64, f64)> = Vec::new();
    for (at, second) in detection
        .seconds
        .iter()
        .enumerate()
        .filter(|(_, second)| second.marked)
    {
        let until = detection.seconds.get(at + 1).map_or(end, |next| next.start);
        match out.last_mut() {
            Some((_, last)) if (*last - second.start).abs() < 1e-6 => *last = until,
            _ => out.push((second.start, until)),
        }
    }
    out
}
