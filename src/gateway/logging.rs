//! Log levels: each client has its own, a legacy connection has one for all.

use std::sync::Arc;

use super::{Gateway, Reply, caller::Caller, greet::empty_result};
use crate::{
    catalog::Scope,
    jsonrpc::{Message, text_of},
    mcp::{Answered, Era, ErrorAnswer, LogLevel, field, method},
    upstream::Connection,
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
                ask_for(&connection, level);
            }
        }
    }
    Reply::ok(empty_result(request))
}

/// Before a call: the connection logs at least what this caller asked for.
pub(super) fn ensure_level(connection: &Arc<Connection>, caller: &Caller) {
    if let Some(level) = caller.asked_level() {
        ask_for(connection, level);
    }
}

/// Tells a legacy server to log from `level` on, unless it already logs more.
fn ask_for(connection: &Arc<Connection>, level: LogLevel) {
    let legacy = connection.variant().era == Era::Legacy;
    let can_log = connection
        .introduction()
        .is_some_and(|introduction| introduction.can("logging"));
    if !legacy || !can_log || !connection.lower_log_level(level) {
        return;
    }
    let sent = connection.call(None, |number| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"{}\",\"params\":{{\"level\":\"{}\"}}}}",
            method::SET_LEVEL,
            level.as_str()
        )
        .into()
    });
    if let Ok(mut call) = sent {
        call.cancel_on_drop(false);
    }
}
