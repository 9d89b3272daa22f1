//! Requests over all layers, against the shipped voice.

use crate::app::App;
use crate::config::Config;
use crate::testing::{app, ask, bytes, common, json, post};
use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::Arc;

const SPEECH: &str = "/v1/audio/speech";
const LINE: &str = "The kettle began to sing.";

async fn refused(app: &Arc<App>, body: Value) -> Value {
    let (status, answer) = json(ask(app, post(SPEECH, &body)).await).await;
    assert_eq!(status / 100, 4, "{answer}");
    assert!(answer["error"]["message"].is_string());
    answer["error"].clone()
}

#[tokio::test]
async fn every_format_is_what_it_says() {
    let app = common();
    let mp3: (&str, &[u8]) = match cfg!(feature = "mp3") {
        // The tag that holds the manifest comes before the first frame.
        true => ("audio/mpeg", b"ID3"),
        false => ("audio/wav", b"RIFF"),
    };
    let cases: [(Value, (&str, &[u8])); 6] = [
        (json!("pcm"), ("audio/pcm", &[])),
        (json!("wav"), ("audio/wav", b"RIFF")),
        (json!("flac"), ("audio/flac", b"fLaC")),
        (json!("opus"), ("audio/ogg", b"OggS")),
        (json!("mp3"), mp3),
        (Value::Null, mp3),
    ];
    for (format, (kind, magic)) in cases {
        let body = json!({
            "model": "tts-1", "input": LINE, "voice": "nova", "response_format": format,
            "speed": null, "instructions": "Sing.", "stream_format": null,
        });
        let response = ask(&app, post(SPEECH, &body)).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], kind);
        let sound = bytes(response).await;
        assert!(sound.starts_with(magic), "{format}");
        assert!(sound.len() > 2000, "{format}: {}", sound.len());
    }
}

#[tokio::test]
async fn a_voice_and_a_speed_may_be_chosen() {
    let app = common();
    let say = async |voice: Value, speed: f64| {
        let body =
            json!({ "input": LINE, "voice": voice, "speed": speed, "response_format": "pcm" });
        let response = ask(&app, post(SPEECH, &body)).await;
        assert_eq!(response.status(), 200);
        bytes(response).await
    };
    let plain = say(json!("nova"), 1.0).await;
    assert_eq!(plain.len() % 2, 0);
    assert_eq!(plain, say(Value::Null, 1.0).await);
    let (_, listed) = json(
        ask(
            &app,
            Request::get("/v1/audio/voices")
                .body(Body::empty())
                .unwrap(),
        )
        .await,
    )
    .await;
    let nova = listed["voices"]
        .as_array()
        .unwrap()
        .iter()
        .find(|v| v["name"] == "nova");
    let id = nova.unwrap()["id"].clone();
    assert_eq!(plain, say(json!({ "id": id }), 1.0).await);
    assert_ne!(plain, say(json!("heart"), 1.0).await);
    let (slow, fast) = (
        say(json!("alloy"), 0.5).await,
        say(json!("alloy"), 2.0).await,
    );
    assert!(
        slow.len() > 2 * fast.len(),
        "{} and {}",
        slow.len(),
        fast.len()
    );
}

#[tokio::test]
async fn sound_comes_as_events() {
    let app = common();
    let told = async |format: &str| {
        let body = json!({ "input": LINE, "response_format": format, "stream_format": "sse" });
        let response = ask(&app, post(SPEECH, &body)).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let text = String::from_utf8(bytes(response).await).unwrap();
        let events = text.trim_end().split("\n\n").map(|line| {
            serde_json::from_str::<Value>(line.strip_prefix("data: ").unwrap()).unwrap()
        });
        let mut events: Vec<Value> = events.collect();
        let done = events.pop().unwrap();
        assert!(events.len() > 1);
        let mut sound = Vec::new();
        for event in events {
            assert_eq!(event["type"], "speech.audio.delta");
            sound.extend(STANDARD.decode(event["audio"].as_str().unwrap()).unwrap());
        }
        assert_eq!(done["type"], "speech.audio.done");
        let usage = done["usage"].clone();
        assert_eq!(usage["input_tokens"], LINE.len());
        let (input, output) = (LINE.len() as u64, usage["output_tokens"].as_u64().unwrap());
        assert_eq!(usage["total_tokens"], input + output);
        (sound, output)
    };
    let (pcm, tokens) = told("pcm").await;
    assert_eq!(tokens, (pcm.len() as u64 / 2).div_ceil(1200));
    let plain = post(SPEECH, &json!({ "input": LINE, "response_format": "pcm" }));
    assert_eq!(pcm, bytes(ask(&app, plain).await).await);
    let (opus, again) = told("opus").await;
    assert!(opus.starts_with(b"OggS") && opus.len() < pcm.len());
    assert_eq!(again, tokens);
    // A body's type can say what it is, an event cannot.
    let default = post(SPEECH, &json!({ "input": LINE, "stream_format": "sse" }));
    let kind = ask(&app, default).await.headers()["content-type"].clone();
    assert_eq!(kind == "audio/wav", !cfg!(feature = "mp3"));
}

#[tokio::test]
async fn mistakes_are_named() {
    let mut config = Config::default();
    config.limits.text_chars = 40;
    let app = app(config);
    let aac = refused(&app, json!({ "input": LINE, "response_format": "aac" })).await;
    assert_eq!(aac["code"], "unsupported_format");
    assert!(aac["message"].as_str().unwrap().contains("flac"));
    let cases = [
        (json!({}), "input"),
        (json!({ "input": null }), "input"),
        (json!({ "input": " \n" }), "input"),
        (json!({ "input": "x".repeat(41) }), "input"),
        (
            json!({ "input": "A <break/> wrong tag.", "response_format": "pcm" }),
            "input",
        ),
        (
            json!({ "input": "A <break/> wrong tag.", "response_format": "pcm", "stream_format": "sse" }),
            "input",
        ),
        (json!({ "input": LINE, "speed": 9 }), "speed"),
        (json!({ "input": LINE, "speed": 0 }), "speed"),
        (
            json!({ "input": LINE, "stream_format": "morse" }),
            "stream_format",
        ),
        (json!({ "input": LINE, "voice": 3 }), "voice"),
        (
            json!({ "input": LINE, "voice": { "name": "nova" } }),
            "voice",
        ),
        (json!({ "input": LINE, "voice": "no-such-voice" }), "voice"),
    ];
    for (body, param) in cases {
        assert_eq!(refused(&app, body.clone()).await["param"], param, "{body}");
    }
    let garbage = Request::post(SPEECH).body(Body::from("{")).unwrap();
    assert_eq!(json(ask(&app, garbage).await).await.0, 400);
}

/// A form; files are those of more than 20 bytes.
fn form(path: &str, fields: &[(&str, &[u8])]) -> Request<Body> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let file = if value.len() > 20 {
            "; filename=\"a.wav\""
        } else {
            ""
        };
        body.extend(
            format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n")
                .bytes(),
        );
        body.extend_from_slice(value);
        body.extend(b"\r\n");
    }
    body.extend(b"--edge--\r\n");
    let request = Request::post(path).header("content-type", "multipart/form-data; boundary=edge");
    request.body(Body::from(body)).unwrap()
}

fn simple(method: &str, path: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn a_voice_of_ones_own_comes_and_goes() {
    let app = app(Config {
        rehearse: true,
        ..Config::default()
    });
    // Larger than what axum takes unless it is told otherwise.
    let clip = vec![1; 3 << 20];
    let (consents, voices) = ("/v1/audio/voice_consents", "/v1/audio/voices");
    let asked = form(
        consents,
        &[
            ("name", b"a guest"),
            ("language", b"en-GB"),
            ("recording", &clip),
        ],
    );
    let (status, consent) = json(ask(&app, asked).await).await;
    assert_eq!(
        (status, &consent["object"]),
        (200, &json!("audio.voice_consent"))
    );
    assert_eq!(
        (&consent["name"], &consent["language"]),
        (&json!("a guest"), &json!("en-GB"))
    );
    let id = consent["id"].as_str().unwrap();
    let (_, listed) = json(ask(&app, simple("GET", consents)).await).await;
    assert_eq!(
        (&listed["data"][0], &listed["has_more"]),
        (&consent, &json!(false))
    );
    let pages = [
        ("limit=1", 200, 1),
        ("limit=0", 400, 0),
        ("after=cons_x", 400, 0),
    ];
    for (query, wanted, count) in pages {
        let asked = simple("GET", &format!("{consents}?{query}"));
        let (status, page) = json(ask(&app, asked).await).await;
        assert_eq!(status, wanted);
        assert_eq!(page["data"].as_array().map_or(0, Vec::len), count);
    }
    let rest = simple("GET", &format!("{consents}?after={id}&limit=5"));
    assert_eq!(json(ask(&app, rest).await).await.1["data"], json!([]));
    let one = format!("{consents}/{id}");
    assert_eq!(
        json(ask(&app, simple("GET", &one)).await).await,
        (200, consent.clone())
    );

    let asked = form(
        voices,
        &[
            ("name", b"a guest"),
            ("audio_sample", &clip),
            ("consent", id.as_bytes()),
        ],
    );
    let (status, made) = json(ask(&app, asked).await).await;
    assert_eq!(
        (status, &made["object"], &made["type"]),
        (200, &json!("audio.voice"), &json!("audio_sample"))
    );
    assert!(made["created_at"].as_u64().unwrap() > 0);
    let (_, listed) = json(ask(&app, simple("GET", voices)).await).await;
    assert_eq!(listed["voices"][0]["id"], made["id"]);
    let body = json!({ "input": LINE, "voice": { "id": made["id"] }, "response_format": "pcm" });
    assert!(bytes(ask(&app, post(SPEECH, &body)).await).await.len() > 20_000);

    let own = format!("{voices}/{}", made["id"].as_str().unwrap());
    let (_, gone) = json(ask(&app, simple("DELETE", &own)).await).await;
    assert_eq!(gone["deleted"], true);
    assert_eq!(json(ask(&app, simple("DELETE", &own)).await).await.0, 404);
    assert_eq!(
        json(ask(&app, simple("DELETE", &format!("{voices}/nova"))).await)
            .await
            .0,
        403
    );
    let (_, gone) = json(ask(&app, simple("DELETE", &one)).await).await;
    assert_eq!((&gone["id"], &gone["deleted"]), (&json!(id), &json!(true)));
    assert_eq!(json(ask(&app, simple("GET", &one)).await).await.0, 404);
}

#[tokio::test]
async fn without_consent_nobody_is_copied() {
    let app = common();
    let (status, answer) = json(
        ask(
            &app,
            form(
                "/v1/audio/voices",
                &[("name", b"a guest"), ("audio_sample", &[1; 99])],
            ),
        )
        .await,
    )
    .await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (422, &json!("consent_required"))
    );
    let none = form(
        "/v1/audio/voices",
        &[
            ("name", b"a guest"),
            ("audio_sample", &[1; 99]),
            ("consent", b"cons_none"),
        ],
    );
    let (_, answer) = json(ask(&app, none).await).await;
    assert_eq!(answer["error"]["code"], "consent_not_found", "{answer}");
    let noise = form(
        "/v1/audio/voice_consents",
        &[("name", b"a guest"), ("recording", &[1; 99])],
    );
    let (status, answer) = json(ask(&app, noise).await).await;
    assert_eq!(
        (status, &answer["error"]["param"]),
        (400, &json!("recording"))
    );
    for path in ["/v1/audio/voices", "/v1/audio/voice_consents"] {
        let (status, answer) = json(ask(&app, form(path, &[("language", b"en")])).await).await;
        assert_eq!((status, &answer["error"]["param"]), (400, &json!("name")));
        assert_eq!(json(ask(&app, post(path, &json!({}))).await).await.0, 400);
    }
}

#[tokio::test]
async fn without_a_key_one_may_look_and_no_more() {
    let config = "rehearse = true\n[[keys]]\nname = 'a'\nkey = 'key-of-a-1'";
    let app = app(Config::parse(config).unwrap());
    let (status, listed) = json(ask(&app, simple("GET", "/v1/audio/voices")).await).await;
    assert_eq!(status, 200);
    let voices = listed["voices"].as_array().unwrap();
    assert_eq!(voices.len(), app.voices.common().len());
    assert!(
        voices
            .iter()
            .all(|v| v["id"].is_string() && v["name"].is_string())
    );
    let (status, listed) = json(ask(&app, simple("GET", "/v1/audio/models")).await).await;
    assert_eq!(
        (status, &listed["models"][0]["id"]),
        (200, &json!("sillage-voice"))
    );
    for asked in [
        post(SPEECH, &json!({ "input": LINE })),
        simple("GET", "/v1/audio/voice_consents"),
        simple("DELETE", "/v1/audio/voices/nova"),
        form("/v1/audio/voices", &[("name", b"a guest")]),
    ] {
        assert_eq!(json(ask(&app, asked).await).await.0, 401);
    }
}
