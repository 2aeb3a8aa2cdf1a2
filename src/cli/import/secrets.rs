//! Takes secrets out of what is imported: each becomes a reference to a variable, and people are told which to set.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::config::{self, is_token, looks_secret};

/// The variables that stand for secrets: name and value, so that the same name never stands for two values.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    variables: BTreeMap<String, String>,
    /// Service, variable and what it is for.
    uses: Vec<String>,
}

impl Secrets {
    /// The variables of a service, or headers.
    pub(super) fn variables(&mut self, service: &str, env: &Map<String, Value>) -> Map<String, Value> {
        env.iter()
            .filter_map(|(key, value)| {
                let text = plain(value)?;
                let secret = !text.is_empty() && (looks_secret(key) || is_token(&text)) && !is_reference(&text);
                let text = if secret {
                    self.refer(service, key, &text)
                } else {
                    self.reword(service, &text)
                };
                Some((key.clone(), text.into()))
            })
            .collect()
    }

    /// The arguments of a service.
    pub(super) fn arguments(&mut self, service: &str, args: &[Value]) -> Vec<Value> {
        let texts: Vec<String> = args.iter().filter_map(plain).collect();
        let taken_apart = config::arguments(texts.iter().map(String::as_str));
        let words = taken_apart
            .into_iter()
            .zip(&texts)
            .map(|(argument, text)| match argument.secret {
                Some((name, value)) if !is_reference(text) => {
                    argument.open.replace('$', "$$") + &self.refer(service, name, value)
                }
                Some(_) | None => self.reword(service, text),
            });
        words.map(Value::from).collect()
    }

    /// A text that holds no secret, with other programs' references in our spelling and dollars kept.
    pub(super) fn reword(&mut self, service: &str, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let reference = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let Some((inside, after_reference)) = reference else {
                out.push_str("$$");
                rest = after;
                continue;
            };
            let (variable, default) = match inside.split_once(':') {
                Some(("env", name)) => (name.to_owned(), None),
                Some(("input", id)) => (variable_name(id), None),
                Some((name, default)) => (name.to_owned(), Some(default)),
                None => (camel_to_variable(inside), None),
            };
            let default = default.map(|default| format!(":{default}")).unwrap_or_default();
            out.push_str(&["${", &variable, &default, "}"].concat());
            self.uses.push(format!("{service} takes the variable {variable}"));
            rest = after_reference;
        }
        out + rest
    }

    /// A reference to a variable that stands for `value`.
    fn refer(&mut self, service: &str, key: &str, value: &str) -> String {
        let (start, value) = match value.strip_prefix("Bearer ") {
            Some(token) => ("Bearer ", token),
            None => ("", value),
        };
        let short = variable_name(key);
        // What is only called `TOKEN` would be anybody's.
        let telling = short.contains('_') && self.variables.get(&short).is_none_or(|known| known == value);
        let long = variable_name(&format!("{service}_{key}"));
        let numbered = (2..).map(|number| format!("{long}_{number}"));
        let variable = telling
            .then_some(short)
            .into_iter()
            .chain([long.clone()])
            .chain(numbered)
            .find(|name| self.variables.get(name).is_none_or(|known| known == value))
            .expect("there is always another number");
        self.variables.insert(variable.clone(), value.to_owned());
        self.uses.push(format!(
            "{service} takes the variable {variable} (the value of `{key}`, a secret, was left out)"
        ));
        format!("{start}${{{variable}}}")
    }

    /// What has to be set before the result can be used.
    pub(super) fn notes(self) -> Vec<String> {
        let mut notes = self.uses;
        notes.dedup();
        if !notes.is_empty() {
            notes.push("set these variables in the environment, or in .env.local beside the new file".to_owned());
        }
        notes
    }
}

/// The text of a single value.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether the value is not here but named: nothing to take out.
fn is_reference(text: &str) -> bool {
    text.contains("${")
}

/// `gh-key` as a variable: `GH_KEY`.
fn variable_name(text: &str) -> String {
    let name: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    let name = name.trim_matches('_');
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
        format!("V_{name}")
    } else {
        name.to_owned()
    }
}

/// `workspaceFolder`, an editor's own variable, as one that can be set: `WORKSPACE_FOLDER`. Others stay.
fn camel_to_variable(text: &str) -> String {
    let camel = text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().any(|c| c.is_ascii_uppercase());
    if !camel {
        return text.to_owned();
    }
    let mut name = String::new();
    for c in text.chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c);
    }
    variable_name(&name)
}
