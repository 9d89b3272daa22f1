//! Requests that are answered once.

use super::{LINE, asked, check_speech};
use crate::app::App;
use crate::testing::{app, ask, bytes, common, json as answered, post};
use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sillage_audio::decode::{Limits, decode};
use sillage_audio::manifest::{Verdict, manifest_of};
use std::sync::Arc;

fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .unwrap()
}

async fn speak(app: &Arc<App>, more: Value) -> Vec<u8> {
    let response = ask(app, post("/tts/bytes", &asked(more))).await;
    assert_eq!(response.status(), 200);
    bytes(response).await
}

/// A form with texts and one file a field.
pub(super) fn form(path: &str, texts: &[(&str, &str)], files: &[(&str, &[u8])]) -> Request<Body> {
    let mut body = Vec::new();
    for (name, value) in texts {
        let head =
            format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend(head.into_bytes());
    }
    for (name, value) in files {
        let head = format!(
            "--edge\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"blob\"\r\nContent-Type: application/octet-stream\r\n\r\n"
        );
        body.extend(head.into_bytes());
        body.extend(*value);
        body.extend(b"\r\n");
    }
    body.extend(b"--edge--\r\n");
    let request = Request::post(path).header("content-type", "multipart/form-data; boundary=edge");
    request.body(Body::from(body)).unwrap()
}

#[tokio::test]
async fn bytes_are_speech_at_the_speed_asked_for() {
    let app = common();
    let plain = check_speech(&speak(&app, json!({})).await);
    let fast = check_speech(&speak(&app, json!({"speed": "fast", "voice": "nova"})).await);
    let slow = json!({"generation_config": {"speed": 0.7, "volume": 1.0, "emotion": "Happy"}});
    let slow = check_speech(&speak(&app, slow).await);
    assert!(
        fast < 0.9 * plain && slow > 1.2 * plain,
        "{fast} {plain} {slow}"
    );
    let timed = check_speech(&speak(&app, json!({"duration": 1.2 * plain})).await);
    assert!(
        (timed / plain - 1.2).abs() < 0.15,
        "{timed} for {}",
        1.2 * plain
    );
}

#[tokio::test]
async fn files_are_what_they_say_and_are_signed() {
    let app = common();
    for encoding in ["pcm_s16le", "pcm_f32le", "pcm_mulaw", "pcm_alaw"] {
        let format = json!({"container": "wav", "encoding": encoding, "sample_rate": 16000});
        let file = speak(&app, json!({"output_format": format})).await;
        let verdict = manifest_of(&file).unwrap();
        assert!(matches!(verdict, Verdict::Verified { .. }), "{encoding}");
        let clip = decode(&file, 24_000, &Limits::default()).unwrap();
        assert_eq!(clip.source_rate, 16_000);
        assert!(clip.seconds() > 1.5);
    }
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let app = common();
    let cases = [
        (json!({"transcript": " "}), 400, "empty"),
        (json!({"transcript": null}), 400, "empty"),
        (
            json!({"voice": {"mode": "id", "id": "no-such-voice"}}),
            404,
            "no-such-voice",
        ),
        (json!({"voice": null}), 400, "GET /voices"),
        (json!({"voice": {"embedding": [1.0, 2.0]}}), 400, "192"),
        (json!({"language": "fr"}), 400, "English"),
        (json!({"output_format": null}), 400, "output_format"),
        (
            json!({"output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 1}}),
            400,
            "24000",
        ),
        (json!({"pronunciation_dict_id": "none"}), 404, "dictionary"),
        (
            json!({"transcript": "a <break time=\"long\"/> b"}),
            400,
            "time=",
        ),
        (json!({"transcript": "a".repeat(100_001)}), 413, "100000"),
        (json!({"transcript": 7}), 400, "string"),
    ];
    for (more, status, part) in cases {
        let (found, body) = answered(ask(&app, post("/tts/bytes", &asked(more))).await).await;
        assert_eq!(found, status, "{body}");
        assert!(body["message"].as_str().unwrap().contains(part), "{body}");
        assert!(body["request_id"].is_string() && body["title"].is_string());
    }
    let wav = json!({"output_format": {"container": "wav", "sample_rate": 24000}});
    let (status, body) = answered(ask(&app, post("/tts/sse", &asked(wav))).await).await;
    assert_eq!(status, 400, "{body}");
    let (status, body) = answered(ask(&app, request("GET", "/tts/websocket")).await).await;
    assert_eq!(
        (status, &body["error_code"]),
        (400, &json!("not_a_websocket"))
    );
}

#[tokio::test]
async fn events_bring_sound_and_words() {
    let app = common();
    let more =
        json!({"add_timestamps": true, "add_phoneme_timestamps": true, "context_id": "mine"});
    let response = ask(&app, post("/tts/sse", &asked(more))).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = String::from_utf8(bytes(response).await).unwrap();
    let (mut sound, mut words, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    for event in text.split_terminator("\n\n") {
        let (kind, data) = event.split_once('\n').unwrap();
        let frame: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(kind.strip_prefix("event: "), frame["type"].as_str());
        assert_eq!(frame["context_id"], "mine");
        if let Some(data) = frame["data"].as_str() {
            sound.extend(STANDARD.decode(data).unwrap());
        }
        for word in frame["word_timestamps"]["words"]
            .as_array()
            .into_iter()
            .flatten()
        {
            words.push(word.as_str().unwrap().to_owned());
        }
        kinds.push(frame["type"].as_str().unwrap().to_owned());
    }
    check_speech(&sound);
    assert_eq!(words, LINE.split(' ').collect::<Vec<_>>());
    assert!(kinds.iter().any(|k| k == "phoneme_timestamps"));
    assert_eq!(kinds.last().unwrap(), "done");
}

#[tokio::test]
async fn saved_sound_can_be_fetched_by_its_owner() {
    let app = app(crate::Config::parse(
        "[[keys]]\nname='a'\nkey='key-of-a-1'\n[[keys]]\nname='b'\nkey='key-of-b-1'",
    )
    .unwrap());
    let by = |key: &str, mut request: Request<Body>| {
        request
            .headers_mut()
            .insert("x-api-key", key.parse().unwrap());
        request
    };
    let wav = json!({"container": "wav", "encoding": "pcm_s16le", "sample_rate": 24000});
    let wanted = post(
        "/tts/bytes",
        &asked(json!({"save": true, "output_format": wav})),
    );
    let response = ask(&app, by("key-of-a-1", wanted)).await;
    assert_eq!(response.status(), 200);
    let id = response.headers()["cartesia-file-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let made = bytes(response).await;
    let path = format!("/files/{id}/download");
    let response = ask(&app, by("key-of-a-1", request("GET", &path))).await;
    assert_eq!(response.headers()["content-type"], "audio/wav");
    assert_eq!(bytes(response).await, made);
    let info = by("key-of-a-1", request("GET", &format!("/files/{id}/info")));
    let (_, info) = answered(ask(&app, info).await).await;
    assert_eq!(info["size"], made.len());
    let link = by("key-of-a-1", post("/links", &json!({"file_id": id})));
    let (_, link) = answered(ask(&app, link).await).await;
    assert!(link["url"].as_str().unwrap().ends_with(&path));
    let other = ask(&app, by("key-of-b-1", request("GET", &path))).await;
    assert_eq!(other.status(), 404);
}

#[tokio::test]
async fn dictionaries_change_what_is_said() {
    let app = common();
    let items = json!([
        {"text": "kettle", "alias": "extraordinarily melodious teapot of the house"},
        {"text": "kitchen", "pronunciation": "<<ˈɛ|k|s>>", "case_sensitive": null},
    ]);
    let made = post(
        "/pronunciation-dicts/",
        &json!({"name": "names", "items": items}),
    );
    let (status, made) = answered(ask(&app, made).await).await;
    assert_eq!(status, 200, "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    let path = format!("/pronunciation-dicts/{id}");
    let plain = speak(&app, json!({})).await.len();
    let changed = speak(&app, json!({"pronunciation_dict_id": id}))
        .await
        .len();
    assert!(changed as f64 > 1.2 * plain as f64, "{changed} {plain}");
    let patch = Request::patch(&path)
        .body(Body::from(r#"{"name":"other","items":null}"#))
        .unwrap();
    let (_, patched) = answered(ask(&app, patch).await).await;
    assert_eq!(
        (&patched["name"], &patched["items"]),
        (&json!("other"), &made["items"])
    );
    let (_, listed) =
        answered(ask(&app, request("GET", "/pronunciation-dicts?limit=100")).await).await;
    assert!(
        listed["data"]
            .as_array()
            .unwrap()
            .iter()
            .any(|d| d["id"] == made["id"])
    );
    assert_eq!(ask(&app, request("DELETE", &path)).await.status(), 204);
    assert_eq!(ask(&app, request("GET", &path)).await.status(), 404);
}

#[tokio::test]
async fn tokens_speak_and_do_no_more() {
    let app = common();
    let (_, made) = answered(
        ask(
            &app,
            post(
                "/access-token",
                &json!({"grants": {"tts": true}, "expires_in": 60}),
            ),
        )
        .await,
    )
    .await;
    let token = made["token"].as_str().unwrap();
    let mut speech = post(
        &format!("/tts/bytes?access_token={token}"),
        &asked(json!({})),
    );
    speech.headers_mut().remove("authorization");
    check_speech(&bytes(ask(&app, speech).await).await);
    let list = request("GET", &format!("/voices?access_token={token}"));
    assert_eq!(ask(&app, list).await.status(), 403);
    let long = post(
        "/access-token",
        &json!({"grants": {"tts": true}, "expires_in": 4000}),
    );
    assert_eq!(ask(&app, long).await.status(), 400);
}

#[tokio::test]
async fn what_is_not_done_here_is_said_with_what_to_do() {
    let app = common();
    for (method, path) in [
        ("POST", "/voice-changer/bytes"),
        ("POST", "/stt"),
        ("GET", "/stt/websocket"),
        ("GET", "/agents/"),
        ("POST", "/fine-tunes/"),
        ("GET", "/datasets/some/files"),
    ] {
        let (status, body) = answered(ask(&app, request(method, path)).await).await;
        assert_eq!(
            (status, &body["error_code"]),
            (501, &json!("not_implemented")),
            "{path}"
        );
    }
    for path in ["/models", "/usage/credits", "/accents"] {
        assert_eq!(
            ask(&app, request("GET", path)).await.status(),
            200,
            "{path}"
        );
    }
}

#[tokio::test]
async fn infill_goes_on_as_its_neighbour_does() {
    let app = common();
    let wav = json!({"container": "wav", "encoding": "pcm_s16le", "sample_rate": 24000});
    let quiet = json!({"output_format": wav, "generation_config": {"volume": 0.5}});
    let left = speak(&app, quiet).await;
    let texts = [
        ("transcript", "It was a long evening."),
        ("voice_id", "nova"),
        ("language", "en"),
        ("model_id", "sonic"),
        ("output_format[container]", "wav"),
        ("output_format[encoding]", "pcm_s16le"),
        ("output_format[sample_rate]", "24000"),
    ];
    let response = ask(
        &app,
        form("/infill/bytes", &texts, &[("left_audio", &left)]),
    )
    .await;
    assert_eq!(response.status(), 200);
    let level = |file: &[u8]| {
        let samples = decode(file, 24_000, &Limits::default()).unwrap().samples;
        super::super::infill::level(&samples).unwrap()
    };
    let (before, filled) = (level(&left), level(&bytes(response).await));
    assert!(
        (filled / before - 1.0).abs() < 0.2,
        "{filled} after {before}"
    );
    let (status, body) = answered(ask(&app, form("/infill/bytes", &texts, &[])).await).await;
    assert_eq!(status, 400, "{body}");
}

#[tokio::test]
async fn markup_of_clients_is_obeyed_or_passed_over() {
    let app = common();
    let plain = speak(&app, json!({})).await.len();
    let moods = format!("<emotion value=\"happy\"/> {LINE}");
    assert_eq!(speak(&app, json!({"transcript": moods})).await.len(), plain);
    let paused = format!("{LINE} <break time=\"2s\"/> <spell>AB</spell> <<m|ɛ|t>>.");
    let paused = speak(&app, json!({"transcript": paused})).await.len();
    assert!(paused > plain + 2 * 48_000, "{paused} {plain}");
}
