//! POST: one message of either era, or a 2025-03-26 batch.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

use super::{
    batch,
    call::{Call, First, Reader, first},
    classify::{Named, SESSION, Verdict, classify, named, single},
    event, mirror,
    session::{InUse, Session, SessionId, general},
    stream::EventStream,
};
use crate::{
    downstream::{
        door::Visit,
        http::{
            media,
            pulse::Patience,
            reply::{self, Answer},
        },
    },
    gateway::{Gateway, OnDrop, Outbox, Reply},
    jsonrpc::{Invalid, Kind, Message, parse, parse_batch},
    mcp::{CallParams, Era, ErrorAnswer, Outcome, Revision, call_params, code, method},
};

/// How long a legacy call is waited for before its answer becomes a stream, which can be taken up again if the connection breaks.
const LEGACY_PATIENCE: Duration = Duration::from_secs(1);
/// The same for a modern call. Its status belongs to its first message, so it is put off until connections need signs of life.
const MODERN_PATIENCE: Duration = Duration::from_secs(15);

/// Answers a POST whose body has been read.
pub(crate) async fn post(visit: &Visit, headers: &HeaderMap, body: Bytes) -> Answer {
    let header = match named(headers) {
        Ok(header) => header,
        Err(error) => return invalid_request(error.to_string(), None, Era::Legacy),
    };
    let era = match header {
        Named::Known(revision) => revision.era(),
        Named::Absent | Named::Unknown(_) => Era::Legacy,
    };
    let message = match parse(body.clone()) {
        Ok(message) => message,
        Err(invalid) => {
            return match parse_batch(&body) {
                Some(items) => Box::pin(post_batch(visit, headers, header, items)).await,
                None => refuse(&invalid, era),
            };
        }
    };
    let params = match call_params(&message) {
        Ok(params) => params,
        Err(error) => return reply::error(StatusCode::BAD_REQUEST, &error, message.id(), era),
    };
    match classify(message.kind(), &params.meta, header) {
        Verdict::Legacy => post_legacy(visit, headers, message).await,
        Verdict::Modern => {
            if message.kind() == Kind::Request
                && let Err(error) = mirror::check(headers, &message, &params)
                    .and_then(|()| check_parameters(visit, headers, &message, &params))
            {
                return reply::error(StatusCode::BAD_REQUEST, &error, message.id(), Era::Modern);
            }
            post_modern(visit, message).await
        }
        Verdict::Refused(error) => reply::error(StatusCode::BAD_REQUEST, &error, message.id(), era),
    }
}

async fn post_modern(visit: &Visit, message: Message) -> Answer {
    let door = &visit.door;
    let client = visit.endpoint.modern_client(&door.gateway, &door.access, visit.caller);
    if message.kind() == Kind::Notification {
        // Requests are cancelled by closing their stream, and ids mean nothing among clients that share an endpoint.
        if message.method() != method::CANCELLED {
            door.gateway.notify(&client, &message);
        }
        return reply::empty(StatusCode::ACCEPTED);
    }
    let stream = Arc::new(EventStream::new(door.bounds));
    let gateway = door.gateway.clone();
    let related: Arc<dyn Outbox> = Arc::clone(&stream) as _;
    let mut call: Call = Box::pin(async move { gateway.request(&client, message, related).await });
    match first(&mut call, &stream, patience(visit, MODERN_PATIENCE)).await {
        First::Answer(reply) => whole(reply::modern_status(reply.error), reply),
        First::Complete(reply) => complete(&stream, reply),
        First::Stream => reply::events(Reader::new(stream, None).headed(|_| event::OPENED).driving(call)),
    }
}

fn patience(visit: &Visit, length: Duration) -> Patience {
    Patience::new(Arc::clone(&visit.pulse), length)
}

/// Checks the headers that repeat arguments of a tool call.
fn check_parameters(
    visit: &Visit,
    headers: &HeaderMap,
    message: &Message,
    params: &CallParams<'_>,
) -> Result<(), ErrorAnswer> {
    if message.method() != method::TOOLS_CALL {
        return Ok(());
    }
    let door = &visit.door;
    let client = visit.endpoint.modern_client(&door.gateway, &door.access, visit.caller);
    let name = params.name.and_then(crate::jsonrpc::text_of);
    match name.and_then(|name| door.gateway.tool_schema(&client, &name)) {
        Some(schema) if mirror::is_annotated(&schema) => mirror::check_parameters(headers, message, &schema),
        Some(_) | None => Ok(()),
    }
}

async fn post_legacy(visit: &Visit, headers: &HeaderMap, message: Message) -> Answer {
    if message.kind() == Kind::Request && message.method() == method::INITIALIZE {
        return Box::pin(initialize(visit, message)).await;
    }
    let session = match session_of(visit, headers) {
        Ok(session) => session,
        Err(missing) => return missing.answer(message.id()),
    };
    let gateway = &visit.door.gateway;
    match message.kind() {
        Kind::Request => {
            let in_use = session.in_use();
            let (gateway, client) = (gateway.clone(), Arc::clone(&session.client));
            let stream = Arc::new(EventStream::new(visit.door.bounds));
            let related: Arc<dyn Outbox> = Arc::clone(&stream) as _;
            let call: Call = Box::pin(async move { gateway.request(&client, message, related).await });
            answer_legacy(visit, &session, in_use, stream, call).await
        }
        Kind::Notification => {
            session.touch();
            gateway.notify(&session.client, &message);
            reply::empty(StatusCode::ACCEPTED)
        }
        Kind::Result | Kind::Error => {
            session.touch();
            gateway.answer(&session.client, &message);
            reply::empty(StatusCode::ACCEPTED)
        }
    }
}

async fn answer_legacy(
    visit: &Visit,
    session: &Arc<Session>,
    in_use: InUse,
    stream: Arc<EventStream>,
    mut call: Call,
) -> Answer {
    let outcome = first(&mut call, &stream, patience(visit, LEGACY_PATIENCE)).await;
    if let First::Answer(reply) = outcome {
        return whole(StatusCode::OK, reply);
    }
    let number = session.keep(&stream);
    match outcome {
        First::Answer(_) => {}
        First::Complete(reply) => stream.finish(reply.message),
        First::Stream => {
            // A lost connection is no cancellation here: the call goes on, and its answer waits for the client to come back.
            let stream = Arc::clone(&stream);
            visit.door.tasks.spawn("legacy call", async move {
                let reply = call.await;
                stream.finish(reply.message);
                drop(in_use);
            });
        }
    }
    let revision = session.client.revision();
    let reader = Reader::new(stream, None).headed(|behind| opening(revision, number, behind));
    reply::events(reader.holding(session.in_use()))
}

/// What a stream begins with.
pub(super) fn opening(revision: Option<Revision>, stream: u32, sequence: u64) -> Bytes {
    if revision >= Some(Revision::V2025_11_25) {
        event::priming(stream, sequence)
    } else {
        event::OPENED
    }
}

async fn initialize(visit: &Visit, message: Message) -> Answer {
    let door = &visit.door;
    let stream = general(door.bounds);
    let outbox: Arc<dyn Outbox> = Arc::clone(&stream) as _;
    let opening = visit
        .endpoint
        .opening(&door.access, visit.caller, OnDrop::LetFinish, Arc::clone(&outbox));
    let client = door.gateway.open(opening);
    let closing = CloseUnlessKept {
        gateway: &door.gateway,
        client: Some(&client),
    };
    let id = message.id().map(str::to_owned);
    let reply = door.gateway.request(&client, message, outbox).await;
    if reply.error.is_some() || reply.message.is_none() {
        return whole(StatusCode::OK, reply);
    }
    let name = SessionId::random();
    let endpoint = Arc::clone(&visit.endpoint);
    let session = Arc::new(Session::new(name, Arc::clone(&client), stream, visit.caller, endpoint));
    if let Err(no_room) = door.sessions.add(&session, &door.gateway) {
        return overloaded(&no_room.to_string(), id.as_deref());
    }
    closing.keep();
    let mut answer = whole(StatusCode::OK, reply);
    if let Ok(value) = HeaderValue::try_from(name.to_string()) {
        answer.headers_mut().insert(SESSION, value);
    }
    answer
}

/// Closes a client that did not get to be a session, also if its connection breaks on the way.
struct CloseUnlessKept<'a> {
    gateway: &'a Gateway,
    client: Option<&'a Arc<crate::gateway::Client>>,
}

impl CloseUnlessKept<'_> {
    fn keep(mut self) {
        self.client = None;
    }
}

impl Drop for CloseUnlessKept<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            self.gateway.close(client);
        }
    }
}

async fn post_batch(
    visit: &Visit,
    headers: &HeaderMap,
    header: Named<'_>,
    items: Result<Vec<Result<Message, Invalid>>, Invalid>,
) -> Answer {
    let era = match header {
        Named::Known(revision) => revision.era(),
        Named::Absent | Named::Unknown(_) => Era::Legacy,
    };
    if era == Era::Modern {
        return invalid_request("this revision has no batches", None, Era::Modern);
    }
    let items = match items {
        Ok(items) => items,
        Err(invalid) => return refuse(&invalid, era),
    };
    let session = match session_of(visit, headers) {
        Ok(session) => session,
        Err(missing) => return missing.answer(None),
    };
    let gateway = &visit.door.gateway;
    let stream = Arc::new(EventStream::new(visit.door.bounds));
    let related: Arc<dyn Outbox> = Arc::clone(&stream) as _;
    match batch::accept(gateway, &session.client, items, &related) {
        Err(error) => reply::error(StatusCode::BAD_REQUEST, &error, None, Era::Legacy),
        Ok(None) => {
            session.touch();
            reply::empty(StatusCode::ACCEPTED)
        }
        Ok(Some(call)) => {
            let in_use = session.in_use();
            answer_legacy(visit, &session, in_use, stream, call).await
        }
    }
}

/// Why a request has no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoSession {
    #[error("the header `mcp-session-id` is missing; open a session with `initialize`")]
    Missing,
    #[error("{0}")]
    Unreadable(String),
    #[error("this session does not exist here (any more); open another with `initialize`")]
    Unknown,
}

impl NoSession {
    pub(super) fn answer(&self, id: Option<&str>) -> Answer {
        let status = match self {
            Self::Missing | Self::Unreadable(_) => StatusCode::BAD_REQUEST,
            Self::Unknown => StatusCode::NOT_FOUND,
        };
        let error = ErrorAnswer::new(code::INVALID_REQUEST, self.to_string());
        reply::error(status, &error, id, Era::Legacy)
    }
}

/// The session a request names.
pub(super) fn session_of(visit: &Visit, headers: &HeaderMap) -> Result<Arc<Session>, NoSession> {
    let name = single(headers, &SESSION)
        .map_err(|error| NoSession::Unreadable(error.to_string()))?
        .ok_or(NoSession::Missing)?;
    visit
        .door
        .sessions
        .find(name, visit.caller, &visit.endpoint)
        .ok_or(NoSession::Unknown)
}

fn whole(status: StatusCode, reply: Reply) -> Answer {
    match reply.message {
        Some(message) => reply::json(status, message),
        // The client took its request back and waits for nothing.
        None => reply::empty(StatusCode::ACCEPTED),
    }
}

/// Everything of a call at once, as events: there is nothing to come back for.
fn complete(stream: &Arc<EventStream>, reply: Reply) -> Answer {
    stream.finish(reply.message);
    reply::events(Reader::new(Arc::clone(stream), None))
}

fn refuse(invalid: &Invalid, era: Era) -> Answer {
    let error = ErrorAnswer::new(invalid.code(), invalid.to_string());
    reply::error(StatusCode::BAD_REQUEST, &error, invalid.id(), era)
}

fn invalid_request(message: impl Into<String>, id: Option<&str>, era: Era) -> Answer {
    let error = ErrorAnswer::new(code::INVALID_REQUEST, message);
    reply::error(StatusCode::BAD_REQUEST, &error, id, era)
}

fn overloaded(message: &str, id: Option<&str>) -> Answer {
    let about = json!({"mcpvisor": {
        "reason": "too_many_sessions", "service": null, "retryable": true, "outcome": Outcome::NotSent.as_str(),
    }});
    let error = ErrorAnswer::new(code::OVERLOADED, message).with_data(about);
    reply::error(StatusCode::SERVICE_UNAVAILABLE, &error, id, Era::Legacy)
}

/// What is wrong with the headers of a POST, whatever its body says.
pub(crate) fn refused_media(headers: &HeaderMap) -> Option<Answer> {
    let (status, message) = if !media::is_json(headers) {
        (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Content-Type must be application/json",
        )
    } else if !media::takes_both(headers) {
        (
            StatusCode::NOT_ACCEPTABLE,
            "Accept must list application/json and text/event-stream",
        )
    } else {
        return None;
    };
    let era = match named(headers) {
        Ok(Named::Known(revision)) => revision.era(),
        Ok(Named::Absent | Named::Unknown(_)) | Err(_) => Era::Legacy,
    };
    let error = ErrorAnswer::new(code::INVALID_REQUEST, message);
    Some(reply::error(status, &error, None, era))
}
