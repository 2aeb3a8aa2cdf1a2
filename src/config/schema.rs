//! The JSON schema of the configuration file, for editors, generated from the types that read it.

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde_json::Value;

use super::{raw::RawConfig, service::RawService};

/// The schema of the file, pretty-printed, with a line end.
pub fn schema_text() -> String {
    let mut text = format!("{:#}", schema_of::<RawConfig>().as_value());
    text.push('\n');
    text
}

/// The keys at the top of a file.
pub(super) fn top_keys() -> Vec<String> {
    properties(&schema_of::<RawConfig>())
}

/// The keys of a service.
pub(super) fn service_keys() -> Vec<String> {
    properties(&schema_of::<RawService>())
}

fn schema_of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft07().into_generator().into_root_schema_for::<T>()
}

fn properties(schema: &Schema) -> Vec<String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .map(|keys| keys.keys().cloned().collect())
        .unwrap_or_default()
}
