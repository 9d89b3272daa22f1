//! `sillage pull` against a server on this machine that speaks the hub's protocol.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Answers the two requests the hub client makes: what a model consists of, and
/// (ranges of) its files.
fn answer(stream: &TcpStream, files: &HashMap<&str, Vec<u8>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut range = None;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(bytes) = line.strip_prefix("range: bytes=") {
                let (from, to) = bytes.split_once('-').unwrap();
                range = Some((from.parse::<usize>().unwrap(), to.parse::<usize>().ok()));
            }
        }
        let path = request.split(' ').nth(1).unwrap_or_default();
        if path.starts_with("/api/models/tiny/model") {
            let siblings: Vec<_> = files
                .keys()
                .map(|name| serde_json::json!({ "rfilename": name }))
                .collect();
            let body = serde_json::json!({ "siblings": siblings, "sha": COMMIT }).to_string();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )?;
            continue;
        }
        let name = path
            .strip_prefix("/tiny/model/resolve/main/")
            .unwrap_or_default();
        let Some(bytes) = files.get(name) else {
            write!(
                stream,
                "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
            )?;
            continue;
        };
        let (from, to) = range.unwrap_or((0, None));
        let to = to.unwrap_or(bytes.len() - 1).min(bytes.len() - 1);
        let part = &bytes[from..=to];
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\nx-repo-commit: {COMMIT}\r\netag: \"tag-{name}\"\r\n\
             content-range: bytes {from}-{to}/{}\r\ncontent-length: {}\r\n\r\n",
            bytes.len(),
            part.len()
        )?;
        stream.write_all(part)?;
    }
}

fn serve(files: HashMap<&'static str, Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The client keeps connections open and uses several at once.
    let files = Arc::new(files);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let files = Arc::clone(&files);
            // A client that hangs up is done.
            std::thread::spawn(move || drop(answer(&stream, &files)));
        }
    });
    format!("http://{address}")
}

fn sillage(endpoint: &str, cache: &std::path::Path, args: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sillage"))
        .arg("pull")
        .args(args)
        .arg("--cache")
        .arg(cache)
        .env("HF_ENDPOINT", endpoint)
        .env_remove("HTTP_PROXY")
        .env_remove("http_proxy")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.success(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn a_model_folder_arrives_whole() {
    let weights: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    let endpoint = serve(HashMap::from([
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"{\"a\": 1}".to_vec()),
        ("model.safetensors", weights.clone()),
        ("README.md", b"not needed".to_vec()),
    ]));
    let cache = tempfile::tempdir().unwrap();
    let (ok, out, err) = sillage(&endpoint, cache.path(), &["tiny/model"]);
    assert!(ok, "{err}");
    let folder = std::path::Path::new(out.trim());
    let mut found = Vec::new();
    std::fs::File::open(folder.join("model.safetensors"))
        .unwrap()
        .read_to_end(&mut found)
        .unwrap();
    assert_eq!(found, weights);
    assert!(folder.join("tokenizer.json").exists());
    assert!(!folder.join("README.md").exists());
}

#[test]
fn what_is_missing_is_named() {
    let endpoint = serve(HashMap::from([
        ("a.gguf", vec![1; 10]),
        ("b.gguf", vec![2; 10]),
    ]));
    let cache = tempfile::tempdir().unwrap();
    let (ok, _, err) = sillage(&endpoint, cache.path(), &["tiny/model"]);
    assert!(!ok && err.contains("--file"), "{err}");
    let (ok, out, err) = sillage(
        &endpoint,
        cache.path(),
        &["tiny/model", "--file", "b.gguf", "--json"],
    );
    assert!(ok, "{err}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        std::fs::read(report["model"].as_str().unwrap()).unwrap(),
        vec![2; 10]
    );
    let (ok, _, err) = sillage(&endpoint, cache.path(), &["nobody/nothing"]);
    assert!(
        !ok && err.contains("cannot look up nobody/nothing"),
        "{err}"
    );
    let (ok, _, err) = sillage(&endpoint, cache.path(), &["../../etc"]);
    assert!(!ok && err.contains("not a model id"), "{err}");
}
