//! The configuration as the rest of the hub sees it: checked, complete, immutable.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde_json::Value;

use super::{
    auth::Auth,
    doors::{AdminDoor, HttpDoor, Transport},
    limits::{Limits, Names},
    log::Log,
    name::ServiceName,
    network::Network,
    raw::RawConfig,
    secret::{MASK, Secret},
    sensitive::{self, is_token, looks_secret},
    service::{Service, Source},
    storage::Storage,
};

/// Everything that can be set. `Debug` and [`Config::to_yaml`] show secrets as `***`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file it was read from, if any.
    pub file: Option<PathBuf>,
    /// Folder for state, logs and keys.
    pub data_dir: PathBuf,
    /// Which doors MCP clients come through.
    pub transport: Transport,
    /// The door for people and programs that look after the hub.
    pub admin: AdminDoor,
    /// The door for MCP clients over HTTP.
    pub http: HttpDoor,
    /// How the hub looks from outside, and whom it believes.
    pub network: Network,
    /// Who may come in.
    pub auth: Auth,
    /// How much is written, how, and where.
    pub log: Log,
    /// How much of everything the hub takes.
    pub limits: Limits,
    /// How names of tools are made.
    pub names: Names,
    /// Databases beside the built-in one; not used yet.
    pub storage: Storage,
    /// What runs, by name.
    pub services: BTreeMap<ServiceName, Service>,
    /// Values of variables called like secrets that were put into texts of the file, such as arguments. Not a setting: what
    /// must not be shown although its type does not say so.
    pub hidden: Vec<Secret<String>>,
}

impl Default for Config {
    /// What holds when nothing is configured: the built-in demo on loopback, state in `./data`.
    fn default() -> Self {
        let demo = Service::demo();
        Self {
            file: None,
            data_dir: PathBuf::from("data"),
            transport: Transport::default(),
            admin: AdminDoor::default(),
            http: HttpDoor::default(),
            network: Network::default(),
            auth: Auth::default(),
            log: Log::default(),
            limits: Limits::default(),
            names: Names::default(),
            storage: Storage::default(),
            services: BTreeMap::from([(demo.name.clone(), demo)]),
            hidden: Vec::new(),
        }
    }
}

impl Config {
    /// The effective configuration as YAML, secrets masked. Without secrets it reads back as the same configuration.
    pub fn to_yaml(&self) -> String {
        let options = serde_saphyr::ser_options! { yaml_12: false, prefer_block_scalars: false };
        let mut view = serde_json::to_value(RawConfig::from(self)).unwrap_or_default();
        self.mask(&mut view);
        serde_saphyr::to_string_with_options(&view, options)
            .unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }

    /// Masks what is hidden wherever it stands.
    fn mask(&self, view: &mut Value) {
        match view {
            Value::String(text) => {
                for secret in &self.hidden {
                    if text.contains(secret.expose()) {
                        *text = text.replace(secret.expose(), MASK);
                    }
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|value| self.mask(value)),
            Value::Object(keys) => keys.values_mut().for_each(|value| self.mask(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Every value that must not appear in a log: tokens, addresses of databases, and those variables and arguments of
    /// services that look like secrets.
    pub fn secrets(&self) -> Vec<Secret<String>> {
        let tokens = self.auth.tokens.iter().map(|token| &token.token);
        let stores = [&self.storage.database_url, &self.storage.redis_url]
            .into_iter()
            .flatten();
        let mut secrets: Vec<_> = tokens.chain(stores).chain(&self.hidden).cloned().collect();
        for service in self.services.values() {
            match &service.source {
                Source::Command(command) => {
                    let looks =
                        |(name, value): &(&String, &Secret<String>)| looks_secret(name) || is_token(value.expose());
                    secrets.extend(command.env.iter().filter(looks).map(|(_, value)| value.clone()));
                    secrets.extend(sensitive::hidden(&command.args));
                }
                // A header is sent to be believed: any may be a secret, and none is worth showing.
                Source::Remote(remote) => secrets.extend(remote.headers.values().cloned()),
                Source::Demo => {}
            }
        }
        let mut known = BTreeSet::new();
        secrets.retain(|secret| known.insert(secret.expose().clone()));
        secrets
    }
}
