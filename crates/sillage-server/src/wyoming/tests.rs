//! Whole conversations.

use super::converse;
use super::frame::write;
use crate::app::App;
use crate::config::{Config, KeyConfig};
use crate::testing::{app, common};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::task::JoinHandle;

const LINE: &str = "The kettle began to sing. Nobody in the kitchen noticed.";

/// An event with its payload.
struct Heard {
    kind: String,
    data: Value,
    payload: Vec<u8>,
}

/// The other end of a connection.
struct Client {
    socket: BufReader<DuplexStream>,
    served: JoinHandle<()>,
}

impl Client {
    fn new(app: &Arc<App>) -> Self {
        // A small pipe, so that nothing lies in it unread.
        let (ours, theirs) = tokio::io::duplex(4096);
        Self {
            socket: BufReader::new(ours),
            served: tokio::spawn(converse(Arc::clone(app), theirs)),
        }
    }

    async fn say(&mut self, kind: &str, data: Value) {
        let bytes = write(kind, &data, &[]);
        self.socket.get_mut().write_all(&bytes).await.unwrap();
    }

    /// The next event, or none if the server has hung up.
    async fn hear(&mut self) -> Option<Heard> {
        let mut line = String::new();
        let reading = self.socket.read_line(&mut line);
        let read = tokio::time::timeout(Duration::from_secs(60), reading).await;
        if read.unwrap().unwrap() == 0 {
            return None;
        }
        let head: Value = serde_json::from_str(&line).unwrap();
        let mut rest = Vec::new();
        for length in ["data_length", "payload_length"] {
            let mut bytes = vec![0; head[length].as_u64().unwrap_or(0) as usize];
            self.socket.read_exact(&mut bytes).await.unwrap();
            rest.push(bytes);
        }
        let payload = rest.pop().unwrap();
        Some(Heard {
            kind: head["type"].as_str().unwrap().to_owned(),
            data: serde_json::from_slice(&rest[0]).unwrap_or_default(),
            payload,
        })
    }

    /// The sound until an event of that type, held to what the protocol wants.
    async fn sound(&mut self, last: &str) -> Vec<u8> {
        let (mut kinds, mut sound) = (Vec::new(), Vec::new());
        loop {
            let heard = self.hear().await.expect("the server hung up");
            match heard.kind.as_str() {
                "audio-start" | "audio-chunk" => {
                    let at = sound.len() / 2 * 1000 / 24_000;
                    let wanted =
                        json!({ "rate": 24_000, "width": 2, "channels": 1, "timestamp": at });
                    assert_eq!(heard.data, wanted);
                }
                "audio-stop" | "synthesize-stopped" => {}
                other => panic!("{other}: {}", heard.data),
            }
            sound.extend(heard.payload);
            if kinds.last() != Some(&heard.kind) {
                kinds.push(heard.kind.clone());
            }
            if heard.kind == last {
                break;
            }
        }
        let stop = kinds.iter().position(|kind| kind == "audio-stop").unwrap();
        assert_eq!(kinds[0], "audio-start");
        assert_eq!(
            kinds.len() - 1 - stop,
            usize::from(last == "synthesize-stopped")
        );
        sound
    }

    async fn refused(&mut self, code: &str) -> String {
        let heard = self.hear().await.unwrap();
        assert_eq!(
            (heard.kind.as_str(), &heard.data["code"]),
            ("error", &json!(code))
        );
        heard.data["text"].as_str().unwrap().to_owned()
    }

    async fn is_there(&mut self) {
        self.say("ping", json!({ "text": "é" })).await;
        let heard = self.hear().await.unwrap();
        assert_eq!(
            (heard.kind.as_str(), &heard.data["text"]),
            ("pong", &json!("é"))
        );
    }

    /// The server hangs up, and without anything more.
    async fn ends(mut self) {
        assert!(self.hear().await.is_none());
        self.served.await.unwrap();
    }
}

fn seconds(sound: &[u8]) -> f64 {
    sound.len() as f64 / 2.0 / 24_000.0
}

#[tokio::test]
async fn it_says_what_it_can() {
    let app = common();
    let mut client = Client::new(&app);
    client.say("describe", json!({})).await;
    let info = client.hear().await.unwrap();
    assert_eq!(info.kind, "info");
    let program = &info.data["tts"][0];
    assert_eq!(program["name"], "sillage");
    assert_eq!(program["supports_synthesize_streaming"], true);
    let voices = program["voices"].as_array().unwrap();
    assert!(voices.len() >= app.voices.common().len());
    let mut names: Vec<&str> = voices.iter().filter_map(|v| v["name"].as_str()).collect();
    assert!(names.contains(&"nova"));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for voice in voices {
        assert_eq!(voice["installed"], true);
        let language = voice["languages"][0].as_str().unwrap();
        assert!(["en_US", "en_GB"].contains(&language));
    }
    client.say("a-thing-of-the-future", json!({ "x": 1 })).await;
    client.is_there().await;
}

#[tokio::test]
async fn texts_are_said_one_after_the_other() {
    let mut client = Client::new(&common());
    // The second is asked for while the first is being said.
    client
        .say(
            "synthesize",
            json!({ "text": LINE, "voice": { "name": "nova", "speaker": null } }),
        )
        .await;
    client
        .say(
            "synthesize",
            json!({ "text": LINE, "voice": null, "text_format": null }),
        )
        .await;
    let first = client.sound("audio-stop").await;
    assert!((2.0..6.0).contains(&seconds(&first)), "{}", seconds(&first));
    assert_eq!(first, client.sound("audio-stop").await);
    client
        .say(
            "synthesize",
            json!({ "text": LINE, "voice": { "language": "en-GB" } }),
        )
        .await;
    assert_ne!(first, client.sound("audio-stop").await);
    client.say("synthesize", json!({ "text": " " })).await;
    assert!(seconds(&client.sound("audio-stop").await) < 1.0);
}

#[tokio::test]
async fn a_stream_speaks_while_text_still_comes() {
    let mut client = Client::new(&common());
    client
        .say("synthesize-start", json!({ "voice": { "name": "nova" } }))
        .await;
    let (head, tail) = LINE.split_at(LINE.find("Nobody").unwrap() + 3);
    client
        .say("synthesize-chunk", json!({ "text": head }))
        .await;
    // The rest is sent only once there is sound.
    let start = client.hear().await.unwrap();
    let chunk = client.hear().await.unwrap();
    assert_eq!(
        (start.kind.as_str(), chunk.kind.as_str()),
        ("audio-start", "audio-chunk")
    );
    client
        .say("synthesize-chunk", json!({ "text": tail }))
        .await;
    client.say("synthesize", json!({ "text": LINE })).await;
    client.say("synthesize-stop", json!({})).await;
    let mut sound = chunk.payload;
    loop {
        let heard = client.hear().await.unwrap();
        sound.extend(heard.payload);
        if heard.kind == "synthesize-stopped" {
            break;
        }
    }
    client
        .say(
            "synthesize",
            json!({ "text": LINE, "voice": { "name": "nova" } }),
        )
        .await;
    assert_eq!(sound, client.sound("audio-stop").await);
    // Another stream, asked for at once, and nothing of it is lost.
    for kind in ["synthesize-start", "synthesize-stop"] {
        client.say(kind, json!({})).await;
    }
    client
        .say("synthesize-start", json!({ "text_format": "ssml" }))
        .await;
    for text in ["<spe", "ak>Yes<brea", "k/>no.</speak>"] {
        client
            .say("synthesize-chunk", json!({ "text": text }))
            .await;
    }
    client.say("synthesize-stop", json!({})).await;
    assert!(seconds(&client.sound("synthesize-stopped").await) < 0.5);
    assert!(seconds(&client.sound("synthesize-stopped").await) > 0.5);
}

#[tokio::test]
async fn mistakes_are_told_and_the_connection_stays() {
    let mut config = Config::default();
    config.limits.text_chars = 60;
    let mut client = Client::new(&app(config));
    client
        .say(
            "synthesize",
            json!({ "text": LINE, "voice": { "name": "no-such-voice" } }),
        )
        .await;
    assert!(
        client
            .refused("voice_not_found")
            .await
            .contains("no-such-voice")
    );
    client
        .say("synthesize", json!({ "voice": { "name": "nova" } }))
        .await;
    client.refused("invalid_value").await;
    client.say("synthesize", json!({ "text": 3 })).await;
    client.refused("invalid_event").await;
    client
        .say(
            "synthesize",
            json!({ "text": "x", "voice": { "language": "de_DE" } }),
        )
        .await;
    assert!(client.refused("language_not_found").await.contains("en_US"));
    client
        .say("synthesize", json!({ "text": "x", "text_format": "morse" }))
        .await;
    client.refused("invalid_value").await;
    client
        .say("synthesize", json!({ "text": "A <break/> wrong tag." }))
        .await;
    let heard = client.refused("invalid_transcript").await;
    assert!(heard.contains("break"), "{heard}");
    client
        .say("synthesize", json!({ "text": "x".repeat(61) }))
        .await;
    client.refused("text_too_long").await;
    // A stream that is refused, and its rest.
    client
        .say(
            "synthesize-start",
            json!({ "voice": { "name": "no-such-voice" } }),
        )
        .await;
    client.refused("voice_not_found").await;
    client
        .say("synthesize-chunk", json!({ "text": "Never said." }))
        .await;
    client
        .say("synthesize", json!({ "text": "Never said." }))
        .await;
    client.say("synthesize-stop", json!({})).await;
    assert_eq!(client.hear().await.unwrap().kind, "synthesize-stopped");
    client.is_there().await;
    client
        .socket
        .get_mut()
        .write_all(b"GET / HTTP/1.1\r\n")
        .await
        .unwrap();
    client.refused("invalid_event").await;
    client.ends().await;
}

#[tokio::test]
async fn where_there_are_keys_it_speaks_only_if_told_so() {
    let key = KeyConfig {
        name: "home".to_owned(),
        key: "key-of-home".to_owned(),
        requests_per_minute: None,
        rehearse: false,
    };
    let keyed = Config {
        keys: vec![key],
        ..Config::default()
    };
    let told = Config {
        wyoming_without_key: true,
        ..keyed.clone()
    };
    let beyond = Config {
        host: vec!["0.0.0.0".to_owned()],
        insecure: true,
        ..Config::default()
    };
    assert!(Config::default().may_speak_wyoming() && told.may_speak_wyoming());
    assert!(beyond.may_speak_wyoming() && !keyed.may_speak_wyoming());
    let mut client = Client::new(&app(keyed));
    client.say("synthesize", json!({ "text": LINE })).await;
    let text = client.refused("wyoming_not_allowed").await;
    assert!(text.contains("wyoming_without_key"));
    client.is_there().await;
    let mut client = Client::new(&app(told));
    client.say("synthesize", json!({ "text": "Yes." })).await;
    client.sound("audio-stop").await;
}

#[tokio::test]
async fn who_hangs_up_is_not_spoken_to() {
    let app = app(Config {
        max_sessions: 1,
        ..Config::default()
    });
    let mut client = Client::new(&app);
    let long = LINE.repeat(40);
    client.say("synthesize", json!({ "text": long })).await;
    assert_eq!(client.hear().await.unwrap().kind, "audio-start");
    let mut other = Client::new(&app);
    other.say("synthesize", json!({ "text": LINE })).await;
    assert!(other.refused("server_busy").await.contains("try again"));
    let Client { socket, served } = client;
    drop(socket);
    served.await.unwrap();
    for _ in 0..500 {
        if app.speech.streams() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(app.speech.streams(), 0);
    other
        .say("synthesize", json!({ "text": "Now there is room." }))
        .await;
    other.sound("audio-stop").await;
}

#[tokio::test]
async fn a_server_that_stops_lets_what_is_said_end() {
    let app = app(Config::default());
    let (mut speaking, idle) = (Client::new(&app), Client::new(&app));
    speaking.say("synthesize", json!({ "text": LINE })).await;
    assert_eq!(speaking.hear().await.unwrap().kind, "audio-start");
    app.close();
    idle.ends().await;
    loop {
        let heard = speaking.hear().await.unwrap();
        if heard.kind == "audio-stop" {
            break;
        }
        assert_eq!(heard.kind, "audio-chunk");
    }
    speaking.ends().await;
}

#[tokio::test]
async fn silence_ends_a_connection() {
    let mut config = Config::default();
    config.limits.idle_seconds = 1;
    let app = app(config);
    let mut open = Client::new(&app);
    open.say("synthesize-start", json!({})).await;
    // Half an event is no sign of life.
    let mut half = Client::new(&app);
    half.socket.get_mut().write_all(b"{\"type\"").await.unwrap();
    half.ends().await;
    open.refused("idle_timeout").await;
    open.ends().await;
}
