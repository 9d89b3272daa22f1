//! A voice as clients are told it: all fields that any of them insists on.

use crate::cartesia::paging::Query;
use crate::cartesia::version::Version;
use crate::cartesia::{accents, date, user_id};
use crate::keys::Owner;
use crate::voices::{Entry, Voices};
use serde_json::{Value, json};

/// Mean natural logarithms of pitch below this (141 Hz) are taken for a man's:
/// it lies between the built-in men, up to 4.89, and women, from 5.02.
const DEEP: f32 = 4.95;

/// How voices are told.
pub(super) struct Shape<'a> {
    pub(super) version: &'a Version,
    pub(super) owner: Owner,
    /// With the numbers that older clients speak by.
    pub(super) embedding: bool,
    pub(super) expand: &'a Query,
}

impl Shape<'_> {
    pub(super) fn told(&self, entry: &Entry) -> Value {
        let accent = match entry.field("accent") {
            "" => accents::usual(),
            accent => accent,
        };
        let own = entry.owner == Some(self.owner);
        let description = match entry.field("description") {
            "" => entry.field("about"),
            text => text,
        };
        let mut told = json!({
            "id": entry.id,
            "user_id": user_id(entry.owner),
            "name": entry.voice.name,
            "description": description,
            "tagline": entry.field("tagline"),
            "language": "en",
            "created_at": date(entry.created),
            "is_public": !own,
            "access": if own { "private" } else { "public" },
            "visibility": if own { "owner" } else { "all" },
            "is_owner": own,
            "locales": [{ "locale": accent, "is_native": true }],
            "gender": gender(entry),
            "accent": accents::told(accent, self.version),
        });
        if self.embedding {
            told["embedding"] = json!(Voices::embedding(&entry.voice));
        }
        if self.expand.lists("expand", "is_starred") {
            told["is_starred"] = json!(false);
        }
        if self.expand.lists("expand", "preview_file_url") {
            told["preview_file_url"] = Value::Null;
        }
        told
    }
}

/// A gender by one of its words.
pub(super) fn gender_of(word: &str) -> Option<&'static str> {
    Some(match word.trim().to_ascii_lowercase().as_str() {
        "masculine" | "male" | "man" => "masculine",
        "feminine" | "female" | "woman" => "feminine",
        "gender_neutral" | "neutral" => "gender_neutral",
        _ => return None,
    })
}

/// How a voice sounds: as is said about it, or by its pitch.
pub(super) fn gender(entry: &Entry) -> &'static str {
    let about = entry.field("about").split(',').next().unwrap_or_default();
    let said = gender_of(entry.field("gender")).or_else(|| gender_of(about));
    said.unwrap_or(match entry.voice.mu < DEEP {
        true => "masculine",
        false => "feminine",
    })
}
