//! `initialize` and `server/discover`: answered from what is known, never by asking a service.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Client, Gateway, Reply, caller::Caller};
use crate::{
    catalog::{Audience, View},
    jsonrpc::{Message, text_of},
    mcp::{Answered, Era, ErrorAnswer, Features, Revision, field, meta_key},
};

/// `{}` as the result.
pub(super) fn empty_result(request: &Message) -> Bytes {
    result(request, "{}")
}

/// A result message around raw JSON.
pub(super) fn result(request: &Message, raw: &str) -> Bytes {
    let id = request.id().unwrap_or("null");
    Bytes::from(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{raw}}}"))
}

/// The legacy handshake.
pub(super) fn initialize(gateway: &Gateway, client: &Arc<Client>, request: &Message) -> Reply {
    let params = request.body_text().unwrap_or("{}");
    let Some(asked) = field(params, "protocolVersion").and_then(text_of) else {
        let error = ErrorAnswer::invalid_params("`params.protocolVersion` must be a string");
        return Reply::error(request.id(), &error, Answered::BeforeDispatch);
    };
    let capabilities: Value = field(params, "capabilities")
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default();
    let revision = Revision::negotiate(&asked);
    let features = Features::read(&capabilities);
    client.negotiate(revision, features);
    tracing::debug!(
        client.id = client.id().0,
        client.info = field(params, "clientInfo").map(serde_json::value::RawValue::get),
        %revision,
        "a client introduced itself"
    );
    let view = gateway.catalog().view(&Audience {
        scope: client.scope().clone(),
        era: Era::Legacy,
        features: features.without(Features::ROOTS),
    });
    let mut answer = json!({
        "protocolVersion": revision.as_str(),
        "capabilities": without_extensions(view.capabilities()),
        "serverInfo": view.server_info(),
    });
    add_instructions(&mut answer, &view);
    Reply::ok(result(request, &answer.to_string()))
}

/// The modern introduction.
pub(super) fn discover(gateway: &Gateway, caller: &Caller, request: &Message) -> Reply {
    for service in gateway.services() {
        service.find_out_era();
    }
    let view = gateway.catalog().view(&caller.audience());
    let mut answer = json!({
        "resultType": "complete",
        "supportedVersions": [Revision::NEWEST.as_str()],
        "capabilities": view.capabilities(),
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": { meta_key::SERVER_INFO: view.server_info() },
    });
    add_instructions(&mut answer, &view);
    Reply::ok(result(request, &answer.to_string()))
}

fn add_instructions(answer: &mut Value, view: &View) {
    if let (Some(text), Some(object)) = (view.instructions(), answer.as_object_mut()) {
        object.insert("instructions".to_owned(), text.into());
    }
}

fn without_extensions(capabilities: &Value) -> Value {
    let mut capabilities = capabilities.clone();
    if let Some(object) = capabilities.as_object_mut() {
        object.remove("extensions");
    }
    capabilities
}
