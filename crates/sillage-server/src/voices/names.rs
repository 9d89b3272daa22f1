//! The ids of voices, and what other services' clients call them.

/// The id of a built-in voice: a UUID made from its name, because clients
/// expect the form of one, and the same everywhere.
pub(super) fn id_of(name: &str) -> String {
    let hash = blake3::hash(format!("sillage voice {}", name.to_lowercase()).as_bytes());
    let bytes: [u8; 16] = std::array::from_fn(|i| hash.as_bytes()[i]);
    uuid::Builder::from_custom_bytes(bytes)
        .into_uuid()
        .to_string()
}

/// The built-in voice that stands for a name or id that clients send unasked:
/// the voices of OpenAI's service, and the ids that Cartesia's and LiveKit's
/// clients fill in.
pub(super) fn alias(wanted: &str) -> Option<&'static str> {
    Some(match wanted.to_ascii_lowercase().as_str() {
        "6ccbfb76-1fc6-48f7-b71d-91ac6298247b" | "alloy" | "shimmer" | "marin" => "nova",
        "f786b574-daa5-4673-aa0c-cbe3e8534c02" | "coral" | "sage" | "ballad" => "heart",
        "echo" | "ash" | "cedar" | "onyx" => "michael",
        "fable" | "verse" => "george",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_and_stay() {
        let id = id_of("Nova");
        assert_eq!(id, id_of("nova"));
        assert_ne!(id, id_of("heart"));
        assert_eq!(id.len(), 36);
        assert!(uuid::Uuid::parse_str(&id).is_ok());
    }
}
