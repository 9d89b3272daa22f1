//! `sillage manifest`: the signed provenance in a file.

use crate::speaking::Home;
use anyhow::{Result, bail};
use sillage_audio::manifest::{Manifest, Verdict, read_manifest};
use std::path::PathBuf;

/// Show and verify the signed provenance of a file made by `sillage say`
///
/// It names the tool, the model, the voice and the time, and holds only for the very sound it was signed
/// with. Converting a file to another format loses it; the watermark stays.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The sound file
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let name = args.file.display();
    let verdict = read_manifest(&args.file)?;
    let (state, manifest, key) = match &verdict {
        Verdict::Verified { manifest, key } => ("verified", Some(manifest), Some(key)),
        Verdict::AlteredSound { manifest, key } => ("altered", Some(manifest), Some(key)),
        Verdict::BadSignature => ("bad signature", None, None),
        _ => ("none", None, None),
    };
    let key = key.map(ToString::to_string);
    if args.json {
        say!(
            "{}",
            serde_json::json!({ "state": state, "manifest": manifest, "key": key })
        );
    } else if let (Some(manifest), Some(key)) = (manifest, &key) {
        describe(manifest, key)?;
    }
    match state {
        "verified" => Ok(()),
        "altered" => {
            bail!("{name}: the sound is not the one that was signed: it was changed afterwards")
        }
        "none" => {
            bail!("{name}: there is no manifest in it; try `sillage detect` for the watermark")
        }
        _ => bail!("{name}: the signature is wrong: the manifest says nothing"),
    }
}

fn describe(manifest: &Manifest, key: &str) -> Result<()> {
    let claim = &manifest.claim;
    say!("tool     {} {}", claim.tool, claim.version);
    say!("model    {}", claim.model);
    say!("voice    {}", claim.voice);
    say!("time     {}", claim.time);
    if let Some(payload) = &claim.payload {
        say!("payload  {payload}");
    }
    if let Some(consent) = &claim.consent {
        say!("consent  {consent}");
    }
    let seconds = manifest.sound.samples as f64 / f64::from(manifest.sound.rate.max(1));
    say!(
        "sound    {seconds:.2} s at {} Hz, as it was signed",
        manifest.sound.rate
    );
    // Anybody can make a key: whose it is must be known from elsewhere.
    let own = Home::find()?
        .key()
        .is_ok_and(|own| own.public().to_string() == key);
    say!(
        "key      {key}{}",
        if own { " (this machine's)" } else { "" }
    );
    Ok(())
}
