//! The layers of a configuration as figment providers: one per file, per variable and per flag, so that every value
//! can say where it came from.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use figment::{
    Error, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

use super::{doors::Transport, log::LogFormat, mistakes::nearest};

/// The beginning of every variable that is a setting.
const PREFIX: &str = "MCPVISOR_";

/// Settings that stand at the top and are single values.
const SINGLE: [&str; 2] = ["data_dir", "transport"];

/// Variables that are read elsewhere.
const ELSEWHERE: [&str; 1] = ["MCPVISOR_CONFIG"];

/// Variables of other programs' making that are settings of ours.
const ALIASES: [(&str, [&str; 2]); 2] = [
    ("DATABASE_URL", ["storage", "database_url"]),
    ("REDIS_URL", ["storage", "redis_url"]),
];

/// What was set on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--config`: the file to read instead of looking for one.
    pub config: Option<PathBuf>,
    /// `--transport`
    pub transport: Option<Transport>,
    /// `--admin`: open the admin door.
    pub admin: bool,
    /// `--host`
    pub host: Option<String>,
    /// `--port`
    pub port: Option<u16>,
    /// `--admin-host`
    pub admin_host: Option<String>,
    /// `--admin-port`
    pub admin_port: Option<u16>,
    /// `--log-level`
    pub log_level: Option<String>,
    /// `--log-format`
    pub log_format: Option<LogFormat>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
}

/// One source of values.
#[derive(Debug)]
pub(super) struct Layer {
    origin: String,
    values: Dict,
}

impl Layer {
    pub(super) fn new(origin: impl Into<String>, values: Dict) -> Self {
        Self {
            origin: origin.into(),
            values,
        }
    }

    /// A layer with one value at `path`.
    fn one(origin: impl Into<String>, path: &[String], value: Value) -> Self {
        let (last, sections) = path.split_last().expect("a setting has a name");
        let mut values = Dict::from([(last.clone(), value)]);
        for section in sections.iter().rev() {
            values = Dict::from([(section.clone(), values.into())]);
        }
        Self::new(origin, values)
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// The layers of a set of variables; `file` says which `.env` file they came from. `services` are the names in the
/// configuration file, so that `MY_SERVICE` finds `my-service`.
pub(super) fn variables(
    variables: &BTreeMap<String, String>,
    file: Option<&Path>,
    services: &[String],
    warnings: &mut Vec<String>,
) -> Vec<Layer> {
    let mut layers = Vec::new();
    for (name, text) in variables {
        let Some(path) = setting(name, services, warnings) else {
            continue;
        };
        let for_a_child = path.get(2).is_some_and(|key| key == "env");
        if text.is_empty() && !for_a_child {
            // Compose files and shells hand on empty variables for what is not set.
            continue;
        }
        let origin = match file {
            Some(file) => format!("{name} in {}", file.display()),
            None => format!("{name} in the environment"),
        };
        let value = if for_a_child {
            Value::from(text.as_str())
        } else {
            structured(text)
        };
        layers.push(Layer::one(origin, &path, value));
    }
    layers
}

/// Lists and sections are written as JSON, everything else as it is.
fn structured(text: &str) -> Value {
    let json = text
        .trim_start()
        .starts_with(['[', '{'])
        .then(|| serde_json::from_str::<Value>(text).ok());
    json.flatten().unwrap_or_else(|| Value::from(text))
}

/// The key path of a variable, if it is one of ours.
fn setting(name: &str, services: &[String], warnings: &mut Vec<String>) -> Option<Vec<String>> {
    if let Some((_, path)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Some(path.map(str::to_owned).to_vec());
    }
    let rest = name.strip_prefix(PREFIX).filter(|_| !ELSEWHERE.contains(&name))?;
    let segments: Vec<&str> = rest.split("__").collect();
    if let [single] = segments.as_slice() {
        let single = single.to_ascii_lowercase();
        if SINGLE.contains(&single.as_str()) {
            return Some(vec![single]);
        }
        // Not refused: Kubernetes invents MCPVISOR_PORT and others for a service called `mcpvisor`.
        let hint =
            nearest(&single, SINGLE).map(|near| format!("; did you mean `{PREFIX}{}`?", near.to_ascii_uppercase()));
        warnings.push(format!(
            "{name} is not a setting and was left out{}",
            hint.unwrap_or_default()
        ));
        return None;
    }
    let mut path: Vec<String> = Vec::new();
    for (index, segment) in segments.into_iter().enumerate() {
        let in_service = path.first().is_some_and(|section| section == "services");
        let own_name = in_service
            && index == 3
            && matches!(
                path.get(2).map(String::as_str),
                Some("env" | "env_files" | "headers" | "header_files" | "tools")
            );
        path.push(match (in_service, index) {
            (true, 1) => known_service(segment, services),
            _ if own_name => segment.to_owned(),
            _ => segment.to_ascii_lowercase(),
        });
    }
    Some(path)
}

fn known_service(segment: &str, services: &[String]) -> String {
    let fold = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    let known = services.iter().find(|name| fold(name) == fold(segment));
    known.cloned().unwrap_or_else(|| segment.to_ascii_lowercase())
}

impl Flags {
    /// One layer per flag that was given.
    pub(super) fn layers(&self) -> Vec<Layer> {
        let text = |value: &Option<String>| value.clone().map(Value::from);
        let settings: [(&str, &[&str], Option<Value>); 9] = [
            ("--transport", &["transport"], word(self.transport)),
            ("--admin", &["admin", "enabled"], self.admin.then(|| Value::from(true))),
            ("--host", &["http", "host"], text(&self.host)),
            ("--port", &["http", "port"], self.port.map(Value::from)),
            ("--admin-host", &["admin", "host"], text(&self.admin_host)),
            ("--admin-port", &["admin", "port"], self.admin_port.map(Value::from)),
            ("--log-level", &["log", "level"], text(&self.log_level)),
            ("--log-format", &["log", "format"], word(self.log_format)),
            (
                "--data-dir",
                &["data_dir"],
                self.data_dir.as_ref().map(|dir| Value::from(dir.display().to_string())),
            ),
        ];
        settings
            .into_iter()
            .filter_map(|(flag, path, value)| {
                let path: Vec<String> = path.iter().map(|&segment| segment.to_owned()).collect();
                Some(Layer::one(flag, &path, value?))
            })
            .collect()
    }
}

/// The spelling of a value that has one word for each variant.
fn word<T: ValueEnum>(value: Option<T>) -> Option<Value> {
    let word = value?.to_possible_value()?;
    Some(Value::from(word.get_name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> Option<Vec<String>> {
        setting(name, &["My-Service".to_owned()], &mut Vec::new())
    }

    #[test]
    fn names_of_variables() {
        let is = |name: &str, expected: &[&str]| assert_eq!(path(name).unwrap(), expected, "{name}");
        is("MCPVISOR_HTTP__PORT", &["http", "port"]);
        is("MCPVISOR_DATA_DIR", &["data_dir"]);
        is("DATABASE_URL", &["storage", "database_url"]);
        is(
            "MCPVISOR_SERVICES__MY_SERVICE__ENABLED",
            &["services", "My-Service", "enabled"],
        );
        is(
            "MCPVISOR_SERVICES__NEW__ENV__API_Key",
            &["services", "new", "env", "API_Key"],
        );
        is(
            "MCPVISOR_SERVICES__NEW__TOOLS__readFile__SAFE_TO_REPEAT",
            &["services", "new", "tools", "readFile", "safe_to_repeat"],
        );
        for other in ["PATH", "MCPVISOR_CONFIG", "MCPVISOR_PORT_9090_TCP"] {
            assert_eq!(path(other), None, "{other}");
        }
    }

    #[test]
    fn lists_are_json_and_the_rest_is_text() {
        assert_eq!(structured("[::1]"), Value::from("[::1]"));
        assert_eq!(structured("9090"), Value::from("9090"));
        assert_eq!(structured("[1]").into_array().map(|list| list.len()), Some(1));
    }
}
