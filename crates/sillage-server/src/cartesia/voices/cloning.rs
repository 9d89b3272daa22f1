//! Voices of clips, with their speakers' consent.

use super::{About, Asker};
use crate::app::App;
use crate::cartesia::accents;
use crate::cartesia::request::check_language;
use crate::fault::Fault;
use crate::http;
use crate::keys::Caller;
use crate::multipart::Form;
use crate::voices::{Clip, ConsentGiven, Entry, Voices};
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::json;
use std::sync::Arc;

/// A form with a clip in it, read.
struct Cloning {
    clip: Clip,
    consent: ConsentGiven,
    name: String,
    about: About,
}

impl Cloning {
    async fn read(
        app: &App,
        headers: &HeaderMap,
        body: Body,
        name: Option<&str>,
    ) -> Result<Self, Fault> {
        let mut form = Form::read(app, headers, body).await?;
        check_language("language", form.text("language"))?;
        let text = |field: &str| form.text(field).map(str::to_owned);
        let about = About {
            description: text("description"),
            tagline: text("tagline"),
            gender: text("gender"),
            accent: text("accent"),
            ..About::default()
        };
        let name = match (form.text("name"), name) {
            (Some(name), _) => name.to_owned(),
            (None, Some(usual)) => usual.to_owned(),
            (None, None) => form.required("name")?.to_owned(),
        };
        let consent = form.take_consent(headers);
        let clip = match form.take_file("clip") {
            Some(bytes) => bytes,
            None => form.required_file("file")?,
        };
        Ok(Self {
            clip: Clip { bytes: clip },
            consent,
            name,
            about,
        })
    }

    fn make(&self, app: &App, caller: Caller) -> Result<Entry, Fault> {
        // What is wrong with a field is told before the clip is heard.
        let accent = self
            .about
            .accent
            .as_deref()
            .map(|a| accents::find("accent", a));
        let accent = accent.transpose()?;
        let of = |field: &'static str, value: &Option<String>| {
            let value = value.as_deref().unwrap_or_default();
            super::short(field, value).map(|value| (field, value.to_owned()))
        };
        let gender = match &self.about.gender {
            Some(word) => super::shape::gender_of(word).unwrap_or_default().to_owned(),
            None => String::new(),
        };
        let fields = [
            of("description", &self.about.description)?,
            of("tagline", &self.about.tagline)?,
            ("gender", gender),
            ("accent", accent.unwrap_or_default().to_owned()),
            ("language", "en".to_owned()),
        ];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(f, v)| (*f, v.as_str())).collect();
        app.voices
            .clone_voice(caller, &self.name, &self.clip, &self.consent, &fields)
    }
}

pub(super) async fn clone(
    State(app): State<Arc<App>>,
    asker: Asker,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let cloning = Cloning::read(&app, &headers, body, None).await?;
    let made = http::blocking(move || Ok(asker.told(&cloning.make(&app, asker.caller)?)));
    Ok(http::answer(&made.await?))
}

/// The embedding of a clip, for clients that keep voices themselves. It speaks
/// as the clip does, so it needs the same consent; the voice is kept too, because
/// a list of numbers is not all of it.
pub(super) async fn clip(
    State(app): State<Arc<App>>,
    asker: Asker,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let cloning = Cloning::read(&app, &headers, body, Some("clip")).await?;
    let made = http::blocking(move || {
        let entry = cloning.make(&app, asker.caller)?;
        let mut told = asker.told(&entry);
        told["embedding"] = json!(Voices::embedding(&entry.voice));
        Ok(told)
    });
    Ok(http::answer(&made.await?))
}
