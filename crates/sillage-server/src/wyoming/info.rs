//! What a server can do, as Home Assistant asks it before anything else.

use crate::app::App;
use crate::keys::Owner;
use crate::voices::Entry;
use serde_json::{Value, json};
use std::collections::HashSet;

/// Where all this is from.
const URL: &str = env!("CARGO_PKG_REPOSITORY");

/// The data of `info`: one program that speaks, with every voice that can be
/// used here.
pub(super) fn info(voices: &[Entry]) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let attribution = json!({ "name": "Sillage", "url": URL });
    let mut names = HashSet::new();
    let voices = voices.iter().map(|entry| {
        // Clients name a voice back to us: one name, one voice.
        let own = names.insert(entry.voice.name.to_lowercase());
        let name = if own { &entry.voice.name } else { &entry.id };
        json!({
            "name": name,
            "description": entry.voice.name,
            "attribution": attribution,
            "installed": true,
            "version": version,
            "languages": [language(entry)],
            "speakers": null,
        })
    });
    let voices: Vec<Value> = voices.collect();
    let program = json!({
        "name": "sillage",
        "description": "A voice that streams, from a state space model",
        "attribution": attribution,
        "installed": true,
        "version": version,
        "voices": voices,
        "supports_synthesize_streaming": true,
    });
    // Some clients want all kinds to be there.
    json!({
        "tts": [program], "asr": [], "handle": [], "intent": [], "wake": [], "mic": [], "snd": [],
    })
}

/// The voices that Wyoming's clients may use: those that everybody may and,
/// where there are no keys, those that were cloned here.
pub(super) fn voices(app: &App) -> Vec<Entry> {
    let mut all = app.voices.common().to_vec();
    if app.keys.is_open() {
        match app.voices.list(Owner(0)) {
            Ok(listed) => all.extend(listed.into_iter().filter(|e| e.owner.is_some())),
            // The built-in ones speak all the same.
            Err(fault) => tracing::warn!("own voices cannot be listed: {fault}"),
        }
    }
    all
}

/// A voice's language in the form that Home Assistant's voices have it.
pub(super) fn language(entry: &Entry) -> &'static str {
    match entry.field("accent") {
        "en-GB" => "en_GB",
        _ => "en_US",
    }
}
