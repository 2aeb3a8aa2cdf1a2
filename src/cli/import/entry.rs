//! One server in our words.

use serde_json::{Map, Value};

use super::secrets::Secrets;

/// Translates the entry of one server, now called `name`. Secrets become variables; what we have no word for is noted.
pub(super) fn translate(
    name: &str,
    server: &Map<String, Value>,
    secrets: &mut Secrets,
    notes: &mut Vec<String>,
) -> Map<String, Value> {
    let server = flatten(server);
    let mut service = Map::new();
    let mut enabled = true;
    let mut unknown = Vec::new();
    let remote = server.contains_key("url") || server.contains_key("serverUrl") || server.contains_key("httpUrl");
    for (key, value) in &server {
        match (key.as_str(), value) {
            ("command" | "cwd", Value::String(text)) => {
                service.insert(key.clone(), secrets.reword(name, text).into());
            }
            ("args", Value::Array(args)) => {
                service.insert(key.clone(), secrets.arguments(name, args).into());
            }
            ("env", Value::Object(env)) => {
                service.insert(key.clone(), secrets.variables(name, env).into());
            }
            ("headers", Value::Object(headers)) => {
                service.insert(key.clone(), secrets.variables(name, headers).into());
            }
            ("url" | "serverUrl" | "httpUrl", Value::String(url)) => {
                service.insert("url".to_owned(), secrets.reword(name, url).into());
            }
            ("type" | "transport", Value::String(kind)) if remote => {
                service.insert("transport".to_owned(), kind.clone().into());
            }
            ("disabled", Value::Bool(disabled)) => enabled &= !disabled,
            ("enabled", Value::Bool(on)) => enabled &= on,
            // Says nothing that `command` or `url` does not say.
            ("type" | "transport" | "source", _) | (_, Value::Null) => {}
            _ => unknown.push(format!("`{key}`")),
        }
    }
    if !unknown.is_empty() {
        notes.push(format!(
            "{name}: {} was left out, it has no counterpart here",
            unknown.join(", ")
        ));
    }
    if !enabled {
        service.insert("enabled".to_owned(), false.into());
    }
    service
}

/// Zed's older form keeps program, arguments and variables one level deeper.
fn flatten(server: &Map<String, Value>) -> Map<String, Value> {
    let mut flat = server.clone();
    if let Some(Value::Object(command)) = server.get("command") {
        flat.remove("command");
        for (key, value) in command {
            let key = if key == "path" { "command" } else { key };
            flat.insert(key.to_owned(), value.clone());
        }
        flat.remove("settings");
    }
    flat
}
