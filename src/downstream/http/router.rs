//! Which path leads where. The order of checks is the same for all: Host and Origin, preflight, health, token, path, method.

use std::{net::IpAddr, sync::Arc};

use http::{
    HeaderValue, Method, Request, StatusCode,
    header::{ORIGIN, WWW_AUTHENTICATE},
};
use hyper::body::Incoming;

use super::{
    access::Refusal,
    cors, health, intake,
    reply::{self, Answer},
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

/// Answers one request that arrived at the address `local`.
pub(crate) async fn answer(door: &Arc<Door>, local: IpAddr, request: Request<Incoming>) -> Answer {
    if let Err(refusal) = door.access.check_site(request.uri(), request.headers(), local) {
        return refuse(refusal);
    }
    let origin = request.headers().get(ORIGIN).cloned();
    let mut answer = if request.method() == Method::OPTIONS {
        cors::preflight(request.headers())
    } else {
        inside(door, request).await
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

async fn inside(door: &Arc<Door>, request: Request<Incoming>) -> Answer {
    if let Some(answer) = health::answer(request.uri().path(), request.method(), &door.readiness, &door.tasks) {
        return answer;
    }
    let caller = match door.access.check_token(request.headers()) {
        Ok(caller) => caller,
        Err(refusal) => return refuse(refusal),
    };
    match find(door, request.uri().path()) {
        Found::Nothing(why) => reply::text(StatusCode::NOT_FOUND, why),
        Found::Place(endpoint, place) => {
            let visit = Visit {
                door: Arc::clone(door),
                endpoint,
                caller,
            };
            enter(visit, place, request).await
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

async fn enter(visit: Visit, place: Place, request: Request<Incoming>) -> Answer {
    match (place, request.method().as_str()) {
        (Place::Mcp, "POST") => post(&visit, request).await,
        (Place::Mcp, "GET") => streamable::get(&visit, request.headers()),
        (Place::Mcp, "DELETE") => streamable::delete(&visit, request.headers()),
        (Place::Mcp, _) => reply::not_allowed("GET, POST, DELETE, OPTIONS"),
        (Place::Sse, "GET") => duplex::open_events(&visit, request.headers()),
        // What a client that speaks Streamable HTTP does first; 405 is how it learns to fall back.
        (Place::Sse, _) => reply::not_allowed("GET, OPTIONS"),
        (Place::Messages, "POST") => {
            let (head, body) = request.into_parts();
            duplex::post_message(&visit, &head, body).await
        }
        (Place::Messages, _) => reply::not_allowed("POST, OPTIONS"),
        (Place::WebSocket, "GET") => duplex::open_web_socket(&visit, request).await,
        (Place::WebSocket, _) => reply::not_allowed("GET, OPTIONS"),
    }
}

async fn post(visit: &Visit, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    if let Some(refused) = streamable::refused_media(&head.headers) {
        return refused;
    }
    match intake::take(body, &head.headers, visit.door.limits.max_body_bytes).await {
        Ok(body) => streamable::post(visit, &head.headers, body).await,
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
