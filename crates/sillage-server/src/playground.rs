//! The page for people: static files in the binary, no build step, nothing from
//! elsewhere.

use crate::app::App;
use crate::fault::Fault;
use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

/// Nothing is loaded from elsewhere, and no script runs that is not a file here.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; worker-src 'self' blob:; connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../playground/", $name)).as_slice())),*]
    };
}

static FILES: &[(&str, &[u8])] = files![
    "api.js",
    "app.js",
    "clone.js",
    "docs.html",
    "docs.js",
    "dom.js",
    "icon.svg",
    "index.html",
    "now.js",
    "player.js",
    "reading.js",
    "recorder.js",
    "schema.js",
    "scope.js",
    "speak.js",
    "spectrum.js",
    "states.js",
    "style.css",
    "tree.js",
    "tts.js",
    "typing.js",
    "voices.js",
    "write.js",
];

/// The routes.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(root))
        .route("/docs", get(async || file("docs.html")))
        .route(
            "/playground/{name}",
            get(async |Path(name): Path<String>| file(&name)),
        )
}

/// `GET /`: the page for browsers, a word that all is well for programs.
async fn root(headers: HeaderMap) -> Result<Response, Fault> {
    let accepts = headers.get(header::ACCEPT).and_then(|a| a.to_str().ok());
    if accepts.is_some_and(|accepts| accepts.contains("text/html")) {
        return file("index.html");
    }
    Ok(crate::http::answer(&crate::cartesia::status()))
}

fn file(name: &str) -> Result<Response, Fault> {
    let found = FILES.iter().find(|(known, _)| *known == name);
    let (_, bytes) =
        found.ok_or_else(|| Fault::not_found("unknown_path", "there is no such file"))?;
    let kind = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    Ok((headers, *bytes).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that was forgotten here would be missing for users only.
    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("playground");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(FILES.iter().any(|(known, _)| *known == name), "{name}");
        }
    }
}
