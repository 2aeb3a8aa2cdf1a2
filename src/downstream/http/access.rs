//! Who may come in: `Host` and `Origin` against rebinding and foreign pages, Bearer tokens against everybody else.

use std::{net::IpAddr, sync::Arc};

use http::{
    HeaderMap, HeaderValue, StatusCode, Uri,
    header::{AUTHORIZATION, HOST, ORIGIN},
};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::authority::{Authority, Host, web_origin};
use crate::{
    config::{Auth, McpAuth, Network},
    gateway::Principal,
};

/// Index of the principal of a request in [`Access::principal`]; 0 is whoever came without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Caller(pub(crate) u32);

/// Whether a request without a token is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anonymous {
    /// Yes, as `local`.
    Welcome,
    /// No.
    Refused,
}

/// Why a request was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// No `Host`, or several.
    #[error("the request needs exactly one Host header")]
    HostMissing,
    /// The name is none of ours: DNS rebinding, or a proxy that was not told to us.
    #[error("this Host is not served here; name it in network.allowed_hosts if it should be")]
    HostForeign,
    /// A web page that nobody allowed.
    #[error("this Origin is not allowed; name it in network.allowed_origins if it should be")]
    OriginForeign,
    /// A token is required.
    #[error("a token is required: send `Authorization: Bearer …`")]
    TokenMissing,
    /// The token is not one of ours.
    #[error("the token is not valid")]
    TokenWrong,
}

impl Refusal {
    /// The HTTP status that says so.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::HostMissing => StatusCode::BAD_REQUEST,
            Self::HostForeign | Self::OriginForeign => StatusCode::FORBIDDEN,
            Self::TokenMissing | Self::TokenWrong => StatusCode::UNAUTHORIZED,
        }
    }

    /// The `WWW-Authenticate` challenge of a 401 (RFC 6750 §3).
    pub(crate) fn challenge(self) -> Option<HeaderValue> {
        match self {
            Self::TokenMissing => Some(HeaderValue::from_static("Bearer realm=\"mcpvisor\"")),
            Self::TokenWrong => Some(HeaderValue::from_static(
                "Bearer realm=\"mcpvisor\", error=\"invalid_token\"",
            )),
            Self::HostMissing | Self::HostForeign | Self::OriginForeign => None,
        }
    }
}

/// The rules of one door, compiled from the configuration.
#[derive(Debug)]
pub(crate) struct Access {
    hosts: Vec<String>,
    origins: Vec<String>,
    /// SHA-256 of each token, so that comparing tells nothing of a token's length either.
    digests: Vec<[u8; 32]>,
    principals: Vec<Principal>,
    anonymous: Anonymous,
}

impl Access {
    /// The rules of the MCP doors.
    pub(crate) fn mcp(network: &Network, auth: &Auth) -> Self {
        let anonymous = match auth.mcp {
            McpAuth::Open => Anonymous::Welcome,
            McpAuth::Required => Anonymous::Refused,
        };
        Self::new(network, auth, anonymous)
    }

    /// The rules of the admin door: as soon as there are tokens, one is needed.
    pub(crate) fn admin(network: &Network, auth: &Auth) -> Self {
        let anonymous = if auth.tokens.is_empty() {
            Anonymous::Welcome
        } else {
            Anonymous::Refused
        };
        Self::new(network, auth, anonymous)
    }

    fn new(network: &Network, auth: &Auth, anonymous: Anonymous) -> Self {
        let mut hosts = network.allowed_hosts.clone();
        let public = network.public_url.as_deref().and_then(|url| url.parse::<Uri>().ok());
        hosts.extend(public.and_then(|url| url.authority().map(ToString::to_string)));
        let named = auth.tokens.iter().map(|token| token.name.as_str());
        Self {
            hosts,
            origins: network.allowed_origins.clone(),
            digests: auth
                .tokens
                .iter()
                .map(|token| Sha256::digest(token.token.expose().as_bytes()).into())
                .collect(),
            principals: std::iter::once("local")
                .chain(named)
                .map(|name| Principal { name: Arc::from(name) })
                .collect(),
            anonymous,
        }
    }

    /// Who `caller` is.
    pub(crate) fn principal(&self, caller: Caller) -> Option<&Principal> {
        self.principals.get(usize::try_from(caller.0).unwrap_or(usize::MAX))
    }

    /// How many principals there are.
    pub(crate) fn principals(&self) -> usize {
        self.principals.len()
    }

    /// Checks `Host` (or `:authority`) and `Origin` of a request that arrived at the address `local`.
    pub(crate) fn check_site(&self, uri: &Uri, headers: &HeaderMap, local: IpAddr) -> Result<(), Refusal> {
        let mut named = headers.get_all(HOST).iter();
        match (named.next(), named.next(), uri.authority()) {
            (Some(host), None, None) => self.check_host(host.to_str().unwrap_or_default(), local)?,
            (Some(host), None, Some(authority)) => {
                self.check_host(host.to_str().unwrap_or_default(), local)?;
                self.check_host(authority.as_str(), local)?;
            }
            (None, None, Some(authority)) => self.check_host(authority.as_str(), local)?,
            _ => return Err(Refusal::HostMissing),
        }
        match headers.get(ORIGIN) {
            None => Ok(()),
            Some(origin) => self.check_origin(origin, headers, local),
        }
    }

    fn check_host(&self, host: &str, local: IpAddr) -> Result<(), Refusal> {
        match Authority::parse(host) {
            Some(authority) if self.is_ours(&authority, local) => Ok(()),
            Some(_) | None => Err(Refusal::HostForeign),
        }
    }

    fn check_origin(&self, origin: &HeaderValue, headers: &HeaderMap, local: IpAddr) -> Result<(), Refusal> {
        let text = origin.to_str().unwrap_or_default();
        let one = headers.get_all(ORIGIN).iter().count() == 1;
        let ours = web_origin(text).is_some_and(|authority| self.is_ours(&authority, local));
        if one && (ours || self.origins.iter().any(|allowed| allowed == text)) {
            Ok(())
        } else {
            Err(Refusal::OriginForeign)
        }
    }

    /// A literal address can't be rebound: where it is the one the connection came to, it is ours.
    fn is_ours(&self, authority: &Authority<'_>, local: IpAddr) -> bool {
        authority.is_loopback()
            || (authority.host == Host::Address(local) && !local.is_unspecified())
            || self
                .hosts
                .iter()
                .any(|allowed| Authority::parse(allowed).is_some_and(|allowed| authority.is_covered_by(&allowed)))
    }

    /// Checks `Authorization`; a wrong token is refused even where none is needed.
    pub(crate) fn check_token(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let Some(value) = headers.get(AUTHORIZATION) else {
            return match self.anonymous {
                Anonymous::Welcome => Ok(Caller(0)),
                Anonymous::Refused => Err(Refusal::TokenMissing),
            };
        };
        if self.digests.is_empty() {
            // No token was ever given out: what a client sends by habit is not judged.
            return Ok(Caller(0));
        }
        let token = bearer(value.as_bytes()).ok_or(Refusal::TokenWrong)?;
        let shown: [u8; 32] = Sha256::digest(token).into();
        let mut found = 0u32;
        for (index, digest) in (1u32..).zip(&self.digests) {
            found.conditional_assign(&index, digest.ct_eq(&shown));
        }
        if found == 0 || headers.get_all(AUTHORIZATION).iter().count() != 1 {
            Err(Refusal::TokenWrong)
        } else {
            Ok(Caller(found))
        }
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{NamedToken, Secret};

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn network() -> Network {
        Network {
            public_url: Some("https://mcp.example.org/hub".to_owned()),
            allowed_hosts: vec!["inside:9090".to_owned()],
            allowed_origins: vec!["vscode-webview://abc".to_owned()],
            trusted_proxies: Vec::new(),
        }
    }

    fn site(pairs: &[(&'static str, &str)], local: IpAddr) -> Result<(), Refusal> {
        let access = Access::mcp(&network(), &Auth::default());
        access.check_site(&Uri::from_static("/mcp"), &headers(pairs), local)
    }

    #[test]
    fn hosts() {
        for good in [
            "127.0.0.1:9090",
            "localhost",
            "[::1]:1",
            "mcp.example.org",
            "MCP.example.org",
            "inside:9090",
        ] {
            assert_eq!(site(&[("host", good)], LOCAL), Ok(()), "{good}");
        }
        for bad in [
            "evil.example",
            "inside",
            "mcp.example.org:8443x",
            "10.0.0.1",
            "0.0.0.0",
            "[::ffff:127.0.0.1]",
            "",
        ] {
            assert_eq!(site(&[("host", bad)], LOCAL), Err(Refusal::HostForeign), "{bad}");
        }
        assert_eq!(site(&[], LOCAL), Err(Refusal::HostMissing));
        let outside: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(site(&[("host", "10.0.0.1:9090")], outside), Ok(()));
    }

    #[test]
    fn two_hosts_are_none() {
        let mut both = headers(&[("host", "localhost")]);
        both.append("host", "localhost".parse().unwrap());
        let access = Access::mcp(&network(), &Auth::default());
        let answer = access.check_site(&Uri::from_static("/mcp"), &both, LOCAL);
        assert_eq!(answer, Err(Refusal::HostMissing));
    }

    #[test]
    fn origins() {
        for good in [
            "http://localhost:3000",
            "https://mcp.example.org",
            "vscode-webview://abc",
            "http://127.0.0.1:9090",
        ] {
            assert_eq!(
                site(&[("host", "localhost"), ("origin", good)], LOCAL),
                Ok(()),
                "{good}"
            );
        }
        for bad in [
            "null",
            "http://evil.example",
            "https://localhost.evil.example",
            "vscode-webview://abcd",
            "http://0.0.0.0",
            "",
        ] {
            let answer = site(&[("host", "localhost"), ("origin", bad)], LOCAL);
            assert_eq!(answer, Err(Refusal::OriginForeign), "{bad}");
        }
    }

    #[test]
    fn tokens() {
        let token = |name: &str, token: &str| NamedToken {
            name: name.to_owned(),
            token: Secret::new(token.to_owned()),
        };
        let tokens = vec![token("ann", "aaaaaaaaaaaaaaaa"), token("bob", "bbbbbbbbbbbbbbbb")];
        let auth = |mcp| Auth {
            mcp,
            tokens: tokens.clone(),
        };
        let closed = Access::mcp(&network(), &auth(McpAuth::Required));
        let shown = |value: &str| closed.check_token(&headers(&[("authorization", value)]));
        assert_eq!(shown("Bearer aaaaaaaaaaaaaaaa"), Ok(Caller(1)));
        assert_eq!(shown("bearer bbbbbbbbbbbbbbbb"), Ok(Caller(2)));
        assert_eq!(&*closed.principal(Caller(2)).unwrap().name, "bob");
        for bad in [
            "Bearer ",
            "Bearer bbbbbbbbbbbbbbb",
            "Basic bbbbbbbbbbbbbbbb",
            "Bearer",
            "",
            "Bearer cccccccccccccccc",
        ] {
            assert_eq!(shown(bad), Err(Refusal::TokenWrong), "{bad}");
        }
        assert_eq!(closed.check_token(&HeaderMap::new()), Err(Refusal::TokenMissing));
        let open = Access::mcp(&network(), &auth(McpAuth::Open));
        assert_eq!(open.check_token(&HeaderMap::new()), Ok(Caller(0)));
        let admin = Access::admin(&network(), &auth(McpAuth::Open));
        assert_eq!(admin.check_token(&HeaderMap::new()), Err(Refusal::TokenMissing));
    }
}
