//! Checks the headers in which a modern request repeats parts of its body, so that whoever decides by headers decides about
//! the same thing as whoever reads the body (2026-07-28, "Streamable HTTP", "Request Headers").

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value, value::RawValue};

use super::classify::{VERSION, single};
use crate::{
    jsonrpc::{Message, text_of},
    mcp::{CallParams, ErrorAnswer, code, field, method},
};

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const PARAMETER: &str = "mcp-param-";
/// Marks a property of a tool's schema whose value is repeated in a header.
const ANNOTATION: &str = "x-mcp-header";

fn mismatch(message: impl Into<String>) -> ErrorAnswer {
    ErrorAnswer::new(code::HEADER_MISMATCH, message)
}

/// Checks the headers of a request that makes a modern claim.
///
/// # Errors
/// What to answer with HTTP 400. The order is the one that peers test for: what the claim lacks (-32602), headers that
/// are missing or differ (-32020). Whether the revision is supported and the method known is the gateway's to say, after
/// the headers agree.
pub(super) fn check(headers: &HeaderMap, message: &Message, params: &CallParams<'_>) -> Result<(), ErrorAnswer> {
    let version = params.meta.protocol_version.and_then(text_of);
    let told = |error: ErrorAnswer| match params.meta.claim() {
        Err(claim) if claim.code == code::INVALID_PARAMS => claim,
        Ok(_) | Err(_) => error,
    };
    same(headers, &VERSION, version.as_deref()).map_err(told)?;
    let told = |error: ErrorAnswer| match params.meta.claim() {
        Err(claim) => claim,
        Ok(_) => error,
    };
    same(headers, &METHOD, Some(message.method())).map_err(told)?;
    let name = match message.method() {
        method::TOOLS_CALL | method::PROMPTS_GET => params.name,
        method::RESOURCES_READ => params.uri,
        "tasks/get" | "tasks/update" | "tasks/cancel" => message.body_text().and_then(|body| field(body, "taskId")),
        _ => return Ok(()),
    };
    named(headers, name).map_err(told)
}

fn same(headers: &HeaderMap, header: &HeaderName, body: Option<&str>) -> Result<(), ErrorAnswer> {
    let shown = single(headers, header).map_err(|error| mismatch(error.to_string()))?;
    match (shown, body) {
        (Some(shown), Some(body)) if shown == body => Ok(()),
        (None, _) => Err(mismatch(format!("the header `{header}` is missing"))),
        (Some(shown), _) => Err(mismatch(format!(
            "the header `{header}` says `{shown}`, the body something else"
        ))),
    }
}

fn named(headers: &HeaderMap, body: Option<&RawValue>) -> Result<(), ErrorAnswer> {
    let shown = single(headers, &NAME).map_err(|error| mismatch(error.to_string()))?;
    // A name that is no text is the gateway's to refuse, as invalid params.
    match (shown, body.and_then(text_of)) {
        (None, None) => Ok(()),
        (Some(shown), Some(body)) if decode(shown).is_some_and(|shown| shown == body) => Ok(()),
        (None, Some(_)) => Err(mismatch("the header `mcp-name` is missing")),
        (Some(_), _) => Err(mismatch("the header `mcp-name` differs from the body")),
    }
}

/// The value of a mirrored header: plain, or `=?base64?…?=`. `None` if the encoding is wrong.
fn decode(shown: &str) -> Option<Cow<'_, str>> {
    let Some(encoded) = shown.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(Cow::Borrowed(shown));
    };
    let bytes = STANDARD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// Whether the schema says at all that something is repeated in a header; quick, so that most calls end here.
pub(super) fn is_annotated(schema: &[u8]) -> bool {
    memchr::memmem::find(schema, ANNOTATION.as_bytes()).is_some()
}

/// Checks `Mcp-Param-*` of a tool call against the tool's input schema.
///
/// # Errors
/// -32020 where a header is missing, differs, or repeats nothing.
pub(super) fn check_parameters(headers: &HeaderMap, message: &Message, schema: &[u8]) -> Result<(), ErrorAnswer> {
    let Ok(schema) = serde_json::from_slice::<Value>(schema) else {
        return Ok(());
    };
    let arguments: Value = message
        .body_text()
        .and_then(|body| field(body, "arguments"))
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default();
    check_properties(headers, &schema, Some(&arguments))
}

/// Annotations count only where a chain of `properties` leads to them.
fn check_properties(headers: &HeaderMap, schema: &Value, value: Option<&Value>) -> Result<(), ErrorAnswer> {
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    for (key, property) in properties {
        let value = value.and_then(|value| value.get(key));
        if let Some(name) = property.get(ANNOTATION).and_then(Value::as_str) {
            check_parameter(headers, name, value)?;
        }
        check_properties(headers, property, value)?;
    }
    Ok(())
}

fn check_parameter(headers: &HeaderMap, name: &str, value: Option<&Value>) -> Result<(), ErrorAnswer> {
    let Ok(header) = format!("{PARAMETER}{name}").parse::<HeaderName>() else {
        return Ok(());
    };
    let shown = single(headers, &header).map_err(|error| mismatch(error.to_string()))?;
    let differs = || mismatch(format!("the header `{header}` differs from the argument it repeats"));
    let agrees = match (value, shown) {
        (None | Some(Value::Null), None) => true,
        (None | Some(Value::Null), Some(_)) => false,
        // Not a value that a header can repeat: the tool's to refuse.
        (Some(Value::Array(_) | Value::Object(_)), shown) => shown.is_none(),
        (Some(Value::String(_) | Value::Number(_) | Value::Bool(_)), None) => {
            return Err(mismatch(format!("the header `{header}` is missing")));
        }
        (Some(Value::String(text)), Some(shown)) => decode(shown).is_some_and(|shown| shown == text.as_str()),
        (Some(Value::Bool(flag)), Some(shown)) => shown == if *flag { "true" } else { "false" },
        (Some(Value::Number(number)), Some(shown)) => same_number(&number.to_string(), shown),
    };
    if agrees { Ok(()) } else { Err(differs()) }
}

/// Numbers are compared by value: `1` and `1.0` are one number. Beyond 2^53 only the same spelling is the same.
fn same_number(body: &str, shown: &str) -> bool {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    body == shown
        || match (body.parse::<f64>(), shown.parse::<f64>()) {
            (Ok(body), Ok(shown)) => body.abs() < EXACT && (body - shown).abs() == 0.0,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{jsonrpc::parse, mcp::call_params};

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn message(method: &str, params: &str, version: &str) -> Message {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}"_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        );
        parse(Bytes::from(text)).unwrap()
    }

    fn judge(method: &str, params: &str, pairs: &[(&str, &str)]) -> Option<i32> {
        let message = message(method, params, "2026-07-28");
        let params = call_params(&message).unwrap();
        check(&headers(pairs), &message, &params).err().map(|error| error.code)
    }

    const V: (&str, &str) = ("MCP-Protocol-Version", "2026-07-28");

    #[test]
    fn method_and_name() {
        let name = r#""name":"echo","#;
        assert_eq!(judge("tools/list", "", &[V, ("Mcp-Method", "tools/list")]), None);
        assert_eq!(judge("tools/list", "", &[V, ("mcp-method", " tools/list\t")]), None);
        assert_eq!(
            judge(
                "tools/call",
                name,
                &[V, ("Mcp-Method", "tools/call"), ("Mcp-Name", "echo")]
            ),
            None
        );
        assert_eq!(
            judge(
                "tools/call",
                name,
                &[V, ("Mcp-Method", "tools/call"), ("Mcp-Name", "=?base64?ZWNobw==?=")]
            ),
            None
        );
        let wrong: [&[(&str, &str)]; 9] = [
            &[V],
            &[V, ("Mcp-Method", "TOOLS/CALL"), ("Mcp-Name", "echo")],
            &[V, ("Mcp-Method", "tools/list"), ("Mcp-Name", "echo")],
            &[V, ("Mcp-Method", "tools/call")],
            &[V, ("Mcp-Method", "tools/call"), ("Mcp-Name", "ECHO")],
            &[V, ("Mcp-Method", "tools/call"), ("Mcp-Name", "=?base64?ZWNobw?=")],
            &[V, ("Mcp-Method", "tools/call"), ("Mcp-Name", "=?base64?!!?=")],
            &[
                ("MCP-Protocol-Version", "2025-11-25"),
                ("Mcp-Method", "tools/call"),
                ("Mcp-Name", "echo"),
            ],
            &[("Mcp-Method", "tools/call"), ("Mcp-Name", "echo")],
        ];
        for pairs in wrong {
            assert_eq!(
                judge("tools/call", name, pairs),
                Some(code::HEADER_MISMATCH),
                "{pairs:?}"
            );
        }
        assert_eq!(
            judge(
                "resources/read",
                r#""uri":"a://ü","#,
                &[V, ("Mcp-Method", "resources/read"), ("Mcp-Name", "=?base64?YTovL8O8?=")]
            ),
            None
        );
        let task = r#""taskId":"t1","#;
        assert_eq!(
            judge("tasks/get", task, &[V, ("Mcp-Method", "tasks/get"), ("Mcp-Name", "t1")]),
            None
        );
        assert_eq!(
            judge("tasks/get", task, &[V, ("Mcp-Method", "tasks/get"), ("Mcp-Name", "t2")]),
            Some(-32020)
        );
    }

    #[test]
    fn a_bad_claim_is_told_before_a_bad_header() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let message = parse(Bytes::from_static(text.as_bytes())).unwrap();
        let params = call_params(&message).unwrap();
        let error = check(&headers(&[]), &message, &params).unwrap_err();
        assert_eq!(error.code, code::INVALID_PARAMS);
    }

    #[test]
    fn a_mismatch_is_told_before_an_unknown_version_and_that_before_the_method() {
        let unknown = message("tools/list", "", "v999");
        let params = call_params(&unknown).unwrap();
        let judge = |pairs: &[(&str, &str)]| check(&headers(pairs), &unknown, &params).err().map(|error| error.code);
        assert_eq!(judge(&[V, ("Mcp-Method", "tools/list")]), Some(code::HEADER_MISMATCH));
        assert_eq!(
            judge(&[("MCP-Protocol-Version", "v999")]),
            Some(code::UNSUPPORTED_VERSION)
        );
        assert_eq!(
            judge(&[("MCP-Protocol-Version", "v999"), ("Mcp-Method", "tools/list")]),
            None
        );
    }

    #[test]
    fn parameters() {
        let schema = br#"{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},
            "n":{"type":"integer","x-mcp-header":"N"},"deep":{"properties":{"flag":{"type":"boolean","x-mcp-header":"Flag"}}},
            "list":{"items":{"properties":{"no":{"x-mcp-header":"No"}}}}}}"#;
        assert!(is_annotated(schema));
        let judge = |arguments: &str, pairs: &[(&str, &str)]| {
            let message = message(
                "tools/call",
                &format!(r#""name":"t","arguments":{arguments},"#),
                "2026-07-28",
            );
            check_parameters(&headers(pairs), &message, schema)
                .err()
                .map(|error| error.code)
        };
        let region = |value| [("Mcp-Param-Region", value)];
        let hello = r#"{"region":"Hello"}"#;
        assert_eq!(judge("{}", &[]), None);
        assert_eq!(judge(hello, &region("Hello")), None);
        assert_eq!(judge(hello, &region("=?base64?SGVsbG8=?=")), None);
        assert_eq!(judge(hello, &region("=?base64?SGVsbG8?=")), Some(-32020));
        assert_eq!(judge(hello, &region("=?base64?SGVs!!!bG8=?=")), Some(-32020));
        assert_eq!(judge(r#"{"region":"SGVsbG8="}"#, &region("SGVsbG8=")), None);
        assert_eq!(
            judge(r#"{"region":"=?base64?SGVsbG8="}"#, &region("=?base64?SGVsbG8=")),
            None
        );
        assert_eq!(judge(hello, &[]), Some(-32020));
        assert_eq!(judge("{}", &region("Hello")), Some(-32020));
        assert_eq!(judge(r#"{"region":null}"#, &[]), None);
        assert_eq!(judge(r#"{"n":42}"#, &[("Mcp-Param-N", "42.0")]), None);
        assert_eq!(judge(r#"{"n":42}"#, &[("Mcp-Param-N", "43")]), Some(-32020));
        assert_eq!(judge(r#"{"deep":{"flag":true}}"#, &[("Mcp-Param-Flag", "true")]), None);
        assert_eq!(
            judge(r#"{"deep":{"flag":true}}"#, &[("Mcp-Param-Flag", "false")]),
            Some(-32020)
        );
        assert_eq!(judge(r#"{"list":[{"no":1}]}"#, &[("Mcp-Param-Other", "x")]), None);
    }

    proptest! {
        #[test]
        fn any_text_survives_the_sentinel(text in "\\PC{0,40}") {
            let encoded = format!("=?base64?{}?=", STANDARD.encode(&text));
            let decoded = decode(&encoded);
            prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
        }

        #[test]
        fn nothing_panics(shown in "[ -~]{0,40}") {
            drop(decode(&shown));
        }
    }
}
