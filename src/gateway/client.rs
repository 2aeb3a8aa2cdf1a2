//! Whoever speaks MCP to the hub through a door: one legacy session, one connection, or the stateless callers of a door.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::{
    config::ServiceName,
    mcp::{Answered, Features, Outbox, Revision},
};

/// Number of a client, never used twice in the life of the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// Which part of the catalog a door shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every service; names carry their prefix.
    All,
    /// One service; names as the service gave them.
    Service(ServiceName),
}

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

/// The end of a request.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The answer to send; `None` if the client cancelled the request and expects none.
    pub message: Option<Bytes>,
    /// Code of the error answered, and where it arose (for HTTP statuses of the modern era).
    pub error: Option<(i32, Answered)>,
}

/// One client. Doors hold it in an [`Arc`] and end it with [`super::Gateway::close`].
pub struct Client {
    id: ClientId,
    opening: Opening,
    negotiated: Mutex<Option<(Revision, Features)>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(id: ClientId, opening: Opening) -> Self {
        Self {
            id,
            opening,
            negotiated: Mutex::new(None),
        }
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
        self.negotiated
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .map(|(revision, _)| revision)
    }
}
