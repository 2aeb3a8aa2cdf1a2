//! HTTP+SSE (2024-11-05): one long GET carries everything to the client, each POST one message from it.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, StatusCode, request::Parts};
use hyper::body::Incoming;
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep},
};

use super::{
    connection::{AtEnd, Connection, Frame},
    outbound::Outbound,
};
use crate::{
    downstream::{
        door::{Door, Visit},
        endpoint::Endpoint,
        http::{
            access::Caller,
            body::Chunks,
            intake, media,
            reply::{self, Answer},
            router::refuse_body,
        },
        streamable::{KEEP_ALIVE, SessionId, append_event, endpoint_event, one_line},
    },
    gateway::Principal,
    jsonrpc::{parse, parse_batch},
    mcp::{Era, ErrorAnswer, code},
};

/// How often a silent stream says that it is alive.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// Messages of one client that may wait to be taken in.
const WAITING: usize = 32;

#[derive(Debug)]
struct Entry {
    frames: mpsc::Sender<Frame>,
    caller: Caller,
    endpoint: Arc<Endpoint>,
}

/// The open HTTP+SSE connections.
#[derive(Debug, Default)]
pub(crate) struct Connections(Mutex<HashMap<SessionId, Entry>>);

impl Connections {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, visit: &Visit, id: &str) -> Option<mpsc::Sender<Frame>> {
        let table = self.lock();
        let entry = table.get(&SessionId::parse(id)?)?;
        (entry.caller == visit.caller && Arc::ptr_eq(&entry.endpoint, &visit.endpoint)).then(|| entry.frames.clone())
    }
}

/// Opens a connection.
pub(crate) fn open_events(visit: &Visit, headers: &HeaderMap) -> Answer {
    let door = &visit.door;
    if !media::takes_events(headers) {
        return refused(StatusCode::NOT_ACCEPTABLE, "Accept must list text/event-stream");
    }
    if door.closing.is_cancelled() {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "the hub is stopping");
    }
    let (sender, mut receiver) = mpsc::channel(WAITING);
    let id = SessionId::random();
    {
        let mut table = door.connections.lock();
        if table.len() >= door.limits.max_sessions {
            return refused(
                StatusCode::SERVICE_UNAVAILABLE,
                "there are as many connections as limits.max_sessions allows",
            );
        }
        let entry = Entry {
            frames: sender,
            caller: visit.caller,
            endpoint: Arc::clone(&visit.endpoint),
        };
        table.insert(id, entry);
    }
    let out = Arc::new(Outbound::default());
    let body = Body {
        head: Some(endpoint_event(&format!(
            "{}/messages?sessionId={id}",
            visit.endpoint.base()
        ))),
        out: Arc::clone(&out),
        keep_alive: None,
        door: Arc::clone(door),
        id,
    };
    let principal = door.access.principal(visit.caller).cloned();
    let principal = principal.unwrap_or_else(|| Principal {
        name: Arc::from("local"),
    });
    let scope = visit.endpoint.scope().clone();
    let client = Connection::open(door.gateway.clone(), scope, principal, out, AtEnd::Cancel);
    let (closing, drain) = (door.closing.clone(), door.limits.drain);
    door.tasks.spawn("http+sse client", async move {
        let frames = stream::poll_fn(|cx| receiver.poll_recv(cx));
        let end = client.drive(frames, &closing, drain).await;
        tracing::trace!(?end, "an HTTP+SSE client left");
    });
    reply::events(body)
}

/// Takes in one message.
pub(crate) async fn post_message(visit: &Visit, head: &Parts, body: Incoming) -> Answer {
    let query = head.uri.query().unwrap_or_default();
    let Some(id) = query.split('&').find_map(|pair| pair.strip_prefix("sessionId=")) else {
        return refused(
            StatusCode::BAD_REQUEST,
            "the query needs sessionId, as the endpoint event said",
        );
    };
    let Some(frames) = visit.door.connections.find(visit, id) else {
        return refused(
            StatusCode::NOT_FOUND,
            "this session does not exist here (any more); open /sse again",
        );
    };
    if !media::is_json(&head.headers) {
        return refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Content-Type must be application/json",
        );
    }
    let body = match intake::take(body, &head.headers, visit.door.limits.max_body_bytes).await {
        Ok(body) => body,
        Err(untaken) => return refuse_body(untaken),
    };
    if let Err(invalid) = parse(body.clone())
        && !matches!(parse_batch(&body), Some(Ok(_)))
    {
        let error = ErrorAnswer::new(invalid.code(), invalid.to_string());
        return reply::error(StatusCode::BAD_REQUEST, &error, invalid.id(), Era::Legacy);
    }
    match tokio::time::timeout(intake::PATIENCE, frames.send(Frame::Message(body))).await {
        Ok(Ok(())) => reply::text(StatusCode::ACCEPTED, "Accepted"),
        Ok(Err(_)) => refused(StatusCode::NOT_FOUND, "this session has ended; open /sse again"),
        Err(_) => refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "this session does not read its answers",
        ),
    }
}

fn refused(status: StatusCode, message: &str) -> Answer {
    let error = ErrorAnswer::new(code::INVALID_REQUEST, message);
    reply::error(status, &error, None, Era::Legacy)
}

/// The long answer to the GET. Dropping it ends the connection.
struct Body {
    head: Option<Bytes>,
    out: Arc<Outbound>,
    keep_alive: Option<Pin<Box<Sleep>>>,
    door: Arc<Door>,
    id: SessionId,
}

impl Chunks for Body {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(head));
        }
        let next = Instant::now() + KEEP_ALIVE_EVERY;
        if let Poll::Ready(message) = self.out.poll_next(cx) {
            if let Some(sleep) = &mut self.keep_alive {
                sleep.as_mut().reset(next);
            }
            return Poll::Ready(message.map(|message| {
                let mut chunk = BytesMut::new();
                append_event(&mut chunk, None, &one_line(message));
                chunk.freeze()
            }));
        }
        let sleep = self
            .keep_alive
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
        std::task::ready!(sleep.as_mut().poll(cx));
        sleep.as_mut().reset(next);
        Poll::Ready(Some(KEEP_ALIVE))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        drop(self.door.connections.lock().remove(&self.id));
        self.out.abandon();
    }
}
