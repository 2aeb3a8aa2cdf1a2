//! Tells the era of a posted message by what it says of itself, never by what it could be mistaken for.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    jsonrpc::Kind,
    mcp::{Era, ErrorAnswer, RequestMeta, Revision},
};

pub(super) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// What `MCP-Protocol-Version` said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// Nothing.
    Absent,
    /// A revision the hub speaks.
    Known(Revision),
    /// Something else.
    Unknown(&'a str),
}

/// The value of a header that may be there once.
///
/// # Errors
/// Several values that differ, or one that is not visible ASCII.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Contradiction> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.any(|other| other != first) {
        return Err(Contradiction(name.clone()));
    }
    let text = HeaderValue::to_str(first).map_err(|_not_text| Contradiction(name.clone()))?;
    Ok(Some(text.trim_matches([' ', '\t'])))
}

/// A header that says several things at once, or nothing readable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header `{0}` has several values or one that is not text")]
pub(super) struct Contradiction(HeaderName);

/// Reads `MCP-Protocol-Version`.
pub(super) fn named(headers: &HeaderMap) -> Result<Named<'_>, Contradiction> {
    Ok(match single(headers, &VERSION)? {
        None => Named::Absent,
        Some(text) => Revision::from_wire(text).map_or(Named::Unknown(text), Named::Known),
    })
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Into a session, or to open one.
    Legacy,
    /// By itself.
    Modern,
    /// Nowhere; HTTP 400.
    Refused(ErrorAnswer),
}

/// The rules of dual-era servers: a claim in `_meta` decides; the header only ever confirms it. Where there is no claim, a modern
/// header is a modern request that forgot it, except on notifications, which need none. Responses only exist in the legacy era.
pub(super) fn classify(kind: Kind, meta: &RequestMeta<'_>, header: Named<'_>) -> Verdict {
    let modern_header = matches!(header, Named::Known(revision) if revision.era() == Era::Modern);
    match kind {
        Kind::Result | Kind::Error => return Verdict::Legacy,
        Kind::Request | Kind::Notification => {}
    }
    if meta.claims_modern() {
        return Verdict::Modern;
    }
    match header {
        Named::Unknown(text) => Verdict::Refused(ErrorAnswer::unsupported_version(text)),
        Named::Known(_) if modern_header && kind == Kind::Notification => Verdict::Modern,
        Named::Known(_) if modern_header => Verdict::Refused(
            meta.claim()
                .err()
                .unwrap_or_else(|| ErrorAnswer::invalid_params("`params._meta` is missing")),
        ),
        Named::Known(_) | Named::Absent => Verdict::Legacy,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        jsonrpc::parse,
        mcp::{call_params, code},
    };

    const CLAIM: &str = r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    fn verdict(body: &str, header: Option<&str>) -> Verdict {
        let message = parse(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(VERSION, header.parse().unwrap());
        }
        let params = call_params(&message).unwrap();
        classify(message.kind(), &params.meta, named(&headers).unwrap())
    }

    fn request(method: &str, meta: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"x":1{meta}}}}}"#)
    }

    #[test]
    fn the_claim_decides() {
        for header in [None, Some("2025-11-25"), Some("2026-07-28"), Some("v999")] {
            for method in ["initialize", "tools/call", "unknown/method"] {
                assert_eq!(
                    verdict(&request(method, CLAIM), header),
                    Verdict::Modern,
                    "{method} {header:?}"
                );
            }
        }
    }

    #[test]
    fn without_a_claim_a_modern_header_is_a_mistake() {
        for method in ["initialize", "tools/list"] {
            assert_eq!(verdict(&request(method, ""), None), Verdict::Legacy);
            assert_eq!(verdict(&request(method, ""), Some("2025-06-18")), Verdict::Legacy);
            let refused = |header, meta| match verdict(&request(method, meta), Some(header)) {
                Verdict::Refused(error) => error.code,
                other @ (Verdict::Legacy | Verdict::Modern) => panic!("{other:?}"),
            };
            assert_eq!(refused("2026-07-28", ""), code::INVALID_PARAMS);
            let half = r#","_meta":{"io.modelcontextprotocol/clientCapabilities":{}}"#;
            assert_eq!(refused("2026-07-28", half), code::INVALID_PARAMS);
            assert_eq!(refused("2031-01-01", ""), code::UNSUPPORTED_VERSION);
        }
    }

    #[test]
    fn notifications_and_responses() {
        let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        assert_eq!(verdict(cancelled, None), Verdict::Legacy);
        assert_eq!(verdict(cancelled, Some("2026-07-28")), Verdict::Modern);
        let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        assert_eq!(verdict(answer, Some("2026-07-28")), Verdict::Legacy);
    }

    #[test]
    fn a_header_says_one_thing() {
        let mut headers = HeaderMap::new();
        headers.append(VERSION, HeaderValue::from_static("  2025-11-25 "));
        headers.append(VERSION, HeaderValue::from_static("  2025-11-25 "));
        assert_eq!(named(&headers), Ok(Named::Known(Revision::V2025_11_25)));
        headers.append(VERSION, HeaderValue::from_static("2025-06-18"));
        assert!(named(&headers).is_err());
    }
}
