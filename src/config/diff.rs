//! What a new configuration changes, and which of it needs a restart of the hub.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{model::Config, name::ServiceName, raw::RawConfig};

/// Settings outside services that a running hub takes over.
const LIVE: [&str; 1] = ["log.level"];

/// The difference between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Services that were not there before.
    pub added: Vec<ServiceName>,
    /// Services that are no longer there.
    pub removed: Vec<ServiceName>,
    /// Services with at least one other setting.
    pub changed: Vec<ServiceName>,
    /// Key paths that differ and hold only after a restart of the hub.
    pub needs_restart: Vec<String>,
}

impl Changes {
    /// Whether nothing differs that a running hub would do something about.
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty() && self.needs_restart.is_empty()
    }
}

/// Compares two configurations, secrets included (they are compared, not shown).
pub fn diff(old: &Config, new: &Config) -> Changes {
    let only_in = |these: &Config, those: &Config| -> Vec<ServiceName> {
        these
            .services
            .keys()
            .filter(|name| !those.services.contains_key(*name))
            .cloned()
            .collect()
    };
    let changed = old
        .services
        .iter()
        .filter(|(name, service)| new.services.get(*name).is_some_and(|other| other != *service));
    Changes {
        added: only_in(new, old),
        removed: only_in(old, new),
        changed: changed.map(|(name, _)| name.clone()).collect(),
        needs_restart: hub_settings(old, new),
    }
}

fn hub_settings(old: &Config, new: &Config) -> Vec<String> {
    let (before, after) = (leaves(old), leaves(new));
    let mut paths: Vec<String> = before
        .iter()
        .filter(|(path, value)| after.get(*path) != Some(value))
        .map(|(path, _)| path.clone())
        .chain(after.keys().filter(|path| !before.contains_key(*path)).cloned())
        .filter(|path| !LIVE.contains(&path.as_str()))
        .collect();
    // Masked in the view above, so looked at by themselves.
    let secret = [
        ("auth.tokens", old.auth.tokens == new.auth.tokens),
        (
            "storage.database_url",
            old.storage.database_url == new.storage.database_url,
        ),
        ("storage.redis_url", old.storage.redis_url == new.storage.redis_url),
    ];
    for (path, same) in secret {
        if !same && !paths.iter().any(|known| known.starts_with(path)) {
            paths.push(path.to_owned());
        }
    }
    paths.sort();
    paths
}

/// Every setting outside services with its key path.
fn leaves(config: &Config) -> BTreeMap<String, Value> {
    let view = Config {
        services: BTreeMap::new(),
        ..config.clone()
    };
    let mut leaves = BTreeMap::new();
    if let Ok(Value::Object(sections)) = serde_json::to_value(RawConfig::from(&view)) {
        for (key, value) in sections.into_iter().filter(|(key, _)| key != "services") {
            collect(key, value, &mut leaves);
        }
    }
    leaves
}

fn collect(path: String, value: Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(keys) => {
            for (key, value) in keys {
                collect(format!("{path}.{key}"), value, leaves);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            leaves.insert(path, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{NamedToken, Secret, Service, Source};

    fn service(name: &str) -> (ServiceName, Service) {
        let name = ServiceName::new(name).unwrap();
        (name.clone(), Service::new(name, Source::Demo))
    }

    #[test]
    fn only_what_changed() {
        let old = Config {
            services: [service("a"), service("b"), service("c")].into(),
            ..Config::default()
        };
        let mut new = Config {
            services: [service("b"), service("c"), service("d")].into(),
            ..old.clone()
        };
        assert!(diff(&old, &old).is_empty());
        new.services.get_mut("c").unwrap().timeouts.call = Duration::from_secs(1);
        new.http.port = 1;
        "debug".clone_into(&mut new.log.level);
        new.network.allowed_hosts.push("example.org".to_owned());
        let name = |text| vec![ServiceName::new(text).unwrap()];
        assert_eq!(
            diff(&old, &new),
            Changes {
                added: name("d"),
                removed: name("a"),
                changed: name("c"),
                needs_restart: vec!["http.port".to_owned(), "network.allowed_hosts".to_owned()],
            }
        );
    }

    #[test]
    fn a_new_value_of_a_secret_is_a_change() {
        let with = |token: &str| {
            let mut config = Config::default();
            config.auth.tokens.push(NamedToken {
                name: "me".to_owned(),
                token: Secret::new(token.to_owned()),
            });
            config
        };
        assert_eq!(diff(&with("one"), &with("two")).needs_restart, ["auth.tokens"]);
        assert_eq!(
            diff(&Config::default(), &with("two")).needs_restart,
            ["auth.mcp", "auth.tokens"].get(1..).unwrap()
        );
    }
}
