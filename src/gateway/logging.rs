//! Log levels: each client has its own, a legacy connection has one for all.

use std::sync::Arc;

use super::{Gateway, Reply, caller::Caller, greet::empty_result};
use crate::{
    catalog::Scope,
    config::ServiceName,
    jsonrpc::{Message, text_of},
    mcp::{Answered, ErrorAnswer, LogLevel, field},
    upstream::{Connection, Variant},
};

/// `logging/setLevel`: remembered for the client, and passed on where it asks for more than the connection logs.
pub(super) fn set_level(gateway: &Gateway, caller: &Caller, request: &Message) -> Reply {
    let level = request
        .body_text()
        .and_then(|params| field(params, "level"))
        .and_then(text_of)
        .and_then(|name| LogLevel::from_wire(&name));
    let Some(level) = level else {
        let error = ErrorAnswer::invalid_params("`params.level` must be a log level");
        return Reply::error(request.id(), &error, Answered::InBand);
    };
    caller.client.set_log_level(level);
    for service in gateway.services() {
        let in_scope = match caller.client.scope() {
            Scope::All => true,
            Scope::Service(name) => name == service.name(),
        };
        if in_scope {
            for connection in service.live() {
                connection.log_from(level);
            }
        }
    }
    Reply::ok(empty_result(request))
}

/// Before a call: the connection logs at least what this caller asked for.
pub(super) fn ensure_level(connection: &Arc<Connection>, caller: &Caller) {
    if let Some(level) = caller.asked_level() {
        connection.log_from(level);
    }
}

/// The least severe level that somebody asked for whose calls may go to such a connection of `service`.
pub(super) fn wanted_level(gateway: &Gateway, service: &ServiceName, variant: Variant) -> Option<LogLevel> {
    let clients = gateway.clients();
    let asked = clients.iter().filter_map(|client| {
        let mine = variant.owner.is_none_or(|owner| owner == client.id().0);
        let sees = match client.scope() {
            Scope::All => true,
            Scope::Service(name) => name == service,
        };
        let (_, _, asked) = client.handshake()?;
        asked.filter(|_| mine && sees)
    });
    asked.min()
}
