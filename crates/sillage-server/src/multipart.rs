//! Forms with files in them (`multipart/form-data`), read whole and within
//! limits.

use crate::app::App;
use crate::fault::{Fault, Kind};
use crate::voices::{Clip, ConsentGiven};
use axum::body::Body;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{HeaderMap, StatusCode, header};
use std::collections::HashMap;

/// Fields of one form.
const FIELDS: usize = 64;
/// Bytes of a field that is no file.
const TEXT_BYTES: usize = 1 << 20;

/// A form: its texts and its files, by the names of their fields. Of several
/// fields of one name the first counts. What a file was called at the client's
/// is not kept: nothing should depend on it.
#[derive(Debug, Default)]
pub(crate) struct Form {
    /// Fields without a file name.
    pub(crate) texts: HashMap<String, String>,
    /// Fields with one, or whose bytes are no text.
    pub(crate) files: HashMap<String, Vec<u8>>,
}

impl Form {
    /// Reads a form whose whole is within `limits.body_bytes`.
    ///
    /// # Errors
    /// If the body is no form, ends too early, or is too large.
    pub(crate) async fn read(app: &App, headers: &HeaderMap, body: Body) -> Result<Self, Fault> {
        // The whole is read within its limit first: what a form has room for
        // then needs no counting, and its parser no second limit.
        let bytes = crate::http::bytes(app, body, app.config.limits.body_bytes).await?;
        let mut request = Request::new(Body::from(bytes));
        if let Some(kind) = headers.get(header::CONTENT_TYPE) {
            request
                .headers_mut()
                .insert(header::CONTENT_TYPE, kind.clone());
        }
        axum::extract::DefaultBodyLimit::disable().apply(&mut request);
        let parts = Multipart::from_request(request, &()).await;
        let mut parts = parts.map_err(|_| {
            Fault::new(
                Kind::BadRequest,
                "not_a_form",
                "this path takes a form: send Content-Type multipart/form-data with its boundary",
            )
        })?;
        let mut form = Self::default();
        let mut count = 0;
        while let Some(field) = parts.next_field().await.map_err(|e| broken(&e))? {
            count += 1;
            if count > FIELDS {
                let message = format!("a form has at most {FIELDS} fields: send fewer");
                return Err(Fault::new(Kind::BadRequest, "invalid_form", message));
            }
            let name = field.name().unwrap_or_default().to_owned();
            let is_file = field.file_name().is_some();
            let bytes = field.bytes().await.map_err(|e| broken(&e))?;
            form.put(name, is_file, bytes.into())?;
        }
        Ok(form)
    }

    fn put(&mut self, name: String, is_file: bool, bytes: Vec<u8>) -> Result<(), Fault> {
        // Sound may come without a file name.
        let text = match is_file {
            true => Err(bytes),
            false => String::from_utf8(bytes).map_err(std::string::FromUtf8Error::into_bytes),
        };
        match text {
            Ok(text) if text.len() > TEXT_BYTES => {
                let message =
                    format!("a text of a form has at most {TEXT_BYTES} bytes: shorten it");
                return Err(Fault::bad(name, message));
            }
            Ok(text) => {
                self.texts.entry(name).or_insert(text);
            }
            Err(bytes) => {
                self.files.entry(name).or_insert(bytes);
            }
        }
        Ok(())
    }

    /// A text, if it is there and not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let text = self.texts.get(name).map(|text| text.trim());
        text.filter(|text| !text.is_empty())
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// If it is not.
    pub(crate) fn required(&self, name: &str) -> Result<&str, Fault> {
        self.text(name).ok_or_else(|| {
            let message = format!("the form's field `{name}` is missing: send it as text");
            Fault::bad(name, message)
        })
    }

    /// Takes a file's bytes, if it is there and not empty, whether it came with a
    /// file name or not.
    pub(crate) fn take_file(&mut self, name: &str) -> Option<Vec<u8>> {
        let file = self.files.remove(name);
        // Bytes without a file name may be text by chance.
        let file = file.or_else(|| self.texts.remove(name).map(String::into_bytes));
        file.filter(|bytes| !bytes.is_empty())
    }

    /// Takes a file's bytes that must be there.
    ///
    /// # Errors
    /// If it is not, or is empty.
    pub(crate) fn required_file(&mut self, name: &str) -> Result<Vec<u8>, Fault> {
        self.take_file(name).ok_or_else(|| {
            let message =
                format!("the form's field `{name}` is missing or empty: send a file of sound");
            Fault::bad(name, message)
        })
    }

    /// How it, or a header for clients without the field, gives consent to
    /// cloning. A short text is an id: sound may come without a file name, but is
    /// longer.
    pub(crate) fn take_consent(&mut self, headers: &HeaderMap) -> ConsentGiven {
        if let Some(id) = self.text("consent").filter(|text| text.len() <= 80) {
            return ConsentGiven::Id(id.to_owned());
        }
        if let Some(bytes) = self.take_file("consent") {
            return ConsentGiven::Recording(Clip { bytes });
        }
        let header = headers.get("x-sillage-consent");
        match header.and_then(|id| id.to_str().ok()).map(str::trim) {
            Some(id) if !id.is_empty() => ConsentGiven::Id(id.to_owned()),
            _ => ConsentGiven::Not,
        }
    }
}

fn broken(error: &axum::extract::multipart::MultipartError) -> Fault {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let message = "a field of the form is too large: send less";
        return Fault::new(Kind::TooLarge, "body_too_large", message);
    }
    let message = format!(
        "the form ends too early or cannot be read ({}): send it again, whole",
        error.body_text()
    );
    Fault::new(Kind::BadRequest, "invalid_form", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::common;

    const KIND: &str = "multipart/form-data; boundary=edge";
    const WHOLE: &[u8] =
        b"--edge\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\n Ann \r\n\
        --edge\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nBob\r\n\
        --edge\r\nContent-Disposition: form-data; name=\"clip\"; filename=\"../a.wav\"\r\n\
        Content-Type: audio/wav\r\n\r\nRIFF\xff\r\n\
        --edge\r\nContent-Disposition: form-data; name=\"blob\"\r\n\r\n\xff\xfe\r\n--edge--\r\n";

    async fn read(app: &App, kind: Option<&str>, body: &[u8]) -> Result<Form, Fault> {
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
        }
        Form::read(app, &headers, Body::from(body.to_vec())).await
    }

    #[tokio::test]
    async fn texts_and_files_are_told_apart() {
        let mut form = read(&common(), Some(KIND), WHOLE).await.unwrap();
        assert_eq!(form.text("name"), Some("Ann"));
        assert_eq!(form.required_file("clip").unwrap(), b"RIFF\xff");
        assert_eq!(form.take_file("blob").unwrap(), b"\xff\xfe");
        assert!(
            form.required("other")
                .unwrap_err()
                .message
                .contains("`other`")
        );
        assert_eq!(
            form.required_file("clip").unwrap_err().kind,
            Kind::BadRequest
        );
    }

    #[tokio::test]
    async fn a_form_that_is_cut_is_refused_wherever_it_is_cut() {
        let app = common();
        for end in 0..WHOLE.len() - 4 {
            let refused = read(&app, Some(KIND), &WHOLE[..end]).await;
            assert_eq!(refused.unwrap_err().kind, Kind::BadRequest, "cut at {end}");
        }
        for kind in [None, Some("application/json"), Some("multipart/form-data")] {
            let refused = read(&app, kind, WHOLE).await.unwrap_err();
            assert_eq!(
                (refused.kind, refused.code),
                (Kind::BadRequest, "not_a_form")
            );
        }
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused() {
        let mut config = crate::Config::default();
        config.limits.body_bytes = 1024;
        let app = crate::testing::app(config);
        let mut body = WHOLE.to_vec();
        body.resize(1025, b' ');
        let refused = read(&app, Some(KIND), &body).await.unwrap_err();
        assert_eq!(refused.kind, Kind::TooLarge);
    }
}
