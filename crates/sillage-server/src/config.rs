//! How a server is set up: a TOML file, whose every field the command line can
//! give as well.

use serde::{Deserialize, Deserializer, de};
use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses to listen on.
    pub host: Vec<String>,
    /// Port of HTTP and WebSocket; 0 takes a free one.
    pub port: u16,
    /// Port of Wyoming; 0 takes a free one.
    pub wyoming_port: u16,
    /// Whether Wyoming is spoken at all.
    pub wyoming: bool,
    /// Wyoming has no keys: whether it speaks for everybody who reaches its
    /// port, where keys are configured or other machines can reach it.
    pub wyoming_without_key: bool,
    /// `auto`, or a certificate's and a key's file, with a comma between them.
    /// Plain requests are answered on the same port.
    pub tls: Option<String>,
    /// Text models; the first is the one that unknown names mean. None means
    /// the built-in one.
    pub models: Vec<PathBuf>,
    /// Voice model; none means the built-in one.
    pub voice_model: Option<PathBuf>,
    /// A folder with voice files that everybody may use.
    pub voice_dir: Option<PathBuf>,
    /// Who speaks where a name is unknown but somebody must.
    pub default_voice: String,
    /// Whether unknown voices are spoken by the default voice; otherwise they
    /// are an error.
    pub alias_unknown_voices: bool,
    /// Where states, voices and answers survive; none means memory only.
    pub state_dir: Option<PathBuf>,
    /// Bytes of states in memory.
    #[serde(deserialize_with = "bytes")]
    pub state_budget: u64,
    /// Bytes of states on disk.
    #[serde(deserialize_with = "bytes")]
    pub disk_budget: u64,
    /// Address of a Redis or Valkey server that replicas share.
    pub redis: Option<String>,
    /// How long a state lies there unused.
    pub redis_days: u32,
    /// Text sessions and voice streams at once; more are told to wait.
    pub max_sessions: usize,
    /// Threads to compute on; 0 takes one a core.
    pub threads: usize,
    /// Keys, one of which every request must then show.
    pub keys: Vec<KeyConfig>,
    /// Listen beyond this machine without keys.
    pub insecure: bool,
    /// Cloning copies nobody: for trying clients.
    pub rehearse: bool,
    /// Web pages of other origins that may use this server, such as
    /// `https://example.org`; `*` allows all.
    pub allow_origins: Vec<String>,
    /// Keep scan states and attention caches in bf16: half the bytes, a small loss.
    pub bf16_states: bool,
    /// Whether `/metrics` needs no key.
    pub open_metrics: bool,
    /// Log lines as JSON.
    pub log_json: bool,
    /// Watermark payload of all sound.
    pub payload: u32,
    /// Names a program that prints what is said in a sound file; the words of
    /// consents are then checked.
    pub recogniser: Option<PathBuf>,
    /// What one request may take.
    pub limits: Limits,
}

/// One key.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// Whose it is, for logs. Two keys of one name share what they own.
    pub name: String,
    /// The key.
    pub key: String,
    /// Requests a minute; none means the general limit.
    pub requests_per_minute: Option<u32>,
    /// Cloning with this key copies nobody: for trying clients.
    #[serde(default)]
    pub rehearse: bool,
}

impl fmt::Debug for KeyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyConfig")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What one request, socket or key may take.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request's body.
    #[serde(deserialize_with = "bytes")]
    pub body_bytes: u64,
    /// Bytes of a state that is uploaded.
    #[serde(deserialize_with = "bytes")]
    pub state_bytes: u64,
    /// Characters of a text to speak, or of one context.
    pub text_chars: usize,
    /// Bytes of a prompt's text: making tokens of it can take hundreds of times as many.
    #[serde(deserialize_with = "bytes")]
    pub prompt_bytes: u64,
    /// Tokens of a prompt.
    pub prompt_tokens: usize,
    /// Tokens that may be asked for, and those that are written when nobody
    /// says how many.
    pub max_tokens: usize,
    /// See there.
    pub default_tokens: usize,
    /// Choices of one request, of all its prompts.
    pub choices: usize,
    /// Seconds of a clip to clone.
    pub clip_seconds: f64,
    /// Live contexts on one socket.
    pub contexts: usize,
    /// Sockets at once.
    pub connections: usize,
    /// Requests a minute by one key (or, without keys, by all); 0 is no limit.
    pub requests_per_minute: u32,
    /// Seconds that one request may take.
    pub request_seconds: u64,
    /// Seconds without a byte taken by the client, after which it is told and
    /// left.
    pub stall_seconds: u64,
    /// Seconds that a socket may be silent.
    pub idle_seconds: u64,
    /// Texts up to so many characters are made whole when a file is asked for,
    /// so that it can carry its signed manifest; longer ones are streamed.
    pub manifest_chars: usize,
    /// Seconds that streams have to end in when the server is told to stop.
    pub shutdown_seconds: u64,
    /// Own voices of one key.
    pub voices: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: vec!["127.0.0.1".to_owned(), "::1".to_owned()],
            port: 8080,
            wyoming_port: 10200,
            wyoming: true,
            wyoming_without_key: false,
            tls: None,
            models: Vec::new(),
            voice_model: None,
            voice_dir: None,
            default_voice: "nova".to_owned(),
            alias_unknown_voices: false,
            state_dir: None,
            state_budget: 1 << 30,
            disk_budget: 64 << 30,
            redis: None,
            redis_days: 30,
            max_sessions: 256,
            threads: 0,
            keys: Vec::new(),
            insecure: false,
            rehearse: false,
            allow_origins: Vec::new(),
            bf16_states: false,
            open_metrics: false,
            log_json: false,
            payload: 0,
            recogniser: None,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 32 << 20,
            state_bytes: 1 << 30,
            text_chars: 100_000,
            prompt_bytes: 2 << 20,
            prompt_tokens: 1 << 20,
            max_tokens: 32_768,
            default_tokens: 512,
            choices: 128,
            clip_seconds: 120.0,
            contexts: 64,
            connections: 4096,
            requests_per_minute: 0,
            request_seconds: 1800,
            stall_seconds: 30,
            idle_seconds: 600,
            manifest_chars: 600,
            shutdown_seconds: 20,
            voices: 10_000,
        }
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not TOML, or not these fields.
    #[error("the configuration is not valid: {0}")]
    Toml(#[from] toml::de::Error),
    /// A field that cannot be.
    #[error("{field}: {what}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// Everybody could use it.
    #[error(
        "listening on {0}, beyond this machine, without a key would let everybody use this server: give --api-key KEY, or say --insecure if that is meant"
    )]
    Open(String),
}

impl Config {
    /// Reads TOML.
    ///
    /// # Errors
    /// With the line at fault.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Ok(toml::from_str(text)?)
    }

    /// Whether it can be.
    ///
    /// # Errors
    /// The first field that cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |field, what: String| Err(ConfigError::Field { field, what });
        if self.host.is_empty() {
            return wrong("host", "give at least one address".to_owned());
        }
        for host in &self.host {
            if self.keys.is_empty() && !self.insecure && !is_loopback(host) {
                return Err(ConfigError::Open(host.clone()));
            }
        }
        let mut names = HashSet::new();
        for key in &self.keys {
            if key.key.len() < 8 || !key.key.chars().all(|c| c.is_ascii_graphic()) {
                let what = "is too short or has characters that HTTP cannot carry: use at least 8 visible ASCII characters";
                return wrong("keys", format!("the key of '{}' {what}", key.name));
            }
            if !names.insert(&key.key) {
                return wrong("keys", format!("the key of '{}' is there twice", key.name));
            }
        }
        let positive = [
            ("max_sessions", self.max_sessions),
            ("limits.text_chars", self.limits.text_chars),
            ("limits.max_tokens", self.limits.max_tokens),
            ("limits.contexts", self.limits.contexts),
            ("limits.connections", self.limits.connections),
            ("limits.choices", self.limits.choices),
        ];
        for (field, value) in positive {
            if value == 0 {
                return wrong(field, "must be at least 1".to_owned());
            }
        }
        if self.limits.body_bytes < 1024 {
            return wrong("limits.body_bytes", "must be at least 1KiB".to_owned());
        }
        let clip = self.limits.clip_seconds;
        if !(3.0..=3600.0).contains(&clip) {
            return wrong(
                "limits.clip_seconds",
                format!("{clip} is not within 3 and 3600"),
            );
        }
        Ok(())
    }

    /// Whether Wyoming may speak for those who reach its port: it has no keys. Where
    /// everybody may use the rest, everybody may use it too.
    #[must_use]
    pub fn may_speak_wyoming(&self) -> bool {
        let alone = self.keys.is_empty() && self.host.iter().all(|host| is_loopback(host));
        let told = self.insecure && self.keys.is_empty();
        self.wyoming_without_key || alone || told
    }

    /// How long a state lies unused in a shared store.
    #[must_use]
    pub fn redis_ttl(&self) -> Duration {
        Duration::from_secs(86_400 * u64::from(self.redis_days.max(1)))
    }
}

/// Whether only this machine reaches that address.
fn is_loopback(host: &str) -> bool {
    let address: Result<std::net::IpAddr, _> = host.parse();
    match address {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// A number of bytes: `1048576`, `512MB`, `2GiB`.
///
/// # Errors
/// A sentence that says what is possible.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("'{text}': write bytes as 512MB or 2GiB")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("'{text}': write bytes as 512MB or 2GiB"))?;
    Ok((number * scale) as u64)
}

fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    match Either::deserialize(from)? {
        Either::Number(bytes) => Ok(bytes),
        Either::Text(text) => parse_bytes(&text).map_err(de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_it_says() {
        let text = r#"
            host = ["0.0.0.0"]
            port = 9000
            state_budget = "1GiB"
            [[keys]]
            name = "home"
            key = "sk-12345678"
            [limits]
            contexts = 3
        "#;
        let config = Config::parse(text).unwrap();
        config.check().unwrap();
        assert_eq!((config.port, config.state_budget), (9000, 1 << 30));
        assert_eq!(config.limits.contexts, 3);
        assert_eq!(config.limits.text_chars, 100_000);
        // Keys never reach a log.
        assert!(!format!("{config:?}").contains("12345678"));
    }

    #[test]
    fn mistakes_are_named() {
        let error = Config::parse("prot = 1").unwrap_err().to_string();
        assert!(error.contains("prot"), "{error}");
        let open = Config {
            host: vec!["0.0.0.0".to_owned()],
            ..Config::default()
        };
        assert!(matches!(open.check(), Err(ConfigError::Open(_))));
        let insecure = Config {
            insecure: true,
            ..open
        };
        insecure.check().unwrap();
        let short = Config::parse("[[keys]]\nname='a'\nkey='short'").unwrap();
        assert!(short.check().unwrap_err().to_string().contains("'a'"));
        let none = Config::parse("max_sessions = 0").unwrap();
        assert!(
            none.check()
                .unwrap_err()
                .to_string()
                .contains("max_sessions")
        );
    }

    #[test]
    fn bytes_are_read_as_people_write_them() {
        assert_eq!(parse_bytes("2GiB"), Ok(2 << 30));
        assert_eq!(parse_bytes("1.5 MB"), Ok(1_500_000));
        assert_eq!(parse_bytes("12"), Ok(12));
        for bad in ["", "GiB", "12 parsecs", "-1"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
