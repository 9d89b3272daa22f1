//! `sillage clone`: a voice from a recording, with its speaker's spoken consent.

use crate::console;
use crate::speaking::{self, Home};
use anyhow::{Context, Result, bail};
use sillage_audio::check::{Rules, check_clip};
use sillage_audio::decode::{Clip, Limits, decode_file};
use sillage_audio::log::Log;
use sillage_kernels::Compute;
use sillage_voice::{SAMPLE_RATE, Voice, VoiceModel};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Two recordings with a likeness (cosine of voice vectors) below this are taken for two people. Of pairs
/// of 4 s pieces of 20 readers whom training never heard, none of one reader's fell below it and 3.4 % of
/// two readers' lay above. One reader's pieces came from one sitting; other rooms need the margin. See the
/// model card.
const SAME_SPEAKER: f32 = 0.35;
/// Pieces of one clip this unlike are taken for two people talking: of the same pairs, none of one
/// reader's (the median is 0.68) and 93 % of two readers'.
const ONE_SPEAKER: f32 = 0.25;
/// Seconds of a piece when a clip is searched for a second speaker.
const PIECE: usize = 4;
/// The share of the consent sentence's words that a recogniser must hear.
const WORDS_HEARD: f64 = 0.7;
/// Names a program that takes a sound file and prints what is said in it.
const RECOGNISER: &str = "SILLAGE_RECOGNISER";

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
    let sentence = sentence(&args.name);
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
    one_speaker(&model, &cx, &clip).with_context(|| path.display().to_string())?;
    let voice = model.clone_voice(&cx, &args.name, &clip.samples)?;
    let agreed = model.clone_voice(&cx, &args.name, &consent.samples)?;
    let likeness = likeness(&voice, &agreed);
    if likeness < SAME_SPEAKER {
        bail!(
            "{} does not sound like the speaker of {} (likeness {likeness:.2}, {SAME_SPEAKER} is needed): \
             the consent must be spoken by the person whose voice is cloned; if it was, record both with the same microphone",
            consent_path.display(),
            path.display()
        );
    }
    let words = spoken_words(consent_path, &sentence)?;
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

/// What the speaker has to say.
fn sentence(name: &str) -> String {
    let spoken = name.replace(['-', '_'], " ");
    format!(
        "I am the speaker of this recording, and I agree that Sillage makes a synthetic copy of my voice with the name {spoken}."
    )
}

fn recording(path: &Path) -> Result<Clip> {
    let clip = decode_file(path, SAMPLE_RATE, &Limits::default())?;
    check_clip(&clip.samples, clip.rate, &Rules::default())
        .with_context(|| path.display().to_string())?;
    Ok(clip)
}

/// Refuses a clip whose pieces sound like different people.
fn one_speaker(model: &VoiceModel, cx: &Compute, clip: &Clip) -> Result<()> {
    let size = PIECE * SAMPLE_RATE as usize;
    let mut pieces = Vec::new();
    for piece in clip
        .samples
        .chunks(size)
        .filter(|piece| piece.len() >= size)
    {
        // A piece with too little speech in it says nothing about who speaks.
        if let Ok(voice) = model.clone_voice(cx, "piece", piece) {
            pieces.push(voice);
        }
    }
    for (at, a) in pieces.iter().enumerate() {
        for b in &pieces[..at] {
            let likeness = likeness(a, b);
            if likeness < ONE_SPEAKER {
                bail!(
                    "two people seem to speak in this clip (likeness of its parts {likeness:.2}): cut out one of them"
                );
            }
        }
    }
    Ok(())
}

/// The cosine of two voice vectors.
fn likeness(a: &Voice, b: &Voice) -> f32 {
    let dot = |x: &[f32], y: &[f32]| -> f32 { x.iter().zip(y).map(|(x, y)| x * y).sum() };
    dot(&a.vector, &b.vector)
        / (dot(&a.vector, &a.vector) * dot(&b.vector, &b.vector))
            .sqrt()
            .max(1e-9)
}

/// The share of the sentence's words that the recogniser hears; `None` where there is none.
fn spoken_words(path: &Path, sentence: &str) -> Result<Option<f64>> {
    let Some(program) = std::env::var_os(RECOGNISER).filter(|program| !program.is_empty()) else {
        return Ok(None);
    };
    let output = Command::new(&program).arg(path).output().with_context(|| {
        format!(
            "{RECOGNISER} names {}, which could not be started",
            program.display()
        )
    })?;
    anyhow::ensure!(
        output.status.success(),
        "{} failed on {}",
        program.display(),
        path.display()
    );
    let words = |text: &str| -> Vec<String> {
        let plain = text
            .to_lowercase()
            .replace(|c: char| !c.is_alphanumeric(), " ");
        plain.split_whitespace().map(str::to_owned).collect()
    };
    let heard = words(&String::from_utf8_lossy(&output.stdout));
    let wanted = words(sentence);
    let found = wanted.iter().filter(|word| heard.contains(word)).count();
    let share = found as f64 / wanted.len().max(1) as f64;
    if share < WORDS_HEARD {
        bail!(
            "{} does not hold the consent sentence ({:.0} % of its words were heard): record the speaker saying\n\n  {sentence}\n",
            path.display(),
            100.0 * share
        );
    }
    Ok(Some(share))
}

/// A recording's fingerprint, for the log: the recording itself is not kept.
fn digest(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}
