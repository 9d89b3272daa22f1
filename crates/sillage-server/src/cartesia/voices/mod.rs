//! Voices: listed, looked at, made, changed.

mod cloning;
mod shape;

use super::accents;
use super::paging::{self, Query};
use super::request::{Wanted, check_language};
use super::settings;
use super::version::Version;
use crate::app::App;
use crate::fault::Fault;
use crate::http;
use crate::keys::{Caller, Owner};
use crate::voices::{Entry, Voices, check_name};
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{delete, get, patch, post};
use axum::{Extension, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use shape::{Shape, gender};
use sillage_voice::Voice;
use std::sync::Arc;

/// Voices of one mix.
const PARTS: usize = 32;
/// Characters of a description.
const LONGEST: usize = 2000;

pub(super) fn router() -> Router<Arc<App>> {
    let all = get(list).post(create);
    let one = get(retrieve).patch(update).delete(remove);
    let mut router = Router::new()
        .route("/voices", all.clone())
        .route("/voices/", all)
        .route("/voices/{id}", one.clone())
        .route("/voices/{id}/", one)
        .route("/voices/{id}/accents", patch(change_accent))
        .route("/voices/{id}/accents/{accent}", delete(remove_accent));
    let made = [
        ("/voices/clone", post(cloning::clone)),
        ("/voices/clone/clip", post(cloning::clip)),
        ("/voices/mix", post(mix)),
        ("/voices/localize", post(localize)),
    ];
    for (path, method) in made {
        router = router
            .route(path, method.clone())
            .route(&format!("{path}/"), method);
    }
    router
}

/// Who asks, and how they are answered.
#[derive(Clone)]
struct Asker {
    caller: Caller,
    version: Version,
    query: Arc<Query>,
}

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = <Extension<Caller> as FromRequestParts<S>>::Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Extension(caller) = Extension::from_request_parts(parts, state).await?;
        Ok(Self {
            caller,
            version: Version::of(&parts.headers, &parts.uri),
            query: Arc::new(Query::of(&parts.uri)),
        })
    }
}

impl Asker {
    fn owner(&self) -> Owner {
        self.caller.owner
    }

    fn shape(&self) -> Shape<'_> {
        Shape {
            version: &self.version,
            owner: self.caller.owner,
            embedding: self.version.tells_embeddings() || self.query.lists("expand", "embedding"),
            expand: &self.query,
        }
    }

    fn told(&self, entry: &Entry) -> Value {
        self.shape().told(entry)
    }
}

async fn list(State(app): State<Arc<App>>, asker: Asker) -> Result<Response, Fault> {
    let listed = http::blocking(move || {
        let mut all = app.voices.list(asker.owner())?;
        all.retain(|entry| fits(entry, &asker));
        if asker.version.lists_are_bare() {
            return Ok(all.iter().map(|entry| asker.told(entry)).collect());
        }
        paging::page(
            &all,
            &asker.query,
            |entry| &entry.id,
            |entry| asker.told(entry),
        )
    });
    Ok(http::answer(&listed.await?))
}

/// Whether a voice is one of those that a query asks for.
fn fits(entry: &Entry, asker: &Asker) -> bool {
    let query = &asker.query;
    let own = entry.owner == Some(asker.owner());
    let text = query.get("q").is_none_or(|wanted| {
        let wanted = wanted.to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&wanted);
        has(&entry.voice.name)
            || has(&entry.id)
            || has(entry.field("about"))
            || has(entry.field("description"))
    });
    let of_gender = query.get("gender").is_none_or(|wanted| {
        let wanted = shape::gender_of(wanted);
        wanted.is_none_or(|wanted| gender(entry) == wanted)
    });
    let spoken = query
        .get("language")
        .is_none_or(|l| check_language("language", Some(l)).is_ok());
    let owned = query.flag("is_owner").is_none_or(|wanted| wanted == own);
    // Nobody has stars to give here.
    let starred = query.flag("is_starred") != Some(true);
    text && of_gender && spoken && owned && starred
}

/// A voice by its id or name, and no other in its place.
fn exact(app: &App, owner: Owner, id: &str) -> Result<Entry, Fault> {
    let entry = app.voices.find(owner, id)?;
    let same = entry.id == id.trim() || entry.voice.name.eq_ignore_ascii_case(id.trim());
    // Who speaks for unknown names is not who was asked after.
    if !same && app.config.alias_unknown_voices {
        let shown = crate::fault::shown(id, 80);
        let message = format!("there is no voice '{shown}': GET /voices lists them");
        return Err(Fault::not_found("voice_not_found", message));
    }
    Ok(entry)
}

/// One of `owner`'s own voices, and no other in its place.
fn own(app: &App, owner: Owner, id: &str) -> Result<Entry, Fault> {
    let entry = exact(app, owner, id)?;
    app.voices.own_voice(owner, &entry.id)
}

async fn retrieve(
    State(app): State<Arc<App>>,
    asker: Asker,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let found = http::blocking(move || Ok(asker.told(&exact(&app, asker.owner(), &id)?)));
    Ok(http::answer(&found.await?))
}

/// What is said about a voice; null counts as not said.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct About {
    name: Option<String>,
    description: Option<String>,
    tagline: Option<String>,
    gender: Option<String>,
    accent: Option<String>,
    language: Option<String>,
}

impl About {
    /// The voice with all of this.
    ///
    /// # Errors
    /// The first that cannot be.
    fn put(&self, mut voice: Voice) -> Result<Voice, Fault> {
        check_language("language", self.language.as_deref())?;
        if let Some(name) = &self.name {
            check_name(name)?.clone_into(&mut voice.name);
        }
        for (field, value) in [
            ("description", &self.description),
            ("tagline", &self.tagline),
        ] {
            if let Some(value) = value {
                voice = voice.with_field(field, short(field, value)?);
            }
        }
        if let Some(wanted) = &self.gender {
            let known = shape::gender_of(wanted).ok_or_else(|| {
                Fault::bad("gender", "gender is masculine, feminine or gender_neutral")
            })?;
            voice = voice.with_field("gender", known);
        }
        if let Some(accent) = self.accent.as_deref().filter(|a| !a.trim().is_empty()) {
            voice = voice.with_field("accent", accents::find("accent", accent)?);
        }
        Ok(voice)
    }
}

/// A text about a voice, within its length.
fn short<'a>(field: &str, value: &'a str) -> Result<&'a str, Fault> {
    if value.chars().count() > LONGEST {
        let message = format!("{field} has at most {LONGEST} characters");
        return Err(Fault::bad(field, message));
    }
    Ok(value)
}

#[derive(Debug, Deserialize)]
struct Created {
    #[serde(flatten)]
    about: About,
    #[serde(default)]
    embedding: Option<Vec<f32>>,
}

/// A voice of an embedding, as older clients make them.
async fn create(State(app): State<Arc<App>>, asker: Asker, body: Body) -> Result<Response, Fault> {
    let wanted: Created = http::json(&app, body).await?;
    let made = http::blocking(move || {
        let numbers = wanted.embedding.as_deref().ok_or_else(|| {
            let message = "embedding is missing: take one from POST /voices/mix or POST /voices/clone/clip, or make a voice of a clip with POST /voices/clone";
            Fault::bad("embedding", message)
        })?;
        let voice = app.voices.from_embedding(asker.owner(), numbers)?;
        named(&wanted.about)?;
        let voice = wanted.about.put(anew(voice))?;
        Ok(asker.told(&app.voices.save(asker.owner(), None, voice)?))
    });
    Ok(http::answer(&made.await?))
}

fn named(about: &About) -> Result<(), Fault> {
    check_name(about.name.as_deref().unwrap_or_default()).map(drop)
}

/// A voice to be kept as a new one: it is not as old as what it came from.
fn anew(mut voice: Voice) -> Voice {
    voice.fields.remove("created");
    voice.fields.remove("owner");
    voice
}

async fn update(
    State(app): State<Arc<App>>,
    asker: Asker,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Fault> {
    let about: About = http::json(&app, body).await?;
    change(app, asker, id, move |voice| about.put(voice)).await
}

async fn change(
    app: Arc<App>,
    asker: Asker,
    id: String,
    change: impl FnOnce(Voice) -> Result<Voice, Fault> + Send + 'static,
) -> Result<Response, Fault> {
    let changed = http::blocking(move || {
        let entry = own(&app, asker.owner(), &id)?;
        let voice = change(entry.voice)?;
        Ok(asker.told(&app.voices.save(asker.owner(), Some(&entry.id), voice)?))
    });
    Ok(http::answer(&changed.await?))
}

async fn remove(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let removed = http::blocking(move || {
        let entry = own(&app, caller.owner, &id)?;
        app.voices.remove(caller.owner, &entry.id)
    });
    removed.await?;
    Ok(super::nothing())
}

/// The accent that a voice is read with. It has one: of several the first counts.
async fn change_accent(
    State(app): State<Arc<App>>,
    asker: Asker,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Fault> {
    let wanted: Value = http::json(&app, body).await?;
    let name = |value: &Value| {
        let text = value
            .as_str()
            .or_else(|| value["id"].as_str())
            .or_else(|| value["accent"].as_str());
        text.or_else(|| value["accent_id"].as_str())
            .map(str::to_owned)
    };
    let fields = ["accent", "accent_id", "accents", "accent_ids", "add"];
    let found = fields.iter().find_map(|field| match &wanted[*field] {
        Value::Array(several) => several.first().and_then(name),
        one => name(one),
    });
    let found = found.ok_or_else(|| {
        Fault::bad(
            "accent",
            "accent is missing: send {\"accent\": \"en-GB\"}; GET /accents lists them",
        )
    })?;
    let accent = accents::find("accent", &found)?;
    change(app, asker, id, move |voice| {
        Ok(voice.with_field("accent", accent))
    })
    .await
}

/// Takes an accent away: the voice is read with the usual one.
async fn remove_accent(
    State(app): State<Arc<App>>,
    asker: Asker,
    Path((id, accent)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let accent = accents::find("accent", &accent)?;
    change(app, asker, id, move |mut voice| {
        let has = voice
            .fields
            .get("accent")
            .map_or(accents::usual(), String::as_str);
        if has != accent {
            let message = format!("this voice is read as {has}, not as {accent}");
            return Err(Fault::not_found("accent_not_found", message));
        }
        voice.fields.remove("accent");
        Ok(voice)
    })
    .await
}

#[derive(Debug, Deserialize)]
struct Mix {
    #[serde(default)]
    voices: Vec<Value>,
    #[serde(flatten)]
    about: About,
}

/// Voices blended by weight. A name keeps the blend as a voice.
async fn mix(State(app): State<Arc<App>>, asker: Asker, body: Body) -> Result<Response, Fault> {
    let wanted: Mix = http::json(&app, body).await?;
    let mixed = http::blocking(move || {
        if wanted.voices.is_empty() || wanted.voices.len() > PARTS {
            let message =
                format!("voices is a list of 1 to {PARTS}, each {{\"id\": ..., \"weight\": ...}}");
            return Err(Fault::bad("voices", message));
        }
        let mut parts = Vec::new();
        for part in &wanted.voices {
            let voice = settings::voice(&app, asker.caller, &Wanted::read(part)?)?;
            let weight = match &part["weight"] {
                Value::Null => Some(1.0),
                weight => weight.as_f64(),
            };
            let weight =
                weight.ok_or_else(|| Fault::bad("voices", "a weight is a number, such as 0.5"))?;
            parts.push((voice, weight as f32));
        }
        let voice = app
            .voices
            .mix(wanted.about.name.as_deref().unwrap_or("mix"), &parts)?;
        let embedding = json!(Voices::embedding(&voice));
        let mut told = json!({});
        if wanted.about.name.is_some() {
            named(&wanted.about)?;
            let voice = wanted.about.put(voice)?;
            told = asker.told(&app.voices.save(asker.owner(), None, voice)?);
        }
        told["embedding"] = embedding;
        Ok(told)
    });
    Ok(http::answer(&mixed.await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Localize {
    voice_id: Option<String>,
    embedding: Option<Vec<f32>>,
    name: Option<String>,
    description: Option<String>,
    accent: Option<String>,
    dialect: Option<String>,
    language: Option<String>,
    locale: Option<String>,
}

impl Localize {
    /// The accent that the voice is to have.
    fn accent(&self) -> Result<Option<&'static str>, Fault> {
        check_language("language", self.language.as_deref())?;
        let given = |field: &Option<String>| field.clone().filter(|v| !v.trim().is_empty());
        let named = given(&self.accent).or_else(|| given(&self.dialect));
        match named.or_else(|| given(&self.locale)) {
            Some(name) => accents::find("accent", &name).map(Some),
            None => Ok(self.language.as_deref().and_then(accents::of_locale)),
        }
    }
}

/// The same voice, read with another accent, as a new one.
async fn localize(
    State(app): State<Arc<App>>,
    asker: Asker,
    body: Body,
) -> Result<Response, Fault> {
    let wanted: Localize = http::json(&app, body).await?;
    let made = http::blocking(move || {
        let accent = wanted.accent()?;
        let Some(id) = &wanted.voice_id else {
            // The oldest clients have numbers only, in which there is no accent.
            let numbers = wanted.embedding.as_deref().ok_or_else(|| {
                Fault::bad("voice_id", "voice_id is missing: GET /voices lists voices")
            })?;
            let voice = app.voices.from_embedding(asker.owner(), numbers)?;
            return Ok(json!({ "embedding": Voices::embedding(&voice) }));
        };
        let from = exact(&app, asker.owner(), id)?;
        let about = About {
            name: Some(
                wanted
                    .name
                    .clone()
                    .unwrap_or_else(|| from.voice.name.clone()),
            ),
            description: wanted.description.clone(),
            accent: accent.map(str::to_owned),
            ..About::default()
        };
        let voice = about.put(anew(from.voice))?;
        Ok(asker.told(&app.voices.save(asker.owner(), None, voice)?))
    });
    Ok(http::answer(&made.await?))
}
