//! Sections `transport`, `http` and `admin`: which doors are open, and where.

use std::net::{IpAddr, Ipv4Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    mistakes::{KeyPath, Mistakes},
    scalar::{Switch, Text, Whole},
};

/// Port of the MCP door unless another is set.
pub const HTTP_PORT: u16 = 9090;
/// Port of the admin door unless another is set.
pub const ADMIN_PORT: u16 = 9091;

/// The doors through which clients reach the hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Transport {
    /// One client on stdin and stdout
    Stdio,
    /// MCP over HTTP: /mcp, /sse and /ws
    Sse,
    /// Stdio and HTTP at once
    #[default]
    Both,
}

impl Transport {
    /// Whether stdin and stdout belong to a client.
    pub const fn has_stdio(self) -> bool {
        matches!(self, Self::Stdio | Self::Both)
    }

    /// Whether the HTTP door is open.
    pub const fn has_http(self) -> bool {
        matches!(self, Self::Sse | Self::Both)
    }
}

/// The door for people and programs that look after the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminDoor {
    /// Whether it is open.
    pub enabled: bool,
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on; 0 takes any free one.
    pub port: u16,
}

impl Default for AdminDoor {
    fn default() -> Self {
        Self {
            enabled: false,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: ADMIN_PORT,
        }
    }
}

/// The door for MCP clients over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpDoor {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on; 0 takes any free one.
    pub port: u16,
}

impl Default for HttpDoor {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: HTTP_PORT,
        }
    }
}

/// Where MCP clients connect over HTTP.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct RawHttp {
    /// Address to listen on. Other machines reach it only with `0.0.0.0`, `::` or an address of the network,
    /// and then `auth.tokens` must be set.
    #[schemars(extend("default" = "127.0.0.1"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Text>,
    /// Port to listen on; 0 takes any free one.
    #[schemars(extend("default" = 9090))]
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<Whole>,
}

/// The door for people and programs that look after the hub.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct RawAdmin {
    /// Whether the admin door is open.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<Switch>,
    /// Address to listen on.
    #[schemars(extend("default" = "127.0.0.1"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Text>,
    /// Port to listen on; 0 takes any free one.
    #[schemars(extend("default" = 9091))]
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<Whole>,
}

impl RawHttp {
    pub(super) fn check(self, at: &KeyPath, mistakes: &mut Mistakes) -> HttpDoor {
        let defaults = HttpDoor::default();
        HttpDoor {
            host: address(self.host, defaults.host, at, mistakes),
            port: port(self.port, defaults.port, at, mistakes),
        }
    }
}

impl RawAdmin {
    pub(super) fn check(self, at: &KeyPath, mistakes: &mut Mistakes) -> AdminDoor {
        let defaults = AdminDoor::default();
        AdminDoor {
            enabled: self.enabled.map_or(defaults.enabled, bool::from),
            host: address(self.host, defaults.host, at, mistakes),
            port: port(self.port, defaults.port, at, mistakes),
        }
    }
}

impl From<&HttpDoor> for RawHttp {
    fn from(door: &HttpDoor) -> Self {
        Self {
            host: Some(Text(door.host.to_string())),
            port: Some(Whole(door.port.into())),
        }
    }
}

impl From<&AdminDoor> for RawAdmin {
    fn from(door: &AdminDoor) -> Self {
        Self {
            enabled: Some(Switch(door.enabled)),
            host: Some(Text(door.host.to_string())),
            port: Some(Whole(door.port.into())),
        }
    }
}

fn address(raw: Option<Text>, default: IpAddr, at: &KeyPath, mistakes: &mut Mistakes) -> IpAddr {
    let Some(Text(text)) = raw else { return default };
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if bare.eq_ignore_ascii_case("localhost") {
        return IpAddr::V4(Ipv4Addr::LOCALHOST);
    }
    bare.parse().unwrap_or_else(|_| {
        let message = format!(
            "`{text}` is not an IP address; use `127.0.0.1`, `0.0.0.0` (all IPv4), `::` (all) or one of this machine's"
        );
        mistakes.push(at.join("host"), message);
        default
    })
}

fn port(raw: Option<Whole>, default: u16, at: &KeyPath, mistakes: &mut Mistakes) -> u16 {
    let Some(Whole(number)) = raw else { return default };
    u16::try_from(number).unwrap_or_else(|_| {
        mistakes.push(
            at.join("port"),
            format!("a port lies between 0 and 65535, {number} does not"),
        );
        default
    })
}

/// Whether only this machine can reach `host`.
pub(super) fn is_local(host: IpAddr) -> bool {
    host.to_canonical().is_loopback()
}
