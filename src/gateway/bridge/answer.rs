//! A service's answer as the client gets it.

use bytes::Bytes;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::{
    jsonrpc::{Kind, Message, Splice},
    mcp::{Era, ErrorAnswer, code, field, method},
};

/// The answer with the client's id, in the client's era.
pub(in crate::gateway) fn answer(client: Era, service: Era, method: &str, answer: &Message, id: &str) -> Bytes {
    match (client, service, answer.kind()) {
        (Era::Modern, Era::Legacy, Kind::Result) => with_result(answer, id, &to_modern(method, body(answer))),
        (Era::Legacy, Era::Modern, Kind::Result) => {
            let result = body(answer);
            if field(result, "resultType").is_some_and(|kind| kind.get() == "\"input_required\"") {
                return ErrorAnswer::new(
                    code::MISSING_CLIENT_CAPABILITY,
                    "the service asks for input in a way that this client's revision of MCP can't answer",
                )
                .to_message(Some(id));
            }
            with_result(answer, id, &without(result, &["resultType", "ttlMs", "cacheScope"]))
        }
        (Era::Modern, Era::Legacy, Kind::Error) => {
            with_error_code(answer, id, code::RESOURCE_NOT_FOUND, code::INVALID_PARAMS)
        }
        _ => answer.with_id(id),
    }
}

fn body(answer: &Message) -> &str {
    answer.body_text().unwrap_or("{}")
}

fn with_result(answer: &Message, id: &str, result: &str) -> Bytes {
    let (Some(own), Some(body)) = (answer.id_range(), answer.body_range()) else {
        return answer.with_id(id);
    };
    let splice = Splice::new(answer.bytes(), id.len() + result.len());
    if own.start < body.start {
        splice.replace(&own, id.as_bytes()).replace(&body, result.as_bytes())
    } else {
        splice.replace(&body, result.as_bytes()).replace(&own, id.as_bytes())
    }
    .finish()
}

/// Adds what every modern result carries; what may be cached is said to be stale at once, and this client's only.
fn to_modern(method: &str, result: &str) -> String {
    if field(result, "resultType").is_some() || !result.starts_with('{') {
        return result.to_owned();
    }
    let cache = if method == method::RESOURCES_READ {
        "\"ttlMs\":0,\"cacheScope\":\"private\","
    } else {
        ""
    };
    let rest = result.get(1..).unwrap_or("}").trim_start();
    let fields = format!("{{\"resultType\":\"complete\",{cache}");
    if rest.starts_with('}') {
        format!("{}{rest}", fields.trim_end_matches(','))
    } else {
        format!("{fields}{rest}")
    }
}

fn with_error_code(answer: &Message, id: &str, from: i32, to: i32) -> Bytes {
    let own = answer.body_text().and_then(|error| field(error, "code"));
    match (own, answer.id_range()) {
        (Some(code), Some(own_id)) if code.get() == from.to_string() => {
            let code_range = answer.span_of(code.get());
            let to = to.to_string();
            let splice = Splice::new(answer.bytes(), id.len() + to.len());
            if own_id.start < code_range.start {
                splice
                    .replace(&own_id, id.as_bytes())
                    .replace(&code_range, to.as_bytes())
            } else {
                splice
                    .replace(&code_range, to.as_bytes())
                    .replace(&own_id, id.as_bytes())
            }
            .finish()
        }
        _ => answer.with_id(id),
    }
}

/// The object without some of its fields; the others keep their bytes.
fn without(object: &str, names: &[&str]) -> String {
    let mut reader = serde_json::Deserializer::from_str(object);
    reader
        .deserialize_map(Without(names))
        .unwrap_or_else(|_| object.to_owned())
}

struct Without<'n>(&'n [&'n str]);

impl<'de> Visitor<'de> for Without<'_> {
    type Value = String;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
        let mut kept = String::from("{");
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            if self.0.iter().any(|name| key.get().trim_matches('"') == *name) {
                continue;
            }
            if kept.len() > 1 {
                kept.push(',');
            }
            kept.push_str(key.get());
            kept.push(':');
            kept.push_str(value.get());
        }
        kept.push('}');
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::parse;

    fn bridged(client: Era, service: Era, method: &str, text: &str) -> String {
        let message = parse(Bytes::copy_from_slice(text.as_bytes())).unwrap();
        String::from_utf8(answer(client, service, method, &message, "\"a\"").to_vec()).unwrap()
    }

    #[test]
    fn modern_clients_get_modern_results() {
        let of = |method, text| bridged(Era::Modern, Era::Legacy, method, text);
        assert_eq!(
            of("tools/call", r#"{"result":{"content":[]},"jsonrpc":"2.0","id":4}"#),
            r#"{"result":{"resultType":"complete","content":[]},"jsonrpc":"2.0","id":"a"}"#
        );
        assert_eq!(
            of("resources/read", r#"{"jsonrpc":"2.0","id":4,"result":{ }}"#),
            r#"{"jsonrpc":"2.0","id":"a","result":{"resultType":"complete","ttlMs":0,"cacheScope":"private"}}"#
        );
        assert_eq!(
            of(
                "resources/read",
                r#"{"jsonrpc":"2.0","id":4,"error":{"code":-32002,"message":"x"}}"#
            ),
            r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32602,"message":"x"}}"#
        );
    }

    #[test]
    fn legacy_clients_get_legacy_results() {
        let of = |text| bridged(Era::Legacy, Era::Modern, "tools/call", text);
        assert_eq!(
            of(r#"{"jsonrpc":"2.0","id":4,"result":{"resultType":"complete","x":1e2,"ttlMs":0}}"#),
            r#"{"jsonrpc":"2.0","id":"a","result":{"x":1e2}}"#
        );
        assert!(of(r#"{"jsonrpc":"2.0","id":4,"result":{"resultType":"input_required"}}"#).contains("-32021"));
    }
}
