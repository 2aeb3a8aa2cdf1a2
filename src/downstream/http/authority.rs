//! Reads `Host` and `Origin` values just far enough to compare them, without being generous.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The host and port of a `Host` header or of an origin, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    /// A name as it was written, or an address without brackets.
    pub(crate) host: Host<'a>,
    /// The port, if one was named.
    pub(crate) port: Option<u16>,
}

/// A name or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host<'a> {
    /// A DNS name, not folded to lower case.
    Name(&'a str),
    /// A literal address in its plain spelling.
    Address(IpAddr),
}

impl<'a> Authority<'a> {
    /// Reads `host[:port]`; `None` if it is anything else (user information, a path, a scoped address, a stray colon).
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']')?;
            let host = Host::Address(IpAddr::V6(address.parse::<Ipv6Addr>().ok()?));
            (
                host,
                if rest.is_empty() {
                    None
                } else {
                    Some(rest.strip_prefix(':')?)
                },
            )
        } else {
            let (name, port) = text
                .split_once(':')
                .map_or((text, None), |(name, port)| (name, Some(port)));
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            if name.is_empty() || !name.bytes().all(plain) {
                return None;
            }
            let host = name
                .parse::<Ipv4Addr>()
                .map_or(Host::Name(name), |v4| Host::Address(IpAddr::V4(v4)));
            (host, port)
        };
        let port = match port {
            None => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
        };
        Some(Self { host, port })
    }

    /// Whether it names this machine and nothing else could: `localhost`, 127.0.0.0/8, `::1`.
    /// `0.0.0.0`, addresses of IPv4 in IPv6 clothes and `localhost.` are ways around such checks and are none of it.
    pub(crate) fn is_loopback(&self) -> bool {
        match self.host {
            Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
            Host::Address(address) => address.is_loopback(),
        }
    }

    /// Whether `allowed` covers it: the same host, and the same port if `allowed` names one.
    pub(crate) fn is_covered_by(&self, allowed: &Authority<'_>) -> bool {
        let same_host = match (self.host, allowed.host) {
            (Host::Name(ours), Host::Name(theirs)) => ours.eq_ignore_ascii_case(theirs),
            (Host::Address(ours), Host::Address(theirs)) => ours == theirs,
            (Host::Name(_), Host::Address(_)) | (Host::Address(_), Host::Name(_)) => false,
        };
        same_host && (allowed.port.is_none() || allowed.port == self.port)
    }
}

/// The host and port of an `http` or `https` origin; `None` for `null`, other schemes and anything with a path.
pub(crate) fn web_origin(origin: &str) -> Option<Authority<'_>> {
    let rest = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))?;
    Authority::parse(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_plain_spellings_of_this_machine_are_loopback() {
        for good in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1",
            "127.0.0.1:9090",
            "127.1.2.3",
            "[::1]",
            "[::1]:80",
        ] {
            assert!(Authority::parse(good).is_some_and(|a| a.is_loopback()), "{good}");
        }
        for bad in [
            "evil.example",
            "localhost.",
            "localhost.evil.example",
            "0.0.0.0",
            "[::]",
            "[::ffff:127.0.0.1]",
            "2130706433",
            "127.1",
            "0x7f.0.0.1",
            "127.0.0.1.nip.io",
            "[::1%lo]",
            "127.0.0.1:",
            "localhost:99999",
            "localhost:+1",
            "",
            "a@localhost",
            "localhost/",
            "[::1",
            "::1",
            "localhost:80:80",
            "ⅼocalhost",
            "017700000001",
        ] {
            // "127.0.0.1:" parses to an empty port, which is refused like the others.
            assert!(!Authority::parse(bad).is_some_and(|a| a.is_loopback()), "{bad}");
        }
    }

    #[test]
    fn origins_are_whole() {
        assert!(web_origin("http://localhost:3000").is_some());
        for bad in [
            "null",
            "file://",
            "http://localhost/",
            "http://localhost:3000/x",
            "ftp://localhost",
            "http://a@b",
            "",
        ] {
            assert_eq!(web_origin(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_port_counts_where_it_is_named() {
        let allowed = |a: &str, b: &str| {
            Authority::parse(a)
                .unwrap()
                .is_covered_by(&Authority::parse(b).unwrap())
        };
        assert!(allowed("Hub.example:1", "hub.example"));
        assert!(allowed("hub.example:1", "hub.example:1"));
        assert!(!allowed("hub.example:2", "hub.example:1"));
        assert!(!allowed("hub.example", "hub.example:1"));
        assert!(!allowed("xhub.example", "hub.example"));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,40}") {
            let read = [Authority::parse(&text), web_origin(&text)];
            prop_assert!(read.iter().flatten().all(|authority| authority.is_covered_by(authority)));
        }
    }
}
