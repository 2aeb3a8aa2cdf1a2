//! `Content-Type` and `Accept`, as far as MCP's transports use them.

use http::{
    HeaderMap, HeaderName,
    header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE},
};

/// Whether the body is plain JSON: `application/json`, in UTF-8 if a charset is named, and not compressed.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    if value.as_bytes() == b"application/json" {
        return !headers.contains_key(CONTENT_ENCODING);
    }
    let Ok(text) = value.to_str() else { return false };
    let mut parts = text.split(';').map(str::trim);
    let kind_fits = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    let charset_fits = parts.all(|parameter| {
        parameter.split_once('=').is_none_or(|(name, value)| {
            !name.trim().eq_ignore_ascii_case("charset") || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
    });
    kind_fits && charset_fits && !headers.contains_key(CONTENT_ENCODING)
}

/// Whether the client takes both JSON and an event stream, as every POST must say (2025-03-26 and later, "Sending Messages").
pub(crate) fn takes_both(headers: &HeaderMap) -> bool {
    if let Some(value) = headers.get(ACCEPT)
        && value.as_bytes() == b"application/json, text/event-stream"
    {
        return true;
    }
    accepts(headers, &ACCEPT, ("application", "json")) && takes_events(headers)
}

/// Whether the client takes an event stream.
pub(crate) fn takes_events(headers: &HeaderMap) -> bool {
    accepts(headers, &ACCEPT, ("text", "event-stream"))
}

fn accepts(headers: &HeaderMap, name: &HeaderName, (kind, subtype): (&str, &str)) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let (Some(media), parameters) = (parts.next(), parts) else {
                return false;
            };
            let Some((range_kind, range_subtype)) = media.split_once('/') else {
                return false;
            };
            let fits = |range: &str, wanted: &str| range == "*" || range.eq_ignore_ascii_case(wanted);
            fits(range_kind, kind) && fits(range_subtype, subtype) && !refused(parameters)
        })
}

/// A weight of zero means "not this one" (RFC 9110 §12.4.2).
fn refused<'a>(mut parameters: impl Iterator<Item = &'a str>) -> bool {
    parameters.any(|parameter| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn content_types() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
        ] {
            assert!(is_json(&with(CONTENT_TYPE, good)), "{good}");
        }
        for bad in [
            "text/plain",
            "application/jsonx",
            "application/json; charset=utf-16",
            "",
            "json",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!is_json(&with(CONTENT_TYPE, bad)), "{bad}");
        }
        assert!(!is_json(&HeaderMap::new()));
        let mut zipped = with(CONTENT_TYPE, "application/json");
        zipped.insert(CONTENT_ENCODING, "gzip".parse().unwrap());
        assert!(!is_json(&zipped));
    }

    #[test]
    fn accepted_types() {
        for good in [
            "application/json, text/event-stream",
            "text/event-stream, application/json",
            "*/*",
            "text/*;q=0.5,application/json",
            "APPLICATION/JSON,TEXT/EVENT-STREAM",
        ] {
            assert!(takes_both(&with(ACCEPT, good)), "{good}");
        }
        for bad in [
            "application/json",
            "text/event-stream",
            "",
            "application/json, text/event-stream;q=0",
            "text/html, application/xml",
            "application/json text/event-stream",
        ] {
            assert!(!takes_both(&with(ACCEPT, bad)), "{bad}");
        }
        assert!(!takes_both(&HeaderMap::new()));
        let mut two = with(ACCEPT, "application/json");
        two.append(ACCEPT, "text/event-stream".parse().unwrap());
        assert!(takes_both(&two));
    }
}
