//! Where a remote server is, how it is spoken to, and what it is shown.

use std::{net::IpAddr, time::Duration};

use http::{HeaderMap, Uri};

use crate::config::{RemoteTransport, ServiceName};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How often an idle connection is asked for a sign of life, so that a peer that vanished is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// One remote server.
#[derive(Clone, Debug)]
pub struct Target {
    /// The service it is.
    pub service: ServiceName,
    /// Its address: `http(s)://` or `ws(s)://`.
    pub url: Uri,
    /// How it is spoken to.
    pub transport: RemoteTransport,
    /// Sent with every request; the sensitive ones are marked so.
    pub headers: HeaderMap,
    /// The longest message taken, in bytes.
    pub limit: usize,
}

impl Target {
    /// Whether it is on this machine, where no proxy is in between.
    fn is_local(&self) -> bool {
        let host = self.url.host().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Whether `other` is of the same scheme, host and port: only there may our headers go.
    pub(super) fn is_same_origin(&self, other: &Uri) -> bool {
        let port = |uri: &Uri| {
            let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
            uri.port_u16().unwrap_or(usual)
        };
        (self.url.scheme(), self.url.host(), port(&self.url)) == (other.scheme(), other.host(), port(other))
    }

    /// An HTTP client for it. Redirects are never followed: the operator named one server, and our headers are for that one.
    pub(super) fn client(&self) -> Result<reqwest::Client, reqwest::Error> {
        // Another provider may be there already; any will do.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .tcp_keepalive(KEEP_ALIVE)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .user_agent(concat!("mcpvisor/", env!("CARGO_PKG_VERSION")));
        if self.is_local() {
            builder = builder.no_proxy();
        }
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let target = Target {
            service: ServiceName::new("far").unwrap(),
            url: Uri::from_static("https://mcp.example/sse"),
            transport: RemoteTransport::Sse,
            headers: HeaderMap::new(),
            limit: 1,
        };
        for (other, same) in [
            ("https://mcp.example/messages?x=1", true),
            ("https://mcp.example:443/", true),
            ("http://mcp.example/", false),
            ("https://mcp.example:8443/", false),
            ("https://evil.example/messages", false),
        ] {
            assert_eq!(target.is_same_origin(&Uri::from_static(other)), same, "{other}");
        }
    }
}
