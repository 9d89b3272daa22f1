//! What can go wrong with a request, in no protocol's words yet.
//!
//! Every protocol has its own form for errors; a [`Fault`] is what all of them
//! are made from, so that a mistake is described once.

use axum::http::StatusCode;
use std::fmt;

/// The kinds of failure, each with one HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is not one.
    BadRequest,
    /// No valid key.
    Unauthorized,
    /// A valid key that may not do this.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// The path is known, the method is not.
    MethodNotAllowed,
    /// It is there already.
    Conflict,
    /// Too many bytes.
    TooLarge,
    /// The wrong sort of body.
    UnsupportedMedia,
    /// Understood, and cannot be done with these values.
    Unprocessable,
    /// Too many requests.
    TooMany,
    /// The server's own failure.
    Internal,
    /// Not part of this server.
    NotImplemented,
    /// No room at the moment.
    Busy,
    /// It took too long.
    Timeout,
    /// The client took too long.
    RequestTimeout,
}

impl Kind {
    /// Its HTTP status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// A short heading for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad request",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::Conflict => "Conflict",
            Self::TooLarge => "Too large",
            Self::UnsupportedMedia => "Unsupported media type",
            Self::Unprocessable => "Cannot be done",
            Self::TooMany => "Too many requests",
            Self::Internal => "Internal error",
            Self::NotImplemented => "Not implemented",
            Self::Busy => "Busy",
            Self::Timeout => "Timeout",
            Self::RequestTimeout => "Too slow",
        }
    }
}

/// A failure: its kind, a message that says the cure, and for programs a code
/// and the parameter at fault.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The kind.
    pub kind: Kind,
    /// For people.
    pub message: String,
    /// For programs, such as `voice_not_found`.
    pub code: &'static str,
    /// The request's field at fault.
    pub param: Option<String>,
    /// Seconds after which trying again makes sense.
    pub retry_after: Option<u32>,
}

impl Fault {
    /// A failure.
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            code,
            param: None,
            retry_after: None,
        }
    }

    /// A request that is wrong in `param`.
    pub fn bad(param: impl Into<String>, message: impl Into<String>) -> Self {
        let mut fault = Self::new(Kind::BadRequest, "invalid_value", message);
        fault.param = Some(param.into());
        fault
    }

    /// Something that is not there.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, code, message)
    }

    /// Something that this server does not do.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(Kind::NotImplemented, "not_implemented", message)
    }

    /// The server's own failure. What exactly failed goes to the log; the
    /// client hears what it can do.
    pub fn internal(what: impl fmt::Display) -> Self {
        tracing::error!("{what}");
        Self::new(
            Kind::Internal,
            "internal_error",
            "the server could not do this; its log says why, under this request's id",
        )
    }

    /// The same, worth trying again after `seconds`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

/// A client's own words as a message may repeat them: not more than `most`
/// characters.
pub(crate) fn shown(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.title(), self.message)
    }
}

impl std::error::Error for Fault {}
