//! The configuration as the rest of the hub sees it: checked, complete, immutable.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    auth::Auth,
    doors::{AdminDoor, HttpDoor, Transport},
    limits::{Limits, Names},
    log::Log,
    name::ServiceName,
    network::Network,
    raw::RawConfig,
    secret::Secret,
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
        }
    }
}

/// Parts of the names of variables whose values are secrets.
const SECRET_WORDS: [&str; 12] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "api_key",
    "apikey",
    "private_key",
    "access_key",
    "credential",
    "auth",
    "connection_string",
];

/// Whether a variable of this name probably holds a secret.
pub fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    SECRET_WORDS.iter().any(|word| name.contains(word))
        || name.ends_with("_key")
        || name == "key"
        || name.ends_with("_pat")
}

/// Whether a value is an address that carries a password: `scheme://user:password@host`.
pub fn carries_password(value: &str) -> bool {
    let authority = value
        .split_once("://")
        .map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    authority
        .and_then(|authority| authority.rsplit_once('@'))
        .is_some_and(|(user, _)| user.contains(':'))
}

impl Config {
    /// The effective configuration as YAML, secrets masked. Without secrets it reads back as the same configuration.
    pub fn to_yaml(&self) -> String {
        let options = serde_saphyr::ser_options! { yaml_12: false, prefer_block_scalars: false };
        serde_saphyr::to_string_with_options(&RawConfig::from(self), options)
            .unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }

    /// Every value that must not appear in a log: tokens, addresses of databases, and those variables of services that
    /// look like secrets.
    pub fn secrets(&self) -> Vec<Secret<String>> {
        let tokens = self.auth.tokens.iter().map(|token| &token.token);
        let stores = [&self.storage.database_url, &self.storage.redis_url]
            .into_iter()
            .flatten();
        let variables = self.services.values().filter_map(|service| match &service.source {
            Source::Command(command) => Some(&command.env),
            Source::Demo => None,
        });
        let variables = variables
            .flatten()
            .filter(|(name, value)| looks_secret(name) || carries_password(value.expose()))
            .map(|(_, value)| value);
        tokens.chain(stores).chain(variables).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_secret() {
        for name in [
            "GITHUB_PERSONAL_ACCESS_TOKEN",
            "api-key",
            "OPENAI_API_KEY",
            "PGPASSWORD",
            "key",
            "BASIC_AUTH",
        ] {
            assert!(looks_secret(name), "{name}");
        }
        for name in ["PATH", "LOG_LEVEL", "KEYBOARD", "PORT"] {
            assert!(!looks_secret(name), "{name}");
        }
        assert!(carries_password("postgres://u:p@h/db"));
        assert!(!carries_password("https://h/x@y:z"));
    }
}
