//! Who can speak: built-in voices, those of a folder, and everybody's own.
//!
//! Own voices are records, so every replica finds them; what is made from a
//! voice (its speaker, ready to speak) is remembered by the voice's bytes.

mod cloning;
mod embedding;
mod names;

pub(crate) use cloning::check_name;
pub use cloning::{Clip, ConsentGiven, ConsentRecord};

use crate::config::Config;
use crate::fault::{Fault, Kind};
use crate::keys::Owner;
use crate::records::{self, RecordError, Records};
use sillage_audio::log::Log;
use sillage_kernels::Compute;
use sillage_text::{Accent, Dictionary, FrontEnd};
use sillage_voice::{Speaker, Voice, VoiceModel};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Speakers that are kept ready.
const READY: usize = 256;
/// A pronunciation dictionary of one request may have so many items.
const EMPTY: &str = "";

/// A voice as it is listed.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// The voice.
    pub voice: Voice,
    /// Whose it is; none means everybody's.
    pub owner: Option<Owner>,
    /// Seconds since 1970.
    pub created: u64,
}

impl Entry {
    /// A field of the voice, or nothing.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.voice.fields.get(name).map_or(EMPTY, String::as_str)
    }
}

/// All voices of a server.
pub struct Voices {
    model: Arc<VoiceModel>,
    /// What manifests call the model.
    print: String,
    records: Arc<dyn Records>,
    /// Built-in ones and the folder's.
    common: Vec<Entry>,
    default: String,
    alias_unknown: bool,
    most: usize,
    clip_seconds: f64,
    recogniser: Option<PathBuf>,
    log: Option<Log>,
    fronts: [FrontEnd; 2],
    ready: Mutex<HashMap<[u8; 32], Arc<Speaker>>>,
}

impl Voices {
    /// The voices of `model`, of the configuration's folder and of `records`.
    /// Consents and clones are entered in `log`.
    ///
    /// # Errors
    /// If the folder cannot be read, or the default voice is none.
    pub fn open(
        model: Arc<VoiceModel>,
        print: String,
        records: Arc<dyn Records>,
        log: Option<Log>,
        config: &Config,
    ) -> Result<Self, Fault> {
        let mut common: Vec<Entry> = model.voices().iter().map(built_in).collect();
        if let Some(folder) = &config.voice_dir {
            common.extend(folder_voices(&model, folder)?);
        }
        let front = |accent| FrontEnd::new(accent).map_err(Fault::internal);
        let voices = Self {
            model,
            print,
            records,
            common,
            default: config.default_voice.clone(),
            alias_unknown: config.alias_unknown_voices,
            most: config.limits.voices,
            clip_seconds: config.limits.clip_seconds,
            recogniser: config.recogniser.clone(),
            log,
            fronts: [front(Accent::Us)?, front(Accent::Gb)?],
            ready: Mutex::default(),
        };
        voices.common_named(&voices.default).ok_or_else(|| {
            let names: Vec<&str> = voices
                .common
                .iter()
                .map(|e| e.voice.name.as_str())
                .collect();
            let message = format!(
                "the default voice '{}' is not there; there are: {}",
                voices.default,
                names.join(", ")
            );
            Fault::bad("default_voice", message)
        })?;
        Ok(voices)
    }

    /// The voice model.
    #[must_use]
    pub fn model(&self) -> &Arc<VoiceModel> {
        &self.model
    }

    /// What manifests call the voice model.
    #[must_use]
    pub fn model_print(&self) -> &str {
        &self.print
    }

    /// The voices that `owner` may use, own ones first, the latest first.
    ///
    /// # Errors
    /// If records cannot be read.
    pub fn list(&self, owner: Owner) -> Result<Vec<Entry>, Fault> {
        let mut own = self.own(owner)?;
        own.sort_by(|a, b| b.created.cmp(&a.created).then(a.id.cmp(&b.id)));
        own.extend(self.common.iter().cloned());
        Ok(own)
    }

    /// Voices that everybody may use.
    #[must_use]
    pub fn common(&self) -> &[Entry] {
        &self.common
    }

    fn own(&self, owner: Owner) -> Result<Vec<Entry>, Fault> {
        let kind = records::Kind::Voice;
        let mut own = Vec::new();
        for id in self.records.list(kind).map_err(Fault::from)? {
            let Some(bytes) = self.records.get(kind, &id).map_err(Fault::from)? else {
                // Deleted a moment ago.
                continue;
            };
            match entry(id, &bytes) {
                Ok(entry) if entry.owner == Some(owner) => own.push(entry),
                Ok(_) => {}
                // One bad voice must not hide the others.
                Err(fault) => tracing::warn!("{fault}"),
            }
        }
        Ok(own)
    }

    /// A voice by id or name: own, built in, or known under another name to
    /// clients of this or that service.
    ///
    /// # Errors
    /// If there is none for this owner.
    pub fn find(&self, owner: Owner, wanted: &str) -> Result<Entry, Fault> {
        let wanted = wanted.trim();
        // Built-in voices speak whether records can be reached or not.
        if let Some(entry) = self.common_named(wanted) {
            return Ok(entry.clone());
        }
        if let Some(entry) = self.own_by_id(owner, wanted)? {
            return Ok(entry);
        }
        if records::check_id(wanted).is_ok() {
            let named = |e: &Entry| e.voice.name.eq_ignore_ascii_case(wanted);
            if let Some(entry) = self.own(owner)?.into_iter().find(named) {
                return Ok(entry);
            }
        }
        if self.alias_unknown {
            return self.default_entry();
        }
        let names: Vec<&str> = self.common.iter().map(|e| e.voice.name.as_str()).collect();
        let shown = crate::fault::shown(wanted, 80);
        let message = format!(
            "there is no voice '{shown}'; there are {}, and your own (GET /voices)",
            names.join(", ")
        );
        let mut fault = Fault::not_found("voice_not_found", message);
        fault.param = Some("voice".to_owned());
        Err(fault)
    }

    /// Who speaks when nobody is named.
    ///
    /// # Errors
    /// Never; the default was looked for when the server was started.
    pub fn default_entry(&self) -> Result<Entry, Fault> {
        let found = self.common_named(&self.default).cloned();
        found.ok_or_else(|| Fault::internal("the default voice has gone"))
    }

    fn own_by_id(&self, owner: Owner, id: &str) -> Result<Option<Entry>, Fault> {
        let bytes = match self.records.get(records::Kind::Voice, id) {
            Ok(bytes) => bytes,
            Err(RecordError::BadId(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let entry = entry(id.to_owned(), &bytes)?;
        Ok(Some(entry).filter(|e| e.owner == Some(owner)))
    }

    fn common_named(&self, wanted: &str) -> Option<&Entry> {
        let by = |name: &str| {
            let same = |e: &&Entry| e.id == name || e.voice.name.eq_ignore_ascii_case(name);
            self.common.iter().find(same)
        };
        by(wanted).or_else(|| by(names::alias(wanted)?))
    }

    /// Keeps a voice as one of `owner`'s.
    ///
    /// # Errors
    /// If its numbers are no voice's, there are too many, or it cannot be kept.
    pub fn save(&self, owner: Owner, id: Option<&str>, voice: Voice) -> Result<Entry, Fault> {
        self.model.check_voice(&voice).map_err(unusable)?;
        if id.is_none() && self.own(owner)?.len() >= self.most {
            let message = format!("there are {} voices already: delete some", self.most);
            return Err(Fault::new(Kind::Forbidden, "too_many_voices", message));
        }
        let id = id.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
        let created = voice.fields.get("created").cloned();
        let created = created.unwrap_or_else(|| crate::now().to_string());
        let voice = voice
            .with_field("owner", &owner.0.to_string())
            .with_field("created", &created);
        let bytes = voice
            .to_bytes()
            .map_err(|e| Fault::bad("name", e.to_string()))?;
        let put = self.records.put(records::Kind::Voice, &id, &bytes);
        put.map_err(Fault::from)?;
        entry(id, &bytes)
    }

    /// Forgets one of `owner`'s voices.
    ///
    /// # Errors
    /// If it is not theirs.
    pub fn remove(&self, owner: Owner, id: &str) -> Result<(), Fault> {
        let entry = self.own_voice(owner, id)?;
        let removed = self.records.remove(records::Kind::Voice, &entry.id);
        removed.map(drop).map_err(Fault::from)
    }

    /// One of `owner`'s own voices.
    ///
    /// # Errors
    /// If it is somebody else's, everybody's, or not there.
    pub fn own_voice(&self, owner: Owner, id: &str) -> Result<Entry, Fault> {
        let entry = self.find(owner, id)?;
        if entry.owner.is_none() {
            let message = format!("'{}' is built in and stays as it is", entry.voice.name);
            return Err(Fault::new(Kind::Forbidden, "voice_is_built_in", message));
        }
        Ok(entry)
    }

    /// A voice blended of others.
    ///
    /// # Errors
    /// If the weights are none.
    pub fn mix(&self, name: &str, parts: &[(Voice, f32)]) -> Result<Voice, Fault> {
        let by_weight: Vec<(&Voice, f32)> = parts.iter().map(|(v, w)| (v, *w)).collect();
        let mut mixed = Voice::mix(name, &by_weight).map_err(|e| {
            let mut fault = unusable(e);
            fault.param = Some("voices".to_owned());
            fault
        })?;
        // It is read with the accent of its largest part.
        let largest = by_weight.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some(accent) = largest.and_then(|(voice, _)| voice.fields.get("accent")) {
            mixed = mixed.with_field("accent", accent);
        }
        Ok(mixed)
    }

    /// A voice made ready to speak.
    ///
    /// # Errors
    /// If its numbers are no voice's.
    pub fn speaker(&self, voice: &Voice) -> Result<Arc<Speaker>, Fault> {
        let bytes = voice.to_bytes().map_err(Fault::internal)?;
        let hash = *blake3::hash(&bytes).as_bytes();
        let lock = || self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(speaker) = lock().get(&hash) {
            return Ok(Arc::clone(speaker));
        }
        let cx = Compute::new(1);
        let speaker = self.model.speaker(&cx, voice).map_err(unusable)?;
        let mut ready = lock();
        if ready.len() >= READY {
            // Which one goes does not matter: making it again takes milliseconds.
            let some = ready.keys().next().copied();
            some.and_then(|key| ready.remove(&key));
        }
        ready.insert(hash, Arc::clone(&speaker));
        Ok(speaker)
    }

    /// How a voice reads, with a dictionary of the request's.
    ///
    /// # Errors
    /// If the dictionary is not one.
    pub fn front(&self, voice: &Voice, dictionary: Option<&str>) -> Result<FrontEnd, Fault> {
        let british = voice.fields.get("accent").is_some_and(|a| a == "en-GB");
        let front = &self.fronts[usize::from(british)];
        let Some(text) = dictionary else {
            return Ok(front.clone());
        };
        let parsed = Dictionary::parse(text, front.accent());
        let parsed = parsed.map_err(|e| Fault::bad("pronunciation_dict_id", e.to_string()))?;
        Ok(front.with_dictionary(parsed))
    }
}

fn unusable(error: sillage_voice::VoiceError) -> Fault {
    Fault::new(Kind::Unprocessable, "voice_unusable", error.to_string())
}

fn built_in(voice: &Voice) -> Entry {
    Entry {
        id: names::id_of(&voice.name),
        voice: voice.clone(),
        owner: None,
        created: 0,
    }
}

/// An own voice from its record.
fn entry(id: String, bytes: &[u8]) -> Result<Entry, Fault> {
    let voice =
        Voice::from_bytes(bytes).map_err(|e| Fault::internal(format!("voice {id}: {e}")))?;
    let number = |field: &str| voice.fields.get(field)?.parse::<u64>().ok();
    let owner = number("owner").and_then(|n| u32::try_from(n).ok());
    Ok(Entry {
        id,
        owner: owner.map(Owner),
        created: number("created").unwrap_or(0),
        voice,
    })
}

/// The voices of a folder; a file that is none is told and left out.
fn folder_voices(model: &VoiceModel, folder: &Path) -> Result<Vec<Entry>, Fault> {
    let entries = std::fs::read_dir(folder).map_err(|error| {
        let message = format!("the folder {} cannot be read: {error}", folder.display());
        Fault::bad("voice_dir", message)
    })?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "voice"));
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let voice = Voice::load(&path).map_err(|e| e.to_string());
        let voice =
            voice.and_then(|v| model.check_voice(&v).map(|()| v).map_err(|e| e.to_string()));
        match voice {
            Ok(voice) => found.push(built_in(&voice)),
            Err(error) => tracing::warn!("{}: {error}", path.display()),
        }
    }
    Ok(found)
}
