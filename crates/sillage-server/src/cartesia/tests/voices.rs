//! Voices as clients list, make and change them.

use super::http::form;
use super::{asked, check_speech};
use crate::app::App;
use crate::testing::{app, ask, bytes, json as answered, post};
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use std::sync::Arc;

async fn get(app: &Arc<App>, path: &str) -> (u16, Value) {
    answered(ask(app, Request::get(path).body(Body::empty()).unwrap()).await).await
}

async fn sent(app: &Arc<App>, method: &str, path: &str, body: Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path);
    answered(ask(app, request.body(Body::from(body.to_string())).unwrap()).await).await
}

fn rehearsing() -> Arc<App> {
    app(crate::Config::parse("rehearse = true").unwrap())
}

/// What each of the clients insists on.
fn check(voice: &Value) {
    for field in [
        "id",
        "user_id",
        "name",
        "description",
        "language",
        "created_at",
        "gender",
        "access",
    ] {
        assert!(
            voice[field]
                .as_str()
                .is_some_and(|v| !v.is_empty() || field == "description"),
            "{field}: {voice}"
        );
    }
    assert!(voice["is_public"].is_boolean() && voice["is_owner"].is_boolean());
    assert!(voice["created_at"].as_str().unwrap().ends_with('Z'));
    assert!(voice["locales"][0]["locale"].is_string());
}

#[tokio::test]
async fn lists_are_pages_or_bare_by_date() {
    let app = rehearsing();
    let (mut seen, mut path) = (Vec::new(), "/voices/?limit=5".to_owned());
    loop {
        let (_, page) = get(&app, &path).await;
        let Some(last) = page["data"].as_array().unwrap().last() else {
            break;
        };
        path = format!(
            "/voices?limit=5&starting_after={}",
            last["id"].as_str().unwrap()
        );
        seen.extend(page["data"].as_array().unwrap().clone());
    }
    assert!(seen.len() > 10);
    seen.iter().for_each(check);
    let (_, bare) = get(&app, "/voices?cartesia_version=2024-06-10").await;
    let bare = bare.as_array().unwrap();
    assert_eq!(bare.len(), seen.len());
    assert!(
        bare.iter()
            .all(|v| v["embedding"].as_array().unwrap().len() == 192)
    );
    let (_, men) = get(&app, "/voices?limit=100&gender=masculine").await;
    let men = men["data"].as_array().unwrap();
    assert!(men.iter().any(|v| v["name"] == "michael") && men.iter().all(|v| v["name"] != "nova"));
    let (_, found) = get(&app, "/voices?q=NOVA&expand[]=embedding").await;
    assert_eq!(found["data"][0]["name"], "nova");
    assert_eq!(found["data"][0]["embedding"].as_array().unwrap().len(), 192);
    let (_, none) = get(&app, "/voices?is_owner=true").await;
    assert_eq!(none["data"], json!([]));
    assert_eq!(get(&app, "/voices/no-such-voice").await.0, 404);
    let (_, one) = get(&app, "/voices/6ccbfb76-1fc6-48f7-b71d-91ac6298247b").await;
    check(&one);
    let id = one["id"].as_str().unwrap();
    assert_eq!(get(&app, &format!("/voices/{id}")).await.1["name"], "nova");
}

#[tokio::test]
async fn a_clone_is_made_changed_and_forgotten() {
    let app = rehearsing();
    let texts = [
        ("name", "a guest"),
        ("language", "en"),
        ("mode", "similarity"),
        ("enhance", "true"),
        ("description", "d"),
    ];
    let clip = vec![0u8; 1000];
    let (status, made) =
        answered(ask(&app, form("/voices/clone/", &texts, &[("clip", &clip)])).await).await;
    assert_eq!(status, 200, "{made}");
    check(&made);
    assert_eq!(
        (&made["description"], &made["is_owner"]),
        (&json!("d"), &json!(true))
    );
    let path = format!("/voices/{}", made["id"].as_str().unwrap());
    let change =
        json!({"name": "renamed", "description": null, "gender": "masculine", "accent": "British"});
    let (_, changed) = sent(&app, "PATCH", &path, change).await;
    assert_eq!(
        (&changed["name"], &changed["description"]),
        (&json!("renamed"), &json!("d"))
    );
    assert_eq!(
        (&changed["accent"], &changed["gender"]),
        (&json!("british"), &json!("masculine"))
    );
    let (_, american) = sent(
        &app,
        "PATCH",
        &format!("{path}/accents"),
        json!({"accents": ["en-US"]}),
    )
    .await;
    assert_eq!(american["accent"], "general-american");
    let (status, _) = sent(&app, "DELETE", &format!("{path}/accents/en-GB"), json!({})).await;
    assert_eq!(status, 404);
    let spoken = post("/tts/bytes", &asked(json!({"voice": made["id"]})));
    check_speech(&bytes(ask(&app, spoken).await).await);
    let removed = Request::delete(&path).body(Body::empty()).unwrap();
    assert_eq!(ask(&app, removed).await.status(), 204);
    assert_eq!(get(&app, &path).await.0, 404);
    let (status, kept) = sent(&app, "PATCH", "/voices/nova", json!({"name": "mine"})).await;
    assert_eq!(
        (status, &kept["error_code"]),
        (403, &json!("voice_is_built_in"))
    );
}

#[tokio::test]
async fn cloning_without_consent_says_what_to_do() {
    let app = app(crate::Config::default());
    for path in ["/voices/clone", "/voices/clone/clip"] {
        let texts = [("name", "a guest"), ("language", "en")];
        let (status, body) =
            answered(ask(&app, form(path, &texts, &[("clip", b"RIFF")])).await).await;
        assert_eq!(
            (status, &body["error_code"]),
            (422, &json!("consent_required")),
            "{path}"
        );
        assert!(
            body["message"]
                .as_str()
                .unwrap()
                .contains("X-Sillage-Consent")
        );
    }
    let french = [("name", "un invité"), ("language", "fr")];
    let (status, _) =
        answered(ask(&app, form("/voices/clone", &french, &[("clip", b"RIFF")])).await).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn voices_are_mixed_made_of_numbers_and_localised() {
    let app = rehearsing();
    let parts = json!([{"id": "nova", "weight": 0.5}, {"id": "george", "weight": null}]);
    let (_, mixed) = sent(&app, "POST", "/voices/mix", json!({"voices": parts})).await;
    assert_eq!(mixed["embedding"].as_array().unwrap().len(), 192);
    assert!(mixed.get("id").is_none());
    let embedding = &mixed["embedding"];
    let spoken = json!({"voice": {"mode": "embedding", "embedding": embedding}});
    check_speech(&bytes(ask(&app, post("/tts/bytes", &asked(spoken))).await).await);
    let wanted =
        json!({"name": "of two", "description": "d", "embedding": embedding, "language": "en"});
    let (status, made) = sent(&app, "POST", "/voices/", wanted).await;
    assert_eq!(status, 200, "{made}");
    check(&made);
    let (_, kept) = sent(
        &app,
        "POST",
        "/voices/mix",
        json!({"voices": parts, "name": "kept"}),
    )
    .await;
    check(&kept);
    assert_eq!(kept["embedding"].as_array().unwrap().len(), 192);
    let wanted = json!({"voice_id": "nova", "name": "in London", "accent": "en-GB"});
    let (_, local) = sent(&app, "POST", "/voices/localize", wanted).await;
    assert_eq!(
        (&local["name"], &local["accent"]),
        (&json!("in London"), &json!("british"))
    );
    let old = json!({"voice_id": "nova", "name": "x", "description": "", "language": "en", "dialect": "uk", "original_speaker_gender": "female"});
    let (_, local) = sent(
        &app,
        "POST",
        "/voices/localize?cartesia_version=2025-11-04",
        old,
    )
    .await;
    assert_eq!(local["accent"], "British English");
    let (status, refused) = sent(
        &app,
        "POST",
        "/voices/localize",
        json!({"voice_id": "nova", "name": "x", "language": "fr"}),
    )
    .await;
    assert_eq!(status, 400, "{refused}");
    for bad in [
        json!({"voices": []}),
        json!({"voices": [{"id": "nova", "weight": "much"}]}),
        json!({"voices": [{"id": "nova", "weight": -1}]}),
    ] {
        assert!(sent(&app, "POST", "/voices/mix", bad).await.0 >= 400);
    }
}
