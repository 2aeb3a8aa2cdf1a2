//! The whole file as it is written, and the check that turns it into a configuration.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    auth::{McpAuth, RawAuth},
    doors::{RawAdmin, RawHttp, Transport, is_local},
    limits::{Limits, RawLimits, RawNames},
    log::RawLog,
    mistakes::{KeyPath, Mistakes},
    model::Config,
    network::{Network, RawNetwork},
    scalar::Text,
    secret::Secret,
    service::{Context, RawService, Service, check_services},
    storage::{RawStorage, Storage},
    twin::Files,
};

/// The configuration of mcpvisor. In every text, `${VARIABLE}` and `${VARIABLE:default}` are replaced, and `$$` is a
/// plain dollar.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "mcpvisor", inline)]
pub(super) struct RawConfig {
    /// The address of this schema, for editors.
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    schema: Option<Text>,
    /// Which doors MCP clients come through: `stdio`, `sse` (MCP over HTTP) or `both`.
    #[schemars(extend("default" = "both"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<Transport>,
    /// Folder for state, logs and keys; `data` beside the file if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<Text>,
    /// Where MCP clients connect over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<RawHttp>,
    /// The door for people and programs that look after the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<RawAdmin>,
    /// How the hub looks from outside, and whom it believes.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<RawNetwork>,
    /// Who may come in.
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<RawAuth>,
    /// How much is written, how, and where.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<RawLog>,
    /// How much of everything the hub takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<RawLimits>,
    /// How names of tools are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<RawNames>,
    /// Databases beside the built-in one. Accepted, not used by this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<RawStorage>,
    /// The MCP servers, by name. With no `services` and no `mcpServers` the built-in demo runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    services: Option<BTreeMap<String, RawService>>,
    /// The MCP servers in the form of desktop clients.
    #[serde(rename = "mcpServers", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, serde_json::Value>>")]
    mcp_servers: Option<BTreeMap<String, RawService>>,
}

/// What the check needs to know beside the values.
pub(super) struct Basis<'a> {
    pub(super) file: Option<PathBuf>,
    pub(super) data_dir: PathBuf,
    pub(super) in_container: bool,
    pub(super) hidden: Vec<Secret<String>>,
    pub(super) files: &'a mut Files,
    pub(super) mistakes: &'a mut Mistakes,
    pub(super) warnings: &'a mut Vec<String>,
}

impl RawConfig {
    /// Checks everything; what is wrong goes into `basis.mistakes` and makes the result unusable.
    pub(super) fn check(self, basis: Basis<'_>) -> Config {
        let at = |section| KeyPath::of(&[section]);
        let Basis {
            file,
            hidden,
            data_dir,
            in_container,
            files,
            mistakes,
            warnings,
        } = basis;
        let services = match self.services {
            Some(raw) => check_services(
                raw,
                &at("services"),
                &mut Context {
                    files,
                    mistakes,
                    warnings,
                },
            ),
            None => BTreeMap::from([Service::demo()].map(|demo| (demo.name.clone(), demo))),
        };
        let limits = Limits::default_for(in_container);
        let config = Config {
            file,
            data_dir: self.data_dir.map_or(data_dir, |Text(folder)| folder.into()),
            transport: self.transport.unwrap_or_default(),
            admin: self.admin.unwrap_or_default().check(&at("admin"), mistakes),
            http: self.http.unwrap_or_default().check(&at("http"), mistakes),
            network: self.network.unwrap_or_default().check(&at("network"), mistakes),
            auth: self.auth.unwrap_or_default().check(&at("auth"), files, mistakes),
            log: self.log.unwrap_or_default().check(&at("log"), mistakes),
            limits: self.limits.unwrap_or_default().check(&limits, &at("limits"), mistakes),
            names: self.names.unwrap_or_default().check(&at("names"), mistakes),
            storage: self.storage.unwrap_or_default().check(&at("storage"), files, mistakes),
            services,
            hidden,
        };
        check_ports(&config, mistakes);
        check_exposure(&config, mistakes);
        config
    }

    /// Whether the folder of the data was set.
    pub(super) fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_ref().map(|Text(folder)| Path::new(folder))
    }
}

impl From<&Config> for RawConfig {
    fn from(config: &Config) -> Self {
        let services = config.services.iter();
        Self {
            schema: None,
            transport: Some(config.transport),
            data_dir: Some(Text(config.data_dir.display().to_string())),
            http: Some((&config.http).into()),
            admin: Some((&config.admin).into()),
            network: Some(&config.network)
                .filter(|network| **network != Network::default())
                .map(Into::into),
            auth: Some((&config.auth).into()),
            log: Some((&config.log).into()),
            limits: Some((&config.limits).into()),
            names: Some((&config.names).into()),
            storage: Some(&config.storage)
                .filter(|storage| **storage != Storage::default())
                .map(Into::into),
            services: Some(
                services
                    .map(|(name, service)| (name.to_string(), service.into()))
                    .collect(),
            ),
            mcp_servers: None,
        }
    }
}

fn check_ports(config: &Config, mistakes: &mut Mistakes) {
    let both = config.transport.has_http() && config.admin.enabled;
    let meet = config.http.host == config.admin.host
        || config.http.host.is_unspecified()
        || config.admin.host.is_unspecified();
    if both && meet && config.http.port == config.admin.port && config.http.port != 0 {
        let message = format!(
            "is {}, like `http.port`; each door needs a port of its own",
            config.admin.port
        );
        mistakes.push(KeyPath::of(&["admin", "port"]), message);
    }
}

/// What other machines can reach must be locked.
fn check_exposure(config: &Config, mistakes: &mut Mistakes) {
    let doors = [
        ("http", config.http.host, config.transport.has_http()),
        ("admin", config.admin.host, config.admin.enabled),
    ];
    let mut exposed = false;
    for (door, host, _) in doors.into_iter().filter(|(_, host, open)| *open && !is_local(*host)) {
        exposed = true;
        if config.auth.tokens.is_empty() && !mistakes.under(&KeyPath::of(&["auth", "tokens"])) {
            let message = format!(
                "other machines can reach {host}, so clients need a token: set `auth.tokens` to a list of `name` and `token` (or `token_file`), \
                 or MCPVISOR_AUTH__TOKENS='[{{\"name\": \"me\", \"token\": \"…\"}}]'; or listen on 127.0.0.1"
            );
            mistakes.push(KeyPath::of(&[door, "host"]), message);
        }
    }
    if !exposed {
        return;
    }
    if let Some(token) = config.auth.short_token() {
        let message = format!(
            "the token `{}` is shorter than 16 characters, too short where other machines can try; make one with `openssl rand -hex 24`",
            token.name
        );
        mistakes.push(KeyPath::of(&["auth", "tokens"]), message);
    }
    if config.auth.mcp == McpAuth::Open && !config.auth.tokens.is_empty() {
        let message =
            "`open` is only for a hub that other machines cannot reach; set `required` or listen on 127.0.0.1";
        mistakes.push(KeyPath::of(&["auth", "mcp"]), message);
    }
}
