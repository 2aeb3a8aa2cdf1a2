//! `/health`, `/health/live` and `/health/ready`: for load balancers and people with curl; open to everybody who reaches the door.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;

use super::reply::{self, Answer};
use crate::lifecycle::{Readiness, Tasks};

/// Answers a health path; `None` for any other.
///
/// `live` is 200 as long as the process answers, `ready` is 503 while a part is missing or the hub stops, and `/health` says both
/// with the status of `ready`.
pub(crate) fn answer(path: &str, method: &Method, readiness: &Readiness, tasks: &Tasks) -> Option<Answer> {
    let live = || json!({"status": "live"});
    let ready = || {
        if tasks.is_stopping() {
            (false, json!({"status": "stopping"}))
        } else if readiness.is_ready() {
            (true, json!({"status": "ready"}))
        } else {
            (false, json!({"status": "starting", "missing": readiness.missing()}))
        }
    };
    let (fine, body) = match path {
        "/health/live" => (true, live()),
        "/health/ready" => ready(),
        "/health" => {
            let (fine, mut body) = ready();
            if let Some(body) = body.as_object_mut() {
                body.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
            }
            (fine, body)
        }
        _ => return None,
    };
    if method != Method::GET && method != Method::HEAD {
        return Some(reply::not_allowed("GET, HEAD"));
    }
    let status = if fine {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Some(reply::json(status, Bytes::from(body.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_only_when_nothing_is_missing_and_nobody_stops() {
        let (readiness, tasks) = (Readiness::default(), Tasks::default());
        let status = |path: &str| {
            answer(path, &Method::GET, &readiness, &tasks)
                .unwrap()
                .status()
                .as_u16()
        };
        let guard = readiness.wait_for("services");
        assert_eq!(
            ["/health", "/health/ready", "/health/live"].map(status),
            [503, 503, 200]
        );
        drop(guard);
        assert_eq!(
            ["/health", "/health/ready", "/health/live"].map(status),
            [200, 200, 200]
        );
        tasks.stop();
        assert_eq!(
            ["/health", "/health/ready", "/health/live"].map(status),
            [503, 503, 200]
        );
        assert!(answer("/mcp", &Method::GET, &readiness, &tasks).is_none());
    }
}
