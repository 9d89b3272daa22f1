//! Voices from recordings, with consent.
//!
//! Consent is a recording of a sentence by the same speaker. It comes with the
//! clip, or was recorded before and is named by its id, or is found by the name
//! that the voice is to have: protocols without a field for it have a way too.

use super::{Entry, Voices};
use crate::fault::{Fault, Kind};
use crate::keys::{Caller, Owner};
use crate::records::{self, RecordError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sillage_audio::decode::{DecodeError, Limits, decode};
use sillage_kernels::Compute;
use sillage_voice::cloning::{self, CloneError, consent_sentence};
use sillage_voice::{SAMPLE_RATE, Voice};
use std::io::Write;

/// A recording as it came.
#[derive(Clone, Debug)]
pub struct Clip {
    /// The file's bytes.
    pub bytes: Vec<u8>,
}

/// How consent was given.
#[derive(Clone, Debug)]
pub enum ConsentGiven {
    /// A recording that came with the clip.
    Recording(Clip),
    /// One that was kept before.
    Id(String),
    /// Not with the request; one kept under the voice's name counts.
    Not,
}

/// A consent that was recorded before its clip came.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConsentRecord {
    /// Its id: `cons_…`.
    pub id: String,
    /// Whose voices it is for.
    pub owner: Owner,
    /// The name that the voice will have.
    pub name: String,
    /// The language it was spoken in.
    pub language: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The share of the sentence's words that a recogniser heard.
    words: Option<f64>,
    /// The recording's fingerprint; the recording itself is not kept.
    digest: String,
    /// The voice that was heard in it, as a voice file.
    voice: String,
}

/// A consent that was heard.
struct Heard {
    voice: Voice,
    words: Option<f64>,
    digest: String,
}

impl Voices {
    /// Makes a voice of a clip for `caller`, with the consent of its speaker.
    ///
    /// # Errors
    /// If clip or consent are not fit, or the consent is missing.
    pub fn clone_voice(
        &self,
        caller: Caller,
        name: &str,
        clip: &Clip,
        consent: &ConsentGiven,
        fields: &[(&str, &str)],
    ) -> Result<Entry, Fault> {
        let name = check_name(name)?;
        let mut voice = if caller.rehearse {
            let mut voice = self.default_entry()?.voice;
            name.clone_into(&mut voice.name);
            voice.with_field("about", "rehearsal: a built-in voice under another name")
        } else {
            self.clone_with_consent(caller.owner, name, clip, consent)?
        };
        for (field, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            voice = voice.with_field(field, value);
        }
        self.save(caller.owner, None, voice)
    }

    fn clone_with_consent(
        &self,
        owner: Owner,
        name: &str,
        clip: &Clip,
        consent: &ConsentGiven,
    ) -> Result<Voice, Fault> {
        let consent = match consent {
            ConsentGiven::Recording(recording) => self.hear_consent(name, recording)?,
            ConsentGiven::Id(id) => stored(&self.consent(owner, id)?)?,
            ConsentGiven::Not => match self.consent_named(owner, name)? {
                Some(record) => stored(&record)?,
                None => return Err(missing(name)),
            },
        };
        let samples = self.decode(clip, "clip")?;
        let cx = Compute::new(1);
        let heard = cloning::hear_one(&self.model, &cx, name, &samples);
        let voice = heard.map_err(|e| refused("clip", &e))?;
        let likeness = cloning::same_speaker(&voice, &consent.voice);
        let likeness = likeness.map_err(|e| refused("consent", &e))?;
        let record = serde_json::json!({
            "voice": name, "model": self.print, "sentence": consent_sentence(name),
            "likeness": likeness, "words": consent.words, "owner": owner.0,
            "clip": blake3::hash(&clip.bytes).to_hex().to_string(), "consent": consent.digest,
        });
        let hash = match &self.log {
            Some(log) => log.append("clone", &record).map_err(Fault::internal)?.hash,
            None => consent.digest,
        };
        Ok(voice
            .with_field("about", "cloned")
            .with_field("consent", &hash))
    }

    /// Hears a consent and keeps it, for clips that come later.
    ///
    /// # Errors
    /// If the recording is not fit.
    pub fn keep_consent(
        &self,
        caller: Caller,
        name: &str,
        language: &str,
        recording: &Clip,
    ) -> Result<ConsentRecord, Fault> {
        let name = check_name(name)?;
        let heard = if caller.rehearse {
            Heard {
                voice: self.default_entry()?.voice,
                words: None,
                digest: blake3::hash(&recording.bytes).to_hex().to_string(),
            }
        } else {
            self.hear_consent(name, recording)?
        };
        let record = ConsentRecord {
            id: format!("cons_{}", uuid::Uuid::new_v4().simple()),
            owner: caller.owner,
            name: name.to_owned(),
            language: language.to_owned(),
            created: crate::now(),
            words: heard.words,
            digest: heard.digest,
            voice: STANDARD.encode(heard.voice.to_bytes().map_err(Fault::internal)?),
        };
        if let Some(log) = &self.log {
            let entry = serde_json::json!({
                "id": record.id, "voice": record.name, "words": record.words,
                "consent": record.digest, "owner": record.owner.0,
            });
            log.append("consent", &entry).map_err(Fault::internal)?;
        }
        let bytes = serde_json::to_vec(&record).map_err(Fault::internal)?;
        let put = self.records.put(records::Kind::Consent, &record.id, &bytes);
        put.map_err(Fault::from)?;
        Ok(record)
    }

    /// The consents that `owner` keeps, the latest first.
    ///
    /// # Errors
    /// If records cannot be read.
    pub fn consents(&self, owner: Owner) -> Result<Vec<ConsentRecord>, Fault> {
        let ids = self.records.list(records::Kind::Consent);
        let mut found = Vec::new();
        for id in ids.map_err(Fault::from)? {
            match self.consent(owner, &id) {
                Ok(record) => found.push(record),
                // Somebody else's, damaged, or deleted a moment ago.
                Err(fault) if fault.kind == Kind::NotFound => {}
                Err(fault) => return Err(fault),
            }
        }
        found.sort_by(|a, b| b.created.cmp(&a.created).then(a.id.cmp(&b.id)));
        Ok(found)
    }

    /// A consent by its id.
    ///
    /// # Errors
    /// If `owner` has none of that id.
    pub fn consent(&self, owner: Owner, id: &str) -> Result<ConsentRecord, Fault> {
        let found = match self.records.get(records::Kind::Consent, id) {
            Err(RecordError::BadId(_)) => None,
            other => other.map_err(Fault::from)?,
        };
        let record = found.and_then(|b| serde_json::from_slice::<ConsentRecord>(&b).ok());
        record.filter(|r| r.owner == owner).ok_or_else(|| {
            let mut fault = Fault::not_found(
                "consent_not_found",
                "there is no consent of that id: record one with POST /v1/audio/voice_consents",
            );
            fault.param = Some("consent".to_owned());
            fault
        })
    }

    /// Forgets a consent; voices made with it stay.
    ///
    /// # Errors
    /// If `owner` has none of that id.
    pub fn remove_consent(&self, owner: Owner, id: &str) -> Result<(), Fault> {
        let record = self.consent(owner, id)?;
        let removed = self.records.remove(records::Kind::Consent, &record.id);
        removed.map(drop).map_err(Fault::from)
    }

    fn consent_named(&self, owner: Owner, name: &str) -> Result<Option<ConsentRecord>, Fault> {
        let mut all = self.consents(owner)?.into_iter();
        Ok(all.find(|record| record.name.eq_ignore_ascii_case(name)))
    }

    fn hear_consent(&self, name: &str, recording: &Clip) -> Result<Heard, Fault> {
        let samples = self.decode(recording, "consent")?;
        let cx = Compute::new(1);
        let voice = cloning::hear(&self.model, &cx, name, &samples);
        let voice = voice.map_err(|e| refused("consent", &e))?;
        let words = match &self.recogniser {
            Some(program) => {
                let mut file = tempfile::NamedTempFile::new().map_err(Fault::internal)?;
                file.write_all(&recording.bytes).map_err(Fault::internal)?;
                let heard = cloning::words_heard(program, file.path(), &consent_sentence(name));
                Some(heard.map_err(|e| refused("consent", &e))?)
            }
            None => None,
        };
        Ok(Heard {
            voice,
            words,
            digest: blake3::hash(&recording.bytes).to_hex().to_string(),
        })
    }

    /// The samples of a recording, at the voice's rate.
    ///
    /// # Errors
    /// If it is none, or too long.
    pub fn decode(&self, clip: &Clip, field: &str) -> Result<Vec<f32>, Fault> {
        let limits = Limits {
            seconds: self.clip_seconds,
            ..Limits::default()
        };
        let decoded = decode(&clip.bytes, SAMPLE_RATE, &limits);
        let decoded = decoded.map_err(|error: DecodeError| {
            Fault::bad(field, format!("the {field} cannot be used: {error}"))
        })?;
        Ok(decoded.samples)
    }
}

fn stored(record: &ConsentRecord) -> Result<Heard, Fault> {
    let bytes = STANDARD.decode(&record.voice).map_err(Fault::internal)?;
    Ok(Heard {
        voice: Voice::from_bytes(&bytes).map_err(Fault::internal)?,
        words: record.words,
        digest: record.digest.clone(),
    })
}

fn refused(field: &str, error: &CloneError) -> Fault {
    if let CloneError::Recogniser { .. } = error {
        return Fault::internal(error);
    }
    let message = format!("the {field} cannot be used: {error}");
    let mut fault = Fault::new(Kind::Unprocessable, "recording_refused", message);
    fault.param = Some(field.to_owned());
    fault
}

/// What to do is in the message: clients show nothing else.
fn missing(name: &str) -> Fault {
    let message = format!(
        "cloning needs its speaker's consent: record the same person saying \"{}\" and send it as the form field `consent`, \
         or keep it first with POST /v1/audio/voice_consents (fields name, recording, language) and clone under the same name, \
         or name its id in the field `consent` or the header X-Sillage-Consent",
        consent_sentence(name)
    );
    let mut fault = Fault::new(Kind::Unprocessable, "consent_required", message);
    fault.param = Some("consent".to_owned());
    fault
}

/// Names are shown and spoken, and do not become paths: ids do.
pub(crate) fn check_name(name: &str) -> Result<&str, Fault> {
    let name = name.trim();
    let plain = |c: char| !c.is_control();
    if name.is_empty() || name.chars().count() > 100 || !name.chars().all(plain) {
        return Err(Fault::bad("name", "a name has 1 to 100 visible characters"));
    }
    Ok(name)
}
