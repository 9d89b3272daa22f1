//! What no other server has: states as things of their own; and figures, probes
//! and the description of it all.

mod openapi;
mod states;
mod status;

use crate::app::App;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use std::sync::Arc;

/// The routes.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/states", get(states::list).post(states::create))
        .route("/v1/states/content", post(states::upload))
        .route(
            "/v1/states/{id}",
            get(states::retrieve).delete(states::remove),
        )
        .route("/v1/states/{id}/content", get(states::download))
        .route("/v1/states/{id}/fork", post(states::fork))
        .route("/v1/stats", get(status::stats))
        .route("/v1/consent", get(status::consent))
        .route("/healthz", get(status::alive))
        .route("/readyz", get(status::ready))
        .route("/metrics", get(status::metrics))
        .route("/openapi.json", get(openapi::document))
        // Bodies are limited where they are read, by the configuration.
        .layer(DefaultBodyLimit::disable())
}
