//! What all HTTP requests go through: who asks, how often, in which form errors
//! are told; and the few tools that handlers share.

use crate::app::App;
use crate::fault::{Fault, Kind};
use crate::keys::Caller;
use crate::metrics::RequestLabels;
use crate::text::{Conversation, TextModel};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tracing::Instrument;

/// A body may take so many seconds, and more by its limit at the slowest rate
/// that is taken, in bytes a second.
const BODY_SECONDS: u64 = 30;
const SLOWEST: u64 = 1 << 20;
/// How long a body that is too large is read on.
const DRAIN: Duration = Duration::from_secs(2);

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, in its extensions.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// The form of a path's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    OpenAi,
    Cartesia,
}

fn form(path: &str) -> Form {
    match path.starts_with("/v1/") {
        true => Form::OpenAi,
        false => Form::Cartesia,
    }
}

/// Paths that need no key.
fn is_open(app: &App, method: &Method, path: &str) -> bool {
    let page = path == "/" || path == "/docs" || path.starts_with("/playground/");
    let probe = matches!(path, "/healthz" | "/readyz" | "/openapi.json");
    // Open WebUI asks for these without its key; they tell of built-in voices.
    let lists = matches!(path, "/v1/audio/voices" | "/v1/audio/models");
    let counts = path == "/metrics" && app.config.open_metrics;
    method == Method::GET && (page || probe || lists || counts)
}

/// Everything around a handler.
pub async fn around(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = uuid::Uuid::new_v4().to_string();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("unknown", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    request.extensions_mut().insert(RequestId(id.clone()));
    let origin = request.headers().get(header::ORIGIN).cloned();
    let span = tracing::info_span!("request", %id, %method, %route);
    let mut response = async {
        match enter(&app, &mut request) {
            Ok(None) => next.run(request).await,
            Ok(Some(response)) => response,
            Err(fault) => fault.into_response(),
        }
    }
    .instrument(span.clone())
    .await;
    response = told(response, form(&path), &id);
    if let Some(origin) = origin.filter(|o| allows(&app, o)) {
        allow(response.headers_mut(), origin);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID.clone(), value);
    }
    let status = response.status().as_u16();
    app.metrics
        .requests
        .get_or_create(&RequestLabels { route, status })
        .inc();
    let ms = started.elapsed().as_secs_f64() * 1e3;
    span.in_scope(|| tracing::info!(status, ms, "answered"));
    response
}

/// Who asks, and whether they may; a response if the request ends here.
fn enter(app: &App, request: &mut Request) -> Result<Option<Response>, Fault> {
    let headers = request.headers();
    if headers.get_all(header::HOST).iter().count() > 1 {
        let message = "a request has one Host header";
        return Err(Fault::new(Kind::BadRequest, "invalid_request", message));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let own = is_own(origin, headers.get(header::HOST));
        if !own && !allows(app, origin) {
            let message = "web pages of other origins may not use this server: allow them with allow_origins in its configuration";
            return Err(Fault::new(Kind::Forbidden, "origin_not_allowed", message));
        }
        if request.method() == Method::OPTIONS {
            return Ok(Some(StatusCode::NO_CONTENT.into_response()));
        }
    }
    // A target that names a host means that one.
    let target = request.uri().authority().map(Authority::as_str);
    let target = target.and_then(|host| HeaderValue::from_str(host).ok());
    let host = target.as_ref().or(headers.get(header::HOST));
    if app.keys.is_open() && !app.config.insecure && !is_local(host) {
        // A page of another name that points at this machine is not this machine's.
        let message = "this server has no key and answers to localhost, 127.0.0.1 and [::1] only";
        return Err(Fault::new(Kind::Forbidden, "host_not_allowed", message));
    }
    let credential = credential(headers, request.uri());
    let path = request.uri().path();
    let caller = match app.keys.caller(credential.as_deref()) {
        Err(_) if is_open(app, request.method(), path) => Caller {
            owner: crate::keys::Owner(0),
            rehearse: false,
            speech: false,
            all: false,
        },
        other => other?,
    };
    let speaks =
        path.starts_with("/tts/") || path == "/v1/audio/speech" || path.starts_with("/infill/");
    if !(caller.all || caller.speech && speaks || is_open(app, request.method(), path)) {
        let message = "this access token is for speech only: use an API key";
        return Err(Fault::new(Kind::Forbidden, "token_not_allowed", message));
    }
    app.keys.count(caller).inspect_err(|_| {
        app.metrics.refused.inc();
    })?;
    request.extensions_mut().insert(caller);
    Ok(None)
}

/// The credential, wherever clients put it. It is never logged.
pub(crate) fn credential(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let bearer = header("authorization").and_then(|value| {
        let (scheme, key) = value.split_once(' ').unwrap_or((value, ""));
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| key.trim().to_owned())
    });
    let given = bearer.filter(|key| !key.is_empty());
    let given = given.or_else(|| header("x-api-key").map(str::to_owned));
    given.or_else(|| {
        let query = query(uri);
        let named = |name: &str| query.get(name).cloned();
        named("api_key").or_else(|| named("access_token"))
    })
}

/// The fields of a query; the first of each name counts.
pub(crate) fn query(uri: &Uri) -> HashMap<String, String> {
    let parsed = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
    let mut fields = HashMap::new();
    for (name, value) in parsed.map(|q| q.0).unwrap_or_default() {
        fields.entry(name).or_insert(value);
    }
    fields
}

fn allows(app: &App, origin: &HeaderValue) -> bool {
    let allowed = &app.config.allow_origins;
    allowed
        .iter()
        .any(|a| a == "*" || a.as_bytes() == origin.as_bytes())
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    let methods = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    let names = HeaderValue::from_static(
        "authorization, content-type, x-api-key, cartesia-version, x-sillage-consent",
    );
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
}

/// Whether a page came from this server itself.
fn is_own(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let origin = origin
        .to_str()
        .ok()
        .and_then(|o| Some(o.split_once("://")?.1));
    origin.is_some() && origin == host.and_then(|h| h.to_str().ok())
}

/// Whether a Host header names this machine. One that cannot be read does not.
fn is_local(host: Option<&HeaderValue>) -> bool {
    let Some(host) = host else { return true };
    let authority = host.to_str().ok().and_then(|h| h.parse::<Authority>().ok());
    let Some(authority) = authority else {
        return false;
    };
    let name = authority.host();
    let rest = authority.as_str().strip_prefix(name);
    let port = rest.map(|rest| rest.strip_prefix(':').unwrap_or(rest));
    if !port.is_some_and(|port| port.chars().all(|c| c.is_ascii_digit())) {
        return false;
    }
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let address: Result<std::net::IpAddr, _> = bare.unwrap_or(name).parse();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|a| a.is_loopback())
}

impl IntoResponse for Fault {
    /// A response without a body: [`around`] gives it one, in the form of the
    /// path's protocol.
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        if let Some(seconds) = self.retry_after {
            let value = HeaderValue::from(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        if self.kind == Kind::Unauthorized {
            let value = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, value);
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Puts what went wrong into the form of the protocol.
fn told(response: Response, form: Form, id: &str) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let own = response.extensions().get::<Fault>().cloned();
    let written = response.headers().contains_key(header::CONTENT_TYPE);
    let plain = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().starts_with(b"text/plain"));
    let fault = match own {
        Some(fault) => fault,
        // What the library refused before a handler saw it.
        None if plain || !written => {
            let mut fault = Fault::new(
                Kind::BadRequest,
                "invalid_request",
                "this request cannot be read",
            );
            if status == StatusCode::METHOD_NOT_ALLOWED {
                fault = method_not_allowed();
            }
            fault
        }
        None => return response,
    };
    let body = match form {
        Form::OpenAi => crate::openai::error(&fault),
        Form::Cartesia => crate::cartesia::error(&fault, id),
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let json = HeaderValue::from_static("application/json");
    parts.headers.insert(header::CONTENT_TYPE, json);
    Response::from_parts(parts, Body::from(body.to_string()))
}

/// For paths that are none.
pub async fn not_found(uri: Uri) -> Fault {
    let path = crate::fault::shown(uri.path(), 200);
    Fault::not_found(
        "unknown_path",
        format!("there is no {path} here: /docs shows what there is"),
    )
}

/// For methods that a path does not have.
pub(crate) fn method_not_allowed() -> Fault {
    let message = "this path does not have this method: /docs shows what there is";
    Fault::new(Kind::MethodNotAllowed, "method_not_allowed", message)
}

/// The bytes of a body, within `limit`.
pub(crate) async fn bytes(app: &App, body: Body, limit: u64) -> Result<Bytes, Fault> {
    let too_large = || {
        let message =
            format!("the body is larger than {limit} bytes: send less, or raise limits.body_bytes");
        Fault::new(Kind::TooLarge, "body_too_large", message)
    };
    // What says that it is too large need not be waited for.
    if http_body::Body::size_hint(&body).lower() > limit {
        drain(body, limit).await;
        return Err(too_large());
    }
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let patience = (BODY_SECONDS + limit / SLOWEST).min(app.config.limits.request_seconds);
    let patience = Duration::from_secs(patience);
    let Ok(read) = tokio::time::timeout(patience, to_bytes(body, most)).await else {
        let message = "the body did not come in time: send it again, faster";
        return Err(Fault::new(Kind::RequestTimeout, "body_too_slow", message));
    };
    read.map_err(|error| {
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            if inner.to_string().contains("length limit") {
                return too_large();
            }
            source = inner.source();
        }
        Fault::new(
            Kind::BadRequest,
            "body_incomplete",
            "the body ended too early: send it again",
        )
    })
}

/// Reads some of a body that is not taken: a client that is still writing would
/// otherwise find the connection closed, and never see why.
async fn drain(body: Body, limit: u64) {
    let mut left = limit.saturating_mul(2);
    let reading = async {
        let mut pieces = body.into_data_stream();
        while let Some(Ok(piece)) = pieces.next().await {
            left = left.saturating_sub(piece.len() as u64);
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN, reading).await;
}

/// A body as JSON.
pub(crate) async fn json<T: DeserializeOwned>(app: &App, body: Body) -> Result<T, Fault> {
    let bytes = bytes(app, body, app.config.limits.body_bytes).await?;
    parse(&bytes)
}

/// Bytes as a JSON object; what is wrong with them is said with the place.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|first| *first != b'{') {
        // The library would read a list as an object's fields in order.
        let message = "the body is not the JSON that is wanted: an object is, in braces";
        return Err(Fault::new(Kind::BadRequest, "invalid_json", message));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let what = match std::str::from_utf8(bytes) {
            Ok(_) => error.to_string(),
            Err(error) => format!("it is not UTF-8 from byte {}", error.valid_up_to()),
        };
        let message = format!("the body is not the JSON that is wanted: {what}");
        Fault::new(Kind::BadRequest, "invalid_json", message)
    })
}

/// Work that waits for the disk or computes for long, off the threads that
/// answer.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(Fault::internal)?
}

/// The stored conversation that a request goes on from, if it names one.
pub(crate) async fn conversation(
    app: &Arc<App>,
    caller: Caller,
    id: Option<&String>,
) -> Result<Option<Conversation>, Fault> {
    let Some(id) = id.cloned() else {
        return Ok(None);
    };
    let app = Arc::clone(app);
    let found = blocking(move || app.conversation(caller.owner, &id));
    Ok(Some(found.await?))
}

/// Work with a text model that takes a while: making tokens of a long prompt, a
/// grammar of a schema.
pub(crate) async fn with_model<T: Send + 'static>(
    app: &Arc<App>,
    name: String,
    work: impl FnOnce(&App, &TextModel) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let app = Arc::clone(app);
    blocking(move || work(&app, app.text(&name)?)).await
}

/// A response of JSON.
pub(crate) fn answer(value: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// What OpenAI's clients are told of a thing that is gone.
pub(crate) fn deleted(object: &str, id: &str) -> Response {
    answer(&serde_json::json!({ "id": id, "object": object, "deleted": true }))
}

/// What a task sends the pieces of a body through.
pub(crate) struct Pieces {
    sender: mpsc::Sender<Result<Vec<u8>, Fault>>,
    patience: Duration,
}

impl Pieces {
    /// Sends a piece; whether the client takes it, within the server's patience.
    /// If not, whoever sends should give up: the body is then broken off.
    pub(crate) async fn send(&self, piece: Vec<u8>) -> bool {
        if piece.is_empty() {
            return !self.sender.is_closed();
        }
        let sent = tokio::time::timeout(self.patience, self.sender.send(Ok(piece)));
        sent.await.is_ok_and(|sent| sent.is_ok())
    }

    /// Ends the body as it should end.
    pub(crate) async fn finish(self) {
        // An empty piece says that this is the end and no accident.
        let end = self.sender.send(Ok(Vec::new()));
        let _ = tokio::time::timeout(self.patience, end).await;
    }
}

/// A body that is sent piece by piece, and the way to send them. Few pieces
/// wait on their way: what is more waits where it is made. A body whose sender
/// goes without a word is broken off, so that nobody takes a part for the whole.
pub(crate) fn body(app: &App) -> (Pieces, Body) {
    let (sender, receiver) = mpsc::channel(2);
    let patience = Duration::from_secs(app.config.limits.stall_seconds);
    let arriving = Arriving {
        receiver,
        ended: false,
    };
    (Pieces { sender, patience }, Body::from_stream(arriving))
}

struct Arriving {
    receiver: mpsc::Receiver<Result<Vec<u8>, Fault>>,
    ended: bool,
}

impl futures_core::Stream for Arriving {
    type Item = Result<Vec<u8>, Fault>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = std::task::ready!(self.receiver.poll_recv(cx));
        self.ended = !matches!(&piece, Some(Ok(bytes)) if !bytes.is_empty());
        Poll::Ready(match piece {
            Some(Ok(bytes)) if bytes.is_empty() => None,
            Some(piece) => Some(piece),
            None => Some(Err(Fault::new(
                Kind::Internal,
                "broken_off",
                "the response was broken off",
            ))),
        })
    }
}

/// Makes a body's pieces in a task of its own, within the time that one request
/// may take. Dropped unfinished, the body is broken off.
pub(crate) fn spawn(app: &App, work: impl Future<Output = ()> + Send + 'static) {
    let limit = Duration::from_secs(app.config.limits.request_seconds);
    tokio::spawn(async move {
        if tokio::time::timeout(limit, work).await.is_err() {
            tracing::warn!("sound took longer than a request may, and was ended");
        }
    });
}

/// A response of server-sent events.
pub(crate) fn events(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that buffer would make a stream a lump.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_few_names() {
        let local = |host: &str| is_local(Some(&HeaderValue::from_bytes(host.as_bytes()).unwrap()));
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:80",
            "127.9.9.9",
            "[::1]",
            "[::1]:8080",
        ] {
            assert!(local(host), "{host}");
        }
        for host in [
            "evil.example",
            "[::1].evil.example",
            "[::1]evil.example",
            "127.0.0.1:80.evil.example",
            "localhost:evil.example",
            "localhost.evil.example",
            "0.0.0.0",
            "",
            "ä",
            "user@localhost:1x",
        ] {
            assert!(!local(host), "{host}");
        }
        assert!(is_local(None));
    }
}
