//! `completion/complete`: to whom the prompt or resource template belongs.

use super::{Gateway, Reply, call, caller::Caller, forward, target::Edit};
use crate::{
    jsonrpc::{Fields, Message, text_of},
    mcp::{Answered, CallParams, ErrorAnswer, field},
    upstream::ListKind,
};

/// Completion of an argument of a prompt or a resource template.
pub(super) async fn complete(gateway: &Gateway, caller: &Caller, request: &Message, params: &CallParams<'_>) -> Reply {
    let refused = |error: &ErrorAnswer| Reply::error(request.id(), error, Answered::InBand);
    let reference = request.body_text().and_then(|params| field(params, "ref"));
    let found = reference.and_then(|reference| Fields::of(reference, &["type", "name", "uri"]).ok());
    let Some([kind, name, uri]) = found.map(Fields::values) else {
        return refused(&ErrorAnswer::invalid_params("`params.ref` must be an object"));
    };
    match (kind.and_then(text_of).as_deref(), name, uri) {
        (Some("ref/prompt"), Some(raw), _) => {
            let name = text_of(raw).unwrap_or_default();
            let view = gateway.catalog().view(&caller.audience());
            let Some(entry) = view.table(ListKind::Prompts).find(&name) else {
                return refused(&ErrorAnswer::invalid_params(format!("Unknown prompt: {name}")));
            };
            let edit = entry
                .original
                .as_ref()
                .map(|original| Edit::new(request.span_of(raw.get()), original.as_bytes()));
            call::send(gateway, caller, &entry.service, request, params, edit).await
        }
        (Some("ref/resource"), _, Some(raw)) => {
            let uri = text_of(raw).unwrap_or_default();
            match forward::owner_of(gateway, caller, &uri) {
                Some(service) => call::send(gateway, caller, &service, request, params, None).await,
                None => refused(&caller.resource_not_found(&uri)),
            }
        }
        _ => refused(&ErrorAnswer::invalid_params(
            "`params.ref` must be a `ref/prompt` with a `name` or a `ref/resource` with a `uri`",
        )),
    }
}
