//! Which path leads where. The order of checks is the same for all: Host and Origin, preflight, health, token, path, method.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{ORIGIN, WWW_AUTHENTICATE},
    request::Parts,
};
use hyper::body::Incoming;

use super::{
    access::Refusal,
    cors, health, intake,
    reply::{self, Answer},
    serve::Origin,
};
use crate::{
    downstream::{
        door::{Door, Visit},
        duplex,
        endpoint::Endpoint,
        streamable,
    },
    mcp::{Era, ErrorAnswer, code},
};

/// Answers one request.
pub(crate) async fn answer(door: &Arc<Door>, from: Origin, request: Request<Incoming>) -> Answer {
    // Split here once: what is handed on by value is copied at every step.
    let (mut head, body) = request.into_parts();
    if let Err(refusal) = door.access.check_site(&head.uri, &head.headers, from.local) {
        return refuse(refusal);
    }
    let origin = head.headers.get(ORIGIN).cloned();
    let mut answer = if head.method == Method::OPTIONS {
        cors::preflight(&head.headers)
    } else {
        inside(door, from, &mut head, body).await
    };
    if let Some(origin) = origin {
        cors::share(origin, &mut answer);
    }
    answer
}

/// What a refused request is told.
pub(crate) fn refuse(refusal: Refusal) -> Answer {
    tracing::debug!(%refusal, "turned a request away");
    let error = ErrorAnswer::new(code::INVALID_REQUEST, refusal.to_string());
    // Without an id, which suits both eras: the body was not looked at.
    let mut answer = reply::error(refusal.status(), &error, None, Era::Modern);
    if let Some(challenge) = refusal.challenge() {
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    answer
}

async fn inside(door: &Arc<Door>, from: Origin, head: &mut Parts, body: Incoming) -> Answer {
    if let Some(answer) = health::answer(head.uri.path(), &head.method, &door.readiness, &door.tasks) {
        return answer;
    }
    let caller = match door.access.check_token(&head.headers) {
        Ok(caller) => caller,
        Err(refusal) => return refuse(refusal),
    };
    match find(door, head.uri.path()) {
        Found::Nothing(why) => reply::text(StatusCode::NOT_FOUND, why),
        Found::Place(endpoint, place) => {
            let visit = Visit {
                door: Arc::clone(door),
                endpoint,
                caller,
                pulse: from.pulse,
            };
            enter(visit, place, head, body).await
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Mcp,
    Sse,
    Messages,
    WebSocket,
}

enum Found {
    Place(Arc<Endpoint>, Place),
    Nothing(&'static str),
}

fn find(door: &Door, path: &str) -> Found {
    if path == "/mcp" {
        return Found::Place(Arc::clone(door.endpoints.all()), Place::Mcp);
    }
    if let Some((name, rest)) = path.strip_prefix("/services/").and_then(|rest| rest.split_once('/')) {
        return match (door.endpoints.service(name, &door.gateway), place(rest)) {
            (None, _) => Found::Nothing("there is no service of this name\n"),
            (Some(_), None) => Found::Nothing("a service answers at mcp, sse, messages and ws\n"),
            (Some(endpoint), Some(place)) => Found::Place(endpoint, place),
        };
    }
    match path.strip_prefix('/').and_then(place) {
        Some(place) => Found::Place(Arc::clone(door.endpoints.all()), place),
        None => Found::Nothing("nothing here: mcpvisor answers at /mcp, /sse, /ws, /services/{name}/mcp and /health\n"),
    }
}

fn place(name: &str) -> Option<Place> {
    match name.strip_suffix('/').unwrap_or(name) {
        "mcp" => Some(Place::Mcp),
        "sse" => Some(Place::Sse),
        "messages" => Some(Place::Messages),
        "ws" => Some(Place::WebSocket),
        _ => None,
    }
}

async fn enter(visit: Visit, place: Place, head: &mut Parts, body: Incoming) -> Answer {
    match (place, head.method.as_str()) {
        (Place::Mcp, "POST") => post(&visit, &head.headers, body).await,
        (Place::Mcp, "GET") => streamable::get(&visit, &head.headers),
        (Place::Mcp, "DELETE") => streamable::delete(&visit, &head.headers),
        (Place::Mcp, _) => reply::not_allowed("GET, POST, DELETE, OPTIONS"),
        (Place::Sse, "GET") => duplex::open_events(&visit, &head.headers),
        // What a client that speaks Streamable HTTP does first; 405 is how it learns to fall back.
        (Place::Sse, _) => reply::not_allowed("GET, OPTIONS"),
        // Boxed, so that the way of a call stays small.
        (Place::Messages, "POST") => Box::pin(duplex::post_message(&visit, head, body)).await,
        (Place::Messages, _) => reply::not_allowed("POST, OPTIONS"),
        (Place::WebSocket, "GET") => Box::pin(duplex::open_web_socket(&visit, head)).await,
        (Place::WebSocket, _) => reply::not_allowed("GET, OPTIONS"),
    }
}

async fn post(visit: &Visit, headers: &HeaderMap, body: Incoming) -> Answer {
    if let Some(refused) = streamable::refused_media(headers) {
        return refused;
    }
    match intake::take(body, headers, visit.door.limits.max_body_bytes).await {
        Ok(body) => streamable::post(visit, headers, body).await,
        Err(untaken) => refuse_body(untaken),
    }
}

/// What is said about a body that was not taken.
pub(crate) fn refuse_body(untaken: intake::Untaken) -> Answer {
    let error = ErrorAnswer::new(code::INVALID_REQUEST, untaken.to_string());
    let mut answer = reply::error(untaken.status(), &error, None, Era::Modern);
    answer
        .headers_mut()
        .insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    answer
}
