//! GET `/api/v1/services`.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;

use crate::admin::{ServiceDirectory, ServiceReport};

/// A list as every collection answers.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Page {
    items: Vec<ServiceReport>,
    next_cursor: Option<String>,
}

/// All services on one page: they are as many as somebody wrote into a file.
pub(in crate::admin) async fn list(State(directory): State<Arc<dyn ServiceDirectory>>) -> Json<Page> {
    Json(Page {
        items: directory.list(),
        next_cursor: None,
    })
}
