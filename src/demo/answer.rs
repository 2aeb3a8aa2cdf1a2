//! Messages as they go out.

use serde_json::{Map, Value, json};

use crate::mcp::{ErrorAnswer, meta_key};

/// An object, as results and notification params are.
pub(super) type Object = Map<String, Value>;

/// How long a result may be reused; goes into cacheable modern results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cache {
    /// The method's results are not cacheable.
    Never,
    /// The same for everybody, for this many milliseconds.
    Public(u64),
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// A result to send now.
    Result(Object, Cache),
    /// The answer comes later, or never.
    Later,
}

impl Answer {
    /// A result that must not be reused; `value` must be an object.
    pub(super) fn once(value: Value) -> Self {
        Self::Result(object(value), Cache::Never)
    }

    /// A result that holds as long as this process runs.
    pub(super) fn lasting(value: Value) -> Self {
        Self::Result(object(value), Cache::Public(3_600_000))
    }
}

/// `value` as the object that it was written down as.
pub(super) fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Object::new(),
    }
}

/// Who we are, as `Implementation`.
pub(super) fn implementation() -> Value {
    json!({"name": "mcpvisor-demo", "title": "mcpvisor demo", "version": env!("CARGO_PKG_VERSION")})
}

/// Adds what 2026-07-28 wants in every result.
pub(super) fn modernise(result: &mut Object, cache: Cache) {
    result.insert("resultType".to_owned(), "complete".into());
    if let Cache::Public(ttl) = cache {
        result.insert("ttlMs".to_owned(), ttl.into());
        result.insert("cacheScope".to_owned(), "public".into());
    }
    let meta = result.entry("_meta").or_insert_with(|| json!({}));
    if let Value::Object(meta) = meta {
        meta.insert(meta_key::SERVER_INFO.to_owned(), implementation());
    }
}

/// Writes a result for the request with the raw id `id`.
pub(super) fn write_result(out: &mut Vec<u8>, id: &str, result: &Object) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(br#","result":"#);
    write_object(out, result);
    out.extend_from_slice(b"}\n");
}

/// Writes an error; without an id where the request's could not be read.
pub(super) fn write_error(out: &mut Vec<u8>, id: Option<&str>, error: &ErrorAnswer) {
    out.extend_from_slice(&error.to_message(id));
    out.push(b'\n');
}

/// Writes a notification.
pub(super) fn write_notification(out: &mut Vec<u8>, method: &str, params: &Object) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","method":""#);
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(br#"","params":"#);
    write_object(out, params);
    out.extend_from_slice(b"}\n");
}

fn write_object(out: &mut Vec<u8>, object: &Object) {
    // Neither can memory fail nor has such a map keys that are no strings.
    if serde_json::to_writer(&mut *out, object).is_err() {
        out.extend_from_slice(b"{}");
    }
}
