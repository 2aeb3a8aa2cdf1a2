//! A service as it is written in a file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    limits::{RawServiceLimits, ServiceLimits},
    remote::{Remote, RemoteTransport},
    types::{
        Command, EraChoice, Placement, Prefix, Replace, Restart, RestartPolicy, Service, Sharing, Source, Start,
        Timeouts, ToolSettings, WhenDown,
    },
};
use crate::config::{
    scalar::{Span, Switch, Text, Whole, Words},
    secret::Secret,
    sensitive,
};

/// One MCP server: a `command`, the `url` of one that runs elsewhere, or `builtin: demo`.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(in crate::config) struct RawService {
    /// Whether it may run.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) enabled: Option<Switch>,
    /// The program: a path, or a name looked up in `PATH`. Never a shell line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) command: Option<Text>,
    /// Its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) args: Option<Words>,
    /// Variables on top of the few that children inherit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) env: Option<BTreeMap<String, Secret<String>>>,
    /// Variables whose values stand in files: the name of the variable and the path of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) env_files: Option<BTreeMap<String, Text>>,
    /// Where the program starts; the hub's own folder if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cwd: Option<Text>,
    /// A server that comes with the hub: `demo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) builtin: Option<Builtin>,
    /// Address of a server that runs elsewhere: `https://mcp.example.org/mcp`, or a WebSocket's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<Text>,
    /// How that server is spoken to: `auto`, `streamable-http`, `sse` or `websocket`.
    #[schemars(extend("default" = "auto"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) transport: Option<RemoteTransport>,
    /// Headers for that server, such as `Authorization: Bearer ${TOKEN}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) headers: Option<BTreeMap<String, Secret<String>>>,
    /// Headers whose values stand in files: the name of the header and the path of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) header_files: Option<BTreeMap<String, Text>>,
    /// What stands before the names of its tools: `service` (its name), `none`, or a text of its own.
    #[schemars(extend("default" = "service"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prefix: Option<Text>,
    /// Whether clients share an instance: `shared` or `per-client`.
    #[schemars(extend("default" = "shared"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sharing: Option<Sharing>,
    /// On which hubs it runs, where there are several: `every-hub` or `one-hub`.
    #[schemars(extend("default" = "every-hub"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) placement: Option<Placement>,
    /// How a new generation takes over: `overlap`, or `stop-first` for programs that hold a port or a database.
    #[schemars(extend("default" = "overlap"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replace: Option<Replace>,
    /// How many instances run.
    #[schemars(extend("default" = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) instances: Option<Whole>,
    /// When it starts: `eager` with the hub, `lazy` with the first call.
    #[schemars(extend("default" = "eager"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start: Option<Start>,
    /// After how long without a call it is stopped; never if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idle_timeout: Option<Span>,
    /// Which revisions of the protocol it is spoken to in: `match` (the client's), `legacy` or `modern`.
    #[schemars(extend("default" = "match"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) era: Option<EraChoice>,
    /// What clients see of its tools while it is down: `keep` (the last known list) or `hide`.
    #[schemars(extend("default" = "keep"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) when_down: Option<WhenDown>,
    /// Settings of single tools, by the tool's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tools: Option<BTreeMap<String, RawTool>>,
    /// How long it is waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeouts: Option<RawTimeouts>,
    /// What happens when it exits by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restart: Option<RawRestart>,
    /// What one process of it may take, with all that it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limits: Option<RawServiceLimits>,
}

/// A server that comes with the hub.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum Builtin {
    /// A handful of tools, resources and a prompt to try things with.
    Demo,
}

/// Settings of one tool.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct RawTool {
    /// Whether calling it twice does no more than calling it once; such calls are repeated after a crash.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) safe_to_repeat: Option<Switch>,
}

/// How long a service is waited for.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct RawTimeouts {
    /// From the start of the process to the end of the handshake (180s for `npx`, `uvx`, `docker` and others that may
    /// have to download what they run).
    #[schemars(extend("default" = "30s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start: Option<Span>,
    /// From a call to its answer.
    #[schemars(extend("default" = "5m"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) call: Option<Span>,
    /// From the request to stop until it is killed.
    #[schemars(extend("default" = "10s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stop: Option<Span>,
}

/// What happens when a service exits by itself.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub(super) struct RawRestart {
    /// Whether it is started again: `always`, `on-failure` or `never`.
    #[schemars(extend("default" = "always"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<RestartPolicy>,
    /// The longest wait between two starts.
    #[schemars(extend("default" = "1m"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_delay: Option<Span>,
}

impl From<&Service> for RawService {
    fn from(service: &Service) -> Self {
        let (source, builtin) = match &service.source {
            Source::Command(command) => (Self::from(command), None),
            Source::Remote(remote) => (Self::from(remote), None),
            Source::Demo => (Self::default(), Some(Builtin::Demo)),
        };
        let prefix = match &service.prefix {
            Prefix::Service => "service",
            Prefix::None => "none",
            Prefix::Text(text) => text,
        };
        let tool = |(name, tool): (&String, &ToolSettings)| {
            (
                name.clone(),
                RawTool {
                    safe_to_repeat: Some(Switch(tool.safe_to_repeat)),
                },
            )
        };
        Self {
            enabled: Some(Switch(service.enabled)),
            builtin,
            prefix: Some(prefix.into()),
            sharing: Some(service.sharing),
            placement: Some(service.placement),
            replace: Some(service.replace),
            instances: Some(Whole(service.instances.into())),
            start: Some(service.start),
            idle_timeout: service.idle_timeout.map(Span),
            era: Some(service.era),
            when_down: Some(service.when_down),
            tools: (!service.tools.is_empty()).then(|| service.tools.iter().map(tool).collect()),
            timeouts: Some(RawTimeouts::from(&service.timeouts)),
            restart: Some(RawRestart::from(&service.restart)),
            limits: (service.limits != ServiceLimits::default()).then(|| RawServiceLimits::from(&service.limits)),
            ..source
        }
    }
}

impl From<&Command> for RawService {
    fn from(command: &Command) -> Self {
        Self {
            command: Some(Text(command.program.clone())),
            args: (!command.args.is_empty()).then(|| Words(sensitive::masked(&command.args))),
            env: (!command.env.is_empty()).then(|| command.env.clone()),
            cwd: command.cwd.as_ref().map(|cwd| Text(cwd.display().to_string())),
            ..Self::default()
        }
    }
}

impl From<&Remote> for RawService {
    fn from(remote: &Remote) -> Self {
        Self {
            url: Some(Text(remote.address())),
            transport: Some(remote.transport),
            headers: (!remote.headers.is_empty()).then(|| remote.headers.clone()),
            ..Self::default()
        }
    }
}

impl From<&Timeouts> for RawTimeouts {
    fn from(timeouts: &Timeouts) -> Self {
        Self {
            start: Some(Span(timeouts.start)),
            call: Some(Span(timeouts.call)),
            stop: Some(Span(timeouts.stop)),
        }
    }
}

impl From<&Restart> for RawRestart {
    fn from(restart: &Restart) -> Self {
        Self {
            policy: Some(restart.policy),
            max_delay: Some(Span(restart.max_delay)),
        }
    }
}
