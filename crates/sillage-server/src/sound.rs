//! Speech as bytes: streamed as it is made, or whole with a signed manifest.

use crate::app::{App, Permit};
use crate::fault::Fault;
use crate::http::Pieces;
use crate::speech::{Event, Stream};
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use sillage_audio::encode::{EncodeError, Encoder, Format, Settings};
use sillage_audio::manifest::{Claim, Draft, utc};
use sillage_voice::{SAMPLE_RATE, Voice};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// How sound is to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    pub(crate) format: Format,
    pub(crate) rate: u32,
    pub(crate) bit_rate: Option<u32>,
}

impl Spec {
    fn settings(self) -> Settings {
        let mut settings = Settings::new(self.format, SAMPLE_RATE);
        settings.rate = self.rate;
        settings.bit_rate = self.bit_rate;
        settings
    }
}

/// An encoder whose bytes are taken from memory.
pub(crate) struct Encoding {
    encoder: Encoder,
    bytes: Shared,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Encoding {
    /// An encoder at its beginning.
    pub(crate) fn new(spec: Spec) -> Result<Self, Fault> {
        let bytes = Shared::default();
        let encoder =
            Encoder::to_writer(Box::new(bytes.clone()), spec.settings()).map_err(refused)?;
        Ok(Self { encoder, bytes })
    }

    /// The bytes that are complete with these samples, the header first.
    pub(crate) fn push(&mut self, samples: &[f32]) -> Result<Vec<u8>, Fault> {
        self.encoder.push(samples).map_err(refused)?;
        Ok(self.bytes.take())
    }

    /// The last bytes.
    pub(crate) fn finish(self) -> Result<Vec<u8>, Fault> {
        self.encoder.finish().map_err(refused)?;
        Ok(self.bytes.take())
    }
}

fn refused(error: EncodeError) -> Fault {
    match error {
        EncodeError::FormatRate { .. } | EncodeError::Rate(_) | EncodeError::NoMp3 => {
            Fault::bad("output_format", error.to_string())
        }
        error => Fault::internal(error),
    }
}

/// A response with a stream's sound: whole with its manifest if the text is
/// short and the format is a file's, otherwise as it is made.
pub(crate) async fn respond(
    app: &Arc<App>,
    stream: Stream,
    permit: Permit,
    spec: Spec,
    voice: &Voice,
    chars: usize,
) -> Result<Response, Fault> {
    let file = !matches!(spec.format, Format::Raw(_));
    if file && chars <= app.config.limits.manifest_chars {
        let bytes = whole(app, &stream, spec, voice).await?;
        return Ok(response(spec.format, Body::from(bytes)));
    }
    streamed(app, stream, permit, spec).await
}

/// A stream's sound as a file with a signed manifest.
pub(crate) async fn whole(
    app: &Arc<App>,
    stream: &Stream,
    spec: Spec,
    voice: &Voice,
) -> Result<Vec<u8>, Fault> {
    let samples = samples(stream).await?;
    file(app, samples, spec, voice).await
}

/// All of a stream's sound.
pub(crate) async fn samples(stream: &Stream) -> Result<Vec<f32>, Fault> {
    let mut samples = Vec::new();
    while let Some(event) = stream.next().await {
        match event {
            Event::Audio(more, _) => samples.extend(more),
            Event::Failed(fault) => return Err(fault),
            _ => {}
        }
    }
    Ok(samples)
}

/// Sound as a file with a signed manifest.
pub(crate) async fn file(
    app: &Arc<App>,
    samples: Vec<f32>,
    spec: Spec,
    voice: &Voice,
) -> Result<Vec<u8>, Fault> {
    let claim = Claim {
        tool: "sillage".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        model: app.voices.model_print().to_owned(),
        voice: voice.name.clone(),
        time: utc(SystemTime::now()),
        payload: Some(format!("{:08x}", app.config.payload)),
        consent: voice.fields.get("consent").cloned(),
    };
    let draft = match spec.format {
        Format::Raw(_) => None,
        _ => Some(Draft::new(claim, app.signing.clone()).map_err(Fault::internal)?),
    };
    let made = crate::http::blocking(move || {
        let folder = tempfile::tempdir().map_err(Fault::internal)?;
        let path = folder.path().join("sound");
        let mut encoder = Encoder::to_path(&path, spec.settings(), draft).map_err(refused)?;
        encoder.push(&samples).map_err(refused)?;
        encoder.finish().map_err(refused)?;
        std::fs::read(&path).map_err(Fault::internal)
    });
    made.await
}

/// A response with a stream's sound as it is made. What fails before the first
/// sound is an error; what fails later breaks the connection off, which clients
/// notice.
pub(crate) async fn streamed(
    app: &Arc<App>,
    stream: Stream,
    permit: Permit,
    spec: Spec,
) -> Result<Response, Fault> {
    let mut encoding = Encoding::new(spec)?;
    let mut first = Vec::new();
    while first.is_empty() {
        match stream.next().await {
            Some(Event::Audio(samples, _)) => first = encoding.push(&samples)?,
            Some(Event::Failed(fault)) => return Err(fault),
            Some(_) => {}
            None => break,
        }
    }
    let (pieces, body) = crate::http::body(app);
    crate::http::spawn(app, async move {
        let _permit = permit;
        forward(stream, encoding, first, pieces).await;
    });
    Ok(response(spec.format, body))
}

async fn forward(stream: Stream, mut encoding: Encoding, first: Vec<u8>, pieces: Pieces) {
    if !pieces.send(first).await {
        return;
    }
    while let Some(event) = stream.next().await {
        let piece = match event {
            Event::Audio(samples, _) => encoding.push(&samples),
            Event::Failed(fault) => Err(fault),
            _ => continue,
        };
        let piece = match piece {
            Ok(piece) => piece,
            // The client hears by the break that this is not all.
            Err(fault) => return tracing::warn!("a sound was broken off: {fault}"),
        };
        if !pieces.send(piece).await {
            return;
        }
    }
    if let Ok(last) = encoding.finish()
        && pieces.send(last).await
    {
        pieces.finish().await;
    }
}

fn response(format: Format, body: Body) -> Response {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static(format.media_type());
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
