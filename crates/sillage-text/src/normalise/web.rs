//! Addresses of the web and of mail, file names and paths, handles and hashtags.

use super::{Kind, Reading, codes, number::number, words};

const DOMAINS: &[&str] = &[
    "com", "org", "net", "edu", "gov", "io", "co", "uk", "de", "fr", "info", "biz", "us", "ca",
    "au", "tv", "me", "ly", "ai", "app", "dev", "eu", "nl", "jp", "cn", "in", "it", "es", "ru",
    "ch", "se", "no", "xyz", "online", "blog", "news", "nz", "ie", "int", "mil", "gg", "so", "to",
    "cc", "store", "tech", "site", "fm", "be", "at", "pl", "br", "mx", "rs",
];

const EXTENSIONS: &[&str] = &[
    "txt",
    "pdf",
    "doc",
    "docx",
    "xls",
    "xlsx",
    "ppt",
    "pptx",
    "csv",
    "tsv",
    "json",
    "xml",
    "yaml",
    "yml",
    "toml",
    "md",
    "html",
    "htm",
    "css",
    "js",
    "ts",
    "jsx",
    "tsx",
    "py",
    "rs",
    "c",
    "h",
    "cpp",
    "hpp",
    "cc",
    "java",
    "go",
    "rb",
    "php",
    "sh",
    "bat",
    "exe",
    "dll",
    "so",
    "zip",
    "gz",
    "tar",
    "rar",
    "jpg",
    "jpeg",
    "png",
    "gif",
    "svg",
    "bmp",
    "webp",
    "mp3",
    "mp4",
    "wav",
    "flac",
    "ogg",
    "opus",
    "avi",
    "mov",
    "mkv",
    "log",
    "ini",
    "cfg",
    "conf",
    "lock",
    "sql",
    "db",
    "bak",
    "gguf",
    "safetensors",
    "iso",
    "epub",
    "tex",
];

/// Endings that are said as words; the others are spelt.
const SAID: &[&str] = &[
    "com",
    "org",
    "net",
    "info",
    "biz",
    "app",
    "dev",
    "online",
    "blog",
    "news",
    "store",
    "tech",
    "site",
    "co",
    "me",
    "doc",
    "zip",
    "tar",
    "java",
    "go",
    "log",
    "conf",
    "lock",
    "opus",
    "safetensors",
    "to",
    "gov",
    "gif",
    "bat",
    "so",
    "bak",
];

pub(crate) fn read(reading: &mut Reading<'_>) -> usize {
    let core = reading.ahead(0);
    if core.len() < 2 {
        return 0;
    }
    let tried = hashtag(reading, core)
        .or_else(|| handle(reading, core))
        .or_else(|| mail(reading, core))
        .or_else(|| address(reading, core))
        .or_else(|| file(reading, core));
    usize::from(tried.is_some())
}

/// *#Hello*, *#1*, *#ThrowbackThursday*.
fn hashtag(reading: &mut Reading<'_>, core: &str) -> Option<()> {
    let name = core.strip_prefix('#')?.trim_start_matches('#');
    if let Some((count, "")) = number(name) {
        reading.say("number", 0);
        reading.count(&count.words(reading.accent), 0);
        return Some(());
    }
    if !name.starts_with(char::is_alphabetic)
        || !name
            .chars()
            .all(|c| c.is_alphanumeric() || c == '_' || c == '-')
    {
        return None;
    }
    reading.say("hashtag", 0);
    pieces(reading, name);
    Some(())
}

/// *@someone*.
fn handle(reading: &mut Reading<'_>, core: &str) -> Option<()> {
    let name = core
        .strip_prefix('@')
        .filter(|name| name.starts_with(|c: char| c.is_alphanumeric() || c == '_'))?;
    reading.say("at", 0);
    spoken(reading, name);
    Some(())
}

/// *john.doe@example.com*.
fn mail(reading: &mut Reading<'_>, core: &str) -> Option<()> {
    let core = core
        .strip_prefix("mailto:")
        .unwrap_or(core)
        .trim_matches(['<', '>']);
    let (user, host) = core.split_once('@')?;
    if user.is_empty() || !host.contains('.') || host.contains('@') || core.contains(':') {
        return None;
    }
    spoken(reading, user);
    reading.say("at", 0);
    self::host(reading, host);
    Some(())
}

/// *https://www.example.com/path?x=1*, *example.org*.
fn address(reading: &mut Reading<'_>, core: &str) -> Option<()> {
    let lower = core.to_ascii_lowercase();
    let scheme = [
        "https://", "http://", "ftp://", "file://", "ws://", "wss://", "ssh://",
    ]
    .into_iter()
    .find(|s| lower.starts_with(s));
    let body = &core[scheme.map_or(0, str::len)..];
    let end = body.find(['/', '?', '#', ':']).unwrap_or(body.len());
    let (name, path) = body.split_at(end);
    let labels: Vec<&str> = name.split('.').collect();
    let last = labels.last()?.to_ascii_lowercase();
    let named = labels.len() > 1
        && DOMAINS.contains(&last.as_str())
        && labels.iter().all(|label| {
            !label.is_empty()
                && label
                    .chars()
                    .all(|c| c.is_alphanumeric() || c == '-' || c == '_')
        })
        && labels[labels.len() - 2].chars().any(char::is_alphabetic)
        && !(labels.len() == 2 && labels[1].starts_with(char::is_uppercase) && path.is_empty());
    let plausible = !matches!(
        last.as_str(),
        "it" | "in" | "me" | "us" | "so" | "to" | "no" | "be" | "at"
    ) || labels.len() > 2
        || !path.is_empty()
        || labels[0].len() > 3;
    if scheme.is_none() && !(named && plausible) {
        return None;
    }
    if matches!(
        scheme,
        Some("ftp://" | "file://" | "ws://" | "wss://" | "ssh://")
    ) {
        let letters = scheme
            .map_or("", |scheme| &scheme[..scheme.len() - 3])
            .to_uppercase();
        if letters == "FILE" {
            reading.say("file", 0);
        } else {
            reading.push(Kind::Letters, &letters, 0);
        }
    }
    let name = name.strip_prefix("www.").unwrap_or(name);
    host(reading, name);
    spoken(reading, path.strip_suffix('/').unwrap_or(path));
    Some(())
}

fn host(reading: &mut Reading<'_>, name: &str) {
    let labels: Vec<&str> = name.split('.').filter(|label| !label.is_empty()).collect();
    for (at, label) in labels.iter().enumerate() {
        if at > 0 {
            reading.say("dot", 0);
        }
        if at > 0 && (at + 1 == labels.len() || label.len() == 2) {
            ending(reading, label);
        } else {
            spoken(reading, label);
        }
    }
}

fn ending(reading: &mut Reading<'_>, text: &str) {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "json" => reading.say("jason", 0),
        "jpg" | "jpeg" => reading.say("J peg", 0),
        "mp3" | "mp4" => codes::mixed(reading, &text.to_uppercase()),
        "html" | "htm" => reading.push(Kind::Letters, &text.to_uppercase(), 0),
        "yaml" | "toml" | "docx" | "epub" | "flac" | "tex" | "exe"
            if lower != "exe" && lower != "docx" =>
        {
            reading.say(&lower, 0)
        }
        _ if SAID.contains(&lower.as_str()) => reading.say(&lower, 0),
        _ if lower.len() < 5 && lower.chars().all(char::is_alphabetic) => {
            reading.push(Kind::Letters, &lower.to_uppercase(), 0)
        }
        _ => spoken(reading, text),
    }
}

/// *report.pdf*, */usr/local/bin*, *C:\Users*, *src/main.rs*.
fn file(reading: &mut Reading<'_>, core: &str) -> Option<()> {
    let windows =
        core.len() > 2 && core.as_bytes()[0].is_ascii_alphabetic() && core[1..].starts_with(":\\");
    let rooted = core.starts_with("~/")
        || core.starts_with("./")
        || core.starts_with("../")
        || (core.starts_with('/') && core.len() > 2 && core[1..].contains('/'));
    let (stem, suffix) = core.rsplit_once('.').unwrap_or((core, ""));
    let known = EXTENSIONS.contains(&suffix.to_ascii_lowercase().as_str())
        && !stem.is_empty()
        && stem.chars().any(|c| c.is_alphanumeric())
        && !(stem.len() < 3 && suffix.len() == 1)
        && suffix
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !(windows || rooted || known) {
        return None;
    }
    if !known {
        spoken(reading, core);
        return Some(());
    }
    spoken(reading, stem);
    reading.say("dot", 0);
    ending(reading, suffix);
    Some(())
}

/// Parts of an address with the signs between them named.
fn spoken(reading: &mut Reading<'_>, text: &str) {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest
            .find(|c: char| !c.is_alphanumeric())
            .unwrap_or(rest.len());
        if end > 0 {
            pieces(reading, &rest[..end]);
            rest = &rest[end..];
            continue;
        }
        reading.say(sign(first), 0);
        rest = &rest[first.len_utf8()..];
    }
}

fn sign(c: char) -> &'static str {
    match c {
        '.' => "dot",
        '/' => "slash",
        '\\' => "backslash",
        '-' => "dash",
        '_' => "underscore",
        '~' => "tilde",
        ':' => "colon",
        '?' => "question mark",
        '=' => "equals",
        '&' => "and",
        '#' => "hash",
        '%' => "percent",
        '+' => "plus",
        '@' => "at",
        _ => "",
    }
}

/// A run of letters and digits: cut at capitals and digits, each part read as a word or a code.
fn pieces(reading: &mut Reading<'_>, text: &str) {
    for part in text.split(['_', '-']).filter(|part| !part.is_empty()) {
        if part.chars().any(|c| c.is_ascii_digit()) && part.chars().all(char::is_alphanumeric) {
            codes::mixed(reading, part);
            continue;
        }
        for word in words::humps(part) {
            let capitals = word.len() > 1 && !word.chars().any(char::is_lowercase);
            let silent = word.len() < 5
                && !word.contains(['a', 'e', 'i', 'o', 'u', 'y', 'A', 'E', 'I', 'O', 'U', 'Y']);
            if silent && word.len() > 1 {
                reading.push(Kind::Letters, &word.to_uppercase(), 0);
            } else if capitals && !reading.shouting {
                words::capitals(reading, word);
            } else {
                reading.push(Kind::Word, word, 0);
            }
        }
    }
}
