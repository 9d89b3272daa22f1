//! Generates text: open a checkpoint, read a prompt, choose tokens.
//!
//! `cargo run --release --example generate -- FOLDER-OR-FILE "It was a dark night"`

use sillage_engine::{Sampler, Sampling, Session};
use sillage_formats::Checkpoint;
use sillage_kernels::Compute;
use sillage_models::{LoadOptions, Model};
use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: generate MODEL [PROMPT]")?;
    let prompt = args
        .next()
        .unwrap_or_else(|| "It was a dark night".to_owned());

    let checkpoint = Checkpoint::open(path)?;
    let tokenizer = checkpoint.tokenizer()?;
    let model = Model::load(&checkpoint, &LoadOptions::default())?;
    let cx = Compute::new(2);

    let mut session = Session::new(&model);
    let mut sampler = Sampler::new(Sampling {
        seed: 1,
        ..Sampling::default()
    })?;
    let mut decoder = tokenizer.stream(true);
    let mut logits = session.feed(&model, &cx, &tokenizer.encode(&prompt, true)?)?;
    print!("{prompt}");
    for _ in 0..100 {
        let token = sampler.sample(&logits, session.tokens())?;
        print!("{}", decoder.push(&tokenizer, token));
        std::io::stdout().flush()?;
        logits = session.feed(&model, &cx, &[token])?;
    }
    println!("{}", decoder.finish());
    Ok(())
}
