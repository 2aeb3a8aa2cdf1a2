//! Notifications of services to the clients they concern.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Map;

use super::{Gateway, subscriptions::Subscriber};
use crate::{
    catalog::Scope,
    config::ServiceName,
    jsonrpc::{Message, json_string, text_of},
    mcp::{Delivery, Era, LogLevel, field, method},
    upstream::{Connection, ListKind},
};

/// Tells everybody who sees `service` that lists changed.
pub(super) fn lists_changed(gateway: &Gateway, service: &ServiceName, kinds: &[ListKind]) {
    let mut methods = Vec::new();
    for kind in kinds {
        let method = match kind {
            ListKind::Tools => method::TOOLS_CHANGED,
            ListKind::Prompts => method::PROMPTS_CHANGED,
            ListKind::Resources | ListKind::Templates => method::RESOURCES_CHANGED,
        };
        if !methods.iter().any(|(known, _)| *known == method) {
            methods.push((method, *kind));
        }
    }
    let sees = |scope: &Scope| match scope {
        Scope::All => true,
        Scope::Service(name) => name == service,
    };
    let messages: Vec<Bytes> = methods
        .iter()
        .map(|(method, _)| Bytes::from(format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\"}}")))
        .collect();
    for client in gateway.clients() {
        if sees(client.scope()) && client.revision().is_some() {
            for message in &messages {
                client.send(message.clone());
            }
        }
    }
    for listen in gateway.shared.listens.all() {
        if sees(&listen.scope) {
            for (method, kind) in &methods {
                if listen.wants(*kind) {
                    listen.send(method, &Map::new());
                }
            }
        }
    }
}

/// Sorts a notification that a connection could not handle itself.
pub(super) fn notification(gateway: &Gateway, from: &Arc<Connection>, message: &Message) {
    match message.method() {
        method::RESOURCE_UPDATED => resource_updated(gateway, from, message),
        method::LOG_MESSAGE => log_message(gateway, from, message),
        method::CANCELLED => super::server_requests::cancelled(gateway, from, message),
        _ => unknown(gateway, from, message),
    }
}

fn resource_updated(gateway: &Gateway, from: &Arc<Connection>, message: &Message) {
    let Some(uri) = message
        .body_text()
        .and_then(|params| field(params, "uri"))
        .and_then(text_of)
    else {
        return;
    };
    // A modern server's message names its stream, which is the hub's own.
    let untagged = match from.variant().era {
        Era::Legacy => message.bytes().clone(),
        Era::Modern => Bytes::from(format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"{}\",\"params\":{{\"uri\":{}}}}}",
            method::RESOURCE_UPDATED,
            json_string(&uri)
        )),
    };
    for subscriber in gateway.shared.subscriptions.of(from, &uri) {
        match subscriber {
            Subscriber::Client(id) => {
                if let Some(client) = gateway.client(id.0) {
                    client.send(untagged.clone());
                }
            }
            Subscriber::Listen(number) => {
                if let Some(listen) = gateway.shared.listens.get(number) {
                    let mut params = Map::new();
                    params.insert("uri".to_owned(), uri.as_ref().into());
                    listen.send(method::RESOURCE_UPDATED, &params);
                }
            }
        }
    }
}

/// A log message has no mark of whose call it is about. During calls of one client it is that client's; outside of calls it
/// is about the service itself and goes to those who asked for a level; during calls of several it is shown to nobody.
fn log_message(gateway: &Gateway, from: &Arc<Connection>, message: &Message) {
    let level = message
        .body_text()
        .and_then(|params| field(params, "level"))
        .and_then(text_of)
        .and_then(|name| LogLevel::from_wire(&name))
        .unwrap_or(LogLevel::Info);
    match from.only_client() {
        Ok(Some(origin)) => {
            if origin.log_from.is_some_and(|from| level >= from)
                && origin.related.send(message.bytes().clone()) == Delivery::Closed
                && let Some(client) = gateway.client(origin.client)
            {
                client.send(message.bytes().clone());
            }
        }
        Ok(None) => {
            for client in gateway.clients() {
                let mine = from.variant().owner.is_none_or(|owner| owner == client.id().0);
                let sees = match client.scope() {
                    Scope::All => true,
                    Scope::Service(name) => name == from.service(),
                };
                let wants = client
                    .handshake()
                    .and_then(|(_, _, asked)| asked)
                    .is_some_and(|asked| level >= asked);
                if mine && sees && wants {
                    client.send(message.bytes().clone());
                }
            }
        }
        Err(()) => {
            tracing::debug!(service = %from.service(), "a log message could belong to several clients and went to none");
        }
    }
}

/// What the hub does not know concerns those who talk to this service alone, or the one whose call it is.
fn unknown(gateway: &Gateway, from: &Arc<Connection>, message: &Message) {
    if let Ok(Some(origin)) = from.only_client()
        && origin.related.send(message.bytes().clone()) == Delivery::Sent
    {
        return;
    }
    for client in gateway.clients() {
        let alone = *client.scope() == Scope::Service(from.service().clone());
        let mine = from.variant().owner.is_none_or(|owner| owner == client.id().0);
        if alone && mine && client.revision().is_some() {
            client.send(message.bytes().clone());
        }
    }
}
