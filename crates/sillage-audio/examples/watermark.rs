//! Measures the watermark: reads 24 kHz f32le sound on stdin.
//!
//! `watermark apply KEY PAYLOAD DB` writes the marked sound to stdout;
//! `watermark clips SECONDS KEY` cuts the sound into clips of that length, each
//! heard alone, and prints for each its score, whether it is called marked, the
//! payload and the payload's confidence;
//! `watermark detect KEY` prints the detection of the whole.
use std::io::{Read, Write};
use std::process::ExitCode;

use sillage_audio::watermark::{Key, SAMPLE_RATE, Watermark, apply_watermark, detect};

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("watermark: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    let sound: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["apply", key, payload, decibels] => {
            let mark =
                Watermark::with_strength(&Key::from_text(key), payload.parse()?, decibels.parse()?);
            let marked = apply_watermark(&sound, &mark);
            let bytes: Vec<u8> = marked.iter().flat_map(|v| v.to_le_bytes()).collect();
            std::io::stdout().lock().write_all(&bytes)?;
        }
        ["clips", seconds, key] => {
            let key = Key::from_text(key);
            let seconds: f64 = seconds.parse()?;
            let clip = ((seconds * f64::from(SAMPLE_RATE)) as usize).max(1);
            for clip in sound.chunks_exact(clip) {
                let found = detect(clip, Some(&key));
                let (payload, confidence) =
                    found.payload.map_or((0, 0.0), |p| (p.value, p.confidence));
                let (score, marked) = (found.score, u8::from(found.marked));
                println!("{score:.3} {marked} {payload} {confidence:.4}");
            }
        }
        ["detect", key] => println!("{:?}", detect(&sound, Some(&Key::from_text(key)))),
        _ => return Err("usage: apply KEY PAYLOAD DB | clips SECONDS KEY | detect KEY".into()),
    }
    Ok(())
}
