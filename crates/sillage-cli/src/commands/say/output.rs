//! Where sound goes: files with a signed manifest, standard output, a player.

use super::Args;
use crate::speaking::Home;
use anyhow::{Context, Result, bail};
use sillage_audio::encode::{EncodeError, Encoder, Format, RawSample, Settings};
use sillage_audio::manifest::{Claim, Draft, utc};
use sillage_voice::{SAMPLE_RATE, Voice};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;

/// Players that read a WAV from standard input, in the order in which they are tried.
const PLAYERS: [(&str, &[&str]); 5] = [
    ("pw-play", &["-"]),
    ("aplay", &["-q", "-"]),
    ("paplay", &["--file-format=wav", "/dev/stdin"]),
    (
        "ffplay",
        &["-nodisp", "-autoexit", "-loglevel", "quiet", "-"],
    ),
    ("play", &["-q", "-t", "wav", "-"]),
];

/// Whether `-o` names standard output.
pub(super) fn is_stdout(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("raw")
}

/// All that sound is written to.
pub(super) struct Output {
    file: Option<(Encoder, Option<String>)>,
    player: Option<(Encoder, Child)>,
}

impl Output {
    pub(super) fn open(args: &Args, home: &Home, voice: &Voice, model: &str) -> Result<Self> {
        let file = match args.output.as_deref() {
            None => None,
            Some(path) if is_stdout(path) => {
                let raw = path == Path::new("raw");
                let format = if raw {
                    Format::Raw(RawSample::S16Le)
                } else {
                    Format::Wav
                };
                let settings = Settings::new(format, SAMPLE_RATE);
                Some((
                    Encoder::to_writer(Box::new(std::io::stdout()), settings)?,
                    None,
                ))
            }
            Some(path) => Some((
                to_file(path, args.payload, home, voice, model)?,
                Some(path.display().to_string()),
            )),
        };
        let player = match args.play || file.is_none() {
            true => Some(start_player()?),
            false => None,
        };
        Ok(Output { file, player })
    }

    pub(super) fn push(&mut self, samples: &[f32]) -> Result<()> {
        if let Some((encoder, _)) = &mut self.file {
            encoder.push(samples).map_err(ended)?;
        }
        if let Some((encoder, _)) = &mut self.player {
            encoder.push(samples).map_err(ended)?;
        }
        Ok(())
    }

    /// Completes what was written; the file's name, if there is one.
    pub(super) fn finish(self) -> Result<Option<String>> {
        let mut name = None;
        if let Some((encoder, path)) = self.file {
            encoder.finish().map_err(ended)?;
            name = path;
        }
        if let Some((encoder, mut child)) = self.player {
            encoder.finish().map_err(ended)?;
            child.wait().context("the player")?;
        }
        Ok(name)
    }
}

/// A reader that has heard enough is the ordinary end of a pipe.
fn ended(error: EncodeError) -> anyhow::Error {
    match error {
        EncodeError::Closed => std::io::Error::from(std::io::ErrorKind::BrokenPipe).into(),
        error => error.into(),
    }
}

fn to_file(path: &Path, payload: u32, home: &Home, voice: &Voice, model: &str) -> Result<Encoder> {
    let Some(format) = Format::from_path(path) else {
        bail!(
            "{}: the ending says the format; use .wav, .flac, .opus, .mp3 or .raw",
            path.display()
        );
    };
    let claim = Claim {
        tool: "sillage".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        model: model.to_owned(),
        voice: voice.name.clone(),
        time: utc(SystemTime::now()),
        payload: Some(format!("{payload:08x}")),
        consent: voice.fields.get("consent").cloned(),
    };
    let draft = match format {
        Format::Raw(_) => None,
        _ => Some(Draft::new(claim, home.key()?)?),
    };
    Ok(Encoder::to_path(
        path,
        Settings::new(format, SAMPLE_RATE),
        draft,
    )?)
}

fn start_player() -> Result<(Encoder, Child)> {
    for (program, arguments) in PLAYERS {
        let started = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut child) = started else { continue };
        let Some(input) = child.stdin.take() else {
            continue;
        };
        let writer: Box<dyn Write + Send> = Box::new(input);
        return Ok((
            Encoder::to_writer(writer, Settings::new(Format::Wav, SAMPLE_RATE))?,
            child,
        ));
    }
    let names = PLAYERS.map(|(name, _)| name).join(", ");
    bail!("no player was found ({names}); install one, or write a file with -o speech.wav")
}
