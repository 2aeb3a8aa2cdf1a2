//! Section `network`: how the hub looks from outside, and whom it believes.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    mistakes::{KeyPath, Mistakes},
    scalar::{Text, Words},
};

/// How the hub looks from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The address clients use, without a slash at the end, when a proxy stands in front.
    pub public_url: Option<String>,
    /// `Host` headers accepted beside those of the addresses listened on: a name, or `name:port`.
    pub allowed_hosts: Vec<String>,
    /// `Origin` headers accepted beside the hub's own: `scheme://host[:port]`.
    pub allowed_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-*` headers are believed: addresses or networks such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<String>,
}

/// How the hub looks from outside, and whom it believes.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct RawNetwork {
    /// The address clients use when a proxy stands in front, such as `https://mcp.example.org`.
    #[serde(skip_serializing_if = "Option::is_none")]
    public_url: Option<Text>,
    /// `Host` headers accepted beside those of the addresses listened on: `name` or `name:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_hosts: Option<Words>,
    /// Web pages that may call the hub: `Origin` headers such as `https://app.example.org`.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_origins: Option<Words>,
    /// Proxies whose `X-Forwarded-*` headers are believed: addresses or networks such as `10.0.0.0/8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted_proxies: Option<Words>,
}

impl RawNetwork {
    pub(super) fn check(self, at: &KeyPath, mistakes: &mut Mistakes) -> Network {
        let mut each = |key: &str, words: Option<Words>, wrong: fn(&str) -> Option<&'static str>| {
            let words = words.unwrap_or_default().0;
            for (index, word) in words.iter().enumerate() {
                if let Some(message) = wrong(word) {
                    mistakes.push(at.join(key).join(index), format!("`{word}` {message}"));
                }
            }
            words
        };
        let public_url = self.public_url.map(|Text(url)| url.trim_end_matches('/').to_owned());
        Network {
            allowed_hosts: each("allowed_hosts", self.allowed_hosts, wrong_host),
            allowed_origins: each("allowed_origins", self.allowed_origins, wrong_origin),
            trusted_proxies: each("trusted_proxies", self.trusted_proxies, wrong_network),
            public_url: public_url.filter(|url| {
                let fine = web_address(url).is_some_and(|uri| uri.query().is_none());
                if !fine {
                    mistakes.push(
                        at.join("public_url"),
                        "expected an address such as `https://mcp.example.org`",
                    );
                }
                fine
            }),
        }
    }
}

impl From<&Network> for RawNetwork {
    fn from(network: &Network) -> Self {
        let list = |words: &Vec<String>| (!words.is_empty()).then(|| Words(words.clone()));
        Self {
            public_url: network.public_url.clone().map(Text),
            allowed_hosts: list(&network.allowed_hosts),
            allowed_origins: list(&network.allowed_origins),
            trusted_proxies: list(&network.trusted_proxies),
        }
    }
}

fn web_address(text: &str) -> Option<http::Uri> {
    let uri: http::Uri = text.parse().ok()?;
    (matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|h| !h.is_empty())).then_some(uri)
}

fn wrong_host(word: &str) -> Option<&'static str> {
    let authority = word
        .parse::<http::uri::Authority>()
        .ok()
        .filter(|a| !a.as_str().contains('@'));
    authority
        .is_none()
        .then_some("is not a host; write `name` or `name:port`, without a scheme or a path")
}

fn wrong_origin(word: &str) -> Option<&'static str> {
    let Some((scheme, host)) = word.split_once("://") else {
        return Some("is not an origin; write `scheme://host` or `scheme://host:port`");
    };
    (scheme.is_empty() || wrong_host(host).is_some()).then_some("is not an origin; it ends after the host and the port")
}

fn wrong_network(word: &str) -> Option<&'static str> {
    let (address, bits) = word.split_once('/').map_or((word, None), |(a, b)| (a, Some(b)));
    let most = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return Some("is not an address or a network such as `10.0.0.0/8`"),
    };
    let fits = bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most));
    (!fits).then_some("has a network size that does not fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_origins_networks() {
        for good in ["example.org", "example.org:8443", "10.0.0.1", "[::1]:9090"] {
            assert_eq!(wrong_host(good), None, "{good}");
        }
        for bad in ["https://example.org", "example.org/path", "", "a b", "u@h"] {
            assert!(wrong_host(bad).is_some(), "{bad}");
        }
        for good in ["https://example.org", "http://localhost:3000", "vscode-webview://abc"] {
            assert_eq!(wrong_origin(good), None, "{good}");
        }
        for bad in ["example.org", "https://example.org/", "://x"] {
            assert!(wrong_origin(bad).is_some(), "{bad}");
        }
        for good in ["10.0.0.0/8", "::1", "fd00::/8"] {
            assert_eq!(wrong_network(good), None, "{good}");
        }
        for bad in ["10.0.0.0/33", "proxy", "10.0.0.0/x"] {
            assert!(wrong_network(bad).is_some(), "{bad}");
        }
    }
}
