//! The state is a value: read a beginning once, continue it two ways, save one.
//!
//! `cargo run --release --example fork -- FOLDER-OR-FILE`

use sillage_engine::{Sampler, Sampling, Session};
use sillage_formats::{Checkpoint, Tokenizer};
use sillage_kernels::Compute;
use sillage_models::{LoadOptions, Model};
use sillage_state::{Precision, Snapshot};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: fork MODEL")?;
    let checkpoint = Checkpoint::open(path)?;
    let tokenizer = checkpoint.tokenizer()?;
    let model = Model::load(&checkpoint, &LoadOptions::default())?;
    let cx = Compute::new(2);

    // Read the beginning once.
    let mut beginning = Session::new(&model);
    beginning.feed(
        &model,
        &cx,
        &tokenizer.encode("The door opened, and", true)?,
    )?;

    // Fork it: nothing is copied until one of the two writes.
    for way in [" a stranger came in.", " nobody was there."] {
        let mut session = beginning.fork();
        let text = write(&model, &cx, &tokenizer, &mut session, way)?;
        println!("The door opened, and{way}{text}\n");
    }

    // Save it, load it, and go on exactly where it was.
    let file = std::env::temp_dir().join("beginning.state");
    beginning.snapshot().save(&file, Precision::Exact)?;
    let loaded = Session::resume(&model, &Snapshot::load(&file, model.layout())?)?;
    assert!(loaded.state().bits_eq(beginning.state()));
    println!(
        "saved and loaded {} bytes, bit for bit the same",
        loaded.state().bytes()
    );
    std::fs::remove_file(file)?;
    Ok(())
}

/// Feeds `text`, then writes forty tokens.
fn write(
    model: &Model,
    cx: &Compute,
    tokenizer: &Tokenizer,
    session: &mut Session,
    text: &str,
) -> Result<String, Box<dyn std::error::Error>> {
    let mut sampler = Sampler::new(Sampling {
        temperature: 0.6,
        ..Sampling::default()
    })?;
    let mut decoder = tokenizer.stream(true);
    let mut logits = session.feed(model, cx, &tokenizer.encode(text, false)?)?;
    let mut written = String::new();
    for _ in 0..40 {
        let token = sampler.sample(&logits, session.tokens())?;
        written.push_str(&decoder.push(tokenizer, token));
        logits = session.feed(model, cx, &[token])?;
    }
    written.push_str(&decoder.finish());
    Ok(written)
}
