//! What the speaking subcommands share: the built-in voice model, voices by name, the user's folders.

use anyhow::{Context, Result, bail};
use sillage_audio::manifest::SigningKey;
use sillage_formats::Checkpoint;
use sillage_text::{Accent, Dictionary, FrontEnd};
use sillage_voice::{Voice, VoiceModel};
use std::path::{Path, PathBuf};

/// The voice that ships with the program.
static VOICE: &[u8] = include_bytes!("../../../models/voice/voice.safetensors");
/// Who speaks when nobody is named.
pub(crate) const DEFAULT_VOICE: &str = "nova";
/// Names a program that takes a sound file and prints what is said in it.
pub(crate) const RECOGNISER: &str = "SILLAGE_RECOGNISER";
/// The ending of voice files.
const ENDING: &str = "voice";
/// A pronunciation dictionary above this size was not written by hand.
const LARGEST_DICTIONARY: u64 = 64 << 20;

/// The folders that are the user's.
pub(crate) struct Home(PathBuf);

impl Home {
    /// `$SILLAGE_HOME`, or `sillage` in the folder where programs keep their data.
    pub(crate) fn find() -> Result<Self> {
        if let Some(path) = std::env::var_os("SILLAGE_HOME").filter(|path| !path.is_empty()) {
            return Ok(Home(path.into()));
        }
        let data = dirs::data_dir()
            .context("no folder for a program's data is known here; set SILLAGE_HOME to one")?;
        Ok(Home(data.join("sillage")))
    }

    pub(crate) fn voices(&self) -> PathBuf {
        self.0.join("voices")
    }

    /// What a server keeps.
    pub(crate) fn server(&self) -> PathBuf {
        self.0.join("server")
    }

    /// The record of consent and of clones made.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("consent.log")
    }

    /// The key that signs manifests; made on first use.
    pub(crate) fn key(&self) -> Result<SigningKey> {
        std::fs::create_dir_all(&self.0)
            .with_context(|| format!("cannot make {}", self.0.display()))?;
        Ok(SigningKey::open_or_create(&self.0.join("signing.key"))?)
    }
}

/// The voice model at `path`, or the built-in one, and what it is called in manifests.
pub(crate) fn model(path: Option<&Path>) -> Result<(VoiceModel, String)> {
    let checkpoint = checkpoint(path)?;
    let print = checkpoint.fingerprint()?;
    let print: String = print.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((VoiceModel::load(&checkpoint)?, print))
}

/// The weights of the voice model at `path`, or of the built-in one.
pub(crate) fn checkpoint(path: Option<&Path>) -> Result<Checkpoint> {
    Ok(match path {
        Some(path) => Checkpoint::open(path)?,
        None => Checkpoint::from_bytes(VOICE).context("the built-in voice")?,
    })
}

/// A voice by name (built in, or among the user's) or by the path of its file.
pub(crate) fn voice(model: &VoiceModel, home: &Home, name: &str) -> Result<Voice> {
    let path = Path::new(name);
    if path.extension().is_some_and(|ending| ending == ENDING)
        || name.contains(std::path::MAIN_SEPARATOR)
    {
        return load(model, path);
    }
    if let Some(voice) = model
        .voices()
        .iter()
        .find(|voice| voice.name.eq_ignore_ascii_case(name))
    {
        return Ok(voice.clone());
    }
    check_name(name)?;
    let path = path_of(home, name);
    if path.exists() {
        return load(model, &path);
    }
    let mut names: Vec<String> = model
        .voices()
        .iter()
        .map(|voice| voice.name.clone())
        .collect();
    names.extend(own(home).into_iter().map(|(name, _)| name));
    bail!(
        "there is no voice '{name}'; there are: {}",
        names.join(", ")
    )
}

/// A voice from a file, if the model can speak it.
pub(crate) fn load(model: &VoiceModel, path: &Path) -> Result<Voice> {
    let voice = Voice::load(path)?;
    model.check_voice(&voice)?;
    Ok(voice)
}

/// The user's voice files by name, in order.
pub(crate) fn own(home: &Home) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(home.voices()) else {
        return Vec::new();
    };
    let mut found: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == ENDING))
        .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)))
        .collect();
    found.sort();
    found
}

/// Where a new voice of the user's goes, if it may have that name.
pub(crate) fn place(model: &VoiceModel, home: &Home, name: &str, replace: bool) -> Result<PathBuf> {
    check_name(name)?;
    if model
        .voices()
        .iter()
        .any(|shipped| shipped.name.eq_ignore_ascii_case(name))
    {
        bail!("'{name}' is the name of a built-in voice; choose another --name");
    }
    let path = path_of(home, name);
    if path.exists() && !replace {
        bail!("there is a voice '{name}' already; choose another --name, or say --replace");
    }
    std::fs::create_dir_all(home.voices())
        .with_context(|| format!("cannot make {}", home.voices().display()))?;
    Ok(path)
}

fn path_of(home: &Home, name: &str) -> PathBuf {
    home.voices().join(format!("{name}.{ENDING}"))
}

/// Names become file names: letters, digits, `-` and `_`, so that none leads out of the folder.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.chars().count() > 64 || !name.chars().all(plain) {
        bail!("'{name}' is no name for a voice: use 1 to 64 letters, digits, - and _");
    }
    Ok(())
}

/// The front end for a voice's accent, with the user's dictionary if there is one.
pub(crate) fn front_end(voice: &Voice, dictionary: Option<&Path>) -> Result<FrontEnd> {
    let accent = match voice.fields.get("accent").map(String::as_str) {
        Some("en-GB") => Accent::Gb,
        _ => Accent::Us,
    };
    let front = FrontEnd::new(accent)?;
    let Some(path) = dictionary else {
        return Ok(front);
    };
    let size = std::fs::metadata(path)
        .with_context(|| format!("cannot read {}", path.display()))?
        .len();
    anyhow::ensure!(
        size <= LARGEST_DICTIONARY,
        "{}: a dictionary may have up to 64 MiB",
        path.display()
    );
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read {} as UTF-8 text", path.display()))?;
    let dictionary =
        Dictionary::parse(&text, accent).with_context(|| path.display().to_string())?;
    Ok(front.with_dictionary(dictionary))
}
