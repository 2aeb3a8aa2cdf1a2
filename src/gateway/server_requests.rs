//! Requests of services to clients (sampling, elicitation, roots), and the clients' answers.

use std::sync::Arc;

use bytes::Bytes;

use super::{Client, Gateway, client::ServerRequest};
use crate::{
    jsonrpc::Message,
    mcp::{Delivery, ErrorAnswer, Outbox, code, field, method},
    upstream::{Connection, Origin},
};

/// Passes a request to the one client it can belong to.
///
/// On a shared connection nothing in the message says whose call it serves. It goes to the client all of whose calls are in
/// flight there; if several clients' are, it is refused rather than shown to the wrong one.
pub(super) fn pass_on(gateway: &Gateway, from: &Arc<Connection>, request: &Message) {
    let refused = |why: &str| refuse(from, request.id(), why);
    let (client, related) = match (from.only_client(), from.variant().owner) {
        (Ok(Some(Origin { client, related, .. })), _) => (gateway.client(client), Some(related)),
        (Ok(None), Some(owner)) => (gateway.client(owner), None),
        (Ok(None), None) => return refused("no client's call is in progress that this request could belong to"),
        (Err(()), _) => {
            tracing::warn!(service = %from.service(), method = request.method(), "a server request can't be attributed to one client");
            return refused(
                "calls of several clients are in progress and nothing tells to whom this request belongs; \
                 set `sharing: per-client` for this service",
            );
        }
    };
    let Some(client) = client else {
        return refused("the client has gone");
    };
    let can = client
        .handshake()
        .is_some_and(|(_, features, _)| features.can_answer(request.method()));
    if !can {
        let error = ErrorAnswer::method_not_found(request.method());
        return from.respond(&error.to_message(request.id()));
    }
    deliver(from, &client, related.as_deref(), request);
}

fn deliver(from: &Arc<Connection>, client: &Arc<Client>, related: Option<&dyn Outbox>, request: &Message) {
    let token = request
        .body_text()
        .and_then(|params| field(params, "_meta"))
        .and_then(|meta| field(meta.get(), "progressToken"));
    let kept = client.keep_server_request(ServerRequest {
        from: Arc::clone(from),
        id: request.id().unwrap_or("null").into(),
        progress_token: token.map(|token| token.get().into()),
    });
    let Some(number) = kept else {
        return refuse(from, request.id(), "the client has gone");
    };
    let message = request.with_id(&number.to_string());
    let delivered = match related.map(|related| related.send(message.clone())) {
        Some(Delivery::Sent) => Delivery::Sent,
        Some(Delivery::Full | Delivery::Closed) | None => client.send(message),
    };
    if delivered != Delivery::Sent && client.take_server_request(number).is_some() {
        refuse(from, request.id(), "the client can't be reached");
    }
}

/// Answers a service's request with an internal error.
pub(super) fn refuse(to: &Connection, id: Option<&str>, why: &str) {
    to.respond(&ErrorAnswer::new(code::INTERNAL, why).to_message(id));
}

/// A client's answer goes to the service under the service's own id.
pub(super) fn answer(client: &Client, response: &Message) {
    let request = response
        .id()
        .and_then(|id| id.parse().ok())
        .and_then(|number| client.take_server_request(number));
    if let Some(request) = request {
        request.from.respond(&response.with_id(&request.id));
    } else {
        tracing::debug!(client = client.id().0, "an answer to no question was dropped");
    }
}

/// A client's progress on a server request.
pub(super) fn progress(client: &Client, notification: &Message) {
    let Some(token) = notification
        .body_text()
        .and_then(|params| field(params, "progressToken"))
    else {
        return;
    };
    let found = client.find_server_request(|request| request.progress_token.as_deref() == Some(token.get()));
    if let Some((_, request)) = found {
        request.from.notify(notification.bytes());
    }
}

/// A service takes its own request back.
pub(super) fn cancelled(gateway: &Gateway, from: &Arc<Connection>, notification: &Message) {
    let Some(id) = notification.body_text().and_then(|params| field(params, "requestId")) else {
        return;
    };
    for client in gateway.clients() {
        let found = client.find_server_request(|request| Arc::ptr_eq(&request.from, from) && *request.id == *id.get());
        if let Some((number, _)) = found
            && client.take_server_request(number).is_some()
        {
            let message = format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"{}\",\"params\":{{\"requestId\":{number}}}}}",
                method::CANCELLED
            );
            client.send(Bytes::from(message));
            return;
        }
    }
}
