//! API dates: which words of the protocol a client speaks.
//!
//! Clients name a date in the header `Cartesia-Version` or in the query as
//! `cartesia_version`. Dates are compared as text, which sorts them.

use axum::http::{HeaderMap, Uri};

/// The newest date that this server knows.
pub(super) const NEWEST: &str = "2026-08-14";

/// The date of the protocol that a client speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version(String);

impl Version {
    /// The date that a request names, the query first; the newest if it names none.
    pub(super) fn of(headers: &HeaderMap, uri: &Uri) -> Self {
        let header = headers
            .get("cartesia-version")
            .and_then(|v| v.to_str().ok());
        let query = crate::http::query(uri).remove("cartesia_version");
        let named = query.as_deref().or(header).map(str::trim);
        Self::named(named.unwrap_or_default())
    }

    /// A date by its name; the newest if that is empty.
    pub(super) fn named(name: &str) -> Self {
        let name = if name.is_empty() { NEWEST } else { name };
        Self(name.chars().take(32).collect())
    }

    fn until(&self, date: &str) -> bool {
        self.0.as_str() <= date
    }

    /// Lists are arrays, not pages.
    pub(super) fn lists_are_bare(&self) -> bool {
        self.until("2024-06-10")
    }

    /// Voices are told with their embeddings, asked for or not.
    pub(super) fn tells_embeddings(&self) -> bool {
        self.until("2024-06-10")
    }

    /// Clients use the ids of flushes as places in a list, and look for one in
    /// every chunk.
    pub(super) fn numbers_flushes_from_zero(&self) -> bool {
        self.until("2024-11-13")
    }

    /// A voice's accent is an id of the catalogue, not a name for people.
    pub(super) fn accents_are_ids(&self) -> bool {
        !self.until("2026-03-01")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: Option<&str>, uri: &str) -> Version {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("cartesia-version", value.parse().unwrap());
        }
        Version::of(&headers, &uri.parse().unwrap())
    }

    #[test]
    fn the_query_wins_and_none_is_the_newest() {
        assert_eq!(of(None, "/voices"), Version::named(NEWEST));
        assert_eq!(of(Some(""), "/voices"), Version::named(NEWEST));
        let header = of(Some("2024-06-10"), "/voices?limit=1");
        assert!(header.lists_are_bare());
        let query = of(Some("2024-06-10"), "/v?cartesia_version=2025-04-16");
        assert!(!query.lists_are_bare() && !query.numbers_flushes_from_zero());
    }

    #[test]
    fn dates_between_and_beyond_those_known_are_sorted_in() {
        assert!(Version::named("2024-11-13").numbers_flushes_from_zero());
        assert!(!Version::named("2024-11-13").lists_are_bare());
        assert!(!Version::named("2024-11-14").numbers_flushes_from_zero());
        assert!(!Version::named("2026-03-01").accents_are_ids());
        assert!(Version::named("2099-01-01").accents_are_ids());
    }
}
