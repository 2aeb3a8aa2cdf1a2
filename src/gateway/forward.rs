//! To which service a request goes: found by the name of a tool or prompt, by URI, or by the endpoint.

use std::sync::Arc;

use super::{Client, Gateway, Reply, call::send, caller::Caller, hub::required_text, target::Edit};
use crate::{
    catalog::Scope,
    config::ServiceName,
    jsonrpc::Message,
    mcp::{Answered, CallParams, Era, ErrorAnswer, Features},
    upstream::{ListKind, Wanted},
};

/// `tools/call` and `prompts/get`: found by name.
pub(super) async fn named(
    gateway: &Gateway,
    caller: &Caller,
    request: &Message,
    params: &CallParams<'_>,
    kind: ListKind,
) -> Reply {
    let name = match required_text(params.name, "name") {
        Ok(name) => name,
        Err(error) => return Reply::error(request.id(), &error, Answered::InBand),
    };
    let view = gateway.catalog().view(&caller.audience());
    let Some(entry) = view.table(kind).find(&name) else {
        if let Scope::Service(only) = caller.client.scope()
            && gateway.catalog().introduction(only, caller.era()).is_none()
        {
            // Nothing is known of this service yet; it can tell itself, or why it is not up.
            return send(gateway, caller, only, request, params, None).await;
        }
        let what = if kind == ListKind::Tools { "tool" } else { "prompt" };
        let error = ErrorAnswer::invalid_params(format!("Unknown {what}: {name}"));
        return Reply::error(request.id(), &error, Answered::InBand);
    };
    let edit = match (&entry.original, params.name) {
        (Some(original), Some(raw)) => Some(Edit::new(request.span_of(raw.get()), original.as_bytes())),
        (None, _) | (_, None) => None,
    };
    send(gateway, caller, &entry.service, request, params, edit).await
}

/// `resources/read`: found by URI.
pub(super) async fn resource(gateway: &Gateway, caller: &Caller, request: &Message, params: &CallParams<'_>) -> Reply {
    let uri = match required_text(params.uri, "uri") {
        Ok(uri) => uri,
        Err(error) => return Reply::error(request.id(), &error, Answered::InBand),
    };
    match owner_of(gateway, caller, &uri) {
        Some(service) => send(gateway, caller, &service, request, params, None).await,
        None => Reply::error(request.id(), &caller.resource_not_found(&uri), Answered::InBand),
    }
}

/// Whose resource `uri` is; on an endpoint of one service always that service's.
pub(super) fn owner_of(gateway: &Gateway, caller: &Caller, uri: &str) -> Option<ServiceName> {
    match caller.client.scope() {
        Scope::Service(name) => Some(name.clone()),
        Scope::All => gateway.catalog().view(&caller.audience()).route_uri(uri).cloned(),
    }
}

/// A method the hub does not know: an endpoint of one service passes it on, the merged one can't tell to whom.
pub(super) async fn unknown(gateway: &Gateway, caller: &Caller, request: &Message, params: &CallParams<'_>) -> Reply {
    match caller.client.scope() {
        Scope::Service(name) => send(gateway, caller, name, request, params, None).await,
        Scope::All => {
            let error = ErrorAnswer::method_not_found(request.method());
            Reply::error(request.id(), &error, Answered::BeforeDispatch)
        }
    }
}

/// An unknown notification of a client goes where its unknown requests go.
pub(super) fn unknown_notification(gateway: &Gateway, client: &Arc<Client>, notification: &Message) {
    let Scope::Service(name) = client.scope() else { return };
    let Some(service) = gateway.shared.services.get(name) else {
        return;
    };
    // Whoever never introduced itself is modern.
    let wanted = client.handshake().map_or(
        Wanted {
            era: Era::Modern,
            features: Features::NONE,
            client: None,
        },
        |(revision, features, _)| Wanted {
            era: revision.era(),
            features,
            client: Some(client.id().0),
        },
    );
    if let Some(connection) = service.ready(wanted) {
        connection.notify(notification.bytes());
    }
}
