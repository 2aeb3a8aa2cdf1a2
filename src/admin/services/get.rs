//! GET `/api/v1/services/{name}`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use http::StatusCode;

use crate::admin::{ServiceDirectory, ServiceReport, problem::Problem};

/// One service.
pub(in crate::admin) async fn get(
    State(directory): State<Arc<dyn ServiceDirectory>>,
    Path(name): Path<String>,
) -> Result<Json<ServiceReport>, Problem> {
    let found = directory.list().into_iter().find(|service| service.name == name);
    found
        .map(Json)
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no service called `{name}`")))
}
