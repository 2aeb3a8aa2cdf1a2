//! Answers for web pages: only origins that were let in already come this far.

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, ALLOW, ORIGIN, VARY,
    },
};

use super::reply::{self, Answer};

const PRIVATE_ASKED: HeaderName = HeaderName::from_static("access-control-request-private-network");
const PRIVATE_ALLOWED: HeaderName = HeaderName::from_static("access-control-allow-private-network");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
const EXPOSED: HeaderValue = HeaderValue::from_static("Mcp-Session-Id, WWW-Authenticate");

/// The answer to OPTIONS, a preflight or not.
pub(super) fn preflight(headers: &HeaderMap) -> Answer {
    let mut answer = reply::empty(StatusCode::NO_CONTENT);
    let out = answer.headers_mut();
    out.insert(ALLOW, METHODS);
    if headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        out.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        out.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            // Mirrored parameters have names of the tools' choosing, so there is no list to give.
            out.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        if headers.contains_key(PRIVATE_ASKED) {
            out.insert(PRIVATE_ALLOWED, HeaderValue::from_static("true"));
        }
    }
    answer
}

/// Lets the page at the request's `Origin` read the answer.
pub(super) fn share(origin: HeaderValue, answer: &mut Answer) {
    let out = answer.headers_mut();
    out.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    out.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    out.insert(VARY, HeaderValue::from_static("Origin"));
}
