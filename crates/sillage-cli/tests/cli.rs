//! The command line as people and scripts meet it, on tiny checkpoints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn tiny(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../conformance/hf")
        .join(name)
}

fn sillage(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
    command
        .args(args)
        .env("COLUMNS", "100")
        .stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        text(&output.stderr)
    );
    output
}

/// What a failing command says.
fn fail(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
    assert!(
        said.starts_with("error: ") && !said.contains("panicked"),
        "{said}"
    );
    said
}

fn json(command: &mut Command) -> Value {
    serde_json::from_slice(&succeed(command).stdout).unwrap()
}

/// Runs a command with `bytes` on its standard input.
fn feed(command: &mut Command, bytes: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap()
}

fn run(model: &Path, args: &[&str]) -> Command {
    let mut command = sillage(&["run"]);
    command.arg(model).args(args);
    command
}

#[test]
fn help_reads_well() {
    for name in [
        "",
        "run",
        "info",
        "quantize",
        "perplexity",
        "state",
        "bench",
        "pull",
        "serve",
    ] {
        let mut args: Vec<&str> = name.split_whitespace().collect();
        args.push("--help");
        let help = text(&succeed(&mut sillage(&args)).stdout);
        insta::assert_snapshot!(
            format!("help-{}", if name.is_empty() { "all" } else { name }),
            help
        );
    }
}

#[test]
fn the_built_in_model_writes() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = sillage(&["run", "--prompt", "It was a dark night", "-n", "20"]);
    // From a folder that has nothing: the model is in the program.
    let output = succeed(command.current_dir(folder.path()));
    let written = text(&output.stdout);
    assert!(written.starts_with("It was a dark night"), "{written}");
    assert!(written.len() > "It was a dark night".len() + 20);
    let figures = text(&output.stderr);
    assert!(
        figures.contains("wrote 20 at") && figures.contains("state"),
        "{figures}"
    );
}

#[test]
fn a_seed_fixes_the_text_and_threads_do_not_change_it() {
    let model = tiny("llama");
    let write = |seed: &str, threads: &str| {
        let args = [
            "--prompt",
            "abc",
            "--seed",
            seed,
            "--threads",
            threads,
            "--json",
            "-n",
            "40",
        ];
        json(&mut run(&model, &args))["text"].clone()
    };
    assert_eq!(write("1", "1"), write("1", "2"));
    assert_ne!(write("1", "1"), write("2", "1"));
}

#[test]
fn standard_input_and_stop_strings() {
    let model = tiny("llama");
    let args = ["--temperature", "0", "--json", "-n", "30"];
    let output = feed(&mut run(&model, &args), b"abc");
    let piped: Value = serde_json::from_slice(&output.stdout).unwrap();
    let given = json(run(&model, &args).args(["--prompt", "abc"]));
    assert_eq!(piped["text"], given["text"]);
    let whole = given["text"].as_str().unwrap();
    let letter = whole.char_indices().nth(3).unwrap();
    let stop = letter.1.to_string();
    let cut = json(run(&model, &args).args(["--prompt", "abc", "--stop", &stop]));
    assert_eq!(
        cut["text"].as_str().unwrap(),
        &whole[..whole.find(&stop).unwrap()]
    );
    assert_eq!(cut["end"], "stop");
}

#[test]
fn a_saved_state_goes_on_as_if_never_interrupted() {
    for name in ["llama", "booklet"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.state");
        let file = file.to_str().unwrap();
        let start = |args: &[&str]| {
            let mut command = sillage(&["run", "--temperature", "0", "--json"]);
            if name != "booklet" {
                command.arg(tiny(name));
            }
            command.args(args);
            command
        };
        let whole = json(&mut start(&["--prompt", "abc", "-n", "24"]));
        let first = json(&mut start(&[
            "--prompt",
            "abc",
            "-n",
            "10",
            "--save-state",
            file,
        ]));
        let second = json(&mut start(&[
            "--prompt",
            "",
            "-n",
            "14",
            "--load-state",
            file,
        ]));
        let joined = format!(
            "{}{}",
            first["text"].as_str().unwrap(),
            second["text"].as_str().unwrap()
        );
        assert_eq!(Value::from(joined), whole["text"], "{name}");
        assert_eq!(second["position"], whole["position"]);
        assert!(second["prompt_tokens_reused"].as_u64().unwrap() >= 10);

        let info = json(&mut sillage(&["state", "inspect", file, "--json"]));
        assert_eq!(info["position"], first["position"]);
        assert_eq!(info["lossy"], false);
        succeed(&mut sillage(&["state", "verify", file]));
        // Another model refuses it, and damage is found.
        let other = tiny("smollm2");
        let said = fail(&mut run(&other, &["--prompt", "a", "--load-state", file]));
        assert!(
            said.contains("another model") || said.contains("tokenizer"),
            "{said}"
        );
        let mut bytes = std::fs::read(file).unwrap();
        let last = bytes.len() - 20;
        bytes[last] ^= 1;
        std::fs::write(file, &bytes).unwrap();
        fail(&mut sillage(&["state", "verify", file]));
        bytes.truncate(100);
        std::fs::write(file, &bytes).unwrap();
        fail(&mut sillage(&["state", "inspect", file]));
    }
}

#[test]
fn chatting_in_lines_and_over_a_restart() {
    let model = tiny("llama");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chat.state");
    let file = file.to_str().unwrap();
    let chat = ["--chat", "--temperature", "0", "--json", "-n", "8"];
    let output = feed(&mut run(&model, &chat), b"hello\nagain\n");
    let out = text(&output.stdout);
    let turns: Vec<Value> = out
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(turns.len(), 2);
    assert!(
        turns[1]["prompt_tokens_reused"].as_u64().unwrap() > 0,
        "{out}"
    );

    let first = json(run(&model, &chat).args(["--prompt", "hello", "--save-state", file]));
    assert_eq!(first["text"], turns[0]["text"]);
    let second = json(run(&model, &chat).args(["--prompt", "again", "--load-state", file]));
    assert_eq!(second["text"], turns[1]["text"]);
    assert_eq!(
        second["prompt_tokens_reused"],
        turns[1]["prompt_tokens_reused"]
    );
    let said = fail(run(&tiny("mamba2-g1"), &chat).args(["--prompt", "hello"]));
    assert!(
        said.contains("tokenizer") || said.contains("chat template"),
        "{said}"
    );
}

#[test]
fn info_tells_what_a_model_costs() {
    let report = json(sillage(&["info", "--json"]).arg(tiny("llama")));
    assert_eq!(report["architecture"], "llama");
    assert!(report["state_bytes_per_token"].as_u64().unwrap() > 0);
    let report = json(sillage(&["info", "--json"]).arg(tiny("mamba2-g1")));
    assert_eq!(report["state_bytes_per_token"], 0);
    assert!(report["state_bytes_per_session"].as_u64().unwrap() > 0);
    let words = text(&succeed(sillage(&["info"]).arg(tiny("bamba"))).stdout);
    assert!(
        words.contains("parameters:") && words.contains("attention"),
        "{words}"
    );
}

#[test]
fn quantised_models_run_and_lose_little() {
    let folder = tempfile::tempdir().unwrap();
    let prose = folder.path().join("prose.txt");
    std::fs::write(
        &prose,
        "The quick brown fox jumps over the lazy dog. ".repeat(20),
    )
    .unwrap();
    let prose = prose.to_str().unwrap();
    let bits = |model: &Path| {
        let report = json(sillage(&["perplexity", "--json", prose]).arg(model));
        report["bits_per_byte"].as_f64().unwrap()
    };
    let model = tiny("llama");
    let whole = bits(&model);
    for (to, most) in [("bf16", 0.02), ("q8", 0.02), ("q4", 0.2)] {
        let file = folder.path().join(format!("{to}.safetensors"));
        let mut command = sillage(&["quantize", "--to", to]);
        succeed(command.arg(&model).arg("-o").arg(&file));
        let lost = bits(&file) / whole - 1.0;
        assert!(lost.abs() < most, "{to} costs {lost}");
        json(&mut run(&file, &["--prompt", "abc", "--json", "-n", "4"]));
    }
}

#[test]
fn bench_reports_every_case() {
    let args = [
        "bench",
        "--prefill",
        "8",
        "--decode",
        "4",
        "--batch",
        "1,3",
        "--depth",
        "0,20",
    ];
    let report = json(
        sillage(&args)
            .args(["--repeats", "2", "--json"])
            .arg(tiny("llama")),
    );
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert!(
        rows.iter()
            .all(|row| row["decode_tps"].as_f64().unwrap() > 0.0)
    );
    let turn = json(sillage(&["bench", "--turn", "50", "--json"]).arg(tiny("mamba2-g1")));
    assert!(turn["cold_ms"].as_f64().unwrap() > 0.0);
    let flat = json(sillage(&["bench", "--flat", "2000", "--json"]).arg(tiny("mamba2-g1")));
    assert!(!flat["points"].as_array().unwrap().is_empty());
}

#[test]
fn mistakes_get_an_answer_that_helps() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny("llama");
    let missing = folder.path().join("nothing-here");
    assert!(fail(&mut run(&missing, &["--prompt", "a"])).contains("nothing-here"));
    fail(&mut run(folder.path(), &["--prompt", "a"]));
    assert!(fail(&mut run(&model, &["--prompt", ""])).contains("prompt is empty"));
    assert!(fail(&mut run(&model, &["--prompt", "a", "--top-p", "2"])).contains("top-p"));
    assert!(fail(&mut run(&model, &["--prompt", "a", "--threads", "0"])).contains("--threads"));
    let said = fail(&mut run(
        &model,
        &["--prompt", "a", "--state-budget", "1kB"],
    ));
    assert!(said.contains("state budget"), "{said}");
    let output = feed(&mut run(&model, &[]), &[0xff, 0xfe, b'a']);
    assert!(!output.status.success() && text(&output.stderr).contains("UTF-8"));
    let out = folder.path().join("model.bin");
    let said = fail(
        sillage(&["quantize", "--to", "q8"])
            .arg(&model)
            .arg("-o")
            .arg(&out),
    );
    assert!(said.contains(".safetensors"), "{said}");
    let nowhere = folder.path().join("no/such/folder/x.safetensors");
    fail(
        sillage(&["quantize", "--to", "q8"])
            .arg(&model)
            .arg("-o")
            .arg(&nowhere),
    );
    for broken in ["config.json", "model.safetensors", "tokenizer.json"] {
        let copy = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(&model).unwrap().flatten() {
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        let path = copy.path().join(broken);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        fail(&mut run(copy.path(), &["--prompt", "a"]));
    }
}

#[cfg(unix)]
#[test]
fn an_interruption_saves_the_state_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.state");
    let args = ["--prompt", "abc", "-n", "100000000", "--save-state"];
    let mut command = sillage(&["run"]);
    command
        .args(args)
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Wait until it writes, then interrupt it as a terminal would.
    let mut some = [0u8; 64];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut some).unwrap();
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    let drain = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    let output = child.wait_with_output().unwrap();
    drain.join().unwrap().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("state saved"), "{said}");
    succeed(sillage(&["state", "verify"]).arg(&file));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut command = sillage(&["run", "--prompt", "abc", "-n", "5000"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0u8; 16];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}
