//! Whoever speaks MCP to the hub through a door: one legacy session, one connection, or the stateless callers of a door.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::{
    catalog::Scope,
    mcp::{Answered, Delivery, ErrorAnswer, Features, LogLevel, Outbox, Revision},
    upstream::Connection,
};

/// Number of a client, never used twice in the life of the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// Who asks, as far as the door could tell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// Name of the token used, `local` where the door is open, `stdio` on stdin.
    pub name: Arc<str>,
}

/// What it means when a door drops a request's future before it resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDrop {
    /// The client is gone: tell the service to stop (2026-07-28 HTTP, stdio, WebSocket, HTTP+SSE).
    Cancel,
    /// A lost connection is no cancellation (Streamable HTTP up to 2025-11-25): let the service finish, drop the answer.
    LetFinish,
}

/// What a door says of a client when it opens one.
pub struct Opening {
    /// What it may see.
    pub scope: Scope,
    /// Who it is.
    pub principal: Principal,
    /// What a dropped request means.
    pub on_drop: OnDrop,
    /// Where messages go that belong to no request (list changes, resource updates, unrelated server requests).
    pub outbox: Arc<dyn Outbox>,
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening")
            .field("scope", &self.scope)
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

/// The end of a request.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The answer to send; `None` if the client cancelled the request and expects none.
    pub message: Option<Bytes>,
    /// Code of the error answered, and where it arose (for HTTP statuses of the modern era).
    pub error: Option<(i32, Answered)>,
}

impl Reply {
    pub(super) fn ok(message: Bytes) -> Self {
        Self {
            message: Some(message),
            error: None,
        }
    }

    pub(super) fn error(id: Option<&str>, error: &ErrorAnswer, answered: Answered) -> Self {
        Self {
            message: Some(error.to_message(id)),
            error: Some((error.code, answered)),
        }
    }

    pub(super) fn none() -> Self {
        Self {
            message: None,
            error: None,
        }
    }
}

/// How to end a request that the client takes back.
#[derive(Clone, Debug)]
pub(super) enum Cancel {
    /// It is with a service.
    Sent(Arc<Connection>, u64),
    /// It waits in the hub.
    Waiting(Arc<Notify>),
}

/// A request of a service that waits for the client's answer.
#[derive(Clone, Debug)]
pub(super) struct ServerRequest {
    pub(super) from: Arc<Connection>,
    /// The service's own id, raw.
    pub(super) id: Box<str>,
    /// The service's progress token, raw.
    pub(super) progress_token: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug)]
struct Negotiated {
    revision: Revision,
    features: Features,
}

#[derive(Debug, Default)]
struct State {
    negotiated: Option<Negotiated>,
    log_level: Option<LogLevel>,
    last_ticket: u64,
    in_flight: HashMap<u64, InFlight>,
    last_server_request: u64,
    server_requests: HashMap<u64, ServerRequest>,
    closed: bool,
}

/// A request of the client that has no answer yet.
#[derive(Debug)]
struct InFlight {
    /// Its raw id.
    id: Box<str>,
    cancel: Cancel,
    /// The client wants no answer any more.
    taken_back: bool,
}

/// One client. Doors hold it in an [`Arc`] and end it with [`super::Gateway::close`].
#[derive(Debug)]
pub struct Client {
    id: ClientId,
    opening: Opening,
    state: Mutex<State>,
}

impl Client {
    pub(super) fn new(id: ClientId, opening: Opening) -> Self {
        Self {
            id,
            opening,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// What it may see.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.opening.scope
    }

    /// Who it is.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.opening.principal
    }

    /// The legacy revision agreed by `initialize`; `None` before that, and for ever on a modern client.
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        self.lock().negotiated.map(|negotiated| negotiated.revision)
    }

    pub(super) fn on_drop(&self) -> OnDrop {
        self.opening.on_drop
    }

    /// What `initialize` agreed, and the log level asked for since.
    pub(super) fn handshake(&self) -> Option<(Revision, Features, Option<LogLevel>)> {
        let state = self.lock();
        state
            .negotiated
            .map(|negotiated| (negotiated.revision, negotiated.features, state.log_level))
    }

    pub(super) fn negotiate(&self, revision: Revision, features: Features) {
        self.lock().negotiated = Some(Negotiated { revision, features });
    }

    pub(super) fn set_log_level(&self, level: LogLevel) {
        self.lock().log_level = Some(level);
    }

    /// Sends a message that belongs to no request.
    pub(super) fn send(&self, message: Bytes) -> Delivery {
        self.opening.outbox.send(message)
    }

    /// Notes how to cancel the request with the raw id `id`, until the guard is dropped.
    pub(super) fn cancellable(self: &Arc<Self>, id: &str, cancel: Cancel) -> Cancellable {
        let mut state = self.lock();
        state.last_ticket += 1;
        let ticket = state.last_ticket;
        state.in_flight.insert(
            ticket,
            InFlight {
                id: id.into(),
                cancel,
                taken_back: false,
            },
        );
        Cancellable {
            client: Arc::clone(self),
            ticket,
        }
    }

    /// Takes the request with the raw id `id` back, of several with the same id the oldest that was not; says how to cancel it.
    pub(super) fn take_back(&self, id: &str) -> Option<Cancel> {
        let mut state = self.lock();
        let (_, request) = state
            .in_flight
            .iter_mut()
            .filter(|(_, request)| *request.id == *id && !request.taken_back)
            .min_by_key(|(ticket, _)| **ticket)?;
        request.taken_back = true;
        Some(request.cancel.clone())
    }

    /// Keeps a server request and gives the number the client sees as its id; `None` if the client is gone.
    pub(super) fn keep_server_request(&self, request: ServerRequest) -> Option<u64> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.last_server_request += 1;
        let number = state.last_server_request;
        state.server_requests.insert(number, request);
        Some(number)
    }

    pub(super) fn take_server_request(&self, number: u64) -> Option<ServerRequest> {
        self.lock().server_requests.remove(&number)
    }

    /// The number of a server request, found by what identifies it upstream.
    pub(super) fn find_server_request(&self, wanted: impl Fn(&ServerRequest) -> bool) -> Option<(u64, ServerRequest)> {
        let state = self.lock();
        state
            .server_requests
            .iter()
            .find(|(_, request)| wanted(request))
            .map(|(number, request)| (*number, request.clone()))
    }

    /// Marks the client as gone. What it left behind comes back: calls to cancel, server requests to refuse.
    pub(super) fn end(&self) -> (Vec<Cancel>, Vec<ServerRequest>) {
        let mut state = self.lock();
        state.closed = true;
        let calls = state
            .in_flight
            .values_mut()
            .map(|request| {
                request.taken_back = true;
                request.cancel.clone()
            })
            .collect();
        let requests = state.server_requests.drain().map(|(_, request)| request).collect();
        (calls, requests)
    }
}

/// Takes a request off the client's list when it ends, in whatever way.
#[derive(Debug)]
pub(super) struct Cancellable {
    client: Arc<Client>,
    ticket: u64,
}

impl Cancellable {
    /// Whether the client has taken the request back.
    pub(super) fn is_taken_back(&self) -> bool {
        let state = self.client.lock();
        state
            .in_flight
            .get(&self.ticket)
            .is_none_or(|request| request.taken_back)
    }

    /// The request has moved on. `false` if it was taken back before: then it is to be cancelled where it is now.
    #[must_use]
    pub(super) fn update(&self, cancel: Cancel) -> bool {
        let mut state = self.client.lock();
        state.in_flight.get_mut(&self.ticket).is_some_and(|request| {
            request.cancel = cancel;
            !request.taken_back
        })
    }
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        self.client.lock().in_flight.remove(&self.ticket);
    }
}
