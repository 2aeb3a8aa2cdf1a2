//! `params._meta`: what a modern request says of itself, and the progress token of either era.

use serde_json::{Value, value::RawValue};

use super::{ErrorAnswer, Features, Revision};
use crate::jsonrpc::{Fields, text_of};

/// Reserved keys of `_meta` (2026-07-28, basic "General fields").
pub mod meta_key {
    /// Revision of a request.
    pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    /// Capabilities of the client.
    pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    /// Name and version of the client.
    pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
    /// Least severe log message wanted.
    pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
    /// Name and version of the server.
    pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
    /// Id of the listen request a notification belongs to.
    pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
}

/// Severity of a log message (RFC 5424), least severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names of RFC 5424 say it")]
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl LogLevel {
    const NAMES: [(&'static str, Self); 8] = [
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("notice", Self::Notice),
        ("warning", Self::Warning),
        ("error", Self::Error),
        ("critical", Self::Critical),
        ("alert", Self::Alert),
        ("emergency", Self::Emergency),
    ];

    /// The level of that name.
    #[must_use]
    pub fn from_wire(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, level)| *level)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, level)| *level == self)
            .map_or("debug", |(name, _)| *name)
    }
}

/// The parts of `_meta` that the hub acts on. Slices borrow from the message.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestMeta<'a> {
    /// The whole object.
    pub raw: Option<&'a RawValue>,
    /// A claim to speak a modern revision; not checked yet.
    pub protocol_version: Option<&'a RawValue>,
    /// `ClientCapabilities`.
    pub client_capabilities: Option<&'a RawValue>,
    /// `Implementation`.
    pub client_info: Option<&'a RawValue>,
    /// A log level.
    pub log_level: Option<&'a RawValue>,
    /// A string or an integer.
    pub progress_token: Option<&'a RawValue>,
}

/// What a valid modern request says of its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModernClaim {
    /// The revision it speaks.
    pub revision: Revision,
    /// What the client can do.
    pub features: Features,
    /// Whether the client asked for log messages, and from which level.
    pub log_level: Option<LogLevel>,
}

impl<'a> RequestMeta<'a> {
    /// Reads `_meta`.
    ///
    /// # Errors
    /// -32602 if it is not an object or names one of the keys twice.
    pub fn read(raw: &'a RawValue) -> Result<Self, ErrorAnswer> {
        let names = [
            meta_key::PROTOCOL_VERSION,
            meta_key::CLIENT_CAPABILITIES,
            meta_key::CLIENT_INFO,
            meta_key::LOG_LEVEL,
            "progressToken",
        ];
        let fields =
            Fields::of(raw, &names).map_err(|shape| ErrorAnswer::invalid_params(format!("`params._meta` {shape}")))?;
        let [
            protocol_version,
            client_capabilities,
            client_info,
            log_level,
            progress_token,
        ] = fields.values();
        Ok(Self {
            raw: Some(raw),
            protocol_version,
            client_capabilities,
            client_info,
            log_level,
            progress_token,
        })
    }

    /// Whether the request claims to be modern, well or badly.
    #[must_use]
    pub fn claims_modern(&self) -> bool {
        self.protocol_version.is_some()
    }

    /// Checks the claim (2026-07-28, basic "Request metadata").
    ///
    /// # Errors
    /// -32602 for missing or malformed fields, -32022 for a revision the hub does not speak statelessly.
    pub fn claim(&self) -> Result<ModernClaim, ErrorAnswer> {
        let version = self
            .protocol_version
            .and_then(text_of)
            .ok_or_else(|| missing(meta_key::PROTOCOL_VERSION, "a string"))?;
        let revision = Revision::from_wire(&version)
            .filter(|revision| revision.era() == super::Era::Modern)
            .ok_or_else(|| ErrorAnswer::unsupported_version(&version))?;
        let features = self
            .client_capabilities
            .and_then(features_of)
            .ok_or_else(|| missing(meta_key::CLIENT_CAPABILITIES, "an object"))?;
        if self.client_info.is_some_and(|info| !info.get().starts_with('{')) {
            return Err(missing(meta_key::CLIENT_INFO, "an object"));
        }
        let log_level = match self.log_level {
            None => None,
            Some(raw) => Some(
                text_of(raw)
                    .and_then(|name| LogLevel::from_wire(&name))
                    .ok_or_else(|| missing(meta_key::LOG_LEVEL, "a log level"))?,
            ),
        };
        Ok(ModernClaim {
            revision,
            features,
            log_level,
        })
    }
}

/// What a raw `ClientCapabilities` object declares; most callers declare nothing, and that is read at a glance.
fn features_of(raw: &RawValue) -> Option<Features> {
    if raw.get() == "{}" {
        return Some(Features::NONE);
    }
    let capabilities: Value = serde_json::from_str(raw.get()).ok()?;
    capabilities.is_object().then(|| Features::read(&capabilities))
}

fn missing(key: &str, what: &str) -> ErrorAnswer {
    ErrorAnswer::invalid_params(format!("`params._meta[\"{key}\"]` must be {what}"))
}
