//! `/metrics`, for Prometheus.

use http::{HeaderName, header::CONTENT_TYPE};

use crate::telemetry::metrics;

/// GET `/metrics`.
pub(super) async fn show() -> ([(HeaderName, &'static str); 1], String) {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        metrics::render(),
    )
}
