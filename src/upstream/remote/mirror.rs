//! The headers in which a modern request repeats parts of its body (2026-07-28, "Streamable HTTP", "Request Headers").

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, value::RawValue};

use crate::{
    jsonrpc::{Message, text_of},
    mcp::{CallParams, field, method},
};

/// Which arguments of which tools are repeated: the way through `properties`, and the header's name.
#[derive(Debug, Default)]
pub struct Annotations(HashMap<String, Vec<(Vec<String>, HeaderName)>>);

impl Annotations {
    /// Learns from an answer to `tools/list`; other answers say nothing.
    pub fn learn(&mut self, answer: &Bytes) {
        if memchr::memmem::find(answer, b"x-mcp-header").is_none() {
            return;
        }
        let Ok(answer) = serde_json::from_slice::<Value>(answer) else {
            return;
        };
        let tools = answer.pointer("/result/tools").and_then(Value::as_array);
        for tool in tools.into_iter().flatten() {
            let Some(name) = tool.get("name").and_then(Value::as_str) else {
                continue;
            };
            let mut found = Vec::new();
            if let Some(schema) = tool.get("inputSchema") {
                collect(schema, &mut Vec::new(), &mut found);
            }
            self.0.insert(name.to_owned(), found);
        }
    }
}

fn collect(schema: &Value, way: &mut Vec<String>, found: &mut Vec<(Vec<String>, HeaderName)>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, property) in properties.into_iter().flatten() {
        way.push(key.clone());
        let name = property.get("x-mcp-header").and_then(Value::as_str);
        if let Some(header) = name.and_then(|name| format!("mcp-param-{name}").parse().ok()) {
            found.push((way.clone(), header));
        }
        collect(property, way, found);
        way.pop();
    }
}

/// The headers of a modern message.
pub fn headers(message: &Message, params: &CallParams<'_>, annotations: &Annotations) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut put = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    };
    if let Some(version) = params.meta.protocol_version.and_then(text_of) {
        put(HeaderName::from_static("mcp-protocol-version"), &version);
    }
    put(HeaderName::from_static("mcp-method"), message.method());
    let name = name_of(message, params).and_then(text_of);
    if let Some(name) = &name {
        put(HeaderName::from_static("mcp-name"), &encode(name));
    }
    if message.method() == method::TOOLS_CALL
        && let Some(repeated) = name.and_then(|name| annotations.0.get(&*name))
    {
        let arguments: Option<Value> = message
            .body_text()
            .and_then(|body| field(body, "arguments"))
            .and_then(|raw| serde_json::from_str(raw.get()).ok());
        for (way, header) in repeated {
            let value = way
                .iter()
                .try_fold(arguments.as_ref(), |value, key| {
                    Some(value.and_then(|value| value.get(key)))
                })
                .flatten();
            match value {
                Some(Value::String(text)) => put(header.clone(), &encode(text)),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => put(header.clone(), &value.to_string()),
                Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => {}
            }
        }
    }
    headers
}

fn name_of<'a>(message: &'a Message, params: &CallParams<'a>) -> Option<&'a RawValue> {
    match message.method() {
        method::TOOLS_CALL | method::PROMPTS_GET => params.name,
        method::RESOURCES_READ => params.uri,
        "tasks/get" | "tasks/update" | "tasks/cancel" => message.body_text().and_then(|body| field(body, "taskId")),
        _ => None,
    }
}

/// Plain where a header can hold it and no reader would take it for something else, else `=?base64?…?=`.
fn encode(text: &str) -> String {
    let visible = text.bytes().all(|b| matches!(b, b' ' | b'\t' | 0x21..=0x7e));
    let padded = text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']);
    if visible && !padded && !text.starts_with("=?base64?") {
        text.to_owned()
    } else {
        format!("=?base64?{}?=", STANDARD.encode(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{jsonrpc::parse, mcp::call_params};

    #[test]
    fn a_call_repeats_its_name_and_annotated_arguments() {
        let mut annotations = Annotations::default();
        annotations.learn(&Bytes::from_static(
            br#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"t","inputSchema":{"properties":{"r":{"x-mcp-header":"Region"},"d":{"properties":{"n":{"x-mcp-header":"N"}}}}}}]}}"#,
        ));
        let text = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"t\",\"arguments\":{\"r\":\"ü\",\"d\":{\"n\":7}},\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"}}}";
        let message = parse(Bytes::from_static(text.as_bytes())).unwrap();
        let headers = headers(&message, &call_params(&message).unwrap(), &annotations);
        assert_eq!(headers["mcp-protocol-version"], "2026-07-28");
        assert_eq!(headers["mcp-method"], "tools/call");
        assert_eq!(headers["mcp-name"], "t");
        assert_eq!(headers["mcp-param-region"], "=?base64?w7w=?=");
        assert_eq!(headers["mcp-param-n"], "7");
        assert_eq!(encode(" a"), "=?base64?IGE=?=");
        assert_eq!(encode("=?base64?x"), "=?base64?PT9iYXNlNjQ/eA==?=");
    }
}
