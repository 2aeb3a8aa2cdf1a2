//! One JSON-RPC message: its bytes and where its parts lie in them.

use std::ops::Range;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{
    fields::{Fields, ShapeError, text_of},
    splice::Splice,
};

/// What a message is by its fields (JSON-RPC 2.0 §4, §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `method` and `id`.
    Request,
    /// `method` without `id`.
    Notification,
    /// `result` and `id`.
    Result,
    /// `error`, with an `id` unless the peer could not read one.
    Error,
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not JSON, or not UTF-8: error -32700.
    #[error("could not parse the message as JSON: {0}")]
    Parse(String),
    /// JSON, but no JSON-RPC 2.0 message: error -32600, with the id where one could be read.
    #[error("the message {reason}")]
    Request {
        /// What is wrong, to follow "the message".
        reason: String,
        /// The raw id, if it was a string or a number.
        id: Option<String>,
    },
}

impl Invalid {
    /// The JSON-RPC error code for it.
    #[must_use]
    pub fn code(&self) -> i32 {
        match self {
            Self::Parse(_) => -32700,
            Self::Request { .. } => -32600,
        }
    }

    /// The raw id to answer with, if it could be read.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Parse(_) => None,
            Self::Request { id, .. } => id.as_deref(),
        }
    }
}

#[derive(Clone, Debug)]
enum Method {
    /// Range of the name without its quotes; it holds no escapes.
    Plain(Range<usize>),
    Unescaped(Box<str>),
}

/// A checked message. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
    kind: Kind,
    id: Option<Range<usize>>,
    method: Option<Method>,
    /// `params`, `result` or `error`, by kind.
    body: Option<Range<usize>>,
}

const NAMES: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// Reads one message (not a batch).
///
/// # Errors
/// [`Invalid`], which knows its error code and the id to answer with.
pub fn parse(bytes: Bytes) -> Result<Message, Invalid> {
    let text = std::str::from_utf8(&bytes).map_err(|error| Invalid::Parse(error.to_string()))?;
    let fields = match Fields::find(text, &NAMES) {
        Err(error) => return Err(Invalid::Parse(error.to_string())),
        Ok(Err(shape)) => return Err(refused(shape, text)),
        Ok(Ok(fields)) => fields,
    };
    let [jsonrpc, id, method, params, result, error] = fields.values();
    let readable_id = id.filter(|id| is_id(id));
    let bad = |reason: &str| Invalid::Request {
        reason: reason.to_owned(),
        id: readable_id.map(|id| id.get().to_owned()),
    };
    if jsonrpc.is_none_or(|version| version.get() != "\"2.0\"") {
        return Err(bad("has no `\"jsonrpc\":\"2.0\"`"));
    }
    let range = |value: &RawValue| span_in(&bytes, value.get());
    let (kind, body) = match (method, result, error) {
        (Some(_), None, None) if id.is_some() => (Kind::Request, params),
        (Some(_), None, None) => (Kind::Notification, params),
        (None, Some(_), None) => (Kind::Result, result),
        (None, None, Some(_)) => (Kind::Error, error),
        (None, None, None) => return Err(bad("has neither a method nor a result nor an error")),
        _ => return Err(bad("has more than one of method, result and error")),
    };
    let id = match (kind, readable_id) {
        (Kind::Request | Kind::Result, None) => return Err(bad("has an id that is neither a string nor a number")),
        (Kind::Error, None) if id.is_some_and(|id| id.get() != "null") => {
            return Err(bad("has an id that is neither a string nor a number"));
        }
        (_, id) => id.map(range),
    };
    if kind != Kind::Result && kind != Kind::Error && params.is_some_and(|p| !p.get().starts_with(['{', '['])) {
        return Err(bad("has params that are neither an object nor an array"));
    }
    let method = match method {
        None => None,
        Some(raw) => match text_of(raw) {
            None => return Err(bad("has a method that is not a string")),
            Some(std::borrow::Cow::Borrowed(name)) => Some(Method::Plain(span_in(&bytes, name))),
            Some(std::borrow::Cow::Owned(name)) => Some(Method::Unescaped(name.into())),
        },
    };
    let body = body.map(range);
    Ok(Message {
        bytes,
        kind,
        id,
        method,
        body,
    })
}

/// Reads what may be a batch (2025-03-26 only): `None` if `bytes` is no JSON array.
///
/// # Errors
/// [`Invalid::Parse`] if the array is not JSON, [`Invalid::Request`] if it is empty.
pub fn parse_batch(bytes: &Bytes) -> Option<Result<Vec<Result<Message, Invalid>>, Invalid>> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace())?;
    if *first != b'[' {
        return None;
    }
    let items: Result<Vec<&RawValue>, _> = serde_json::from_slice(bytes);
    Some(match items {
        Err(error) => Err(Invalid::Parse(error.to_string())),
        Ok(items) if items.is_empty() => Err(Invalid::Request {
            reason: "is an empty batch".to_owned(),
            id: None,
        }),
        Ok(items) => Ok(items
            .into_iter()
            .map(|item| parse(bytes.slice(span_in(bytes, item.get()))))
            .collect()),
    })
}

fn refused(shape: ShapeError, text: &str) -> Invalid {
    // Which of two ids was meant can't be known, so an ambiguous id is not answered with.
    let id = match shape {
        ShapeError::NotAnObject | ShapeError::Duplicate("id") | ShapeError::CaseVariant("id") => None,
        ShapeError::Duplicate(_) | ShapeError::CaseVariant(_) => match Fields::find(text, &["id"]) {
            Ok(Ok(fields)) => fields.get(0).filter(|id| is_id(id)).map(|id| id.get().to_owned()),
            Ok(Err(_)) | Err(_) => None,
        },
    };
    Invalid::Request {
        reason: shape.to_string(),
        id,
    }
}

fn is_id(value: &RawValue) -> bool {
    value
        .get()
        .starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}

/// Where `part`, a slice of `whole`, lies in it.
fn span_in(whole: &[u8], part: &str) -> Range<usize> {
    let start = (part.as_ptr().addr()).wrapping_sub(whole.as_ptr().addr());
    debug_assert!(start + part.len() <= whole.len(), "part must borrow from whole");
    start..start + part.len()
}

impl Message {
    /// The message as it arrived.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The raw id, quotes and spelling included; absent on notifications and on errors without one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_ref().map(|range| self.text(range))
    }

    /// The method, unescaped; empty for responses.
    #[must_use]
    pub fn method(&self) -> &str {
        match &self.method {
            Some(Method::Plain(range)) => self.text(range),
            Some(Method::Unescaped(name)) => name,
            None => "",
        }
    }

    /// `params`, `result` or `error` as raw JSON, by kind.
    #[must_use]
    pub fn body(&self) -> Option<&RawValue> {
        let range = self.body.as_ref()?;
        serde_json::from_str(self.text(range)).ok()
    }

    /// The text of [`Self::body`]; cheaper, for it is not looked at again.
    #[must_use]
    pub fn body_text(&self) -> Option<&str> {
        self.body.as_ref().map(|range| self.text(range))
    }

    /// Where the body lies.
    #[must_use]
    pub fn body_range(&self) -> Option<Range<usize>> {
        self.body.clone()
    }

    /// Where the id lies.
    #[must_use]
    pub fn id_range(&self) -> Option<Range<usize>> {
        self.id.clone()
    }

    /// Where `part`, which was borrowed from this message, lies in it.
    #[must_use]
    pub fn span_of(&self, part: &str) -> Range<usize> {
        span_in(&self.bytes, part)
    }

    /// The message with another id, everything else untouched.
    #[must_use]
    pub fn with_id(&self, id: &str) -> Bytes {
        match &self.id {
            Some(range) => Splice::new(&self.bytes, id.len())
                .replace(range, id.as_bytes())
                .finish(),
            None => self.bytes.clone(),
        }
    }

    fn text(&self, range: &Range<usize>) -> &str {
        let slice = self.bytes.get(range.clone()).unwrap_or_default();
        std::str::from_utf8(slice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(text: &str) -> Message {
        parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    fn invalid(text: &str) -> Invalid {
        parse(Bytes::copy_from_slice(text.as_bytes())).unwrap_err()
    }

    #[test]
    fn kinds_are_told_by_fields() {
        for (text, kind) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#, Kind::Request),
            (r#"{"jsonrpc":"2.0","method":"a","params":{}}"#, Kind::Notification),
            (r#"{"jsonrpc":"2.0","id":"x","result":null}"#, Kind::Result),
            (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, Kind::Error),
            (r#"{"jsonrpc":"2.0","error":{}}"#, Kind::Error),
        ] {
            assert_eq!(message(text).kind(), kind, "{text}");
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a","Method":"b"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a","\u006dethod":"b"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{},"PARAMS":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a","result":1}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":[1],"method":"a"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"a"}"#,
            r#"{"id":1,"method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":7}"#,
            "[]",
            "7",
            "\"x\"",
            "null",
        ] {
            assert_eq!(invalid(text).code(), -32600, "{text}");
        }
        for text in ["", "{", "{}x", "\u{feff}{}", "{\"a\":01}", "nul"] {
            assert_eq!(invalid(text).code(), -32700, "{text}");
        }
        assert_eq!(invalid(r#"{"jsonrpc":"2.0","id":9,"method":7}"#).id(), Some("9"));
    }

    #[test]
    fn deep_nesting_is_no_stack() {
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"a","params":{}{}}}"#,
            "[".repeat(200_000),
            "]".repeat(200_000)
        );
        assert_eq!(message(&deep).kind(), Kind::Request);
    }

    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("12345678901234567890123".to_owned()),
            Just("1.0".to_owned()),
            Just("1e400".to_owned()),
            Just("-0".to_owned()),
            "\"[a-z\\\\u0041 ]{0,8}\"".prop_map(|s| s.replace('\\', "\\\\")),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(" , "))),
                prop::collection::vec(("[A-Za-z]{1,6}", inner), 0..4).prop_map(|v| format!(
                    "{{{}}}",
                    v.iter()
                        .map(|(k, v)| format!("\"x{k}\" : {v}"))
                        .collect::<Vec<_>>()
                        .join(",")
                )),
            ]
        })
    }

    proptest! {
        /// Renumbering changes the id and not one other byte, and renumbering back restores the message.
        #[test]
        fn only_the_id_changes(
            before in any_json(), params in any_json(), after in any_json(),
            id in prop_oneof![
                Just("0".to_owned()), Just("1.5".to_owned()), Just("-1".to_owned()),
                Just("18446744073709551616".to_owned()), Just("\"\\u0041/\\\"\"".to_owned()), Just("1e3".to_owned()),
            ],
        ) {
            let text = format!(r#"{{ "xa":{before},"id": {id} ,"jsonrpc":"2.0","params":{{"p":{params}}},"method":"m/n","z":{after}}}"#);
            let first = message(&text);
            prop_assert_eq!(first.id(), Some(id.as_str()));
            let renumbered = parse(first.with_id("77")).unwrap();
            prop_assert_eq!(renumbered.id(), Some("77"));
            prop_assert_eq!(renumbered.with_id(&id), text.into_bytes());
        }
    }
}
