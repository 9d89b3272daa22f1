//! `sillage serve` from the command line: what it says, what it refuses, how it ends.
//! What it answers is tested in sillage-server and, by real clients, in clients/.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn serve(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
    command.arg("serve").args(args).env("SILLAGE_HOME", home);
    for (name, _) in std::env::vars_os() {
        let own = name.to_str().is_some_and(|n| n.starts_with("SILLAGE_"));
        if own && name != "SILLAGE_HOME" {
            command.env_remove(name);
        }
    }
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn refused(home: &Path, args: &[&str]) -> String {
    let output = serve(home, args).output().unwrap();
    assert!(!output.status.success(), "{args:?} was taken");
    said(&output)
}

#[test]
fn a_configuration_is_checked() {
    let home = tempfile::tempdir().unwrap();
    let output = serve(home.path(), &["--check"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("all is well") && text.contains("booklet"),
        "{text}"
    );

    let file = home.path().join("server.toml");
    std::fs::write(&file, "prot = 9000").unwrap();
    let file = file.to_str().unwrap();
    let error = refused(home.path(), &["--check", "--config", file]);
    assert!(
        error.contains("prot") && error.contains("server.toml"),
        "{error}"
    );

    let error = refused(home.path(), &["--host", "0.0.0.0", "--check"]);
    assert!(
        error.contains("--api-key") && error.contains("--insecure"),
        "{error}"
    );
    let error = refused(home.path(), &["--api-key", "short", "--check"]);
    assert!(error.contains("at least 8"), "{error}");
    let error = refused(home.path(), &["--model", "no/such/model", "--check"]);
    assert!(error.contains("no/such/model"), "{error}");
    let error = refused(home.path(), &["--redis", "redis://127.0.0.1:1", "--check"]);
    assert!(error.contains("Redis"), "{error}");
    let error = refused(home.path(), &["--state-budget", "much"]);
    assert!(error.contains("2GiB"), "{error}");
}

/// A server that listens, and its port.
fn started(home: &Path, args: &[&str]) -> (Child, u16, String) {
    let mut all = vec!["--port", "0", "--wyoming-port", "0"];
    all.extend(args);
    let mut child = serve(home, &all).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut text = String::new();
    for line in lines.by_ref() {
        text += &(line.unwrap() + "\n");
        if text.contains("a browser:") {
            break;
        }
    }
    let port = text.split("localhost:").nth(1).expect(&text);
    let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
    let port = digits.parse().expect(&text);
    // What is said later must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (child, port, text)
}

fn ask(port: u16, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    let request = format!(
        "{head} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn field(answer: &str, name: &str) -> String {
    let at = answer.find(&format!("\"{name}\":\"")).expect(answer) + name.len() + 4;
    answer[at..].split('"').next().unwrap().to_owned()
}

#[test]
fn it_says_where_it_is_and_a_conversation_survives_kill_9() {
    let home = tempfile::tempdir().unwrap();
    let (mut child, port, text) = started(home.path(), &[]);
    for part in [
        "listening on 127.0.0.1",
        "Wyoming on",
        "curl",
        "python3",
        "a browser",
    ] {
        assert!(text.contains(part), "{text}");
    }
    // No second server in the same folder.
    let error = refused(home.path(), &["--port", "0", "--wyoming-port", "0"]);
    assert!(error.contains("in use by another process"), "{error}");
    let turn = |port: u16, before: &str, text: &str| {
        let body = format!("{{\"input\":\"{text}\",\"max_output_tokens\":24,\"seed\":5{before}}}");
        ask(port, "POST /v1/responses", &body)
    };
    let first = turn(port, "", "It was a dark night, and the sea was");
    let id = field(&first, "id");
    let before = format!(",\"previous_response_id\":\"{id}\"");
    let unbroken = field(&turn(port, &before, "Then she"), "text");
    child.kill().unwrap();
    child.wait().unwrap();

    let (mut child, port, _) = started(home.path(), &[]);
    let second = turn(port, &before, "Then she");
    assert_eq!(field(&second, "text"), unbroken);
    // The history was not read again.
    let cached = second.split("\"cached_tokens\":").nth(1).unwrap();
    let cached: u32 = cached.split([',', '}']).next().unwrap().parse().unwrap();
    assert!(cached > 30, "{second}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[cfg(unix)]
#[test]
fn asked_to_end_it_ends() {
    let home = tempfile::tempdir().unwrap();
    let (mut child, port, _) = started(home.path(), &["--api-key", "sk-12345678"]);
    let answer = ask(port, "GET /v1/models", "");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let answer = ask(port, "GET /v1/models?api_key=sk-12345678", "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let status = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
    assert!(child.wait().unwrap().success());
}
