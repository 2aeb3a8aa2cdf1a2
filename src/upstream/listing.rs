//! Reads a server's lists to their last page, within bounds.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Connection, Introduction, ListKind, Offer, Offers, pending::Ended};
use crate::{
    jsonrpc::{Fields, Kind, json_string, text_of},
    mcp::{Era, Features, meta_key},
};

/// A server that pages for ever is cut off here.
const MAX_PAGES: usize = 1_000;
const MAX_ITEMS: usize = 100_000;

/// Why a list could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    #[error("{0}")]
    NoAnswer(String),
    #[error("the answer to `{method}` has no array `{field}`")]
    Malformed { method: &'static str, field: &'static str },
    #[error("`{method}` has more than {MAX_PAGES} pages or {MAX_ITEMS} entries")]
    Endless { method: &'static str },
}

/// The params every request of the hub's own has: `_meta` on a modern connection, `extra` fields (raw, with a comma) before.
pub(super) fn own_params(era: Era, extra: &str) -> String {
    let comma = if extra.is_empty() { "" } else { "," };
    match era {
        Era::Legacy => format!("{{{extra}}}"),
        Era::Modern => format!(
            "{{{extra}{comma}\"_meta\":{{\"{}\":\"{}\",\"{}\":{{}},\"{}\":{}}}}}",
            meta_key::PROTOCOL_VERSION,
            crate::mcp::Revision::NEWEST,
            meta_key::CLIENT_CAPABILITIES,
            meta_key::CLIENT_INFO,
            own_info()
        ),
    }
}

/// The hub as an `Implementation`.
pub(super) fn own_info() -> String {
    format!(
        "{{\"name\":\"mcpvisor\",\"version\":\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    )
}

/// Sends a request of the hub's own and waits for its result (raw).
pub(super) async fn ask(connection: &Arc<Connection>, method: &str, params: &str) -> Result<Box<RawValue>, AskError> {
    let mut call = connection
        .call(None, |number| {
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"{method}\",\"params\":{params}}}").into()
        })
        .map_err(|error| AskError::Fault(error.0.message))?;
    // `initialize` must not be cancelled (2025-11-25, basic/utilities/cancellation), and the others cost nothing to finish.
    call.cancel_on_drop(false);
    match call.await {
        Ended::Fault(fault) => Err(AskError::Fault(fault.message)),
        Ended::Cancelled => Err(AskError::Fault("the request was cancelled".to_owned())),
        Ended::Answer(message) => {
            let body = message.body_text().unwrap_or("null").to_owned();
            match message.kind() {
                Kind::Result => RawValue::from_string(body).map_err(|error| AskError::Fault(error.to_string())),
                Kind::Error | Kind::Request | Kind::Notification => Err(AskError::Refused(body)),
            }
        }
    }
}

/// Why a request of the hub's own got no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The connection failed.
    #[error("{0}")]
    Fault(String),
    /// The server answered with this error object (raw).
    #[error("the server answered with the error {0}")]
    Refused(String),
}

/// All lists the introduction promises.
pub(super) async fn read_all(connection: &Arc<Connection>, introduction: &Introduction) -> Result<Offers, ListError> {
    let one = async |kind: ListKind| {
        if introduction.can(kind.capability()) {
            read_list(connection, kind).await
        } else {
            Ok(Vec::new())
        }
    };
    let (tools, resources, templates, prompts) = futures_util::future::try_join4(
        one(ListKind::Tools),
        one(ListKind::Resources),
        one(ListKind::Templates),
        one(ListKind::Prompts),
    )
    .await?;
    Ok(Offers {
        tools,
        resources,
        templates,
        prompts,
    })
}

/// One list, page by page. A server that promised resources or prompts and refuses to list them offers none.
pub(super) async fn read_list(connection: &Arc<Connection>, kind: ListKind) -> Result<Vec<Offer>, ListError> {
    let era = connection.variant().era;
    let mut offers = Vec::new();
    let mut cursor = String::new();
    for _ in 0..MAX_PAGES {
        let page = match ask(connection, kind.method(), &own_params(era, &cursor)).await {
            Ok(page) => page,
            Err(AskError::Refused(_)) if kind != ListKind::Tools => return Ok(offers),
            Err(error) => return Err(ListError::NoAnswer(error.to_string())),
        };
        let malformed = || ListError::Malformed {
            method: kind.method(),
            field: kind.field(),
        };
        let fields = Fields::of(&page, &[kind.field(), "nextCursor"]).map_err(|_shape| malformed())?;
        let items: Vec<&RawValue> = fields
            .get(0)
            .and_then(|items| serde_json::from_str(items.get()).ok())
            .ok_or_else(malformed)?;
        for item in items {
            if let Some(offer) = Offer::read(kind, item) {
                offers.push(offer);
            } else {
                tracing::warn!(service = %connection.service(), list = kind.field(), "an entry without a name was left out");
            }
        }
        if offers.len() > MAX_ITEMS {
            return Err(ListError::Endless { method: kind.method() });
        }
        match fields.get(1).and_then(text_of) {
            None => return Ok(offers),
            Some(next) => {
                let next = format!("\"cursor\":{}", json_string(&next));
                if next == cursor {
                    return Err(ListError::Endless { method: kind.method() });
                }
                cursor = next;
            }
        }
    }
    Err(ListError::Endless { method: kind.method() })
}

/// The params of `initialize` for a connection that declares `features`.
pub(super) fn initialize_params(features: Features) -> String {
    format!(
        "{{\"protocolVersion\":\"{}\",\"capabilities\":{},\"clientInfo\":{}}}",
        crate::mcp::Revision::NEWEST_LEGACY,
        features.to_capabilities(),
        own_info()
    )
}
