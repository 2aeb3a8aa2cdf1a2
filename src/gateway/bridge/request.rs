//! A client's request as the service gets it.

use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::{
    gateway::target::Edit,
    jsonrpc::{Message, Splice, json_string, text_of},
    mcp::{CallParams, Era, LogLevel, Revision, meta_key},
    upstream::Connection,
};

/// Adds what a connection of another era needs and takes out what it must not see: a server that was greeted in the legacy era
/// refuses a request that claims the modern one.
pub(in crate::gateway) fn request_edits(
    client: Era,
    log_from: Option<LogLevel>,
    connection: &Connection,
    request: &Message,
    params: &CallParams<'_>,
    edits: &mut Vec<Edit>,
) {
    match (client, connection.variant().era) {
        (Era::Legacy, Era::Modern) => {
            let meta = modern_meta(log_from);
            edits.push(insert_meta(request, params, &meta));
        }
        (Era::Modern, Era::Legacy) => {
            if let Some(meta) = params.meta.raw {
                edits.extend(without_claim(request, meta));
            }
        }
        (Era::Legacy, Era::Legacy) | (Era::Modern, Era::Modern) => {}
    }
}

/// What a modern request says of itself, which a legacy one does not.
const CLAIM: [&str; 4] = [
    meta_key::PROTOCOL_VERSION,
    meta_key::CLIENT_CAPABILITIES,
    meta_key::CLIENT_INFO,
    meta_key::LOG_LEVEL,
];

/// The cuts that leave `_meta` without its modern claim, each with the comma that goes with it.
fn without_claim(request: &Message, meta: &RawValue) -> Vec<Edit> {
    let members = members_of(meta);
    let spans: Vec<(bool, Range<usize>)> = members
        .iter()
        .map(|(key, value)| {
            let claims = text_of(key).is_some_and(|key| CLAIM.contains(&&*key));
            (
                claims,
                request.span_of(key.get()).start..request.span_of(value.get()).end,
            )
        })
        .collect();
    let mut cuts = Vec::new();
    let mut kept_end = None;
    let mut previous_end = None;
    for (index, (claims, span)) in spans.iter().enumerate() {
        if *claims {
            let cut = match (kept_end, previous_end, spans.get(index + 1)) {
                (Some(_), Some(before), _) => before..span.end,
                (_, _, Some((_, next))) => span.start..next.start,
                (_, _, None) => span.clone(),
            };
            cuts.push(Edit::new(cut, &b""[..]));
        } else {
            kept_end = Some(span.end);
        }
        previous_end = Some(span.end);
    }
    cuts
}

/// The members of a raw object in their order.
fn members_of(object: &RawValue) -> Vec<(&RawValue, &RawValue)> {
    struct Members;

    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(&'de RawValue, &'de RawValue)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }
    // It was read as an object before.
    serde_json::Deserializer::from_str(object.get())
        .deserialize_map(Members)
        .unwrap_or_default()
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
    fn a_legacy_server_sees_no_modern_claim() {
        const V: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
        const C: &str = r#""io.modelcontextprotocol/clientCapabilities":{"a":[1]}"#;
        for (before, after) in [
            (V.to_owned(), String::new()),
            (format!("{V} , {C}"), String::new()),
            (format!("{V}, {C} ,\"a\":1.0"), "\"a\":1.0".to_owned()),
            (format!("\"a\":1,{V},{C}"), "\"a\":1".to_owned()),
            (format!("{V},\"a\":1,{C},\"b\":2"), "\"a\":1,\"b\":2".to_owned()),
            (format!("\"a\":1,\"b\":2 , {C}"), "\"a\":1,\"b\":2".to_owned()),
            (
                format!("{V},\"progressToken\":\"t\",{C}"),
                "\"progressToken\":9".to_owned(),
            ),
        ] {
            let text =
                format!("{{\"id\":1,\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":{{\"_meta\":{{{before}}}}}}}");
            let request = parse(Bytes::from(text)).unwrap();
            let params = call_params(&request).unwrap();
            let token = params.meta.progress_token.map(|token| request.span_of(token.get()));
            let edits = without_claim(&request, params.meta.raw.unwrap());
            let sent = renumbered(&request, "9", token, edits);
            let wanted =
                format!("{{\"id\":9,\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":{{\"_meta\":{{{after}}}}}}}");
            assert_eq!(String::from_utf8(sent.to_vec()).unwrap(), wanted);
        }
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
