//! `sillage clone`: a voice from a recording, with its speaker's spoken consent.

use crate::console;
use crate::speaking::{self, Home, RECOGNISER};
use anyhow::{Context, Result, bail};
use sillage_audio::decode::{Clip, Limits, decode_file};
use sillage_audio::log::Log;
use sillage_kernels::Compute;
use sillage_voice::{SAMPLE_RATE, cloning};
use std::path::{Path, PathBuf};

/// Make a voice from 3 to 30 s of somebody's speech, with that person's recorded consent
///
/// The consent is a recording of the sentence that `sillage clone --name NAME` shows, spoken by the same
/// person. It is compared with the clip; where SILLAGE_RECOGNISER names a program that prints what is said in
/// a sound file, its words are checked too. Consent and clone are entered in a log (`sillage log verify`).
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The recording: wav, mp3, flac, ogg or m4a [default: only show the consent sentence]
    clip: Option<PathBuf>,
    /// What the voice is called
    #[arg(long)]
    name: String,
    /// A recording of the consent sentence by the same speaker
    #[arg(long, value_name = "FILE")]
    consent: Option<PathBuf>,
    /// How the voice reads: en-US or en-GB
    #[arg(long, default_value = "en-US", value_parser = ["en-US", "en-GB"], value_name = "ACCENT")]
    accent: String,
    /// Write the voice to this file instead of keeping it among yours
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite a voice of this name
    #[arg(long)]
    replace: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    speaking::check_name(&args.name)?;
    let sentence = cloning::consent_sentence(&args.name);
    let Some(path) = &args.clip else {
        say!("Record the speaker saying:\n\n  {sentence}\n");
        say!(
            "Then: sillage clone CLIP --name {} --consent RECORDING",
            args.name
        );
        return Ok(());
    };
    let Some(consent_path) = &args.consent else {
        bail!(
            "cloning needs its speaker's consent: record the same person saying\n\n  {sentence}\n\nand give it with --consent FILE"
        );
    };
    let (model, print) = speaking::model(None)?;
    let home = Home::find()?;
    let file = match &args.output {
        Some(path) => path.clone(),
        None => speaking::place(&model, &home, &args.name, args.replace)?,
    };
    let cx = Compute::new(1);
    let clip = recording(path)?;
    let consent = recording(consent_path)?;
    let voice = cloning::hear_one(&model, &cx, &args.name, &clip.samples)
        .with_context(|| path.display().to_string())?;
    let agreed = cloning::hear(&model, &cx, &args.name, &consent.samples)
        .with_context(|| consent_path.display().to_string())?;
    let likeness = cloning::same_speaker(&voice, &agreed)
        .with_context(|| format!("{} and {}", path.display(), consent_path.display()))?;
    let recogniser = std::env::var_os(RECOGNISER).filter(|program| !program.is_empty());
    let words = recogniser
        .map(|program| cloning::words_heard(Path::new(&program), consent_path, &sentence))
        .transpose()
        .with_context(|| consent_path.display().to_string())?;
    let record = serde_json::json!({
        "voice": args.name, "model": print, "sentence": sentence, "likeness": likeness,
        "words": words, "clip": digest(path)?, "consent": digest(consent_path)?,
    });
    let entry = Log::new(home.log()).append("clone", &record)?;
    let voice = voice
        .with_field("accent", &args.accent)
        .with_field("about", "cloned")
        .with_field("consent", &entry.hash);
    voice.save(&file)?;
    let size = console::bytes(std::fs::metadata(&file).map_or(0, |data| data.len()));
    if words.is_none() {
        eprintln!(
            "note: the words of the consent were not checked; set {RECOGNISER} to a program that prints what is said in a file"
        );
    }
    eprintln!(
        "{}: voice '{}', {size}, likeness of clip and consent {likeness:.2}",
        file.display(),
        args.name
    );
    let by = args
        .output
        .as_ref()
        .map_or(args.name.clone(), |path| path.display().to_string());
    eprintln!("Hear it: sillage say --voice {by} \"Hello.\"");
    Ok(())
}

fn recording(path: &Path) -> Result<Clip> {
    Ok(decode_file(path, SAMPLE_RATE, &Limits::default())?)
}

/// A recording's fingerprint, for the log: the recording itself is not kept.
fn digest(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}
