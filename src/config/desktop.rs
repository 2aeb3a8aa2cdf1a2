//! The `mcpServers` form of desktop clients, rewritten as `services` before anything else looks at it.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};

use super::{
    mistakes::{KeyPath, Mistakes},
    name, schema,
};

/// Services that were written under `mcpServers`: our name and theirs.
pub(super) type Theirs = BTreeMap<String, String>;

/// Moves every entry of `mcpServers` into `services`. What other programs keep beside and inside them is left out with
/// a warning; names that we cannot use are changed with a warning.
pub(super) fn adopt(file: &mut Dict, is_json: bool, mistakes: &mut Mistakes, warnings: &mut Vec<String>) -> Theirs {
    let mut theirs = Theirs::new();
    let Some(servers) = file.remove("mcpServers") else {
        return theirs;
    };
    if is_json {
        // A client's own file, which also holds the rest of its settings.
        let known = schema::top_keys();
        file.retain(|key, _| {
            let ours = known.iter().any(|known| known == key);
            if !ours {
                warnings.push(format!("{key}: belongs to another program and was left out"));
            }
            ours
        });
    }
    let Value::Dict(tag, servers) = servers else {
        mistakes.push(
            KeyPath::of(&["mcpServers"]),
            "expected a section with one entry for each server",
        );
        return theirs;
    };
    let services = file
        .entry("services".to_owned())
        .or_insert_with(|| Value::Dict(tag, Dict::new()));
    let Value::Dict(_, services) = services else {
        return theirs;
    };
    for (their_name, entry) in servers {
        let at = KeyPath::of(&["mcpServers", &their_name]);
        let our_name = name::nearest(&their_name);
        if our_name != their_name {
            warnings.push(format!(
                "{at}: is called `{our_name}` here, because names have only letters, digits, `-` and single `_`"
            ));
        }
        if services.contains_key(&our_name) {
            mistakes.push(at, format!("there is another service called `{our_name}`"));
            continue;
        }
        let entry = match entry {
            Value::Dict(tag, entry) => Value::Dict(tag, translate(entry, &at, warnings)),
            other @ (Value::String(..)
            | Value::Char(..)
            | Value::Bool(..)
            | Value::Num(..)
            | Value::Empty(..)
            | Value::Array(..)) => other,
        };
        services.insert(our_name.clone(), entry);
        theirs.insert(our_name, their_name);
    }
    theirs
}

/// One entry in our words.
fn translate(mut entry: Dict, at: &KeyPath, warnings: &mut Vec<String>) -> Dict {
    if let Some(Value::Bool(tag, disabled)) = entry.remove("disabled") {
        entry.entry("enabled".to_owned()).or_insert(Value::Bool(tag, !disabled));
    }
    for spelling in ["serverUrl", "httpUrl"] {
        if let Some(url) = entry.remove(spelling) {
            entry.entry("url".to_owned()).or_insert(url);
        }
    }
    if let Some(kind) = entry.remove("type")
        && entry.contains_key("url")
    {
        entry.entry("transport".to_owned()).or_insert(kind);
    }
    let known = schema::service_keys();
    entry.retain(|key, _| {
        let ours = known.iter().any(|known| known == key);
        if !ours {
            warnings.push(format!("{}: is not used here and was left out", at.join(key)));
        }
        ours
    });
    entry
}
