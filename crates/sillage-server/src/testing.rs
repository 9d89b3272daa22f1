//! What tests share: a server made of the shipped models.

use crate::app::{App, Parts};
use crate::config::Config;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use sillage_formats::Checkpoint;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tower::ServiceExt;

fn shipped(path: &str) -> Checkpoint {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    Checkpoint::open(models.join(path)).unwrap()
}

/// A server with the shipped models, on few threads.
pub(crate) fn app(mut config: Config) -> Arc<App> {
    config.threads = 2;
    config.check().unwrap();
    let parts = Parts {
        texts: vec![("booklet".to_owned(), shipped("booklet/booklet.safetensors"))],
        voice: shipped("voice/voice.safetensors"),
    };
    App::open(config, parts).unwrap()
}

/// A server as it is when nothing is configured; one for all tests, so that
/// they need not each load models. What a test keeps there others see.
pub(crate) fn common() -> Arc<App> {
    static COMMON: OnceLock<Arc<App>> = OnceLock::new();
    Arc::clone(COMMON.get_or_init(|| app(Config::default())))
}

/// Asks over all layers.
pub(crate) async fn ask(app: &Arc<App>, request: Request<Body>) -> Response<Body> {
    let asked = crate::listen::router(app).oneshot(request).await;
    asked.unwrap_or_else(|never| match never {})
}

/// A request with a JSON body.
pub(crate) fn post(path: &str, body: &serde_json::Value) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/json");
    request.body(Body::from(body.to_string())).unwrap()
}

/// The whole body of a response.
pub(crate) async fn bytes(response: Response<Body>) -> Vec<u8> {
    let whole = to_bytes(response.into_body(), usize::MAX).await;
    whole.unwrap().to_vec()
}

/// The status of a response, and its body as JSON.
pub(crate) async fn json(response: Response<Body>) -> (u16, serde_json::Value) {
    let status = response.status().as_u16();
    let bytes = bytes(response).await;
    (status, serde_json::from_slice(&bytes).unwrap())
}
