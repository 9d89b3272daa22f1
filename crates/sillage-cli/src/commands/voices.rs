//! `sillage voices`: who can speak; blends.

use crate::console;
use crate::speaking::{self, Home};
use anyhow::{Context, Result};
use serde::Serialize;
use sillage_voice::Voice;

/// List the voices, or blend some into a new one
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Blend voices into a new one
    Mix {
        /// Voices and how much of each, such as heart:0.7 george:0.3
        #[arg(required = true, value_name = "VOICE:SHARE")]
        parts: Vec<String>,
        /// What the new voice is called
        #[arg(long)]
        name: String,
        /// Overwrite a voice of this name
        #[arg(long)]
        replace: bool,
    },
    /// Delete a voice of yours
    Remove {
        /// Its name
        name: String,
    },
}

/// A line of the list.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    accent: Option<&'a str>,
    about: Option<&'a str>,
    pitch_hz: f32,
    origin: &'static str,
}

impl<'a> Listed<'a> {
    fn of(voice: &'a Voice, origin: &'static str) -> Self {
        let field = |name: &str| voice.fields.get(name).map(String::as_str);
        Listed {
            name: &voice.name,
            accent: field("accent"),
            about: field("about").or_else(|| field("mix")),
            pitch_hz: voice.mu.exp(),
            origin,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.command {
        None => list(args.json),
        Some(Command::Mix {
            parts,
            name,
            replace,
        }) => mix(parts, name, *replace),
        Some(Command::Remove { name }) => remove(name),
    }
}

fn list(json: bool) -> Result<()> {
    let (model, _) = speaking::model(None)?;
    let home = Home::find()?;
    let mut own = Vec::new();
    for (name, path) in speaking::own(&home) {
        match speaking::load(&model, &path) {
            Ok(voice) => own.push(voice),
            // One bad file must not hide the others.
            Err(error) => eprintln!("{name}: {error}"),
        }
    }
    let built_in = model
        .voices()
        .iter()
        .map(|voice| Listed::of(voice, "built in"));
    let listed: Vec<Listed> = built_in
        .chain(own.iter().map(|voice| Listed::of(voice, "yours")))
        .collect();
    if json {
        for voice in &listed {
            say!("{}", serde_json::to_string(voice)?);
        }
        return Ok(());
    }
    for voice in &listed {
        let (accent, about) = (voice.accent.unwrap_or("-"), voice.about.unwrap_or("-"));
        say!(
            "{:<12} {:<6} {:>4.0} Hz  {:<9} {about}",
            voice.name,
            accent,
            voice.pitch_hz,
            voice.origin
        );
    }
    Ok(())
}

fn mix(parts: &[String], name: &str, replace: bool) -> Result<()> {
    let (model, _) = speaking::model(None)?;
    let home = Home::find()?;
    let mut chosen = Vec::with_capacity(parts.len());
    for part in parts {
        let (voice, share) = match part.rsplit_once(':') {
            Some((voice, share)) => {
                let cure = || format!("'{part}': write VOICE:SHARE, such as heart:0.7");
                (
                    voice,
                    share
                        .parse::<f32>()
                        .ok()
                        .filter(|s| s.is_finite())
                        .with_context(cure)?,
                )
            }
            None => (part.as_str(), 1.0),
        };
        chosen.push((speaking::voice(&model, &home, voice)?, share));
    }
    let by_share: Vec<(&Voice, f32)> = chosen
        .iter()
        .map(|(voice, share)| (voice, *share))
        .collect();
    let mut mixed = Voice::mix(name, &by_share)?;
    // It is read with the accent of its largest part.
    let largest = by_share.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some(accent) = largest.and_then(|(voice, _)| voice.fields.get("accent")) {
        mixed = mixed.with_field("accent", accent);
    }
    let path = speaking::place(&model, &home, name, replace)?;
    mixed.save(&path)?;
    let size = std::fs::metadata(&path).map_or(0, |data| data.len());
    eprintln!(
        "{}: voice '{name}', {}. Hear it: sillage say --voice {name} \"Hello.\"",
        path.display(),
        console::bytes(size)
    );
    Ok(())
}

fn remove(name: &str) -> Result<()> {
    let home = Home::find()?;
    speaking::check_name(name)?;
    let own = speaking::own(&home);
    let (_, path) = own.iter().find(|(own, _)| own == name).with_context(|| {
        let names: Vec<&str> = own.iter().map(|(name, _)| name.as_str()).collect();
        format!(
            "there is no voice '{name}' of yours; there are: {}",
            names.join(", ")
        )
    })?;
    std::fs::remove_file(path).with_context(|| format!("cannot delete {}", path.display()))?;
    eprintln!("deleted {}", path.display());
    Ok(())
}
