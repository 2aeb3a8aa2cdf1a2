//! Answers that every HTTP door gives.

use bytes::{Bytes, BytesMut};
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};

use super::body::{Chunks, DoorBody};
use crate::mcp::{Answered, Era, ErrorAnswer, code};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// An answer of an HTTP door.
pub(crate) type Answer = Response<DoorBody>;

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(DoorBody::empty());
    *answer.status_mut() = status;
    answer
}

/// A JSON body.
pub(crate) fn json(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(DoorBody::whole(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer
}

/// A sentence.
pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(DoorBody::whole(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, TEXT);
    answer
}

/// An event stream.
pub(crate) fn events(chunks: impl Chunks) -> Answer {
    let mut answer = Response::new(DoorBody::streamed(chunks));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, EVENTS);
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(UNBUFFERED, HeaderValue::from_static("no"));
    answer
}

/// A JSON-RPC error. Where the id is not known, the legacy era says `null` and the modern one leaves it out.
pub(crate) fn error(status: StatusCode, error: &ErrorAnswer, id: Option<&str>, era: Era) -> Answer {
    json(status, error_body(error, id, era))
}

fn error_body(error: &ErrorAnswer, id: Option<&str>, era: Era) -> Bytes {
    const WITHOUT: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":null,";
    let body = error.to_message(id);
    match (id, era, body.strip_prefix(WITHOUT)) {
        (None, Era::Modern, Some(rest)) => {
            let mut short = BytesMut::with_capacity(body.len());
            short.extend_from_slice(b"{\"jsonrpc\":\"2.0\",");
            short.extend_from_slice(rest);
            short.freeze()
        }
        _ => body,
    }
}

/// 405 with the methods that would do.
pub(crate) fn not_allowed(methods: &'static str) -> Answer {
    let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    answer
}

/// The status of a modern answer (2026-07-28, "Streamable HTTP"): errors that say the request itself was wrong have one of
/// their own, wherever they arose; everything else is an answer like any other.
pub(crate) fn modern_status(error: Option<(i32, Answered)>) -> StatusCode {
    match error {
        Some((code::METHOD_NOT_FOUND, _)) => StatusCode::NOT_FOUND,
        Some(
            (code::HEADER_MISMATCH | code::MISSING_CLIENT_CAPABILITY | code::UNSUPPORTED_VERSION, _)
            | (code::PARSE | code::INVALID_REQUEST | code::INVALID_PARAMS, Answered::BeforeDispatch),
        ) => StatusCode::BAD_REQUEST,
        Some(_) | None => StatusCode::OK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_id_is_null_or_nothing() {
        let error = ErrorAnswer::new(-32700, "no");
        let text = |id, era| String::from_utf8(error_body(&error, id, era).to_vec()).unwrap();
        assert!(text(None, Era::Legacy).contains("\"id\":null"));
        assert_eq!(
            text(None, Era::Modern),
            "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32700,\"message\":\"no\"}}"
        );
        assert!(text(Some("7"), Era::Modern).contains("\"id\":7,"));
    }

    #[test]
    fn statuses() {
        let of = |code, at| modern_status(Some((code, at))).as_u16();
        assert_eq!(of(-32601, Answered::InBand), 404);
        assert_eq!(of(-32021, Answered::InBand), 400);
        assert_eq!(of(-32602, Answered::InBand), 200);
        assert_eq!(of(-32602, Answered::BeforeDispatch), 400);
        assert_eq!(of(-31003, Answered::InBand), 200);
        assert_eq!(modern_status(None), StatusCode::OK);
    }
}
