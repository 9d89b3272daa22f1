//! `sillage serve`: text and voice for clients that exist already.

use crate::loading;
use crate::speaking::{self, Home};
use anyhow::{Context, Result};
use clap::builder::FalseyValueParser;
use sillage_server::config::{Config, KeyConfig, parse_bytes};
use sillage_server::{App, Parts, Server};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;

/// Serve text and voice over HTTP, WebSocket and Wyoming
///
/// Clients of OpenAI and Cartesia, LiveKit, Home Assistant and a browser work unchanged: see docs/server.md for how
/// each is pointed here. Without options it serves the built-in models to this machine. Every option can
/// be given in the configuration file as well, and there are more there; the command line has the last word.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A configuration file (TOML)
    #[arg(long, short, value_name = "FILE", env = "SILLAGE_CONFIG")]
    config: Option<PathBuf>,
    /// A text model to serve, as for `sillage run`; may be given again [default: the built-in booklet]
    #[arg(
        long,
        value_name = "PATH",
        env = "SILLAGE_MODEL",
        value_delimiter = ','
    )]
    model: Vec<PathBuf>,
    /// A voice model to speak with [default: the built-in one]
    #[arg(long, value_name = "FILE", env = "SILLAGE_VOICE_MODEL")]
    voice_model: Option<PathBuf>,
    /// A folder of voice files that everybody may use [default: the voices you made]
    #[arg(long, value_name = "FOLDER", env = "SILLAGE_VOICE_DIR")]
    voice_dir: Option<PathBuf>,
    /// An address to listen on; may be given again [default: 127.0.0.1 and ::1]
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "SILLAGE_HOST",
        value_delimiter = ','
    )]
    host: Vec<String>,
    /// The port of HTTP and WebSocket; 0 takes a free one [default: 8080]
    #[arg(long, value_name = "PORT", env = "SILLAGE_PORT")]
    port: Option<u16>,
    /// The port of Wyoming; 0 takes a free one [default: 10200]
    #[arg(long, value_name = "PORT", env = "SILLAGE_WYOMING_PORT")]
    wyoming_port: Option<u16>,
    /// Do not speak Wyoming
    #[arg(long, env = "SILLAGE_NO_WYOMING", value_parser = FalseyValueParser::new())]
    no_wyoming: bool,
    /// Let Wyoming, which has no keys, speak for everybody who reaches its port
    #[arg(long, env = "SILLAGE_WYOMING_WITHOUT_KEY", value_parser = FalseyValueParser::new())]
    wyoming_without_key: bool,
    /// Speak TLS as well, on the same port: `auto` (a certificate is made), or CERT.pem,KEY.pem
    #[arg(long, value_name = "HOW", env = "SILLAGE_TLS")]
    tls: Option<String>,
    /// A key that requests must show; may be given again, also as NAME=KEY
    #[arg(
        long,
        value_name = "KEY",
        env = "SILLAGE_API_KEY",
        hide_env_values = true,
        value_delimiter = ','
    )]
    api_key: Vec<String>,
    /// Listen beyond this machine without a key
    #[arg(long, env = "SILLAGE_INSECURE", value_parser = FalseyValueParser::new())]
    insecure: bool,
    /// Bytes of states in memory, e.g. 2GiB; more go to disk [default: 1GiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, env = "SILLAGE_STATE_BUDGET")]
    state_budget: Option<u64>,
    /// Bytes of states on disk; beyond them the least used are forgotten [default: 64GiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, env = "SILLAGE_DISK_BUDGET")]
    disk_budget: Option<u64>,
    /// Where states, voices and answers survive [default: a folder among your data]
    #[arg(long, value_name = "FOLDER", env = "SILLAGE_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// A Redis or Valkey server that replicas share, e.g. redis://127.0.0.1:6379
    #[arg(
        long,
        value_name = "URL",
        env = "SILLAGE_REDIS",
        hide_env_values = true
    )]
    redis: Option<String>,
    /// Text sessions and voice streams at once [default: 256]
    #[arg(long, value_name = "N", env = "SILLAGE_MAX_SESSIONS")]
    max_sessions: Option<usize>,
    /// Threads to compute on [default: one per core]
    #[arg(long, value_name = "N", env = "SILLAGE_THREADS")]
    threads: Option<usize>,
    /// Cloning copies nobody and takes any clip: for trying clients
    #[arg(long, env = "SILLAGE_REHEARSE", value_parser = FalseyValueParser::new())]
    rehearse: bool,
    /// Log lines as JSON
    #[arg(long, env = "SILLAGE_LOG_JSON", value_parser = FalseyValueParser::new())]
    log_json: bool,
    /// Let `/metrics` be read without a key
    #[arg(long, env = "SILLAGE_OPEN_METRICS", value_parser = FalseyValueParser::new())]
    open_metrics: bool,
    /// Check the configuration, load everything, and exit
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let config = configuration(args)?;
    config.check()?;
    start_log(config.log_json);
    let parts = parts(&config)?;
    let app = App::open(config, parts).map_err(told)?;
    if args.check {
        let texts: Vec<&str> = app.texts.iter().map(|text| text.id.as_str()).collect();
        say!(
            "all is well: {} text model(s) ({}), {} voices",
            texts.len(),
            texts.join(", "),
            app.voices.common().len()
        );
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the system gives no threads")?;
    runtime.block_on(serve(app))
}

async fn serve(app: Arc<App>) -> Result<()> {
    // Whoever reads the address may ask for the end at once.
    let stopped = stopped()?;
    let server = Server::bind(Arc::clone(&app)).await.map_err(told)?;
    announce(&app, &server.addresses.http, &server.addresses.wyoming);
    server.run(stopped).await;
    eprintln!("stopped");
    Ok(())
}

/// Heeds from now on the user's or the system's wish that the program end, and
/// comes back when there is one.
#[cfg(unix)]
fn stopped() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        eprintln!("{STOPPING}");
    })
}

/// Comes back when the user asks the program to end.
#[cfg(not(unix))]
fn stopped() -> Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
        eprintln!("{STOPPING}");
    })
}

const STOPPING: &str = "stopping; streams come to their end";

/// Where it listens, and three lines to try.
fn announce(app: &App, http: &[SocketAddr], wyoming: &[SocketAddr]) {
    let port = http.first().map_or(0, SocketAddr::port);
    let list = |all: &[SocketAddr]| {
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        all.join(" and ")
    };
    let (key, header) = match app.keys.is_open() {
        true => ("unused", ""),
        false => ("YOUR_KEY", " -H 'Authorization: Bearer YOUR_KEY'"),
    };
    eprintln!(
        "listening on {}{}",
        list(http),
        if app.config.tls.is_some() {
            " (plain and TLS)"
        } else {
            ""
        }
    );
    if !wyoming.is_empty() {
        eprintln!("Wyoming on {}", list(wyoming));
    }
    eprintln!(
        "try:\n  curl{header} http://localhost:{port}/v1/audio/speech -d '{{\"input\":\"Hello there.\",\"voice\":\"nova\",\"response_format\":\"wav\"}}' -o hello.wav\n  \
         python3 -c \"import openai; print(openai.OpenAI(base_url='http://localhost:{port}/v1', api_key='{key}').responses.create(model='{}', input='It was a dark and').output_text)\"\n  \
         a browser: http://localhost:{port}",
        app.texts.first().map_or("booklet", |text| text.id.as_str()),
    );
}

fn configuration(args: &Args) -> Result<Config> {
    let mut config = match &args.config {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            Config::parse(&text).with_context(|| path.display().to_string())?
        }
        None => Config::default(),
    };
    fn put<T: Clone>(to: &mut T, from: &Option<T>) {
        if let Some(value) = from {
            to.clone_from(value);
        }
    }
    fn put_some<T: Clone>(to: &mut Option<T>, from: &Option<T>) {
        if from.is_some() {
            to.clone_from(from);
        }
    }
    put(&mut config.port, &args.port);
    put(&mut config.wyoming_port, &args.wyoming_port);
    put(&mut config.state_budget, &args.state_budget);
    put(&mut config.disk_budget, &args.disk_budget);
    put(&mut config.max_sessions, &args.max_sessions);
    put(&mut config.threads, &args.threads);
    put_some(&mut config.tls, &args.tls);
    put_some(&mut config.redis, &args.redis);
    put_some(&mut config.voice_model, &args.voice_model);
    put_some(&mut config.voice_dir, &args.voice_dir);
    put_some(&mut config.state_dir, &args.state_dir);
    if !args.host.is_empty() {
        config.host.clone_from(&args.host);
    }
    if !args.model.is_empty() {
        config.models.clone_from(&args.model);
    }
    config.wyoming &= !args.no_wyoming;
    config.insecure |= args.insecure;
    config.wyoming_without_key |= args.wyoming_without_key;
    config.rehearse |= args.rehearse;
    config.log_json |= args.log_json;
    config.open_metrics |= args.open_metrics;
    for key in &args.api_key {
        let (name, key) = named(key);
        config.keys.push(KeyConfig {
            name: name.to_owned(),
            key: key.to_owned(),
            requests_per_minute: None,
            rehearse: false,
        });
    }
    let home = Home::find()?;
    if config.state_dir.is_none() {
        config.state_dir = Some(home.server());
    }
    if config.voice_dir.is_none() && home.voices().is_dir() {
        config.voice_dir = Some(home.voices());
    }
    if let Some(program) = std::env::var_os(speaking::RECOGNISER).filter(|p| !p.is_empty()) {
        config.recogniser.get_or_insert_with(|| program.into());
    }
    Ok(config)
}

/// A key with its name. Keys may hold `=` themselves: what stands before it is a
/// name only if a key follows.
fn named(given: &str) -> (&str, &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match given.split_once('=') {
        Some((name, key)) if key.len() >= 8 && !name.is_empty() && name.chars().all(plain) => {
            (name, key)
        }
        _ => ("default", given),
    }
}

/// The models of a configuration.
fn parts(config: &Config) -> Result<Parts> {
    let mut texts = Vec::new();
    for path in &config.models {
        let checkpoint = loading::open(Some(path))?;
        texts.push((checkpoint.name().to_owned(), checkpoint));
    }
    if texts.is_empty() {
        texts.push((loading::BUILT_IN.to_owned(), loading::open(None)?));
    }
    Ok(Parts {
        texts,
        voice: speaking::checkpoint(config.voice_model.as_deref())?,
    })
}

/// Log lines go to standard error; `RUST_LOG` chooses which.
fn start_log(json: bool) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,symphonia=off,symphonia_core=off"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A log that was started before, in a test say, stays.
    let _ = match json {
        true => lines.json().try_init(),
        false => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
}

fn told(fault: sillage_server::Fault) -> anyhow::Error {
    anyhow::anyhow!("{}", fault.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_may_hold_what_names_end_with() {
        assert_eq!(named("home=sk-12345678"), ("home", "sk-12345678"));
        assert_eq!(
            named("c2VjcmV0LXNlY3JldA=="),
            ("default", "c2VjcmV0LXNlY3JldA==")
        );
        assert_eq!(named("sk-12345678"), ("default", "sk-12345678"));
    }
}
