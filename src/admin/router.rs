//! Which path leads where on the admin door.

use std::sync::Arc;

use axum::{Router, routing::get};
use http::StatusCode;

use super::{ServiceDirectory, home::home, metrics, problem::Problem, services};

/// All routes behind the token. The health routes stand before it.
pub(super) fn routes(directory: Arc<dyn ServiceDirectory>) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/metrics", get(metrics::show))
        .route("/health/metrics", get(metrics::show))
        .route("/api/v1/services", get(services::list))
        .route("/api/v1/services/{name}", get(services::get))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "nothing here") })
        .with_state(directory)
}
