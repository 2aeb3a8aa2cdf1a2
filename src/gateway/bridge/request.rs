//! A client's request as the service gets it.

use std::ops::Range;

use bytes::Bytes;

use crate::{
    gateway::target::Edit,
    jsonrpc::{Message, Splice, json_string},
    mcp::{CallParams, Era, LogLevel, Revision, meta_key},
    upstream::Connection,
};

/// Adds what a connection of another era needs. A legacy server takes a modern request as it is: `_meta` may hold anything.
pub(in crate::gateway) fn request_edits(
    client: Era,
    log_from: Option<LogLevel>,
    connection: &Connection,
    request: &Message,
    params: &CallParams<'_>,
    edits: &mut Vec<Edit>,
) {
    if client == Era::Legacy && connection.variant().era == Era::Modern {
        let meta = modern_meta(log_from);
        edits.push(insert_meta(request, params, &meta));
    }
}

/// The `_meta` fields a modern server asks of every request. No capabilities are declared: what a server would ask of the
/// client in the middle of a call can't be handed to a legacy client here.
fn modern_meta(log_from: Option<LogLevel>) -> String {
    let level = log_from.map_or_else(String::new, |level| {
        format!(",\"{}\":{}", meta_key::LOG_LEVEL, json_string(level.as_str()))
    });
    format!(
        "\"{}\":\"{}\",\"{}\":{{}},\"{}\":{{\"name\":\"mcpvisor\",\"version\":\"{}\"}}{level}",
        meta_key::PROTOCOL_VERSION,
        Revision::NEWEST,
        meta_key::CLIENT_CAPABILITIES,
        meta_key::CLIENT_INFO,
        env!("CARGO_PKG_VERSION"),
    )
}

/// Puts fields into `params._meta`, making either where it is missing.
fn insert_meta(request: &Message, params: &CallParams<'_>, fields: &str) -> Edit {
    let comma = |object: &str| {
        let empty = object.trim_start_matches('{').trim_start().starts_with('}');
        if empty { "" } else { "," }
    };
    if let Some(meta) = params.meta.raw {
        let at = request.span_of(meta.get()).start + 1;
        return Edit::new(at..at, format!("{fields}{}", comma(meta.get())).into_bytes());
    }
    if let Some((range, body)) = request.body_range().zip(request.body_text()) {
        let at = range.start + 1;
        return Edit::new(at..at, format!("\"_meta\":{{{fields}}}{}", comma(body)).into_bytes());
    }
    let start = request
        .bytes()
        .iter()
        .position(|byte| *byte == b'{')
        .map_or(0, |at| at + 1);
    Edit::new(
        start..start,
        format!("\"params\":{{\"_meta\":{{{fields}}}}},").into_bytes(),
    )
}

/// The request with the connection's number as id and progress token, and the other edits.
pub(in crate::gateway) fn renumbered(
    request: &Message,
    number: &str,
    token: Option<Range<usize>>,
    mut edits: Vec<Edit>,
) -> Bytes {
    let extra: usize = edits.iter().map(|edit| edit.replacement.len()).sum();
    if let Some(range) = request.id_range() {
        edits.push(Edit::new(range, number.as_bytes()));
    }
    if let Some(range) = token {
        edits.push(Edit::new(range, number.as_bytes()));
    }
    edits.sort_by_key(|edit| edit.range.start);
    edits
        .iter()
        .fold(Splice::new(request.bytes(), extra + 40), |splice, edit| {
            splice.replace(&edit.range, &edit.replacement)
        })
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{jsonrpc::parse, mcp::call_params};

    fn with_meta(text: &str) -> String {
        let request = parse(Bytes::copy_from_slice(text.as_bytes())).unwrap();
        let params = call_params(&request).unwrap();
        let edit = insert_meta(&request, &params, "\"k\":1");
        String::from_utf8(renumbered(&request, "9", None, vec![edit]).to_vec()).unwrap()
    }

    #[test]
    fn meta_is_put_where_it_belongs() {
        for (before, after) in [
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"a":2}}}"#,
                r#"{"jsonrpc":"2.0","id":9,"method":"m","params":{"_meta":{"k":1,"a":2}}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{ }}}"#,
                r#"{"jsonrpc":"2.0","id":9,"method":"m","params":{"_meta":{"k":1 }}}"#,
            ),
            (
                r#"{"params":{"x":1},"jsonrpc":"2.0","id":1,"method":"m"}"#,
                r#"{"params":{"_meta":{"k":1},"x":1},"jsonrpc":"2.0","id":9,"method":"m"}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{}}"#,
                r#"{"jsonrpc":"2.0","id":9,"method":"m","params":{"_meta":{"k":1}}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#,
                r#"{"params":{"_meta":{"k":1}},"jsonrpc":"2.0","id":9,"method":"m"}"#,
            ),
        ] {
            assert_eq!(with_meta(before), after);
        }
    }
}
