//! The schema and the manual keep up with the types.

use std::fs;

use super::place::Place;
use crate::config::{Config, schema_text};

#[test]
fn the_schema_in_the_repository_is_the_one_of_the_types() {
    let committed = fs::read_to_string("docs/config.schema.json").unwrap_or_default();
    assert_eq!(
        committed,
        schema_text(),
        "run `mcpvisor schema > docs/config.schema.json`"
    );
}

/// Every default that the schema promises, as a configuration.
fn promised(schema: &serde_json::Value) -> serde_json::Value {
    let mut section = serde_json::Map::new();
    for (key, about) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(default) = about.get("default").filter(|default| !default.is_null()) {
            section.insert(key.clone(), default.clone());
        } else if about.get("properties").is_some() {
            section.insert(key.clone(), promised(about));
        }
    }
    section.into()
}

#[test]
fn the_schema_promises_the_defaults_that_hold() {
    let schema: serde_json::Value = serde_json::from_str(&schema_text()).unwrap();
    let mut file = promised(&schema);
    assert_eq!(file["limits"]["drain"], "18s");
    file["services"] = serde_json::json!({"demo": promised(&schema["properties"]["services"]["additionalProperties"])});
    file["services"]["demo"]["builtin"] = "demo".into();
    let place = Place::with("mcpvisor.json", &file.to_string());
    let expected = Config {
        data_dir: place.dir.path().join("data"),
        file: Some(place.dir.path().join("mcpvisor.json")),
        ..Config::default()
    };
    assert_eq!(place.config(), expected);
}

/// Every key path of the schema, `*` for names of one's own.
fn key_paths(schema: &serde_json::Value, at: &str, out: &mut Vec<String>) {
    for (key, about) in schema["properties"].as_object().into_iter().flatten() {
        let path = if at.is_empty() {
            key.clone()
        } else {
            format!("{at}.{key}")
        };
        out.push(path.clone());
        key_paths(about, &path, out);
        key_paths(&about["additionalProperties"], &format!("{path}.*"), out);
        key_paths(&about["items"], &format!("{path}[]"), out);
    }
}

#[test]
fn the_manual_names_every_key() {
    let manual = fs::read_to_string("docs/configuration.md").unwrap();
    let mut paths = Vec::new();
    key_paths(&serde_json::from_str(&schema_text()).unwrap(), "", &mut paths);
    assert!(paths.len() > 50, "{paths:?}");
    let missing: Vec<_> = paths
        .iter()
        .filter(|path| !manual.contains(&format!("`{path}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/configuration.md says nothing about {missing:?}"
    );
}
