//! A service that runs elsewhere: its address, and what it is shown.

use std::{collections::BTreeMap, fmt};

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{
    mistakes::{KeyPath, Mistakes},
    scalar::Text,
    secret::Secret,
};

/// How a remote server is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum RemoteTransport {
    /// Streamable HTTP, and HTTP+SSE where the server knows only that; a WebSocket at `ws://` and `wss://`.
    #[default]
    #[serde(alias = "http")]
    Auto,
    /// Streamable HTTP: revisions from 2025-03-26 on.
    #[serde(alias = "streamableHttp", alias = "streamable_http")]
    StreamableHttp,
    /// HTTP+SSE: revision 2024-11-05.
    Sse,
    /// A WebSocket.
    #[serde(alias = "ws", alias = "web-socket")]
    Websocket,
}

/// A server that runs elsewhere. `Debug` masks the values of headers and the query of the address.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    /// `http(s)://` or `ws(s)://`, with host and path.
    pub url: Uri,
    /// How it is spoken to.
    pub transport: RemoteTransport,
    /// Sent with every request.
    pub headers: BTreeMap<String, Secret<String>>,
}

impl Remote {
    /// The headers as HTTP has them, each marked as sensitive.
    pub fn header_map(&self) -> HeaderMap {
        let pairs = self.headers.iter().filter_map(|(name, value)| {
            let name: HeaderName = name.parse().ok()?;
            let mut value = HeaderValue::try_from(value.expose().as_str()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        pairs.collect()
    }

    /// The address without what may be secret in it.
    pub fn address(&self) -> String {
        let authority = self.url.authority().map_or("", http::uri::Authority::as_str);
        let host = authority.rsplit('@').next().unwrap_or_default();
        let query = if self.url.query().is_some() { "?***" } else { "" };
        format!(
            "{}://{host}{}{query}",
            self.url.scheme_str().unwrap_or("http"),
            self.url.path()
        )
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("url", &self.address())
            .field("transport", &self.transport)
            .field("headers", &self.headers)
            .finish()
    }
}

/// Headers that say what the protocol says: an operator's value would only break it.
const OURS: [&str; 9] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "transfer-encoding",
];

/// Checks what was written about a remote server.
pub(super) fn check(
    Text(url): &Text,
    transport: Option<RemoteTransport>,
    headers: Option<BTreeMap<String, Secret<String>>>,
    at: &KeyPath,
    mistakes: &mut Mistakes,
) -> Option<Remote> {
    let transport = transport.unwrap_or_default();
    let headers = headers.unwrap_or_default();
    for (name, value) in &headers {
        let at = at.join("headers").join(name);
        if name.parse::<HeaderName>().is_err() || HeaderValue::try_from(value.expose().as_str()).is_err() {
            mistakes.push(
                at,
                "is no header: the name or the value has characters that none may have",
            );
        } else if OURS.contains(&name.to_ascii_lowercase().as_str()) {
            mistakes.push(at, "is set by the protocol; remove it");
        }
    }
    let at_url = at.join("url");
    let uri = url
        .parse::<Uri>()
        .ok()
        .filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    let Some(uri) = uri else {
        mistakes.push(at_url, "expected an address such as `https://mcp.example.org/mcp`");
        return None;
    };
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        mistakes.push(
            at_url,
            "holds a user or a password; put them into `headers` as `Authorization`",
        );
        return None;
    }
    let web_socket = matches!(transport, RemoteTransport::Websocket);
    let fits = match uri.scheme_str() {
        Some("http" | "https") => !web_socket,
        Some("ws" | "wss") => web_socket || transport == RemoteTransport::Auto,
        _ => {
            mistakes.push(
                at_url,
                "expected an address that begins with `http://`, `https://`, `ws://` or `wss://`",
            );
            return None;
        }
    };
    if !fits {
        mistakes.push(
            at.join("transport"),
            "does not fit the `url`: a WebSocket begins with `ws://` or `wss://`, everything else with `http://` or `https://`",
        );
        return None;
    }
    let transport = if uri.scheme_str().is_some_and(|scheme| scheme.starts_with("ws")) {
        RemoteTransport::Websocket
    } else {
        transport
    };
    Some(Remote {
        url: uri,
        transport,
        headers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(url: &str, transport: Option<RemoteTransport>, header: (&str, &str)) -> Result<Remote, String> {
        let mut mistakes = Mistakes::default();
        let headers = BTreeMap::from([(header.0.to_owned(), Secret::new(header.1.to_owned()))]);
        let found = check(
            &Text(url.to_owned()),
            transport,
            Some(headers),
            &KeyPath::of(&["services", "far"]),
            &mut mistakes,
        );
        found
            .filter(|_| mistakes.0.is_empty())
            .ok_or_else(|| format!("{mistakes:?}"))
    }

    #[test]
    fn addresses_and_what_fits_them() {
        let fine = ("Authorization", "Bearer canary");
        let far = checked("https://mcp.example/mcp?key=canary", None, fine).unwrap();
        assert_eq!(far.transport, RemoteTransport::Auto);
        assert!(!format!("{far:?}").contains("canary"), "{far:?}");
        assert!(far.header_map()["authorization"].is_sensitive());
        assert_eq!(
            checked("wss://mcp.example/ws", None, fine).unwrap().transport,
            RemoteTransport::Websocket
        );
        for (url, transport, header) in [
            ("mcp.example/mcp", None, fine),
            ("ftp://mcp.example/", None, fine),
            ("https://", None, fine),
            ("https://me:secret@mcp.example/", None, fine),
            ("https://mcp.example/", Some(RemoteTransport::Websocket), fine),
            ("ws://mcp.example/", Some(RemoteTransport::Sse), fine),
            ("https://mcp.example/", None, ("bad name", "x")),
            ("https://mcp.example/", None, ("X-A", "line\nbreak")),
            ("https://mcp.example/", None, ("Mcp-Session-Id", "x")),
        ] {
            assert!(checked(url, transport, header).is_err(), "{url} {header:?}");
        }
    }
}
