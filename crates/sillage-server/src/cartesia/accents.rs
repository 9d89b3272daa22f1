//! The accents that voices are read with.

use super::version::Version;
use crate::app::App;
use crate::fault::Fault;
use crate::http;
use axum::Router;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};
use std::sync::Arc;

/// An accent: its locale, and its id and name in the catalogue that clients
/// check answers by.
struct Accent {
    locale: &'static str,
    id: &'static str,
    name: &'static str,
    /// Other words for it, small.
    others: &'static [&'static str],
}

/// The first is the one that is meant where none is named.
const ALL: [Accent; 2] = [
    Accent {
        locale: "en-US",
        id: "general-american",
        name: "General American English",
        others: &[
            "us",
            "en_us",
            "american",
            "united states",
            "american english",
        ],
    },
    Accent {
        locale: "en-GB",
        id: "british",
        name: "British English",
        others: &["gb", "uk", "en_gb", "en-uk", "en_uk", "united kingdom"],
    },
];

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/accents", get(list))
        .route("/accents/", get(list))
}

/// The locale that is meant where no accent is named.
pub(super) fn usual() -> &'static str {
    ALL[0].locale
}

/// The locale of the accent of that id, name or abbreviation.
///
/// # Errors
/// If it is none of those there are.
pub(super) fn find(field: &str, wanted: &str) -> Result<&'static str, Fault> {
    let small = wanted.trim().to_lowercase();
    let is = |a: &&Accent| {
        a.locale.to_lowercase() == small
            || a.id == small
            || a.name.to_lowercase() == small
            || a.others.contains(&small.as_str())
    };
    ALL.iter().find(is).map(|a| a.locale).ok_or_else(|| {
        let shown = crate::fault::shown(wanted, 40);
        let message =
            format!("there is no accent '{shown}': choose en-US (American) or en-GB (British)");
        Fault::bad(field, message)
    })
}

/// The accent of a locale, if it has one of its own here.
pub(super) fn of_locale(locale: &str) -> Option<&'static str> {
    find("locale", locale).ok()
}

/// An accent as clients of that date are told it.
pub(super) fn told(locale: &str, version: &Version) -> Value {
    let accent = ALL.iter().find(|a| a.locale == locale).unwrap_or(&ALL[0]);
    json!(if version.accents_are_ids() {
        accent.id
    } else {
        accent.name
    })
}

async fn list() -> Response {
    let accents = ALL.iter().enumerate().map(|(at, accent)| {
        json!({
            "id": accent.id, "name": accent.name, "language": "en", "locale": accent.locale,
            "is_locale_default": true, "is_language_default": at == 0, "is_localizable": true,
        })
    });
    let accents: Vec<Value> = accents.collect();
    http::answer(
        &json!({ "accents": accents, "data": accents, "has_more": false, "next_page": null }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accents_have_many_names() {
        for name in ["en-GB", "british", "UK", " gb ", "British English"] {
            assert_eq!(find("accent", name).unwrap(), "en-GB");
        }
        assert!(
            find("accent", "fr-FR")
                .unwrap_err()
                .message
                .contains("en-US")
        );
        assert_eq!(of_locale("en"), None);
        let old = Version::named("2025-11-04");
        assert_eq!(told("en-GB", &old), "British English");
        assert_eq!(told("en-GB", &Version::named("")), "british");
    }
}
