//! Contexts over a real socket.

use super::{LINE, asked, check_speech};
use crate::app::App;
use crate::listen::Server;
use crate::testing::app;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::Frame};
use tokio_tungstenite::{WebSocketStream, client_async};

const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    app: Arc<App>,
    port: u16,
    server: JoinHandle<()>,
}

async fn running(config: &str) -> Running {
    let text = format!("host = ['127.0.0.1']\nport = 0\nwyoming = false\n{config}");
    let app = app(crate::Config::parse(&text).unwrap());
    let server = Server::bind(Arc::clone(&app)).await.unwrap();
    let port = server.addresses.http[0].port();
    let closing = Arc::clone(&app);
    let server = tokio::spawn(async move { server.run(closing.closing()).await });
    Running { app, port, server }
}

struct Client(WebSocketStream<TcpStream>);

impl Running {
    async fn connect(&self, query: &str) -> Client {
        let address = format!("127.0.0.1:{}", self.port);
        let stream = TcpStream::connect(&address).await.unwrap();
        let url = format!("ws://{address}/tts/websocket?{query}");
        let (socket, response) = client_async(url, stream).await.unwrap();
        assert!(response.headers().contains_key("x-request-id"));
        Client(socket)
    }
}

impl Client {
    async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.unwrap();
            match message.unwrap().unwrap() {
                Message::Text(text) => {
                    assert!(text.len() < 256 << 10);
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    assert!(frame.get("context_id").is_some() && frame["done"].is_boolean());
                    assert_eq!(frame.get("error").is_some(), frame["type"] == "error");
                    return frame;
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Frames until a context is done or has failed.
    async fn all(&mut self) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            frames.push(self.next().await);
            let last = &frames[frames.len() - 1];
            if last["done"] == true || last["type"] == "error" {
                return frames;
            }
        }
    }

    async fn closed(&mut self) -> u16 {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.unwrap();
            match message {
                Some(Ok(Message::Close(frame))) => return frame.unwrap().code.into(),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn sound(frames: &[Value]) -> Vec<u8> {
    let data = frames.iter().filter_map(|f| f["data"].as_str());
    data.flat_map(|d| STANDARD.decode(d).unwrap()).collect()
}

fn words(frames: &[Value]) -> Vec<String> {
    let words = frames
        .iter()
        .filter_map(|f| f["word_timestamps"]["words"].as_array());
    words
        .flatten()
        .map(|w| w.as_str().unwrap().to_owned())
        .collect()
}

fn kinds(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|f| f["type"].as_str().unwrap()).collect()
}

/// A frame of context `c`.
fn framed(more: Value) -> Value {
    let mut frame = asked(json!({"context_id": "c", "continue": true}));
    for (name, value) in more.as_object().into_iter().flatten() {
        frame[name] = value.clone();
    }
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_those_of_the_first_frame() {
    let server = running("").await;
    let mut client = server.connect("").await;
    client
        .send(framed(
            json!({"transcript": &LINE[..29], "add_timestamps": true}),
        ))
        .await;
    client
        .send(framed(
            json!({"transcript": &LINE[29..], "voice": {"id": "no-such-voice"}}),
        ))
        .await;
    client
        .send(json!({
            "context_id": "c", "transcript": "", "continue": false, "model_id": "sonic-latest",
            "voice": {"mode": "embedding", "embedding": [1.0]}, "language": null,
            "output_format": {"container": "raw", "encoding": "pcm_f32le", "sample_rate": 44100},
        }))
        .await;
    let frames = client.all().await;
    check_speech(&sound(&frames));
    assert_eq!(words(&frames), LINE.split(' ').collect::<Vec<_>>());
    assert_eq!(frames.last().unwrap()["type"], "done");
    // The name is free again.
    client.send(framed(json!({"continue": false}))).await;
    check_speech(&sound(&client.all().await));
    // Closing what is not there, as some clients do.
    client
        .send(framed(json!({"continue": false, "transcript": " "})))
        .await;
    assert_eq!(kinds(&client.all().await), ["done"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_used_again_while_it_speaks_waits_its_turn() {
    let server = running("").await;
    let mut client = server.connect("").await;
    for _ in 0..2 {
        client.send(framed(json!({"continue": false}))).await;
    }
    let first = check_speech(&sound(&client.all().await));
    let second = check_speech(&sound(&client.all().await));
    assert_eq!(first, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn flushes_part_the_sound() {
    let server = running("").await;
    for (date, first) in [("2024-11-13", 0), ("2026-08-14", 1)] {
        let mut client = server.connect(&format!("cartesia_version={date}")).await;
        client.send(framed(json!({}))).await;
        client
            .send(framed(json!({"transcript": "", "flush": true})))
            .await;
        client
            .send(framed(
                json!({"transcript": LINE, "flush": true, "continue": false}),
            ))
            .await;
        let frames = client.all().await;
        let of = |id: i64| -> Vec<Value> {
            frames
                .iter()
                .filter(|f| f["flush_id"] == id && f["type"] == "chunk")
                .cloned()
                .collect()
        };
        check_speech(&sound(&of(first)));
        check_speech(&sound(&of(first + 1)));
        let done: Vec<i64> = frames
            .iter()
            .filter(|f| f["flush_done"] == true)
            .map(|f| f["flush_id"].as_i64().unwrap())
            .collect();
        assert_eq!(done, [first, first + 1], "{date}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_does_not_wait_for_ever() {
    let server = running("").await;
    let mut client = server.connect("").await;
    // No mark ends this; it is spoken when it has waited long enough.
    let text = "the kettle began to sing and nobody in the kitchen noticed";
    for delay in [0, 200] {
        client.send(framed(json!({"context_id": delay.to_string(), "transcript": text, "max_buffer_delay_ms": delay}))).await;
        let first = async {
            loop {
                let frame = client.next().await;
                // What was on its way before it was cancelled may still come.
                if frame["context_id"].as_str() == Some(&delay.to_string()) {
                    return frame;
                }
            }
        };
        let frame = timeout(Duration::from_secs(20), first).await.unwrap();
        assert_eq!(
            (&frame["type"], &frame["context_id"]),
            (&json!("chunk"), &json!(delay.to_string()))
        );
        client
            .send(json!({"context_id": delay.to_string(), "cancel": true}))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_context_is_silent_and_others_are_not() {
    let server = running("").await;
    let mut client = server.connect("").await;
    let long = LINE.repeat(50);
    client
        .send(framed(
            json!({"context_id": "a", "transcript": long, "continue": false}),
        ))
        .await;
    assert_eq!(client.next().await["context_id"], "a");
    client
        .send(json!({"context_id": "a", "cancel": true}))
        .await;
    client
        .send(framed(json!({"context_id": "b", "continue": false})))
        .await;
    let frames = client.all().await;
    let own: Vec<Value> = frames
        .iter()
        .skip_while(|f| f["context_id"] == "a")
        .cloned()
        .collect();
    assert!(
        own.iter().all(|f| f["context_id"] == "b"),
        "{:?}",
        kinds(&frames)
    );
    check_speech(&sound(&own));
    timeout(PATIENCE, async {
        while server.app.speech.streams() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_told_in_their_context_and_end_it() {
    let server = running("").await;
    let mut client = server.connect("").await;
    client
        .send(framed(json!({"voice": {"id": "no-such-voice"}})))
        .await;
    let error = client.next().await;
    assert_eq!(
        (&error["type"], &error["context_id"], &error["done"]),
        (&json!("error"), &json!("c"), &json!(false))
    );
    assert_eq!(
        (&error["status_code"], &error["error_code"]),
        (&json!(404), &json!("voice_not_found"))
    );
    assert!(error["error"].as_str().unwrap().contains("no-such-voice"));
    // The rest of a dead text is not spoken; its end is answered.
    client.send(framed(json!({}))).await;
    client.send(framed(json!({"continue": false}))).await;
    assert_eq!(client.next().await["error_code"], "voice_not_found");
    client.send(framed(json!({"continue": false}))).await;
    check_speech(&sound(&client.all().await));
    for (text, id) in [
        ("{", Value::Null),
        (r#"{"context_id":"d","flush":7}"#, json!("d")),
    ] {
        client.0.send(Message::text(text)).await.unwrap();
        let error = client.next().await;
        assert_eq!(
            (&error["error_code"], &error["context_id"]),
            (&json!("invalid_frame"), &id)
        );
    }
    client.0.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(client.next().await["error_code"], "binary_frame");
    client.send(framed(json!({"continue": false}))).await;
    check_speech(&sound(&client.all().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_no_utf8_and_too_large_a_frame_end_the_socket() {
    let server = running("[limits]\ntext_chars = 1000").await;
    let mut client = server.connect("").await;
    let frame = Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true);
    client.0.send(Message::Frame(frame)).await.unwrap();
    assert_eq!(client.next().await["error_code"], "invalid_utf8");
    assert_eq!(client.closed().await, 1007);
    let mut client = server.connect("").await;
    client
        .0
        .send(Message::text("x".repeat(200_000)))
        .await
        .unwrap();
    assert_eq!(client.next().await["error_code"], "frame_too_large");
    assert_eq!(client.closed().await, 1009);
    let mut client = server.connect("").await;
    client
        .send(framed(
            json!({"transcript": "a b ".repeat(300), "continue": false}),
        ))
        .await;
    assert_eq!(
        client.all().await.last().unwrap()["error_code"],
        "transcript_too_long"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_contexts_leave_those_within_the_limit_alone() {
    let server = running("[limits]\ncontexts = 8").await;
    let mut client = server.connect("").await;
    for number in 0..1000 {
        let frame =
            json!({"context_id": number.to_string(), "transcript": LINE, "continue": number >= 8});
        client.send(framed(frame)).await;
    }
    let mut refused = 0;
    let mut by_context: HashMap<String, Vec<Value>> = HashMap::new();
    let mut done = 0;
    while refused + done < 1000 {
        let frame = client.next().await;
        let id = frame["context_id"].as_str().unwrap().to_owned();
        if frame["type"] == "error" {
            assert_eq!(frame["error_code"], "too_many_contexts");
            assert!(frame["message"].as_str().unwrap().contains("8 contexts"));
            refused += 1;
            continue;
        }
        done += usize::from(frame["done"] == true);
        by_context.entry(id).or_default().push(frame);
        if refused == 992 && done == 8 {
            break;
        }
    }
    for frames in by_context.values() {
        check_speech(&sound(frames));
    }
    assert_eq!((by_context.len(), refused), (8, 992));
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_are_answered_while_speaking() {
    let server = running("").await;
    let mut client = server.connect("").await;
    client
        .send(framed(
            json!({"transcript": LINE.repeat(20), "continue": false}),
        ))
        .await;
    client.next().await;
    client.0.send(Message::Ping(vec![7].into())).await.unwrap();
    let answered = async {
        loop {
            if let Message::Pong(data) = client.0.next().await.unwrap().unwrap() {
                return data.to_vec();
            }
        }
    };
    assert_eq!(
        timeout(Duration::from_secs(5), answered).await.unwrap(),
        [7]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_sockets_and_contexts_end() {
    let server = running("[limits]\nidle_seconds = 1").await;
    let mut client = server.connect("").await;
    assert_eq!(client.closed().await, 1000);
    let mut client = server.connect("").await;
    client.send(framed(json!({"transcript": "Well"}))).await;
    client
        .send(framed(json!({"context_id": "other", "continue": false})))
        .await;
    let mut codes = Vec::new();
    while codes.is_empty() {
        let frame = client.next().await;
        codes.extend(frame["error_code"].as_str().map(str::to_owned));
    }
    assert_eq!(codes, ["context_expired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_lets_contexts_finish() {
    let server = running("").await;
    let mut client = server.connect("").await;
    client
        .send(framed(json!({"context_id": "whole", "continue": false})))
        .await;
    client.send(framed(json!({"context_id": "open"}))).await;
    client.next().await;
    server.app.close();
    let (mut frames, mut ends) = (Vec::new(), HashMap::new());
    while ends.len() < 2 {
        let frame = client.next().await;
        if frame["done"] == true || frame["type"] == "error" {
            ends.insert(
                frame["context_id"].as_str().unwrap().to_owned(),
                frame.clone(),
            );
        }
        frames.push(frame);
    }
    assert_eq!(ends["whole"]["type"], "done");
    assert_eq!(ends["open"]["error_code"], "shutting_down");
    assert_eq!(client.closed().await, 1001);
    drop(client);
    timeout(PATIENCE, server.server).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_left() {
    let server = running("[limits]\nstall_seconds = 1").await;
    let mut client = server.connect("").await;
    // Sound enough to fill every buffer on the way.
    for number in 0..32 {
        let format = json!({"container": "raw", "encoding": "pcm_f32le", "sample_rate": 48000});
        let frame = json!({"context_id": number.to_string(), "transcript": LINE.repeat(100), "continue": false, "output_format": format});
        client.send(framed(frame)).await;
    }
    timeout(PATIENCE, async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        while server.app.speech.streams() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    // The client finds what was on its way, and then the end: by now there is
    // no more room for a word of goodbye.
    let ended = async { while let Some(Ok(_)) = client.0.next().await {} };
    timeout(PATIENCE, ended).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_asked_for_before_the_upgrade() {
    let server = running("[[keys]]\nname='a'\nkey='key-of-a-1'").await;
    let address = format!("127.0.0.1:{}", server.port);
    let stream = TcpStream::connect(&address).await.unwrap();
    let refused = client_async(format!("ws://{address}/tts/websocket?api_key=no"), stream).await;
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("401"), "{text}");
    let mut client = server.connect("api_key=key-of-a-1").await;
    client.send(framed(json!({"continue": false}))).await;
    check_speech(&sound(&client.all().await));
}
