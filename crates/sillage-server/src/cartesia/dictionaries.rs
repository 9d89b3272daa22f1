//! Pronunciation dictionaries: words, and how they are to be said, by sounds or
//! by other words.

use super::paging::{self, Query, page};
use super::substitutes::{Substitute, Substitutes};
use crate::app::App;
use crate::fault::{Fault, Kind};
use crate::http;
use crate::keys::{Caller, Owner};
use crate::records;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sillage_text::Accent;
use std::sync::Arc;

const KIND: &str = "pdict";
/// Items of one dictionary.
const ITEMS: usize = 2000;
/// Dictionaries of one key.
const MOST: usize = 1000;
/// Characters of a text or an alias.
const LONGEST: usize = 200;

/// One word or phrase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) text: String,
    #[serde(alias = "pronunciation", alias = "ipa")]
    pub(super) alias: String,
    #[serde(default)]
    pub(super) case_sensitive: Option<bool>,
}

/// A dictionary as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    id: String,
    name: String,
    items: Vec<Item>,
    created: u64,
    #[serde(default)]
    pinned: bool,
}

/// What a client sends; null counts as not sent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Change {
    name: Option<String>,
    items: Option<Vec<Item>>,
}

/// A dictionary in the two forms in which it acts.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    /// Words with their sounds, as the front end reads them.
    pub(super) sounds: Option<String>,
    /// What is put in the place of other words.
    pub(super) substitutes: Arc<Substitutes>,
}

pub(super) fn router() -> Router<Arc<App>> {
    let all = get(list).post(create);
    let one = get(retrieve).patch(update).delete(remove);
    Router::new()
        .route("/pronunciation-dicts", all.clone())
        .route("/pronunciation-dicts/", all)
        .route("/pronunciation-dicts/{id}", one.clone())
        .route("/pronunciation-dicts/{id}/", one)
        .route("/pronunciation-dicts/{id}/pin", post(pin))
        .route("/pronunciation-dicts/{id}/unpin", post(unpin))
}

/// The sounds of an alias that is written as such: `<<h|ə|l|oʊ>>`.
fn sounds(alias: &str) -> Option<&str> {
    alias.trim().strip_prefix("<<")?.strip_suffix(">>")
}

/// The forms in which items act. A word's sounds go to the front end, which
/// knows its inflections; phrases, other words, and small letters that must not
/// match capitals are put in the text's place.
pub(super) fn forms(items: &[Item]) -> Dictionary {
    let (mut lines, mut others) = (String::new(), Vec::new());
    for item in items {
        let text = item.text.trim();
        let exact = item.case_sensitive.unwrap_or(false);
        let (small, word) = (text.to_lowercase(), !text.contains(char::is_whitespace));
        match sounds(&item.alias) {
            Some(sounds) if word && (!exact || small != text) => {
                let key = if exact { text } else { &small };
                lines += &json!({ "word": key, "phonemes": sounds }).to_string();
                lines.push('\n');
            }
            _ => others.push(Substitute {
                text: text.to_owned(),
                said: item.alias.trim().to_owned(),
                exact,
            }),
        }
    }
    Dictionary {
        sounds: Some(lines).filter(|lines| !lines.is_empty()),
        substitutes: Substitutes::new(others),
    }
}

/// The dictionary of a request.
///
/// # Errors
/// If `owner` has none of that id.
pub(super) fn load(app: &App, owner: Owner, id: &str) -> Result<Dictionary, Fault> {
    Ok(forms(&find(app, owner, id)?.items))
}

fn find(app: &App, owner: Owner, id: &str) -> Result<Record, Fault> {
    let missing = || {
        let shown = crate::fault::shown(id, 80);
        let message = format!(
            "there is no dictionary '{shown}' of yours: GET /pronunciation-dicts lists them"
        );
        let mut fault = Fault::not_found("dictionary_not_found", message);
        fault.param = Some("pronunciation_dict_id".to_owned());
        fault
    };
    if !id.starts_with(&paging::prefix(KIND, owner)) {
        return Err(missing());
    }
    let bytes = match app.records.get(records::Kind::Dictionary, id) {
        Err(records::RecordError::BadId(_)) => None,
        other => other.map_err(Fault::from)?,
    };
    serde_json::from_slice(&bytes.ok_or_else(missing)?).map_err(Fault::internal)
}

fn keep(app: &App, record: &Record) -> Result<(), Fault> {
    let bytes = serde_json::to_vec(record).map_err(Fault::internal)?;
    let put = app
        .records
        .put(records::Kind::Dictionary, &record.id, &bytes);
    put.map_err(Fault::from)
}

/// The ids of `owner`'s dictionaries, the latest first.
fn ids(app: &App, owner: Owner) -> Result<Vec<String>, Fault> {
    let mut ids = app
        .records
        .list(records::Kind::Dictionary)
        .map_err(Fault::from)?;
    let prefix = paging::prefix(KIND, owner);
    ids.retain(|id| id.starts_with(&prefix));
    ids.reverse();
    Ok(ids)
}

fn check(items: &[Item]) -> Result<(), Fault> {
    if items.len() > ITEMS {
        let message = format!("a dictionary has at most {ITEMS} items: make several");
        return Err(Fault::bad("items", message));
    }
    for (at, item) in items.iter().enumerate() {
        let wrong = |what: &str| Err(Fault::bad("items", format!("items[{at}]: {what}")));
        let plain = |text: &str| {
            !text.trim().is_empty()
                && text.chars().count() <= LONGEST
                && !text.contains(char::is_control)
        };
        if !plain(&item.text) || !plain(&item.alias) {
            return wrong(&format!(
                "text and alias have 1 to {LONGEST} visible characters"
            ));
        }
        if item.text.contains(['<', '>']) {
            return wrong("a text has no < or >: write it as it stands in transcripts");
        }
        if let Some(sounds) = sounds(&item.alias)
            && let Err(found) = sillage_text::parse_phonemes(sounds, Accent::Us)
        {
            return wrong(&format!(
                "`{found}` is no phoneme of English: write IPA such as <<h|ə|l|oʊ>>"
            ));
        }
    }
    Ok(())
}

fn told(record: &Record, owner: Owner) -> Value {
    let items = record.items.iter().map(|item| {
        json!({
            "text": item.text, "alias": item.alias,
            "case_sensitive": item.case_sensitive.unwrap_or(false),
        })
    });
    json!({
        "id": record.id, "name": record.name, "items": items.collect::<Vec<_>>(),
        "created_at": super::date(record.created), "owner_id": super::user_id(Some(owner)),
        "pinned": record.pinned,
    })
}

async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
) -> Result<Response, Fault> {
    let query = Query::of(&uri);
    let page = http::blocking(move || {
        let ids = ids(&app, caller.owner)?;
        let mut page = page(&ids, &query, String::as_str, |id| json!(id))?;
        // Only those of the page are read; one that was deleted just now is null.
        for one in page["data"].as_array_mut().into_iter().flatten() {
            let found = find(&app, caller.owner, one.as_str().unwrap_or_default());
            *one = match found {
                Ok(record) => told(&record, caller.owner),
                // A damaged one was logged, and must not hide the others.
                Err(fault) if matches!(fault.kind, Kind::NotFound | Kind::Internal) => Value::Null,
                Err(fault) => return Err(fault),
            };
        }
        if let Some(data) = page["data"].as_array_mut() {
            data.retain(|one| !one.is_null());
        }
        Ok(page)
    });
    Ok(http::answer(&page.await?))
}

async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Fault> {
    let change: Change = http::json(&app, body).await?;
    let made = http::blocking(move || {
        if ids(&app, caller.owner)?.len() >= MOST {
            let message = format!("there are {MOST} dictionaries already: delete some");
            return Err(Fault::new(
                Kind::Forbidden,
                "too_many_dictionaries",
                message,
            ));
        }
        let items = change.items.unwrap_or_default();
        check(&items)?;
        let record = Record {
            id: paging::new_id(KIND, caller.owner),
            name: crate::voices::check_name(&change.name.unwrap_or_default())?.to_owned(),
            items,
            created: crate::now(),
            pinned: false,
        };
        keep(&app, &record)?;
        Ok(told(&record, caller.owner))
    });
    Ok(http::answer(&made.await?))
}

async fn retrieve(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let found = http::blocking(move || find(&app, caller.owner, &id));
    Ok(http::answer(&told(&found.await?, caller.owner)))
}

async fn update(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Fault> {
    let change: Change = http::json(&app, body).await?;
    change_one(app, caller, id, move |record| {
        if let Some(name) = change.name {
            record.name = crate::voices::check_name(&name)?.to_owned();
        }
        if let Some(items) = change.items {
            check(&items)?;
            record.items = items;
        }
        Ok(())
    })
    .await
}

async fn pin(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    change_one(app, caller, id, |record| {
        record.pinned = true;
        Ok(())
    })
    .await
}

async fn unpin(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    change_one(app, caller, id, |record| {
        record.pinned = false;
        Ok(())
    })
    .await
}

async fn change_one(
    app: Arc<App>,
    caller: Caller,
    id: String,
    change: impl FnOnce(&mut Record) -> Result<(), Fault> + Send + 'static,
) -> Result<Response, Fault> {
    let changed = http::blocking(move || {
        let mut record = find(&app, caller.owner, &id)?;
        change(&mut record)?;
        keep(&app, &record)?;
        Ok(told(&record, caller.owner))
    });
    Ok(http::answer(&changed.await?))
}

async fn remove(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let removed = http::blocking(move || {
        let record = find(&app, caller.owner, &id)?;
        let removed = app.records.remove(records::Kind::Dictionary, &record.id);
        removed.map(drop).map_err(Fault::from)
    });
    removed.await?;
    Ok(super::nothing())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str, alias: &str, exact: bool) -> Item {
        Item {
            text: text.to_owned(),
            alias: alias.to_owned(),
            case_sensitive: Some(exact),
        }
    }

    #[test]
    fn sounds_go_to_the_front_end_and_words_into_the_text() {
        let items = [
            item("Nginx", "<<ˈɛ|n|dʒ|ɪ|n|ɛ|k|s>>", false),
            item("US", "<<j|u|ɛ|s>>", true),
            item("us", "<<ʌ|s>>", true),
            item("kettle", "teapot", false),
        ];
        check(&items).unwrap();
        let forms = forms(&items);
        let sounds = forms.sounds.unwrap();
        let parsed = sillage_text::Dictionary::parse(&sounds, Accent::Us).unwrap();
        assert_eq!(parsed.len(), 2);
        assert!(
            sounds.contains("\"nginx\"") && sounds.contains("\"US\""),
            "{sounds}"
        );
    }

    #[test]
    fn bad_items_are_named() {
        for (text, alias) in [
            ("", "a"),
            ("a", " "),
            ("a\nb", "c"),
            ("<b>", "c"),
            ("a", "<<€>>"),
        ] {
            let fault = check(&[item("ok", "ok", false), item(text, alias, false)]).unwrap_err();
            assert!(fault.message.contains("items[1]"), "{}", fault.message);
        }
    }

    #[test]
    fn other_names_of_fields_are_understood() {
        let change: Change = serde_json::from_value(json!({
            "name": "n", "items": [{"text": "kettle", "pronunciation": "teapot", "case_sensitive": null, "x": 1}],
        }))
        .unwrap();
        assert_eq!(change.items.unwrap()[0].alias, "teapot");
    }
}
